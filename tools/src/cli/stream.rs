//! Commands whose output goes on: logs and events.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use tucano_common::wire::views::{EventView, StatusView};
use tucano_net::blocking::Streamed;
use tucano_net::config::{Flags, parse};
use tucano_net::url::percent_encode;

use super::{CliError, Session, argument, arguments, print};
use crate::api::ApiError;
use crate::text;

/// Without `--after`, so many of the last events.
const RECENT: u64 = 50;
/// A followed stream may be silent for as long as nothing happens.
const SILENCE: Duration = Duration::from_secs(24 * 3600);
/// Log lines are printed as they are, but no longer than this at once.
const LINE_BYTES: u64 = 64 * 1024;

/// `tucano logs NAME|ID`.
pub(super) fn logs(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let follow = flags.has("-f") | flags.has("--follow");
    let tail = flags.value_or("--tail", 100, parse::number(0, 1_000_000))?;
    let name = argument(flags, "NAME|ID")?;
    let query = format!("logs?tail={tail}&follow={follow}");
    let service = format!("/v1/services/{}/{query}", percent_encode(&name));
    let stream = match session.api.open(&service, SILENCE) {
        Err(error) if error.status() == Some(404) => {
            let instance = format!("/v1/instances/{}/{query}", percent_encode(&name));
            session.api.open(&instance, SILENCE).map_err(|second| match second.status() {
                // What it says of the service is what the reader needs: names are typed, ids
                // pasted.
                Some(400 | 404) => error,
                _ => second,
            })?
        }
        other => other?,
    };
    copy_lines(stream)
}

/// Prints lines as they come, escaped.
fn copy_lines(stream: Streamed) -> Result<(), CliError> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => print(&text::escape_lines(&String::from_utf8_lossy(&line)))?,
            Err(error) => return Err(cut(&error)),
        }
    }
}

fn cut(error: &io::Error) -> CliError {
    CliError::Failed(format!("the stream was cut off: {error}"))
}

/// `tucano events`.
pub(super) fn events(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let follow = flags.has("-f") | flags.has("--follow");
    let after = flags.value("--after", parse::number(0, u64::MAX))?;
    let service = flags.value("--service", parse::text)?;
    let [] = arguments(flags, [])?;
    let after = match after {
        Some(after) => after,
        None => {
            let status: StatusView = session.api.get("/v1/status")?;
            status.last_event.saturating_sub(RECENT)
        }
    };
    let target = format!("/v1/events?after={after}&follow={follow}");
    let reader = BufReader::new(session.api.open(&target, SILENCE)?);
    for line in reader.lines() {
        let line = line.map_err(|error| cut(&error))?;
        let event: EventView = match serde_json::from_str(&line) {
            Ok(event) => event,
            Err(_) if line.trim().is_empty() => continue,
            Err(error) => return Err(ApiError::Shape(target, error).into()),
        };
        let concerned = event.service.as_ref().map(|service| service.as_str());
        if service.is_some() && service.as_deref() != concerned {
            continue;
        }
        if session.json {
            print(&format!("{line}\n"))?;
        } else {
            print(&shown(&event))?;
        }
    }
    Ok(())
}

fn shown(event: &EventView) -> String {
    let cause = event.cause.map(|cause| format!(" (because of {cause})")).unwrap_or_default();
    let service = event.service.as_ref().map_or("", |service| service.as_str());
    let worker = event.worker.as_ref().map_or("", |worker| worker.as_str());
    let (kind, message) = (text::escape(&event.kind), text::escape(&event.message));
    let EventView { seq, at, .. } = event;
    format!("{seq:>6}  {at}  {kind:<24} {service:<12} {worker:<8} {message}{cause}\n")
}
