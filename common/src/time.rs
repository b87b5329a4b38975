//! Time as values: a monotonic reading for deadlines, a wall reading for people.
//!
//! Nothing here reads a clock; `tucano_net::clock` does, once a turn of a loop, and hands `Now`
//! down.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A monotonic reading in microseconds since an arbitrary start of this process's clock.
/// Only differences mean anything; it is never stored and never crosses a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The time from `earlier` to this reading; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This reading moved back by `by`, not before the clock's start.
    pub fn minus(self, by: Duration) -> Mono {
        Mono(self.0.saturating_sub(micros(by)))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(micros(by)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A wall reading in milliseconds since 1970-01-01T00:00:00Z; its text is RFC 3339 in UTC with
/// milliseconds. It may jump; deadlines that must outlive a process are kept in it, others in
/// [`Mono`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// The time from `earlier` to this reading; zero if `earlier` is later.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 as [`fmt::Display`] writes it: `2026-01-31T03:12:00.000Z`, fraction optional,
    /// UTC only.
    pub fn parse(text: &str) -> Option<Wall> {
        let text = text.strip_suffix('Z')?;
        let (date, clock) = text.split_once('T')?;
        let mut parts = date.splitn(3, '-').map(digits);
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut parts = clock.splitn(3, ':').map(digits);
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let in_range = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 61
            && (1970..10_000).contains(&year);
        if !in_range {
            return None;
        }
        let millis = digits(format!("{fraction:0<3}").get(..3)?)?;
        let days = days_from_civil(year, month, day);
        Some(Wall((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, by: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

fn digits(text: &str) -> Option<i64> {
    let only_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if only_digits { text.parse().ok() } else { None }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar (H. Hinnant,
/// "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(86_400_000));
        let millis = self.0.rem_euclid(86_400_000);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, millis) = (millis / 1000 % 60, millis % 1000);
        let Ok(year @ 0..=9999) = u16::try_from(year) else {
            return write!(
                f,
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
            );
        };
        // Lists have thousands of times: digit by digit is several times as fast as by format.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let numbers = [
            (3, i64::from(year)),
            (6, month),
            (9, day),
            (12, hour),
            (15, minute),
            (18, second),
            (22, millis),
        ];
        for (mut at, mut number) in numbers {
            while number > 0 {
                text[at] += (number % 10) as u8;
                number /= 10;
                at -= usize::from(number > 0);
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wall, D::Error> {
        crate::text::parsed(deserializer, |text| {
            Wall::parse(text).ok_or("expected a time such as 2026-01-31T03:12:00.000Z")
        })
    }
}

/// One reading of both clocks: what a turn of a loop, a command or a fact happened at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For people and for what is stored.
    pub wall: Wall,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_text_goes_there_and_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Wall(millis).to_string(), text);
            assert_eq!(Wall::parse(text), Some(Wall(millis)));
        }
        assert_eq!(Wall::parse("1970-01-01T00:00:01Z"), Some(Wall(1000)));
        assert_eq!(Wall::parse("1970-01-01T00:00:00.5Z"), Some(Wall(500)));
    }

    #[test]
    fn every_time_is_written_in_full() {
        // In steps that meet every field, and past the four digits of a year.
        let mut times = 0;
        for millis in (0..=253_402_300_799_999).step_by(86_461_061_001 / 7) {
            let text = Wall(millis).to_string();
            assert_eq!((text.len(), Wall::parse(&text)), (24, Some(Wall(millis))), "{text}");
            times += 1;
        }
        assert!(times > 20_000, "{times}");
        assert_eq!(Wall(253_402_300_800_000).to_string(), "10000-01-01T00:00:00.000Z");
        assert_eq!(Wall(-62_167_219_200_001).to_string(), "-001-12-31T23:59:59.999Z");
    }

    #[test]
    fn wall_refuses_what_is_not_utc_rfc3339() {
        for text in ["", "Z", "1970-01-01", "1970-13-01T00:00:00Z", "1970-01-01T24:00:00Z"] {
            assert_eq!(Wall::parse(text), None, "{text}");
        }
        for text in ["1970-01-01T00:00:00", "1970-01-01T+0:00:00Z", "1970-01-01T00:00:00.é00Z"] {
            assert_eq!(Wall::parse(text), None, "{text}");
        }
    }

    #[test]
    fn differences_saturate() {
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
        assert_eq!(Wall(5).since(Wall(9)), Duration::ZERO);
        assert_eq!(Mono(5).minus(Duration::from_secs(1)), Mono(0));
        assert_eq!(Mono(u64::MAX) + Duration::from_secs(1), Mono(u64::MAX));
    }
}
