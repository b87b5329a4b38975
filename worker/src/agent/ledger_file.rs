//! The ledger on disk, so that there is always a whole one.
//!
//! What waits for it, a start above all, waits for the next agent to find it, not for the disk: a
//! machine that loses its power loses the processes too. So each version is first only written
//! (`.next`: any later agent of this boot reads it), and brought onto the disk afterwards, the
//! newest one, in the old one's place. An agent takes the newest of them that is whole.
//!
//! What it says is the supervisor's. One that can't be read is set aside under another name, never
//! written over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tucano_common::time::Wall;
use tucano_worker_core::ledger::{BuildEntry, BuildStepEntry, InstanceEntry, LedgerHead, VERSION};
use tucano_worker_core::{BuildKey, Ledger, Run};

/// What was found at the start.
#[derive(Debug)]
pub(crate) enum Found {
    /// It.
    Ledger(Box<Ledger>),
    /// None: this worker is new.
    Nothing,
    /// One that can't be read; it was set aside.
    SetAside(Unreadable),
}

/// Why a ledger could not be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    reason: Reason,
    kept_as: PathBuf,
}

#[derive(Debug)]
enum Reason {
    Damaged(serde_json::Error),
    Version(u32),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Damaged(error) => write!(f, "the ledger is damaged ({error})")?,
            Reason::Version(version) => write!(
                f,
                "the ledger is of version {version}, of a newer agent than this (version {VERSION})"
            )?,
        }
        write!(f, "; it is kept as {:?}, and rebuilt from what runs", self.kept_as)
    }
}

/// Reads the newest.
pub(crate) fn load(path: &Path, now: Wall) -> io::Result<Found> {
    for name in [part(path), next(path), syncing(path)] {
        // Torn by a loss of power, or of a full disk: the one before it is whole.
        let is_whole = fs::read(&name).is_ok_and(|bytes| parse(&bytes).is_ok());
        if is_whole {
            fs::rename(name, path)?;
            break;
        }
    }
    forget_unsynced(path);
    load_synced(path, now)
}

fn load_synced(path: &Path, now: Wall) -> io::Result<Found> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let reason = match parse(&bytes) {
        Ok(ledger) => return Ok(Found::Ledger(Box::new(ledger))),
        Err(reason) => reason,
    };
    let mut kept_as = path.as_os_str().to_owned();
    kept_as.push(format!(".unread-{}", now.0));
    let kept_as = PathBuf::from(kept_as);
    fs::rename(path, &kept_as)?;
    Ok(Found::SetAside(Unreadable { reason, kept_as }))
}

fn parse(bytes: &[u8]) -> Result<Ledger, Reason> {
    let head: LedgerHead = serde_json::from_slice(bytes).map_err(Reason::Damaged)?;
    if head.version != VERSION {
        return Err(Reason::Version(head.version));
    }
    serde_json::from_slice(bytes).map_err(Reason::Damaged)
}

/// What a ledger must have said, out of what stands beside the processes that run. `is_built` tells
/// whether a revision's folder is there.
pub(crate) fn rebuild(
    instances: Vec<InstanceEntry>,
    is_built: impl Fn(&BuildKey) -> bool,
) -> Ledger {
    let mut builds: BTreeMap<&BuildKey, BuildEntry> = BTreeMap::new();
    for entry in &instances {
        let step =
            if is_built(&entry.build) { BuildStepEntry::Ready } else { BuildStepEntry::Idle };
        let (key, spec) = (entry.build.clone(), entry.spec.clone());
        builds.insert(&entry.build, BuildEntry { key, spec, run: Run(1), step });
    }
    let builds = builds.into_values().collect();
    let (holds, balancer_url, quarantine) = (None, String::new(), Vec::new());
    // Services' users are found by their folders.
    let users = Vec::new();
    Ledger { version: VERSION, holds, balancer_url, instances, builds, quarantine, users }
}

