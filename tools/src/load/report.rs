//! What a run counted, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Histogram;
use crate::text;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection.
    Connect,
    /// The connection broke before the answer's end.
    Broken,
    /// The connection was closed before the answer's end.
    Cut,
    /// No whole answer in time.
    Timeout,
    /// The answer is not HTTP.
    Malformed,
    /// Another status than the one asked for.
    Status,
    /// The body does not contain what it should.
    Body,
    /// It was due, and no connection became free until the run's end.
    NeverSent,
}

impl Failure {
    /// In a word or two.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Connect => "no connection",
            Failure::Broken => "connection broke",
            Failure::Cut => "answer cut off",
            Failure::Timeout => "timeout",
            Failure::Malformed => "not HTTP",
            Failure::Status => "wrong status",
            Failure::Body => "wrong body",
            Failure::NeverSent => "never sent",
        }
    }
}

/// What a run counted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests that ended.
    pub requests: u64,
    /// Requests whose answer was as it should be.
    pub succeeded: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Answers by the instance that the balancer names.
    pub by_instance: BTreeMap<String, u64>,
    /// Answers that the balancer gave itself, by its code.
    pub by_balancer: BTreeMap<String, u64>,
    /// Failures by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// Requests sent again because a kept connection had been closed before it said anything: the
    /// client's part of HTTP's keep-alive, no failure.
    pub sent_again: u64,
    /// Connections made.
    pub connections: u64,
    /// Bytes of bodies.
    pub body_bytes: u64,
    /// From when a request was due to its answer's end.
    pub latency: Histogram,
    /// How long the run took.
    pub took: Duration,
}

impl Report {
    /// Requests without the answer that they should have.
    pub fn failed(&self) -> u64 {
        self.requests - self.succeeded
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.requests += 1;
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        let requests = self.requests as f64;
        if self.took.is_zero() { 0.0 } else { requests / self.took.as_secs_f64() }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let failures: BTreeMap<&str, u64> =
            self.failures.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        json!({
            "requests": self.requests,
            "succeeded": self.succeeded,
            "failed": self.failed(),
            "by_status": self.by_status,
            "by_instance": self.by_instance,
            "by_balancer": self.by_balancer,
            "failures": failures,
            "sent_again": self.sent_again,
            "connections": self.connections,
            "body_bytes": self.body_bytes,
            "seconds": self.took.as_secs_f64(),
            "requests_per_second": self.rate(),
            "latency_ms": {
                "p50": ms(self.latency.quantile(0.5)),
                "p90": ms(self.latency.quantile(0.9)),
                "p99": ms(self.latency.quantile(0.99)),
                "p999": ms(self.latency.quantile(0.999)),
                "max": ms(self.latency.max()),
            },
        })
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.1} s ({:.0} a second), {} failed",
            self.requests,
            self.took.as_secs_f64(),
            self.rate(),
            self.failed()
        )?;
        for (status, count) in &self.by_status {
            writeln!(f, "  status {status}: {count}")?;
        }
        for (failure, count) in &self.failures {
            writeln!(f, "  {}: {count}", failure.as_str())?;
        }
        for (code, count) in &self.by_balancer {
            writeln!(f, "  the balancer's own, {}: {count}", text::escape(code))?;
        }
        for (instance, count) in &self.by_instance {
            writeln!(f, "  instance {}: {count}", text::escape(instance))?;
        }
        writeln!(
            f,
            "  {} connections, {} sent again, {} of bodies",
            self.connections,
            self.sent_again,
            text::bytes(self.body_bytes)
        )?;
        let at = |share| ms(self.latency.quantile(share));
        writeln!(
            f,
            "  latency in ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            ms(self.latency.max())
        )
    }
}
