//! Deadlines: who is too slow is told, or cut.

use std::time::{Duration, Instant};

use super::harness::{Harness, Instance, error_code};
use crate::balancer::stats::Cause;
use crate::msgs::{FromLoop, ToLoop};

#[test]
fn a_slow_instance_is_504_and_not_tried_elsewhere() {
    let web = Instance::new(|conn| {
        conn.request();
        conn.is_closed();
    });
    let lb = Harness::quick(&[web.address, web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, error_code(&answer)), (504, Some("upstream_timeout")));
    assert!(answer.keeps_alive);
    lb.counts("web", Cause::Timeout, 1);
}

#[test]
fn an_answer_that_stalls_is_cut() {
    let web = Instance::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel");
        conn.is_closed();
    });
    let lb = Harness::quick(&[web.address]);
    let answer = lb.get("web", "/");
    assert_eq!((answer.status, answer.is_whole, answer.text()), (200, false, "hel"));
    lb.counts("web", Cause::Timeout, 1);
}

#[test]
fn an_answer_that_drips_is_not() {
    let web = Instance::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
        for _ in 0..8 {
            conn.hears_nothing_for(Duration::from_millis(120));
            conn.send("x");
        }
    });
    let lb = Harness::quick(&[web.address]);
    assert_eq!(lb.get("web", "/").text(), "xxxxxxxx");
}

#[test]
fn a_dripping_head_is_told_408_and_a_silent_connection_is_closed() {
    let web = Instance::named("web");
    let lb = Harness::quick(&[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n");
    let start = Instant::now();
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut room = [0; 1000];
    let count = loop {
        match std::io::Read::read(&mut client.stream, &mut room) {
            Ok(count) => break count,
            Err(_) => client.send("X-A: b\r\n"),
        }
        assert!(start.elapsed() < super::harness::PATIENCE, "bytes do not buy time");
    };
    assert!(room[..count].starts_with(b"HTTP/1.1 408 "));
    assert!(lb.client().is_closed(), "silent from the start");
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    client.answer();
    assert!(client.is_closed(), "idle after its answer");
}

#[test]
fn a_body_that_stalls_is_told_408() {
    let web = Instance::named("web");
    let lb = Harness::quick(&[web.address]);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 9\r\n\r\nhel");
    let answer = client.answer();
    assert_eq!((answer.status, error_code(&answer)), (408, Some("request_timeout")));
    assert!(!answer.keeps_alive && client.is_closed());
    assert!(web.seen().is_empty());
    lb.counts("web", Cause::Timeout, 1);
}

#[test]
fn a_reader_that_takes_nothing_is_dropped() {
    let body = vec![0; 16 << 20];
    let web = Instance::new(move |conn| {
        conn.request();
        conn.ok(&body);
    });
    let lb = Harness::quick(&[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    lb.counts("web", Cause::ClientGone, 1);
    while client.read() {
        client.unread.clear();
    }
}

#[test]
fn a_connection_that_is_never_made_is_given_up() {
    // A queue of one that is full: the kernel drops further handshakes, as a dead machine would.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
    {
        waiting.push(stream);
    }
    let web = Instance::named("web");
    let lb = Harness::quick(&[address, web.address]);
    let start = Instant::now();
    for _ in 0..10 {
        let mut client = lb.client();
        client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.answer().text(), "web");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(lb.totals("web").of(Cause::AnsweredAfterRetry) >= 1);
}

/// An instance on a host of its own that takes requests and answers when it is told to.
fn slow_host() -> (Instance, std::sync::mpsc::Sender<()>) {
    let (answer, told) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let instance = Instance::on(listener, move |conn| {
        while conn.request().is_some() {
            let _ = told.lock().unwrap().recv();
            conn.ok("slow");
        }
    });
    (instance, answer)
}

#[test]
fn a_slow_host_is_left_alone_where_its_agent_is_there_and_left_where_it_is_not() {
    let (slow, answer) = slow_host();
    let quick = Instance::named("quick");
    let mut lb = Harness::new();
    lb.serve("web", &[slow.address]);
    let host = slow.address.ip();

    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(lb.doubt(), host);
    lb.tell(ToLoop::Heard { host, is_there: true });
    assert_eq!(lb.doubt(), host, "asked again while it waits");
    lb.tell(ToLoop::Heard { host, is_there: true });
    answer.send(()).unwrap();
    assert_eq!(client.answer().text(), "slow");
    assert!(lb.has_no_report(), "it was slow, no more");

    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(lb.doubt(), host);
    lb.serve("web", &[slow.address, quick.address]);
    lb.tell(ToLoop::Heard { host, is_there: false });
    assert_eq!(client.answer().text(), "quick");
    assert_eq!(lb.report(), FromLoop::Silent { lb: 0, host, moved: 1 });
    drop(answer);
}
