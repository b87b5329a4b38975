//! Which services and which of their revisions are counted, for all loops together.
//!
//! What goes, goes for all loops at once: a sum over loops never shrinks while it is shown. A
//! service stays as long as tables have it; a revision as long as it has instances, and the last
//! few of before. What a loop still counts in something that went is seen by nobody. It shows
//! nothing (`show` does).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tucano_common::limits::REVISIONS_COUNTED_OLD_MAX;

use super::ServiceStats;
use super::answers::RevisionStats;

/// Every service that is counted.
#[derive(Debug)]
pub(super) struct Registry {
    loops: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of the newest table that any loop has.
    version: u64,
    services: BTreeMap<String, Arc<Service>>,
}

/// One service in all loops; the requests of no service have one too.
#[derive(Debug)]
pub(super) struct Service {
    loops: Vec<Arc<ServiceStats>>,
    revisions: Mutex<Revisions>,
}

#[derive(Debug, Default)]
struct Revisions {
    /// Of the newest table that any loop has.
    version: u64,
    /// In the order of their first answers.
    known: Vec<Revision>,
}

#[derive(Debug)]
struct Revision {
    number: u64,
    /// The newest table that had it.
    listed_in: u64,
    /// What each loop counts that answered for it, by its place.
    loops: Vec<(usize, Arc<RevisionStats>)>,
}

impl Registry {
    pub(super) fn new(loops: usize) -> Registry {
        Registry { loops, known: Mutex::default() }
    }

    /// The service of this name in a table of this version, a new one where there is none.
    pub(super) fn service(&self, name: &str, version: u64) -> Arc<Service> {
        let mut known = lock(&self.known);
        known.version = known.version.max(version);
        if let Some(service) = known.services.get(name) {
            return Arc::clone(service);
        }
        let service = Arc::new(Service::new(self.loops));
        known.services.insert(name.to_owned(), Arc::clone(&service));
        service
    }

    pub(super) fn known(&self, name: &str) -> Option<Arc<Service>> {
        lock(&self.known).services.get(name).cloned()
    }

    /// Forgets services that the table of this version does not have. A loop with an older table
    /// than another has no say.
    pub(super) fn keep(&self, version: u64, is_kept: impl Fn(&str) -> bool) {
        let mut known = lock(&self.known);
        if version >= known.version {
            known.version = version;
            known.services.retain(|name, _| name.is_empty() || is_kept(name));
        }
    }

    /// All of them, by name.
    pub(super) fn services(&self) -> Vec<(String, Arc<Service>)> {
        let known = lock(&self.known);
        known.services.iter().map(|(name, it)| (name.clone(), Arc::clone(it))).collect()
    }
}

impl Service {
    fn new(loops: usize) -> Service {
        let loops = (0..loops).map(|_| Arc::default()).collect();
        Service { loops, revisions: Mutex::default() }
    }

    /// What each loop counts.
    pub(super) fn loops(&self) -> &[Arc<ServiceStats>] {
        &self.loops
    }

    /// One loop's counters of a revision, new ones where there are none.
    pub(super) fn revision(&self, number: u64, place: usize) -> Arc<RevisionStats> {
        let mut revisions = lock(&self.revisions);
        let listed_in = revisions.version;
        let new = || Revision { number, listed_in, loops: Vec::new() };
        let loops = &mut found_or(&mut revisions.known, |it| it.number == number, new).loops;
        Arc::clone(&found_or(loops, |(known, _)| *known == place, || (place, Arc::default())).1)
    }

    /// Notes which revisions a table has, and forgets the oldest of those that have no instance any
    /// more. A loop with an older table than another has no say.
    pub(super) fn list(&self, version: u64, listed: impl Iterator<Item = u64>) {
        let mut revisions = lock(&self.revisions);
        if version < revisions.version {
            return;
        }
        revisions.version = version;
        for number in listed {
            let known = revisions.known.iter_mut().find(|it| it.number == number);
            known.into_iter().for_each(|known| known.listed_in = version);
        }
        loop {
            let old = || revisions.known.iter().filter(|it| it.listed_in < version);
            if old().count() <= REVISIONS_COUNTED_OLD_MAX {
                return;
            }
            let oldest = old().min_by_key(|it| (it.listed_in, it.number)).map(|it| it.number);
            revisions.known.retain(|it| Some(it.number) != oldest);
        }
    }

    /// Whether it is still counted.
    pub(super) fn has_revision(&self, number: u64) -> bool {
        lock(&self.revisions).known.iter().any(|it| it.number == number)
    }

    /// All of them, with what each loop counts.
    pub(super) fn revisions(&self) -> Vec<(u64, Vec<Arc<RevisionStats>>)> {
        let revisions = lock(&self.revisions);
        let loops = |it: &Revision| it.loops.iter().map(|(_, stats)| Arc::clone(stats)).collect();
        revisions.known.iter().map(|it| (it.number, loops(it))).collect()
    }
}

/// The one that is meant, a new one where there is none; there are a handful at most, or as many as
/// loops.
fn found_or<T>(known: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl Fn() -> T) -> &mut T {
    let place = known.iter().position(is_it).unwrap_or(known.len());
    if place == known.len() {
        known.push(new());
    }
    &mut known[place]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
