//! The script's process, from the holder's side: a fork that `exec_shim` makes into it, and the
//! pipes from it.
//!
//! Nothing is executed in between: what the shim needs is in this program already. It waits for
//! nothing.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd;
use tucano_worker_core::Process;

use crate::runner::confinement::Confinement;
use crate::runner::exec_shim::{self, Ends, Place};
use crate::runner::sys::{self, Forked};
use crate::runner::{process, record};

/// It, once it is started.
pub(super) struct Script {
    pub(super) main: Process,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Closes once the script runs; before that it may say why it can't.
    pub(super) report: OwnedFd,
    pub(super) running: Option<File>,
}

impl Script {
    /// Starts it; its orders are on the holder's stdin.
    pub(super) fn start(job: &Path, confinement: &Confinement) -> Result<Script, String> {
        let running = record::open(&job.join(record::RUNNING)).ok();
        let (stdout, stdout_end) = pipe()?;
        let (stderr, stderr_end) = pipe()?;
        let (report, report_end) = pipe()?;
        let ends = Ends { stdout: stdout_end, stderr: stderr_end, report: report_end };
        let holder = unistd::getpid();
        let birthplace = confinement.group.birthplace();
        let (born_in, forked) = match birthplace.and_then(|path| Some((path, born_in(path)?))) {
            Some((path, forked)) => (Some(path), Ok(forked)),
            None => (None, sys::fork()),
        };
        let child = match forked.map_err(|error| failed("start a process", &error))? {
            Forked::Child => exec_shim::run(ends, holder, &Place { confinement, born_in }),
            Forked::Parent(child) => child,
        };
        // The orders have secrets in them: nothing of them stays here.
        if let Ok(null) = File::open("/dev/null") {
            let _kept_until_the_end = unistd::dup2_stdin(null.as_fd());
        }
        let main = process::identify(child);
        let main = main.ok_or_else(|| "could not read /proc of its process".to_owned())?;
        Ok(Script { main, stdout, stderr, report, running })
    }
}

/// None where the kernel, or what is around the agent, has no such call: then it enters its group
/// as anybody does.
fn born_in(group: &Path) -> Option<Forked> {
    let folder = File::open(group).ok()?;
    sys::fork_into(folder.as_fd()).ok()
}

/// The end that is read does not block; both close at an execve.
fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let (read, write) =
        unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| failed("make a pipe", &error))?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|error| failed("make a pipe", &error))?;
    Ok((read, write))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> String {
    format!("could not {what}: {error}")
}
