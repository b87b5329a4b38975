//! Requests with random bytes changed, in random pieces: the server answers or closes, and goes on.

use tucano_common::prng::Prng;

use super::*;

const SEEDS: u64 = 300;

const REQUESTS: [&str; 6] = [
    "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nhi\r\n0\r\n\r\n",
    "PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "HEAD /c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
];

fn noisy(prng: &mut Prng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=prng.below(4) {
        bytes.extend_from_slice(REQUESTS[prng.below(6) as usize].as_bytes());
    }
    for _ in 0..prng.below(4) {
        let at = prng.below(bytes.len() as u32) as usize;
        match prng.below(3) {
            0 => bytes[at] = prng.next_u64() as u8,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, prng.next_u64() as u8),
        }
    }
    bytes
}

#[test]
fn whatever_is_sent_the_server_answers_or_closes_and_goes_on() {
    let half_close_grace = Duration::from_millis(1);
    let linger = Duration::from_millis(1);
    let config = HttpConfig { half_close_grace, linger, ..HttpConfig::default() };
    let server = Server::start(config);
    for seed in 0..SEEDS {
        let mut prng = Prng::new(seed);
        let bytes = noisy(&mut prng);
        let mut stream = server.connect();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let cut = 1 + prng.below(rest.len() as u32) as usize;
            // The server may have closed already.
            let _ = stream.write_all(&rest[..cut]);
            rest = &rest[cut..];
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            let kind = error.kind();
            assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "seed {seed}: {error}");
        }
        let is_answer = answer.is_empty() || answer.starts_with(b"HTTP/1.1 ");
        assert!(is_answer, "seed {seed}: {}", answer.escape_ascii());
    }
    let mut stream = server.connect();
    stream.write_all(b"GET /after HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(read_answer(&mut stream).1, "GET /after []");
}
