//! Prometheus' text format, version 0.0.4.
//!
//! The caller writes one metric after the other, each with all of its samples (the format wants
//! them together); labels and help are escaped here. Called by whoever answers `/metrics`.

use std::fmt::Write;

use super::{Counter, DURATION_BOUNDS_US, Gauge, HistogramCounts, Metric};

/// Labels of one sample, in the order they are to be printed.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Writes metrics one after the other.
#[derive(Debug, Default)]
pub struct TextWriter {
    text: String,
    metric: Option<Metric>,
}

impl TextWriter {
    /// The format's media type.
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// An empty text.
    pub fn new() -> TextWriter {
        TextWriter::default()
    }

    /// Begins a metric: its samples follow. A metric without samples still says its name and kind.
    pub fn metric(&mut self, metric: Metric) -> &mut TextWriter {
        let Metric { name, kind, help } = metric;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()));
        self.metric = Some(metric);
        self
    }

    /// A sample of the metric begun last.
    pub fn sample(&mut self, labels: Labels<'_>, value: f64) -> &mut TextWriter {
        self.line("", labels, None, &number(value))
    }

    /// The same for a measurement of single precision, in as many digits as it has.
    pub fn sample_f32(&mut self, labels: Labels<'_>, value: f32) -> &mut TextWriter {
        let exact = value.to_string().parse().unwrap_or(f64::from(value));
        self.sample(labels, exact)
    }

    /// The same for a whole number, which a float would round past 2^53.
    pub fn count(&mut self, labels: Labels<'_>, value: u64) -> &mut TextWriter {
        self.line("", labels, None, &value.to_string())
    }

    /// A metric that has one value.
    pub fn counter(&mut self, metric: Metric, counter: &Counter) -> &mut TextWriter {
        self.metric(metric).count(&[], counter.get())
    }

    /// A metric that has one value.
    pub fn gauge(&mut self, metric: Metric, gauge: &Gauge) -> &mut TextWriter {
        let value = gauge.get().to_string();
        self.metric(metric).line("", &[], None, &value)
    }

    /// A histogram's samples, of the metric begun last.
    pub fn histogram(&mut self, labels: Labels<'_>, counts: &HistogramCounts) -> &mut TextWriter {
        let mut under = 0;
        for (count, bound) in counts.buckets.iter().zip(DURATION_BOUNDS_US) {
            under += count;
            let bound = number(bound as f64 / 1e6);
            self.line("_bucket", labels, Some(("le", &bound)), &under.to_string());
        }
        let all = counts.count().to_string();
        self.line("_bucket", labels, Some(("le", "+Inf")), &all);
        self.line("_sum", labels, None, &number(counts.sum_us as f64 / 1e6));
        self.line("_count", labels, None, &all)
    }

    /// Everything written so far.
    pub fn finish(self) -> String {
        self.text
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        last: Option<(&str, &str)>,
        value: &str,
    ) -> &mut TextWriter {
        debug_assert!(self.metric.is_some(), "a sample before its metric");
        self.text.push_str(self.metric.map_or("", |metric| metric.name));
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            self.text.push(before);
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        self.text.push(' ');
        self.text.push_str(value);
        self.text.push('\n');
        self
    }

    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

fn number(value: f64) -> String {
    let mut text = String::new();
    let _ = if value.is_nan() {
        text.write_str("NaN")
    } else if value.is_infinite() {
        text.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(text, "{value}")
    };
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{
        API_REQUEST_DURATION, BUILD_INFO, EVENTS, HTTP_REQUESTS, Histogram, WORKERS,
    };

    #[test]
    fn a_metric_and_its_samples() {
        let mut out = TextWriter::new();
        out.metric(HTTP_REQUESTS)
            .count(&[("service", "web"), ("code", "200")], u64::MAX)
            .count(&[("service", "api"), ("code", "502")], 0);
        out.metric(WORKERS).sample(&[("state", "ready")], 2.5).sample_f32(&[], 0.1);
        let counter = Counter::new();
        counter.add(3);
        out.counter(EVENTS, &counter);
        let gauge = Gauge::new();
        gauge.set(-1);
        out.gauge(BUILD_INFO, &gauge);
        assert_eq!(
            out.finish(),
            "# HELP tucano_http_requests_total Requests that the balancer answered, by service, \
             revision, method and status code.\n\
             # TYPE tucano_http_requests_total counter\n\
             tucano_http_requests_total{service=\"web\",code=\"200\"} 18446744073709551615\n\
             tucano_http_requests_total{service=\"api\",code=\"502\"} 0\n\
             # HELP tucano_workers Workers, by state.\n\
             # TYPE tucano_workers gauge\n\
             tucano_workers{state=\"ready\"} 2.5\n\
             tucano_workers 0.1\n\
             # HELP tucano_events_total Events since the cluster's beginning.\n\
             # TYPE tucano_events_total counter\n\
             tucano_events_total 3\n\
             # HELP tucano_build_info 1, with the version as a label.\n\
             # TYPE tucano_build_info gauge\n\
             tucano_build_info -1\n"
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let mut out = TextWriter::new();
        out.metric(WORKERS).count(&[("state", "a\"b\\c\nd")], 1);
        assert!(out.finish().ends_with("tucano_workers{state=\"a\\\"b\\\\c\\nd\"} 1\n"));
    }

    #[test]
    fn numbers_that_are_none() {
        for (value, text) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (0.1, "0.1"),
            (3.0, "3"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_in_inf() {
        let histogram = Histogram::default();
        for millis in [1, 3, 3, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut out = TextWriter::new();
        out.metric(API_REQUEST_DURATION).histogram(&[("service", "web")], &histogram.counts());
        let text = out.finish();
        let name = API_REQUEST_DURATION.name;
        for line in [
            "_bucket{service=\"web\",le=\"0.001\"} 1",
            "_bucket{service=\"web\",le=\"0.0025\"} 1",
            "_bucket{service=\"web\",le=\"0.005\"} 3",
            "_bucket{service=\"web\",le=\"10\"} 3",
            "_bucket{service=\"web\",le=\"+Inf\"} 4",
            "_sum{service=\"web\"} 60.007",
            "_count{service=\"web\"} 4",
        ] {
            assert!(text.contains(&format!("\n{name}{line}\n")), "{line} is missing in\n{text}");
        }
    }
}
