//! What the server refuses by itself, and every limit and time that ends a connection.

use super::*;

/// Short, but long enough for a client on a busy machine to say what it wants to say.
fn short() -> HttpConfig {
    let brief = Duration::from_millis(300);
    HttpConfig {
        head_timeout: brief,
        body_idle: brief,
        keep_alive_idle: brief,
        half_close_grace: Duration::from_millis(1),
        ..HttpConfig::default()
    }
}

#[test]
fn what_is_not_http_gets_its_status_and_the_end() {
    let server = Server::start(HttpConfig::default());
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
    let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(17_000));
    let fields = "A: b\r\n".repeat(101);
    let many_fields = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let post = "POST / HTTP/1.1\r\nHost: x\r\n";
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), 400),
        (format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        (format!("{post}Content-Length: +1\r\n\r\n"), 400),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400),
        (long_target, 414),
        (long_head, 431),
        (many_fields, 431),
        (format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"), 501),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), 501),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(), 505),
        ("\u{16}\u{3}\u{1}\0\u{5}".to_owned(), 400),
    ] {
        let answer = server.exchange(&request);
        let shown: String = request.chars().take(60).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
        assert!(answer.contains("Content-Type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["status"], status);
    }
}

#[test]
fn a_body_over_its_bound_is_413_however_it_is_framed() {
    let server = Server::start(HttpConfig::default());
    let post = "POST /small HTTP/1.1\r\nHost: x\r\n";
    let large = "x".repeat(200);
    for request in [
        format!("{post}Content-Length: 200\r\n\r\n{large}"),
        format!("{post}Content-Length: 200\r\nExpect: 100-continue\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nc8\r\n{large}\r\n0\r\n\r\n"),
    ] {
        let answer = server.exchange(&request);
        assert!(answer.starts_with("HTTP/1.1 413 Content Too Large\r\n"), "{answer}");
        assert!(answer.contains("100 are allowed here"), "{answer}");
        assert_eq!(server.hear(), Heard::Gone);
    }
    let fits = format!("{post}Connection: close\r\nContent-Length: 100\r\n\r\n{}", &large[..100]);
    assert!(server.exchange(fits).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_refusal_before_a_short_body_keeps_the_connection() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    for _ in 0..2 {
        let request = "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        stream.write_all(request.as_bytes()).expect("sent");
        let (head, _) = read_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 401 ") && !head.contains("Connection:"), "{head}");
    }
}

#[test]
fn a_refusal_before_a_long_body_is_seen_although_nobody_reads_it() {
    let server = Server::start(HttpConfig::default());
    for framing in
        ["Content-Length: 3000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2dc6c0\r\n"]
    {
        let mut request = format!("POST /refuse HTTP/1.1\r\nHost: x\r\n{framing}").into_bytes();
        request.resize(request.len() + 3_000_000, b'x');
        let answer = server.exchange(&request);
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("Connection: close"));
    }
}

#[test]
fn the_body_is_asked_for_where_the_client_waits_to_be_asked() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    let post = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(post.as_bytes()).expect("sent");
    assert_eq!(read_answer(&mut stream).0, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").expect("sent");
    assert_eq!(read_answer(&mut stream).1, "POST /a [hello]");
    // A body that is there already needs no invitation.
    stream.write_all(format!("{post}world").as_bytes()).expect("sent");
    assert_eq!(read_answer(&mut stream).1, "POST /a [world]");
    // A refusal takes its place, and the connection ends: the body may follow or not.
    let refused = server.exchange(post.replace("/a", "/refuse"));
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.contains("Connection: close"));
}

#[test]
fn a_head_that_does_not_come_is_408_and_an_idle_connection_just_ends() {
    let server = Server::start(short());
    assert!(server.exchange("GET / HTT").starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert_eq!(server.exchange(""), "");
    assert_eq!(server.exchange("\r\n"), "");
    let mut kept = server.connect();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(read_answer(&mut kept).1, "GET / []");
    assert_eq!(read_all(&mut kept), "");
    let mut half = server.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET").expect("sent");
    assert_eq!(read_answer(&mut half).1, "GET / []");
    assert!(read_all(&mut half).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let server = Server::start(short());
    let post = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe";
    assert!(server.exchange(post).starts_with("HTTP/1.1 408 "));
    assert_eq!(server.hear(), Heard::Gone);
    let upload = post.replace("/a", "/upload");
    assert!(server.exchange(upload).starts_with("HTTP/1.1 408 "));
    assert_eq!(server.hear(), Heard::Aborted);
    // Answered already: nothing more is said.
    let refused = server.exchange(post.replace("/a", "/refuse"));
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.matches("HTTP/1.1").count() == 1);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let stall = Duration::from_millis(50);
    let server = Server::start(HttpConfig { write_stall: stall, ..HttpConfig::default() });
    let mut stream = server.connect();
    let request = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    // Far beyond what the sockets' own buffers hold, if nobody reads.
    server.ask(Ask::Push(vec![b'x'; 32 << 20]));
    assert_eq!(server.hear(), Heard::Msg(1));
    assert_eq!(server.hear(), Heard::Gone);
}

#[test]
fn a_client_that_ends_its_side_gets_its_answer_if_it_comes_soon() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    stream
        .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /park HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    assert_eq!(read_answer(&mut stream).1, "GET /a []");
    assert_eq!(server.hear(), Heard::Parked);
    server.ask(Ask::Answer("parked"));
    assert!(read_all(&mut stream).ends_with("parked"));
}

#[test]
fn a_client_that_goes_away_is_told_of_once() {
    let server = Server::start(short());
    for path in ["/park", "/stream"] {
        let mut stream = server.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        assert_eq!(server.hear(), Heard::Parked);
        drop(stream);
        assert_eq!(server.hear(), Heard::Gone);
    }
    for path in ["/a", "/small"] {
        let mut stream = server.connect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nx");
        stream.write_all(head.as_bytes()).expect("sent");
        drop(stream);
        assert_eq!(server.hear(), Heard::Gone);
    }
    server.ask(Ask::Note(7));
    assert_eq!(server.hear(), Heard::Msg(7));
}
