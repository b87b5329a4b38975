//! Readers of flags' values; their errors say what a right one looks like.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tucano_common::units::{self, UnitError};

/// `500ms`, `2s`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    units::parse_duration(text)
}

/// The same, but not zero: for what would spin or never wait.
pub fn duration_above_zero(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// `512KiB`, `128MiB`, `1GiB`, bare bytes.
pub fn size(text: &str) -> Result<u64, UnitError> {
    units::parse_size(text)
}

/// An address to listen on: `127.0.0.1:7070`, `[::1]:7070`, or `localhost:7070`.
pub fn addr(text: &str) -> Result<SocketAddr, &'static str> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:7070 or [::1]:7070")
}

/// Whatever reads itself from a text: numbers, URLs.
pub fn own<T: FromStr<Err: Display>>(text: &str) -> Result<T, T::Err> {
    text.parse()
}

/// A whole number from `min` to `max`, digits only.
pub fn number(min: u64, max: u64) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (min..=max).contains(number));
        number.ok_or_else(|| format!("write a whole number from {min} to {max}"))
    }
}

/// A file or folder; that it is there is looked at where it is used.
pub fn path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() || text.contains('\0') {
        Err("write a path")
    } else {
        Ok(PathBuf::from(text))
    }
}

/// Any text but an empty one.
pub fn text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("it must not be empty") } else { Ok(text.to_owned()) }
}
