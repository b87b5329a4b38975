//! Asks agents whether they are there, where a loop of the balancer hears nothing of their host.
//!
//! A connection is all that is asked for: the host's kernel makes it, so a machine that is there
//! answers however busy its services and its agent are. Two tries, for a packet may be lost. An
//! agent that was never reached says nothing by not being reached: its network may let only the
//! agent call. What an answer means is `core::silence`'s.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tucano_common::limits::{SILENCE_AGENT_TIMEOUT, SILENCE_AGENT_TRIES_MAX};
use tucano_common::time::Mono;
use tucano_net::{CallError, CallEvent, CallId, CallTimeouts, Io};

/// A timeout that is told so much later was this loop's: it was held up, and so was the answer.
const OWN_DELAY: Duration = Duration::from_millis(50);

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Somebody is there.
    There(IpAddr),
    /// Nobody is.
    Gone(IpAddr),
    /// Nothing that could be told.
    Nothing,
}

struct Asked {
    agent: SocketAddr,
    begun: Mono,
    tries: u32,
    missed: u32,
}

/// The questions under way, one an agent at most.
#[derive(Default)]
pub(super) struct Asks {
    open: BTreeMap<CallId, Asked>,
    /// Agents that took a connection in this session.
    doors: BTreeMap<IpAddr, u16>,
}

impl Asks {
    /// Asks, unless that is being done.
    pub(super) fn ask(&mut self, io: &mut Io, agent: SocketAddr) {
        if !self.open.values().any(|asked| asked.agent == agent) {
            let begun = io.now().mono;
            self.send(io, Asked { agent, begun, tries: 0, missed: 0 });
        }
    }

    /// An agent began anew, perhaps elsewhere.
    pub(super) fn forget(&mut self, host: IpAddr) {
        self.doors.remove(&host);
    }

    fn send(&mut self, io: &mut Io, asked: Asked) {
        let limit = SILENCE_AGENT_TIMEOUT;
        let timeouts =
            CallTimeouts { connect: limit, head: limit, body_idle: limit, total: Some(limit) };
        let begun = io.now().mono;
        let call = io.probe(asked.agent, timeouts);
        self.open.insert(call, Asked { begun, tries: asked.tries + 1, ..asked });
    }

    /// Something became of a call; `None` where it is none of these.
    pub(super) fn on_call(
        &mut self,
        io: &mut Io,
        call: CallId,
        event: &CallEvent<'_>,
    ) -> Option<Found> {
        let mut asked = self.open.remove(&call)?;
        let (host, port) = (asked.agent.ip(), asked.agent.port());
        match event {
            CallEvent::Connected => {
                self.doors.insert(host, port);
                return Some(Found::There(host));
            }
            // The machine says so itself: its agent is being started again.
            CallEvent::Failed(CallError::Connect(cause))
                if cause.kind() == io::ErrorKind::ConnectionRefused =>
            {
                return Some(Found::There(host));
            }
            CallEvent::Failed(CallError::TooManyCalls { .. }) => return Some(Found::Nothing),
            CallEvent::Failed(_) => {}
            // Only of requests.
            CallEvent::Answer(_) | CallEvent::Head(_) | CallEvent::Data(_) | CallEvent::End => {
                return Some(Found::Nothing);
            }
        }
        let took = io.now().mono.since(asked.begun);
        asked.missed += u32::from(took < SILENCE_AGENT_TIMEOUT + OWN_DELAY);
        if asked.missed < 2 && asked.tries < SILENCE_AGENT_TRIES_MAX {
            self.send(io, asked);
            return Some(Found::Nothing);
        }
        let is_known = self.doors.get(&host) == Some(&port);
        Some(if asked.missed >= 2 && is_known { Found::Gone(host) } else { Found::Nothing })
    }
}
