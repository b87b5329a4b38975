//! The output of several instances as one, by time, while it comes.
//!
//! Each source is in order by itself. The oldest line goes out once every other source has shown a
//! later one or has ended, or (where the answer is followed, and a silent instance is nothing
//! unusual) once it has waited for as long as an older one can take to get here. Pure: bytes and
//! time come in. Called by `logs`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::{LOG_LINE_OUT_BYTES_MAX, LOG_SOURCE_BYTES_MAX};
use tucano_common::time::Mono;

/// One instance's output.
#[derive(Debug)]
struct Source {
    /// The beginning of a line whose end did not come yet.
    partial: Vec<u8>,
    /// The last line was cut for its length: what follows up to its end is not a line of its own.
    cut: bool,
    lines: VecDeque<Line>,
    /// Bytes in `lines`.
    held: usize,
    open: bool,
    /// The time of the last line that had one: a line without one belongs to the line before it.
    time: String,
    /// Opened again after a break: lines up to this time were there before.
    seen: Option<String>,
}

#[derive(Debug)]
struct Line {
    arrived: Mono,
    time: String,
    text: String,
}

/// What keeps lines back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing: all lines that came are out, or the room was used up.
    Nothing,
    /// A source that may still send an older line; without more of it, at this time at the latest
    /// (none: it has to send or to end).
    Until(Option<Mono>),
}

/// The merge.
#[derive(Debug)]
pub(crate) struct LogMerge {
    sources: BTreeMap<InstanceId, Source>,
    /// How long a line waits for older ones of the silent sources; none: until those have ended.
    patience: Option<Duration>,
    /// Whether each line begins with its instance.
    named: bool,
}

impl LogMerge {
    /// Nothing to merge yet.
    pub(crate) fn new(patience: Option<Duration>, named: bool) -> LogMerge {
        LogMerge { sources: BTreeMap::new(), patience, named }
    }

    /// Output of this instance is on its way (again).
    pub(crate) fn open(&mut self, id: InstanceId) {
        let source = self.sources.entry(id).or_insert_with(|| Source {
            partial: Vec::new(),
            cut: false,
            lines: VecDeque::new(),
            held: 0,
            open: false,
            time: String::new(),
            seen: None,
        });
        source.seen = Some(source.time.clone()).filter(|time| !time.is_empty());
        source.open = true;
    }

    /// Some of it came; whether there is so much of it that its sender should pause.
    pub(crate) fn push(&mut self, id: InstanceId, bytes: &[u8], now: Mono) -> bool {
        let Some(source) = self.sources.get_mut(&id) else {
            return false;
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            source.partial.extend_from_slice(piece);
            let whole = piece.ends_with(b"\n");
            if whole || source.partial.len() >= LOG_LINE_OUT_BYTES_MAX {
                source.end_line(now);
                source.cut = !whole;
            }
        }
        source.held > LOG_SOURCE_BYTES_MAX
    }

    /// Nothing more comes of it (for now).
    pub(crate) fn close(&mut self, id: InstanceId, now: Mono) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.open = false;
            if !source.partial.is_empty() {
                source.end_line(now);
            }
        }
    }

    /// Whether there is room for more of this source.
    pub(crate) fn has_room(&self, id: InstanceId) -> bool {
        self.sources.get(&id).is_none_or(|source| source.held <= LOG_SOURCE_BYTES_MAX / 2)
    }

    /// The time of the last line of a source that came, for asking for what follows it.
    pub(crate) fn last_time(&self, id: InstanceId) -> Option<String> {
        let time = &self.sources.get(&id)?.time;
        (!time.is_empty()).then(|| format!("{time}Z"))
    }

    /// Writes lines whose turn it is, up to about `room` bytes.
    pub(crate) fn take(&mut self, now: Mono, room: usize, out: &mut Vec<u8>) -> Held {
        while out.len() < room {
            let next = self.sources.iter().filter_map(|(id, source)| {
                let line = source.lines.front()?;
                Some((line.time.as_str(), *id, line.arrived))
            });
            let Some((_, id, arrived)) = next.min() else {
                return Held::Nothing;
            };
            if let Some(held) = self.held_back(arrived, now) {
                return held;
            }
            let line = self.sources.get_mut(&id).and_then(Source::next_line);
            let Some(Line { text, .. }) = line else {
                return Held::Nothing;
            };
            if self.named {
                out.extend_from_slice(format!("{id} ").as_bytes());
            }
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
        Held::Nothing
    }

    /// What keeps back the oldest line there is: somebody who may still send an older one.
    fn held_back(&self, arrived: Mono, now: Mono) -> Option<Held> {
        let mut sources = self.sources.values();
        if !sources.any(|source| source.open && source.lines.is_empty()) {
            return None;
        }
        match self.patience.map(|patience| arrived + patience) {
            Some(until) if until <= now => None,
            until => Some(Held::Until(until)),
        }
    }
}

