//! Latencies counted in buckets that are 1.6 % wide: percentiles of any number of them in a fixed
//! few KiB.

use std::time::Duration;

/// Buckets in each power of two.
const STEPS: usize = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Powers of two beyond the first `STEPS` microseconds: enough for an hour.
const POWERS: usize = 27;

/// A histogram of microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; STEPS * (POWERS + 1)], count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        self.counts[bucket(micros).min(last)] += 1;
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The latency that `share` of them (0 to 1) did not exceed, to a bucket's width.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_micros(upper(bucket)).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of a value: itself while it is small, then 64 steps a power of two.
fn bucket(micros: u64) -> usize {
    let power = (u64::BITS - micros.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = usize::try_from(micros >> power).unwrap_or(usize::MAX);
    power as usize * STEPS + step
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS - 1;
    (((bucket - power * STEPS) as u64 + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_hold_their_values() {
        let mut last = 0;
        for micros in (0..100_000).chain((17..40).map(|bits| (1u64 << bits) - 1)) {
            let at = bucket(micros);
            assert!(at == last || at == last + 1 || micros >= 100_000, "{micros}");
            assert!(upper(at) >= micros, "{micros}");
            assert!(upper(at) <= micros + micros / 32, "{micros}: {}", upper(at));
            last = at;
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        assert_eq!((histogram.count(), histogram.max()), (100, Duration::from_millis(100)));
        let median = histogram.quantile(0.5);
        assert!(median >= Duration::from_millis(50) && median < Duration::from_millis(52));
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(100));
        histogram.add(Duration::from_secs(1_000_000));
        assert_eq!(
            histogram.quantile(1.0),
            Duration::from_micros(upper(STEPS * (POWERS + 1) - 1)).min(histogram.max())
        );
    }
}
