//! Bodies so long that they pass through a pipe: whole, slowly, broken off by either side, and
//! followed by more on the same connection. A loop that stops checks that every pipe came back.

use std::io::{Read, Write};

use super::harness::{Conn, Harness, Instance, PATIENCE};
use crate::balancer::stats::Cause;
use tucano_common::limits::{PIPE_BYTES, SPLICED_BYTES_MIN};
use tucano_common::prng::Prng;

/// Several pipes full, and a piece.
const LONG: usize = 5 * PIPE_BYTES + 12_345;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut prng = Prng::new(seed);
    (0..len / 8 + 1).flat_map(|_| prng.next_u64().to_le_bytes()).take(len).collect()
}

fn head_of(len: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n")
}

/// Answers with as many bytes of noise as the path says.
fn of_any_length(conn: &mut Conn) {
    while let Some(seen) = conn.request() {
        let path = seen.head.split(' ').nth(1).unwrap();
        let len: usize = path.trim_start_matches('/').parse().unwrap();
        assert_eq!(seen.connection, 1, "the connection is quiet after a long answer too");
        conn.ok(noise(len as u64, len));
    }
}

#[test]
fn long_and_short_answers_one_after_the_other_on_the_same_two_connections() {
    let web = Instance::new(of_any_length);
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    let edge = SPLICED_BYTES_MIN as usize;
    for len in [LONG, 2, edge - 1, edge, edge + 1, 3 * PIPE_BYTES, 0, LONG, 70_000] {
        client.send(format!("GET /{len} HTTP/1.1\r\nHost: web\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.body == noise(len as u64, len), "{len}");
    }
}

#[test]
fn long_requests_whole_with_the_next_one_right_behind() {
    let echo = Instance::echo();
    let mut lb = Harness::new();
    lb.serve("echo", &[echo.address]);
    let body = noise(1, LONG);
    let head = format!("PUT / HTTP/1.1\r\nHost: echo\r\nContent-Length: {LONG}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(b"PUT / HTTP/1.1\r\nHost: echo\r\nContent-Length: 6\r\n\r\nsecond");
    let mut client = lb.client();
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&bytes));
    assert!(client.answer().body == body);
    assert_eq!(client.answer().body, b"second");
    sending.join().unwrap().unwrap();
}

#[test]
fn a_long_answer_in_small_pieces_to_a_client_that_reads_small_pieces() {
    let body = noise(3, LONG);
    let sent = body.clone();
    let web = Instance::new(move |conn| {
        conn.request();
        conn.send(head_of(LONG));
        sent.chunks(7_001).for_each(|piece| conn.send(piece));
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    let (mut got, mut room) = (Vec::new(), [0; 3_333]);
    let mut stream = client.stream.try_clone().unwrap();
    while let count @ 1.. = stream.read(&mut room).unwrap() {
        got.extend_from_slice(&room[..count]);
    }
    assert!(got.ends_with(&body), "{} bytes", got.len());
}

#[test]
fn a_long_answer_that_breaks_off_is_seen_to() {
    for missing in [1, PIPE_BYTES, 2 * PIPE_BYTES] {
        let web = Instance::new(move |conn| {
            conn.request();
            conn.send(head_of(LONG));
            conn.send(noise(4, LONG - missing));
        });
        let mut lb = Harness::new();
        lb.serve("web", &[web.address]);
        let mut client = lb.client();
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let mut got = Vec::new();
        // Cut by an end or a reset, and never complete.
        let _ = client.stream.try_clone().unwrap().read_to_end(&mut got);
        let head_len = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert!(got.len() - head_len <= LONG - missing, "{missing}");
        lb.counts("web", Cause::UpstreamFailed, 1);
    }
}

#[test]
fn who_leaves_in_the_middle_of_a_long_answer_ends_it_for_the_service() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let web = Instance::new(move |conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n");
        while conn.stream.write_all(&[0; 60_000]).is_ok() {}
        tell.lock().unwrap().send(()).unwrap();
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    for _ in 0..3 {
        let mut client = lb.client();
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        client.stream.try_clone().unwrap().read_exact(&mut vec![0; 2 * PIPE_BYTES]).unwrap();
        drop(client);
        told.recv_timeout(PATIENCE).unwrap();
    }
    lb.counts("web", Cause::ClientGone, 3);
}

#[test]
fn a_service_that_answers_a_long_request_early_and_leaves() {
    let web = Instance::new(|conn| {
        conn.head();
        conn.stream.read_exact(&mut vec![0; PIPE_BYTES]).unwrap();
        conn.send("HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: {}\r\n\r\n", 9 * LONG));
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&noise(5, 3 * LONG)));
    assert_eq!(client.answer().status, 413);
    drop(sending.join().unwrap());
}
