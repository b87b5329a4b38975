//! The database: what was committed is there after a reopen; what can not be read is refused with
//! words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;
use tucano_common::limits::{EVENTS_KEPT, METRICS_POINTS_KEPT};
use tucano_common::name::WorkerName;
use tucano_common::spec::Digest;
use tucano_common::time::Wall;
use tucano_common::wire::views::MetricsPoint;
use tucano_common::wire::worker::Capacity;
use tucano_controller_core::cluster::{Admission, Event, EventKind, LeaseState, Worker};
use tucano_controller_core::deployer::Change;

use super::*;

/// A folder that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("tucano-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Scratch(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn database(&self) -> PathBuf {
        self.0.join("tucano.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn open(scratch: &Scratch) -> Result<(DataDir, Store, Stored), OpenError> {
    let dir = DataDir::open(scratch.path())?;
    let (store, stored) = Store::open(&dir)?;
    Ok((dir, store, stored))
}

/// Brings a database to the schema of the first release, with what is in it.
pub(crate) fn as_the_first_release(scratch: &Scratch) {
    let schema = schema::VERSION_1;
    let from = schema.find("CREATE TABLE instances").expect("a table");
    let upto = schema.find("CREATE TABLE events").expect("the next");
    let columns = "id, service, revision, born_revision, restart_epoch, deployment, replaces,
                   worker, state, status, since_ms, survey, chosen, restart_nonce, observed,
                   created_at_ms, event";
    let conn = Connection::open(scratch.database()).expect("opened");
    conn.execute_batch(&format!(
        "ALTER TABLE instances RENAME TO newer; {}
         INSERT INTO instances SELECT {columns} FROM newer; DROP TABLE newer;
         PRAGMA user_version = 1;",
        &schema[from..upto]
    ))
    .expect("as it was");
}

pub(crate) fn refusal(scratch: &Scratch) -> String {
    match open(scratch) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn event(seq: u64) -> Event {
    Event {
        seq,
        at: Wall(1000 + seq as i64),
        kind: EventKind::WorkerJoined,
        service: None,
        revision: None,
        deployment: None,
        instance: None,
        worker: Some(name()),
        cause: seq.checked_sub(1).filter(|cause| *cause > 0),
        message: format!("number {seq}"),
    }
}

fn name() -> WorkerName {
    WorkerName::new("w1").expect("a name")
}

fn worker() -> Worker {
    Worker {
        name: name(),
        address: "127.0.0.1".parse().expect("an address"),
        agent_port: 7071,
        version: "0.1.0".to_owned(),
        capacity: Capacity { cpus: 4, memory_bytes: 1 << 33 },
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        admission: Admission::Open,
        lease: LeaseState::Ready,
        generation: 7,
        joined_at: Wall(1),
        last_seen: Wall(2),
    }
}

pub(crate) fn point(minute: i64) -> MetricsPoint {
    MetricsPoint {
        at: Wall(minute * 60_000),
        cpu_ratio: 0.5,
        memory_used_bytes: 1,
        memory_total_bytes: 2,
        load1: 0.25,
        disk_free_bytes: 3,
        samples: 60,
    }
}

#[test]
fn a_new_folder_is_private_and_its_cluster_keeps_its_id() {
    let scratch = Scratch::new();
    let (dir, store, stored) = open(&scratch).expect("new");
    assert_eq!(stored.cluster.len(), 16);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(scratch.path()), 0o700);
    for file in ["tucano.db", "tucano.db-wal", "tucano.db-shm", "lock"] {
        assert_eq!(mode(&scratch.path().join(file)), 0o600, "{file}");
    }
    drop((store, dir));
    let (_dir, _store, again) = open(&scratch).expect("known");
    assert_eq!(again.cluster, stored.cluster);
}

#[test]
fn a_folder_that_others_may_read_is_closed() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path()).expect("made");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let _dir = DataDir::open(scratch.path()).expect("taken");
    let mode = fs::metadata(scratch.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_second_holder_is_refused_and_told_who_the_first_is() {
    let scratch = Scratch::new();
    let first = open(&scratch).expect("new");
    let refused = refusal(&scratch);
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
    drop(first);
    open(&scratch).expect("free again");
}

#[test]
fn an_empty_file_is_a_new_database() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path()).expect("made");
    fs::write(scratch.database(), b"").expect("written");
    let (_dir, _store, stored) = open(&scratch).expect("as good as none");
    assert_eq!(stored.rows.last_event, 0);
}

