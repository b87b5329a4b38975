//! The data folder: made with 0700, held by one process at a time.
//!
//! The lock is flock(2) on `lock`: the kernel gives it back when the process ends, however it ends.
//! Called by `main.rs` before anything else touches the folder.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::OpenError;

/// The name of the folder of snapshots.
pub(super) const SNAPSHOTS: &str = "snapshots";

const STICKY: u32 = 0o1000;
const OTHERS: u32 = 0o077;

/// A data folder that this process holds, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Makes the folder where it is not there, and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<DataDir, OpenError> {
        let refused = |at: &Path| {
            let path = at.to_owned();
            move |source| OpenError::Folder { path, source }
        };
        make_private(path).map_err(refused(path))?;
        let artifacts = path.join("artifacts");
        make_private(&artifacts).map_err(refused(&artifacts))?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&lock_path).map_err(refused(&lock_path))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                return Err(OpenError::Held { path: path.to_owned(), by: read_pid(&mut file) });
            }
            Err((_, errno)) => return Err(refused(&lock_path)(errno.into())),
        };
        // A full disk is no reason not to start: the lock is held all the same.
        if let Err(error) = write_pid(&mut lock) {
            log::warn!("{}: {error}", lock_path.display());
        }
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("tucano.db")
    }

    /// The snapshots.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }

    /// There while a restore puts files in place.
    pub(super) fn restoring(&self) -> PathBuf {
        self.path.join("restoring")
    }
}

/// The path of a file that SQLite puts beside a database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A folder for this user alone. One that was there is closed to others, unless it is one that many
/// share (`/tmp`).
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::metadata(path)?;
    let ours = metadata.uid() == nix::unistd::geteuid().as_raw();
    if ours && metadata.mode() & OTHERS != 0 && metadata.mode() & STICKY == 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// For the reader of the refusal only; the lock itself is flock's.
fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
