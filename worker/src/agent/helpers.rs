//! The threads that may wait, so that the loop need not: `fetch` (sources), `sweep` (removes
//! folders), `disk` (the ledger).
//!
//! Each takes one job after the other and says when it is done, with a fact where the supervisor
//! waits for one. What waits for a thread stays on the loop's side ([`Queue`]); it is bounded by
//! what the supervisor has outstanding: one effect of a kind for each instance and build.

use std::collections::VecDeque;
use std::io;

use crossbeam_channel::{TrySendError, bounded};
use tucano_net::threads::{self, Stack};
use tucano_net::{SendError, Sender};
use tucano_worker_core::Fact;

use super::Msg;

/// Jobs in a channel; the rest waits in its queue.
const CHANNEL_JOBS: usize = 4;

/// How long an answer waits for room in the loop's inbox before it is tried again.
const INBOX_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Which helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    /// Downloads, unpacks, copies.
    Fetch,
    /// Removes folders.
    Sweep,
    /// Writes the ledger.
    Disk,
}

impl Helper {
    fn thread_name(self) -> &'static str {
        match self {
            Helper::Fetch => "fetch",
            Helper::Sweep => "sweep",
            Helper::Disk => "disk",
        }
    }
}

/// The loop's end of a helper.
pub(crate) struct Queue<J> {
    channel: crossbeam_channel::Sender<J>,
    waiting: VecDeque<J>,
}

impl<J: Send + 'static> Queue<J> {
    /// Starts the helper; `work` is done with each job, in order.
    pub(crate) fn spawn(
        helper: Helper,
        answers: Sender<Msg>,
        mut work: impl FnMut(J) -> Option<Fact> + Send + 'static,
    ) -> io::Result<Queue<J>> {
        let (channel, jobs) = bounded::<J>(CHANNEL_JOBS);
        let body = move || {
            for job in jobs {
                let fact = work(job).map(Box::new);
                if !deliver(&answers, Msg::Done(helper, fact)) {
                    return;
                }
            }
        };
        threads::spawn(helper.thread_name(), Stack::Helper, body)?;
        Ok(Queue { channel, waiting: VecDeque::new() })
    }

    /// Gives it a job; never waits.
    pub(crate) fn submit(&mut self, job: J) {
        self.waiting.push_back(job);
        self.pump();
    }

    /// Hands over what has waited, as far as there is room: after every answer.
    pub(crate) fn pump(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            match self.channel.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => {
                    self.waiting.push_front(job);
                    return;
                }
                // A helper ends only with the process.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

/// Sends what must not be lost to the loop, for threads that may wait. False where the loop is
/// gone.
pub(crate) fn deliver(to: &Sender<Msg>, mut msg: Msg) -> bool {
    loop {
        match to.try_send(msg) {
            Ok(()) => return true,
            Err(SendError::Closed(_)) => return false,
            Err(SendError::Full(back)) => {
                msg = back;
                std::thread::sleep(INBOX_PAUSE);
            }
        }
    }
}
