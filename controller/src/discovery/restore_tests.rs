//! Restores: what is refused changes nothing, what is taken is whole, and numbers go on.

use std::fs;

use tucano_net::error_chain::Chain;

use super::super::tests::{Scratch, event, open};
use super::super::{Batch, Snapshots, Store, Stored};
use super::*;

const NOW: Wall = Wall(1_800_000_000_000);

/// A folder with events up to 5 in a snapshot, and up to 9 in the database.
fn rig() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let (dir, mut store, _) = open(&scratch).expect("new");
    commit(&mut store, 1..=5);
    let mut snapshots = Snapshots::new(&dir);
    let taken = snapshots.take(Wall(1000), &|| true).expect("taken");
    commit(&mut store, 6..=9);
    (scratch, taken.path)
}

fn commit(store: &mut Store, seqs: std::ops::RangeInclusive<u64>) {
    let events = seqs.map(event).collect();
    store.commit(&Batch { events, ..Batch::default() }).expect("stored");
}

fn try_restore(scratch: &Scratch, file: &Path) -> Result<Restored, String> {
    let dir = DataDir::open(scratch.path()).expect("free");
    restore(&dir, file, NOW).map_err(|error| Chain(&error).to_string())
}

fn events_of(scratch: &Scratch) -> Vec<(u64, String)> {
    let (_dir, store, _) = open(scratch).expect("opened");
    let events = store.events(0, 100).expect("read");
    events.into_iter().map(|event| (event.seq, event.kind)).collect()
}

fn last_event(scratch: &Scratch) -> u64 {
    let (_dir, _store, Stored { rows, .. }) = open(scratch).expect("opened");
    rows.last_event
}

#[test]
fn numbers_go_on_after_the_last_that_was_given_and_the_gap_is_told() {
    let (scratch, snapshot) = rig();
    let restored = try_restore(&scratch, &snapshot).expect("restored");
    assert_eq!((restored.last_event, restored.missing_artifacts.len()), (5, 0));
    let told: Vec<(u64, String)> = events_of(&scratch).split_off(5);
    assert_eq!(told, [(9, "gap".to_owned()), (10, "restored".to_owned())]);
    let (_dir, mut store, _) = open(&scratch).expect("opened");
    commit(&mut store, 11..=11);
    assert_eq!(store.events(10, 9).expect("read").len(), 1);
    // The database of before is whole, its log with it.
    let aside = restored.aside.expect("there was one");
    assert!(aside.display().to_string().ends_with("tucano.db.before-20270115T080000Z"));
    let conn = Connection::open(&aside).expect("opened");
    assert_eq!(events::kept(&conn).expect("read").last, 9);
}

#[test]
fn a_damaged_database_is_replaced_and_keeps_its_place_in_the_numbers() {
    let (scratch, snapshot) = rig();
    fs::write(scratch.path().join("tucano.db"), vec![b'x'; 65_536]).expect("damaged");
    let refused = match open(&scratch) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    };
    let folder = scratch.path().display();
    let file = snapshot.display();
    let command = format!("`tucano-controller --data-dir {folder} --restore {file}`");
    assert!(refused.contains("tucano.db is damaged") && refused.contains(&command), "{refused}");
    try_restore(&scratch, &snapshot).expect("restored");
    assert!(last_event(&scratch) > RESTORED_SEQ_SKIP, "later numbers may have been given");
    let kinds: Vec<String> = events_of(&scratch).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds[5..], ["gap", "restored"]);
}

#[test]
fn a_lost_folder_begins_with_the_snapshot() {
    let (scratch, snapshot) = rig();
    let other = Scratch::new();
    let restored = try_restore(&other, &snapshot).expect("restored");
    assert!(restored.aside.is_none());
    assert!(last_event(&other) > RESTORED_SEQ_SKIP, "what was lost may have given later numbers");
    let cluster = |scratch: &Scratch| open(scratch).expect("opened").2.cluster;
    assert_eq!(cluster(&other), cluster(&scratch));
}

