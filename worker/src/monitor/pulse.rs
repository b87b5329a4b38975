//! The loop's side of the monitor: when to measure, what to read at once and what to ask for.
//!
//! A heartbeat of a worker whose instances do nothing is measured here alone, with three short
//! files: no other thread is woken for it. Where something of them ran, or what changes slowly is
//! due, the `sampler` is asked, and its answer is the heartbeat. One that hangs is not waited for:
//! the machine is measured all the same. The agent's loop calls it.

use std::io;
use std::time::Duration;

use crossbeam_channel::Sender;
use tucano_common::id::InstanceId;
use tucano_common::limits::SLOW_FILES_INTERVAL;
use tucano_common::time::Mono;
use tucano_common::wire::worker::{Usage, WorkerMetrics};
use tucano_worker_core::Layout;

use super::machine::Machine;
use super::quiet::{Quiet, Stir};
use super::sampler::{self, Ask, Holders, Sample};

/// What came of a beat.
#[derive(Debug, PartialEq)]
pub(crate) enum Beat {
    /// It is not due.
    NotYet,
    /// The sampler was asked: [`Pulse::take`] what it says.
    Asked,
    /// All that there is to measure; instances are at rest.
    AtRest(WorkerMetrics),
    /// The sampler has not answered yet: instances are as they were.
    Behind(WorkerMetrics),
}

/// The monitor.
pub(crate) struct Pulse {
    every: Duration,
    next: Mono,
    machine: Machine,
    /// As measured last.
    metrics: WorkerMetrics,
    slow_at: Option<Mono>,
    targets: Holders,
    has_new_targets: bool,
    quiet: Quiet,
    settled: bool,
    /// How far instances' use of the CPU is told.
    told_until: Option<Mono>,
    is_waiting: bool,
    ask: Sender<Ask>,
}

impl Pulse {
    /// Starts the sampler, whose answers are handed over to be given to [`Pulse::take`].
    pub(crate) fn start(
        layout: Layout,
        every: Duration,
        hand_over: impl FnMut(Box<Sample>) -> bool + Send + 'static,
    ) -> io::Result<Pulse> {
        Ok(Pulse::new(every, sampler::spawn(layout, hand_over)?))
    }

    fn new(every: Duration, ask: Sender<Ask>) -> Pulse {
        Pulse {
            every,
            next: Mono(0),
            machine: Machine::new(),
            metrics: WorkerMetrics::default(),
            slow_at: None,
            targets: Vec::new(),
            has_new_targets: false,
            quiet: Quiet::default(),
            settled: true,
            told_until: None,
            is_waiting: false,
            ask,
        }
    }

    /// Which instances there are.
    pub(crate) fn watch(&mut self, targets: Holders) {
        self.targets = targets;
        self.has_new_targets = true;
    }

    /// Those that were named last.
    pub(crate) fn watched(&self) -> &Holders {
        &self.targets
    }

    /// When [`Pulse::beat`] is due.
    pub(crate) fn deadline(&self) -> Mono {
        self.next
    }

    /// Measures, if it is time.
    pub(crate) fn beat(&mut self, now: Mono) -> Beat {
        if now < self.next {
            return Beat::NotYet;
        }
        // In step with its start, and not in a burst after the machine slept.
        self.next =
            Some(self.next + self.every).filter(|next| *next > now).unwrap_or(now + self.every);
        self.machine.sample(now, &mut self.metrics);
        if self.is_waiting {
            return Beat::Behind(self.metrics.clone());
        }
        let stir = if self.targets.is_empty() { Stir::Quiet } else { self.quiet.look() };
        let elapsed = self.told_until.replace(now).map_or(Duration::ZERO, |until| now.since(until));
        // A beat that comes a little early has it as well.
        let slow =
            self.slow_at.is_none_or(|at| now.since(at) + self.every / 2 >= SLOW_FILES_INTERVAL);
        if stir == Stir::Quiet && self.settled && !slow && !self.has_new_targets {
            return Beat::AtRest(self.metrics.clone());
        }
        let targets = std::mem::take(&mut self.has_new_targets).then(|| self.targets.clone());
        let stir = if targets.is_some() { Stir::Ran } else { stir };
        if slow {
            self.slow_at = Some(now);
        }
        // It takes one at a time, and the last one was answered.
        self.is_waiting =
            self.ask.try_send(Ask { at: now, stir: (stir, elapsed), targets, slow }).is_ok();
        if self.is_waiting { Beat::Asked } else { Beat::Behind(self.metrics.clone()) }
    }

