//! Metrics as Prometheus reads them: names as constants, values as plain atomics, the text format.
//!
//! There is no registry: whoever owns a value keeps it in its own struct, and whoever answers
//! `/metrics` walks those structs with a [`TextWriter`]. So a counter costs one relaxed addition, a
//! loop shares nothing with another, and a metric that nobody writes down can't exist. Reading
//! clocks and `/proc` is the caller's.

mod names;
mod text;
mod value;

pub use names::*;
pub use text::{Labels, TextWriter};
pub use value::{Counter, DURATION_BOUNDS_US, Gauge, Histogram, HistogramCounts};

/// What a metric's value does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; from 0 at the process's start.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size, with their sum.
    Histogram,
}

impl Kind {
    /// As `# TYPE` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric's name, kind and meaning: one constant each, in [`names`](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As scraped: `tucano_` in front, the base unit behind, `_total` for counters.
    pub name: &'static str,
    /// What its value does.
    pub kind: Kind,
    /// In a sentence, for `# HELP`.
    pub help: &'static str,
}
