//! Files as the holder writes them, and what readers see of them.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tucano_common::limits::{OUTPUT_KEPT, OUTPUT_LINE_BYTES_MAX};

use super::*;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder of outputs, gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tucano-logs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn append(&self, number: u32, records: &str) {
        let path = rotated(&self.0, number);
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(records.as_bytes()).unwrap();
    }

    /// As the holder does it.
    fn rotate(&self) {
        for number in (1..OUTPUT_FILES_KEPT).rev() {
            let from = rotated(&self.0, number - 1);
            let _there_are_fewer = fs::rename(from, rotated(&self.0, number));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_to_be_looked_at = fs::remove_dir_all(&self.0);
    }
}

/// A record of a second of the first minute.
fn record(second: u32, text: &str) -> String {
    format!("1970-01-01T00:00:{second:02}.000000000Z stdout F {text}\n")
}

fn seconds(range: std::ops::Range<u32>) -> String {
    range.map(|second| record(second, &format!("line {second}"))).collect()
}

/// What a reader has now, without the times.
fn read(reader: &mut Reader) -> Vec<String> {
    let mut out = Vec::new();
    while reader.read(&mut out, 100).unwrap() {}
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| line.split_once("Z stdout ").unwrap().1.to_owned()).collect()
}

fn lines(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|second| format!("line {second}")).collect()
}

#[test]
fn a_line_has_its_time_and_stream() {
    let folder = Folder::new();
    folder.append(0, &record(1, "a  b"));
    folder.append(0, &record(2, "").replace("stdout", "stderr"));
    let mut out = Vec::new();
    let mut reader = Reader::open(&folder.0, Begin::Tail(10)).unwrap();
    assert!(reader.read(&mut out, 1000).unwrap());
    assert!(!reader.read(&mut out, 1000).unwrap(), "nothing new");
    let expected = "1970-01-01T00:00:01.000000000Z stdout a  b\n\
                    1970-01-01T00:00:02.000000000Z stderr \n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_last_lines_over_the_files() {
    let folder = Folder::new();
    folder.append(2, &seconds(0..10));
    folder.append(1, &seconds(10..20));
    folder.append(0, &seconds(20..25));
    for count in [0, 1, 4, 5, 6, 15, 16, 25, 26, 1000] {
        let mut reader = Reader::open(&folder.0, Begin::Tail(count as usize)).unwrap();
        assert_eq!(read(&mut reader), lines(25 - count.min(25)..25), "{count}");
    }
}

#[test]
fn from_a_time_on() {
    let folder = Folder::new();
    folder.append(2, &seconds(0..10));
    folder.append(1, &seconds(10..20));
    folder.append(0, &seconds(20..25));
    for second in [0, 1, 9, 10, 11, 20, 24, 25] {
        let since = Wall(i64::from(second) * 1000);
        let mut reader = Reader::open(&folder.0, Begin::Since(since)).unwrap();
        assert_eq!(read(&mut reader), lines(second..25), "{second}");
    }
    let between = Begin::Since(Wall(9_001));
    assert_eq!(read(&mut Reader::open(&folder.0, between).unwrap()), lines(10..25));
}

#[test]
fn following_goes_on_over_rotations_and_sees_every_line_once() {
    let folder = Folder::new();
    let mut reader = Reader::open(&folder.0, Begin::Tail(10)).unwrap();
    assert_eq!(read(&mut reader), lines(0..0), "nothing was written yet");
    let mut seen = Vec::new();
    for second in (0..60).step_by(3) {
        folder.append(0, &seconds(second..second + 1));
        seen.extend(read(&mut reader));
        // Written after the reader looked, and moved on before it looks again.
        folder.append(0, &seconds(second + 1..second + 2));
        folder.rotate();
        folder.append(0, &seconds(second + 2..second + 3));
        if second % 2 == 0 {
            seen.extend(read(&mut reader));
        }
    }
    seen.extend(read(&mut reader));
    assert_eq!(seen, lines(0..60));
}

#[test]
fn a_reader_that_is_too_slow_goes_on_with_the_oldest() {
    let folder = Folder::new();
    folder.append(0, &seconds(0..1));
    let mut reader = Reader::open(&folder.0, Begin::Tail(10)).unwrap();
    assert_eq!(read(&mut reader), lines(0..1));
    for second in 1..10 {
        folder.rotate();
        folder.append(0, &seconds(second..second + 1));
    }
    assert_eq!(read(&mut reader), lines(6..10));
}

