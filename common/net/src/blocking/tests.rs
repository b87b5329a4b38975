//! The blocking client against raw answers of a server on a thread.

use std::io::Write;
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn serve(answer: impl FnOnce(TcpStream) + Send + 'static) -> (Client, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its address");
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        answer(stream);
    });
    (Client::new(vec![addr], "server"), thread)
}

/// Reads a head and as much after it as `body` says.
fn read_request(stream: &mut TcpStream, body: usize) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a byte of the head");
        bytes.push(byte[0]);
    }
    let head = bytes.len();
    bytes.resize(head + body, 0);
    stream.read_exact(&mut bytes[head..]).expect("the body");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn get() -> OutRequest {
    OutRequest::new(Method::Get, "/a?b=c")
}

#[test]
fn answers_in_every_framing() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more".to_owned(), Ok("hi")),
        ("HTTP/1.0 200 OK\r\n\r\nhi".to_owned(), Ok("hi")),
        (format!("{chunked}1;x\r\nh\r\n1\r\ni\r\n0\r\nTrailer: long enough\r\n\r\n"), Ok("hi")),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
            Ok(""),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi".to_owned(), Err("broke")),
        (format!("{chunked}5\r\nhi"), Err("broke")),
        (format!("{chunked}x\r\n"), Err("broke")),
        ("HTTP/1.1 2".to_owned(), Err("broke")),
        ("HTTP/1.1 101 X\r\n\r\n".to_owned(), Err("not valid HTTP")),
        ("HTTP/1.1 103 X\r\n\r\n".repeat(20), Err("too many interim")),
        ("SSH-2.0\r\n\r\n".to_owned(), Err("not valid HTTP")),
        (format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(11)), Err("larger than 10 bytes")),
    ] {
        let text = answer.clone();
        let (client, thread) = serve(move |mut stream| {
            let request = read_request(&mut stream, 0);
            assert!(
                request.starts_with("GET /a?b=c HTTP/1.1\r\nHost: server\r\nConnection: close\r\n")
            );
            // A client that has seen enough closes.
            let _ = stream.write_all(text.as_bytes());
        });
        let got = client.send(&get().answer(AnswerMode::Collect { bytes_max: 10 }));
        match (got, body) {
            (Ok(got), Ok(body)) => assert_eq!(got.text(), body, "{answer}"),
            (Err(error), Err(text)) => {
                assert!(error.to_string().contains(text), "{answer}: {error}");
                assert!(error.to_string().contains("server"), "{error}");
            }
            (got, _) => panic!("{answer}: {:?}", got.map(|answer| answer.status)),
        }
        thread.join().expect("the server");
    }
}

#[test]
fn a_body_is_read_in_pieces_of_any_size() {
    let body = "2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nTrailer: of some length\r\nAnother: one\r\n\r\n";
    for size in 1..20 {
        let (client, thread) = serve(move |mut stream| {
            read_request(&mut stream, 0);
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
                .expect("sent");
        });
        let mut streamed = client.open(&get()).expect("an answer");
        let mut got = Vec::new();
        let mut piece = vec![0; size];
        loop {
            match streamed.read(&mut piece).expect("a piece") {
                0 => break,
                len => got.extend_from_slice(&piece[..len]),
            }
        }
        assert_eq!(got, b"hello", "by {size}");
        assert_eq!(streamed.read(&mut piece).expect("still the end"), 0);
        thread.join().expect("the server");
    }
}

#[test]
fn every_wait_has_its_limit() {
    let brief = Duration::from_millis(30);
    let long = Timeouts { connect: PATIENCE, head: PATIENCE, idle: PATIENCE };
    for (answer, timeouts) in [
        ("", Timeouts { head: brief, ..long }),
        ("HTTP/1.1 200 OK\r\nX: ", Timeouts { head: brief, ..long }),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", Timeouts { idle: brief, ..long }),
    ] {
        let (client, thread) = serve(move |mut stream| {
            read_request(&mut stream, 0);
            stream.write_all(answer.as_bytes()).expect("sent");
            // Until the client gives up.
            let _ = stream.read(&mut [0]);
        });
        let error = client.timeouts(timeouts).send(&get()).expect_err("a timeout");
        assert!(matches!(error, ClientError::Timeout(_)), "{error}");
        thread.join().expect("the server");
    }
}

#[test]
fn uploads_wait_to_be_asked_for() {
    let (client, thread) = serve(|mut stream| {
        let head = read_request(&mut stream, 0);
        assert!(
            head.contains("Expect: 100-continue\r\n") && head.contains("Content-Length: 100000")
        );
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("sent");
        let mut body = vec![0; 100_000];
        stream.read_exact(&mut body).expect("the body");
        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").expect("sent");
    });
    let put = OutRequest::new(Method::Put, "/a");
    let answer = client.upload(&put, &mut io::repeat(7), 100_000).expect("an answer");
    assert_eq!(answer.status, 201);
    thread.join().expect("the server");
}

#[test]
fn a_refused_upload_is_not_sent_and_the_refusal_is_seen() {
    let (client, thread) = serve(|mut stream| {
        read_request(&mut stream, 0);
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").expect("sent");
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0, "nothing of the body");
    });
    let put = OutRequest::new(Method::Put, "/a");
    let answer = client.upload(&put, &mut io::repeat(7), 1 << 30).expect("an answer");
    assert_eq!((answer.status, answer.text().as_ref()), (413, "no"));
    thread.join().expect("the server");
}

#[test]
fn an_upload_whose_source_is_too_short_is_an_error() {
    let (client, thread) = serve(|mut stream| {
        read_request(&mut stream, 0);
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("sent");
        let mut rest = Vec::new();
        // The client breaks off; whether by an end or a reset is its system's matter.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"short");
    });
    let put = OutRequest::new(Method::Put, "/a");
    let error = client.upload(&put, &mut &b"short"[..], 100).expect_err("an error");
    assert!(matches!(error, ClientError::Body(_)), "{error}");
    thread.join().expect("the server");
}

#[test]
fn addresses_are_tried_in_order() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("its address")
    };
    let (client, thread) = serve(|mut stream| {
        read_request(&mut stream, 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
    });
    let both = Client::new(vec![nobody, client.addrs[0]], "both");
    assert!(both.send(&get()).expect("an answer").is_success());
    thread.join().expect("the server");
    let error = Client::new(vec![nobody], "nobody").send(&get()).expect_err("refused");
    assert_eq!(error.to_string(), "could not connect to nobody");
}
