//! The thread that writes and reads artifacts' files, so that the API never waits for a disk.
//!
//! One job of a transfer at a time: the next piece is sent when the last one is done, which is all
//! the back-pressure there is. An upload goes into a file of its own, is hashed on the way, synced,
//! and put in place by a rename: under a digest's name there is either the whole artifact or
//! nothing. Whether the cluster knows it is the deployer's matter. Started by `wiring`, fed by
//! `artifacts`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::Receiver;
use sha2::{Digest as _, Sha256};
use tucano_common::limits::ARTIFACT_PIECE_BYTES;
use tucano_common::spec::Digest;
use tucano_net::{SendError, Sender, log_limited};

use super::ToApi;
use super::problems::Refused;

/// One upload or download: drawn by the API, it names the file here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TransferId(pub(crate) u64);

/// Something for the disk.
#[derive(Debug)]
pub(crate) enum Job {
    /// The next piece of an upload (the first begins it). Answer: `Written`.
    Write {
        /// Whose.
        id: TransferId,
        /// What.
        bytes: Vec<u8>,
    },
    /// The upload is whole. Answer: `Stored`.
    Store(TransferId),
    /// Begin a download. Answer: `Opened`.
    Open {
        /// Whose.
        id: TransferId,
        /// Of what.
        digest: Digest,
    },
    /// Begin a download of a file that is open. Answer: `Opened`.
    Adopt {
        /// Whose.
        id: TransferId,
        /// The file.
        file: File,
    },
    /// The next piece of a download. Answer: `Piece`.
    Read(TransferId),
    /// Forget it. Answer: `Closed`.
    Close(TransferId),
}

/// How a job ended.
#[derive(Debug)]
pub(crate) enum Done {
    /// The piece is in the file.
    Written,
    /// The artifact is in place; the transfer is over.
    Stored {
        /// What it is called from now on.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// It was there before.
        known: bool,
    },
    /// The file is open and has so many bytes.
    Opened(u64),
    /// Some of it; empty at its end, where the transfer is over.
    Piece(Vec<u8>),
    /// It did not work; the transfer is over.
    Failed(Refused),
    /// It is forgotten; the transfer is over.
    Closed,
}

/// A job's end, with whose it was.
#[derive(Debug)]
pub(crate) struct FromDisk {
    /// Whose.
    pub(crate) id: TransferId,
    /// How it ended.
    pub(crate) done: Done,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    open: BTreeMap<TransferId, Transfer>,
    /// For the names of uploads' files.
    uploads: u64,
}

enum Transfer {
    Upload { file: File, path: PathBuf, hash: Sha256, bytes: u64, head: Vec<u8> },
    Download(File),
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transfer::Upload { .. } => "Upload",
            Transfer::Download(_) => "Download",
        })
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UPLOAD_PREFIX: &str = ".upload-";

