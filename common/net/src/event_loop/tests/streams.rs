//! Answers in pieces: framing, the buffer's bound, and how they end.

use super::*;

fn begin(server: &Server, start: &str) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(format!("{start}\r\nHost: x\r\n\r\n").as_bytes()).expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    stream
}

fn push(server: &Server, text: &str) {
    server.ask(Ask::Push(text.as_bytes().to_vec()));
    assert!(matches!(server.hear(), Heard::Msg(_)));
}

#[test]
fn pieces_are_chunks_and_the_connection_goes_on() {
    let server = Server::start(HttpConfig::default());
    let mut stream = begin(&server, "GET /stream HTTP/1.1");
    push(&server, "hello ");
    push(&server, "");
    push(&server, "world, sixteen c");
    server.ask(Ask::Finish);
    stream.write_all(b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let answer = read_all(&mut stream);
    let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("Transfer-Encoding: chunked") && head.contains("X-A: b"), "{head}");
    let chunks = "6\r\nhello \r\n10\r\nworld, sixteen c\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(rest.starts_with(chunks) && rest.ends_with("GET /b []"), "{rest}");
}

#[test]
fn a_known_length_is_kept_to() {
    let server = Server::start(HttpConfig::default());
    let mut stream = begin(&server, "GET /stream-10 HTTP/1.1");
    push(&server, "01234");
    push(&server, "56789");
    server.ask(Ask::Finish);
    assert_eq!(read_answer(&mut stream).1, "0123456789");
}

#[test]
fn http_10_reads_until_the_close() {
    let server = Server::start(HttpConfig::default());
    let mut stream = begin(&server, "GET /stream HTTP/1.0");
    push(&server, "hello");
    server.ask(Ask::Finish);
    let answer = read_all(&mut stream);
    assert!(answer.contains("Connection: close\r\n") && answer.ends_with("\r\n\r\nhello"));
    assert!(!answer.contains("chunked"), "{answer}");
}

#[test]
fn a_broken_answer_never_looks_whole() {
    for (start, end) in [
        ("GET /stream HTTP/1.1", Ask::Abort),
        ("GET /stream HTTP/1.0", Ask::Abort),
        ("GET /stream-10 HTTP/1.1", Ask::Abort),
        ("GET /stream-10 HTTP/1.1", Ask::Finish),
    ] {
        let server = Server::start(HttpConfig::default());
        let mut stream = begin(&server, start);
        push(&server, "hello");
        server.ask(end);
        let mut bytes = Vec::new();
        let error = stream.read_to_end(&mut bytes).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{start}");
    }
}

#[test]
fn a_full_buffer_takes_nothing_more_until_it_is_drained() {
    let config = HttpConfig {
        stream_buffer_bytes_max: 1 << 20,
        stream_low_water_bytes: 1 << 16,
        ..HttpConfig::default()
    };
    let server = Server::start(config);
    let mut stream = begin(&server, "GET /stream HTTP/1.1");
    // The sockets' own buffers take some of it; then ours fills.
    let piece = vec![b'x'; 300_000];
    let mut taken = 0;
    let next = || {
        server.ask(Ask::Push(piece.clone()));
        loop {
            // The sockets may have drained it meanwhile.
            match server.hear() {
                Heard::Drained => {}
                heard => return heard,
            }
        }
    };
    while next() != Heard::Call("full".to_owned()) {
        taken += piece.len();
        assert!(taken < 100 << 20, "it is bounded");
    }
    let mut read = vec![0; taken];
    stream.read_exact(&mut read).expect("what was taken");
    assert_eq!(server.hear(), Heard::Drained);
    push(&server, "more");
    server.ask(Ask::Finish);
    let mut rest = String::new();
    while !rest.ends_with("4\r\nmore\r\n0\r\n\r\n") {
        let mut piece = [0; 4096];
        let len = stream.read(&mut piece).expect("the rest");
        assert!(len > 0, "the end came before the end");
        rest += &String::from_utf8_lossy(&piece[..len]);
    }
}

#[test]
fn pushing_to_one_who_is_gone_says_so() {
    let server = Server::start(HttpConfig::default());
    let stream = begin(&server, "GET /stream HTTP/1.1");
    server.ask(Ask::Finish);
    server.ask(Ask::Push(b"late".to_vec()));
    assert_eq!(server.hear(), Heard::Call("gone".to_owned()));
    drop(stream);
}
