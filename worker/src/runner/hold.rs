//! `tucano-worker hold`: stays beside one script for as long as anything of it lives.
//!
//! The agent starts one for each process, so that it may itself end, crash and be replaced: the
//! holder has the script's output, reaps what it leaves, and writes down how it ended. One thread,
//! no allocation that grows, no secrets. It decides nothing but how an end comes about:
//!
//! - its script ended: everything else that it started is killed;
//! - SIGTERM: the stop signal to all of it, SIGKILL after the grace;
//! - SIGUSR1: SIGKILL to all of it, now.
//!
//! Everything that a script starts stays below its holder, however often it forks or begins
//! sessions (`PR_SET_CHILD_SUBREAPER`), and the holder ends only after the last of it.

mod children;
mod notify;
mod output;
mod script;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd;
use tucano_common::time::Wall;
use tucano_worker_core::Started;

use self::children::{Children, Reaped};
use self::notify::Notify;
use self::output::{Output, Pump, Stream};
use self::script::Script;
use super::cgroup::Group;
use super::confinement::Confinement;
use super::record::{self, Exit, How, Running, Status};
use super::{process, sys};

/// The subcommand's name.
pub(crate) const SUBCOMMAND: &str = "hold";

/// While everything is being killed, what was forked meanwhile is looked for again after this, then
/// after twice as long, up to [`KILL_ROUND_LONGEST`]: a process may hang in the kernel for long.
const KILL_ROUND: Duration = Duration::from_millis(5);
/// See [`KILL_ROUND`].
const KILL_ROUND_LONGEST: Duration = Duration::from_secs(1);

/// What the agent asked for, on argv: nothing of it is secret.
struct Args {
    job: PathBuf,
    logs: PathBuf,
    stop_signal: Signal,
    grace: Duration,
    /// Where the script says that it is ready, if it does.
    notify: Option<PathBuf>,
}

/// `hold JOB_FOLDER LOGS_FOLDER STOP_SIGNAL GRACE_MS [NOTIFY_SOCKET]`, the shim's orders on stdin,
/// the status pipe on stdout, the job's lock on stderr.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let Some(args) = parse(args) else {
        eprintln!("tucano-worker hold is started by tucano-worker only");
        return ExitCode::from(2);
    };
    match hold(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tucano-worker hold: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[OsString]) -> Option<Args> {
    let ([job, logs, signal, grace], notify) = args.split_first_chunk()?;
    let notify = match notify {
        [] => None,
        [socket] => Some(socket.into()),
        _ => return None,
    };
    let stop_signal: i32 = signal.to_str()?.parse().ok()?;
    Some(Args {
        job: job.into(),
        logs: logs.into(),
        stop_signal: Signal::try_from(stop_signal).ok()?,
        grace: Duration::from_millis(grace.to_str()?.parse().ok()?),
        notify,
    })
}

fn hold(args: &Args) -> io::Result<()> {
    sys::close_others_at_exec();
    // A leader already where somebody starts it by hand.
    let _leader_already = unistd::setsid();
    unistd::chdir("/")?;
    prctl::set_name(c"tucano-hold")?;
    prctl::set_child_subreaper(true)?;
    let signals = block_signals()?;
    let exit = record::open(&args.job.join(record::EXIT))?;
    let output = Output::open(&args.logs)?;
    let confinement = Confinement::for_start(&args.job);
    let group = confinement.as_ref().map(|it| it.group.clone()).unwrap_or_default();
    let notify = args.notify.as_deref().map(|socket| Notify::open(socket, &args.job)).transpose();
    let script = notify.and_then(|notify| Ok((Script::start(&args.job, &confinement?)?, notify)));
    let how = match script {
        Ok((script, notify)) => {
            Holder::new((args, &group), script, (output, notify), signals).run()
        }
        Err(message) => (wall(), How::NotStarted(message)),
    };
    if let (_, How::NotStarted(message)) = &how {
        tell(&Status::NotStarted(message.clone()));
    }
    let (at, how) = how;
    let memory_peak_bytes = group.peak_bytes().unwrap_or(0).max(largest_child_bytes());
    group.remove();
    record::write(&exit, &Exit { at, how, memory_peak_bytes })
}

/// Every signal that could end it is blocked; the ones it acts upon come through a descriptor.
fn block_signals() -> io::Result<SignalFd> {
    SigSet::all().thread_block()?;
    let mut wanted = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGCHLD] {
        wanted.add(signal);
    }
    Ok(SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// What is being done about the end of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The script runs.
    Holding,
    /// The stop signal was sent; SIGKILL follows at this time.
    Stopping(Instant),
    /// Everything is being killed.
    Killing,
}

struct Holder<'a> {
    args: &'a Args,
    group: &'a Group,
    script: Script,
    output: Output,
    notify: Option<Notify>,
    signals: SignalFd,
    children: Children,
    phase: Phase,
    /// See [`KILL_ROUND`].
    round: Duration,
    /// What the shim says before it becomes the script.
    complaint: Vec<u8>,
    reporting: bool,
    ended: Option<(Wall, How)>,
}

