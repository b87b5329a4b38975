//! Many clients and instances that do the worst they can, all at once: nothing panics, nobody gets
//! another's bytes, the ledger adds up, the access log has every request once, and everything is
//! given back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use tucano_common::http1::{HeadScan, Method, ResponseHead};
use tucano_common::prng::Prng;

use super::harness::{Conn, Harness, Instance, PATIENCE, quick_timeouts};
use super::written::Written;
use crate::balancer::stats::Cause;

/// The token that a request carries in its path, and that its answer repeats.
fn token(head: &str) -> String {
    head.split(' ').nth(1).unwrap_or("/none").trim_start_matches('/').to_owned()
}

/// Answers in the way that the request's token asks for.
fn answer(conn: &mut Conn) {
    while let Some((head, text)) = conn.head() {
        let token = token(&text);
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{token}", token.len());
        let chunk = format!("{:x}\r\n{token}\r\n", token.len());
        match token.as_bytes().first() {
            Some(b'e') => {
                conn.send(&whole);
                return;
            }
            Some(b'g') => {
                conn.send("garbage\r\n\r\n");
                return;
            }
            Some(b'n') => return,
            Some(b'c') => {
                conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                conn.send(&chunk[..chunk.len() / 2]);
                return;
            }
            _ => {}
        }
        if conn.body(head.body).is_none() {
            return;
        }
        match token.as_bytes().first() {
            Some(b'x') => {
                conn.send(format!("{whole}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"))
            }
            Some(b'i') => conn.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(50) + &whole),
            Some(b'k') => conn.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\nX-T: 1\r\n\r\n"
            )),
            Some(b'u') => {
                conn.send(format!("HTTP/1.0 200 OK\r\n\r\n{token}"));
                return;
            }
            _ => conn.send(whole),
        }
    }
}

/// One client's life: some requests, good and bad, read or not, left in good order or not.
fn live(address: SocketAddr, seed: u64) {
    let mut prng = Prng::new(seed);
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for turn in 0..=prng.below(4) {
        let kind = b"aaaaegncxiku"[prng.below(12) as usize] as char;
        let token = format!("{kind}-{seed}-{turn}");
        let body = "b".repeat(prng.below(3000) as usize);
        let mut request = match prng.below(3) {
            0 => format!("GET /{token} HTTP/1.1\r\nHost: web\r\n\r\n"),
            1 => format!(
                "POST /{token} HTTP/1.1\r\nHost: web\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            _ => format!(
                "PUT /{token} HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {:x};x\r\n{body}-\r\n0\r\n\r\n",
                body.len() + 1
            ),
        };
        let end = match prng.below(12) {
            0 => prng.below(request.len() as u32) as usize,
            1 => {
                request.insert(prng.below(request.len() as u32) as usize, '\n');
                request.len()
            }
            _ => request.len(),
        };
        for piece in request.as_bytes()[..end].chunks(1 + prng.below(4000) as usize) {
            if stream.write_all(piece).is_err() {
                return;
            }
        }
        if end < request.len() || prng.below(10) == 0 {
            // Leaves in the middle, sometimes with a reset.
            if prng.below(2) == 0 {
                let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                let option = nix::sys::socket::sockopt::Linger;
                nix::sys::socket::setsockopt(&stream, option, &linger).unwrap();
            }
            return;
        }
        if !read_own(&mut stream, &token) {
            return;
        }
    }
}

/// Reads an answer: an error of the balancer's, or this token and nobody else's.
fn read_own(stream: &mut TcpStream, token: &str) -> bool {
    let mut unread = Vec::new();
    let mut room = [0; 4096];
    loop {
        let head = ResponseHead::parse(&unread, &mut HeadScan::default(), Method::Get);
        if let Some(head) = head.expect("the balancer speaks HTTP") {
            if head.is_interim() {
                unread.drain(..head.len());
                continue;
            }
            let text = String::from_utf8_lossy(&unread);
            assert!(!text.contains("EVIL"), "{text}");
            if head.status != 200 {
                return false;
            }
            if text.contains(token) {
                return head.keeps_alive() && text.ends_with(token) && token.starts_with('a');
            }
        }
        match stream.read(&mut room) {
            Ok(0) => return false,
            Ok(count) => unread.extend_from_slice(&room[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("{token}: no answer, and no end: {}", unread.escape_ascii())
            }
            Err(_) => return false,
        }
    }
}

#[test]
fn nothing_is_lost_mixed_up_or_kept() {
    let instances: Vec<Instance> = (0..3).map(|_| Instance::new(answer)).collect();
    let addresses: Vec<SocketAddr> = instances.iter().map(|each| each.address).collect();
    let written = Written::new("chaos");
    let mut lb = Harness::with(|config| {
        config.timeouts = quick_timeouts();
        written.log(config);
    });
    lb.serve("web", &addresses);
    let address = lb.address;
    let threads: Vec<_> = (0..8u64)
        .map(|thread| {
            std::thread::spawn(move || (0..400).for_each(|n| live(address, thread * 1000 + n)))
        })
        .collect();
    // Instances leave and come back meanwhile.
    let mut turn = 0;
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        turn += 1;
        let left = turn % 4;
        let serving: Vec<SocketAddr> =
            addresses.iter().enumerate().filter(|(n, _)| *n != left).map(|(_, a)| *a).collect();
        lb.serve("web", &serving);
        // Takes a moment, and shows that the loop is alive.
        assert!(lb.get("web", "/a-alive").status >= 200);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("a client found a fault"));
    let start = Instant::now();
    let clients = || lb.stats.connections();
    while lb.totals("web").in_flight() > 0 || clients().0 > 0 {
        assert!(start.elapsed() < PATIENCE, "{:?} {:?}", lb.totals("web"), clients());
        // Each is a turn of the loop, in which it counts.
        lb.get("nobody", "/");
    }
    let totals = lb.totals("web");
    assert!(totals.accepted > 1000, "{totals:?}");
    let lines = written.lines(&mut lb);
    for cause in Cause::ALL {
        let is_it =
            |line: &&serde_json::Value| line["service"] == "web" && line["cause"] == cause.text();
        assert_eq!(lines.iter().filter(is_it).count() as u64, totals.of(cause), "{cause:?}");
    }
}
