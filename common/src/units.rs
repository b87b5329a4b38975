//! Durations (`500ms`, `2s`, `1m30s`) and sizes (`512KiB`, `128MiB`, `1GiB`, bare bytes) as flags
//! and specs write them.

use std::fmt;
use std::time::Duration;

/// Why a text is no duration or size; its text says what one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// Not a duration.
    Duration,
    /// Not a size.
    Size,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnitError::Duration => "not a duration: write one as 500ms, 2s, 1m30s, 10m, 1h or 1d",
            UnitError::Size => "not a size: write one as 512KiB, 128MiB, 1GiB or a number of bytes",
        })
    }
}

/// Units from the largest to the smallest: a text has each at most once, in this order.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `1m30s`, `500ms`, `1.5s`; a number without a unit is refused, except `0`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let number_len =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(UnitError::Duration)?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let at = DURATION_UNITS[next_unit..]
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or(UnitError::Duration)?
            + next_unit;
        let part = scaled(number, DURATION_UNITS[at].1).ok_or(UnitError::Duration)?;
        total_ms = total_ms.checked_add(part).ok_or(UnitError::Duration)?;
        next_unit = at + 1;
        rest = tail;
    }
    if text.is_empty() { Err(UnitError::Duration) } else { Ok(Duration::from_millis(total_ms)) }
}

/// Reads `512KiB`, `1.5GiB`, `1048576`; powers of 1024 only, so that nobody has to guess what `MB`
/// means.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_len);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(UnitError::Size),
    };
    scaled(number, factor).ok_or(UnitError::Size)
}

/// `number` (digits, at most one point with digits on both sides) times `factor`, rounded down.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let plain = |s: &str| !s.is_empty() && s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = fraction.parse::<u128>().ok()? * u128::from(factor) / scale;
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// A duration as [`parse_duration`] reads it, in its shortest exact form down to the millisecond:
/// `1m30s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, factor) in DURATION_UNITS {
        if rest >= factor {
            text.push_str(&(rest / factor).to_string());
            text.push_str(name);
            rest %= factor;
        }
    }
    text
}

/// A size as [`parse_size`] reads it, in the largest unit that divides it: `128MiB`, `1000`.
pub fn format_size(bytes: u64) -> String {
    for (name, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{name}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("2s", 2000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("1.5s", 1500),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "1s1m", "1s1s", "-1s", "+1s", "1 s", "1S", "1.s", ".5s", "1..5s"]
        {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text}");
        }
        assert_eq!(parse_duration("99999999999999999999d"), Err(UnitError::Duration));
        assert_eq!(parse_duration("999999999999999999d"), Err(UnitError::Duration));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("512KiB", 524_288),
            ("128MiB", 134_217_728),
            ("1.5GiB", 1_610_612_736),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1MB", "1mib", "1 MiB", "-1", "+1", "1.MiB", "99999999999TiB"] {
            assert_eq!(parse_size(text), Err(UnitError::Size), "{text}");
        }
    }

    #[test]
    fn formatting_goes_back() {
        for ms in [0, 1, 999, 1000, 1500, 61_001, 86_400_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 1536, 134_217_728, 5 << 40] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }
}
