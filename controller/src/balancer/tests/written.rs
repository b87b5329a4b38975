//! What the access log says of requests, beside what their clients saw.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tucano_common::id::InstanceId;
use tucano_controller_core::balancer::table::Duty;

use super::harness::{Harness, Instance, endpoint, nowhere, quick_timeouts};
use crate::balancer::{AccessLog, Config};

/// An access log in a file of its own.
pub(super) struct Written {
    path: PathBuf,
    log: AccessLog,
    writer: JoinHandle<()>,
}

impl Written {
    pub(super) fn new(name: &str) -> Written {
        let name = format!("tucano-written-{name}-{}.log", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let (log, writer) = AccessLog::open(&path, 1).unwrap();
        Written { path, log, writer: std::thread::spawn(move || writer.run()) }
    }

    pub(super) fn log(&self, config: &mut Config) {
        config.access_log = Some(self.log.clone());
    }

    /// Stops the loop; then every line is there.
    pub(super) fn lines(self, lb: &mut Harness) -> Vec<Value> {
        lb.stop(Duration::from_secs(5));
        while !self.log.stop() {
            std::thread::yield_now();
        }
        self.writer.join().unwrap();
        let text = std::fs::read_to_string(&self.path).unwrap();
        std::fs::remove_file(&self.path).unwrap();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        text.lines().map(line).collect()
    }
}

fn start(name: &str) -> (Written, Harness) {
    let written = Written::new(name);
    let lb = Harness::with(|config| {
        config.timeouts = quick_timeouts();
        written.log(config);
    });
    (written, lb)
}

/// The values of these fields, as JSON.
fn of(line: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| line[*name].clone()).collect()
}

const WHAT: &[&str] = &["method", "path", "service", "revision", "instance", "status", "tries"];

#[test]
fn an_answer_is_written_with_where_its_time_went() {
    let web = Instance::new(|conn| {
        while let Some(request) = conn.request() {
            if request.head.contains("/slow") {
                conn.hears_nothing_for(Duration::from_millis(50));
            }
            conn.ok("hello");
        }
    });
    let (written, mut lb) = start("answer");
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET /a?token=secret HTTP/1.1\r\nHost: WEB\r\nX-Request-Id: mine\r\n\r\n");
    let first = client.answer();
    client.send("POST /slow HTTP/1.1\r\nHost: web:80\r\nContent-Length: 2\r\n\r\nhi");
    let second = client.answer();
    let lines = written.lines(&mut lb);
    let id = InstanceId(1).to_string();
    let expected = serde_json::json!(["GET", "/a", "web", 1, id, 200, 1]);
    assert_eq!(of(&lines[0], WHAT), expected);
    assert_eq!(
        of(&lines[0], &["request_id", "host", "error"]),
        serde_json::json!(["mine", "WEB", null])
    );
    assert_eq!(of(&lines[1], WHAT), serde_json::json!(["POST", "/slow", "web", 1, id, 200, 1]));
    assert_eq!(lines[1]["request_id"].as_str().unwrap().len(), 16, "{}", lines[1]);
    for (line, answer) in lines.iter().zip([&first, &second]) {
        assert_eq!(line["bytes"], answer.head.len() + answer.body.len(), "{line}");
        assert_eq!(of(line, &["client", "cause"]), serde_json::json!(["127.0.0.1", "answered"]));
        let time = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
        let parts = time("queued_ms") + time("connect_ms") + time("first_byte_ms");
        assert!(parts <= time("total_ms") + 0.01, "{line}");
    }
    assert!(lines[1]["first_byte_ms"].as_f64().unwrap() >= 45.0, "{}", lines[1]);
    assert_eq!(lines.len(), 2);
}

#[test]
fn what_is_refused_is_written_with_its_cause() {
    let (written, mut lb) = start("refused");
    lb.serve("web", &[]);
    lb.serve("gone", &[nowhere()]);
    lb.get("nobody", "/nobody?a=b");
    lb.get("web", "/empty");
    lb.get("gone", "/gone");
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    let mut client = lb.client();
    client.send("GET /half HTTP/1.1\r\nHos");
    assert_eq!(client.answer().status, 408);
    let lines = written.lines(&mut lb);
    let got: Vec<Value> = lines
        .iter()
        .map(|line| of(line, &["path", "service", "status", "error", "cause"]))
        .collect();
    let gone = InstanceId(101).to_string();
    let expected = [
        serde_json::json!(["/nobody", null, 404, "no_service", "no_service"]),
        serde_json::json!(["/empty", "web", 503, "no_instance", "no_service"]),
        serde_json::json!(["/gone", "gone", 502, "upstream_failed", "upstream_failed"]),
        serde_json::json!([null, null, 400, "bad_request", "bad_request"]),
        serde_json::json!([null, null, 408, "request_timeout", "timeout"]),
    ];
    assert_eq!(got, expected);
    assert_eq!(of(&lines[2], &["instance", "connect_ms"]), serde_json::json!([gone, null]));
    assert!(lines.iter().all(|line| line["bytes"].as_u64().unwrap() > 100), "{lines:?}");
}

