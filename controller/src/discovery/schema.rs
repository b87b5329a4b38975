//! The tables, as the first release has them. A released step is never edited; see `migrations.rs`.
//!
//! Scalars stand in columns that a person reads (`sqlite3 tucano.db 'SELECT id, service, worker,
//! state FROM instances'`), what is nested in JSON. Times are milliseconds since 1970 in UTC.
//! `state` of deployments and instances repeats what stands in `status`, for that reader; the
//! program reads `status` alone.

/// Foreign keys are checked at the commit, so that the order of writes within one does not matter.
pub(super) const VERSION_1: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    name         TEXT PRIMARY KEY,
    address      TEXT NOT NULL,
    agent_port   INTEGER NOT NULL,
    version      TEXT NOT NULL,
    cpus         INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    labels       TEXT NOT NULL,
    admission    TEXT NOT NULL,
    lease        TEXT NOT NULL,
    generation   INTEGER NOT NULL,
    joined_at_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE services (
    name             TEXT PRIMARY KEY,
    revision         INTEGER NOT NULL,
    last_revision    INTEGER NOT NULL,
    restart_epoch    INTEGER NOT NULL,
    healthy_revision INTEGER,
    phase            TEXT NOT NULL,
    deployment       TEXT NOT NULL,
    created_at_ms    INTEGER NOT NULL,
    updated_at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revisions (
    service       TEXT NOT NULL REFERENCES services DEFERRABLE INITIALLY DEFERRED,
    number        INTEGER NOT NULL,
    spec          TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    healthy_at_ms INTEGER,
    PRIMARY KEY (service, number)
) STRICT;

CREATE TABLE deployments (
    id            TEXT PRIMARY KEY,
    service       TEXT NOT NULL REFERENCES services DEFERRABLE INITIALLY DEFERRED,
    revision      INTEGER NOT NULL,
    from_revision INTEGER,
    kind          TEXT NOT NULL,
    wanted        INTEGER NOT NULL,
    state         TEXT NOT NULL,
    status        TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    event         INTEGER NOT NULL
) STRICT;
CREATE INDEX deployments_by_service ON deployments (service);

CREATE TABLE surveys (
    id       INTEGER PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    cause    INTEGER,
    verdicts TEXT NOT NULL
) STRICT;

CREATE TABLE instances (
    id            TEXT PRIMARY KEY,
    service       TEXT NOT NULL REFERENCES services DEFERRABLE INITIALLY DEFERRED,
    revision      INTEGER NOT NULL,
    born_revision INTEGER NOT NULL,
    restart_epoch INTEGER NOT NULL,
    deployment    TEXT,
    replaces      TEXT,
    worker        TEXT,
    state         TEXT NOT NULL,
    status        TEXT NOT NULL,
    since_ms      INTEGER NOT NULL,
    survey        INTEGER REFERENCES surveys DEFERRABLE INITIALLY DEFERRED,
    chosen        TEXT,
    restart_nonce INTEGER NOT NULL,
    observed      TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    event         INTEGER NOT NULL
) STRICT;
CREATE INDEX instances_by_service ON instances (service);
CREATE INDEX instances_by_survey ON instances (survey);

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    type       TEXT NOT NULL,
    service    TEXT,
    revision   INTEGER,
    deployment TEXT,
    instance   TEXT,
    worker     TEXT,
    cause      INTEGER,
    message    TEXT NOT NULL
) STRICT;

CREATE TABLE worker_metrics (
    worker             TEXT NOT NULL REFERENCES workers ON DELETE CASCADE,
    at_ms              INTEGER NOT NULL,
    cpu_ratio          REAL NOT NULL,
    memory_used_bytes  INTEGER NOT NULL,
    memory_total_bytes INTEGER NOT NULL,
    load1              REAL NOT NULL,
    disk_free_bytes    INTEGER NOT NULL,
    samples            INTEGER NOT NULL,
    PRIMARY KEY (worker, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    digest        TEXT PRIMARY KEY,
    bytes         INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// An instance's row is found by its id as a number, and by nothing else.
///
/// Each of twenty thousand placements had to be put into three more trees (the id as text, its
/// service, its survey), which was most of what a storm cost. That a row refers to nothing is found
/// by the checks of `inspect.rs`.
pub(super) const VERSION_2: &str = "
CREATE TABLE instances_2 (
    key           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL,
    service       TEXT NOT NULL,
    revision      INTEGER NOT NULL,
    born_revision INTEGER NOT NULL,
    restart_epoch INTEGER NOT NULL,
    deployment    TEXT,
    replaces      TEXT,
    worker        TEXT,
    state         TEXT NOT NULL,
    status        TEXT NOT NULL,
    since_ms      INTEGER NOT NULL,
    survey        INTEGER,
    chosen        TEXT,
    restart_nonce INTEGER NOT NULL,
    observed      TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    event         INTEGER NOT NULL
) STRICT;
INSERT INTO instances_2 SELECT
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 1, 1)) - 1) << 60) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 2, 1)) - 1) << 55) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 3, 1)) - 1) << 50) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 4, 1)) - 1) << 45) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 5, 1)) - 1) << 40) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 6, 1)) - 1) << 35) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 7, 1)) - 1) << 30) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 8, 1)) - 1) << 25) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 9, 1)) - 1) << 20) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 10, 1)) - 1) << 15) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 11, 1)) - 1) << 10) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 12, 1)) - 1) << 5) |
    ((instr('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 13, 1)) - 1) << 0),
    id, service, revision, born_revision, restart_epoch, deployment, replaces, worker, state,
    status, since_ms, survey, chosen, restart_nonce, observed, created_at_ms, event
FROM instances;
DROP TABLE instances;
ALTER TABLE instances_2 RENAME TO instances;
";
