//! Bodies in both directions: framings, back-pressure, early answers.

use std::time::Duration;

use tucano_common::http1::{Body, Method};
use tucano_common::prng::Prng;

use super::harness::{Conn, Harness, Instance, error_code};

fn noise(len: usize) -> Vec<u8> {
    let mut prng = Prng::new(7);
    (0..len / 8 + 1).flat_map(|_| prng.next_u64().to_le_bytes()).take(len).collect()
}

fn answering(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Instance {
    Instance::new(move |conn| {
        while conn.request().is_some() {
            conn.send(&answer);
        }
    })
}

fn answering_once(answer: &'static str) -> Instance {
    Instance::new(move |conn| {
        conn.request();
        conn.send(answer);
    })
}

#[test]
fn chunked_bodies_pass_with_trailers_and_without_extensions() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let request = b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n";
    let mut client = lb.client();
    client.send(request);
    client.answer();
    for byte in request {
        client.send([*byte]);
    }
    client.answer();
    for cut in 1..request.len() {
        client.send(&request[..cut]);
        client.send(&request[cut..]);
        client.answer();
    }
    for seen in web.seen() {
        assert_eq!(seen.body, b"hello world");
        assert_eq!(seen.trailers, "X-Sum: 1\r\n");
        assert_eq!(seen.field("Transfer-Encoding"), Some("chunked"));
    }
    assert_eq!(web.seen().len(), request.len() + 1);
}

#[test]
fn malformed_chunks_are_refused() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    for body in ["5\nhello\r\n", "+5\r\n", "5\r\nhello!\r\n", "g\r\n", "ffffffffffffffff\r\n"] {
        let mut client = lb.client();
        let head = "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(head.to_owned() + body);
        let answer = client.answer();
        assert_eq!((answer.status, error_code(&answer)), (400, Some("bad_request")), "{body}");
        assert!(client.is_closed(), "{body}");
    }
    assert!(web.seen().is_empty(), "no request was whole");
}

#[test]
fn answers_of_every_framing() {
    let cases: &[(&str, &str, Body)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", Body::Length(5)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n\
             0\r\nX-T: 1\r\n\r\n",
            "hello",
            Body::Chunked,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", Body::None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", "", Body::None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", Body::Length(0)),
    ];
    for (answer, body, framing) in cases {
        let web = answering(*answer);
        let mut lb = Harness::new();
        lb.serve("web", &[web.address]);
        let mut client = lb.client();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
            let got = client.answer();
            assert_eq!((got.text(), got.framing), (*body, *framing), "{answer}");
            assert_eq!(got.trailers.contains("X-T: 1"), *framing == Body::Chunked, "{answer}");
            assert!(got.is_whole && got.keeps_alive, "{answer}");
        }
    }
}

#[test]
fn an_answer_until_close_is_told_in_chunks_and_the_client_kept() {
    let web = answering_once("HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nhello");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let got = client.answer();
        assert_eq!((got.text(), got.framing, got.is_whole), ("hello", Body::Chunked, true));
        assert!(got.head.starts_with("HTTP/1.1 200 OK\r\n") && got.keeps_alive);
    }
}

#[test]
fn http10_clients_get_no_chunks() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    let web = answering(chunked);
    let old = answering_once("HTTP/1.0 200 OK\r\n\r\nhello!");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    lb.serve("old", &[old.address]);
    for host in ["web", "old"] {
        let mut client = lb.client();
        client.send(format!("GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n"));
        let got = client.answer();
        assert_eq!((got.text(), got.framing), ("hello!", Body::UntilClose), "{host}");
        assert_eq!(got.field("Connection"), Some("close"));
    }
    let length = Instance::named("length");
    lb.serve("length", &[length.address]);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: length\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.answer().field("Connection"), Some("keep-alive"));
    }
    assert!(length.last().head.starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn head_has_the_length_and_no_body() {
    let web = answering("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: web\r\n\r\n");
        let got = client.answer_to(Method::Head);
        assert_eq!((got.field("Content-Length"), got.keeps_alive), (Some("500"), true));
    }
}

