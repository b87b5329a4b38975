//! Fills a revision's folder from its source in a child process of the service's user.
//!
//! A hostile archive meets an unprivileged process that has one open folder, and a copied folder is
//! read with the service's rights, not the agent's. The child is this binary again (`tucano-worker
//! place-source …`); the `fetch` thread starts it and waits. It downloads nothing and decides
//! nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::{Gid, Uid};
use rustix::fs::{Mode, OFlags};
use tucano_common::limits::REFUSAL_BYTES_MAX;
use tucano_common::spec::Digest;

use super::artifact::ArtifactError;
use super::artifact_copy;
use super::artifact_unpack::{self, Bounds, UnpackError};
use super::user::RunAs;

/// The subcommand's name.
pub(crate) const SUBCOMMAND: &str = "place-source";

/// How often a waiting `fetch` thread looks whether it was told to stop, in milliseconds.
const CANCEL_POLL_MS: u8 = 200;

/// What fills the folder.
#[derive(Clone, Debug)]
pub(super) enum Content<'a> {
    /// A packed artifact, and the digest that its bytes must have.
    Archive(&'a Path, &'a Digest),
    /// A folder of this machine.
    Folder(&'a Path),
}

/// Fills the empty folder `into`, which is `user`'s already (none: the agent's own), and waits for
/// it.
pub(super) fn place(
    content: &Content<'_>,
    into: &Path,
    user: Option<&RunAs>,
    cancelled: &AtomicBool,
) -> Result<(), ArtifactError> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("tucano-worker").arg(SUBCOMMAND).arg(into);
    command.arg(user.map_or_else(|| OWN_USER.to_owned(), rights_of));
    match content {
        Content::Archive(archive, digest) => {
            let archive = File::open(archive).map_err(ArtifactError::Child)?;
            command.arg("archive").arg(digest.to_string()).stdin(archive);
        }
        Content::Folder(folder) => {
            command.arg("folder").arg(folder).stdin(Stdio::null());
        }
    }
    command.env_clear().stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(ArtifactError::Child)?;
    wait(child, cancelled)
}

fn wait(mut child: Child, cancelled: &AtomicBool) -> Result<(), ArtifactError> {
    // Its end closes the pipe: one descriptor tells both that it spoke and that it is gone.
    let mut complaint = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        loop {
            let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
            let ready = nix::poll::poll(&mut fds, PollTimeout::from(CANCEL_POLL_MS));
            if cancelled.load(Ordering::Relaxed) {
                // The number is still its own: it has not been waited for.
                let _gone_already = child.kill();
                let _reaped = child.wait();
                return Err(ArtifactError::Cancelled);
            }
            match ready {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        let _whatever_came = stderr.take(REFUSAL_BYTES_MAX).read_to_end(&mut complaint);
    }
    let status = child.wait().map_err(ArtifactError::Child)?;
    if status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let complaint = complaint.trim_end();
    if complaint.is_empty() {
        return Err(ArtifactError::Child(io::Error::other(format!("it ended with {status}"))));
    }
    if status.code() == Some(i32::from(DIGEST_EXIT)) {
        return Err(ArtifactError::Digest);
    }
    Err(ArtifactError::Refused(complaint.to_owned()))
}

/// The exit code that tells a damaged copy of an artifact (fetch it again) from a refused one.
const DIGEST_EXIT: u8 = 3;

/// In place of the rights: keep the agent's.
const OWN_USER: &str = "-";

/// `uid:gid:group,group…`
fn rights_of(user: &RunAs) -> String {
    let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
    format!("{}:{}:{}", user.uid, user.gid, groups.join(","))
}

/// The child: `place-source INTO RIGHTS archive DIGEST` (the archive on stdin), or `… folder PATH`.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, complaint)) => {
            let _nobody_listens = writeln!(io::stderr(), "{complaint}");
            ExitCode::from(code)
        }
    }
}

fn run(args: &[OsString]) -> Result<(), (u8, String)> {
    let usage = || (2, format!("{SUBCOMMAND} is started by the agent itself"));
    let [into, rights, kind, what] = args else { return Err(usage()) };
    let failed = |error: &dyn std::fmt::Display| (1, error.to_string());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(into.as_os_str(), flags, Mode::empty())
        .map_err(|error| failed(&format!("{into:?} can't be opened ({error})")))?;
    become_user(&rights.to_string_lossy()).map_err(|error| failed(&error))?;
    let _builds_at_low_priority_too = rustix::process::nice(10);
    match kind.to_str() {
        Some("archive") => {
            let wanted = what.to_str().and_then(Digest::parse).ok_or_else(usage)?;
            let stdin = io::stdin().lock();
            let found = artifact_unpack::unpack(stdin, top.as_fd(), &Bounds::STANDARD)
                .map_err(|error| failed(&with_source(&error)))?;
            if Digest::from_bytes(&found) == wanted {
                Ok(())
            } else {
                Err((DIGEST_EXIT, UnpackError::Digest.to_string()))
            }
        }
        Some("folder") => artifact_copy::copy(&PathBuf::from(what), top.as_fd())
            .map_err(|error| failed(&with_source(&error))),
        Some(_) | None => Err(usage()),
    }
}

/// Gives up the agent's rights for good, and dies with the agent.
fn become_user(rights: &str) -> Result<(), String> {
    if rights != OWN_USER {
        let (uid, gid, groups) =
            parse_rights(rights).ok_or_else(|| format!("{rights:?} is no user"))?;
        nix::unistd::setgroups(&groups)
            .and_then(|()| nix::unistd::setresgid(gid, gid, gid))
            .and_then(|()| nix::unistd::setresuid(uid, uid, uid))
            .map_err(|error| format!("the user {uid} can't be taken on ({error})"))?;
    }
    // After the change of user, which clears it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .and_then(|()| nix::sys::prctl::set_no_new_privs())
        .map_err(|error| format!("prctl ({error})"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Ok(())
}

fn parse_rights(text: &str) -> Option<(Uid, Gid, Vec<Gid>)> {
    let mut parts = text.split(':');
    let uid = Uid::from_raw(parts.next()?.parse().ok()?);
    let gid = Gid::from_raw(parts.next()?.parse().ok()?);
    let groups = parts.next()?.split(',').filter(|group| !group.is_empty());
    let groups: Option<Vec<Gid>> =
        groups.map(|group| group.parse().ok().map(Gid::from_raw)).collect();
    Some((uid, gid, groups?))
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}
