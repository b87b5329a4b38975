//! The snapshots in the data folder: taken, checked, listed, and the oldest dropped.
//!
//! `snapshots/tucano-20260131T031200Z.db`, each a whole database. One that is there under such a
//! name has passed its check; it is written under another first. When to take one `keeper.rs`
//! decides.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tucano_common::limits::{SNAPSHOTS_KEPT, SNAPSHOTS_KEPT_SCARCE};
use tucano_common::time::Wall;

use super::copy::{self, CopyError};
use super::folder::DataDir;
use super::inspect;

const PREFIX: &str = "tucano-";
const SUFFIX: &str = ".db";
/// One that is being written.
const UNDONE: &str = ".copy-";

/// The folder of snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
    database: PathBuf,
    made: u64,
}

/// A snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
}

impl Snapshots {
    /// The folder's, without what a crash left half done. A disk that is full or fails is no reason
    /// not to start: the first copy says so.
    pub(crate) fn new(dir: &DataDir) -> Snapshots {
        let snapshots = Snapshots { folder: dir.snapshots(), database: dir.database(), made: 0 };
        if let Err(error) = snapshots.prepare().and_then(|()| snapshots.tidy_up()) {
            log::warn!("{}: {error}", snapshots.folder.display());
        }
        snapshots
    }

    /// The folder is there, and closed to others.
    fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    fn tidy_up(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNDONE) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// When the newest was taken, by its name; none where there is none.
    pub(crate) fn newest_at(&self) -> Option<Wall> {
        newest_first(&self.folder).ok()?.first().and_then(|path| taken_at(path))
    }

    /// Takes one, checks it, and drops the oldest.
    pub(crate) fn take(&mut self, now: Wall, go_on: &dyn Fn() -> bool) -> Result<Taken, CopyError> {
        self.ready()?;
        self.make_room()?;
        let undone = self.copy(go_on)?;
        let path = self.folder.join(name(now));
        let failed = |source| CopyError::File { path: path.clone(), source };
        let put = || -> io::Result<u64> {
            fs::rename(&undone, &path)?;
            copy::sync_folder(&self.folder)?;
            Ok(fs::metadata(&path)?.len())
        };
        let bytes = put().map_err(failed)?;
        self.keep(SNAPSHOTS_KEPT).map_err(failed)?;
        Ok(Taken { path, bytes })
    }

    /// A copy for somebody who takes it away: an open file without a name.
    pub(crate) fn take_away(&mut self, go_on: &dyn Fn() -> bool) -> Result<File, CopyError> {
        self.ready()?;
        copy::has_room(&self.database, &self.folder)?;
        let undone = self.copy(go_on)?;
        let open = || -> io::Result<File> {
            let file = File::open(&undone)?;
            fs::remove_file(&undone)?;
            Ok(file)
        };
        open().map_err(|source| CopyError::File { path: undone.clone(), source })
    }

    fn ready(&self) -> Result<(), CopyError> {
        self.prepare().map_err(|source| CopyError::File { path: self.folder.clone(), source })
    }

    fn copy(&mut self, go_on: &dyn Fn() -> bool) -> Result<PathBuf, CopyError> {
        self.made += 1;
        let undone = self.folder.join(format!("{UNDONE}{}", self.made));
        copy::copy(&self.database, &undone, go_on)?;
        Ok(undone)
    }

    /// Where the disk is about to be full, old snapshots go before the new one is given up.
    fn make_room(&self) -> Result<(), CopyError> {
        loop {
            let Err(error) = copy::has_room(&self.database, &self.folder) else { return Ok(()) };
            let there = newest_first(&self.folder).unwrap_or_default();
            match there.last() {
                Some(oldest) if there.len() > SNAPSHOTS_KEPT_SCARCE => {
                    log::warn!("{} goes, to make room: the disk is full", oldest.display());
                    if fs::remove_file(oldest).is_err() {
                        return Err(error);
                    }
                }
                Some(_) | None => return Err(error),
            }
        }
    }

