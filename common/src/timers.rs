//! Deadlines as a set: at most one a key, the nearest first.
//!
//! Holds no clock: whoever owns one asks for what is due. For the controller's leases and services,
//! where keys are few thousands; not for a balancer's connections, which want something cheaper.

use std::collections::{BTreeMap, BTreeSet};

/// For each key at most one deadline.
#[derive(Clone, Debug)]
pub struct Deadlines<K, T> {
    by_time: BTreeSet<(T, K)>,
    by_key: BTreeMap<K, T>,
}

impl<K, T> Default for Deadlines<K, T> {
    fn default() -> Deadlines<K, T> {
        Deadlines { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, T: Ord + Copy> Deadlines<K, T> {
    /// Sets a key's deadline in place of the one it had; `None` takes it away.
    pub fn set(&mut self, key: &K, at: Option<T>) {
        if self.by_key.get(key).copied() == at {
            return;
        }
        if let Some(old) = self.by_key.remove(key) {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key.clone()));
        }
    }

    /// The nearest deadline.
    pub fn next(&self) -> Option<T> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out a key whose deadline is `now` or before, nearest first.
    pub fn pop_due(&mut self, now: T) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first_and_only_when_due() {
        let mut deadlines = Deadlines::default();
        for (key, at) in [("b", 5), ("a", 7), ("c", 5)] {
            deadlines.set(&key, Some(at));
        }
        assert_eq!(deadlines.next(), Some(5));
        assert_eq!(deadlines.pop_due(4), None);
        assert_eq!(deadlines.pop_due(6), Some("b"));
        assert_eq!(deadlines.pop_due(6), Some("c"));
        assert_eq!(deadlines.pop_due(6), None);
        assert_eq!(deadlines.pop_due(7), Some("a"));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_key_has_one_deadline_at_most() {
        let mut deadlines = Deadlines::default();
        deadlines.set(&1, Some(10));
        deadlines.set(&1, Some(3));
        deadlines.set(&2, Some(4));
        deadlines.set(&2, None);
        assert_eq!(deadlines.pop_due(100), Some(1));
        assert_eq!(deadlines.pop_due(100), None);
    }
}
