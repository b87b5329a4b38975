//! Carries out the supervisor's effects on processes: starts holders, watches them, signals them,
//! takes up what an earlier agent left. The agent's loop calls it.
//!
//! It decides nothing, and waits for nothing but, where a holder was killed, for the kernel to take
//! what that one left. One descriptor a job tells of its end (the holder's pidfd), another one of
//! its start (a pipe); the loop watches both and calls [`Runner::on_status`] and
//! [`Runner::on_exit`] when they turn readable.

mod remains;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::process::Signal;
use tucano_common::limits::HOLDER_EXIT_TIMEOUT;
use tucano_common::time::Wall;
use tucano_worker_core::ledger::InstanceEntry;
use tucano_worker_core::{End, Ending, Fact, Job, JobRun, Launch, Layout, Process, Started};

use super::cgroup::Cgroups;
use super::confinement::Confinement;
use super::record::{
    self, ENTRY, EXIT, Exit, LOCK, READINESS, RUNNING, Readiness, Running, Status,
};
use super::sweep::{Target, sweep};
use super::user::{Identity, RunAs};
use super::view::{self, View};
use super::{folders, logs, ports, process, spawn};

/// The processes of a worker.
pub(crate) struct Runner {
    layout: Layout,
    identity: Identity,
    program: PathBuf,
    cgroups: Cgroups,
    /// Whether services are kept from each other's files.
    confined: bool,
    boot_id: String,
    jobs: BTreeMap<JobRun, Held>,
    /// Whose missing limits were told: a job that ends again and again tells them once.
    not_limited: BTreeSet<Job>,
}

/// A job with a holder.
struct Held {
    holder: OwnedFd,
    started: Option<Started>,
}

/// What the loop watches of a job.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Readable once the holder ended: then [`Runner::on_exit`].
    pub(crate) exit: OwnedFd,
    /// Readable once the script runs, or could not be started: then [`Runner::on_status`]. None for
    /// a job that was taken up and is known to run.
    pub(crate) status: Option<OwnedFd>,
}

/// What came of [`Runner::start`] and [`Runner::adopt`].
#[derive(Debug)]
pub(crate) enum Outcome {
    /// There is a holder: watch it, and hand in the fact, if there is one.
    Watching(Watch, Option<Fact>),
    /// There is none: hand in the fact.
    Over(Fact),
}

impl Runner {
    /// One without jobs. `program` is what holders are started from: this binary
    /// (`/proc/self/exe`, so that an upgrade on disk does not mix versions).
    pub(crate) fn new(layout: Layout, identity: Identity, program: PathBuf) -> Runner {
        let boot_id = process::boot_id();
        let cgroups = Cgroups::default();
        let (confined, jobs, not_limited) = (false, BTreeMap::new(), BTreeSet::new());
        Runner { layout, identity, program, cgroups, confined, boot_id, jobs, not_limited }
    }

    /// The same, with services kept apart as far as this machine can.
    pub(crate) fn confined(self) -> Runner {
        let cgroups = Cgroups::find(self.layout.root());
        Runner { cgroups, confined: view::missing().is_none(), ..self }
    }

    /// What this worker can do to keep services apart, for the log.
    pub(crate) fn confinement(&self) -> String {
        self.cgroups.summary()
    }

    /// What it can't do and why, each for a notice: its kind and its text.
    pub(crate) fn missing(&self) -> Vec<(&'static str, String)> {
        let groups = self.cgroups.missing().map(|text| ("cgroup_unavailable", text.to_owned()));
        let view = view::missing().map(|text| ("isolation_unavailable", text));
        groups.into_iter().chain(view).collect()
    }

