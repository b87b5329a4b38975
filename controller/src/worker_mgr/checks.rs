//! Health checks of addresses outside the cluster, on the loop: an HTTP request or a TCP connect,
//! each on a connection of its own.
//!
//! When to check and what a result means is the core's. Nothing is read of an answer but its
//! status.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use tucano_common::spec::HealthProbe;
use tucano_common::time::Mono;
use tucano_common::units::format_duration;
use tucano_controller_core::balancer::table::{OutsideCheck, RoutingTable};
use tucano_controller_core::deployer::OutsideHealth;
use tucano_controller_core::worker_mgr::{OutsideChecks, OutsideKey};
use tucano_net::{AnswerMode, CallError, CallEvent, CallId, CallTimeouts, Io, Method, OutRequest};

use crate::balancer::is_off_limits;

/// The checks, and those that are under way.
pub(super) struct Checks {
    core: OutsideChecks,
    open: BTreeMap<CallId, (OutsideKey, OutsideCheck)>,
    /// The controller's own API: no address of a service, whatever a stored spec says.
    off_limits: Vec<SocketAddr>,
}

impl Checks {
    pub(super) fn new(off_limits: Vec<SocketAddr>) -> Checks {
        Checks { core: OutsideChecks::default(), open: BTreeMap::new(), off_limits }
    }

    /// Takes a table. What is under way for an address that is no more is forgotten when it ends.
    /// Returns what is to be told again.
    pub(super) fn adopt(&mut self, table: &RoutingTable, now: Mono) -> Vec<OutsideHealth> {
        self.core.adopt(table, now)
    }

    pub(super) fn all(&self) -> Vec<OutsideHealth> {
        self.core.all()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.core.next_deadline()
    }

    /// Begins what is due; returns what is known without asking.
    pub(super) fn begin(&mut self, io: &mut Io) -> Vec<OutsideHealth> {
        let now = io.now().mono;
        let mut told = Vec::new();
        for (key, how) in self.core.take_due(now) {
            if is_off_limits(key.1, &self.off_limits) {
                let refused = Err("it is an address that no request may go to".to_owned());
                told.extend(self.core.answered(&key, refused, now));
            } else {
                self.open.insert(ask(io, key.1, &how), (key, how));
            }
        }
        told
    }

    /// Something became of a call; `None` where it is none of these.
    pub(super) fn on_call(
        &mut self,
        io: &mut Io,
        call: CallId,
        event: &CallEvent<'_>,
    ) -> Option<Vec<OutsideHealth>> {
        let (_, how) = self.open.get(&call)?;
        let now = io.now().mono;
        let result = match event {
            CallEvent::Connected => Ok(()),
            CallEvent::Head(head) => {
                // The rest of the answer may be long: its status was all that is wanted.
                io.cancel(call);
                judge(head.status)
            }
            CallEvent::Answer(answer) => judge(answer.status),
            CallEvent::Data(_) | CallEvent::End => return Some(Vec::new()),
            CallEvent::Failed(CallError::TooManyCalls { .. }) => {
                let (key, _) = self.open.remove(&call)?;
                self.core.postponed(&key, now);
                return Some(Vec::new());
            }
            CallEvent::Failed(error) => Err(describe(error, how)),
        };
        let (key, _) = self.open.remove(&call)?;
        Some(self.core.answered(&key, result, now).into_iter().collect())
    }
}

fn ask(io: &mut Io, address: SocketAddr, how: &OutsideCheck) -> CallId {
    let timeout = how.check.timeout;
    let timeouts =
        CallTimeouts { connect: timeout, head: timeout, body_idle: timeout, total: Some(timeout) };
    match &how.check.probe {
        HealthProbe::Get(path) => {
            let request = OutRequest::new(Method::Get, path.as_str())
                .host(how.host.as_str())
                .header("User-Agent", "tucano-controller (health check)")
                .answer(AnswerMode::Stream)
                .close();
            io.call(address, request, timeouts)
        }
        // Specs refuse `notify` for external services; a stored one may be older than that.
        HealthProbe::Connect | HealthProbe::Notify => io.probe(address, timeouts),
    }
}

fn judge(status: u16) -> Result<(), String> {
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
}

/// In a few words, as a person would say it.
fn describe(error: &CallError, how: &OutsideCheck) -> String {
    match error {
        CallError::Connect(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            "nothing listens there".to_owned()
        }
        CallError::Connect(cause) => format!("could not connect: {cause}"),
        CallError::Timeout(_) => format!("no answer within {}", format_duration(how.check.timeout)),
        CallError::Broken(..) => "the connection was closed without an answer".to_owned(),
        CallError::BadAnswer(_) | CallError::TooLarge { .. } | CallError::TooManyCalls { .. } => {
            error.to_string()
        }
    }
}
