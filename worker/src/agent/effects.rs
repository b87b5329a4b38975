//! Carries out what the supervisor says, with the runner's functions, the helpers and the loop.
//!
//! No decisions: each effect has one way to be carried out, and each that wants an answer gets one.
//! Descriptors that the loop watches for the runner are kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::time::{Now, Wall};
use tucano_common::wire::worker::{InstanceReport, Notice, RunState};
use tucano_net::text::Escaped;
use tucano_net::{FdId, Io};
use tucano_worker_core::{BuildKey, Effect, Fact, Folder, JobRun, Note, Probe, Supervisor};

use super::Msg;
use super::disk_use::{Look, Sizes};
use super::fetch::{FetchJob, Fetcher};
use super::helpers::{Helper, Queue};
use super::ledgers::{Ledgers, SaveJob};
use super::link::Link;
use super::probes::Probes;
use super::sweep::{self, SweepJob};
use crate::runner::supervisor::{Outcome, Runner, Watch};

/// Which of a job's descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Its start is told.
    Status,
    /// Its holder ended.
    Exit,
}

/// Everything that effects are carried out with.
pub(crate) struct Hands {
    runner: Runner,
    /// The health checks in progress.
    pub(crate) probes: Probes,
    fetch: Queue<FetchJob>,
    sweep: Queue<SweepJob>,
    disk: Queue<SaveJob>,
    watched: BTreeMap<FdId, (JobRun, Side)>,
    /// The pipes of jobs whose start was not told yet.
    starting: BTreeMap<JobRun, FdId>,
    fetching: BTreeMap<BuildKey, Arc<AtomicBool>>,
}

/// What an effect may touch.
pub(crate) struct Reach<'a> {
    /// The loop.
    pub(crate) io: &'a mut Io,
    /// Who asked, and gets the answers.
    pub(crate) supervisor: &'a mut Supervisor,
    /// For reports and notices.
    pub(crate) link: &'a mut Link,
}

impl Hands {
    /// Starts the helpers.
    pub(crate) fn new(
        runner: Runner,
        fetcher: Fetcher,
        answers: &tucano_net::Sender<Msg>,
    ) -> std::io::Result<Hands> {
        let layout = fetcher.layout.clone();
        let mut sizes = Sizes::default();
        let mut ledgers = Ledgers::start(layout.ledger(), answers.clone())?;
        Ok(Hands {
            runner,
            probes: Probes::default(),
            fetch: Queue::spawn(Helper::Fetch, answers.clone(), move |job| Some(fetcher.run(job)))?,
            sweep: Queue::spawn(Helper::Sweep, answers.clone(), move |job| {
                sweep::run(&layout, &mut sizes, job)
            })?,
            disk: Queue::spawn(Helper::Disk, answers.clone(), move |job| Some(ledgers.save(&job)))?,
            watched: BTreeMap::new(),
            starting: BTreeMap::new(),
            fetching: BTreeMap::new(),
        })
    }

    /// Carries out one effect.
    pub(crate) fn carry_out(&mut self, effect: Effect, reach: &mut Reach<'_>) {
        let now = reach.io.now();
        match effect {
            Effect::PrepareSource { build, attempt, source, user } => {
                let cancelled = Arc::new(AtomicBool::new(false));
                self.fetching.insert(build.clone(), Arc::clone(&cancelled));
                self.fetch.submit(FetchJob { build, attempt, source, user, cancelled });
            }
            Effect::Start(launch) => {
                let outcome = self.runner.start(&launch);
                self.watch(launch.job, outcome, reach);
            }
            Effect::Adopt { job, known } => {
                let outcome = self.runner.adopt(&job, known, now.wall);
                self.watch(job, outcome, reach);
            }
            Effect::SignalStop(job) => self.runner.signal_stop(&job),
            Effect::SignalKill(job) => self.runner.signal_kill(&job),
            Effect::Probe(probe) => {
                if let Some(Probe { id, run, .. }) = self.probes.start(reach.io, probe) {
                    let result = self.runner.readiness(&JobRun::runtime(id, run));
                    reach.supervisor.observe(Fact::Probed { id, run, result }, now);
                }
            }
            Effect::Remove(folder) => {
                if let Folder::Build(build) = &folder
                    && let Some(cancelled) = self.fetching.get(build)
                {
                    cancelled.store(true, Ordering::Relaxed);
                }
                self.sweep.submit(SweepJob::Remove(folder));
            }
            Effect::SaveLedger { version } => {
                let ledger = reach.supervisor.ledger();
                self.disk.submit(SaveJob { version, ledger });
            }
            Effect::Report => reach.link.report(now.mono),
            Effect::Note(note) => tell(&note, reach),
        }
    }

