//! The exec shim: makes a fresh process into a service's, then becomes `/bin/sh -c SCRIPT`.
//!
//! The holder forks it, with its orders on stdin and the ends of three pipes. What can't be done is
//! told through the report pipe, which closes by itself once the script runs. It starts nothing and
//! waits for nothing. The holder has one thread, so what is left of it here works as it did there
//! (memory, locks); nothing of it outlives the execve.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{self, Gid, Pid, Uid};
use tucano_common::limits::SERVICE_DESCRIPTORS;

use super::confinement::Confinement;
use super::orders::{Orders, Rights};
use super::sys;

/// Its exit code where it could not become the script; the reason went through the pipe.
const FAILED: i32 = 125;

/// Services go before the agent and their holders where memory runs out; builds go first.
const OOM_SCORE: &str = "100";
const OOM_SCORE_LOW: &str = "500";

/// What it has of the pipes.
pub(super) struct Ends {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) report: OwnedFd,
}

/// Where it is to be kept apart.
pub(super) struct Place<'a> {
    pub(super) confinement: &'a Confinement,
    /// The folder of its control group that it is in from its first moment on.
    pub(super) born_in: Option<&'a Path>,
}

/// Becomes the script, or tells why not and ends.
pub(super) fn run(ends: Ends, holder: Pid, place: &Place<'_>) -> ! {
    let Err(reason) = become_script(&ends, holder, place);
    let _nobody_listens_any_more = File::from(ends.report).write_all(reason.as_bytes());
    std::process::exit(FAILED)
}

/// The steps, in the order that they need: what wants the agent's rights first.
fn become_script(
    ends: &Ends,
    holder: Pid,
    place: &Place<'_>,
) -> Result<std::convert::Infallible, String> {
    sys::close_others_at_exec();
    unistd::dup2_stdout(ends.stdout.as_fd()).map_err(|error| failed("replace stdout", error))?;
    unistd::dup2_stderr(ends.stderr.as_fd()).map_err(|error| failed("replace stderr", error))?;
    let orders = read_orders()?;
    unistd::setsid().map_err(|error| failed("begin a session", error))?;
    place.confinement.group.join(place.born_in)?;
    if let Some(view) = &place.confinement.view {
        view.enter()?;
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    raise_descriptors();
    lower_priority(orders.low_priority);
    if let Some(rights) = &orders.user {
        // While it is root, whose quota of keys is ample.
        sys::own_keyring();
        take_rights(rights)?;
    }
    prctl::set_no_new_privs().map_err(|error| failed("give up new privileges", error))?;
    die_with(holder)?;
    unistd::chdir(orders.folder.as_c_str()).map_err(|error| {
        failed(&format!("enter the revision's folder {:?}", orders.folder), error)
    })?;
    sys::reset_signals().map_err(|error| failed("reset the signals", error))?;
    let args = [c"/bin/sh", c"-c", orders.script.as_c_str()];
    unistd::execve(c"/bin/sh", &args, &orders.environment)
        .map_err(|error| failed("execute /bin/sh", error))
}

fn failed(what: &str, error: impl std::fmt::Display) -> String {
    format!("could not {what}: {error}")
}

/// Reads stdin to its end, and leaves /dev/null in its place.
fn read_orders() -> Result<Orders, String> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|error| failed("read its orders", error))?;
    let null = File::open("/dev/null").map_err(|error| failed("open /dev/null", error))?;
    unistd::dup2_stdin(null.as_fd()).map_err(|error| failed("replace stdin", error))?;
    Orders::decode(&bytes).ok_or_else(|| "its orders are damaged".to_owned())
}

/// As many as a service may want, or as this machine allows.
fn raise_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = SERVICE_DESCRIPTORS;
        if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_err() {
            let allowed = hard.min(wanted);
            let _as_it_was = setrlimit(Resource::RLIMIT_NOFILE, allowed, allowed);
        }
    }
}

/// Best effort: none of it keeps a service from running.
fn lower_priority(low: bool) {
    let score = if low { OOM_SCORE_LOW } else { OOM_SCORE };
    let _not_everywhere = std::fs::write("/proc/self/oom_score_adj", score);
    if low {
        let _as_it_was = rustix::process::setpriority_process(None, 19);
        sys::idle_io();
    }
}

fn take_rights(rights: &Rights) -> Result<(), String> {
    let (uid, gid) = (Uid::from_raw(rights.uid), Gid::from_raw(rights.gid));
    let groups: Vec<Gid> = rights.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    unistd::setgroups(&groups).map_err(|error| failed("take the user's groups", error))?;
    unistd::setresgid(gid, gid, gid).map_err(|error| failed("take the user's group", error))?;
    unistd::setresuid(uid, uid, uid).map_err(|error| failed("take the user's rights", error))
}

/// Ends with its holder. Set after the change of user, which clears it.
fn die_with(holder: Pid) -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| failed("be ended with its holder", error))?;
    if unistd::getppid() == holder { Ok(()) } else { Err("its holder is gone".to_owned()) }
}
