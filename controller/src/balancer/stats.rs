//! What a loop counts: the ledger of causes, and what `/metrics` shows.
//!
//! Every accepted request ends in exactly one [`Cause`]; accepted = ended + in flight, always. Each
//! loop writes its own counters; a lock is taken only when a service comes or a reader asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tucano_common::http1::Method;
use tucano_common::metrics::{self, Counter, Gauge, Histogram, HistogramCounts, TextWriter};
use tucano_common::name::ServiceName;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Its service answered, on the first try.
    Answered,
    /// Its service answered, on a later try.
    AnsweredAfterRetry,
    /// The client left before its answer was complete.
    ClientGone,
    /// No service has its Host, or the service has no instance.
    NoService,
    /// Too many requests wait already.
    Overload,
    /// The instance broke.
    UpstreamFailed,
    /// The instance or the client was too slow.
    Timeout,
    /// The request is refused.
    BadRequest,
}

impl Cause {
    /// Every one, in the order of the contract.
    pub(crate) const ALL: [Cause; 8] = [
        Cause::Answered,
        Cause::AnsweredAfterRetry,
        Cause::ClientGone,
        Cause::NoService,
        Cause::Overload,
        Cause::UpstreamFailed,
        Cause::Timeout,
        Cause::BadRequest,
    ];

    /// As the contract spells it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Cause::Answered => "answered",
            Cause::AnsweredAfterRetry => "answered_after_retry",
            Cause::ClientGone => "client_gone",
            Cause::NoService => "no_service",
            Cause::Overload => "overload",
            Cause::UpstreamFailed => "upstream_failed",
            Cause::Timeout => "timeout",
            Cause::BadRequest => "bad_request",
        }
    }
}

/// Why a request was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Its connection could not be made.
    Refused,
    /// Its connection broke before the answer.
    Broken,
    /// Its instance's host fell silent.
    Silent,
}

impl Again {
    const ALL: [(Again, &'static str); 3] =
        [(Again::Refused, "refused"), (Again::Broken, "broken"), (Again::Silent, "silent")];
}

/// One service in one loop; the requests of no service have one too.
#[derive(Debug, Default)]
pub(crate) struct ServiceStats {
    pub(super) accepted: Counter,
    ended: [Counter; Cause::ALL.len()],
    pub(super) held: Gauge,
    /// Requests sent again, by reason.
    retries: [Counter; Again::ALL.len()],
    pub(super) poison: Counter,
    pub(super) ejected: Gauge,
    durations: Histogram,
    answers: AnswerTable,
}

impl ServiceStats {
    /// A request ended.
    pub(super) fn end(&self, cause: Cause) {
        if let Some(counter) = self.ended.get(cause as usize) {
            counter.inc();
        }
    }

    /// A request is sent again.
    pub(super) fn again(&self, why: Again) {
        if let Some(counter) = self.retries.get(why as usize) {
            counter.inc();
        }
    }

    /// A request was answered, by the service or by us.
    pub(super) fn answer(&self, revision: u64, method: Method, status: u16, took: Duration) {
        self.answers.count(revision, method, status);
        self.durations.observe(took);
    }

    /// Requests that ended so.
    pub(crate) fn ended(&self, cause: Cause) -> u64 {
        self.ended.get(cause as usize).map_or(0, Counter::get)
    }
}

/// Answers by revision, method and status: open addressing, one writer, any reader.
#[derive(Debug)]
struct AnswerTable {
    slots: [(AtomicU64, AtomicU64); 64],
}

impl Default for AnswerTable {
    fn default() -> AnswerTable {
        AnswerTable { slots: std::array::from_fn(|_| Default::default()) }
    }
}

impl AnswerTable {
    fn count(&self, revision: u64, method: Method, status: u16) {
        // Never zero: a status has three digits.
        let key = revision << 16 | (method as u64) << 12 | u64::from(status);
        let start = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize;
        let (front, back) = self.slots.split_at(start);
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
    }

    fn add_to(&self, sums: &mut BTreeMap<(u64, u64, u64), u64>) {
        for (key, count) in &self.slots {
            let key = key.load(Relaxed);
            if key != 0 {
                let label = (key >> 16, key >> 12 & 0xf, key & 0xfff);
                *sums.entry(label).or_default() += count.load(Relaxed);
            }
        }
    }
}

/// One loop.
#[derive(Debug, Default)]
pub(crate) struct LoopStats {
    services: Mutex<BTreeMap<String, Arc<ServiceStats>>>,
    pub(super) clients: Gauge,
    pub(super) upstreams: Gauge,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl LoopStats {
    /// A service's counters in this loop: the same ones for the same name.
    pub(super) fn service(&self, name: &str) -> Arc<ServiceStats> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(services.entry(name.to_owned()).or_default())
    }

    fn known(&self, name: &str) -> Option<Arc<ServiceStats>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Services that are gone are counted no more: their series end.
    pub(super) fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|name, _| name.is_empty() || is_kept(name));
    }