    /// The sampler's answer: what each instance uses, and the machine.
    pub(crate) fn take(&mut self, sample: Sample) -> (Vec<(InstanceId, Usage)>, WorkerMetrics) {
        let Sample { usages, settled, quiet, slow } = sample;
        self.is_waiting = false;
        self.settled = settled;
        if let Some(quiet) = quiet {
            self.quiet = quiet;
        }
        if let Some(slow) = slow {
            let fast = std::mem::take(&mut self.metrics);
            self.metrics = WorkerMetrics {
                cpu_ratio: fast.cpu_ratio,
                cpu_each: fast.cpu_each,
                iowait_ratio: fast.iowait_ratio,
                steal_ratio: fast.steal_ratio,
                memory_total_bytes: fast.memory_total_bytes,
                memory_available_bytes: fast.memory_available_bytes,
                swap_total_bytes: fast.swap_total_bytes,
                swap_free_bytes: fast.swap_free_bytes,
                pressure: fast.pressure,
                ..slow
            };
        }
        (usages, self.metrics.clone())
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, bounded};
    use tucano_worker_core::{Process, Run};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pulse() -> (Pulse, Receiver<Ask>) {
        let (ask, asked) = bounded(1);
        (Pulse::new(SECOND, ask), asked)
    }

    fn sample(settled: bool, quiet: Option<Quiet>, load: f32) -> Sample {
        let slow = WorkerMetrics { load: Some([load; 3]), ..WorkerMetrics::default() };
        Sample { usages: Vec::new(), settled, quiet, slow: Some(slow) }
    }

    #[test]
    fn a_worker_at_rest_asks_for_what_is_slow_alone() {
        let (mut pulse, asked) = pulse();
        let mut now = Mono(7_000_000);
        assert_eq!(pulse.beat(now), Beat::Asked);
        let first = asked.try_recv().unwrap();
        assert!(first.slow && first.targets.is_none());
        assert_eq!(pulse.take(sample(true, None, 0.5)).1.load, Some([0.5; 3]));
        assert_eq!(pulse.beat(now), Beat::NotYet);
        for _ in 0..4 {
            assert_eq!(pulse.deadline(), now + SECOND);
            now = now + SECOND;
            let Beat::AtRest(metrics) = pulse.beat(now) else { panic!("it asked") };
            assert!(metrics.load == Some([0.5; 3]) && metrics.memory_total_bytes > Some(0));
        }
        now = now + SECOND;
        assert_eq!(pulse.beat(now), Beat::Asked);
        assert!(asked.try_recv().unwrap().slow);
    }

    #[test]
    fn instances_that_run_are_asked_for_and_those_that_rest_are_not() {
        let file = std::env::temp_dir().join(format!("tucano-pulse-{}", std::process::id()));
        let used = |us: u32| std::fs::write(&file, format!("usage_usec {us}\n")).unwrap();
        used(1);
        let (mut pulse, asked) = pulse();
        let mut now = Mono(7_000_000);
        pulse.slow_at = Some(now + SECOND * 3600);
        pulse.watch(vec![(InstanceId(1), Run(1), Process { pid: 1, start: 1 })]);
        let mut beat = |pulse: &mut Pulse, answer: Option<Sample>| {
            now = now + SECOND;
            let beat = pulse.beat(now);
            let ask = asked.try_recv().ok();
            if let (Some(_), Some(answer)) = (&ask, answer) {
                pulse.take(answer);
            }
            (beat, ask.map(|ask| (ask.stir, ask.targets.is_some())))
        };
        let quiet = Some(Quiet::of_file(Some(file.clone())));
        let told = Some(((Stir::Ran, Duration::ZERO), true));
        assert_eq!(beat(&mut pulse, Some(sample(false, quiet, 0.0))).1, told);
        let (unsettled, settled) = (sample(false, None, 0.0), sample(true, None, 0.0));
        assert_eq!(beat(&mut pulse, Some(unsettled)).1, Some(((Stir::Ran, SECOND), false)));
        assert_eq!(beat(&mut pulse, Some(settled)).1, Some(((Stir::Quiet, SECOND), false)));
        assert!(matches!(beat(&mut pulse, None), (Beat::AtRest(_), None)));
        assert!(matches!(beat(&mut pulse, None), (Beat::AtRest(_), None)));
        used(2);
        assert_eq!(beat(&mut pulse, None).1, Some(((Stir::Ran, SECOND), false)));
        // It does not answer: nothing more is asked, and the time gathers.
        for _ in 0..3 {
            assert!(matches!(beat(&mut pulse, None), (Beat::Behind(_), None)));
        }
        pulse.take(sample(true, None, 0.0));
        used(3);
        assert_eq!(beat(&mut pulse, None).1, Some(((Stir::Ran, SECOND * 4), false)));
        std::fs::remove_file(&file).unwrap();
    }
}
