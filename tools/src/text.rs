//! What people read in a terminal: escaping, aligned tables, sizes, shares and ages.
//!
//! Everything that comes from a service, a user or a worker passes [`escape`] before it is printed:
//! a name or a log line must not be able to drive the terminal.

use std::fmt::Write as _;
use std::time::Duration;

use tucano_net::text::Escaped;

/// A text for one line of a terminal: control characters are shown, not sent.
pub fn escape(text: &str) -> String {
    Escaped(text).to_string()
}

/// The same for a text of several lines: line ends and tabs stay.
pub fn escape_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let kept = part.chars().next_back().filter(|c| matches!(c, '\n' | '\t'));
        let body = part.strip_suffix(['\n', '\t']).unwrap_or(part);
        let _ = write!(out, "{}", Escaped(body));
        out.extend(kept);
    }
    out
}

/// Rows under a heading, each column as wide as its widest cell, two spaces between, nothing after
/// the last. Cells are escaped here.
#[derive(Debug)]
pub struct Table {
    columns: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Table {
        let heading = headings.iter().map(|text| (*text).to_owned()).collect();
        Table { columns: headings.len(), rows: vec![heading] }
    }

    /// Adds a row; a missing cell is empty.
    pub fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        let mut row: Vec<String> = cells.into_iter().map(|c| escape(&c)).collect();
        row.resize(self.columns, String::new());
        self.rows.push(row);
    }

    /// Whether it has no row but its heading.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines.
    pub fn render(&self) -> String {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Bytes in the unit that a person would use: `512 B`, `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    if unit == 0 || tenths >= 1000 {
        format!("{} {}", (tenths + 5) / 10, UNITS[unit])
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// A share of one as a percentage: `7 %`.
pub fn percent(share: f32) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A time span in its two largest units: `3m 20s`, `2d 1h`; under a minute with a decimal.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_passes() {
        assert_eq!(escape("a\u{1b}[2J\nb\u{202e}"), "a\\u{1b}[2J\\nb\\u{202e}");
        assert_eq!(escape_lines("a\tb\nc\r\u{7}"), "a\tb\nc\\r\\u{7}");
    }

    #[test]
    fn tables_are_aligned_and_have_no_trailing_space() {
        let mut table = Table::new(&["NAME", "STATE"]);
        assert!(table.is_empty());
        table.row(["web".to_owned(), "running".to_owned()]);
        table.row(["a-longer-name".to_owned()]);
        assert_eq!(table.render(), "NAME           STATE\nweb            running\na-longer-name\n");
    }

    #[test]
    fn numbers_for_people() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (134_217_728, "128 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(percent(0.074), "7 %");
        for (ms, text) in [
            (0, "0.0s"),
            (1234, "1.2s"),
            (61_000, "1m 1s"),
            (3_660_000, "1h 1m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