    fn watch(&mut self, job: JobRun, outcome: Outcome, reach: &mut Reach<'_>) {
        let now = reach.io.now();
        let fact = match outcome {
            Outcome::Over(fact) => Some(fact),
            Outcome::Watching(Watch { exit, status }, fact) => {
                let exit = reach.io.watch_fd(exit);
                let status = status.map(|status| reach.io.watch_fd(status)).transpose();
                match (exit, status) {
                    (Ok(exit), Ok(status)) => {
                        self.watched.insert(exit, (job.clone(), Side::Exit));
                        if let Some(status) = status {
                            self.watched.insert(status, (job.clone(), Side::Status));
                            self.starting.insert(job, status);
                        }
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        // An agent that does not see its processes end is of no use; the next one
                        // takes them up.
                        log::error!("{job}: its process can't be watched ({error}); ending");
                        reach.io.stop();
                    }
                }
                fact
            }
        };
        if let Some(fact) = fact {
            reach.supervisor.observe(fact, now);
        }
    }

    /// A watched descriptor turned readable. False where it is none of these.
    pub(crate) fn on_fd(&mut self, fd: FdId, io: &mut Io, supervisor: &mut Supervisor) -> bool {
        let now = io.now();
        let Some((job, side)) = self.watched.get(&fd).cloned() else { return false };
        let fact = match side {
            Side::Status => {
                let fact = io.fd(fd).and_then(|pipe| self.runner.on_status(&job, pipe));
                if fact.is_some() {
                    self.unwatch_status(&job, io);
                }
                fact
            }
            Side::Exit => {
                self.unwatch_status(&job, io);
                self.watched.remove(&fd);
                drop(io.unwatch_fd(fd));
                Some(self.runner.on_exit(&job, now.wall))
            }
        };
        if let Some(fact) = fact {
            supervisor.observe(fact, now);
        }
        true
    }

    fn unwatch_status(&mut self, job: &JobRun, io: &mut Io) {
        if let Some(status) = self.starting.remove(job) {
            self.watched.remove(&status);
            drop(io.unwatch_fd(status));
        }
    }

    /// A helper is done with a job.
    pub(crate) fn done(
        &mut self,
        helper: Helper,
        fact: Option<Fact>,
        io: &Io,
        supervisor: &mut Supervisor,
    ) {
        match helper {
            Helper::Fetch => self.fetch.pump(),
            Helper::Sweep => self.sweep.pump(),
            Helper::Disk => self.disk.pump(),
        }
        let Some(fact) = fact else { return };
        if let Fact::SourceReady { build, .. } | Fact::SourceFailed { build, .. } = &fact {
            self.fetching.remove(build);
        }
        if let Fact::Removed { folder } | Fact::RemoveFailed { folder, .. } = &fact {
            self.runner.forget_jobs(|job| sweep::is_of(job, folder));
            if let Folder::Build(build) = folder {
                remove_unused_data(&build.service, supervisor, io.now());
            }
        }
        supervisor.observe(fact, io.now());
    }

    /// Removes outputs that are too old, or too many, of instances that are gone.
    pub(crate) fn sweep_logs(&mut self, keep: BTreeSet<InstanceId>, now: Wall) {
        self.sweep.submit(SweepJob::Logs { keep, now });
    }

    /// Measures what lies in the data folder. Answer: `DiskSeen`.
    pub(crate) fn look_at_disk(&mut self, look: Look) {
        self.sweep.submit(SweepJob::Disk(look));
    }
}

/// A service's own folder stays, with what it wrote there; one that it never used goes with its
/// last instance. On the loop, so that none begins meanwhile.
fn remove_unused_data(service: &ServiceName, supervisor: &mut Supervisor, now: Now) {
    let has_ended = |state| matches!(state, RunState::Stopped | RunState::Failed);
    let is_done = |report: &InstanceReport| report.service != *service || has_ended(report.state);
    if supervisor.reports().iter().all(is_done) {
        let data = supervisor.settings().layout.data(service);
        let is_gone = std::fs::remove_dir(&data).is_ok() || !data.exists();
        if is_gone {
            supervisor.observe(Fact::DataGone { service: service.clone() }, now);
        }
    }
}

/// To the log, and to the controller where it should know.
fn tell(note: &Note, reach: &mut Reach<'_>) {
    let text = note.to_string();
    log::log!(level(note), "{}", Escaped(&text));
    if note.is_notice() || (note.is_history() && reach.link.is_away()) {
        let now = reach.io.now();
        let (kind, instance) = (note.kind().to_owned(), note.instance());
        reach.link.notice(Notice { at: now.wall, kind, message: text, instance }, now.mono);
    }
}

fn level(note: &Note) -> log::Level {
    match note {
        Note::Taken(_)
        | Note::Started { .. }
        | Note::Adopted { .. }
        | Note::Ready { .. }
        | Note::Healthy(_)
        | Note::Ended { .. }
        | Note::SourceReady(_)
        | Note::LedgerBack
        | Note::Forgotten(_) => log::Level::Info,
        Note::Unhealthy { .. }
        | Note::RestartIn { .. }
        | Note::Failed { .. }
        | Note::PortTaken { .. }
        | Note::NotLimited { .. }
        | Note::DiskHeld { .. }
        | Note::NotRemoved { .. } => log::Level::Warn,
        Note::Unkillable(_) | Note::LedgerFailed(_) => log::Level::Error,
        Note::Late(_) => log::Level::Debug,
    }
}
