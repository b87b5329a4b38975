//! Output over real connections, with the test in the agents' place.

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};

use super::*;
use crate::msgs::LogTarget;

const A: InstanceId = InstanceId(1 << 40);
const B: InstanceId = InstanceId(2 << 40);

/// An agent that the test speaks for.
struct Agent {
    listener: TcpListener,
}

impl Agent {
    fn new() -> Agent {
        Agent { listener: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }

    fn target(&self, instance: InstanceId, ended: bool) -> LogTarget {
        LogTarget {
            instance,
            service: ServiceName::new("web").expect("a name"),
            worker: WorkerName::new("w1").expect("a name"),
            agent: Some(self.listener.local_addr().expect("an address")),
            ended,
        }
    }

    /// The next request of the API: its head, and the connection to answer on.
    fn request(&self) -> (String, Client) {
        let (stream, _) = self.listener.accept().expect("the API connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut client = Client { stream, rest: Vec::new() };
        while find(&client.rest, b"\r\n\r\n").is_none() {
            assert!(client.more(), "a request comes");
        }
        let head = String::from_utf8(std::mem::take(&mut client.rest)).expect("a text");
        (head, client)
    }
}

impl Client {
    fn whole(&mut self, status: &str, text: &str) {
        let len = text.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n{text}");
        self.write(head.as_bytes());
    }

    fn begin_chunks(&mut self) {
        self.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    fn send_chunk(&mut self, text: &str) {
        self.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
    }

    fn end_chunks(&mut self) {
        self.write(b"0\r\n\r\n");
    }
}

fn line(second: u32, text: &str) -> String {
    format!("2026-01-31T03:12:{second:02}.000Z stdout {text}\n")
}

fn asked(rig: &Rig) -> Ticket {
    match rig.query() {
        (ticket, Query::ServiceLogs(name)) => {
            assert_eq!(name.as_str(), "web");
            ticket
        }
        other => panic!("no question for logs: {other:?}"),
    }
}

#[test]
fn two_instances_are_merged_by_time_and_named() {
    let rig = Rig::new();
    let (one, two) = (Agent::new(), Agent::new());
    let mut client = rig.client();
    client.send("GET", "/v1/services/web/logs?tail=7", &[], b"");
    let targets = vec![one.target(A, false), two.target(B, true)];
    rig.answer(asked(&rig), Reply::LogTargets(targets));
    let (head, mut first) = one.request();
    let path = format!("GET /v1/instances/{A}/logs?tail=7&follow=false HTTP/1.1\r\n");
    assert!(head.starts_with(&path), "{head}");
    assert!(!head.to_ascii_lowercase().contains("authorization"));
    let (_, mut second) = two.request();
    second.whole("200 OK", &[line(2, "two"), line(3, "esc\u{1b}[31m")].concat());
    first.whole("200 OK", &[line(1, "one"), line(4, "four")].concat());
    let got = client.answer();
    assert_eq!(got.status, 200);
    assert!(got.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let expected = [
        format!("{A} {}", line(1, "one")),
        format!("{B} {}", line(2, "two")),
        format!("{B} {}", line(3, "esc\\x1b[31m")),
        format!("{A} {}", line(4, "four")),
    ];
    assert_eq!(got.text(), expected.concat());
}

#[test]
fn one_instance_is_shown_as_it_is_and_the_agent_sees_the_join_token() {
    let rig = Rig::with_tokens();
    let agent = Agent::new();
    let mut client = rig.client();
    let token = format!("Bearer {ADMIN}");
    let target = format!("/v1/instances/{A}/logs?since=1h");
    client.send("GET", &target, &[("Authorization", &token)], b"");
    let (ticket, query) = rig.query();
    assert_eq!(query, Query::InstanceLogs(A));
    rig.answer(ticket, Reply::LogTargets(vec![agent.target(A, true)]));
    let (head, mut connection) = agent.request();
    assert!(head.contains("&since=20"), "{head}");
    assert!(head.contains(&format!("Bearer {JOIN}\r\n")) && !head.contains(ADMIN), "{head}");
    connection.whole("200 OK", &line(1, "one"));
    assert_eq!(client.answer().text(), line(1, "one"));
}

#[test]
fn an_agent_that_is_away_is_said_so_and_the_others_are_shown() {
    let rig = Rig::new();
    let agent = Agent::new();
    let gone = Agent::new().target(B, false);
    let mut client = rig.client();
    client.send("GET", "/v1/services/web/logs", &[], b"");
    rig.answer(asked(&rig), Reply::LogTargets(vec![agent.target(A, true), gone.clone()]));
    let (_, mut connection) = agent.request();
    connection.whole("200 OK", &line(1, "one"));
    let text = client.answer().text();
    assert!(text.contains(&format!("{A} {}", line(1, "one"))), "{text}");

    client.send("GET", "/v1/services/web/logs", &[], b"");
    let unknown = LogTarget { agent: None, ..gone.clone() };
    rig.answer(asked(&rig), Reply::LogTargets(vec![gone, LogTarget { instance: A, ..unknown }]));
    let got = client.answer();
    assert_eq!(got.status, 502);
    let detail = got.json()["detail"].as_str().map(str::to_owned).expect("a detail");
    assert!(detail.contains(&B.to_string()) && detail.contains("w1"), "{detail}");
}

#[test]
fn nothing_to_show_is_an_empty_answer_and_a_refusal_is_told() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/services/web/logs", &[], b"");
    rig.answer(asked(&rig), Reply::LogTargets(Vec::new()));
    let got = client.answer();
    assert_eq!((got.status, got.text().as_str()), (200, ""));
    client.send("GET", "/v1/services/web/logs", &[], b"");
    rig.refuse(asked(&rig), 404);
    assert_eq!(client.answer().status, 404);
}

#[test]
fn following_shows_lines_as_they_come_and_ends_with_the_instances() {
    let rig = Rig::new();
    let agent = Agent::new();
    let mut client = rig.client();
    client.send("GET", "/v1/services/web/logs?follow=true&tail=0", &[], b"");
    rig.answer(asked(&rig), Reply::LogTargets(vec![agent.target(A, false)]));
    let (head, mut connection) = agent.request();
    assert!(head.contains("tail=0&follow=true"), "{head}");
    assert_eq!(client.head().status, 200, "the answer begins before there is a line");
    connection.begin_chunks();
    for second in 0..3 {
        connection.send_chunk(&line(second, "here"));
        assert_eq!(client.lines(1), [format!("{A} {}", line(second, "here").trim_end())]);
    }
    // The next refresh brings a second instance, and says that the first has ended.
    let targets = vec![agent.target(A, true), agent.target(B, false)];
    rig.answer(asked(&rig), Reply::LogTargets(targets));
    let (head, mut other) = agent.request();
    assert!(head.contains(&B.to_string()), "{head}");
    other.begin_chunks();
    other.send_chunk(&line(9, "second"));
    assert_eq!(client.lines(1), [format!("{B} {}", line(9, "second").trim_end())]);
    connection.end_chunks();
    rig.answer(asked(&rig), Reply::LogTargets(vec![agent.target(B, true)]));
    other.end_chunks();
    assert_eq!(client.chunk(), None);
}

#[test]
fn a_follower_that_lost_its_agent_goes_on_where_it_was() {
    let rig = Rig::new();
    let agent = Agent::new();
    let mut client = rig.client();
    client.send("GET", "/v1/services/web/logs?follow", &[], b"");
    rig.answer(asked(&rig), Reply::LogTargets(vec![agent.target(A, false)]));
    let (_, mut connection) = agent.request();
    connection.begin_chunks();
    connection.send_chunk(&line(1, "one"));
    assert_eq!(client.head().status, 200);
    client.lines(1);
    drop(connection);
    rig.answer(asked(&rig), Reply::LogTargets(vec![agent.target(A, false)]));
    let (head, mut connection) = agent.request();
    assert!(head.contains("&since=2026-01-31T03%3A12%3A01.000Z"), "{head}");
    connection.begin_chunks();
    connection.send_chunk(&[line(1, "one"), line(2, "two")].concat());
    loop {
        let found = client.lines(1);
        if found.iter().any(|line| line.contains("can't be shown")) {
            continue; // the break is told
        }
        assert_eq!(found, [format!("{A} {}", line(2, "two").trim_end())]);
        break;
    }
}

#[test]
fn who_leaves_takes_its_calls_along() {
    let rig = Rig::new();
    let agent = Agent::new();
    let mut client = rig.client();
    client.send("GET", "/v1/services/web/logs?follow", &[], b"");
    rig.answer(asked(&rig), Reply::LogTargets(vec![agent.target(A, false)]));
    let (_, mut connection) = agent.request();
    connection.begin_chunks();
    assert_eq!(client.head().status, 200);
    drop(client);
    assert!(connection.is_closed());
}

#[test]
fn a_reader_that_does_not_read_slows_the_agent_down() {
    let rig = Rig::new();
    let agent = Agent::new();
    let mut client = rig.client();
    client.send("GET", "/v1/services/web/logs", &[], b"");
    rig.answer(asked(&rig), Reply::LogTargets(vec![agent.target(A, true)]));
    let (_, mut connection) = agent.request();
    connection.begin_chunks();
    let text = line(1, &"x".repeat(1000)).repeat(64);
    let blocked = std::time::Duration::from_millis(500);
    connection.stream.set_write_timeout(Some(blocked)).expect("a timeout");
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    let mut sent = 0;
    let mut at = 0;
    while let Ok(written) = connection.stream.write(&chunk.as_bytes()[at..]) {
        sent += written;
        at = (at + written) % chunk.len();
        assert!(sent < 256 * 1024 * 1024, "everything is taken and kept");
    }
    connection.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(client.head().status, 200);
    let reader = std::thread::spawn(move || {
        let mut lines = 0;
        while let Some(chunk) = client.chunk() {
            lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        }
        lines
    });
    let chunks = sent.div_ceil(chunk.len());
    if at > 0 {
        connection.write(&chunk.as_bytes()[at..]);
    }
    connection.end_chunks();
    assert_eq!(reader.join().expect("it reads"), 64 * chunks);
}