    fn keep(&self, count: usize) -> io::Result<()> {
        newest_first(&self.folder)?.iter().skip(count).try_for_each(fs::remove_file)
    }
}

/// The newest snapshot of a data folder that passes its check, for whoever has to restore one.
pub(super) fn newest_good(folder: &Path) -> Option<PathBuf> {
    let there = newest_first(folder).unwrap_or_default();
    there.into_iter().find(|path| inspect::identify(path).is_ok())
}

/// All snapshots; what else lies there is not looked at.
pub(super) fn newest_first(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if taken_at(&path).is_some() {
            found.push(path);
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

/// `tucano-20260131T031200Z.db`: it sorts by time.
fn name(at: Wall) -> String {
    format!("{PREFIX}{}{SUFFIX}", stamp(at))
}

/// `20260131T031200Z`: a time in the name of a file.
pub(super) fn stamp(at: Wall) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    let plain: String = seconds.chars().filter(|c| c.is_ascii_digit() || *c == 'T').collect();
    format!("{plain}Z")
}

fn taken_at(path: &Path) -> Option<Wall> {
    let name = path.file_name()?.to_str()?;
    let text = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let fits = text.len() == 16 && text.is_ascii();
    let parts = fits.then(|| [0..4, 4..6, 6..11, 11..13, 13..16].map(|part| &text[part]))?;
    let [year, month, day_and_hour, minute, second] = parts;
    Wall::parse(&format!("{year}-{month}-{day_and_hour}:{minute}:{second}"))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::super::tests::{Scratch, event, open};
    use super::super::{Batch, DataDir, Store};
    use super::*;

    const GO_ON: &dyn Fn() -> bool = &|| true;
    const SECOND: i64 = 1000;

    fn rig(scratch: &Scratch) -> (DataDir, Store, Snapshots) {
        let (dir, store, _) = open(scratch).expect("new");
        let snapshots = Snapshots::new(&dir);
        (dir, store, snapshots)
    }

    #[test]
    fn a_name_says_when_and_sorts_by_it() {
        let at = Wall::parse("2026-01-31T03:12:00Z").expect("a time");
        assert_eq!(name(at), "tucano-20260131T031200Z.db");
        assert_eq!(taken_at(Path::new("x/tucano-20260131T031200Z.db")), Some(at));
        for other in ["tucano.db", "tucano-.db", "tucano-20260131T031200Z.db-wal", "notes.txt"] {
            assert_eq!(taken_at(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn eight_are_kept_and_each_is_whole_while_the_writer_goes_on() {
        let scratch = Scratch::new();
        let (dir, mut store, mut snapshots) = rig(&scratch);
        for seq in 1..=10 {
            store.commit(&Batch { events: vec![event(seq)], ..Batch::default() }).expect("stored");
            let at = i64::try_from(seq).expect("small") * SECOND;
            let taken = snapshots.take(Wall(at), GO_ON).expect("taken");
            let found = inspect::identify(&taken.path).expect("it is whole");
            assert_eq!(found.last_event, seq, "what was committed before is in it");
        }
        let there = newest_first(&dir.snapshots()).expect("listed");
        assert_eq!(there.len(), SNAPSHOTS_KEPT);
        assert_eq!(taken_at(&there[0]), Some(Wall(10 * SECOND)));
        assert_eq!(snapshots.newest_at(), Some(Wall(10 * SECOND)));
        let names = fs::read_dir(dir.snapshots()).expect("listed").count();
        assert_eq!(names, SNAPSHOTS_KEPT, "nothing else is left there");
    }

    #[test]
    fn a_copy_is_as_of_its_beginning_and_the_writer_never_waits_for_it() {
        let scratch = Scratch::new();
        let (_dir, store, mut snapshots) = rig(&scratch);
        let store = RefCell::new(store);
        let large = |seq| {
            let mut large = event(seq);
            large.message = "x".repeat(8000);
            large
        };
        let commit = |seqs: std::ops::RangeInclusive<u64>| {
            let batch = Batch { events: seqs.map(large).collect(), ..Batch::default() };
            store.borrow_mut().commit(&batch).expect("stored at once");
        };
        commit(1..=800);
        // Between two pieces of the copy somebody writes, more than the log holds before a
        // checkpoint.
        let (last, pieces) = (Cell::new(800), Cell::new(0));
        let taken = snapshots.take(Wall(SECOND), &|| {
            pieces.set(pieces.get() + 1);
            commit(last.get() + 1..=last.get() + 600);
            last.set(last.get() + 600);
            true
        });
        let taken = taken.expect("taken");
        assert!(pieces.get() > 4, "{} pieces", pieces.get());
        let found = inspect::identify(&taken.path).expect("it is whole");
        assert_eq!(found.last_event, 800, "nothing of what came later is in it");
        let after = store.borrow().load().expect("read");
        assert_eq!(after.last_event, last.get());
    }

    #[test]
    fn where_the_folder_can_not_be_made_a_copy_says_so_and_nothing_else_fails() {
        let scratch = Scratch::new();
        let (dir, _store, _) = open(&scratch).expect("new");
        fs::write(dir.snapshots(), b"in the way").expect("written");
        let mut snapshots = Snapshots::new(&dir);
        let refused = snapshots.take(Wall(SECOND), GO_ON).expect_err("no folder").to_string();
        assert!(refused.contains("snapshots"), "{refused}");
        fs::remove_file(dir.snapshots()).expect("removed");
        snapshots.take(Wall(SECOND), GO_ON).expect("there is one now");
    }

    #[test]
    fn a_damaged_database_makes_no_snapshot_and_keeps_the_good_ones() {
        let scratch = Scratch::new();
        let (dir, mut store, mut snapshots) = rig(&scratch);
        let events = (1..=2000).map(event).collect();
        store.commit(&Batch { events, ..Batch::default() }).expect("stored");
        let good = snapshots.take(Wall(SECOND), GO_ON).expect("taken");
        drop(store);
        let mut bytes = fs::read(dir.database()).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8192].fill(0x55);
        fs::write(dir.database(), bytes).expect("written");
        snapshots.take(Wall(2 * SECOND), GO_ON).expect_err("it is damaged");
        assert_eq!(newest_good(&dir.snapshots()), Some(good.path));
        assert_eq!(fs::read_dir(dir.snapshots()).expect("listed").count(), 1);
    }

    #[test]
    fn a_damaged_snapshot_is_passed_over() {
        let scratch = Scratch::new();
        let (dir, _store, mut snapshots) = rig(&scratch);
        let older = snapshots.take(Wall(SECOND), GO_ON).expect("taken");
        let newer = snapshots.take(Wall(2 * SECOND), GO_ON).expect("taken");
        fs::write(&newer.path, b"no database").expect("damaged");
        assert_eq!(newest_good(&dir.snapshots()), Some(older.path));
    }

    #[test]
    fn who_takes_one_away_leaves_nothing_behind() {
        use std::io::Read;
        let scratch = Scratch::new();
        let (dir, _store, mut snapshots) = rig(&scratch);
        let mut magic = [0; 16];
        let mut file = snapshots.take_away(GO_ON).expect("a file");
        file.read_exact(&mut magic).expect("read");
        assert_eq!(&magic, b"SQLite format 3\0");
        assert_eq!(fs::read_dir(dir.snapshots()).expect("listed").count(), 0);
        let stopped = snapshots.take_away(&|| false).expect_err("it is to stop");
        assert!(matches!(stopped, CopyError::Stopped));
        assert_eq!(fs::read_dir(dir.snapshots()).expect("listed").count(), 0);
    }
}
