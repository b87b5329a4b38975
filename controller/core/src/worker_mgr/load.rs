//! What a machine's measurements mean: a smoothed load for placement, a weight for the balancer.

use std::collections::BTreeMap;
use std::time::Duration;

use tucano_common::decay;
use tucano_common::limits::WORKER_WEIGHT_MIN;
use tucano_common::name::WorkerName;
use tucano_common::wire::worker::WorkerMetrics;

use crate::balancer::table::{RoutingTable, Weights};
use crate::cluster::Load;

/// A load with one more measurement in it, `since` after the last: an exponential average over
/// about 10 s.
pub fn smooth(before: Option<Load>, metrics: &WorkerMetrics, since: Duration) -> Load {
    let now = measured(metrics);
    let Some(before) = before else { return now };
    let half_lives = since.as_secs_f64() / HALF_LIFE.as_secs_f64();
    let part = 1.0 - decay::remaining(half_lives) as f32;
    let mix = |old: f32, new: f32| old + (new - old) * part;
    Load {
        cpu: mix(before.cpu, now.cpu),
        memory: mix(before.memory, now.memory),
        pressure: mix(before.pressure, now.pressure),
    }
}

/// Whether a heartbeat says anything of its machine: an agent's first ones may come before its
/// first look, and nothing is not zero.
pub fn is_measured(metrics: &WorkerMetrics) -> bool {
    metrics.cpu_ratio.is_some()
        || metrics.pressure.is_some()
        || metrics.memory_total_bytes.is_some()
}

/// After so long half of an average is new.
const HALF_LIFE: Duration = Duration::from_secs(7);

fn measured(metrics: &WorkerMetrics) -> Load {
    let total = metrics.memory_total_bytes.unwrap_or(0) as f32;
    let used = metrics.memory_used_bytes().unwrap_or(0) as f32;
    let pressure = metrics.pressure.unwrap_or_default();
    Load {
        cpu: share(metrics.cpu_ratio.unwrap_or(0.0)),
        memory: if total > 0.0 { share(used / total) } else { 0.0 },
        pressure: share(pressure.cpu.max(pressure.memory).max(pressure.io)),
    }
}

/// A share as a worker measured it: whatever is no number between 0 and 1 is brought there.
fn share(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

/// How much of the traffic a worker should get, at most 1000: by what it has free of its CPU and
/// memory, whichever is less.
pub fn weight(load: &Load) -> u16 {
    let free = (1.0 - load.cpu.max(load.pressure)).min(1.0 - load.memory);
    // A float to integer cast saturates, and the clamp keeps it in range.
    ((free * 1000.0) as u16).clamp(WORKER_WEIGHT_MIN, 1000)
}

/// Every worker's weight for a table; one that was not measured gets what the average of the others
/// gets.
pub fn weights(table: &RoutingTable, loads: &BTreeMap<WorkerName, Load>) -> Weights {
    let known: Vec<Option<u16>> =
        table.workers.iter().map(|worker| loads.get(&worker.name).map(weight)).collect();
    let sum: u32 = known.iter().flatten().map(|weight| u32::from(*weight)).sum();
    let count = u32::try_from(known.iter().flatten().count()).unwrap_or(u32::MAX);
    let average = sum.checked_div(count).and_then(|n| u16::try_from(n).ok()).unwrap_or(1000);
    let by_worker = known.into_iter().map(|weight| weight.unwrap_or(average)).collect();
    Weights { table_version: table.version, by_worker }
}

#[cfg(test)]
mod tests {
    use tucano_common::wire::worker::Pressure;

    use super::*;
    use crate::balancer::table::RouteWorker;

    const SECOND: Duration = Duration::from_secs(1);

    fn metrics(cpu_ratio: f32, memory_used: u64) -> WorkerMetrics {
        WorkerMetrics {
            cpu_ratio: Some(cpu_ratio),
            memory_total_bytes: Some(1000),
            memory_available_bytes: Some(1000_u64.saturating_sub(memory_used)),
            ..WorkerMetrics::default()
        }
    }

    fn name(text: &str) -> WorkerName {
        WorkerName::new(text).unwrap()
    }

    #[test]
    fn one_busy_second_moves_little_and_a_busy_minute_all() {
        let mut load = smooth(None, &metrics(0.0, 500), SECOND);
        assert_eq!((load.cpu, load.memory), (0.0, 0.5), "the first one counts whole");
        load = smooth(Some(load), &metrics(1.0, 500), SECOND);
        assert!(load.cpu < 0.12, "{load:?}");
        for _ in 0..60 {
            load = smooth(Some(load), &metrics(1.0, 500), SECOND);
        }
        assert!(load.cpu > 0.95, "{load:?}");
    }

    #[test]
    fn the_step_is_by_time_and_not_by_count() {
        let idle = smooth(None, &metrics(0.0, 0), SECOND);
        let one = smooth(Some(idle), &metrics(1.0, 0), 10 * SECOND);
        let mut ten = idle;
        for _ in 0..10 {
            ten = smooth(Some(ten), &metrics(1.0, 0), SECOND);
        }
        assert!((one.cpu - ten.cpu).abs() < 0.01, "{one:?} {ten:?}");
    }

    #[test]
    fn what_is_no_share_is_brought_to_one() {
        let mut wild = metrics(f32::NAN, 0);
        wild.memory_available_bytes = Some(5000);
        wild.pressure = Some(Pressure { cpu: -1.0, memory: f32::INFINITY, io: f32::NAN });
        let load = smooth(None, &wild, SECOND);
        assert_eq!((load.cpu, load.memory, load.pressure), (0.0, 0.0, 1.0));
        assert_eq!(measured(&WorkerMetrics::default()).memory, 0.0, "unknown is not full");
    }

    #[test]
    fn a_weight_follows_what_is_free_and_is_never_nothing() {
        let weight_of = |cpu, memory| weight(&Load { cpu, memory, pressure: 0.0 });
        assert_eq!(weight_of(0.0, 0.0), 1000);
        assert_eq!(weight_of(0.75, 0.0), 250);
        assert_eq!(weight_of(0.0, 0.75), 250);
        assert_eq!(weight_of(1.0, 1.0), WORKER_WEIGHT_MIN);
        assert_eq!(weight_of(0.98, 0.0), weight_of(0.999, 0.0), "both are full");
        assert_eq!(weight(&Load { cpu: 0.0, memory: 0.0, pressure: 0.5 }), 500);
    }

    #[test]
    fn a_heartbeat_before_the_first_look_says_nothing() {
        assert!(!is_measured(&WorkerMetrics::default()));
        assert!(is_measured(&metrics(0.0, 500)));
        let stalled = WorkerMetrics { pressure: Some(Pressure::default()), ..Default::default() };
        assert!(is_measured(&stalled), "it stands still, or not: that was looked at");
    }

    #[test]
    fn a_busy_worker_gets_less_and_an_unmeasured_one_the_average() {
        let workers = ["w1", "w2", "w3"].map(|text| RouteWorker { name: name(text) });
        let table =
            RoutingTable { version: 7, workers: workers.to_vec(), ..RoutingTable::default() };
        let load = |cpu| Load { cpu, memory: 0.0, pressure: 0.0 };
        let loads = [(name("w1"), load(0.75)), (name("w3"), load(0.25))].into();
        let found = weights(&table, &loads);
        assert_eq!((found.table_version, found.by_worker), (7, vec![250, 500, 750]));
        let nobody = weights(&table, &BTreeMap::new());
        assert_eq!(nobody.by_worker, [1000, 1000, 1000]);
    }
}