#[test]
fn expect_continue_is_passed_on_both_ways() {
    let web = Instance::new(|conn| {
        while let Some((head, _)) = conn.head() {
            assert!(head.expects_continue && conn.unread.is_empty());
            conn.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
            let (body, _) = conn.body(head.body).unwrap();
            conn.ok(body);
        }
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send(
            "PUT / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(client.head(Method::Put).unwrap().0.status, 100);
        assert_eq!(client.head(Method::Put).unwrap().0.status, 103);
        client.send("hello");
        let answer = client.answer();
        assert_eq!((answer.text(), answer.keeps_alive), ("hello", true));
    }
}

#[test]
fn an_answer_before_the_body_ends_the_exchange_cleanly() {
    let web = Instance::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
        conn.is_closed();
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client
        .send("POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text(), answer.keeps_alive), (413, "no!", false));
    // What it sends all the same is no request.
    client.send("GET / HTTP");
    client.half_close();
    assert!(client.is_closed());
    // A client in the middle of a large body reads the answer too, and no reset.
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 9000000\r\n\r\n");
    client.send(vec![b'x'; 300_000]);
    assert_eq!(client.answer().status, 413);
}

fn large_answers(conn: &mut Conn) {
    let body = noise(8 << 20);
    while conn.request().is_some() {
        conn.ok(&body);
    }
}

#[test]
fn large_bodies_pass_whole_at_the_readers_pace() {
    let (web, echo) = (Instance::new(large_answers), Instance::echo());
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    lb.serve("echo", &[echo.address]);
    let mut slow = lb.client();
    slow.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    // Meanwhile others are served, and the other direction works as well.
    let body = noise(8 << 20);
    let mut client = lb.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: echo\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert!(client.answer().body == body);
    assert!(slow.answer().body == body);
    let mut chunked =
        b"PUT / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(50_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    client.send(chunked);
    assert!(client.answer().body == body);
}

#[test]
fn a_client_that_does_not_read_stops_its_service() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let web = Instance::new(move |conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n");
        conn.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let piece = vec![0; 1 << 20];
        let mut sent = 0u64;
        while std::io::Write::write_all(&mut conn.stream, &piece).is_ok() {
            sent += 1 << 20;
        }
        tell.lock().unwrap().send(sent).unwrap();
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let sent = told.recv_timeout(super::harness::PATIENCE).unwrap();
    assert!(sent < 64 << 20, "the kernel's buffers, and one of ours: {sent}");
}

#[test]
fn two_way_streams_flow_at_the_same_time() {
    let web = Instance::new(|conn| {
        let Some((_, _)) = conn.head() else { return };
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut room = [0; 100];
        while let Ok(count @ 1..) = std::io::Read::read(&mut conn.stream, &mut room) {
            let text = format!("{count:x}\r\n{}\r\n", String::from_utf8_lossy(&room[..count]));
            conn.send(text);
            if room[..count].ends_with(b"0\r\n\r\n") {
                return conn.send("0\r\n\r\n");
            }
        }
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head(Method::Post).unwrap();
    for n in 0..20 {
        client.send(format!("3\r\n{n:03}\r\n"));
        let expected = format!("8\r\n3\r\n{n:03}\r\n\r\n");
        while client.unread.len() < expected.len() {
            assert!(client.read());
        }
        assert_eq!(client.unread, expected.as_bytes());
        client.unread.clear();
    }
    client.send("0\r\n\r\n");
    while !client.unread.ends_with(b"\r\n0\r\n\r\n") {
        assert!(client.read());
    }
}

#[test]
fn tiny_chunks_by_the_thousand() {
    let echo = Instance::echo();
    let mut lb = Harness::new();
    lb.serve("echo", &[echo.address]);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("1\r\na\r\n".repeat(50_000) + "0\r\n\r\n");
    assert!(client.answer().body == vec![b'a'; 50_000]);
}
