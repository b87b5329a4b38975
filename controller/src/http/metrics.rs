//! `GET /metrics`: the cluster's numbers, the API's own and the process's, as Prometheus reads
//! them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tucano_common::metrics::{self as names, Counter, Histogram, TextWriter};
use tucano_common::time::Now;
use tucano_common::wire::worker::WorkerMetrics;
use tucano_net::Response;

use super::desk::Desk;
use crate::msgs::Gauges;

/// What the API counts of itself.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Answers by the class of their status: 2xx to 5xx.
    answers: [Counter; 4],
    duration: Histogram,
    pub(crate) auth_failures: Counter,
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl Numbers {
    /// Counts an answer; `took` where the time says something of the API, and not of a wait.
    pub(crate) fn answered(&self, status: u16, took: Option<Duration>) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.answers[class].inc();
        if let Some(took) = took {
            self.duration.observe(took);
        }
    }
}

/// The answer.
pub(crate) fn answer(
    numbers: &Numbers,
    gauges: &Gauges,
    desk: &Desk,
    open_requests: usize,
    now: Now,
) -> Response {
    let mut out = TextWriter::new();
    let version = env!("CARGO_PKG_VERSION");
    out.metric(names::BUILD_INFO).count(&[("version", version)], 1);
    cluster(&mut out, gauges, now);
    out.metric(names::API_REQUESTS);
    for (class, count) in CLASSES.iter().zip(&numbers.answers) {
        out.count(&[("code", class)], count.get());
    }
    out.metric(names::API_REQUEST_DURATION).histogram(&[], &numbers.duration.counts());
    out.counter(names::API_AUTH_FAILURES, &numbers.auth_failures);
    out.metric(names::API_IN_FLIGHT).count(&[], open_requests as u64);
    desk.write_metrics(&mut out);
    process(&mut out);
    Response::with_body(200, TextWriter::MEDIA_TYPE, out.finish().into_bytes())
}

fn cluster(out: &mut TextWriter, gauges: &Gauges, now: Now) {
    let by_state = |out: &mut TextWriter, metric, states: &[(&'static str, u64)]| {
        out.metric(metric);
        for (state, count) in states {
            out.count(&[("state", state)], *count);
        }
    };
    by_state(out, names::SERVICES, &gauges.services);
    by_state(out, names::WORKERS, &gauges.workers);
    out.metric(names::INSTANCES);
    for (service, state, count) in &gauges.instances {
        out.count(&[("service", service.as_str()), ("state", state)], *count);
    }
    out.metric(names::DEPLOYS);
    for result in ["succeeded", "failed", "reverted", "superseded"] {
        let ended = gauges.deployments.iter().find(|(end, _)| *end == result);
        out.count(&[("result", result)], ended.map_or(0, |(_, count)| *count));
    }
    instances(out, gauges);
    machines(out, gauges);
    out.metric(names::WORKER_HEARTBEAT_AGE);
    for (worker, seen) in &gauges.last_seen {
        let age = now.wall.since(*seen).as_secs_f64();
        out.sample(&[("worker", worker.as_str())], age);
    }
    out.metric(names::EVENTS).count(&[], gauges.last_event);
    out.metric(names::DB_SIZE).count(&[], gauges.database_bytes);
    out.metric(names::DB_COMMITS).count(&[], gauges.commits);
    out.metric(names::DB_COMMIT_FAILURES).count(&[], gauges.commit_failures);
    out.metric(names::DB_COMMIT_TIME).sample(&[], gauges.commit_time.as_secs_f64());
}

fn instances(out: &mut TextWriter, gauges: &Gauges) {
    let usage = gauges.usage.iter().map(|(service, id, usage, _)| (service, id.to_string(), usage));
    let usage: Vec<_> = usage.collect();
    out.metric(names::INSTANCE_MEMORY);
    for (service, id, usage) in &usage {
        let labels = [("service", service.as_str()), ("instance", id.as_str())];
        out.count(&labels, usage.memory_bytes);
    }
    out.metric(names::INSTANCE_CPU);
    for (service, id, usage) in &usage {
        let labels = [("service", service.as_str()), ("instance", id.as_str())];
        out.sample_f32(&labels, usage.cpu_cores);
    }
    let mut restarts = BTreeMap::<_, u64>::new();
    for (service, _, _, count) in &gauges.usage {
        *restarts.entry(service).or_default() += u64::from(*count);
    }
    out.metric(names::INSTANCE_RESTARTS);
    for (service, count) in restarts {
        out.count(&[("service", service.as_str())], count);
    }
}

/// One metric after the other, each of all workers: the format wants its samples together.
fn machines(out: &mut TextWriter, gauges: &Gauges) {
    type Of<T> = (names::Metric, fn(&WorkerMetrics) -> Option<T>);
    let shares: [Of<f32>; 2] = [
        (names::WORKER_CPU, |now| now.cpu_ratio),
        (names::WORKER_LOAD, |now| now.load.map(|load| load[0])),
    ];
    for (metric, share) in shares {
        out.metric(metric);
        for (worker, now) in &gauges.machines {
            if let Some(share) = share(now) {
                out.sample_f32(&[("worker", worker.as_str())], share);
            }
        }
    }
    let sizes: [Of<u64>; 3] = [
        (names::WORKER_MEMORY_USED, WorkerMetrics::memory_used_bytes),
        (names::WORKER_MEMORY_TOTAL, |now| now.memory_total_bytes),
        (names::WORKER_DISK_FREE, |now| now.disk_free_bytes),
    ];
    for (metric, bytes) in sizes {
        out.metric(metric);
        for (worker, now) in &gauges.machines {
            if let Some(bytes) = bytes(now) {
                out.count(&[("worker", worker.as_str())], bytes);
            }
        }
    }
    out.metric(names::WORKER_PRESSURE);
    for (worker, now) in &gauges.machines {
        let Some(pressure) = now.pressure else { continue };
        let shares = [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)];
        for (resource, share) in shares {
            let labels = [("worker", worker.as_str()), ("resource", resource)];
            out.sample_f32(&labels, share);
        }
    }
}

