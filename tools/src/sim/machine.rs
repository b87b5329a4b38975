//! A worker's machine without a machine: processes that are states and times, folders that are
//! names. It outlives the agent, as holders and disks do, and checks what an agent must never do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tucano_common::id::InstanceId;
use tucano_common::prng::Prng;
use tucano_common::spec::StopSignal;
use tucano_common::time::Wall;
use tucano_worker_core::{
    End, Ending, Fact, Folder, Job, JobRun, Launch, Layout, Process, Started,
};

use super::bus::{Bus, Due};
use super::clock::{MS, SECOND, Time};

/// A process under its holder.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) started: Started,
    pub(super) port: Option<u16>,
    /// Passes its check from then on; never: it does not.
    ready_at: Option<Time>,
    ends: Option<(Time, End)>,
    folder: PathBuf,
    grace: Time,
    stubborn: bool,
    unkillable: bool,
}

pub(super) struct Machine {
    worker: usize,
    pub(super) processes: BTreeMap<JobRun, Running>,
    /// What holders wrote of jobs that ended.
    exits: BTreeMap<JobRun, Ending>,
    folders: BTreeSet<PathBuf>,
    layout: Layout,
    prng: Prng,
    pids: u32,
}

impl Machine {
    pub(super) fn new(worker: usize, layout: Layout, prng: Prng) -> Machine {
        Machine {
            worker,
            processes: BTreeMap::new(),
            exits: BTreeMap::new(),
            folders: BTreeSet::new(),
            layout,
            prng,
            pids: 100,
        }
    }

    /// The runtime process of an instance.
    pub(super) fn runtime(&self, id: InstanceId) -> Option<&Running> {
        let mut all = self.processes.iter();
        all.find(|(job, _)| job.job == Job::Runtime(id)).map(|(_, running)| running)
    }

    /// Whose runtime listens on a port.
    pub(super) fn listener(&self, port: u16) -> Option<InstanceId> {
        self.processes.iter().find_map(|(job, running)| match &job.job {
            Job::Runtime(id) if running.port == Some(port) => Some(*id),
            Job::Runtime(_) | Job::Build(_) | Job::Teardown(_) => None,
        })
    }

    /// Whether an instance's process answers now.
    pub(super) fn answers(&self, id: InstanceId, now: Time) -> bool {
        self.runtime(id).is_some_and(|it| it.ready_at.is_some_and(|at| at <= now))
    }

    /// Everything that runs is gone, as after a power cut; holders wrote nothing.
    pub(super) fn lose_power(&mut self, wall: Wall) {
        for job in std::mem::take(&mut self.processes).into_keys() {
            let ending = Ending {
                end: End::Unknown,
                at: wall,
                started_at: None,
                memory_peak_bytes: 0,
                output_tail: String::new(),
            };
            self.exits.insert(job, ending);
        }
    }

    /// Another machine takes its place.
    pub(super) fn wipe(&mut self) {
        self.processes.clear();
        self.exits.clear();
        self.folders.clear();
    }

    /// Ends the jobs that nobody knows.
    pub(super) fn sweep(&mut self, known: &[JobRun]) -> Vec<JobRun> {
        let strangers: Vec<JobRun> =
            self.processes.keys().filter(|job| !known.contains(job)).cloned().collect();
        for job in &strangers {
            self.processes.remove(job);
        }
        strangers
    }

    pub(super) fn make_folder(&mut self, folder: PathBuf) {
        self.folders.insert(folder);
    }

    /// Starts a script; what the agent learns, and how much later.
    pub(super) fn start(&mut self, launch: &Launch, wall: Wall, bus: &mut Bus) -> (Time, Fact) {
        self.check_start(launch, bus);
        let job = launch.job.clone();
        let faults = bus.faults.clone();
        let port = launch.address.map(|address| address.port());
        let taken = port.is_some_and(|port| {
            self.listener(port).is_some() || self.prng.chance(faults.port_taken)
        });
        if taken {
            return (MS, Fact::PortTaken { job });
        }
        if self.prng.chance(faults.start_fails) {
            return (3 * MS, Fact::StartFailed { job, message: "no such folder".to_owned() });
        }
        self.pids += 2;
        let process = |pid| Process { pid, start: u64::from(pid) };
        let (holder, main) = (process(self.pids), process(self.pids + 1));
        let started = Started { holder, main, at: wall };
        let mut running = Running {
            started,
            port,
            ready_at: None,
            ends: None,
            folder: launch.folder.clone(),
            grace: u64::try_from(launch.stop.grace.as_micros()).unwrap_or(0),
            stubborn: launch.stop.signal != StopSignal::Kill && self.prng.chance(faults.stubborn),
            unkillable: self.prng.chance(faults.unkillable),
        };
        self.behave(&launch.script, &mut running, matches!(job.job, Job::Runtime(_)), bus);
        if let Some((at, _)) = running.ends {
            bus.at(at, Due::Ends { worker: self.worker, job: job.clone() });
        }
        self.folders.insert(launch.home.clone());
        self.exits.remove(&job);
        self.processes.insert(job.clone(), running);
        (4 * MS, Fact::Started { job, started })
    }

