//! What a state machine may use while it drives, and the clock of the ledger's versions.

use std::collections::BTreeMap;

use tucano_common::limits::LEDGER_RETRY;
use tucano_common::time::{Mono, Now};

use crate::build::Build;
use crate::effect::Effect;
use crate::job::BuildKey;
use crate::ports::Ports;
use crate::settings::Settings;

/// One call of [`Supervisor::drive`](crate::Supervisor::drive).
pub(crate) struct Turn<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) ports: &'a mut Ports,
    pub(crate) builds: &'a BTreeMap<BuildKey, Build>,
    pub(crate) saves: &'a Saves,
    pub(crate) now: Now,
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// The ledger's versions: which one is wanted, on its way, written.
///
/// An intent (to start a process) is carried out only once a version with it in it is written, so
/// that an agent that dies in between finds what it started. It is on disk soon after: a machine
/// that dies takes its processes along.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saves {
    /// Of the last `SaveLedger`.
    emitted: u64,
    /// The last one that is on disk.
    saved: u64,
    /// The last one that was answered, either way.
    attempted: u64,
    /// Something changed since.
    dirty: bool,
    /// Why it can't be written, and when to try again.
    failing: Option<(String, Mono)>,
}

impl Saves {
    /// The version that will have what changes now.
    pub(crate) fn next_version(&self) -> u64 {
        self.emitted + 1
    }

    /// Whether that version is on disk.
    pub(crate) fn is_saved(&self, version: u64) -> bool {
        self.saved >= version
    }

    /// Whether it was at least tried: enough for what ran before, which must come up again on a
    /// full disk too.
    pub(crate) fn is_attempted(&self, version: u64) -> bool {
        self.attempted >= version
    }

    /// Why the ledger can't be written, if it can't.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failing.as_ref().map(|(message, _)| message.as_str())
    }

    /// Something changed that the ledger has.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// The version to be written now, if one is: one at a time.
    pub(crate) fn take(&mut self, now: Mono) -> Option<u64> {
        let waits = self.failing.as_ref().is_some_and(|(_, retry_at)| now < *retry_at);
        if !self.dirty || self.emitted > self.attempted || waits {
            return None;
        }
        self.dirty = false;
        self.emitted += 1;
        Some(self.emitted)
    }

    /// One is on disk. True where the one before was not.
    pub(crate) fn succeeded(&mut self, version: u64) -> bool {
        self.saved = self.saved.max(version.min(self.emitted));
        self.attempted = self.attempted.max(self.saved);
        self.failing.take().is_some()
    }

    /// One is not. True where the one before was.
    pub(crate) fn failed(&mut self, version: u64, message: String, now: Mono) -> bool {
        self.attempted = self.attempted.max(version.min(self.emitted));
        self.dirty = true;
        self.failing.replace((message, now + LEDGER_RETRY)).is_none()
    }

    /// When to try again.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let under_way = self.emitted > self.attempted;
        let failing = self.failing.as_ref().filter(|_| self.dirty && !under_way);
        failing.map(|(_, retry_at)| *retry_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_save_at_a_time_and_an_intent_waits_for_its_own() {
        let mut saves = Saves::default();
        assert_eq!(saves.take(Mono(0)), None, "nothing changed");
        saves.touch();
        let first = saves.next_version();
        assert_eq!(saves.take(Mono(0)), Some(first));
        saves.touch();
        let second = saves.next_version();
        assert_eq!(saves.take(Mono(0)), None, "one is under way");
        assert!(!saves.succeeded(first));
        assert!(saves.is_saved(first) && !saves.is_saved(second));
        assert_eq!(saves.take(Mono(0)), Some(second));
        saves.succeeded(second);
        assert!(saves.is_saved(second));
        assert_eq!(saves.take(Mono(0)), None);
    }

    #[test]
    fn a_failed_save_is_tried_again_after_a_second() {
        let mut saves = Saves::default();
        saves.touch();
        let version = saves.take(Mono(0)).unwrap();
        assert!(saves.failed(version, "disk full".to_owned(), Mono(0)));
        assert!(saves.is_attempted(version) && !saves.is_saved(version));
        assert_eq!(saves.take(Mono(999_999)), None);
        assert_eq!(saves.failure(), Some("disk full"));
        assert_eq!(saves.deadline(), Some(Mono(1_000_000)));
        let again = saves.take(Mono(1_000_000)).unwrap();
        assert!(!saves.failed(again, "disk full".to_owned(), Mono(1_000_000)), "told once");
        let last = saves.take(Mono(2_000_000)).unwrap();
        assert!(saves.succeeded(last), "told that it is back");
        assert!(saves.is_saved(version) && saves.deadline().is_none());
    }

    #[test]
    fn an_answer_to_nothing_is_no_save() {
        let mut saves = Saves::default();
        saves.succeeded(7);
        assert!(!saves.is_saved(1));
    }
}