    /// [`Effect::Start`](tucano_worker_core::Effect::Start).
    pub(crate) fn start(&mut self, launch: &Launch) -> Outcome {
        let job = launch.job.clone();
        if launch.address.is_some_and(|address| !ports::is_free(address)) {
            return Outcome::Over(Fact::PortTaken { job });
        }
        match self.try_start(launch) {
            Ok((watch, problem)) => {
                let told = problem.filter(|_| self.not_limited.insert(job.job.clone()));
                Outcome::Watching(watch, told.map(|message| Fact::NotLimited { job, message }))
            }
            Err(message) => {
                let folder = self.layout.job(&job);
                Confinement::of(&folder).group.remove();
                let _nothing_of_it_runs = folders::remove(&folder);
                Outcome::Over(Fact::StartFailed { job, message })
            }
        }
    }

    /// With what could not be limited, if anything.
    fn try_start(&mut self, launch: &Launch) -> Result<(Watch, Option<String>), String> {
        self.succeed_runs_before(&launch.job);
        let user = self.identity.of(launch.user)?;
        let lock = self.prepare(launch, user.as_ref())?;
        let problem = self.confine(launch)?;
        let holder = spawn::holder(&self.program, &self.layout, launch, user.as_ref(), lock)
            .map_err(|error| format!("the worker could not start a process: {error}"))?;
        let held = Held { holder: holder.signals, started: None };
        self.jobs.insert(launch.job.clone(), held);
        Ok((Watch { exit: holder.exit, status: Some(holder.status) }, problem))
    }

