//! Copies a folder that stands on the worker (`source.path`) into a fresh one.
//!
//! Runs in a child of the service's user (`artifact_child`), so it reads what that user may read
//! and nothing else. Links are copied as links; sockets, fifos and devices are left out, as they
//! mean nothing elsewhere.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use tucano_common::limits::{ARCHIVE_DEPTH_MAX, ARCHIVE_MEMBERS_MAX, ARCHIVE_UNPACKED_BYTES_MAX};

/// Why a folder could not be copied.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// It is not there, is no folder, or its user may not read it.
    Open(PathBuf, io::Error),
    /// Something in it could not be read or written.
    Entry(PathBuf, io::Error),
    /// More files or bytes than a source may have.
    TooMuch,
    /// Folders in folders without end.
    TooDeep(PathBuf),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::Open(path, _) => write!(
                f,
                "the folder {path:?} can't be read on this worker: make it there, readable for \
                 the user that services run as"
            ),
            CopyError::Entry(path, _) => write!(f, "{path:?} could not be copied"),
            CopyError::TooMuch => f.write_str("it has more than 200,000 files or 4GiB"),
            CopyError::TooDeep(path) => write!(f, "{path:?} is too deep"),
        }
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CopyError::Open(_, error) | CopyError::Entry(_, error) => Some(error),
            CopyError::TooMuch | CopyError::TooDeep(_) => None,
        }
    }
}

/// Copies what is in `from` into the folder `top`.
pub(super) fn copy(from: &Path, top: BorrowedFd<'_>) -> Result<(), CopyError> {
    let open = |error| CopyError::Open(from.to_owned(), error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source =
        rustix::fs::open(from, flags, Mode::empty()).map_err(|error| open(error.into()))?;
    let target = rustix::fs::fstat(top).map_err(|error| open(error.into()))?;
    let mut copier = Copier { members: 0, bytes: 0, target: (target.st_dev, target.st_ino) };
    copier.folder(source, top, from, 0)
}

struct Copier {
    members: u64,
    bytes: u64,
    /// Where it is copied to: a folder that holds its own copy would never end.
    target: (u64, u64),
}

impl Copier {
    fn folder(
        &mut self,
        from: OwnedFd,
        into: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), CopyError> {
        if depth > ARCHIVE_DEPTH_MAX {
            return Err(CopyError::TooDeep(path.to_owned()));
        }
        let failed = |error: rustix::io::Errno| CopyError::Entry(path.to_owned(), error.into());
        for entry in Dir::read_from(&from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = path.join(String::from_utf8_lossy(name.to_bytes()).as_ref());
            let result = self.entry(from.as_fd(), name, into, (&path, depth));
            result.map_err(|error| error.unwrap_or_else(|errno| CopyError::Entry(path, errno)))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        into: BorrowedFd<'_>,
        (path, depth): (&Path, usize),
    ) -> Result<(), Failed> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.members += 1;
        if self.members > ARCHIVE_MEMBERS_MAX || self.bytes > ARCHIVE_UNPACKED_BYTES_MAX {
            return Err(Failed::Known(CopyError::TooMuch));
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(from, name, into, &stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, into, name)?;
            }
            FileType::Directory if (stat.st_dev, stat.st_ino) == self.target => {}
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(from, name, flags, Mode::empty())?;
                rustix::fs::mkdirat(into, name, Mode::from_raw_mode(0o700))?;
                let copy = rustix::fs::openat(into, name, flags, Mode::empty())?;
                self.folder(inner, copy.as_fd(), path, depth + 1).map_err(Failed::Known)?;
                rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o777 | 0o700))?;
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
        Ok(())
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        into: BorrowedFd<'_>,
        stat: &Stat,
    ) -> Result<(), Failed> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, read, Mode::empty())?;
        let copy = rustix::fs::openat(into, name, write, Mode::from_raw_mode(0o600))?;
        let left = ARCHIVE_UNPACKED_BYTES_MAX.saturating_sub(self.bytes) + 1;
        let mut source = io::Read::take(std::fs::File::from(source), left);
        let mut copy = std::fs::File::from(copy);
        // The standard library shares the blocks or copies them inside the kernel where the file
        // system can.
        self.bytes += io::copy(&mut source, &mut copy)?;
        let nanos = |n| i64::try_from(n).unwrap_or(0);
        let at = Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec) };
        let times = Timestamps { last_access: at, last_modification: at };
        rustix::fs::futimens(&copy, &times)?;
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o777 | 0o600))?;
        Ok(())
    }
}

/// A failure whose path is known already, or is the entry's own.
enum Failed {
    Known(CopyError),
    Here(io::Error),
}

impl Failed {
    fn unwrap_or_else(self, here: impl FnOnce(io::Error) -> CopyError) -> CopyError {
        match self {
            Failed::Known(error) => error,
            Failed::Here(error) => here(error),
        }
    }
}

impl From<rustix::io::Errno> for Failed {
    fn from(error: rustix::io::Errno) -> Failed {
        Failed::Here(error.into())
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Here(error)
    }
}

#[cfg(test)]
#[path = "artifact_copy_tests.rs"]
mod tests;
