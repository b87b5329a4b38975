//! What `/metrics` shows of the balancer.
//!
//! It reads what the loops count and adds it up; it changes nothing. Called by the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use tucano_common::metrics::{self, Counter, HistogramCounts, TextWriter};

use super::registry::Service;
use super::{Again, Cause, LoopStats, ServiceStats, Stats};

type Services = [(String, Arc<Service>)];

impl Stats {
    /// Writes all of the balancer's metrics.
    pub(crate) fn write(&self, text: &mut TextWriter) {
        let services = self.registry.services();
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
                let sum: i64 = each.loops().iter().map(|stats| read(stats)).sum();
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

/// By revision: each that is counted, and what all loops counted of it.
fn write_answers(services: &Services, text: &mut TextWriter) {
    let mut durations = Vec::new();
    text.metric(metrics::HTTP_REQUESTS);
    for (name, each) in services {
        for (revision, loops) in each.revisions() {
            let (mut kinds, mut took) = (BTreeMap::new(), HistogramCounts::default());
            loops.iter().for_each(|stats| stats.add_to(&mut kinds, &mut took));
            let revision = revision.to_string();
            for (kind, count) in kinds {
                let code = kind.map(|(_, status)| status.to_string());
                let labels: metrics::Labels<'_> = &[
                    ("service", name),
                    ("revision", &revision),
                    ("method", kind.map_or("other", |(method, _)| method)),
                    ("code", code.as_deref().unwrap_or("other")),
                ];
                text.count(labels, count);
            }
            durations.push((name, revision, took));
        }
    }
    text.metric(metrics::HTTP_REQUEST_DURATION);
    for (name, revision, took) in durations {
        text.histogram(&[("service", name), ("revision", &revision)], &took);
    }
}

fn write_ledger(services: &Services, text: &mut TextWriter) {
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
            text.count(&[("service", name), ("cause", cause.text())], ended(each.loops(), cause));
        }
    }
    text.metric(metrics::HTTP_ACCEPTED);
    for (name, each) in services {
        text.count(&[("service", name)], all(each.loops()).0);
    }
    text.metric(metrics::HTTP_IN_FLIGHT);
    for (name, each) in services {
        let (accepted, over) = all(each.loops());
        text.count(&[("service", name)], accepted.saturating_sub(over));
    }
    text.metric(metrics::HTTP_RETRIES);
    for (name, each) in services {
        for (why, reason) in Again::ALL {
            let of = |stats: &Arc<ServiceStats>| stats.retries.get(why as usize).map(Counter::get);
            let sum = each.loops().iter().filter_map(of).sum();
            text.count(&[("service", name), ("reason", reason)], sum);
        }
    }
    text.metric(metrics::HTTP_POISON);
    for (name, each) in services {
        text.count(&[("service", name)], each.loops().iter().map(|stats| stats.poison.get()).sum());
    }
}
