//! One record as one line. Pure: the time and the thread's name come in.

use std::fmt::Write;

use log::{Level, Record};
use tucano_common::limits::LOG_LINE_BYTES_MAX;
use tucano_common::time::Wall;

use crate::text::EscapingWriter;

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The time, the level, the target.
    Text,
    /// The priority as `sd-daemon(3)` has it; the journal adds the time.
    Journal,
    /// An object.
    Json,
}

/// The line with its newline. A message's own newlines are escaped, so that it stays one line.
pub(super) fn format(
    layout: Layout,
    at: Wall,
    thread: Option<&str>,
    record: &Record<'_>,
) -> String {
    let mut line = String::with_capacity(128);
    let (level, target) = (record.level(), record.target());
    // Writing into a String does not fail; a Display of the message's own that fails leaves what it
    // wrote.
    let _ = match layout {
        Layout::Text => write!(line, "{at} {level:<5} {target}: "),
        Layout::Journal => write!(line, "<{}>{target}: ", priority(level)),
        Layout::Json => {
            let thread = thread.unwrap_or("unnamed");
            let level = level.as_str().to_ascii_lowercase();
            let fields = (serde_json::json!(target), serde_json::json!(thread));
            write!(
                line,
                r#"{{"at":"{at}","level":"{level}","target":{},"thread":{},"message":"#,
                fields.0, fields.1
            )
        }
    };
    match layout {
        Layout::Text | Layout::Journal => {
            let _ = EscapingWriter(&mut line).write_fmt(*record.args());
            cut(&mut line, LOG_LINE_BYTES_MAX);
        }
        Layout::Json => {
            let mut message = record.args().to_string();
            cut(&mut message, LOG_LINE_BYTES_MAX);
            let _ = write!(line, "{}}}", serde_json::Value::String(message));
        }
    }
    line.push('\n');
    line
}

fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(layout: Layout, message: &str) -> String {
        let args = format_args!("{message}");
        let mut record = Record::builder();
        let record = record.args(args).level(Level::Warn).target("api");
        format(layout, Wall(0), Some("api"), &record.build())
    }

    #[test]
    fn layouts() {
        let message = "a \"b\"\n\u{1b}[0m";
        assert_eq!(
            line(Layout::Text, message),
            "1970-01-01T00:00:00.000Z WARN  api: a \"b\"\\n\\u{1b}[0m\n"
        );
        assert_eq!(line(Layout::Journal, message), "<4>api: a \"b\"\\n\\u{1b}[0m\n");
        let json = line(Layout::Json, message);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["message"], message);
        assert_eq!((&value["level"], &value["target"]), (&"warn".into(), &"api".into()));
        assert!(json.ends_with('\n') && json.matches('\n').count() == 1);
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        for layout in [Layout::Text, Layout::Journal, Layout::Json] {
            let line = line(layout, &"ü".repeat(LOG_LINE_BYTES_MAX));
            assert!(line.len() < LOG_LINE_BYTES_MAX + 200, "{layout:?}: {}", line.len());
            assert!(line.contains('…'));
        }
    }
}
