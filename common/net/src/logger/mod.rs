//! The log: a backend of the `log` crate that writes lines to stderr, as text or as JSON.
//!
//! One line is one write, whatever it holds is escaped, and a line that a client can trigger goes
//! through [`log_limited!`](crate::log_limited). No files, no rotation, no syslog: systemd's
//! journal does that.

mod call_site;
mod line;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};

pub use call_site::CallSite;

use crate::clock::Clock;

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `2026-01-31T03:12:00.000Z WARN  target: message`; in the journal, which has the time itself,
    /// without it.
    #[default]
    Text,
    /// `{"at":…,"level":…,"target":…,"thread":…,"message":…}`
    Json,
}

/// Not `text` or `json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFormat;

impl fmt::Display for BadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write text or json")
    }
}

impl FromStr for Format {
    type Err = BadFormat;

    fn from_str(text: &str) -> Result<Format, BadFormat> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(BadFormat),
        }
    }
}

/// What `--log-level` takes.
pub fn parse_level(text: &str) -> Result<LevelFilter, &'static str> {
    match text {
        "off" => Ok(LevelFilter::Off),
        "error" => Ok(LevelFilter::Error),
        "warn" => Ok(LevelFilter::Warn),
        "info" => Ok(LevelFilter::Info),
        "debug" => Ok(LevelFilter::Debug),
        "trace" => Ok(LevelFilter::Trace),
        _ => Err("write error, warn, info, debug or trace"),
    }
}

/// Makes this the process's log. For `main`, once; a second call changes nothing but the level.
pub fn init(level: LevelFilter, format: Format) {
    let layout = match format {
        Format::Json => line::Layout::Json,
        Format::Text if stderr_is_the_journal() => line::Layout::Journal,
        Format::Text => line::Layout::Text,
    };
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    // Only tests call it twice, and then the first one stays.
    let _ = log::set_logger(LOGGER.get_or_init(|| Logger { layout }));
    log::set_max_level(level);
}

struct Logger {
    layout: line::Layout,
}

impl Log for Logger {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let thread = std::thread::current();
        let line = line::format(self.layout, Clock::wall(), thread.name(), record);
        // Nobody can be told that the log is gone.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// systemd names the device and inode of the stream it gave us (systemd.exec(5), `JOURNAL_STREAM`).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stat = nix::sys::stat::fstat(io::stderr());
    stat.is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("JSON".parse::<Format>(), Err(BadFormat));
        assert_eq!(parse_level("debug"), Ok(LevelFilter::Debug));
        assert!(parse_level("verbose").is_err());
    }
}
