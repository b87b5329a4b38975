//! Unpacks a .tar.gz into a fresh folder, without ever leaving it.
//!
//! Every file operation is relative to the descriptor of a real folder that was reached one name at
//! a time without following links, so a member that tries to leave fails in the kernel, not only in
//! a check. Runs in a child of the service's user (`artifact_child`); it neither downloads nor
//! renames. What it refuses stands in [`UnpackError`].

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tucano_common::limits;

use super::artifact_tar::{InnerPath, Kind, Member, MemberError, Pending, Shown};

/// Read and written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The bounds of one archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) packed_bytes: u64,
    pub(super) unpacked_bytes: u64,
    pub(super) members: u64,
    pub(super) ratio: u64,
    pub(super) ratio_floor_bytes: u64,
}

impl Bounds {
    /// The ones of `limits`.
    pub(super) const STANDARD: Bounds = Bounds {
        packed_bytes: limits::ARTIFACT_BYTES_MAX,
        unpacked_bytes: limits::ARCHIVE_UNPACKED_BYTES_MAX,
        members: limits::ARCHIVE_MEMBERS_MAX,
        ratio: limits::ARCHIVE_RATIO_MAX,
        ratio_floor_bytes: limits::ARCHIVE_RATIO_FLOOR_BYTES,
    };
}

/// Which bound was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Of the packed bytes.
    Packed,
    /// Of the unpacked bytes.
    Unpacked,
    /// Of their ratio.
    Ratio,
    /// Of the number of members and folders.
    Members,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Packed => "the archive is larger than 1GiB",
            Bound::Unpacked => "the archive unpacks to more than 4GiB",
            Bound::Ratio => "the archive unpacks to more than 200 times its size",
            Bound::Members => "the archive has more than 200,000 files and folders",
        })
    }
}

/// Why an archive is refused or could not be unpacked.
#[derive(Debug)]
pub(crate) enum UnpackError {
    /// A member is refused.
    Member(MemberError),
    /// A bound was passed.
    Bound(Bound),
    /// Something already there that this member can't take the place of, or a path through a link
    /// or a file.
    InTheWay(Shown),
    /// A hard link whose target is no file of this archive so far.
    NoTarget(Shown),
    /// The bytes are not the ones that the digest names.
    Digest,
    /// The disk: no space, no rights.
    Disk(Shown, io::Error),
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnpackError::Member(error) => error.fmt(f),
            UnpackError::Bound(bound) => bound.fmt(f),
            UnpackError::InTheWay(path) => {
                write!(f, "{path} would replace a folder, or be written through a link or a file")
            }
            UnpackError::NoTarget(path) => write!(f, "the hard link {path} has no file to link to"),
            UnpackError::Digest => f.write_str("the bytes are not the ones its digest names"),
            UnpackError::Disk(path, _) => write!(f, "{path} could not be written"),
        }
    }
}

impl std::error::Error for UnpackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UnpackError::Member(error) => std::error::Error::source(error),
            UnpackError::Disk(_, error) => Some(error),
            UnpackError::Bound(_)
            | UnpackError::InTheWay(_)
            | UnpackError::NoTarget(_)
            | UnpackError::Digest => None,
        }
    }
}

impl From<MemberError> for UnpackError {
    fn from(error: MemberError) -> UnpackError {
        UnpackError::Member(error)
    }
}

/// Unpacks `packed` into the folder `top`, which must be empty and nobody else's; gives the SHA-256
/// of what was read.
pub(super) fn unpack(
    packed: impl Read,
    top: BorrowedFd<'_>,
    bounds: &Bounds,
) -> Result<[u8; 32], UnpackError> {
    let meter = Meter::new(*bounds);
    let source = PackedSide { inner: packed, hash: Sha256::new(), meter: &meter };
    let unpacked = UnpackedSide { inner: MultiGzDecoder::new(source), meter: &meter };
    let mut archive = tar::Archive::new(unpacked);
    let result = unpack_members(&mut archive, top, &meter);
    // A bound that was passed shows as a failed read: the bound is the reason to tell.
    if let Some(bound) = meter.passed.get() {
        return Err(UnpackError::Bound(bound));
    }
    result?;
    let mut source = archive.into_inner().inner.into_inner();
    io::copy(&mut source, &mut io::sink()).map_err(|error| match meter.passed.get() {
        Some(bound) => UnpackError::Bound(bound),
        None => UnpackError::Member(MemberError::Read(error)),
    })?;
    Ok(source.hash.finalize().into())
}

