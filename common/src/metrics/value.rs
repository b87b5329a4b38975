//! Counters, gauges and histograms as atomics that one thread writes and another reads.
//!
//! Relaxed everywhere: each value stands for itself, and a scrape is a moment's view of values that
//! go on changing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A value that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// From 0.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// From 0.
    pub const fn new() -> Gauge {
        Gauge(AtomicI64::new(0))
    }

    /// To this.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Up, or down with a negative number.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Its value now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of a duration's buckets in microseconds: Prometheus' own (5 ms to 10 s), and two
/// below them, because an answer over a LAN takes about one millisecond.
pub const DURATION_BOUNDS_US: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
const BUCKETS: usize = DURATION_BOUNDS_US.len() + 1;

/// Durations counted by size. 15 words; one addition to two of them for each observation.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// One more, of this length.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(micros, Relaxed);
    }

    /// Its counts now.
    pub fn counts(&self) -> HistogramCounts {
        let mut counts = HistogramCounts::default();
        for (count, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Relaxed);
        }
        counts.sum_us = self.sum_us.load(Relaxed);
        counts
    }
}

/// A histogram's counts as plain numbers: what several loops counted is added up in one of these,
/// and a thread that shares nothing counts in one directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    /// How many fell under each of [`DURATION_BOUNDS_US`] and over the one before; the last: over
    /// all of them.
    pub buckets: [u64; BUCKETS],
    /// All of them together.
    pub sum_us: u64,
}

impl HistogramCounts {
    /// One more, of this length.
    pub fn observe_us(&mut self, micros: u64) {
        self.buckets[bucket_of(micros)] += 1;
        self.sum_us = self.sum_us.wrapping_add(micros);
    }

    /// Both together.
    pub fn add(&mut self, other: &HistogramCounts) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

fn bucket_of(micros: u64) -> usize {
    DURATION_BOUNDS_US.partition_point(|bound| *bound < micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_under_the_first_bound_that_holds_it() {
        assert!(DURATION_BOUNDS_US.is_sorted());
        for (place, bound) in DURATION_BOUNDS_US.into_iter().enumerate() {
            assert_eq!(bucket_of(bound), place, "a bound belongs to its own bucket (le)");
            assert_eq!(bucket_of(bound + 1), place + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn shared_and_plain_histograms_count_alike() {
        let shared = Histogram::default();
        let mut plain = HistogramCounts::default();
        for micros in [0, 999, 1000, 1001, 70_000, 11_000_000] {
            shared.observe(Duration::from_micros(micros));
            plain.observe_us(micros);
        }
        assert_eq!(shared.counts(), plain);
        assert_eq!(plain.count(), 6);
        let mut twice = plain.clone();
        twice.add(&plain);
        assert_eq!((twice.count(), twice.sum_us), (12, 2 * plain.sum_us));
    }

    #[test]
    fn counters_and_gauges() {
        let counter = Counter::new();
        counter.inc();
        counter.add(4);
        assert_eq!(counter.get(), 5);
        let gauge = Gauge::new();
        gauge.add(3);
        gauge.add(-5);
        assert_eq!(gauge.get(), -2);
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
    }
}
