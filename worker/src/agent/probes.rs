//! Health checks, on the loop: an HTTP request or a TCP connect, each on a connection of its own.
//!
//! When to check and what a result means is the supervisor's. Nothing is read of an answer but its
//! status.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use tucano_common::units::format_duration;
use tucano_net::error_chain::Chain;
use tucano_net::{AnswerMode, CallError, CallEvent, CallId, CallTimeouts, Io, Method, OutRequest};
use tucano_worker_core::{Fact, Probe, Question};

/// The checks that are in progress.
#[derive(Default)]
pub(crate) struct Probes {
    open: BTreeMap<CallId, Probe>,
}

impl Probes {
    /// Begins a check; gives back one that asks nothing over the network.
    pub(crate) fn start(&mut self, io: &mut Io, probe: Probe) -> Option<Probe> {
        let timeouts = CallTimeouts {
            connect: probe.timeout,
            head: probe.timeout,
            body_idle: probe.timeout,
            total: Some(probe.timeout),
        };
        let call = match &probe.question {
            Question::Connect(address) => io.probe(*address, timeouts),
            Question::Get { address, path, host } => {
                let request = OutRequest::new(Method::Get, path.as_str())
                    .host(host.as_str())
                    .header("User-Agent", "tucano-worker (health check)")
                    .answer(AnswerMode::Stream)
                    .close();
                io.call(*address, request, timeouts)
            }
            Question::Notice => return Some(probe),
        };
        self.open.insert(call, probe);
        None
    }

    /// Something became of a call; a fact if it was the end of a check.
    pub(crate) fn on_call(
        &mut self,
        io: &mut Io,
        call: CallId,
        event: CallEvent<'_>,
    ) -> Option<Fact> {
        let probe = self.open.get(&call)?;
        let result = match event {
            CallEvent::Connected => Ok(()),
            CallEvent::Head(head) => {
                // The rest of the answer may be long: its status was all that is wanted.
                io.cancel(call);
                judge(head.status)
            }
            CallEvent::Answer(answer) => judge(answer.status),
            CallEvent::Data(_) | CallEvent::End => return None,
            CallEvent::Failed(error) if is_ours(&error) => {
                let Probe { id, run, .. } = self.open.remove(&call)?;
                let reason = format!("the worker could not ask: {}", Chain(&error));
                return Some(Fact::NotProbed { id, run, reason });
            }
            CallEvent::Failed(error) => Err(describe(&error, probe)),
        };
        let probe = self.open.remove(&call)?;
        Some(Fact::Probed { id: probe.id, run: probe.run, result })
    }
}

fn judge(status: u16) -> Result<(), String> {
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
}

/// Whether this worker lacked something to ask with: no fault of whom it wanted to ask.
fn is_ours(error: &CallError) -> bool {
    match error {
        CallError::Connect(cause) => {
            let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
            let found = cause.raw_os_error().map(Errno::from_raw_os_error);
            found.is_some_and(|found| lacks.contains(&found))
        }
        CallError::TooManyCalls { .. } => true,
        CallError::Timeout(_)
        | CallError::Broken(..)
        | CallError::BadAnswer(_)
        | CallError::TooLarge { .. } => false,
    }
}

/// In a few words, as a person would say it.
fn describe(error: &CallError, probe: &Probe) -> String {
    match error {
        CallError::Connect(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            match &probe.question {
                Question::Connect(address) | Question::Get { address, .. } => {
                    format!("nothing listens on port {}", address.port())
                }
                Question::Notice => cause.to_string(),
            }
        }
        CallError::Connect(cause) => format!("could not connect: {cause}"),
        CallError::Timeout(_) => format!("no answer within {}", format_duration(probe.timeout)),
        CallError::Broken(..) => "the connection was closed without an answer".to_owned(),
        CallError::BadAnswer(_) | CallError::TooLarge { .. } | CallError::TooManyCalls { .. } => {
            error.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_and_redirects_pass() {
        for (status, passes) in
            [(199, false), (200, true), (204, true), (302, true), (399, true), (404, false)]
        {
            assert_eq!(judge(status).is_ok(), passes, "{status}");
        }
        assert_eq!(judge(503), Err("status 503".to_owned()));
    }
}