fn unpack_members<R: Read>(
    archive: &mut tar::Archive<R>,
    top: BorrowedFd<'_>,
    meter: &Meter,
) -> Result<(), UnpackError> {
    let mut pending = Pending::default();
    let mut writer = Writer { top, open: Vec::new(), meter };
    let entries = archive.entries().map_err(MemberError::Read)?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(MemberError::Read)?;
        meter.count_member()?;
        if let Some(member) = pending.take(&mut entry)? {
            writer.write(&member, &mut entry)?;
        }
    }
    if pending.is_open() {
        return Err(MemberError::Header("it ends with a header that describes nothing").into());
    }
    Ok(())
}

/// Writes members below a folder.
struct Writer<'a> {
    top: BorrowedFd<'a>,
    /// The folders of the last member, from the top down, open.
    open: Vec<(Vec<u8>, OwnedFd)>,
    meter: &'a Meter,
}

impl Writer<'_> {
    fn write(&mut self, member: &Member, content: &mut dyn Read) -> Result<(), UnpackError> {
        let shown = || member.path.shown();
        let Some((folder, name)) = member.path.split() else {
            return match member.kind {
                Kind::Folder => Ok(()),
                Kind::File | Kind::Symlink(_) | Kind::Hardlink(_) => {
                    Err(MemberError::Header("something without a name").into())
                }
            };
        };
        match &member.kind {
            Kind::Folder => {
                let folder = self.enter(&member.path.0, shown)?;
                // Its owner must be able to fill it and to remove it, whatever the archive says.
                let mode = Mode::from_raw_mode(member.mode | 0o700);
                rustix::fs::fchmod(folder, mode).map_err(disk(shown))
            }
            Kind::File => {
                let folder = self.enter(folder, shown)?;
                let file = create_file(folder, name, shown)?;
                write_file(file, member, content, shown)
            }
            Kind::Symlink(target) => {
                let folder = self.enter(folder, shown)?;
                make_way(folder, name, shown)?;
                rustix::fs::symlinkat(target.as_slice(), folder, name).map_err(disk(shown))
            }
            Kind::Hardlink(target) => {
                let file = self.existing_file(target, shown)?;
                let folder = self.enter(folder, shown)?;
                make_way(folder, name, shown)?;
                let (from, from_name) = (&file.0, file.1.as_slice());
                rustix::fs::linkat(from, from_name, folder, name, AtFlags::empty())
                    .map_err(disk(shown))
            }
        }
    }

    /// The descriptor of a folder below the top; it and its parents are made where they are
    /// missing.
    fn enter(
        &mut self,
        names: &[Vec<u8>],
        shown: impl Fn() -> Shown + Copy,
    ) -> Result<BorrowedFd<'_>, UnpackError> {
        let same = self.open.iter().zip(names).take_while(|((open, _), name)| open == *name);
        let kept = same.count();
        self.open.truncate(kept);
        for name in &names[kept..] {
            let parent = self.open.last().map_or(self.top, |(_, folder)| folder.as_fd());
            match rustix::fs::mkdirat(parent, name.as_slice(), Mode::from_raw_mode(0o755)) {
                Ok(()) => self.meter.count_member()?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(disk(shown)(error)),
            }
            let folder = open_folder(parent, name, shown)?;
            self.open.push((name.clone(), folder));
        }
        Ok(self.open.last().map_or(self.top, |(_, folder)| folder.as_fd()))
    }

    /// The folder and name of a file that was unpacked before: what a hard link may name.
    fn existing_file(
        &self,
        target: &InnerPath,
        shown: impl Fn() -> Shown + Copy,
    ) -> Result<(OwnedFd, Vec<u8>), UnpackError> {
        let no_target = || UnpackError::NoTarget(shown());
        let (names, name) = target.split().ok_or_else(no_target)?;
        let mut folder = self.top.try_clone_to_owned().map_err(|error| disk_io(shown, error))?;
        for name in names {
            folder = open_folder(folder.as_fd(), name, shown).map_err(|_| no_target())?;
        }
        let found = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_file = found.is_ok_and(|it| FileType::from_raw_mode(it.st_mode).is_file());
        if is_file { Ok((folder, name.to_vec())) } else { Err(no_target()) }
    }
}