#[test]
fn what_is_no_good_is_refused_and_changes_nothing() {
    let (scratch, snapshot) = rig();
    let bad = scratch.path().join("bad.db");
    let cases: [(&dyn Fn(), &str); 5] = [
        (&|| fs::write(&bad, vec![b'x'; 65_536]).expect("written"), "is damaged, or no database"),
        (&|| fs::write(&bad, b"").expect("written"), "is damaged"),
        (
            &|| {
                let mut bytes = fs::read(&snapshot).expect("read");
                let len = bytes.len();
                bytes[4096..len].fill(0x55);
                fs::write(&bad, bytes).expect("written");
            },
            "is damaged",
        ),
        (
            &|| {
                fs::copy(&snapshot, &bad).expect("copied");
                let conn = Connection::open(&bad).expect("opened");
                conn.pragma_update(None, "user_version", 99).expect("set");
            },
            "newer release (schema 99",
        ),
        (
            &|| {
                fs::remove_file(&bad).expect("removed");
                let conn = Connection::open(&bad).expect("opened");
                conn.execute_batch("CREATE TABLE theirs (x INTEGER)").expect("made");
            },
            "another program",
        ),
    ];
    for (damage, words) in cases {
        damage();
        let refused = try_restore(&scratch, &bad).expect_err(words);
        assert!(refused.contains(words) && refused.contains("bad.db"), "{refused}");
    }
    let refused = try_restore(&scratch, Path::new("/no/such/file")).expect_err("not there");
    assert!(refused.contains("/no/such/file can't be read"), "{refused}");
    assert_eq!(last_event(&scratch), 9);
    assert!(!scratch.path().join(NEW).exists(), "nothing is left of it");
}

#[test]
fn another_clusters_snapshot_is_refused() {
    let (scratch, _) = rig();
    let (_other, theirs) = rig();
    let refused = try_restore(&scratch, &theirs).expect_err("it is another's");
    assert!(refused.contains("is of cluster"), "{refused}");
    // Also where its own database can't be read any more.
    fs::write(scratch.path().join("tucano.db"), vec![b'x'; 65_536]).expect("damaged");
    let refused = try_restore(&scratch, &theirs).expect_err("it is another's");
    assert!(refused.contains("is of cluster"), "{refused}");
}

#[test]
fn a_restore_that_was_cut_short_lets_nobody_start_until_it_is_given_again() {
    let (scratch, snapshot) = rig();
    // As after a crash between the two renames.
    fs::write(scratch.path().join("restoring"), b"").expect("written");
    let database = scratch.path().join("tucano.db");
    fs::rename(&database, scratch.path().join("tucano.db.before-x")).expect("renamed");
    let refused = match open(&scratch) {
        Ok(_) => panic!("an empty database took its place"),
        Err(error) => error.to_string(),
    };
    assert!(refused.contains("cut short") && refused.contains("--restore"), "{refused}");
    try_restore(&scratch, &snapshot).expect("restored");
    assert!(last_event(&scratch) > RESTORED_SEQ_SKIP);
}

#[test]
fn what_root_restores_belongs_to_whoever_owns_the_folder() {
    let (scratch, snapshot) = rig();
    if nix::unistd::geteuid().is_root() {
        // As the folder of a controller that is a user of its own.
        for path in ["", "artifacts", "lock", "tucano.db"] {
            chown(scratch.path().join(path), Some(65_534), Some(65_534)).expect("root may");
        }
    }
    try_restore(&scratch, &snapshot).expect("restored");
    let owner = |path: &str| {
        let of = fs::metadata(scratch.path().join(path)).expect("it is there");
        (of.uid(), of.gid(), of.mode() & 0o777)
    };
    let (uid, gid, _) = owner("");
    assert_eq!(owner("tucano.db"), (uid, gid, 0o600));
    assert_eq!(owner("lock"), (uid, gid, 0o600));
}