#[test]
fn a_newer_schema_is_refused_in_words() {
    let scratch = Scratch::new();
    drop(open(&scratch).expect("new"));
    let conn = Connection::open(scratch.database()).expect("opened");
    conn.pragma_update(None, "user_version", 99).expect("set");
    drop(conn);
    let refused = refusal(&scratch);
    assert!(refused.contains("newer release (schema 99, this one knows 2)"), "{refused}");
}

#[test]
fn a_database_of_something_else_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path()).expect("made");
    let conn = Connection::open(scratch.database()).expect("opened");
    conn.execute_batch("CREATE TABLE theirs (x INTEGER)").expect("made");
    drop(conn);
    assert!(refusal(&scratch).contains("another program"));
    let conn = Connection::open(scratch.database()).expect("opened");
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .expect("counted");
    assert_eq!(tables, 1);
}

#[test]
fn a_damaged_file_is_refused_in_words() {
    for damage in [damage_header as fn(&Path), damage_pages, truncate] {
        let scratch = Scratch::new();
        let (dir, mut store, _) = open(&scratch).expect("new");
        let events = (1..=2000).map(event).collect();
        store.commit(&Batch { events, ..Batch::default() }).expect("stored");
        drop((store, dir));
        damage(&scratch.database());
        let refused = refusal(&scratch);
        assert!(refused.contains("is damaged") && refused.contains("good copy"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
}

fn damage_header(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    bytes[..16].fill(b'x');
    fs::write(path, bytes).expect("written");
}

fn damage_pages(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let len = bytes.len();
    bytes[4096..len].fill(0x55);
    fs::write(path, bytes).expect("written");
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).expect("read");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
}

#[test]
fn a_log_that_was_torn_by_a_crash_loses_only_what_was_not_promised() {
    let scratch = Scratch::new();
    let (dir, mut store, _) = open(&scratch).expect("new");
    store.commit(&Batch { events: vec![event(1)], ..Batch::default() }).expect("stored");
    let wal = scratch.path().join("tucano.db-wal");
    let promised = fs::read(&wal).expect("read");
    let database = fs::read(scratch.database()).expect("read");
    store.commit(&Batch { events: vec![event(2)], ..Batch::default() }).expect("stored");
    let whole = fs::read(&wal).expect("read");
    drop((store, dir));
    // As after a power cut in the middle of the second commit, its last page half on disk.
    let torn = &whole[..promised.len() + (whole.len() - promised.len()) / 2];
    fs::write(scratch.database(), database).expect("written");
    fs::write(&wal, torn).expect("written");
    let (_dir, _store, stored) = open(&scratch).expect("it is read up to the tear");
    assert_eq!(stored.rows.last_event, 1);
}

#[test]
fn rows_that_make_no_sense_are_damage_not_a_panic() {
    for change in [
        "UPDATE workers SET lease = 'asleep'",
        "UPDATE workers SET labels = 'no json'",
        "UPDATE workers SET generation = -1",
        "UPDATE workers SET name = 'Not A Name'",
    ] {
        let scratch = Scratch::new();
        let (dir, mut store, _) = open(&scratch).expect("new");
        let changes = vec![Change::PutWorker(worker())];
        store.commit(&Batch { changes, ..Batch::default() }).expect("stored");
        drop((store, dir));
        let conn = Connection::open(scratch.database()).expect("opened");
        conn.execute(change, []).expect("changed");
        drop(conn);
        assert!(refusal(&scratch).contains("is damaged"), "{change}");
    }
}

#[test]
fn records_come_back_as_they_were() {
    let scratch = Scratch::new();
    let (dir, mut store, _) = open(&scratch).expect("new");
    let drained = Worker {
        name: WorkerName::new("w2").expect("a name"),
        address: "fd00::7".parse().expect("an address"),
        admission: Admission::Draining { since: Wall(5), deadline: Wall(9) },
        lease: LeaseState::Dead,
        ..worker()
    };
    let changes = vec![Change::PutWorker(worker()), Change::PutWorker(drained.clone())];
    store.commit(&Batch { changes, ..Batch::default() }).expect("stored");
    let changed = Worker { generation: 8, ..worker() };
    let changes = vec![Change::PutWorker(changed.clone())];
    store.commit(&Batch { changes, ..Batch::default() }).expect("stored");
    drop((store, dir));
    let (_dir, _store, stored) = open(&scratch).expect("known");
    assert_eq!(stored.rows.workers, [changed, drained]);
}

#[test]
fn a_batch_is_stored_whole_or_not_at_all() {
    let scratch = Scratch::new();
    let (_dir, mut store, _) = open(&scratch).expect("new");
    let changes = vec![Change::PutWorker(worker())];
    // The second event has the number of the first: the database refuses it.
    let batch = Batch { changes, events: vec![event(1), event(1)], ..Batch::default() };
    store.commit(&batch).expect_err("a number is given once");
    let rows = store.load().expect("read");
    assert_eq!((rows.workers.len(), rows.last_event), (0, 0));
    store.commit(&Batch { events: vec![event(1)], ..batch }).expect("stored");
}

#[test]
fn a_full_disk_has_its_class_and_writing_goes_on_after_it() {
    let scratch = Scratch::new();
    let (_dir, mut store, _) = open(&scratch).expect("new");
    store.limit_growth(Some(0));
    let events: Vec<Event> = (1..=2000).map(event).collect();
    let batch = Batch { events, ..Batch::default() };
    assert_eq!(store.commit(&batch).expect_err("full").class, Class::Full);
    assert_eq!(store.load().expect("read").last_event, 0);
    store.limit_growth(None);
    store.commit(&batch).expect("there is space again");
    assert_eq!(store.load().expect("read").last_event, 2000);
}

#[test]
fn events_come_in_pages_and_what_is_not_kept_is_told() {
    let scratch = Scratch::new();
    let (dir, mut store, _) = open(&scratch).expect("new");
    store.trust_the_cache();
    let total = EVENTS_KEPT + EVENTS_KEPT / 50;
    let all: Vec<Event> = (1..=total).map(event).collect();
    for events in all.chunks(20_000) {
        store.commit(&Batch { events: events.to_vec(), ..Batch::default() }).expect("stored");
    }
    let first = total - EVENTS_KEPT + 1;
    let seqs = |after, limit| -> Vec<(u64, String)> {
        let events = store.events(after, limit).expect("read");
        events.into_iter().map(|event| (event.seq, event.kind)).collect()
    };
    let (gap, joined) = ("gap".to_owned(), "worker_joined".to_owned());
    assert_eq!(seqs(0, 2), [(first - 1, gap), (first, joined.clone())]);
    assert_eq!(seqs(first - 1, 1), [(first, joined.clone())]);
    assert_eq!(seqs(total - 1, 9), [(total, joined)]);
    assert_eq!(seqs(total, 9), []);
    drop((store, dir));
    let (_dir, store, stored) = open(&scratch).expect("known");
    assert_eq!(stored.rows.last_event, total);
    assert_eq!(store.events(0, 1).expect("read")[0].kind, "gap");
}

#[test]
fn minutes_are_kept_for_a_week_and_only_of_workers_that_are_there() {
    let scratch = Scratch::new();
    let (_dir, mut store, _) = open(&scratch).expect("new");
    let unknown = WorkerName::new("w9").expect("a name");
    let week = i64::try_from(METRICS_POINTS_KEPT).expect("small");
    let batch = Batch {
        changes: vec![Change::PutWorker(worker())],
        points: vec![(name(), point(1)), (name(), point(2)), (unknown.clone(), point(2))],
        ..Batch::default()
    };
    store.commit(&batch).expect("stored");
    assert_eq!(store.metrics(&name(), Wall(0)).expect("read"), [point(1), point(2)]);
    assert_eq!(store.metrics(&name(), Wall(60_001)).expect("read"), [point(2)]);
    assert_eq!(store.metrics(&unknown, Wall(0)).expect("read"), []);
    let points = vec![(name(), point(week + 2))];
    store.commit(&Batch { points, ..Batch::default() }).expect("stored");
    assert_eq!(store.metrics(&name(), Wall(0)).expect("read"), [point(2), point(week + 2)]);
    let changes = vec![Change::DropWorker(name())];
    store.commit(&Batch { changes, ..Batch::default() }).expect("stored");
    assert_eq!(store.metrics(&name(), Wall(0)).expect("read"), []);
}

#[test]
fn artifacts_are_entered_once() {
    let scratch = Scratch::new();
    let (_dir, mut store, _) = open(&scratch).expect("new");
    let digest = Digest::from_bytes(&[7; 32]);
    assert_eq!(store.artifact_bytes(&digest).expect("read"), None);
    for at in [1, 2] {
        let artifacts = vec![(digest.clone(), 99, Wall(at))];
        store.commit(&Batch { artifacts, ..Batch::default() }).expect("stored");
    }
    assert_eq!(store.artifact_bytes(&digest).expect("read"), Some(99));
    assert_eq!(store.artifacts_bytes().expect("read"), 99);
}
