//! One instance's output at its agent: how it is asked for, and where that stands.
//!
//! Used by `logs`, one for each instance of a stream.

use std::net::SocketAddr;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::LOG_FOLLOW_IDLE;
use tucano_common::name::WorkerName;
use tucano_common::time::Wall;
use tucano_net::token::Token;
use tucano_net::url::percent_encode;
use tucano_net::{AnswerMode, CallId, CallTimeouts, Method, OutRequest};

/// One instance's output.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) worker: WorkerName,
    /// Its agent's API; none where the controller can't reach it.
    pub(crate) agent: Option<SocketAddr>,
    /// The instance has ended for good: what its agent shows is all there will be.
    pub(crate) ended: bool,
    pub(crate) tap: Tap,
}

/// Whether output is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tap {
    /// To be opened (again).
    Shut,
    /// The agent is sending.
    Open {
        /// Which call.
        call: CallId,
        /// It was told to wait.
        paused: bool,
    },
    /// Nothing more is wanted of it.
    Over,
}

/// What of an instance's output is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) tail: usize,
    pub(crate) since: Option<Wall>,
    pub(crate) follow: bool,
}

impl Wanted {
    /// The request for it; the agent wants to see the join token.
    pub(crate) fn request(&self, id: InstanceId, join: Option<&Token>) -> OutRequest {
        let Wanted { tail, since, follow } = self;
        let mut target = format!("/v1/instances/{id}/logs?tail={tail}&follow={follow}");
        if let Some(since) = since {
            target.push_str(&format!("&since={}", percent_encode(&since.to_string())));
        }
        let request = OutRequest::new(Method::Get, target).answer(AnswerMode::Stream);
        match join {
            Some(join) => request.bearer(join),
            None => request,
        }
    }

    /// How long its answer may take.
    pub(crate) fn timeouts(&self) -> CallTimeouts {
        let defaults = CallTimeouts::default();
        let body_idle = if self.follow { LOG_FOLLOW_IDLE } else { defaults.body_idle };
        CallTimeouts { body_idle, ..defaults }
    }
}

/// Why an agent that answered shows nothing.
pub(crate) fn refusal_text(status: u16) -> String {
    match status {
        404 => "its agent has no output of it (it never started, or that is too long ago)".into(),
        401 | 403 => format!(
            "its agent refuses the controller ({status}): both need the same --join-token-file"
        ),
        _ => format!("its agent answered {status}"),
    }
}

/// That long before now.
pub(crate) fn earlier(now: Wall, by: Duration) -> Wall {
    Wall(now.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)).max(0))
}
