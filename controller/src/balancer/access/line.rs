//! One line of the access log, as bytes.
//!
//! Pure: times come in. Whatever a client chose is percent-encoded where it is not printable ASCII,
//! so that a line is valid JSON, one line, and harmless on a terminal. The query is left out: it
//! may hold secrets. Called by `tap`.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::{ACCESS_LOG_METHOD_BYTES_MAX, ACCESS_LOG_PATH_BYTES_MAX};
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;

use super::super::stats::Cause;

/// What a request's head says; empty: nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    pub(super) request_id: &'a [u8],
    pub(super) method: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) target: &'a [u8],
}

/// The first half of a line, written while the request's head is there.
pub(in crate::balancer) struct Noted {
    text: Vec<u8>,
    /// The code of an answer of our own.
    pub(in crate::balancer) error: Option<&'static str>,
}

/// How a request ended.
pub(super) struct Outcome<'a> {
    pub(super) service: Option<(&'a ServiceName, u64)>,
    pub(super) instance: Option<InstanceId>,
    /// Zero where the client left before it got one.
    pub(super) status: u16,
    pub(super) sent_bytes: u64,
    pub(super) tries: u32,
    pub(super) cause: Cause,
    pub(super) took: Took,
}

/// Where a request's time went; none: it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Took {
    /// From its head to its last try.
    pub(super) queued: Duration,
    /// From there until something of it was written to the instance.
    pub(super) connect: Option<Duration>,
    /// From there to the answer's head.
    pub(super) first_byte: Option<Duration>,
    pub(super) total: Duration,
}

impl Noted {
    pub(super) fn new(client: IpAddr, asked: &Asked<'_>) -> Noted {
        let target = asked.target;
        let mut text = Vec::with_capacity(160 + target.len().min(ACCESS_LOG_PATH_BYTES_MAX));
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        field(&mut text, "request_id", asked.request_id, usize::MAX);
        put(&mut text, format_args!("\"client\":\"{client}\","));
        field(&mut text, "method", asked.method, ACCESS_LOG_METHOD_BYTES_MAX);
        field(&mut text, "host", asked.host, ACCESS_LOG_PATH_BYTES_MAX);
        field(&mut text, "path", path, ACCESS_LOG_PATH_BYTES_MAX);
        Noted { text, error: None }
    }

    /// Adds the whole line, with its newline.
    pub(super) fn write(&self, ended: Wall, outcome: &Outcome<'_>, out: &mut Vec<u8>) {
        let took = &outcome.took;
        let millis = i64::try_from(took.total.as_millis()).unwrap_or(i64::MAX);
        put(out, format_args!("{{\"at\":\"{}\",", Wall(ended.0.saturating_sub(millis))));
        out.extend_from_slice(&self.text);
        match outcome.service {
            None => out.extend_from_slice(b"\"service\":null,\"revision\":null"),
            Some((name, revision)) => {
                put(out, format_args!("\"service\":\"{name}\",\"revision\":{revision}"));
            }
        }
        match outcome.instance {
            None => out.extend_from_slice(b",\"instance\":null"),
            Some(instance) => put(out, format_args!(",\"instance\":\"{instance}\"")),
        }
        match outcome.status {
            0 => out.extend_from_slice(b",\"status\":null"),
            status => put(out, format_args!(",\"status\":{status}")),
        }
        match self.error {
            None => out.extend_from_slice(b",\"error\":null"),
            Some(code) => put(out, format_args!(",\"error\":\"{code}\"")),
        }
        put(out, format_args!(",\"bytes\":{}", outcome.sent_bytes));
        for (name, time) in [
            ("queued_ms", Some(took.queued)),
            ("connect_ms", took.connect),
            ("first_byte_ms", took.first_byte),
            ("total_ms", Some(took.total)),
        ] {
            match time.map(|time| time.as_micros()) {
                None => put(out, format_args!(",\"{name}\":null")),
                Some(us) => put(out, format_args!(",\"{name}\":{}.{:03}", us / 1000, us % 1000)),
            }
        }
        let cause = outcome.cause.text();
        put(out, format_args!(",\"tries\":{},\"cause\":\"{cause}\"}}\n", outcome.tries));
    }
}

/// A field with a text of the client's (null where there is none), and a comma.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8], bytes_max: usize) {
    put(out, format_args!("\"{name}\":"));
    if value.is_empty() {
        out.extend_from_slice(b"null,");
        return;
    }
    out.push(b'"');
    for byte in value.iter().take(bytes_max) {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            other => put(out, format_args!("%{other:02X}")),
        }
    }
    if value.len() > bytes_max {
        out.extend_from_slice(b"...");
    }
    out.extend_from_slice(b"\",");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A Vec takes everything.
    let _ = out.write_fmt(text);
}