    fn each(&self) -> Vec<(String, Arc<ServiceStats>)> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }
}

/// All loops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    loops: Vec<Arc<LoopStats>>,
}

/// What became of a service's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Taken.
    pub(crate) accepted: u64,
    /// Ended, by cause, in the order of [`Cause::ALL`].
    pub(crate) ended: [u64; Cause::ALL.len()],
}

impl Totals {
    /// Requests that ended so.
    pub(crate) fn of(&self, cause: Cause) -> u64 {
        self.ended.get(cause as usize).copied().unwrap_or_default()
    }

    /// Requests that ended without the answer of their service, through no fault of their client.
    pub(crate) fn lost(&self) -> u64 {
        let lost = [Cause::NoService, Cause::Overload, Cause::UpstreamFailed, Cause::Timeout];
        lost.into_iter().map(|cause| self.of(cause)).sum()
    }

    /// Requests taken and not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.accepted.saturating_sub(self.ended.iter().sum())
    }
}

impl Stats {
    pub(super) fn new(loops: Vec<Arc<LoopStats>>) -> Stats {
        Stats { loops }
    }

    /// What became of a service's requests since the start of the process.
    pub(crate) fn totals(&self, service: &ServiceName) -> Totals {
        let mut totals = Totals::default();
        for each in &self.loops {
            let Some(stats) = each.known(service.as_str()) else { continue };
            // Ended first: what ends in between makes the sum of those in flight too large, never
            // negative.
            for (sum, cause) in totals.ended.iter_mut().zip(Cause::ALL) {
                *sum += stats.ended(cause);
            }
            totals.accepted += stats.accepted.get();
        }
        totals
    }

    /// Open connections: clients', and to instances.
    #[cfg(test)]
    pub(super) fn connections(&self) -> (i64, i64) {
        let sum = |read: fn(&LoopStats) -> i64| self.loops.iter().map(|each| read(each)).sum();
        (sum(|each| each.clients.get()), sum(|each| each.upstreams.get()))
    }

    /// Writes all of the balancer's metrics.
    pub(crate) fn write(&self, text: &mut TextWriter) {
        let mut services: BTreeMap<String, Vec<Arc<ServiceStats>>> = BTreeMap::new();
        for each in &self.loops {
            for (name, stats) in each.each() {
                services.entry(name).or_default().push(stats);
            }
        }
        write_answers(&services, text);
        write_ledger(&services, text);
        type Read = fn(&ServiceStats) -> i64;
        let gauges: [(metrics::Metric, Read); 2] = [
            (metrics::HTTP_HELD, |stats| stats.held.get()),
            (metrics::HTTP_EJECTED, |stats| stats.ejected.get()),
        ];
        for (metric, read) in gauges {
            text.metric(metric);
            for (name, each) in &services {
                let sum: i64 = each.iter().map(|stats| read(stats)).sum();
                text.sample(&[("service", name)], sum as f64);
            }
        }
        let sum = |read: fn(&LoopStats) -> u64| self.loops.iter().map(|each| read(each)).sum();
        let side =
            |read: fn(&LoopStats) -> i64| -> i64 { self.loops.iter().map(|each| read(each)).sum() };
        text.metric(metrics::HTTP_CONNECTIONS)
            .sample(&[("side", "client")], side(|each| each.clients.get()) as f64)
            .sample(&[("side", "upstream")], side(|each| each.upstreams.get()) as f64);
        text.metric(metrics::HTTP_RECEIVED).count(&[], sum(|each| each.received.get()));
        text.metric(metrics::HTTP_SENT).count(&[], sum(|each| each.sent.get()));
    }
}

fn write_answers(services: &BTreeMap<String, Vec<Arc<ServiceStats>>>, text: &mut TextWriter) {
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
    text.metric(metrics::HTTP_REQUESTS);
    for (name, each) in services {
        let mut sums = BTreeMap::new();
        each.iter().for_each(|stats| stats.answers.add_to(&mut sums));
        for ((revision, method, status), count) in sums {
            let method = METHODS.get(method as usize).copied().unwrap_or(Method::Other);
            let method = if method == Method::Other { "other" } else { method.text() };
            let labels: metrics::Labels<'_> = &[
                ("service", name),
                ("revision", &revision.to_string()),
                ("method", method),
                ("code", &status.to_string()),
            ];
            text.count(labels, count);
        }
    }
    text.metric(metrics::HTTP_REQUEST_DURATION);
    for (name, each) in services {
        let mut counts = HistogramCounts::default();
        each.iter().for_each(|stats| counts.add(&stats.durations.counts()));
        text.histogram(&[("service", name)], &counts);
    }
}

