//! Whether the database takes writes; where it does not, what is told and when it is tried again.
//!
//! ```text
//!        full, read-only, busy                damaged, or the cluster can't be read back
//!  Good ──────────────────────────► Refusing ──────────┬─────────────────────────► Broken
//!  ▲ ▲ │                               │               │
//!  │ └─┼──── a later commit succeeds ──┘               │
//!  │   │ a write or an fsync failed                    │
//!  │   └──────────────────────────► Distrusted ────────┘
//!  │ all of it is written, opened      │
//!  └── and read anew ─────────────────┘
//! ```
//!
//! Refusing, what workers and loops report is still taken into memory and routed by, and stored
//! once that works again; commands are refused. Distrusted, the same, but nothing is built on what
//! the file seems to hold: after an fsync that failed the next one succeeds whatever became of the
//! pages. Broken, nothing is taken any more; requests are routed by the last table.

use std::time::Duration;

use tucano_common::time::Mono;
use tucano_common::wire::problem::Problem;

use crate::discovery::Class;

/// Between two tries of a database that refuses.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the database takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// It does.
    Good,
    /// It does not, for now.
    Refusing { class: Class, retry_at: Mono },
    /// A write or an fsync failed: nothing is written before the file was read anew.
    Distrusted { class: Class, retry_at: Mono },
    /// It does not, until somebody repairs it and starts the controller again.
    Broken { class: Class },
}

impl Storage {
    /// After something that failed.
    pub(crate) fn after(self, class: Class, now: Mono) -> Storage {
        let retry_at = now + RETRY;
        match (class, self) {
            (Class::Corrupt, _) => Storage::Broken { class },
            (Class::Io, _) | (_, Storage::Distrusted { .. }) => {
                Storage::Distrusted { class, retry_at }
            }
            (
                Class::Full | Class::ReadOnly | Class::Busy | Class::Interrupted | Class::Other,
                Storage::Good | Storage::Refusing { .. } | Storage::Broken { .. },
            ) => Storage::Refusing { class, retry_at },
        }
    }

    /// Whether a write may be tried now.
    pub(crate) fn may_write(&self, now: Mono) -> bool {
        match self {
            Storage::Good => true,
            Storage::Refusing { retry_at, .. } => *retry_at <= now,
            Storage::Distrusted { .. } | Storage::Broken { .. } => false,
        }
    }

    /// Whether the file may be read anew now, and has to be.
    pub(crate) fn must_read_anew(&self, now: Mono) -> bool {
        matches!(self, Storage::Distrusted { retry_at, .. } if *retry_at <= now)
    }

    /// For `GET /v1/status`.
    pub(crate) fn text(&self) -> String {
        match self {
            Storage::Good => "ok".to_owned(),
            Storage::Refusing { class, .. }
            | Storage::Distrusted { class, .. }
            | Storage::Broken { class } => {
                format!("read-only: {}", cause(*class))
            }
        }
    }

    /// What a command is answered that can't be stored.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            // A state that changed since; whoever asks again is served.
            Storage::Good => problem(503, "it could not be stored: ask again"),
            Storage::Refusing { class, .. } | Storage::Distrusted { class, .. } => {
                problem(status(*class), cause(*class))
            }
            Storage::Broken { class } => {
                problem(503, &format!("{}; then start the controller again", cause(*class)))
            }
        }
    }
}

fn problem(status: u16, cause: &str) -> Problem {
    let title = if status == 507 { "Insufficient Storage" } else { "Service Unavailable" };
    let detail = format!("{cause}. Nothing was changed; services and their routes go on");
    Problem::new(status, title, detail)
}

fn status(class: Class) -> u16 {
    match class {
        Class::Full => 507,
        Class::ReadOnly
        | Class::Io
        | Class::Corrupt
        | Class::Busy
        | Class::Interrupted
        | Class::Other => 503,
    }
}

fn cause(class: Class) -> &'static str {
    match class {
        Class::Full => "the controller's data folder is on a full disk: free some space there",
        Class::ReadOnly => {
            "the controller's data folder can't be written: check its mount and its owner"
        }
        Class::Io => "the disk of the controller's data folder fails: check it",
        Class::Corrupt => "the controller's database is damaged: put a good copy in its place",
        Class::Busy => "another program holds the controller's database: end it",
        Class::Interrupted => "a write of the controller's database was cut short",
        Class::Other => "the controller's database refuses to be written: see the controller's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_507_and_tried_again_a_damaged_file_is_neither() {
        let full = Storage::Good.after(Class::Full, Mono(0));
        assert_eq!(full.problem().status, 507);
        assert!(!full.may_write(Mono(0)) && full.may_write(Mono(0) + RETRY));
        let damaged = Storage::Good.after(Class::Corrupt, Mono(0));
        assert_eq!(damaged.problem().status, 503);
        assert!(!damaged.may_write(Mono(u64::MAX)));
        assert!(damaged.text().starts_with("read-only"));
    }

    #[test]
    fn after_a_failed_fsync_nothing_is_written_before_all_is_read_anew() {
        let mut storage = Storage::Good.after(Class::Io, Mono(0));
        let late = Mono(0) + RETRY;
        assert_eq!(storage.problem().status, 503);
        for class in [Class::Full, Class::Busy, Class::ReadOnly, Class::Io, Class::Other] {
            assert!(!storage.may_write(late), "{class:?}");
            assert!(storage.must_read_anew(late) && !storage.must_read_anew(Mono(0)), "{class:?}");
            storage = storage.after(class, Mono(0));
        }
        assert!(matches!(storage.after(Class::Corrupt, late), Storage::Broken { .. }));
        assert!(!Storage::Good.must_read_anew(late));
    }
}
