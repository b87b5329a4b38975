//! Sources: packed artifacts fetched once and kept, and the revision's folder filled from them.
//!
//! The `fetch` thread calls it. Where the bytes come from is the caller's (`agent::fetch` asks the
//! controller); this file keeps them only if they are the ones that the digest names. Filling runs
//! in a child (`artifact_child`), beside the final place, which a rename takes: a folder that is
//! there is whole.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};
use tucano_common::limits::{ARTIFACT_BYTES_MAX, ARTIFACTS_KEPT, ARTIFACTS_KEPT_BYTES};
use tucano_common::spec::{Digest, Source};

use super::artifact_child::{self, Content};
use super::folders;
use super::user::RunAs;

/// Read and written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a source could not be had.
#[derive(Debug)]
pub(crate) enum ArtifactError {
    /// The bytes stopped coming.
    Read(io::Error),
    /// More bytes than an artifact may have.
    TooLarge,
    /// The bytes are not the ones that the digest names.
    Digest,
    /// The worker's own disk.
    Disk(PathBuf, io::Error),
    /// The child that unpacks could not be started, or was killed.
    Child(io::Error),
    /// The archive or folder is refused; the child's own words.
    Refused(String),
    /// Nobody wants it any more.
    Cancelled,
}

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArtifactError::Read(_) => f.write_str("the artifact's download broke off"),
            ArtifactError::TooLarge => f.write_str("the artifact is larger than 1GiB"),
            ArtifactError::Digest => f.write_str(
                "the artifact's bytes are not the ones its digest names: upload it again",
            ),
            ArtifactError::Disk(path, _) => write!(f, "the worker can't write {path:?}"),
            ArtifactError::Child(_) => f.write_str("the worker could not unpack the source"),
            ArtifactError::Refused(reason) => write!(f, "the source is refused: {reason}"),
            ArtifactError::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for ArtifactError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ArtifactError::Read(error)
            | ArtifactError::Child(error)
            | ArtifactError::Disk(_, error) => Some(error),
            ArtifactError::TooLarge
            | ArtifactError::Digest
            | ArtifactError::Refused(_)
            | ArtifactError::Cancelled => None,
        }
    }
}

/// The folder of packed artifacts.
#[derive(Clone, Debug)]
pub(crate) struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// The artifacts below `folder`, which is made if it is missing; what an earlier agent left
    /// half done goes.
    pub(crate) fn open(folder: PathBuf) -> Result<Artifacts, ArtifactError> {
        make_folder(&folder)?;
        let failed = |error| ArtifactError::Disk(folder.clone(), error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|it| it == "part") {
                let _next_start_tries_again = fs::remove_file(path);
            }
        }
        Ok(Artifacts { folder })
    }

    /// Where this artifact is or would be.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.tar.gz", digest.hex()))
    }

    /// Whether it is here (its bytes are checked again when they are unpacked).
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Takes an artifact's bytes; it is kept whole and right, or not at all.
    pub(crate) fn keep(
        &self,
        digest: &Digest,
        body: &mut dyn Read,
        cancelled: &AtomicBool,
    ) -> Result<(), ArtifactError> {
        let part = self.folder.join(format!("{}.part", digest.hex()));
        let result = write_checked(&part, digest, body, cancelled).and_then(|()| {
            let path = self.path(digest);
            fs::rename(&part, &path).map_err(|error| ArtifactError::Disk(path, error))
        });
        if result.is_err() {
            let _it_may_not_even_be_there = fs::remove_file(&part);
        }
        result
    }

    /// Forgets one, so that it is fetched again.
    pub(crate) fn forget(&self, digest: &Digest) {
        let _it_may_not_be_there = fs::remove_file(self.path(digest));
    }

    /// Removes the ones longest unused, beyond what a worker keeps.
    pub(crate) fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let about = entry.metadata().ok()?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        found.sort_unstable_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut bytes = 0;
        for (index, (_, length, path)) in found.into_iter().enumerate() {
            bytes += length;
            if index > 0 && (index >= ARTIFACTS_KEPT || bytes > ARTIFACTS_KEPT_BYTES) {
                let _next_time = fs::remove_file(path);
            }
        }
    }
}

fn write_checked(
    part: &Path,
    digest: &Digest,
    body: &mut dyn Read,
    cancelled: &AtomicBool,
) -> Result<(), ArtifactError> {
    let disk = |error| ArtifactError::Disk(part.to_owned(), error);
    let mut options = File::options();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(part).map_err(disk)?;
    let (mut hash, mut total) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(ArtifactError::Cancelled);
        }
        let length = body.read(&mut chunk).map_err(ArtifactError::Read)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        if total > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge);
        }
        hash.update(&chunk[..length]);
        file.write_all(&chunk[..length]).map_err(disk)?;
    }
    if Digest::from_bytes(&hash.finalize().into()) != *digest {
        return Err(ArtifactError::Digest);
    }
    file.sync_data().map_err(disk)
}

/// A revision's folder: where it shall stand, beside what it is made first, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    /// The folder.
    pub(crate) at: &'a Path,
    /// In the same parent, which stands; gone afterwards.
    pub(crate) partial: &'a Path,
    /// The services' user, where the agent is another one.
    pub(crate) owner: Option<&'a RunAs>,
}

/// Makes a revision's folder from its source. It is there whole, or not at all; one that was there
/// before is replaced. An artifact must have been kept before.
pub(crate) fn make_revision_folder(
    source: &Source,
    place: &Place<'_>,
    artifacts: &Artifacts,
    cancelled: &AtomicBool,
) -> Result<(), ArtifactError> {
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |error| ArtifactError::Disk(path, error)
    };
    let Place { at, partial: part, owner } = *place;
    folders::remove(part).map_err(disk(part))?;
    fs::DirBuilder::new().mode(0o700).create(part).map_err(disk(part))?;
    if let Some(RunAs { uid, gid, .. }) = owner {
        std::os::unix::fs::chown(part, Some(*uid), Some(*gid)).map_err(disk(part))?;
    }
    let filled = match source {
        Source::Empty => Ok(()),
        Source::Artifact(digest) => {
            let packed = artifacts.path(digest);
            let content = Content::Archive(&packed, digest);
            artifact_child::place(&content, part, owner, cancelled)
        }
        Source::Path(path) => {
            artifact_child::place(&Content::Folder(Path::new(path)), part, owner, cancelled)
        }
    };
    let placed = filled.and_then(|()| {
        folders::remove(at).map_err(disk(at))?;
        fs::rename(part, at).map_err(disk(at))
    });
    if placed.is_err() {
        let _removed_before_the_next_try = folders::remove(part);
    }
    placed
}

fn make_folder(path: &Path) -> Result<(), ArtifactError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| ArtifactError::Disk(path.to_owned(), error))
}

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
