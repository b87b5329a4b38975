//! Calls: against a loop of our own, and against servers that misbehave.

use std::net::TcpListener;

use super::*;
use crate::message::{AnswerMode, Method};

/// A server on a thread that runs `serve` with each connection, in order.
fn serve(
    connections: usize,
    serve: impl Fn(usize, TcpStream) + Send + 'static,
) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its address");
    let run = move || {
        for i in 0..connections {
            let (stream, _) = listener.accept().expect("accepted");
            stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
            serve(i, stream);
        }
    };
    (addr, std::thread::spawn(run))
}

fn read_head(stream: &mut TcpStream) -> String {
    read_answer(stream).0
}

fn call(server: &Server, addr: SocketAddr, request: OutRequest) -> String {
    call_within(server, addr, request, CallTimeouts::default())
}

fn call_within(
    server: &Server,
    addr: SocketAddr,
    request: OutRequest,
    timeouts: CallTimeouts,
) -> String {
    server.ask(Ask::Call(Box::new(vec![(addr, request, timeouts)])));
    match server.hear() {
        Heard::Call(text) => text,
        other => panic!("{other:?}"),
    }
}

fn get(target: &str) -> OutRequest {
    OutRequest::new(Method::Get, target)
}

#[test]
fn calls_between_two_loops_share_one_connection() {
    let (there, here) =
        (Server::start(HttpConfig::default()), Server::start(HttpConfig::default()));
    for i in 0..5 {
        let body = i.to_string().into_bytes();
        let post = OutRequest::new(Method::Post, "/a").body("text/plain", body);
        assert_eq!(call(&here, there.addr, post), format!("200 POST /a [{i}]"));
    }
    let open = there.counters.connections.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(open, 1, "one kept connection");
    assert_eq!(call(&here, there.addr, get("/b").close()), "200 GET /b []");
}

#[test]
fn many_calls_at_once_are_all_answered() {
    let (there, here) =
        (Server::start(HttpConfig::default()), Server::start(HttpConfig::default()));
    let calls = (0..500).map(|i| (there.addr, get(&format!("/n{i}")), CallTimeouts::default()));
    here.ask(Ask::Call(Box::new(calls.collect())));
    let mut heard: Vec<String> = (0..500)
        .map(|_| match here.hear() {
            Heard::Call(text) => text,
            other => panic!("{other:?}"),
        })
        .collect();
    heard.sort();
    let mut expected: Vec<String> = (0..500).map(|i| format!("200 GET /n{i} []")).collect();
    expected.sort();
    assert!(heard == expected, "{} of {}", heard.len(), expected.len());
}

#[test]
fn more_calls_than_there_may_be_are_refused() {
    let here = Server::start(HttpConfig { calls_max: 1, ..HttpConfig::default() });
    let (addr, thread) = serve(1, |_, mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
    });
    let one = || (addr, get("/"), CallTimeouts::default());
    here.ask(Ask::Call(Box::new(vec![one(), one()])));
    let refused = "failed: 1 requests are in progress already".to_owned();
    assert_eq!(here.hear(), Heard::Call(refused));
    assert_eq!(here.hear(), Heard::Call("200 ".to_owned()));
    thread.join().expect("the server");
}

#[test]
fn a_stale_pooled_connection_is_replaced_once() {
    let here = Server::start(HttpConfig::default());
    let (addr, thread) = serve(3, |i, mut stream| {
        read_head(&mut stream);
        if i == 2 {
            // Fresh, and broken all the same: this is told.
            return;
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{i}").expect("sent");
        if i == 0 {
            // The next request on it is read, and the connection closed without an answer.
            read_head(&mut stream);
        } else {
            // Closed only once the client is done with it, so that it was surely pooled.
            read_head(&mut stream);
        }
    });
    assert_eq!(call(&here, addr, get("/a")), "200 0");
    assert_eq!(call(&here, addr, get("/b")), "200 1");
    let failed = "failed: the connection closed before an answer came";
    assert_eq!(call(&here, addr, get("/c")), failed);
    thread.join().expect("the server");
}

#[test]
fn every_answer_is_read_or_refused() {
    let here = Server::start(HttpConfig::default());
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let invalid = "failed: the answer is not valid HTTP";
    for (answer, heard) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(), "200 hi"),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned(), "200 until the end"),
        (format!("{chunked}2\r\nhi\r\n1;x=y\r\n!\r\n0\r\nT: v\r\n\r\n"), "200 hi!"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), "204 "),
        (format!("{hints}HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "404 "),
        (hints.repeat(20), invalid),
        ("HTTP/1.1 101 Switching\r\n\r\n".to_owned(), invalid),
        ("nonsense\r\n\r\n".to_owned(), invalid),
        (format!("{chunked}zz\r\n"), invalid),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi".to_owned(),
            "failed: the connection closed within the answer",
        ),
        (format!("{chunked}5\r\nhi"), "failed: the connection closed within the answer"),
        ("HTTP/1.1 200".to_owned(), "failed: the connection closed before an answer came"),
        (large, "failed: the answer is larger than 1048576 bytes"),
    ] {
        let text = answer.clone();
        let (addr, thread) = serve(1, move |_, mut stream| {
            read_head(&mut stream);
            // A client that has seen enough closes.
            let _ = stream.write_all(text.as_bytes());
        });
        let got = call(&here, addr, get("/"));
        assert!(got.starts_with(heard) && heard.is_empty() == got.is_empty(), "{answer}: {got}");
        thread.join().expect("the server");
    }
}

