//! Requests and answers on one connection, and how it goes on.

use super::*;

#[test]
fn a_connection_is_kept_and_its_requests_answered_in_order() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    for i in 0..3 {
        write!(stream, "GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let (head, body) = read_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(!head.contains("Connection:"), "{head}");
        assert_eq!(body, format!("GET /{i} []"));
    }
}

#[test]
fn pipelined_requests_are_answered_one_after_the_other() {
    let server = Server::start(HttpConfig::default());
    let mut all = String::new();
    for i in 0..200 {
        all += &format!("POST /{i} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{:02}", i % 100);
    }
    all += "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n";
    let answer = server.exchange(all);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 201);
    let at = |what: &str| answer.find(what).unwrap_or_else(|| panic!("{what} in {answer}"));
    assert!(at("POST /9 [09]") < at("POST /150 [50]") && at("POST /150 [50]") < at("GET /last"));
    assert!(answer.contains("Connection: close") && !answer.contains("/never"));
}

#[test]
fn a_request_waits_until_the_one_before_is_answered() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    stream.write_all(b"GET /park HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    stream.write_all(b"GET /after HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    server.ask(Ask::Answer("parked"));
    assert_eq!(read_answer(&mut stream).1, "parked");
    assert_eq!(read_answer(&mut stream).1, "GET /after []");
}

#[test]
fn every_split_of_a_request_is_the_same_request() {
    let server = Server::start(HttpConfig::default());
    let request =
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let mut stream = server.connect();
    stream.set_nodelay(true).expect("no delay");
    for cut in 1..request.len() {
        stream.write_all(&request[..cut]).expect("sent");
        stream.write_all(&request[cut..]).expect("sent");
        assert_eq!(read_answer(&mut stream).1, "POST /a [abc]", "cut at {cut}");
    }
    for byte in request {
        stream.write_all(&[*byte]).expect("sent");
    }
    assert_eq!(read_answer(&mut stream).1, "POST /a [abc]");
}

#[test]
fn head_has_the_length_and_no_body() {
    let server = Server::start(HttpConfig::default());
    let answer = server.exchange(
        "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.contains("Content-Length: 10\r\n"), "{answer}");
    assert!(!answer.contains("HEAD /a"), "{answer}");
    assert!(answer.contains("Transfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("GET /b []"), "{answer}");
    assert_eq!(server.hear(), Heard::Parked);
    assert_eq!(server.hear(), Heard::Gone);
}

#[test]
fn statuses_without_a_body_have_no_length() {
    let server = Server::start(HttpConfig::default());
    let answer = server.exchange("GET /204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
    assert!(!answer.contains("Content-Length") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn versions_and_connection_options_decide_about_the_connection() {
    let server = Server::start(HttpConfig::default());
    for (request, is_kept) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        let (head, body) = read_answer(&mut stream);
        assert_eq!(body, "GET / []");
        assert_eq!(!head.contains("Connection: close"), is_kept, "{request} {head}");
        if is_kept {
            stream.write_all(request.as_bytes()).expect("sent");
            assert_eq!(read_answer(&mut stream).1, "GET / []");
        } else {
            assert_eq!(read_all(&mut stream), "");
        }
    }
}

#[test]
fn request_ids_are_kept_or_made() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-1\r\n\r\n").expect("sent");
    assert!(read_answer(&mut stream).0.contains("X-Request-Id: mine-1\r\n"));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: a b\r\n\r\n").expect("sent");
    let head = read_answer(&mut stream).0;
    let made = head.lines().find_map(|line| line.strip_prefix("X-Request-Id: "));
    assert_eq!(made.expect("an id").len(), 36);
    let refused = server.exchange("nonsense\r\n\r\n");
    assert!(refused.contains("X-Request-Id: "), "{refused}");
}

#[test]
fn an_application_can_not_break_the_framing() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    stream.write_all(b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let (head, _) = read_answer(&mut stream);
    assert!(head.contains("X-Evil: a  X-B: c\r\n") && !head.contains("connection: z"), "{head}");
    stream.write_all(b"GET /twice HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(read_answer(&mut stream).1, "first");
    stream.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(read_answer(&mut stream).1, "127.0.0.1");
}

#[test]
fn an_answer_to_a_request_that_is_over_is_dropped() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    stream.write_all(b"GET /park HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    server.ask(Ask::Answer("first"));
    assert_eq!(read_answer(&mut stream).1, "first");
    // The next request of the connection has another id: `parked[0]` is the first one's.
    stream.write_all(b"GET /park HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    server.ask(Ask::Answer("stale"));
    server.ask(Ask::Note(1));
    assert_eq!(server.hear(), Heard::Msg(1));
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a read timeout");
    assert!(stream.read(&mut [0]).is_err(), "nothing was answered");
}

#[test]
fn large_answers_come_whole_to_a_slow_reader() {
    let server = Server::start(HttpConfig::default());
    let mut stream = server.connect();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let (_, body) = read_answer(&mut stream);
    assert!(body.len() == 8 << 20 && body.bytes().all(|byte| byte == b'x'));
}

#[test]
fn many_connections_are_served_beside_each_other() {
    let server = Server::start(HttpConfig::default());
    let mut streams: Vec<_> = (0..300).map(|_| server.connect()).collect();
    for round in 0..2 {
        for stream in &mut streams {
            write!(stream, "GET /{round} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        }
        for stream in &mut streams {
            assert_eq!(read_answer(stream).1, format!("GET /{round} []"));
        }
    }
}
