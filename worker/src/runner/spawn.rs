//! Starts a holder: its orders in an anonymous file, its lock, its status pipe, and nothing else of
//! the agent's.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use rustix::fs::MemfdFlags;
use tucano_common::spec::StopSignal;
use tucano_worker_core::{Launch, Layout, Priority};

use super::hold;
use super::orders::{Orders, Rights};
use super::process;
use super::user::RunAs;

/// A holder that was started.
pub(super) struct Holder {
    /// Readable once it ended.
    pub(super) exit: OwnedFd,
    /// The same, to signal it.
    pub(super) signals: OwnedFd,
    /// It says here what it started; not blocking.
    pub(super) status: OwnedFd,
}

/// Starts it. `lock` is locked, and stays so for as long as the holder lives.
pub(super) fn holder(
    program: &Path,
    layout: &Layout,
    launch: &Launch,
    user: Option<&RunAs>,
    lock: File,
) -> io::Result<Holder> {
    let orders = anonymous_file(&orders(launch, user)?.encode())?;
    let (status, status_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&status, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut child = Command::new(program)
        .arg0("tucano-worker")
        .arg(hold::SUBCOMMAND)
        .arg(layout.job(&launch.job))
        .arg(&launch.logs)
        .arg((signal(launch.stop.signal) as i32).to_string())
        .arg(launch.stop.grace.as_millis().to_string())
        .args(&launch.notify)
        .env_clear()
        .stdin(Stdio::from(orders))
        .stdout(status_end)
        .stderr(lock)
        .spawn()?;
    // It is not waited for by its number anywhere, so the number is its own.
    match twice(child.id()) {
        Ok((exit, signals)) => Ok(Holder { exit, signals, status }),
        Err(error) => {
            // Nobody could end it later: what it started ends with it.
            let _gone_already = child.kill();
            let _reaped = child.wait();
            Err(error)
        }
    }
}

fn twice(pid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let exit = process::open_number(pid)?;
    let signals = exit.try_clone()?;
    Ok((exit, signals))
}

fn orders(launch: &Launch, user: Option<&RunAs>) -> io::Result<Orders> {
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| io::Error::other("a NUL in a script or a variable"))
    };
    let variables = launch.environment.iter();
    let environment = variables.map(|(name, value)| text(format!("{name}={}", value.0).as_bytes()));
    Ok(Orders {
        user: user.map(Rights::from),
        folder: text(launch.folder.as_os_str().as_bytes())?,
        low_priority: match launch.priority {
            Priority::Normal => false,
            Priority::Low => true,
        },
        script: text(launch.script.as_bytes())?,
        environment: environment.collect::<io::Result<Vec<CString>>>()?,
    })
}

/// In memory and without a name: nobody else can open it.
fn anonymous_file(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(c"tucano-orders", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn signal(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::SIGTERM,
        StopSignal::Int => Signal::SIGINT,
        StopSignal::Quit => Signal::SIGQUIT,
        StopSignal::Hup => Signal::SIGHUP,
        StopSignal::Usr1 => Signal::SIGUSR1,
        StopSignal::Usr2 => Signal::SIGUSR2,
        StopSignal::Kill => Signal::SIGKILL,
        StopSignal::Winch => Signal::SIGWINCH,
    }
}
