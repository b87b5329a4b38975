//! Heads on their way through, as the other side sees them.

use tucano_common::http1::{HeadScan, Method};

use super::*;

const ID: RequestId = RequestId(0xabc);

fn forwarded(text: &str, is_trusted: bool) -> String {
    let bytes = text.replace('\n', "\r\n").into_bytes();
    let mut head = RequestHead::parse(&bytes, &mut HeadScan::default()).unwrap().unwrap();
    if asks_http2(&head, &bytes) {
        head.asks_upgrade = false;
    }
    let origin = Origin { peer: IpAddr::from([10, 0, 0, 9]), is_trusted, id: ID };
    let mut out = b"old".to_vec();
    request(&head, &bytes, &origin, &mut out);
    RequestHead::parse(&out, &mut HeadScan::default()).unwrap().unwrap();
    String::from_utf8(out).unwrap().replace("\r\n", "\n")
}

fn answered(text: &str, recoding: Recoding, told: ToldOfConnection) -> String {
    let bytes = text.replace('\n', "\r\n").into_bytes();
    let head = ResponseHead::parse(&bytes, &mut HeadScan::default(), Method::Get);
    let head = head.unwrap().unwrap();
    let mut out = b"old".to_vec();
    answer(&head, &bytes, recoding, told, Some(InstanceId(7)), &mut out);
    String::from_utf8(out).unwrap().replace("\r\n", "\n")
}

const ADDED: &str = "X-Forwarded-For: 10.0.0.9\nX-Forwarded-Proto: http\n\
                     X-Forwarded-Host: web\nX-Request-Id: 0000000000000abc\n";

#[test]
fn a_plain_request_passes_with_what_is_added() {
    let text = "GET /a?b HTTP/1.1\nHost: web\nAccept: */*\nCookie: a=1\n";
    assert_eq!(forwarded(&format!("{text}\n"), false), format!("{text}{ADDED}\n"));
}

#[test]
fn what_speaks_of_one_connection_ends_here() {
    let text = "GET / HTTP/1.1\nConnection: X-Foo, keep-alive, Host, Cookie\nKeep-Alive: 5\n\
                X-Foo: 1\nHost: web\nTE: trailers\nProxy-Connection: x\nCookie: a\nx-foo: 2\n\
                X-Bar: 3\n\n";
    let expected = format!("GET / HTTP/1.1\nHost: web\nCookie: a\nX-Bar: 3\n{ADDED}\n");
    assert_eq!(forwarded(text, false), expected);
}

#[test]
fn strangers_are_not_believed() {
    let text = "GET / HTTP/1.1\nHost: web\nX-Forwarded-For: 6.6.6.6\nX-Forwarded-Proto: https\n\
                Forwarded: for=6.6.6.6\nX-Forwarded-Host: evil\nX-Real-IP: 6.6.6.6\n\
                X-Forwarded-Port: 1\nX-Forwarded-Prefix: /x\nX-Request-Id: a b\n\n";
    assert_eq!(forwarded(text, false), format!("GET / HTTP/1.1\nHost: web\n{ADDED}\n"));
}

#[test]
fn trusted_proxies_are_appended_to() {
    let text = "GET / HTTP/1.1\nHost: web\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\n\
                X-Forwarded-For: 2.2.2.2, 3.3.3.3\nForwarded: for=1.1.1.1\n\
                X-Request-Id: sane-1\n\n";
    let expected = "GET / HTTP/1.1\nHost: web\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\n\
                    Forwarded: for=1.1.1.1\nX-Request-Id: sane-1\n\
                    X-Forwarded-For: 2.2.2.2, 3.3.3.3, 10.0.0.9\nX-Forwarded-Host: web\n\n";
    assert_eq!(forwarded(text, true), expected);
}