impl<'a> Holder<'a> {
    fn new(
        (args, group): (&'a Args, &'a Group),
        script: Script,
        (output, notify): (Output, Option<Notify>),
        signals: SignalFd,
    ) -> Holder<'a> {
        let children = Children::new(script.main.pid);
        Holder {
            args,
            group,
            script,
            output,
            notify,
            signals,
            children,
            phase: Phase::Holding,
            round: KILL_ROUND,
            complaint: Vec::new(),
            reporting: true,
            ended: None,
        }
    }

    /// Until nothing of it lives any more.
    fn run(mut self) -> (Wall, How) {
        loop {
            self.wait();
            self.take_report();
            if let Some(notify) = &mut self.notify {
                notify.take();
            }
            self.take_signals();
            if self.reap() == Reaped::NobodyLeft {
                break;
            }
            self.drive();
            let (stdout, stderr) = (self.script.stdout.as_fd(), self.script.stderr.as_fd());
            self.output.pump(stdout, stderr, Pump::Throttled);
        }
        // The shim's last words, if it could not become the script.
        self.take_report();
        let (stdout, stderr) = (self.script.stdout.as_fd(), self.script.stderr.as_fd());
        self.output.pump(stdout, stderr, Pump::ToTheEnd);
        if self.complaint.is_empty() {
            self.ended.unwrap_or((wall(), How::Signal(Signal::SIGKILL as i32)))
        } else {
            let message = String::from_utf8_lossy(&self.complaint).into_owned();
            (wall(), How::NotStarted(message))
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self) {
        let now = Instant::now();
        let due = match self.phase {
            Phase::Holding => None,
            Phase::Stopping(kill_at) => Some(kill_at.saturating_duration_since(now)),
            Phase::Killing => Some(self.round),
        };
        let pause = self.output.pause(now);
        let timeout = due.into_iter().chain(pause).min();
        let timeout = timeout.map_or(PollTimeout::NONE, |left| {
            // Rounded up, so that it does not spin until the time has come.
            let ms = left.as_millis().saturating_add(1);
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
        });
        let fds: [Option<BorrowedFd<'_>>; 5] = [
            Some(self.signals.as_fd()),
            self.reporting.then(|| self.script.report.as_fd()),
            self.output.wants(Stream::Stdout, pause).then(|| self.script.stdout.as_fd()),
            self.output.wants(Stream::Stderr, pause).then(|| self.script.stderr.as_fd()),
            self.notify.as_ref().map(AsFd::as_fd),
        ];
        let watched = fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let mut set: Vec<PollFd<'_>> = watched.collect();
        // Interrupted or not: whatever is there is taken next.
        let _what_woke_it = poll(&mut set, timeout);
    }

    /// The shim's report: words where it failed, then the end where the script runs.
    fn take_report(&mut self) {
        let mut bytes = [0; 512];
        while self.reporting {
            match unistd::read(&self.script.report, &mut bytes) {
                Ok(0) => {
                    self.reporting = false;
                    if self.complaint.is_empty() {
                        self.tell_started();
                    }
                }
                Ok(n) if self.complaint.len() < bytes.len() => {
                    self.complaint.extend_from_slice(&bytes[..n]);
                }
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => self.reporting = false,
            }
        }
    }

    fn tell_started(&mut self) {
        let Some(holder) = process::myself() else { return };
        let started = Started { holder, main: self.script.main, at: wall() };
        if let Some(file) = self.script.running.take() {
            let running = Running { boot_id: process::boot_id(), started };
            if let Err(error) = record::write(&file, &running) {
                eprintln!("tucano-worker hold: could not write {}: {error}", record::RUNNING);
            }
        }
        tell(&Status::Started(started));
        sys::let_go_of_code();
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match Signal::try_from(i32::try_from(signal.ssi_signo).unwrap_or(0)) {
                Ok(Signal::SIGTERM) if self.phase == Phase::Holding => self.stop(),
                Ok(Signal::SIGUSR1) => self.phase = Phase::Killing,
                // SIGCHLD: the children are looked at in any case.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn stop(&mut self) {
        if self.args.stop_signal == Signal::SIGKILL {
            self.phase = Phase::Killing;
            return;
        }
        self.phase = Phase::Stopping(Instant::now() + self.args.grace);
        self.children.signal_all(self.args.stop_signal);
    }

    fn reap(&mut self) -> Reaped {
        let reaped = self.children.reap();
        if let Some(how) = self.children.take_main_end() {
            self.ended = Some((wall(), self.why(how)));
            // A script that ends by itself takes everything with it; one that was asked to end
            // leaves the others their grace.
            if self.phase == Phase::Holding {
                self.phase = Phase::Killing;
            }
        }
        reaped
    }

    /// The kernel's SIGKILL for memory looks like anybody's, and a script whose child was hit ends
    /// with a code of its own; the group has counted it.
    fn why(&self, how: How) -> How {
        match how {
            How::Code(0) | How::NotStarted(_) => how,
            How::Code(_) | How::Signal(_) | How::Oom(_) if self.phase == Phase::Holding => {
                self.group.oom().map_or(how, How::Oom)
            }
            How::Code(_) | How::Signal(_) | How::Oom(_) => how,
        }
    }

    fn drive(&mut self) {
        if let Phase::Stopping(kill_at) = self.phase
            && Instant::now() >= kill_at
        {
            self.phase = Phase::Killing;
        }
        if self.phase == Phase::Killing {
            self.group.kill();
            self.children.kill_all();
            self.round = (self.round * 2).min(KILL_ROUND_LONGEST);
        }
    }
}

/// The largest process of all that ended below it, as the kernel counted.
fn largest_child_bytes() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
    let kib = usage.map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).unwrap_or(0).saturating_mul(1024)
}

/// To the agent, if it lives.
fn tell(status: &Status) {
    if let Ok(mut text) = serde_json::to_vec(status) {
        text.push(b'\n');
        let mut stdout = io::stdout().lock();
        let _the_agent_is_away = stdout.write_all(&text).and_then(|()| stdout.flush());
    }
}

/// The holder has no loop of the agent's that would read the clock for it.
fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
