//! The `sampler` thread: reads what takes long or could hang, whenever the loop's pulse asks.
//!
//! Reading hundreds of processes' files takes milliseconds, and a file system that is asked for its
//! room may not answer at all: that is why it is a thread of its own.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use tucano_common::id::InstanceId;
use tucano_common::time::Mono;
use tucano_common::wire::worker::{Usage, WorkerMetrics};
use tucano_net::threads::{self, Stack};
use tucano_worker_core::{Layout, Process, Run};

use super::processes::Families;
use super::quiet::{Quiet, Stir};
use super::slow::Slow;

/// What is to be read.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) at: Mono,
    /// Of instances, and the time that it covers.
    pub(super) stir: (Stir, Duration),
    /// Which instances there are, where that changed.
    pub(super) targets: Option<Holders>,
    /// Whether what changes slowly is due.
    pub(super) slow: bool,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Each instance that was named last.
    pub(super) usages: Vec<(InstanceId, Usage)>,
    /// There will be no more to see of them before something of them runs again.
    pub(super) settled: bool,
    /// What is counted of all of them together, where they changed.
    pub(super) quiet: Option<Quiet>,
    /// What changes slowly, in its fields.
    pub(super) slow: Option<WorkerMetrics>,
}

/// Instances, each with the run that it is in and its holder, in the order of ids.
pub(crate) type Holders = Vec<(InstanceId, Run, Process)>;

/// Starts the thread. It ends when `hand_over` says that nobody takes samples any more, or nobody
/// asks.
pub(super) fn spawn(
    layout: Layout,
    mut hand_over: impl FnMut(Box<Sample>) -> bool + Send + 'static,
) -> io::Result<Sender<Ask>> {
    // One is asked for at a time.
    let (ask, asked) = bounded::<Ask>(1);
    let body = move || {
        let mut slow = Slow::new(layout.root());
        let mut families = Families::new();
        for Ask { at, stir: (stir, elapsed), targets, slow: is_due } in asked {
            let quiet = targets.map(|targets| {
                families.set_targets(&targets, &layout);
                families.quiet()
            });
            let usages = families.sample(stir, elapsed);
            let settled = families.are_settled();
            let slow = is_due.then(|| slow.read(at));
            if !hand_over(Box::new(Sample { usages, settled, quiet, slow })) {
                return;
            }
        }
    };
    threads::spawn("sampler", Stack::Helper, body)?;
    Ok(ask)
}