/// What the kernel says of this process; a number that it does not say is left out.
fn process(out: &mut TextWriter) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the name in parentheses, which may hold anything.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let ticks = 100.0; // USER_HZ: the unit of the kernel's interface, whatever its own clock
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        out.metric(names::PROCESS_CPU).sample(&[], (user + system) as f64 / ticks);
    }
    if let Some(threads) = field(20) {
        out.metric(names::PROCESS_THREADS).count(&[], threads);
    }
    if let (Some(started), Some(boot)) = (field(22), boot_time()) {
        out.metric(names::PROCESS_START_TIME).sample(&[], boot as f64 + started as f64 / ticks);
    }
    if let Some(bytes) = field(23) {
        out.metric(names::PROCESS_VIRTUAL_MEMORY).count(&[], bytes);
    }
    if let Some(kib) = status_kib("VmRSS:") {
        out.metric(names::PROCESS_MEMORY).count(&[], kib * 1024);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is this very listing.
        out.metric(names::PROCESS_OPEN_FDS).count(&[], (open.count() as u64).saturating_sub(1));
    }
    if let Ok((soft, _)) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
    {
        out.metric(names::PROCESS_MAX_FDS).count(&[], soft);
    }
}

fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn status_kib(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_described() {
        let mut out = TextWriter::new();
        process(&mut out);
        let text = out.finish();
        for metric in [
            names::PROCESS_CPU,
            names::PROCESS_THREADS,
            names::PROCESS_START_TIME,
            names::PROCESS_VIRTUAL_MEMORY,
            names::PROCESS_MEMORY,
            names::PROCESS_OPEN_FDS,
            names::PROCESS_MAX_FDS,
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{} ", metric.name)));
            let value = line.and_then(|line| line.split(' ').nth(1));
            assert!(value.is_some_and(|value| value.parse::<f64>().is_ok()), "{}", metric.name);
        }
    }

    #[test]
    fn answers_are_counted_by_class() {
        let numbers = Numbers::default();
        for status in [200, 202, 304, 404, 429, 500, 507] {
            numbers.answered(status, None);
        }
        numbers.answered(200, Some(Duration::from_millis(3)));
        let counts: Vec<u64> = numbers.answers.iter().map(Counter::get).collect();
        assert_eq!(counts, [3, 1, 2, 2]);
        assert_eq!(numbers.duration.counts().count(), 1);
    }
}