impl Source {
    fn end_line(&mut self, now: Mono) {
        let bytes = std::mem::take(&mut self.partial);
        let text = escaped(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        if self.cut && text.is_empty() {
            return;
        }
        let time = time_of(&text);
        if let Some(seen) = &self.seen {
            if time.is_none_or(|time| time <= seen.as_str()) {
                return;
            }
            self.seen = None;
        }
        if let Some(time) = time {
            self.time = time.to_owned();
        }
        self.held += text.len();
        self.lines.push_back(Line { arrived: now, time: self.time.clone(), text });
    }

    fn next_line(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.held -= line.text.len();
        Some(line)
    }
}

/// The RFC 3339 time in front of a line, without its `Z`, so that fractions of any length sort as
/// text.
fn time_of(line: &str) -> Option<&str> {
    let time = line.split(' ').next()?.strip_suffix('Z')?;
    let shape = time.len() >= 19 && time.as_bytes()[10] == b'T' && time.is_ascii();
    let digits = time.bytes().all(|b| b.is_ascii_digit() || b"-:T.".contains(&b));
    (shape && digits).then_some(time)
}

/// Nothing that a terminal would act on: control characters become `\x1b` and the like.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstanceId = InstanceId(1);
    const B: InstanceId = InstanceId(2);
    const PATIENCE: Duration = Duration::from_millis(100);

    fn line(second: u32, text: &str) -> Vec<u8> {
        format!("2026-01-31T03:12:{second:02}.000000001Z stdout {text}\n").into_bytes()
    }

    fn taken(merge: &mut LogMerge, now: Mono) -> (Vec<String>, Held) {
        let mut out = Vec::new();
        let held = merge.take(now, usize::MAX, &mut out);
        let text = String::from_utf8(out).expect("text");
        let last_words = text.lines().map(|line| line.rsplit(' ').next().unwrap_or("").to_owned());
        (last_words.collect(), held)
    }

    #[test]
    fn two_sources_come_out_by_time() {
        let mut merge = LogMerge::new(None, true);
        merge.open(A);
        merge.open(B);
        for (id, second, text) in [(A, 1, "a1"), (A, 4, "a4"), (B, 2, "b2"), (B, 3, "b3")] {
            merge.push(id, &line(second, text), Mono(0));
        }
        let (words, held) = taken(&mut merge, Mono(0));
        assert_eq!(words, ["a1", "b2", "b3"]);
        assert_eq!(held, Held::Until(None), "B may still have a line before a4");
        merge.close(B, Mono(0));
        assert_eq!(taken(&mut merge, Mono(0)), (vec!["a4".to_owned()], Held::Nothing));
    }

    #[test]
    fn a_line_waits_for_the_silent_sources_a_moment_only() {
        let mut merge = LogMerge::new(Some(PATIENCE), true);
        merge.open(A);
        merge.push(A, &line(1, "alone"), Mono(0));
        assert_eq!(taken(&mut merge, Mono(0)).0, ["alone"], "there is nobody to wait for");
        merge.open(B);
        merge.push(A, &line(3, "a3"), Mono(50));
        let until = Mono(50) + PATIENCE;
        assert_eq!(taken(&mut merge, Mono(51)), (vec![], Held::Until(Some(until))));
        merge.push(B, &line(2, "b2"), Mono(60));
        assert_eq!(taken(&mut merge, Mono(61)).0, ["b2"], "an older one came in time");
        assert_eq!(taken(&mut merge, until), (vec!["a3".to_owned()], Held::Nothing));
    }

