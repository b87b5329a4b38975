//! One revision's answers in one loop: by method and status, and how long they took.
//!
//! Bounded whatever a service answers: kinds beyond the table's room are counted as one. One
//! writer, any reader.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tucano_common::http1::Method;
use tucano_common::limits::ANSWER_KINDS_MAX;
use tucano_common::metrics::{Counter, Histogram, HistogramCounts};

/// The answers of one revision, on cache lines of their own: loops share nothing.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct RevisionStats {
    durations: Histogram,
    kinds: [(AtomicU64, AtomicU64); ANSWER_KINDS_MAX],
    /// Answers of kinds that found no room.
    others: Counter,
}

/// A method and a status; none: of the kinds that found no room.
pub(super) type Kind = Option<(&'static str, u16)>;

const METHODS: [Method; 9] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Patch,
    Method::Delete,
    Method::Options,
    Method::Trace,
    Method::Other,
];

impl RevisionStats {
    /// One more.
    pub(super) fn count(&self, method: Method, status: u16, took: Duration) {
        self.durations.observe(took);
        // Never zero: a status has three digits.
        let key = (method as u64) << 12 | u64::from(status);
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let (front, back) = self.kinds.split_at(hash as usize % ANSWER_KINDS_MAX);
        for (known, count) in back.iter().chain(front) {
            let found = known.load(Relaxed);
            if found == 0 {
                known.store(key, Relaxed);
            }
            if found == 0 || found == key {
                count.fetch_add(1, Relaxed);
                return;
            }
        }
        self.others.inc();
    }

    /// Adds what is counted here.
    pub(super) fn add_to(&self, kinds: &mut BTreeMap<Kind, u64>, durations: &mut HistogramCounts) {
        durations.add(&self.durations.counts());
        for (key, count) in &self.kinds {
            let key = key.load(Relaxed);
            if key != 0 {
                let method = METHODS.get((key >> 12) as usize).copied().unwrap_or(Method::Other);
                let method = if method == Method::Other { "other" } else { method.text() };
                let kind = Some((method, (key & 0xfff) as u16));
                *kinds.entry(kind).or_default() += count.load(Relaxed);
            }
        }
        if self.others.get() > 0 {
            *kinds.entry(None).or_default() += self.others.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(stats: &RevisionStats) -> (BTreeMap<Kind, u64>, u64) {
        let (mut kinds, mut durations) = Default::default();
        stats.add_to(&mut kinds, &mut durations);
        (kinds, HistogramCounts::count(&durations))
    }

    #[test]
    fn methods_stand_in_their_own_order() {
        assert!(METHODS.into_iter().enumerate().all(|(n, method)| method as usize == n));
    }

    #[test]
    fn answers_are_counted_by_method_and_status() {
        let stats = RevisionStats::default();
        for (method, status) in
            [(Method::Get, 200), (Method::Get, 200), (Method::Get, 404), (Method::Other, 200)]
        {
            stats.count(method, status, Duration::from_millis(2));
        }
        let expected =
            [(Some(("GET", 200)), 2), (Some(("GET", 404)), 1), (Some(("other", 200)), 1)];
        assert_eq!(sums(&stats), (BTreeMap::from(expected), 4));
    }

    #[test]
    fn kinds_without_room_are_counted_as_one() {
        let stats = RevisionStats::default();
        stats.count(Method::Get, 200, Duration::ZERO);
        (100..1000).for_each(|status| stats.count(Method::Put, status, Duration::ZERO));
        stats.count(Method::Get, 200, Duration::ZERO);
        let (kinds, count) = sums(&stats);
        assert_eq!(kinds[&Some(("GET", 200))], 2);
        assert_eq!(kinds.len(), ANSWER_KINDS_MAX + 1);
        assert_eq!((kinds.values().sum::<u64>(), count), (902, 902));
    }
}