/// Writes it; a later agent of this boot finds it when this returns, and [`sync`] is to follow.
pub(crate) fn write(path: &Path, ledger: &Ledger) -> io::Result<()> {
    write_part(path, ledger)?;
    // ext4 brings a file that replaces another onto the disk before the rename returns, which a
    // start would wait for. Between the two the part is the newest, and whole.
    match fs::remove_file(next(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => fs::rename(part(path), next(path)),
    }
}

/// Brings what was written last onto the disk. For another thread than the one that writes: it may
/// take as long as the disk does.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    // Taken by a rename, so that what is written meanwhile is neither half synced nor lost.
    match fs::rename(next(path), syncing(path)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    put_in_place(&syncing(path), path)
}

/// Writes it; on disk when this returns. Not while [`sync`] goes on.
pub(crate) fn save(path: &Path, ledger: &Ledger) -> io::Result<()> {
    write_part(path, ledger)?;
    put_in_place(&part(path), path)?;
    forget_unsynced(path);
    Ok(())
}

fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

fn next(path: &Path) -> PathBuf {
    path.with_extension("next")
}

fn syncing(path: &Path) -> PathBuf {
    path.with_extension("syncing")
}

/// Older ones that would be taken for newer.
fn forget_unsynced(path: &Path) {
    for name in [part(path), next(path), syncing(path)] {
        let _there_seldom_is_one = fs::remove_file(name);
    }
}

fn write_part(path: &Path, ledger: &Ledger) -> io::Result<()> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(part(path))?;
    let mut writer = BufWriter::with_capacity(16 * 1024, file);
    serde_json::to_writer(&mut writer, ledger)?;
    writer.write_all(b"\n")?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

fn put_in_place(written: &Path, path: &Path) -> io::Result<()> {
    File::open(written)?.sync_data()?;
    fs::rename(written, path)?;
    // The new name is on disk only when its folder is.
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tucano_common::wire::worker::Holding;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tucano-{name}-{}", std::process::id()));
        let _left_by_an_earlier_run = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn ledger(generation: u64) -> Ledger {
        Ledger {
            version: VERSION,
            holds: Some(Holding { cluster: "c".to_owned(), generation }),
            balancer_url: String::new(),
            instances: Vec::new(),
            builds: Vec::new(),
            quarantine: vec![(20_000, Wall(5))],
            users: Vec::new(),
        }
    }

    #[test]
    fn what_was_saved_last_is_loaded() {
        let folder = folder("ledger");
        let path = folder.join("ledger.json");
        assert!(matches!(load(&path, Wall(0)), Ok(Found::Nothing)));
        for generation in [1, 2] {
            save(&path, &ledger(generation)).unwrap();
            let Ok(Found::Ledger(found)) = load(&path, Wall(0)) else { panic!("not found") };
            assert_eq!(*found, ledger(generation));
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a part was left");
        fs::remove_dir_all(folder).unwrap();
    }

    fn loaded(path: &Path) -> Ledger {
        match load(path, Wall(0)) {
            Ok(Found::Ledger(found)) => *found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_whole_one_counts_wherever_an_agent_or_a_machine_ended() {
        let folder = folder("ledger-next");
        let path = folder.join("ledger.json");
        write(&path, &ledger(1)).unwrap();
        assert_eq!(loaded(&path), ledger(1), "written and not synced");
        sync(&path).unwrap();
        // Ended while one is being synced, and another one was written since.
        write(&path, &ledger(2)).unwrap();
        fs::rename(next(&path), syncing(&path)).unwrap();
        assert_eq!(loaded(&path), ledger(2));
        write(&path, &ledger(3)).unwrap();
        fs::rename(next(&path), syncing(&path)).unwrap();
        write(&path, &ledger(4)).unwrap();
        assert_eq!(loaded(&path), ledger(4));
        // Ended between the two steps of writing one, and in the middle of the first.
        write(&path, &ledger(3)).unwrap();
        write_part(&path, &ledger(4)).unwrap();
        fs::remove_file(next(&path)).unwrap();
        assert_eq!(loaded(&path), ledger(4));
        write(&path, &ledger(4)).unwrap();
        fs::write(part(&path), "{\"version\":1,").unwrap();
        assert_eq!(loaded(&path), ledger(4));
        // The power went: what was not synced is torn or empty.
        for torn in ["", "{\"version\":1,", "{\"version\":9}"] {
            fs::write(next(&path), torn).unwrap();
            fs::write(syncing(&path), torn).unwrap();
            assert_eq!(loaded(&path), ledger(4));
        }
        // What is saved at once is not overruled by what was written before.
        write(&path, &ledger(5)).unwrap();
        save(&path, &ledger(6)).unwrap();
        sync(&path).unwrap();
        assert_eq!(loaded(&path), ledger(6));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_torn_or_newer_one_is_set_aside_and_said() {
        let folder = folder("ledger-torn");
        let path = folder.join("ledger.json");
        save(&path, &ledger(1)).unwrap();
        let whole = fs::read(&path).unwrap();
        let newer = String::from_utf8(whole.clone()).unwrap().replace("version\":1", "version\":9");
        let cases = [
            (&whole[..whole.len() / 2], "damaged"),
            (&b""[..], "damaged"),
            (&b"{\"version\":1}"[..], "damaged"),
            (newer.as_bytes(), "version 9, of a newer agent"),
        ];
        for (n, (bytes, said)) in cases.into_iter().enumerate() {
            fs::write(&path, bytes).unwrap();
            let Ok(Found::SetAside(why)) = load(&path, Wall(n as i64)) else { panic!("taken") };
            assert!(why.to_string().contains(said), "{why}");
            assert_eq!(fs::read(&why.kept_as).unwrap(), bytes);
            assert!(!path.exists());
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let folder = folder("ledger-gone");
        fs::remove_dir_all(&folder).unwrap();
        assert!(save(&folder.join("ledger.json"), &ledger(1)).is_err());
    }
}