    #[test]
    fn any_split_into_reads_gives_the_same() {
        let whole =
            [line(1, "one"), line(2, "two"), b"no time\n".to_vec(), line(3, "end")].concat();
        let merged = |pieces: &[&[u8]]| {
            let mut merge = LogMerge::new(None, true);
            merge.open(A);
            for piece in pieces {
                merge.push(A, piece, Mono(0));
            }
            merge.close(A, Mono(0));
            let mut out = Vec::new();
            merge.take(Mono(0), usize::MAX, &mut out);
            out
        };
        let expected = merged(&[&whole]);
        assert_eq!(String::from_utf8_lossy(&expected).lines().count(), 4);
        for at in 0..whole.len() {
            assert_eq!(merged(&[&whole[..at], &whole[at..]]), expected, "split at {at}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(merged(&bytes), expected);
    }

    #[test]
    fn a_last_line_without_an_end_is_not_lost() {
        let mut merge = LogMerge::new(None, false);
        merge.open(A);
        merge.push(A, b"half a line", Mono(0));
        assert_eq!(taken(&mut merge, Mono(0)).0, Vec::<String>::new());
        merge.close(A, Mono(0));
        assert_eq!(taken(&mut merge, Mono(0)).0, ["line"]);
    }

    #[test]
    fn what_comes_again_after_a_break_is_left_out() {
        let mut merge = LogMerge::new(None, true);
        merge.open(A);
        merge.push(A, &[line(1, "one"), line(2, "two")].concat(), Mono(0));
        merge.close(A, Mono(0));
        assert_eq!(merge.last_time(A).as_deref(), Some("2026-01-31T03:12:02.000000001Z"));
        merge.open(A);
        let again = [line(1, "one"), b"no time\n".to_vec(), line(2, "two"), line(3, "three")];
        merge.push(A, &again.concat(), Mono(0));
        merge.close(A, Mono(0));
        assert_eq!(taken(&mut merge, Mono(0)).0, ["one", "two", "three"]);
        assert_eq!(merge.last_time(B), None);
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        let mut merge = LogMerge::new(None, true);
        merge.open(A);
        merge.push(A, "\u{1b}[2J\u{9b}31m\u{7}tab\there \u{fffd}\r\n".as_bytes(), Mono(0));
        merge.push(A, b"\xff\n", Mono(0));
        merge.close(A, Mono(0));
        let mut out = Vec::new();
        merge.take(Mono(0), usize::MAX, &mut out);
        let text = String::from_utf8(out).expect("text");
        let expected = format!("{A} \\x1b[2J\\x9b31m\\x07tab\there \u{fffd}\n{A} \u{fffd}\n");
        assert_eq!(text, expected);
    }

    #[test]
    fn memory_is_bounded_by_pausing_and_by_cutting_lines() {
        let mut merge = LogMerge::new(None, true);
        merge.open(A);
        merge.open(B);
        let flood = vec![b'x'; LOG_LINE_OUT_BYTES_MAX];
        let mut pushes = 0;
        while !merge.push(A, &flood, Mono(0)) {
            pushes += 1;
            assert!(pushes < 10, "it never says to pause");
        }
        assert!(!merge.has_room(A) && merge.has_room(B));
        merge.push(A, b"\n", Mono(0));
        merge.close(B, Mono(0));
        let mut out = Vec::new();
        merge.take(Mono(0), usize::MAX, &mut out);
        assert!(merge.has_room(A));
        let lines = out.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, pushes + 1, "the end of a cut line is no line");
    }

    #[test]
    fn a_bounded_take_goes_on_where_it_was() {
        let mut merge = LogMerge::new(None, true);
        merge.open(A);
        for second in 0..10 {
            merge.push(A, &line(second, "x"), Mono(0));
        }
        merge.close(A, Mono(0));
        let mut lines = 0;
        for _ in 0..10 {
            let mut out = Vec::new();
            merge.take(Mono(0), 1, &mut out);
            lines += out.iter().filter(|byte| **byte == b'\n').count();
        }
        assert_eq!(lines, 10);
    }

    #[test]
    fn times_sort_whatever_their_fraction() {
        assert_eq!(time_of("2026-01-31T03:12:00.5Z stdout x"), Some("2026-01-31T03:12:00.5"));
        assert_eq!(time_of("2026-01-31T03:12:00Z x"), Some("2026-01-31T03:12:00"));
        assert!(time_of("2026-01-31T03:12:00Z") < time_of("2026-01-31T03:12:00.000001Z"));
        for none in ["", "Z", "2026-01-31", "hello worldZ", "éééééééééééTééééééééZ x"]
        {
            assert_eq!(time_of(none), None, "{none}");
        }
    }
}
