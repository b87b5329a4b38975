//! What a service sees of the file system: its own folders and no other service's, a `/tmp` of its
//! own, programs and settings that it can't change.
//!
//! A mount namespace, made by the shim as long as it is root; nothing of it shows outside, and it
//! goes with the last process in it. Where it can't be had the service starts without, and
//! [`missing`] says why, once. It hides no processes and no network.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::{Deserialize, Serialize};

/// What nobody but the machine's owner changes.
const READ_ONLY: [&str; 8] = ["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot"];
/// What every service has for itself: its HOME, where its TMPDIR is as well.
const OWN: [&str; 2] = ["/tmp", "/var/tmp"];
/// What stands in the data folder's place has a few folders and no file.
const NOTHING: &str = "mode=0711,size=64k,nr_inodes=64";
/// Passed through by services, as in the data folder itself.
const PASSAGE: u32 = 0o711;

/// One job's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View {
    /// The data folder: of what is in it only `shown` is seen.
    root: PathBuf,
    /// HOME, which is `/tmp` too.
    home: PathBuf,
    /// The revision's folder and the service's own.
    shown: Vec<PathBuf>,
}

impl View {
    pub(super) fn new(root: &Path, home: &Path, shown: &[&Path]) -> View {
        let shown = shown.iter().map(|path| path.to_path_buf()).collect();
        View { root: root.to_owned(), home: home.to_owned(), shown }
    }

    /// Enters it: for the calling process and all that it starts. What can't be had at all is done
    /// without; what was begun has to succeed, because the script would miss its folders.
    pub(super) fn enter(&self) -> Result<(), String> {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() || keep_to_itself().is_err() {
            return Ok(());
        }
        let before = umask(Mode::from_bits_truncate(0o022));
        let entered = self.arrange();
        umask(before);
        entered.map_err(|(what, error)| format!("could not {what} for its view: {error}"))
    }

    fn arrange(&self) -> Result<(), (String, io::Error)> {
        for folder in READ_ONLY.iter().map(Path::new).filter(|path| is_folder(path)) {
            step(&format!("protect {}", folder.display()), protect(folder))?;
        }
        // Opened before something stands in their place.
        let mut shown = Vec::new();
        for path in self.shown.iter().chain([&self.home]).filter(|path| is_folder(path)) {
            shown.push((step(&format!("open {}", path.display()), open_folder(path))?, path));
        }
        let home = shown.iter().find(|(_, path)| *path == &self.home).map(|(fd, _)| fd);
        if let Some(home) = home {
            for folder in OWN.iter().map(Path::new).filter(|path| self.may_replace(path)) {
                step(&format!("replace {}", folder.display()), bind(home, folder))?;
            }
        }
        step("hide the data folder", hide(&self.root))?;
        for (fd, path) in &shown {
            step(&format!("show {}", path.display()), show(fd, path))?;
        }
        step("close the data folder", set_read_only(&self.root))
    }

    /// A data folder below `/tmp` (a trial's) needs the machine's own.
    fn may_replace(&self, folder: &Path) -> bool {
        is_folder(folder) && !self.root.starts_with(folder)
    }
}

/// Why services are not kept from each other's files here; none where they are.
pub(super) fn missing() -> Option<String> {
    if is_possible() {
        return None;
    }
    let why = if nix::unistd::Uid::effective().is_root() {
        "this kernel, or the container around the agent, allows no mount namespace (CAP_SYS_ADMIN)"
    } else {
        "an agent that isn't root may not make mount namespaces"
    };
    Some(format!(
        "services share /tmp and see each other's folders as far as their modes allow: {why}"
    ))
}

/// Tried out by a thread that goes at once, and its namespace with it.
fn is_possible() -> bool {
    if !nix::unistd::Uid::effective().is_root() {
        return false;
    }
    let trial = || unshare(CloneFlags::CLONE_NEWNS).is_ok() && keep_to_itself().is_ok();
    std::thread::scope(|scope| scope.spawn(trial).join().unwrap_or(false))
}

fn step<T>(what: &str, done: io::Result<T>) -> Result<T, (String, io::Error)> {
    done.map_err(|error| (what.to_owned(), error))
}

/// What the machine mounts later is seen; what is mounted here is not seen there.
fn keep_to_itself() -> io::Result<()> {
    Ok(mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?)
}

const NONE: Option<&str> = None;

/// A folder, and not a link to one.
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}

fn protect(folder: &Path) -> io::Result<()> {
    mount(Some(folder), folder, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    set_read_only(folder)
}

/// The mount alone, not the file system; what else is forbidden there stays so.
fn set_read_only(mounted: &Path) -> io::Result<()> {
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let now = statvfs(mounted)?.flags();
    for (has, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        flags.set(keep, now.contains(has));
    }
    Ok(mount(NONE, mounted, NONE, flags, NONE)?)
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

fn bind(folder: &OwnedFd, at: &Path) -> io::Result<()> {
    let from = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    Ok(mount(Some(&from), at, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?)
}

fn hide(root: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("tucano"), root, Some("tmpfs"), flags, Some(NOTHING))?)
}

fn show(folder: &OwnedFd, at: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PASSAGE).create(at)?;
    bind(folder, at)
}
