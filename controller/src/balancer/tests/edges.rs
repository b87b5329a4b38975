//! The edges of the promises: limits to the byte, ends in every phase, and what sides say that they
//! were not asked for.

use std::io::{Read, Write};
use std::time::Duration;

use super::harness::{Harness, Instance, PATIENCE, error_code};
use crate::balancer::stats::Cause;
use tucano_common::http1::{Body, Method};
use tucano_common::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, TARGET_BYTES_MAX};

/// Answers every request of a connection with these bytes.
pub(super) fn saying(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Instance {
    Instance::new(move |conn| {
        while conn.request().is_some() {
            conn.send(&answer);
        }
    })
}

pub(super) fn with(instance: &Instance) -> Harness {
    let mut lb = Harness::new();
    lb.serve("web", &[instance.address]);
    lb
}

/// A head of exactly so many bytes and fields.
fn head(bytes: usize, fields: usize) -> String {
    let mut head = "GET / HTTP/1.1\r\nHost: web\r\n".to_owned();
    head += &"A: b\r\n".repeat(fields - 2);
    let room = bytes - head.len() - "Pad: \r\n\r\n".len();
    head + &format!("Pad: {}\r\n\r\n", "x".repeat(room))
}

#[test]
fn limits_are_exact_and_what_fits_passes_whole() {
    // It has no limits of its own: what it gets is longer by what the balancer adds.
    let web = Instance::new(|conn| {
        let mut head = Vec::new();
        let mut room = [0; 65536];
        while let Ok(count @ 1..) = conn.stream.read(&mut room) {
            head.extend_from_slice(&room[..count]);
            if head.ends_with(b"\r\n\r\n") {
                conn.ok(head.len().to_string());
                head.clear();
            }
        }
    });
    let lb = with(&web);
    for (request, status) in [
        (head(HEAD_BYTES_MAX, 3), 200),
        (head(HEAD_BYTES_MAX + 1, 3), 431),
        (head(4096, HEAD_FIELDS_MAX), 200),
        (head(4096, HEAD_FIELDS_MAX + 1), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: web\r\n\r\n", "a".repeat(TARGET_BYTES_MAX - 1)), 200),
        (format!("GET /{} HTTP/1.1\r\nHost: web\r\n\r\n", "a".repeat(TARGET_BYTES_MAX)), 414),
    ] {
        let mut client = lb.client();
        client.send(&request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.keeps_alive), (status, status == 200));
        match status {
            200 => assert!(answer.text().parse::<usize>().unwrap() > request.len()),
            _ => assert!(client.is_closed()),
        }
    }
}

#[test]
fn an_answers_head_has_the_same_limits() {
    let answer = |bytes: usize| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nPad: \r\n\r\n";
        let pad = "x".repeat(bytes - head.len());
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nPad: {pad}\r\n\r\nok")
    };
    for (bytes, begin) in [(HEAD_BYTES_MAX, "HTTP/1.1 200 "), (HEAD_BYTES_MAX + 1, "HTTP/1.1 502 ")]
    {
        let web = saying(answer(bytes));
        let lb = with(&web);
        let mut client = lb.client();
        client.send("GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
        while client.read() {}
        let got = String::from_utf8_lossy(&client.unread).into_owned();
        assert!(got.starts_with(begin), "{bytes}: {}", &got[..60]);
        assert_eq!(got.len() > bytes && got.ends_with("\r\n\r\nok"), bytes == HEAD_BYTES_MAX);
    }
}

#[test]
fn what_is_pipelined_behind_a_close_reaches_nobody() {
    let web = Instance::named("web");
    let lb = with(&web);
    let mut client = lb.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: web\r\n\r\n\
         GET /2 HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n\
         DELETE /3 HTTP/1.1\r\nHost: web\r\n\r\n",
    );
    assert!(client.answer().keeps_alive && !client.answer().keeps_alive && client.is_closed());
    let mut old = lb.client();
    old.send("GET /4 HTTP/1.0\r\nHost: web\r\n\r\nDELETE /5 HTTP/1.0\r\nHost: web\r\n\r\n");
    assert!(!old.answer().keeps_alive && old.is_closed());
    assert!(web.seen().iter().all(|request| request.head.starts_with("GET ")));
    assert_eq!(web.seen().len(), 3);
}

#[test]
fn a_service_that_closes_after_each_answer_breaks_no_pipeline() {
    let web = Instance::new(|conn| {
        let path = conn.request().map(|it| it.head.split(' ').nth(1).unwrap().to_owned());
        let path = path.unwrap_or_default();
        let length = path.len();
        conn.send(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{path}"
        ));
    });
    let lb = with(&web);
    let mut client = lb.client();
    let all =
        (0..20).map(|n| format!("POST /{n} HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\nx"));
    client.send(all.collect::<String>());
    for n in 0..20 {
        let answer = client.answer();
        assert_eq!((answer.text(), answer.keeps_alive), (&*format!("/{n}"), true));
    }
}