fn open_folder(
    parent: BorrowedFd<'_>,
    name: &[u8],
    shown: impl Fn() -> Shown,
) -> Result<OwnedFd, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => UnpackError::InTheWay(shown()),
        error => disk(shown)(error),
    })
}

/// A later member takes an earlier one's place (as `tar -r` means it), but never a folder's.
fn make_way(
    folder: BorrowedFd<'_>,
    name: &[u8],
    shown: impl Fn() -> Shown,
) -> Result<(), UnpackError> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => Err(UnpackError::InTheWay(shown())),
        Err(error) => Err(disk(shown)(error)),
    }
}

fn create_file(
    folder: BorrowedFd<'_>,
    name: &[u8],
    shown: impl Fn() -> Shown + Copy,
) -> Result<OwnedFd, UnpackError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600));
    match create() {
        Err(Errno::EXIST) => {
            make_way(folder, name, shown)?;
            create().map_err(disk(shown))
        }
        result => result.map_err(disk(shown)),
    }
}

fn write_file(
    file: OwnedFd,
    member: &Member,
    content: &mut dyn Read,
    shown: impl Fn() -> Shown + Copy,
) -> Result<(), UnpackError> {
    let mut file = std::fs::File::from(file);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = content.read(&mut chunk).map_err(MemberError::Read)?;
        if length == 0 {
            break;
        }
        file.write_all(&chunk[..length]).map_err(|error| disk_io(shown, error))?;
    }
    // Builds compare times, and its owner must be able to read and change it.
    let at = Timespec { tv_sec: i64::try_from(member.mtime).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    rustix::fs::futimens(&file, &times).map_err(disk(shown))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(member.mode | 0o600)).map_err(disk(shown))
}

fn disk(shown: impl Fn() -> Shown) -> impl FnOnce(Errno) -> UnpackError {
    move |error| disk_io(shown, error.into())
}

fn disk_io(shown: impl Fn() -> Shown, error: io::Error) -> UnpackError {
    UnpackError::Disk(shown(), error)
}

/// What was read and written so far, against the bounds.
struct Meter {
    bounds: Bounds,
    packed: Cell<u64>,
    unpacked: Cell<u64>,
    members: Cell<u64>,
    passed: Cell<Option<Bound>>,
}

impl Meter {
    fn new(bounds: Bounds) -> Meter {
        let zero = || Cell::new(0);
        let passed = Cell::new(None);
        Meter { bounds, packed: zero(), unpacked: zero(), members: zero(), passed }
    }

    fn count_member(&self) -> Result<(), UnpackError> {
        self.members.set(self.members.get() + 1);
        if self.members.get() > self.bounds.members {
            self.passed.set(Some(Bound::Members));
            return Err(UnpackError::Bound(Bound::Members));
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        let (packed, unpacked) = (self.packed.get(), self.unpacked.get());
        let ratio_counts = unpacked > self.bounds.ratio_floor_bytes;
        let passed = if packed > self.bounds.packed_bytes {
            Bound::Packed
        } else if unpacked > self.bounds.unpacked_bytes {
            Bound::Unpacked
        } else if ratio_counts && unpacked > packed.saturating_mul(self.bounds.ratio) {
            Bound::Ratio
        } else {
            return Ok(());
        };
        self.passed.set(Some(passed));
        Err(io::Error::other("a bound was passed"))
    }
}

/// Counts and hashes what goes into the decoder.
struct PackedSide<'a, R> {
    inner: R,
    hash: Sha256,
    meter: &'a Meter,
}

impl<R: Read> Read for PackedSide<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        self.hash.update(&into[..length]);
        self.meter.packed.set(self.meter.packed.get() + length as u64);
        self.meter.check()?;
        Ok(length)
    }
}

/// Counts what comes out of it.
struct UnpackedSide<'a, R> {
    inner: R,
    meter: &'a Meter,
}

impl<R: Read> Read for UnpackedSide<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        self.meter.unpacked.set(self.meter.unpacked.get() + length as u64);
        self.meter.check()?;
        Ok(length)
    }
}

#[cfg(test)]
#[path = "artifact_unpack_tests.rs"]
pub(super) mod tests;
