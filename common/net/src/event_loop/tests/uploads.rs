//! Bodies that are handed over as they come.

use super::*;

#[test]
fn an_upload_arrives_whole_in_either_framing() {
    let server = Server::start(HttpConfig::default());
    let len = 20 << 20;
    let mut stream = server.connect();
    write!(stream, "PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n")
        .expect("sent");
    stream.write_all(&vec![b'x'; len]).expect("sent");
    assert_eq!(read_answer(&mut stream).1, len.to_string());
    assert_eq!(server.hear(), Heard::Uploaded(len));

    write!(stream, "PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    stream.write_all(b"5;ext=1\r\nhello\r\n").expect("sent");
    for _ in 1..1000 {
        stream.write_all(b"5\r\nhello\r\n").expect("sent");
    }
    stream.write_all(b"0\r\nTrailer: x\r\n\r\n").expect("sent");
    assert_eq!(read_answer(&mut stream).1, "5000");
    assert_eq!(server.hear(), Heard::Uploaded(5000));

    stream
        .write_all(b"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .expect("sent");
    assert_eq!(read_answer(&mut stream).1, "0");
    assert_eq!(server.hear(), Heard::Uploaded(0));
}

#[test]
fn a_paused_upload_slows_its_client_down() {
    let server = Server::start(HttpConfig::default());
    let len = 64 << 20;
    let mut stream = server.connect();
    write!(stream, "PUT /pause HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n")
        .expect("sent");
    stream.write_all(b"x").expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    // Nobody reads: the sockets' buffers fill, and a write can't go on.
    stream.set_nonblocking(true).expect("non-blocking");
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 1;
    loop {
        match stream.write(&piece[..piece.len().min(len - sent)]) {
            Ok(taken) => sent += taken,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                break;
            }
        }
        assert!(sent < len, "the buffers hold less than the upload");
    }
    server.ask(Ask::ResumeBody);
    stream.set_nonblocking(false).expect("blocking");
    while sent < len {
        let end = piece.len().min(len - sent);
        stream.write_all(&piece[..end]).expect("sent");
        sent += end;
    }
    assert_eq!(server.hear(), Heard::Uploaded(len));
    assert_eq!(read_answer(&mut stream).1, len.to_string());
}

#[test]
fn an_upload_that_breaks_off_is_aborted() {
    let server = Server::start(HttpConfig::default());
    for head in
        ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let mut stream = server.connect();
        write!(stream, "PUT /upload HTTP/1.1\r\nHost: x\r\n{head}").expect("sent");
        drop(stream);
        assert_eq!(server.hear(), Heard::Aborted);
    }
}

#[test]
fn an_upload_that_is_too_large_or_malformed_is_aborted_and_refused() {
    let server = Server::start(HttpConfig::default());
    let large = "x".repeat(200);
    let chunked = "PUT /upload-small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = server.exchange(format!("{chunked}c8\r\n{large}\r\n0\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(server.hear(), Heard::Aborted);
    let answer = server.exchange(format!("{chunked}5\r\nhelloworld"));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(server.hear(), Heard::Aborted);
    // A length that says so at once never begins to stream.
    let declared = "PUT /upload-small HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n";
    assert!(server.exchange(declared).starts_with("HTTP/1.1 413 "));
    assert_eq!(server.hear(), Heard::Gone);
}
