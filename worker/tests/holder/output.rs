//! What scripts write: every line, in order, in bounded files.

use std::fs;

use nix::sys::signal::Signal;

use crate::bench::{Job, eventually};

const FILE_BYTES_MAX: u64 = 5 * 1024 * 1024;

#[test]
fn both_streams_with_the_last_line_whole_or_not() {
    let script =
        "echo out; echo err >&2; printf 'tab\\there\\r\\n'; printf '\\0\\377\\n'; echo; printf end";
    let mut held = Job::new(script).start();
    held.end();
    let record = |stream: &str, text: &[u8]| (stream.to_owned(), "F".to_owned(), text.to_vec());
    let (stdout, stderr): (Vec<_>, Vec<_>) =
        held.records().into_iter().partition(|(stream, _, _)| stream == "stdout");
    let texts: [&[u8]; 5] = [b"out", b"tab\there\r", b"\0\xff", b"", b"end"];
    assert_eq!(stdout, texts.map(|text| record("stdout", text)));
    assert_eq!(stderr, [record("stderr", b"err")]);
}

#[test]
fn a_long_line_is_kept_in_parts() {
    let mut held = Job::new("head -c 40000 /dev/zero | tr '\\0' x; echo; echo next").start();
    held.end();
    let shape: Vec<(String, usize)> =
        held.records().into_iter().map(|(_, tag, text)| (tag, text.len())).collect();
    let parts = |tag: &str, len| (tag.to_owned(), len);
    let expected = [parts("P", 16384), parts("P", 16384), parts("F", 7232), parts("F", 4)];
    assert_eq!(shape, expected);
}

#[test]
fn rotation_loses_no_line() {
    // About 17 MiB with the records' prefixes: four files, and nothing that had to go.
    let count = 120_000;
    let mut held = Job::new(&format!("seq -f 'line %.0f {}' 1 {count}", "x".repeat(80))).start();
    held.end();
    let files = held.files();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= FILE_BYTES_MAX);
    }
    let lines = held.lines();
    assert_eq!(lines.len(), count);
    for (at, line) in lines.iter().enumerate() {
        let number = line.split(' ').nth(1).unwrap();
        assert_eq!(number, (at + 1).to_string());
    }
}

#[test]
fn a_flood_is_bounded_on_disk_and_in_memory() {
    let mut held = Job::new("yes flood").start();
    let holder = held.holder();
    eventually("four files", || held.files().len() == 4);
    let status = fs::read_to_string(format!("/proc/{holder}/status")).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    // Its own memory and the pages of the binary that it shares.
    assert!(peak_kib < 16 * 1024, "{peak}");
    held.signal(Signal::SIGTERM);
    held.end();
    let sizes: Vec<u64> = held.files().iter().map(|it| fs::metadata(it).unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size <= FILE_BYTES_MAX), "{sizes:?}");
    assert!(held.lines().iter().all(|line| line == "flood"), "no line is torn");
}

#[test]
fn another_run_goes_on_in_the_same_files() {
    let mut first = Job::new("echo first").start();
    first.end();
    let mut second = Job::new("echo second").start_in(first.root().to_owned());
    second.end();
    assert_eq!(second.lines(), ["first", "second"]);
}