    /// The folders that a script needs, and its job's own files.
    fn prepare(&self, launch: &Launch, user: Option<&RunAs>) -> Result<File, String> {
        folders::make_for(&launch.home, user).map_err(|error| failed(&launch.home, error))?;
        folders::make_for(&launch.data, user).map_err(|error| failed(&launch.data, error))?;
        if let (Identity::Each(_), Some(user)) = (&self.identity, user) {
            for folder in [&launch.data, &launch.home, &launch.folder] {
                folders::is_owned(folder, user)?;
            }
        }
        folders::make_own(&launch.logs).map_err(|error| failed(&launch.logs, error))?;
        let folder = self.layout.job(&launch.job);
        folders::make_own(&folder).map_err(|error| failed(&folder, error))?;
        let lock_path = folder.join(LOCK);
        let lock = open_lock(&lock_path, true).map_err(|error| failed(&lock_path, error))?;
        if !try_lock(&lock) {
            return Err("an earlier process of it has not ended yet".to_owned());
        }
        for name in [RUNNING, EXIT] {
            let path = folder.join(name);
            record::reserve(&path).map_err(|error| failed(&path, error))?;
        }
        if launch.notify.is_some() {
            let path = folder.join(READINESS);
            record::reserve(&path).map_err(|error| failed(&path, error))?;
        }
        if let Some(entry) = &launch.entry {
            let path = folder.join(ENTRY);
            match write_entry(&path, entry) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    // It is for an agent that finds no ledger; the ledger knows the instance.
                    let _half_of_it = fs::remove_file(&path);
                    log::warn!("{}: {error}; it is started without", path.display());
                }
                written => written.map_err(|error| failed(&path, error))?,
            }
        }
        Ok(lock)
    }

    /// Makes its control group. What can't be limited runs all the same; why is given back.
    fn confine(&self, launch: &Launch) -> Result<Option<String>, String> {
        let (group, problem) = self.cgroups.make(&launch.job, &launch.resources, launch.priority);
        let view = self
            .confined
            .then(|| View::new(self.layout.root(), &launch.home, &[&launch.folder, &launch.data]));
        let folder = self.layout.job(&launch.job);
        let confinement = Confinement { group, view };
        confinement.write(&folder).map_err(|error| {
            // Nobody would find it by its file.
            confinement.group.remove();
            failed(&folder, error)
        })?;
        Ok(problem)
    }

    /// [`Effect::Adopt`](tucano_worker_core::Effect::Adopt).
    pub(crate) fn adopt(&mut self, job: &JobRun, known: Option<Started>, now: Wall) -> Outcome {
        let folder = self.layout.job(job);
        let running: Option<Running> = record::read(&folder.join(RUNNING));
        let lock = open_lock(&folder.join(LOCK), false);
        match lock {
            Ok(lock) if !try_lock(&lock) => self.adopt_living(job, running),
            Ok(_) => {
                let started = self.of_this_boot(running).or(known);
                // A child still, where this process was another agent before. It let go of its lock
                // as one of the last things, and may not have ended altogether.
                if let Some(holder) = started.and_then(|started| process::open(started.holder)) {
                    process::wait(&holder, HOLDER_EXIT_TIMEOUT);
                    process::reap(&holder);
                }
                Outcome::Over(self.ended(job, started, now))
            }
            Err(_) => match known {
                Some(started) => Outcome::Over(self.ended(job, Some(started), now)),
                None => Outcome::Over(Fact::NeverStarted { job: job.clone() }),
            },
        }
    }

    fn adopt_living(&mut self, job: &JobRun, running: Option<Running>) -> Outcome {
        let job = job.clone();
        let started = self.of_this_boot(running);
        let opened = started.and_then(|started| {
            let exit = process::open(started.holder)?;
            let holder = exit.try_clone().ok()?;
            Some((started, exit, holder))
        });
        let Some((started, exit, holder)) = opened else {
            return Outcome::Over(Fact::NotYet { job });
        };
        self.jobs.insert(job.clone(), Held { holder, started: Some(started) });
        Outcome::Watching(Watch { exit, status: None }, Some(Fact::Started { job, started }))
    }

    /// Another boot's processes are gone, whoever has their numbers now.
    fn of_this_boot(&self, running: Option<Running>) -> Option<Started> {
        running.filter(|running| running.boot_id == self.boot_id).map(|running| running.started)
    }

    /// [`Effect::SignalStop`](tucano_worker_core::Effect::SignalStop).
    pub(crate) fn signal_stop(&self, job: &JobRun) {
        self.signal(job, Signal::TERM);
    }

    /// [`Effect::SignalKill`](tucano_worker_core::Effect::SignalKill).
    pub(crate) fn signal_kill(&self, job: &JobRun) {
        self.signal(job, Signal::USR1);
    }

    fn signal(&self, job: &JobRun, signal: Signal) {
        if let Some(held) = self.jobs.get(job)
            && let Err(error) = process::signal(&held.holder, signal)
        {
            log::warn!("{job}: its holder could not be signalled: {error}");
        }
    }

    /// What a script that tells by itself that it is ready said last.
    pub(crate) fn readiness(&self, job: &JobRun) -> Result<(), String> {
        let said: Option<Readiness> = record::read(&self.layout.job(job).join(READINESS));
        said.unwrap_or_default().judge()
    }

    /// The status pipe turned readable. Unwatch it if a fact came: there will be no other.
    pub(crate) fn on_status(&mut self, job: &JobRun, pipe: BorrowedFd<'_>) -> Option<Fact> {
        let mut bytes = [0; 1024];
        let n = nix::unistd::read(pipe, &mut bytes).ok()?;
        let text = bytes.get(..n)?.trim_ascii_end();
        match serde_json::from_slice(text).ok()? {
            Status::Started(started) => {
                self.jobs.get_mut(job)?.started = Some(started);
                Some(Fact::Started { job: job.clone(), started })
            }
            // The holder ends now, and its record says the same.
            Status::NotStarted(_) => None,
        }
    }

    /// The holder's pidfd turned readable: reaps it, reads how the job ended, and sweeps what the
    /// holder could not. Always the last fact of a job (`Ended`, or `StartFailed`): unwatch both
    /// descriptors.
    pub(crate) fn on_exit(&mut self, job: &JobRun, now: Wall) -> Fact {
        // Its descriptor is let go of first: an agent that has no other one reads the files by it.
        let known = self.jobs.remove(job).and_then(|Held { holder, started }| {
            process::reap(&holder);
            started
        });
        let running = self.of_this_boot(record::read(&self.layout.job(job).join(RUNNING)));
        self.ended(job, known.or(running), now)
    }

    /// How a job ended whose holder is gone.
    fn ended(&self, job: &JobRun, started: Option<Started>, now: Wall) -> Fact {
        let folder = self.layout.job(job);
        let job = job.clone();
        let since = started.map_or(Wall(0), |started| started.at);
        let exit: Option<Exit> = record::read(&folder.join(EXIT));
        if !Confinement::of(&folder).group.end() {
            log::warn!("{job}: what its holder left could not be ended");
        }
        let (end, at, memory_peak_bytes) = match exit {
            Some(Exit { at, how, memory_peak_bytes }) => match how.end() {
                Err(message) => return Fact::StartFailed { job, message },
                Ok(end) => (end, at, memory_peak_bytes),
            },
            None => {
                let main = started.map(|started| started.main);
                self.sweep(&job, main);
                (End::Unknown, now, 0)
            }
        };
        let output_tail = logs::output_tail(&self.logs_of(&job.job), since);
        let started_at = started.map(|started| started.at);
        Fact::Ended { job, ending: Ending { end, at, started_at, memory_peak_bytes, output_tail } }
    }

    fn sweep(&self, job: &JobRun, main: Option<Process>) {
        let home = self.home_of(&job.job);
        if !sweep(&Target::Job { home: &home, main }) {
            log::warn!("{job}: what its holder left could not be ended");
        }
    }

    fn home_of(&self, job: &Job) -> PathBuf {
        match job {
            Job::Build(key) => self.layout.build_home(key),
            Job::Runtime(id) | Job::Teardown(id) => self.layout.instance(*id),
        }
    }

    fn logs_of(&self, job: &Job) -> PathBuf {
        match job {
            Job::Build(key) => self.layout.build_logs(key),
            Job::Runtime(id) | Job::Teardown(id) => self.layout.instance_logs(*id),
        }
    }

    /// The files of the same job's earlier runs, which are over, become this one's: it finds room
    /// on a full disk, too.
    fn succeed_runs_before(&self, job: &JobRun) {
        let folder = self.layout.job(job);
        for (found, earlier) in self.found_jobs() {
            let is_earlier = found.job == job.job && found.run < job.run;
            if is_earlier && (folder.exists() || inherit(&earlier, &folder).is_err()) {
                let _left_for_the_next_start = folders::remove(&earlier);
            }
        }
    }

    /// Removes the files of all runs of an instance's or a build's jobs: with
    /// [`Effect::Remove`](tucano_worker_core::Effect::Remove).
    pub(crate) fn forget_jobs(&mut self, is_gone: impl Fn(&Job) -> bool) {
        self.not_limited.retain(|job| !is_gone(job));
        for (found, folder) in self.found_jobs() {
            if is_gone(&found.job) && !self.jobs.contains_key(&found) {
                let _left_for_the_next_agent = folders::remove(&folder);
            }
        }
    }

    fn found_jobs(&self) -> Vec<(JobRun, PathBuf)> {
        let Ok(entries) = fs::read_dir(self.layout.jobs()) else { return Vec::new() };
        let jobs = entries.flatten().filter_map(|entry| {
            let job = JobRun::parse(entry.file_name().to_str()?)?;
            Some((job, entry.path()))
        });
        jobs.collect()
    }
}

/// What the earlier run told, and its lock, are gone before they could be taken for the new one's.
fn inherit(earlier: &Path, folder: &Path) -> io::Result<()> {
    let _had_none = fs::remove_file(earlier.join(LOCK));
    for name in [RUNNING, EXIT, READINESS] {
        let path = earlier.join(name);
        if path.exists() {
            record::reserve(&path)?;
        }
    }
    fs::rename(earlier, folder)
}

fn failed(path: &Path, error: io::Error) -> String {
    format!("the worker could not make {}: {error}", path.display())
}

fn open_lock(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().append(true).create(create).mode(0o600).open(path)
}

/// A holder has its lock from before it is started until its end, by the descriptor that it
/// inherits.
fn try_lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn write_entry(path: &Path, entry: &InstanceEntry) -> io::Result<()> {
    record::write(&record::create(path)?, entry)
}