#[test]
fn absolute_forms_and_http10_become_origin_form_and_http11() {
    let end =
        format!("{}Host: web\nX-Request-Id: 0000000000000abc\n\n", &ADDED[..ADDED.len() - 31]);
    for (line, expected) in [
        ("GET http://web/a?b HTTP/1.1", "GET /a?b HTTP/1.1"),
        ("GET http://web HTTP/1.1", "GET / HTTP/1.1"),
        ("GET http://web?q HTTP/1.1", "GET /?q HTTP/1.1"),
        ("OPTIONS http://web HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ] {
        let text = format!("{line}\nHost: other\nA: b\n\n");
        assert_eq!(forwarded(&text, false), format!("{expected}\nA: b\n{end}"), "{line}");
    }
    let text = "GET /x HTTP/1.0\nHost: web\n\n";
    assert_eq!(forwarded(text, false), format!("GET /x HTTP/1.1\nHost: web\n{ADDED}\n"));
    let text = "OPTIONS * HTTP/1.1\nHost: web\n\n";
    assert!(forwarded(text, false).starts_with("OPTIONS * HTTP/1.1\n"));
}

#[test]
fn upgrades_pass_but_not_to_http2() {
    let text = "GET / HTTP/1.1\nHost: web\nConnection: Upgrade\nUpgrade: websocket\n\n";
    let expected =
        format!("GET / HTTP/1.1\nHost: web\n{ADDED}Connection: Upgrade\nUpgrade: websocket\n\n");
    assert_eq!(forwarded(text, false), expected);
    let text = "GET / HTTP/1.1\nHost: web\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\n\
                HTTP2-Settings: AA\n\n";
    assert_eq!(forwarded(text, false), format!("GET / HTTP/1.1\nHost: web\n{ADDED}\n"));
}

#[test]
fn an_answer_passes_with_its_instance() {
    let text = "HTTP/1.1 200 OK\nContent-Length: 5\nSet-Cookie: a, b\nSet-Cookie: c\n\
                Connection: keep-alive, X-Foo\nX-Foo: 1\nKeep-Alive: 5\nX-Tucano-Instance: fake\n\
                X-Tucano-Error: fake\n\n";
    let kept = "HTTP/1.1 200 OK\nContent-Length: 5\nSet-Cookie: a, b\nSet-Cookie: c\n";
    let instance = format!("X-Tucano-Instance: {}\n\n", InstanceId(7));
    let told = answered(text, Recoding::Same, ToldOfConnection::Kept);
    assert_eq!(told, format!("{kept}{instance}"));
    let told = answered(text, Recoding::Same, ToldOfConnection::Closed);
    assert_eq!(told, format!("{kept}Connection: close\n{instance}"));
    let told = answered(text, Recoding::Same, ToldOfConnection::KeptByWord);
    assert_eq!(told, format!("{kept}Connection: keep-alive\n{instance}"));
}

#[test]
fn framing_fields_follow_the_recoding() {
    let instance = format!("X-Tucano-Instance: {}\n\n", InstanceId(7));
    let told = |text, recoding| answered(text, recoding, ToldOfConnection::Kept);
    let close = "HTTP/1.0 200 OK\nA: b\n\n";
    let expected = format!("HTTP/1.1 200 OK\nA: b\nTransfer-Encoding: chunked\n{instance}");
    assert_eq!(told(close, Recoding::IntoChunks), expected);
    let chunked = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: X-T\n\n";
    assert_eq!(told(chunked, Recoding::OutOfChunks), format!("HTTP/1.1 200 OK\n{instance}"));
    let empty = "HTTP/1.1 204 No Content\nContent-Length: 0\n\n";
    assert_eq!(told(empty, Recoding::Same), format!("HTTP/1.1 204 No Content\n{instance}"));
    let switch = "HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: websocket\n\n";
    let expected = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n";
    assert_eq!(told(switch, Recoding::Same), format!("{expected}{instance}"));
}

#[test]
fn interim_answers_pass_without_an_instance() {
    let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n";
    let head = ResponseHead::parse(bytes, &mut HeadScan::default(), Method::Get);
    let mut out = b"old".to_vec();
    interim(&head.unwrap().unwrap(), bytes, &mut out);
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
}

#[test]
fn addresses_and_ids_are_written_as_they_are_displayed() {
    let written = |text: &str| {
        let mut out = Vec::new();
        address(&mut out, text.parse().unwrap());
        String::from_utf8(out).unwrap()
    };
    for number in 0..=255u8 {
        let text = format!("{number}.0.{number}.1");
        assert_eq!(written(&text), text);
    }
    for text in ["::1", "2001:db8::1", "fe80::a:b"] {
        assert_eq!(written(text), text);
    }
    for id in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
        assert_eq!(RequestId(id).to_string(), format!("{id:016x}"));
    }
}