#[test]
fn ends_of_a_client_in_every_phase_of_a_head_reach_nobody() {
    let web = Instance::named("web");
    let lb = with(&web);
    let request = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    for cut in [0, 1, 5, request.len() - 2, request.len() - 1] {
        let mut client = lb.client();
        client.send(&request[..cut]);
        client.half_close();
        // It may be told why, but not more.
        while client.read() {}
        let told = String::from_utf8_lossy(&client.unread).into_owned();
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 400 "), "{cut}: {told}");
    }
    assert!(web.seen().is_empty());
    // The same between two requests: the first is answered.
    let mut client = lb.client();
    client.send(request.to_owned() + "GET /half HTTP/1.1\r\nHo");
    client.half_close();
    assert_eq!(client.answer().text(), "web");
    while client.read() {}
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn a_client_that_shuts_its_side_while_the_answer_streams_has_all_of_it() {
    let (go, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let web = Instance::new(move |conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        conn.send("6\r\nsecond\r\n0\r\n\r\n");
    });
    let lb = with(&web);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    while !client.unread.ends_with(b"first\r\n") {
        assert!(client.read());
    }
    client.half_close();
    assert_eq!(lb.get("nobody", "/").status, 404, "it has been seen");
    go.send(()).unwrap();
    let answer = client.answer();
    assert_eq!((answer.text(), answer.is_whole), ("firstsecond", true));
}

#[test]
fn interim_answers_by_the_thousand_are_no_answer_and_old_clients_see_none() {
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(3000);
    let web = saying(flood + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let lb = with(&web);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let mut hints = 0;
        let (last, _) = loop {
            let (head, text) = client.head(Method::Get).expect("heads");
            if !head.is_interim() {
                break (head, text);
            }
            hints += 1;
        };
        assert_eq!((hints, last.status, last.body), (3000, 200, Body::Length(2)));
        while client.unread.len() < 2 {
            assert!(client.read());
        }
        assert_eq!(client.unread.drain(..).collect::<Vec<_>>(), b"ok");
    }
    let mut old = lb.client();
    old.send("GET / HTTP/1.0\r\nHost: web\r\n\r\n");
    let (head, _) = old.head(Method::Get).expect("a head");
    assert_eq!(head.status, 200, "HTTP/1.0 knows no interim answers");
}

#[test]
fn interim_answers_without_end_to_a_client_that_does_not_read_are_not_kept() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let web = Instance::new(move |conn| {
        conn.request();
        let some = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
        let mut sent = 0usize;
        conn.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        while sent < 1 << 30 && conn.stream.write_all(some.as_bytes()).is_ok() {
            sent += some.len();
        }
        tell.lock().unwrap().send(sent).unwrap();
    });
    let lb = Harness::quick(&[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let sent = told.recv_timeout(PATIENCE).expect("it is stopped");
    assert!(sent < 64 << 20, "{sent}");
}

#[test]
fn what_follows_an_answer_without_a_body_reaches_nobody() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    for (method, answer) in [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        let web = saying(format!("{answer}{EVIL}"));
        let lb = with(&web);
        let mut client = lb.client();
        for _ in 0..3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: web\r\n\r\n"));
            let way = if method == "HEAD" { Method::Head } else { Method::Get };
            let got = client.answer_to(way);
            let is_own = error_code(&got).is_some();
            assert!(is_own || answer.contains(&got.status.to_string()), "{answer}: {}", got.head);
            assert!(got.body.is_empty() && client.unread.is_empty(), "{answer}");
            let lengths = got.head.matches("Content-Length").count();
            assert!(got.status != 204 || lengths == 0, "{}", got.head);
        }
    }
}

#[test]
fn an_answer_until_close_that_is_reset_is_seen_to_break() {
    let web = Instance::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nhello");
        conn.hears_nothing_for(Duration::from_millis(50));
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let socket = &conn.stream;
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    });
    let lb = with(&web);
    let answer = lb.get("web", "/");
    assert_eq!((answer.status, answer.is_whole), (200, false), "no last chunk");
    lb.counts("web", Cause::UpstreamFailed, 1);
}

#[test]
fn a_service_that_does_not_read_stops_its_client_and_is_given_up() {
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let web = Instance::new(move |conn| {
        conn.head();
        // Nothing more is read until the test is over.
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
    });
    let lb = Harness::quick(&[web.address]);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 999999999999\r\n\r\n");
    client.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let piece = vec![0; 1 << 20];
    let mut sent = 0u64;
    while sent < 1 << 30 && client.stream.write_all(&piece).is_ok() {
        sent += 1 << 20;
    }
    assert!(sent < 64 << 20, "{sent}");
    assert_eq!(client.answer().status, 504);
    lb.counts("web", Cause::Timeout, 1);
    drop(end);
}

#[test]
fn http10_on_both_sides_keeps_its_connections_where_both_say_so() {
    let web = Instance::new(|conn| {
        while conn.request().is_some() {
            let number = conn.number;
            conn.send(format!(
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n{number}"
            ));
        }
    });
    let lb = with(&web);
    let mut client = lb.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nHost: web\r\nConnection: Keep-Alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.text(), answer.field("Connection")), ("1", Some("keep-alive")));
    }
    client.send("GET / HTTP/1.0\r\nHost: web\r\n\r\n");
    assert!(!client.answer().keeps_alive && client.is_closed());
}