    /// What a script does: by its own words, then by chance.
    fn behave(&mut self, script: &str, running: &mut Running, is_runtime: bool, bus: &mut Bus) {
        let now = bus.now;
        let faults = bus.faults.clone();
        let mut within = |most: Time| now + u64::from(self.prng.below(most as u32));
        match script {
            "crash" => running.ends = Some((within(300 * MS), End::Code(3))),
            "fail" => running.ends = Some((within(500 * MS), End::Code(1))),
            "never" => {}
            _ if !is_runtime => {
                let at = within(2 * SECOND);
                let failed = self.prng.chance(faults.script_fails);
                running.ends = Some((at, End::Code(i32::from(failed))));
            }
            _ => {
                let mut ready = within(200 * MS);
                let (soon, later) = (within(100 * MS), within(30 * SECOND));
                let slow = within(8 * SECOND);
                if self.prng.chance(faults.slow_start) {
                    ready = slow;
                }
                running.ready_at = Some(ready);
                if self.prng.chance(faults.dies_at_once) {
                    running.ends = Some((soon, End::Code(1)));
                } else if self.prng.chance(faults.flaps) {
                    running.ends = Some((later, End::Signal(11)));
                }
            }
        }
    }

    /// Asks a job to end: by its signal, and after its grace by SIGKILL.
    pub(super) fn stop(&mut self, job: &JobRun, bus: &mut Bus) {
        let delay = u64::from(self.prng.below(400)) * MS;
        let Some(running) = self.processes.get(job) else { return };
        let (at, end) = if running.stubborn {
            (bus.now + running.grace, End::Signal(9))
        } else {
            (bus.now + delay.min(running.grace), End::Signal(15))
        };
        self.end_by(job, at, end, bus);
    }

    pub(super) fn kill(&mut self, job: &JobRun, bus: &mut Bus) {
        self.end_by(job, bus.now + 3 * MS, End::Signal(9), bus);
    }

    fn end_by(&mut self, job: &JobRun, at: Time, end: End, bus: &mut Bus) {
        let Some(running) = self.processes.get_mut(job) else { return };
        let killed = end == End::Signal(9);
        let hangs = killed && std::mem::take(&mut running.unkillable);
        let at = if hangs { at + 12 * SECOND } else { at };
        if running.ends.is_none_or(|(before, _)| at < before) {
            running.ends = Some((at, end));
            bus.at(at, Due::Ends { worker: self.worker, job: job.clone() });
        }
    }

    /// A job's time may be over: then it is gone, and its holder wrote how.
    pub(super) fn end_due(&mut self, job: &JobRun, wall: Wall, now: Time) -> Option<Fact> {
        let (_, end) = self.processes.get(job)?.ends.filter(|(at, _)| *at <= now)?;
        self.processes.remove(job);
        let ending = Ending {
            end,
            at: wall,
            started_at: None,
            memory_peak_bytes: 0,
            output_tail: "last words".to_owned(),
        };
        self.exits.insert(job.clone(), ending.clone());
        Some(Fact::Ended { job: job.clone(), ending })
    }

    /// What became of a job that an earlier agent started.
    pub(super) fn adopt(&mut self, job: JobRun) -> Fact {
        if let Some(running) = self.processes.get(&job) {
            let started = running.started;
            let quick = self.prng.chance(0.7);
            return if quick { Fact::Started { job, started } } else { Fact::NotYet { job } };
        }
        match self.exits.get(&job).cloned() {
            Some(ending) => Fact::Ended { job, ending },
            None => Fact::NeverStarted { job },
        }
    }

    pub(super) fn probe(&mut self, id: InstanceId, bus: &Bus) -> Result<(), String> {
        let failed = self.prng.chance(bus.faults.probe_fails);
        let answers = self.answers(id, bus.now) && !failed;
        if answers { Ok(()) } else { Err("connection refused".to_owned()) }
    }

    pub(super) fn remove(&mut self, folder: Folder, bus: &mut Bus) -> Fact {
        let path = match &folder {
            Folder::Instance(id) => self.layout.instance(*id),
            Folder::Build(key) => self.layout.build(key),
        };
        let of_instance = |job: &JobRun| match (&folder, &job.job) {
            (Folder::Instance(id), Job::Runtime(of) | Job::Teardown(of)) => id == of,
            (Folder::Instance(_), Job::Build(_)) | (Folder::Build(_), _) => false,
        };
        let used = self.processes.iter().find(|(job, it)| it.folder == path || of_instance(job));
        if let Some((job, _)) = used {
            bus.fault(|| format!("w{}: {folder:?} goes while {job} runs", self.worker + 1));
        }
        self.exits.retain(|job, _| !of_instance(job));
        self.folders.remove(&path);
        if self.prng.chance(bus.faults.remove_fails) {
            return Fact::RemoveFailed { folder, message: "busy".to_owned() };
        }
        Fact::Removed { folder }
    }

    /// What a start needs, and what must not run beside it.
    fn check_start(&self, launch: &Launch, bus: &mut Bus) {
        let worker = self.worker + 1;
        if !self.folders.contains(&launch.folder) {
            bus.fault(|| format!("w{worker}: {} starts without its folder", launch.job));
        }
        let instance = |job: &Job| match job {
            Job::Build(_) => None,
            Job::Runtime(id) | Job::Teardown(id) => Some(*id),
        };
        let same = |other: &&JobRun| match (&other.job, &launch.job.job) {
            (Job::Build(_), Job::Build(_)) => true,
            (other, own) => instance(other).is_some() && instance(other) == instance(own),
        };
        if let Some(other) = self.processes.keys().find(same) {
            bus.fault(|| format!("w{worker}: {} starts beside {other}", launch.job));
        }
        let port = launch.address.map(|address| address.port());
        if let Some(owner) = port.and_then(|port| self.listener(port)) {
            bus.fault(|| format!("w{worker}: {} is given the port of {owner}", launch.job));
        }
    }
}
