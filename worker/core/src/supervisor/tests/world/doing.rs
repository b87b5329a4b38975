//! What becomes of the supervisor's effects: processes, folders and answers.

use std::time::Duration;

use tucano_common::time::Mono;

use super::{Running, World, name};
use crate::effect::{Effect, Folder, Launch};
use crate::fact::Fact;
use crate::job::{BuildKey, End, Ending, Job, JobRun, Process, Started};

impl World {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::PrepareSource { build, attempt, .. } => {
                let fact = if self.chance(self.faults.source) {
                    let message = "no such artifact".to_owned();
                    Fact::SourceFailed { build, attempt, message }
                } else {
                    self.folders.insert(name(&Folder::Build(build.clone())));
                    Fact::SourceReady { build, attempt }
                };
                self.later(50, fact);
            }
            Effect::Start(launch) => self.start(*launch),
            Effect::Adopt { job, .. } => self.adopt(job),
            Effect::SignalStop(job) => {
                let stubborn = self.chance(self.faults.stubborn);
                let at = self.now.mono + Duration::from_millis(300);
                if let Some(running) = self.processes.get_mut(&job).filter(|_| !stubborn) {
                    running.ends = Some((at, End::Signal(15)));
                }
            }
            Effect::SignalKill(job) => {
                let at = self.now.mono + Duration::from_millis(3);
                if let Some(running) = self.processes.get_mut(&job) {
                    running.ends = Some((at, End::Signal(9)));
                }
            }
            Effect::Probe(probe) => {
                let alive = self.processes.contains_key(&JobRun::runtime(probe.id, probe.run));
                let failed = !alive || self.chance(self.faults.probe);
                let result = if failed { Err("connection refused".to_owned()) } else { Ok(()) };
                self.later(2, Fact::Probed { id: probe.id, run: probe.run, result });
            }
            Effect::Remove(folder) => self.remove(folder),
            Effect::SaveLedger { version } => {
                let fact = if self.chance(self.faults.ledger) {
                    Fact::LedgerFailed { version, message: "disk full".to_owned() }
                } else {
                    self.disk = Some(self.supervisor.ledger());
                    Fact::LedgerSaved { version }
                };
                self.later(4, fact);
            }
            Effect::Report => self.reports_sent += 1,
            Effect::Note(note) => self.notes.push(note),
        }
    }

    fn start(&mut self, launch: Launch) {
        let job = launch.job.clone();
        self.check_start(&launch);
        self.starts.push(launch.clone());
        if launch.address.is_some() && self.chance(self.faults.port) {
            return self.later(1, Fact::PortTaken { job });
        }
        if self.chance(self.faults.start) {
            let message = "no such folder".to_owned();
            return self.later(3, Fact::StartFailed { job, message });
        }
        self.pids += 2;
        let process = |pid| Process { pid, start: u64::from(pid) };
        let (holder, main) = (process(self.pids), process(self.pids + 1));
        let started = Started { holder, main, at: self.now.wall };
        let ends = match &job.job {
            Job::Runtime(id) => {
                self.folders.insert(name(&Folder::Instance(*id)));
                let ends = self.chance(self.faults.exit);
                ends.then(|| (self.in_seconds(5), End::Code(1)))
            }
            Job::Build(_) | Job::Teardown(_) => {
                let failed = self.chance(self.faults.script);
                let end = if failed { End::Code(1) } else { End::Code(0) };
                let after = self.scripts_take.map(|it| self.now.mono + it);
                Some((after.unwrap_or_else(|| self.in_seconds(2)), end))
            }
        };
        let port = launch.address.map(|address| address.port());
        self.processes.insert(job.clone(), Running { started, port, ends });
        self.later(4, Fact::Started { job, started });
    }

    fn in_seconds(&mut self, at_most: u64) -> Mono {
        let ms = self.prng.next_u64() % (at_most * 1000);
        self.now.mono + Duration::from_millis(ms)
    }

    fn adopt(&mut self, job: JobRun) {
        let fact = if let Some(running) = self.processes.get(&job) {
            let started = running.started;
            if self.chance(0.3) { Fact::NotYet { job } } else { Fact::Started { job, started } }
        } else if let Some(ending) = self.exits.remove(&job) {
            Fact::Ended { job, ending }
        } else {
            Fact::NeverStarted { job }
        };
        self.later(1, fact);
    }

    fn remove(&mut self, folder: Folder) {
        if let Folder::Build(key) = &folder {
            let used = |job: &JobRun| self.works_in(job, key);
            assert!(!self.processes.keys().any(used), "{key:?} is removed while it is used");
        }
        if let Folder::Instance(id) = &folder {
            let job = |it: &JobRun| it.job == Job::Runtime(*id) || it.job == Job::Teardown(*id);
            assert!(!self.processes.keys().any(job), "{id} is removed while it runs");
        }
        self.folders.remove(&name(&folder));
        let fact = if self.chance(self.faults.remove) {
            Fact::RemoveFailed { folder, message: "busy".to_owned() }
        } else {
            Fact::Removed { folder }
        };
        self.later(10, fact);
    }

    fn works_in(&self, job: &JobRun, key: &BuildKey) -> bool {
        match &job.job {
            Job::Build(own) => own == key,
            Job::Runtime(_) | Job::Teardown(_) => {
                let folder = self.supervisor.settings().layout.build(key);
                // An agent that lost its ledger may use a number again: the last start counts.
                let last = self.starts.iter().rev().find(|launch| launch.job == *job);
                last.is_some_and(|launch| launch.folder == folder)
            }
        }
    }

    pub(super) fn end_processes(&mut self) {
        let now = self.now.mono;
        let over = |running: &Running| running.ends.filter(|(at, _)| *at <= now);
        let ended: Vec<(JobRun, End)> = self
            .processes
            .iter()
            .filter_map(|(job, running)| Some((job.clone(), over(running)?.1)))
            .collect();
        for (job, end) in ended {
            self.processes.remove(&job);
            let ending = Ending {
                end,
                at: self.now.wall,
                started_at: None,
                memory_peak_bytes: 1 << 20,
                output_tail: "last words".to_owned(),
            };
            self.exits.insert(job.clone(), ending.clone());
            self.due.push((now, Fact::Ended { job, ending }));
        }
    }
}