#[test]
fn answers_are_streamed_as_they_come() {
    let here = Server::start(HttpConfig::default());
    let (go, wait) = unbounded::<()>();
    let (addr, thread) = serve(1, move |_, mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("sent");
        stream.write_all(b"5\r\nhello\r\n").expect("sent");
        wait.recv_timeout(PATIENCE).expect("told to go on");
        stream.write_all(b"5\r\nworld\r\n0\r\n\r\n").expect("sent");
    });
    let streamed = get("/").answer(AnswerMode::Stream);
    assert_eq!(call(&here, addr, streamed), "head 200");
    assert_eq!(here.hear(), Heard::Call("hello".to_owned()));
    go.send(()).expect("heard");
    assert_eq!(here.hear(), Heard::Call("world".to_owned()));
    assert_eq!(here.hear(), Heard::Call("end".to_owned()));
    thread.join().expect("the server");
}

#[test]
fn every_wait_has_its_limit() {
    let here = Server::start(HttpConfig::default());
    let brief = Duration::from_millis(30);
    let long = PATIENCE * 2;
    let timeouts = CallTimeouts { connect: long, head: long, body_idle: long, total: None };
    for (answer, timeouts, heard) in [
        ("", CallTimeouts { head: brief, ..timeouts }, "failed: no answer in time"),
        ("", CallTimeouts { total: Some(brief * 10), ..timeouts }, "failed: no answer in time"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            CallTimeouts { body_idle: brief, ..timeouts },
            "failed: the answer stopped coming",
        ),
    ] {
        let (addr, thread) = serve(1, move |_, mut stream| {
            read_head(&mut stream);
            stream.write_all(answer.as_bytes()).expect("sent");
            // Until the client gives up.
            let _ = stream.read(&mut [0]);
        });
        assert_eq!(call_within(&here, addr, get("/"), timeouts), heard);
        thread.join().expect("the server");
    }
}

#[test]
fn nobody_there_is_told() {
    let here = Server::start(HttpConfig::default());
    let addr = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("its address")
    };
    assert_eq!(call(&here, addr, get("/")), "failed: could not connect");
    here.ask(Ask::Probe(addr, CallTimeouts::default()));
    assert_eq!(here.hear(), Heard::Call("failed: could not connect".to_owned()));
    here.ask(Ask::Probe(here.addr, CallTimeouts::default()));
    assert_eq!(here.hear(), Heard::Call("connected".to_owned()));
}

#[test]
fn nothing_is_heard_of_a_cancelled_call() {
    let here = Server::start(HttpConfig::default());
    let (asked, wait) = unbounded();
    let (addr, thread) = serve(1, move |_, mut stream| {
        read_head(&mut stream);
        asked.send(()).expect("heard");
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0, "the connection is closed");
    });
    here.ask(Ask::Call(Box::new(vec![(addr, get("/"), CallTimeouts::default())])));
    wait.recv_timeout(PATIENCE).expect("asked");
    here.ask(Ask::CancelCalls);
    thread.join().expect("the server");
    here.ask(Ask::Note(2));
    assert_eq!(here.hear(), Heard::Msg(2));
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let pool_idle = Duration::from_millis(20);
    let here = Server::start(HttpConfig { pool_idle, ..HttpConfig::default() });
    let (addr, thread) = serve(1, |_, mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    });
    assert_eq!(call(&here, addr, get("/")), "200 ");
    thread.join().expect("the server");
}
