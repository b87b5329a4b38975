//! Lines, records, rates and a full disk, without a process.

use super::*;

const STAMP: &str = "2026-01-31T03:12:00.000000000Z";

fn fed(pieces: &[&[u8]]) -> String {
    let mut lines = Lines::new(b" stdout ");
    let mut records = Vec::new();
    for piece in pieces {
        lines.feed(piece, STAMP, &mut records);
    }
    lines.finish(STAMP, &mut records);
    String::from_utf8(records).unwrap().replace(STAMP, "").replace(" stdout ", "")
}

#[test]
fn every_split_of_a_text_gives_the_same_lines() {
    let text = b"one\n\ntwo two\nthree";
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let pieces = [&text[..first], &text[first..second], &text[second..]];
            assert_eq!(fed(&pieces), "F one\nF \nF two two\nF three\n", "{first} {second}");
        }
    }
    assert_eq!(fed(&[b""]), "");
    assert_eq!(fed(&[b"\n"]), "F \n");
}

#[test]
fn parts_are_full_and_a_line_that_just_fits_is_one() {
    let max = OUTPUT_LINE_BYTES_MAX;
    for (len, expected) in [
        (max - 1, vec![max - 1]),
        (max, vec![max]),
        (max + 1, vec![max, 1]),
        (2 * max, vec![max, max]),
        (2 * max + 5, vec![max, max, 5]),
    ] {
        let mut text = vec![b'x'; len];
        text.push(b'\n');
        let records = fed(&text.chunks(1000).collect::<Vec<_>>());
        let lens: Vec<usize> = records.lines().map(|record| record.len() - 2).collect();
        assert_eq!(lens, expected);
        let tags: Vec<&str> = records.lines().map(|record| &record[..1]).collect();
        let (last, before) = tags.split_last().unwrap();
        assert!(*last == "F" && before.iter().all(|tag| *tag == "P"), "{tags:?}");
    }
}

#[test]
fn a_stamp_has_nanoseconds() {
    let at = SystemTime::UNIX_EPOCH + Duration::new(951_782_400, 123_456_789);
    assert_eq!(stamp(at), "2000-02-29T00:00:00.123456789Z");
    assert_eq!(stamp(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000000000Z");
}

#[test]
fn a_burst_then_a_rate() {
    let start = Instant::now();
    let mut budget = Budget::new(start);
    assert_eq!(budget.pause(start), None);
    budget.take(OUTPUT_BURST_BYTES);
    let pause = budget.pause(start).unwrap();
    let piece = CHUNK_BYTES as u64;
    assert_eq!(pause.as_micros(), u128::from(piece * 1_000_000 / OUTPUT_BYTES_PER_S));
    assert_eq!(budget.pause(start + 2 * pause), None);
    // An hour of silence earns one burst, not more.
    let later = start + Duration::from_secs(3600);
    assert_eq!(budget.pause(later), None);
    budget.take(OUTPUT_BURST_BYTES);
    assert!(budget.pause(later).is_some());
}

#[test]
fn what_a_full_disk_swallows_is_counted_and_told() {
    let folder = std::env::temp_dir().join(format!("tucano-output-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut sink = Sink::open(&folder).unwrap();
    sink.write(b"first\n");
    let file =
        std::mem::replace(&mut sink.file, File::options().write(true).open("/dev/full").unwrap());
    sink.write(b"swallowed\n");
    sink.write(b"this too\n");
    sink.file = file;
    sink.write(b"last\n");
    let text = fs::read_to_string(folder.join(CURRENT)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[2], lines.len()), ("first", "last", 3), "{text}");
    assert!(lines[1].contains(" stderr F tucano: 19 bytes of output lost: "), "{text}");
    fs::remove_dir_all(&folder).unwrap();
}
