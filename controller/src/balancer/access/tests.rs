//! Lines, sampling, and a writer that is behind, stopped, or given a full disk.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::{ACCESS_LOG_PATH_BYTES_MAX, ACCESS_LOG_PENDING_BYTES_MAX};
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;

use super::super::stats::Cause;
use super::line::{Asked, Outcome, Took};
use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("tucano-access-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn outcome(cause: Cause, status: u16) -> Outcome<'static> {
    let took = Took::default();
    let (service, instance) = (None, None);
    Outcome { service, instance, status, sent_bytes: 0, tries: 1, cause, took }
}

fn line_of(asked: &Asked<'_>, outcome: &Outcome<'_>) -> serde_json::Value {
    let mut out = Vec::new();
    Noted::new(CLIENT, asked).write(Wall(1_000), outcome, &mut out);
    assert!(out.ends_with(b"\n") && out.iter().filter(|byte| **byte == b'\n').count() == 1);
    assert!(out.is_ascii(), "{}", out.escape_ascii());
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()))
}

fn request(tap: &mut Tap, path: &[u8], outcome: &Outcome<'_>) {
    let noted = Noted::new(CLIENT, &Asked { target: path, ..Asked::default() });
    tap.end(&noted, Wall(0), outcome);
}

fn paths(text: &str) -> Vec<String> {
    let path = |line: &str| -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(value["path"].as_str()?.to_owned())
    };
    text.lines().map(|line| path(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

#[test]
fn a_line_says_all_there_is() {
    let name = ServiceName::new("web").unwrap();
    let took = Took {
        queued: Duration::from_micros(12),
        connect: Some(Duration::ZERO),
        first_byte: Some(Duration::from_micros(1_234_567)),
        total: Duration::from_millis(1_300),
    };
    let outcome = Outcome {
        service: Some((&name, 3)),
        instance: Some(InstanceId(7)),
        status: 200,
        sent_bytes: 1234,
        tries: 2,
        cause: Cause::AnsweredAfterRetry,
        took,
    };
    let asked = Asked {
        request_id: b"abc\"\\",
        method: b"GET",
        host: b"web.example.lan:8080",
        target: b"/a/b?token=secret",
    };
    let expected = serde_json::json!({
        "at": "1969-12-31T23:59:59.700Z",
        "request_id": "abc\"\\",
        "client": "192.0.2.7",
        "method": "GET",
        "host": "web.example.lan:8080",
        "path": "/a/b",
        "service": "web",
        "revision": 3,
        "instance": InstanceId(7).to_string(),
        "status": 200,
        "error": null,
        "bytes": 1234,
        "queued_ms": 0.012,
        "connect_ms": 0.0,
        "first_byte_ms": 1234.567,
        "total_ms": 1300.0,
        "tries": 2,
        "cause": "answered_after_retry",
    });
    assert_eq!(line_of(&asked, &outcome), expected);
    let mut noted = Noted::new(CLIENT, &Asked::default());
    noted.error = Some("bad_request");
    let mut out = Vec::new();
    noted.write(Wall(0), &self::outcome(Cause::BadRequest, 0), &mut out);
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    for name in ["request_id", "method", "host", "path", "service", "revision", "instance"] {
        assert!(line[name].is_null(), "{line}");
    }
    assert!(line["status"].is_null() && line["connect_ms"].is_null(), "{line}");
    assert_eq!((&line["error"], &line["cause"]), (&"bad_request".into(), &"bad_request".into()));
}

#[test]
fn any_byte_of_a_client_leaves_one_line_of_plain_json() {
    let outcome = outcome(Cause::Answered, 200);
    for byte in 0..=u8::MAX {
        let text = [b'/', byte, b'x'];
        let asked = Asked { request_id: &text, method: &text, host: &text, target: &text };
        let line = line_of(&asked, &outcome);
        let expected = match byte {
            b' '..=b'~' => format!("/{}x", char::from(byte)),
            other => format!("/%{other:02X}x"),
        };
        assert_eq!((&line["host"], &line["method"]), (&line["request_id"], &line["host"]));
        assert_eq!(line["host"], expected);
        assert_eq!(line["path"], if byte == b'?' { "/" } else { &expected });
    }
    let long = [&b"/"[..], &[b'"'; 2 * ACCESS_LOG_PATH_BYTES_MAX]].concat();
    let line = line_of(&Asked { target: &long, ..Asked::default() }, &outcome);
    let path = line["path"].as_str().unwrap();
    assert!(path.ends_with("\"...") && path.len() == ACCESS_LOG_PATH_BYTES_MAX + 3, "{path}");
}

#[test]
fn of_what_went_well_one_of_so_many_is_kept_and_all_else() {
    let folder = Folder::new("sample");
    let path = folder.file("access.log");
    let (log, writer) = AccessLog::open(&path, 10).unwrap();
    let mut tap = log.tap();
    for number in 0..100 {
        let well = format!("/well/{number}");
        request(&mut tap, well.as_bytes(), &outcome(Cause::Answered, 404));
    }
    for cause in Cause::ALL {
        request(&mut tap, b"/bad", &outcome(cause, 500));
    }
    request(&mut tap, b"/retried", &outcome(Cause::AnsweredAfterRetry, 200));
    tap.hand_over_all();
    assert!(log.stop());
    writer.run();
    let paths = paths(&fs::read_to_string(&path).unwrap());
    let well: Vec<&String> = paths.iter().filter(|path| path.starts_with("/well/")).collect();
    let expected: Vec<String> = (0..10).map(|ten| format!("/well/{}", ten * 10)).collect();
    assert_eq!(well, expected.iter().collect::<Vec<_>>(), "the first of each ten");
    assert_eq!(paths.len(), 10 + Cause::ALL.len() + 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut text = TextWriter::new();
    log.write(&mut text);
    assert!(text.finish().contains("tucano_access_log_lines_total 19\n"));
}

#[test]
fn a_writer_that_is_behind_costs_lines_and_no_memory() {
    let folder = Folder::new("behind");
    let path = folder.file("access.log");
    let (log, writer) = AccessLog::open(&path, 1).unwrap();
    let mut tap = log.tap();
    let mut told = 0_u64;
    for _ in 0..40 {
        for _ in 0..100 {
            request(&mut tap, &[b'/'; 1000], &outcome(Cause::Answered, 200));
            told += 1;
        }
        assert!(tap.hand_over());
    }
    for _ in 0..4000 {
        // One turn with more than a buffer holds.
        request(&mut tap, &[b'/'; 1000], &outcome(Cause::Answered, 200));
        told += 1;
    }
    tap.hand_over_all();
    let waiting: usize =
        log.0.ways.lock().unwrap().iter().map(|way| way.lock().unwrap().len()).sum();
    assert!((1..=ACCESS_LOG_PENDING_BYTES_MAX).contains(&waiting), "{waiting}");
    assert!(log.stop());
    writer.run();
    let lines = fs::read_to_string(&path).unwrap().lines().count() as u64;
    let counts = &log.0.counts;
    assert_eq!((counts.written.get(), counts.failed.get()), (lines, 0));
    assert_eq!(counts.written.get() + counts.behind.get(), told);
}

#[test]
fn a_renamed_file_keeps_its_lines_and_the_next_ones_go_into_a_new_one() {
    let folder = Folder::new("reopen");
    let path = folder.file("access.log");
    fs::write(&path, "{\"path\":\"/before\"}\n").unwrap();
    let (log, writer) = AccessLog::open(&path, 1).unwrap();
    let mut tap = log.tap();
    let writer = std::thread::spawn(move || writer.run());
    request(&mut tap, b"/1", &outcome(Cause::Answered, 200));
    tap.hand_over_all();
    fs::rename(&path, folder.file("access.log.1")).unwrap();
    log.reopen();
    // The new file is there when the order was obeyed.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !path.exists() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    request(&mut tap, b"/2", &outcome(Cause::Answered, 200));
    tap.hand_over_all();
    while !log.stop() {
        std::thread::yield_now();
    }
    writer.join().unwrap();
    let read = |name| paths(&fs::read_to_string(folder.file(name)).unwrap());
    assert_eq!(read("access.log.1"), ["/before", "/1"], "it is appended to");
    assert_eq!(read("access.log"), ["/2"]);
}

#[test]
fn a_new_file_that_cannot_be_opened_leaves_the_old_one_in_use() {
    let folder = Folder::new("gone");
    fs::create_dir_all(folder.file("logs")).unwrap();
    let (log, writer) = AccessLog::open(&folder.file("logs/access.log"), 1).unwrap();
    fs::rename(folder.file("logs"), folder.file("moved")).unwrap();
    let mut tap = log.tap();
    log.reopen();
    request(&mut tap, b"/kept", &outcome(Cause::Answered, 200));
    tap.hand_over_all();
    assert!(log.stop());
    writer.run();
    let text = fs::read_to_string(folder.file("moved/access.log")).unwrap();
    assert_eq!(paths(&text), ["/kept"]);
    assert!(AccessLog::open(&folder.file("nowhere/access.log"), 1).is_err());
}

#[test]
fn a_disk_that_takes_nothing_costs_the_lines_and_nothing_else() {
    let (log, writer) = AccessLog::open(std::path::Path::new("/dev/full"), 1).unwrap();
    let mut tap = log.tap();
    (0..5).for_each(|_| request(&mut tap, b"/", &outcome(Cause::Answered, 200)));
    tap.hand_over_all();
    assert!(log.stop());
    writer.run();
    let counts = &log.0.counts;
    let counts = (counts.written.get(), counts.failed.get(), counts.behind.get());
    assert_eq!(counts, (0, 5, 0));
}

#[test]
fn half_a_line_is_taken_back() {
    let folder = Folder::new("torn");
    let path = folder.file("access.log");
    fs::write(&path, "{\"path\":\"/1\"}\n{\"pa").unwrap();
    let (_log, mut writer) = AccessLog::open(&path, 1).unwrap();
    writer.cut(4);
    writer.write(b"{\"path\":\"/2\"}\n");
    assert_eq!(paths(&fs::read_to_string(&path).unwrap()), ["/1", "/2"]);
}
