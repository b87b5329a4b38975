//! A worker's heartbeats of one minute as one point of its history.
//!
//! Averages, except for the totals, of which the newest counts. Points are handed out once their
//! minute is over; the deployer stores them.

use std::collections::BTreeMap;

use tucano_common::name::WorkerName;
use tucano_common::time::Wall;
use tucano_common::wire::views::MetricsPoint;
use tucano_common::wire::worker::WorkerMetrics;

const MINUTE_MS: i64 = 60_000;

/// The sums of each worker's current minute.
#[derive(Debug, Default)]
pub(crate) struct Minutes {
    current: BTreeMap<WorkerName, Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    minute: i64,
    samples: u32,
    cpu_ratio: f64,
    load1: f64,
    memory_used_bytes: u128,
    memory_total_bytes: u64,
    disk_free_bytes: u64,
}

impl Minutes {
    /// Adds a heartbeat's figures.
    pub(crate) fn add(&mut self, worker: &WorkerName, at: Wall, metrics: &WorkerMetrics) {
        let sums = self.current.entry(worker.clone()).or_insert_with(|| Sums::new(at));
        sums.samples += 1;
        sums.cpu_ratio += f64::from(metrics.cpu_ratio.unwrap_or(0.0));
        sums.load1 += metrics.load.map_or(0.0, |load| f64::from(load[0]));
        sums.memory_used_bytes += u128::from(metrics.memory_used_bytes().unwrap_or(0));
        sums.memory_total_bytes = metrics.memory_total_bytes.unwrap_or(0);
        sums.disk_free_bytes = metrics.disk_free_bytes.unwrap_or(0);
    }

    /// Takes the points of minutes that are over. A clock that steps back ends its minute too.
    pub(crate) fn take_ended(&mut self, now: Wall) -> Vec<(WorkerName, MetricsPoint)> {
        let minute = minute_of(now);
        let ended = self.current.extract_if(.., |_, sums| sums.minute != minute);
        ended.map(|(worker, sums)| (worker, sums.point())).collect()
    }

    /// When the minutes at hand are over, if there are any.
    pub(crate) fn next_end(&self, now: Wall) -> Option<Wall> {
        let end = Wall((minute_of(now) + 1) * MINUTE_MS);
        (!self.current.is_empty()).then_some(end)
    }
}

impl Sums {
    fn new(at: Wall) -> Sums {
        Sums { minute: minute_of(at), ..Sums::default() }
    }

    fn point(&self) -> MetricsPoint {
        let samples = self.samples.max(1);
        let used = self.memory_used_bytes / u128::from(samples);
        MetricsPoint {
            at: Wall(self.minute * MINUTE_MS),
            cpu_ratio: (self.cpu_ratio / f64::from(samples)) as f32,
            memory_used_bytes: u64::try_from(used).unwrap_or(u64::MAX),
            memory_total_bytes: self.memory_total_bytes,
            load1: (self.load1 / f64::from(samples)) as f32,
            disk_free_bytes: self.disk_free_bytes,
            samples: self.samples,
        }
    }
}

fn minute_of(at: Wall) -> i64 {
    at.0.div_euclid(MINUTE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_ratio: f32, used: u64) -> WorkerMetrics {
        WorkerMetrics {
            cpu_ratio: Some(cpu_ratio),
            memory_total_bytes: Some(1000),
            memory_available_bytes: Some(1000 - used),
            load: Some([cpu_ratio * 4.0, 0.0, 0.0]),
            ..WorkerMetrics::default()
        }
    }

    #[test]
    fn a_minute_is_one_point_of_averages() {
        let name = WorkerName::new("w1").expect("a name");
        let mut minutes = Minutes::default();
        minutes.add(&name, Wall(60_000), &sample(0.25, 100));
        minutes.add(&name, Wall(119_999), &sample(0.75, 300));
        assert_eq!(minutes.take_ended(Wall(119_999)), []);
        assert_eq!(minutes.next_end(Wall(61_000)), Some(Wall(120_000)));
        let points = minutes.take_ended(Wall(120_000));
        let (worker, point) = &points[0];
        assert_eq!((worker, points.len()), (&name, 1));
        assert_eq!((point.at, point.samples), (Wall(60_000), 2));
        assert_eq!((point.cpu_ratio, point.load1), (0.5, 2.0));
        assert_eq!((point.memory_used_bytes, point.memory_total_bytes), (200, 1000));
        assert_eq!(minutes.next_end(Wall(120_000)), None);
    }

    #[test]
    fn a_clock_that_steps_back_ends_the_minute() {
        let name = WorkerName::new("w1").expect("a name");
        let mut minutes = Minutes::default();
        minutes.add(&name, Wall(600_000), &sample(0.5, 1));
        assert_eq!(minutes.take_ended(Wall(0)).len(), 1);
    }
}
