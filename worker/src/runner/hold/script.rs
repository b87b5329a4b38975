//! The script's process, from the holder's side: a fork that `exec_shim` makes into it, and the pipes
//! from it.
//!
//! Nothing is executed in between: what the shim needs is in this program already. It waits for
//! nothing.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd;
use tucano_worker_core::Process;

use crate::runner::exec_shim::{self, Ends};
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
    pub(super) fn start(job: &Path) -> Result<Script, String> {
        let running = record::open(&job.join(record::RUNNING)).ok();
        let (stdout, stdout_end) = pipe()?;
        let (stderr, stderr_end) = pipe()?;
        let (report, report_end) = pipe()?;
        let ends = Ends { stdout: stdout_end, stderr: stderr_end, report: report_end };
        let holder = unistd::getpid();
        let child = match sys::fork().map_err(|error| failed("start a process", &error))? {
            Forked::Child => exec_shim::run(ends, holder, job),
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