fn write_ledger(services: &BTreeMap<String, Vec<Arc<ServiceStats>>>, text: &mut TextWriter) {
    let ended = |each: &[Arc<ServiceStats>], cause| -> u64 {
        each.iter().map(|stats| stats.ended(cause)).sum()
    };
    let all = |each: &[Arc<ServiceStats>]| -> (u64, u64) {
        let over = Cause::ALL.into_iter().map(|cause| ended(each, cause)).sum();
        (each.iter().map(|stats| stats.accepted.get()).sum(), over)
    };
    text.metric(metrics::HTTP_ENDED);
    for (name, each) in services {
        for cause in Cause::ALL {
            text.count(&[("service", name), ("cause", cause.text())], ended(each, cause));
        }
    }
    text.metric(metrics::HTTP_ACCEPTED);
    for (name, each) in services {
        text.count(&[("service", name)], all(each).0);
    }
    text.metric(metrics::HTTP_IN_FLIGHT);
    for (name, each) in services {
        let (accepted, over) = all(each);
        text.count(&[("service", name)], accepted.saturating_sub(over));
    }
    text.metric(metrics::HTTP_RETRIES);
    for (name, each) in services {
        for (why, reason) in Again::ALL {
            let of = |stats: &Arc<ServiceStats>| stats.retries.get(why as usize).map(Counter::get);
            let sum = each.iter().filter_map(of).sum();
            text.count(&[("service", name), ("reason", reason)], sum);
        }
    }
    text.metric(metrics::HTTP_POISON);
    for (name, each) in services {
        text.count(&[("service", name)], each.iter().map(|stats| stats.poison.get()).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_adds_up_over_loops() {
        let loops: Vec<Arc<LoopStats>> = (0..2).map(|_| Arc::default()).collect();
        let stats = Stats::new(loops.clone());
        for each in &loops {
            let web = each.service("web");
            (0..10).for_each(|_| web.accepted.inc());
            for cause in Cause::ALL {
                web.end(cause);
            }
        }
        let totals = stats.totals(&ServiceName::new("web").unwrap());
        assert_eq!((totals.accepted, totals.in_flight(), totals.lost()), (20, 4, 8));
        assert_eq!(totals.of(Cause::Answered), 2);
        let mut text = TextWriter::new();
        stats.write(&mut text);
        let text = text.finish();
        assert!(text.contains("tucano_http_in_flight_requests{service=\"web\"} 4\n"), "{text}");
        let line = "tucano_http_ended_total{service=\"web\",cause=\"answered_after_retry\"} 2\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_service_that_is_gone_leaves_no_series_and_asking_makes_none() {
        let each: Arc<LoopStats> = Arc::default();
        let stats = Stats::new(vec![Arc::clone(&each)]);
        each.service("").accepted.inc();
        let web = each.service("web");
        web.accepted.inc();
        let name = ServiceName::new("other").unwrap();
        assert_eq!(stats.totals(&name), Totals::default());
        each.keep(|name| name != "web");
        let mut text = TextWriter::new();
        stats.write(&mut text);
        let text = text.finish();
        assert!(!text.contains("\"web\"") && !text.contains("\"other\""), "{text}");
        assert!(text.contains("tucano_http_accepted_total{service=\"\"} 1\n"), "{text}");
        // What is still in flight ends in its own counters; a service of that name begins anew.
        web.end(Cause::Answered);
        assert_eq!(each.service("web").accepted.get(), 0);
    }

    #[test]
    fn causes_are_in_their_own_order() {
        assert!(Cause::ALL.into_iter().enumerate().all(|(n, cause)| cause as usize == n));
    }

    #[test]
    fn answers_are_counted_by_revision_method_and_status() {
        let web = ServiceStats::default();
        for status in [200, 200, 404] {
            web.answer(3, Method::Get, status, Duration::from_millis(2));
        }
        web.answer(4, Method::Other, 200, Duration::from_millis(2));
        let mut sums = BTreeMap::new();
        web.answers.add_to(&mut sums);
        let get = Method::Get as u64;
        let expected =
            [((3, get, 200), 2), ((3, get, 404), 1), ((4, Method::Other as u64, 200), 1)];
        assert_eq!(sums, BTreeMap::from(expected));
        // More kinds than slots: what does not fit is not told apart, and nothing else is touched.
        (100..600).for_each(|status| web.answer(5, Method::Get, status, Duration::ZERO));
        let mut sums = BTreeMap::new();
        web.answers.add_to(&mut sums);
        assert_eq!((sums.len(), sums[&(3, get, 200)]), (64, 2));
    }
}