#[test]
fn half_a_record_waits_for_its_other_half() {
    let folder = Folder::new();
    let whole = record(1, "whole line");
    let (one, other) = whole.split_at(45);
    folder.append(0, one);
    let mut reader = Reader::open(&folder.0, Begin::Since(Wall(0))).unwrap();
    assert!(read(&mut reader).is_empty());
    folder.append(0, other);
    assert_eq!(read(&mut reader), ["whole line"]);
}

#[test]
fn parts_are_joined_by_stream_and_what_is_too_long_is_cut() {
    let folder = Folder::new();
    let part = |text: &str| record(1, text).replace(" F ", " P ");
    folder.append(0, &part("one "));
    folder.append(0, &record(1, "other").replace("stdout", "stderr"));
    folder.append(0, &record(1, "line"));
    let mut reader = Reader::open(&folder.0, Begin::Since(Wall(0))).unwrap();
    let mut out = Vec::new();
    reader.read(&mut out, 1000).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(" stderr other\n") && text.ends_with(" stdout one line\n"), "{text}");

    let huge = "x".repeat(OUTPUT_LINE_BYTES_MAX);
    for _ in 0..20 {
        folder.append(0, &part(&huge));
    }
    folder.append(0, &record(1, "end"));
    let line = read(&mut reader).pop().unwrap();
    assert!(line.ends_with("xend") && line.len() < 6 * OUTPUT_LINE_BYTES_MAX, "{}", line.len());
}

#[test]
fn what_a_service_wrote_can_not_play_with_a_terminal() {
    let folder = Folder::new();
    let mut bytes = record(1, "tab\there \u{1b}[31mred \u{202e} é").into_bytes();
    bytes.truncate(bytes.len() - 1);
    bytes.extend_from_slice(b" \xff\0\r\nno record at all\n");
    fs::write(rotated(&folder.0, 0), bytes).unwrap();
    let mut reader = Reader::open(&folder.0, Begin::Since(Wall(0))).unwrap();
    assert_eq!(read(&mut reader), ["tab\there \\u{1b}[31mred \\u{202e} é \u{fffd}\\u{0}"]);
}

#[test]
fn a_failures_last_words_are_its_own_and_bounded() {
    let folder = Folder::new();
    assert_eq!(output_tail(&folder.0, Wall(0)), "");
    folder.append(0, &seconds(0..5));
    assert_eq!(output_tail(&folder.0, Wall(3000)), "line 3\nline 4\n");
    assert_eq!(output_tail(&folder.0, Wall(5000)), "");
    folder.rotate();
    folder.append(0, &seconds(5..6));
    assert_eq!(output_tail(&folder.0, Wall(3000)), "line 3\nline 4\nline 5\n");
    let long = "y".repeat(1000);
    for second in 6..30 {
        folder.append(0, &record(second, &long));
    }
    let tail = output_tail(&folder.0, Wall(0));
    assert_eq!(tail.len(), 8 * 1001, "as many whole lines as fit");
    // One line that is longer than all of it: its end.
    folder.append(0, &record(31, &"z".repeat(OUTPUT_TAIL_BYTES)));
    let tail = output_tail(&folder.0, Wall(0));
    assert!(tail.len() <= OUTPUT_TAIL_BYTES && tail.ends_with("zzz\n"), "{}", tail.len());
}

#[test]
fn old_outputs_go_and_living_ones_stay() {
    let folder = Folder::new();
    for id in [1, 2] {
        let own = folder.0.join(InstanceId(id).to_string());
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join(CURRENT), "x").unwrap();
    }
    fs::create_dir_all(folder.0.join("foreign")).unwrap();
    let live = BTreeSet::from([InstanceId(1)]);
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let now = Wall(i64::try_from(now.unwrap().as_millis()).unwrap());
    clean(&folder.0, &live, now).unwrap();
    let count = || fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(count(), 3, "nothing is old");
    clean(&folder.0, &live, now + OUTPUT_KEPT + Duration::from_secs(1)).unwrap();
    assert_eq!(count(), 2);
    assert!(folder.0.join(InstanceId(1).to_string()).exists());
}
