//! The `sampler` thread: a sample of everything once a heartbeat, handed to whoever takes the
//! latest.
//!
//! It reads procfs, which may wait for the kernel's locks: that is why it is a thread of its own.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::wire::worker::{Usage, WorkerMetrics};
use tucano_net::clock::Clock;
use tucano_net::threads::{self, Stack};
use tucano_worker_core::{Layout, Process, Run};

use super::machine::Machine;
use super::processes::Families;

/// One measurement of everything.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The machine.
    pub(crate) metrics: WorkerMetrics,
    /// Each instance that was named last.
    pub(crate) usages: Vec<(InstanceId, Usage)>,
}

/// Instances, each with the run that it is in and its holder, in the order of ids.
pub(crate) type Holders = Vec<(InstanceId, Run, Process)>;

/// Which instances there are: a slot for the latest list, written by the agent's loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    latest: Arc<Mutex<Option<Holders>>>,
}

impl Targets {
    /// Puts in the newest list.
    pub(crate) fn set(&self, targets: Holders) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(targets);
    }

    fn take(&self) -> Option<Holders> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Starts the thread. It ends when `hand_over` says that nobody takes samples any more.
pub(crate) fn spawn(
    layout: Layout,
    interval: Duration,
    targets: Targets,
    mut hand_over: impl FnMut(Box<Sample>) -> bool + Send + 'static,
) -> io::Result<()> {
    let body = move || {
        let mut machine = Machine::new(layout.root());
        let mut families = Families::new();
        let mut next = Clock::mono();
        loop {
            let at = Clock::mono();
            if let Some(targets) = targets.take() {
                families.set_targets(&targets, &layout);
            }
            let metrics = machine.sample(at);
            let usages = families.sample(at);
            if !hand_over(Box::new(Sample { metrics, usages })) {
                return;
            }
            // In step with its start, and not in a burst after the machine slept.
            let now = Clock::mono();
            next = (next + interval).max(now);
            std::thread::sleep(next.since(now));
        }
    };
    threads::spawn("sampler", Stack::Helper, body).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn samples_come_until_nobody_takes_them() {
        let (give, take) = mpsc::sync_channel(1);
        let targets = Targets::default();
        let hand_over = move |sample| give.send(sample).is_ok();
        spawn(Layout::new("/"), Duration::from_millis(1), targets, hand_over).unwrap();
        let wait = Duration::from_secs(20);
        let first = take.recv_timeout(wait).unwrap();
        let second = take.recv_timeout(wait).unwrap();
        assert!(first.metrics.cpu_each.is_empty(), "nothing to compare it with");
        assert!(second.metrics.memory_total_bytes > Some(0));
    }
}