impl Disk {
    /// Makes the folder ready: there, closed to others, without what a crash left half done.
    pub(crate) fn new(folder: PathBuf) -> io::Result<Disk> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UPLOAD_PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Disk { folder, open: BTreeMap::new(), uploads: 0 })
    }

    /// The file of an artifact.
    pub(crate) fn path(folder: &Path, digest: &Digest) -> PathBuf {
        folder.join(format!("{}.tar.gz", digest.hex()))
    }

    /// Works until nobody sends jobs any more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>, api: &Sender<ToApi>) {
        for job in jobs {
            let answer = self.carry_out(job);
            if !deliver(api, ToApi::Disk(answer)) {
                return;
            }
        }
    }

    /// Does one job.
    pub(crate) fn carry_out(&mut self, job: Job) -> FromDisk {
        let (id, done) = match job {
            Job::Write { id, bytes } => (id, self.write(id, &bytes).map(|()| Done::Written)),
            Job::Store(id) => (id, self.store(id)),
            Job::Open { id, digest } => (id, self.open(id, &digest)),
            Job::Adopt { id, file } => (id, self.adopt(id, file, "reading the copy")),
            Job::Read(id) => (id, self.read(id)),
            Job::Close(id) => {
                self.forget(id);
                (id, Ok(Done::Closed))
            }
        };
        let done = done.unwrap_or_else(|refused| {
            self.forget(id);
            Done::Failed(refused)
        });
        FromDisk { id, done }
    }

    fn write(&mut self, id: TransferId, piece: &[u8]) -> Result<(), Refused> {
        if !self.open.contains_key(&id) {
            let upload = self.begin().map_err(|error| failed("the upload", &error))?;
            self.open.insert(id, upload);
        }
        let Some(Transfer::Upload { file, hash, bytes, head, .. }) = self.open.get_mut(&id) else {
            return Err(Refused::Defect("a piece came for something that is no upload"));
        };
        let missing = GZIP_MAGIC.len().saturating_sub(head.len()).min(piece.len());
        head.extend_from_slice(&piece[..missing]);
        if !GZIP_MAGIC.starts_with(head) {
            return Err(Refused::NotGzip);
        }
        hash.update(piece);
        *bytes += piece.len() as u64;
        file.write_all(piece).map_err(|error| failed("the upload", &error))
    }

    fn begin(&mut self) -> io::Result<Transfer> {
        self.uploads += 1;
        let path = self.folder.join(format!("{UPLOAD_PREFIX}{}", self.uploads));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Transfer::Upload { file, path, hash: Sha256::new(), bytes: 0, head: Vec::new() })
    }

    fn store(&mut self, id: TransferId) -> Result<Done, Refused> {
        let Some(Transfer::Upload { file, path, hash, bytes, head }) = self.open.remove(&id) else {
            return Err(Refused::MissingBody { wanted: "a .tar.gz, as with curl -T app.tar.gz" });
        };
        let digest = Digest::from_bytes(&hash.finalize().into());
        let place = Disk::path(&self.folder, &digest);
        if head != GZIP_MAGIC {
            discard(&path);
            return Err(Refused::NotGzip);
        }
        let put = || -> io::Result<bool> {
            if place.try_exists()? {
                fs::remove_file(&path)?;
                return Ok(true);
            }
            file.sync_all()?;
            fs::rename(&path, &place)?;
            // The name is promised to the caller: it has to outlive a power cut too.
            File::open(&self.folder)?.sync_all()?;
            Ok(false)
        };
        match put() {
            Ok(known) => Ok(Done::Stored { digest, bytes, known }),
            Err(error) => {
                discard(&path);
                Err(failed("the upload", &error))
            }
        }
    }

    fn open(&mut self, id: TransferId, digest: &Digest) -> Result<Done, Refused> {
        let file = match File::open(Disk::path(&self.folder, digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Refused::NoArtifact(digest.to_string()));
            }
            Err(error) => return Err(failed("reading the artifact", &error)),
        };
        self.adopt(id, file, "reading the artifact")
    }

    fn adopt(&mut self, id: TransferId, file: File, doing: &'static str) -> Result<Done, Refused> {
        let bytes = file.metadata().map_err(|error| failed(doing, &error))?.len();
        self.open.insert(id, Transfer::Download(file));
        Ok(Done::Opened(bytes))
    }

    fn read(&mut self, id: TransferId) -> Result<Done, Refused> {
        let Some(Transfer::Download(file)) = self.open.get_mut(&id) else {
            return Err(Refused::Defect("a piece was wanted of something that is no download"));
        };
        let mut piece = Vec::with_capacity(ARTIFACT_PIECE_BYTES);
        let mut part = file.take(ARTIFACT_PIECE_BYTES as u64);
        part.read_to_end(&mut piece).map_err(|error| failed("reading the artifact", &error))?;
        if piece.is_empty() {
            self.open.remove(&id);
        }
        Ok(Done::Piece(piece))
    }

    fn forget(&mut self, id: TransferId) {
        match self.open.remove(&id) {
            Some(Transfer::Upload { path, .. }) => discard(&path),
            Some(Transfer::Download(_)) | None => {}
        }
    }
}

/// Removes what is left of an upload; where that fails the next start does it.
fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        log_limited!(log::Level::Warn, "could not remove {}: {error}", path.display());
    }
}

fn failed(what: &'static str, error: &io::Error) -> Refused {
    log_limited!(log::Level::Error, "{what} failed: {error}");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Refused::DiskFull(what)
        }
        _ => Refused::Disk(what),
    }
}

/// Waits for room in the API's inbox (the caller may); false when the API has ended.
pub(crate) fn deliver(api: &Sender<ToApi>, mut message: ToApi) -> bool {
    loop {
        match api.try_send(message) {
            Ok(()) => return true,
            Err(SendError::Closed(_)) => return false,
            Err(SendError::Full(back)) => message = back,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