#[test]
fn retries_and_broken_answers_say_so() {
    let broken = Instance::new(|conn| {
        if let Some(request) = conn.request() {
            // Nothing to a GET; half an answer to a POST.
            if request.head.starts_with("POST") {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
            }
        }
    });
    let web = Instance::named("web");
    let (written, mut lb) = start("broken");
    lb.change("web", |route| {
        let mut spare = endpoint(2, web.address);
        (spare.duty, spare.revision) = (Duty::LastResort, 7);
        route.endpoints = vec![endpoint(1, broken.address), spare];
    });
    assert_eq!(lb.get("web", "/retried").text(), "web");
    let mut client = lb.client();
    client.send("POST /broken HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
    let answer = client.answer();
    assert!(!answer.is_whole);
    let mut client = lb.client();
    client.send("POST /left HTTP/1.1\r\nHost: web\r\nContent-Length: 20\r\n\r\nhi");
    drop(client);
    lb.counts("web", crate::balancer::stats::Cause::ClientGone, 1);
    let lines = written.lines(&mut lb);
    let ids = [InstanceId(1).to_string(), InstanceId(2).to_string()];
    let what = &["path", "instance", "revision", "status", "tries", "cause"];
    let got: Vec<Value> = lines.iter().map(|line| of(line, what)).collect();
    let expected = [
        serde_json::json!(["/retried", ids[1], 7, 200, 2, "answered_after_retry"]),
        serde_json::json!(["/broken", ids[0], 1, 200, 1, "upstream_failed"]),
        serde_json::json!(["/left", ids[0], 1, null, 1, "client_gone"]),
    ];
    assert_eq!(got, expected);
    let bytes = answer.head.len() + answer.body.len();
    assert_eq!(lines[1]["bytes"], bytes, "{}", lines[1]);
}

#[test]
fn every_byte_of_a_long_answer_to_a_slow_reader_is_counted() {
    // Of no told length, so that the balancer makes chunks of it; read slowly, so that it waits.
    let web = Instance::new(|conn| {
        if conn.request().is_some() {
            conn.send([&b"HTTP/1.0 200 OK\r\n\r\n"[..], &vec![b'x'; 3_000_000]].concat());
        }
    });
    let written = Written::new("slow");
    let mut lb = Harness::with(|config| written.log(config));
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let mut count = 0;
    let mut room = vec![0; 3000];
    let mut last = Vec::new();
    while !last.ends_with(b"0\r\n\r\n") {
        let read = std::io::Read::read(&mut client.stream, &mut room).unwrap();
        assert!(read > 0, "it broke off");
        count += read;
        last.extend_from_slice(&room[..read]);
        last.drain(..last.len().saturating_sub(5));
    }
    let lines = written.lines(&mut lb);
    assert_eq!(lines[0]["bytes"], count, "{}", lines[0]);
    assert!(count > 3_000_000);
}

#[test]
fn behind_trusted_proxies_the_client_is_the_one_that_they_name() {
    let web = Instance::named("web");
    let written = Written::new("proxies");
    let mut lb = Harness::with(|config| {
        config.trusted = vec![("127.0.0.1".parse().unwrap(), 32), ("10.0.0.0".parse().unwrap(), 8)];
        written.log(config);
    });
    lb.serve("web", &[web.address]);
    let cases = [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
        // Whatever stands before the first that is none of theirs, the client may have made up.
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.2 ,10.1.2.3\r\n", "192.0.2.2"),
        ("X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-For: 10.1.2.3\r\n", "2001:db8::1"),
        ("X-Forwarded-For: unknown, 10.1.2.3\r\n", "10.1.2.3"),
        ("X-Forwarded-For: 10.9.9.9\r\n", "10.9.9.9"),
    ];
    for (fields, _) in cases {
        let mut client = lb.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n"));
        assert_eq!(client.answer().status, 200);
    }
    let lines = written.lines(&mut lb);
    let clients: Vec<&Value> = lines.iter().map(|line| &line["client"]).collect();
    assert_eq!(clients, cases.map(|(_, client)| client));
}
