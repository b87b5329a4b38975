//! Heads: tables of what passes and what is refused, every one fed whole, in every split and byte
//! by byte.

use super::*;
use crate::limits::{CONNECTION_NAMES_MAX, HEAD_FIELDS_IN_PLACE};

fn request(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    RequestHead::parse(bytes, &mut HeadScan::default())
}

/// Parses whole, then byte by byte, and holds both to the same answer.
fn request_any_way(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    let whole = request(bytes);
    let mut scan = HeadScan::default();
    let dripped = (0..=bytes.len())
        .map(|len| RequestHead::parse(&bytes[..len], &mut scan))
        .find(|answer| !matches!(answer, Ok(None)))
        .unwrap_or(Ok(None));
    let told = |answer: &Result<Option<RequestHead>, HeadError>| format!("{answer:?}");
    assert_eq!(told(&whole), told(&dripped), "{}", bytes.escape_ascii());
    whole
}

fn refused(bytes: &[u8]) -> HeadError {
    match request_any_way(bytes) {
        Err(error) => error,
        Ok(head) => panic!("{} passed: {head:?}", bytes.escape_ascii()),
    }
}

fn passed(bytes: &[u8]) -> RequestHead {
    match request_any_way(bytes) {
        Ok(Some(head)) => head,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn response(bytes: &[u8]) -> Result<Option<ResponseHead>, HeadError> {
    ResponseHead::parse(bytes, &mut HeadScan::default(), Method::Get)
}

#[test]
fn a_request_with_everything() {
    let bytes =
        b"\r\nPOST /p?q=1 HTTP/1.1\r\nhost: web:8080\r\nConnection: Upgrade, X-Foo, close\r\n\
        Upgrade: websocket\r\nX-Foo:  1 \t\r\nX-Empty:\r\nExpect: 100-Continue\r\n\
        Content-Length: 5\r\n\r\nhelloNEXT";
    let head = passed(bytes);
    assert_eq!(head.len(), bytes.len() - 9);
    assert_eq!(head.whole.at, 2);
    assert_eq!((head.method, head.method_text.of(bytes)), (Method::Post, b"POST".as_slice()));
    assert_eq!(head.target.path().of(bytes), b"/p?q=1");
    assert_eq!(head.host.of(bytes), b"web:8080");
    assert_eq!(head.body, Body::Length(5));
    let options = ConnectionOptions { close: true, keep_alive: false, upgrade: true, nominated: 1 };
    assert_eq!(head.connection, options);
    assert!(head.expects_continue && head.asks_upgrade && !head.keeps_alive());
    assert_eq!(head.fields.as_slice().len(), 7);
    let nominated = head.fields.nominated(bytes);
    assert!(nominated.has(b"x-foo") && !nominated.has(b"x-bar") && !nominated.has(b"close"));
    let values: Vec<_> = head.fields.as_slice().iter().map(|field| field.value.of(bytes)).collect();
    assert_eq!(values[3..5], [b"1".as_slice(), b""]);
    let empty = head.fields.as_slice()[4];
    assert_eq!(empty.name.of(bytes), b"X-Empty");
    assert_eq!(empty.value.at, empty.name.end() + 1);
}

#[test]
fn start_lines_refused() {
    let rows: &[(&[u8], HeadError)] = &[
        (b"GET  / HTTP/1.1", HeadError::StartLine),
        (b"GET\t/\tHTTP/1.1", HeadError::StartLine),
        (b" GET / HTTP/1.1", HeadError::StartLine),
        (b"GET / HTTP/1.1 ", HeadError::StartLine),
        (b"GET HTTP/1.1", HeadError::StartLine),
        (b"GET /", HeadError::StartLine),
        (b"GE(T / HTTP/1.1", HeadError::StartLine),
        (b"GET: / HTTP/1.1", HeadError::StartLine),
        (b"GET / http/1.1", HeadError::StartLine),
        (b"GET / HTTP/1.10", HeadError::StartLine),
        (b"GET / HTTP/11", HeadError::StartLine),
        (b"GET / HTTP/1.2", HeadError::VersionUnsupported),
        (b"GET / HTTP/2.0", HeadError::VersionUnsupported),
        (b"PRI * HTTP/2.0", HeadError::VersionUnsupported),
        (b"GET / HTTP/0.9", HeadError::VersionUnsupported),
        (b"CONNECT web:443 HTTP/1.1", HeadError::Connect),
        (b"GET * HTTP/1.1", HeadError::Target),
        (b"GET web:80 HTTP/1.1", HeadError::Target),
        (b"GET /#f HTTP/1.1", HeadError::Target),
        (b"GET /\xc3\xa9 HTTP/1.1", HeadError::Target),
        (b"GET /\xff HTTP/1.1", HeadError::StartLine),
        (b"GET /\x7f HTTP/1.1", HeadError::StartLine),
        (b"GET /a b HTTP/1.1", HeadError::StartLine),
        (b"GET http://u@web/ HTTP/1.1", HeadError::HostMalformed),
        (b"GET ftp://web/ HTTP/1.1", HeadError::Target),
    ];
    for (line, error) in rows {
        let bytes = [line, b"\r\nHost: web\r\n\r\n".as_slice()].concat();
        assert_eq!(refused(&bytes), *error, "{}", line.escape_ascii());
    }
}

#[test]
fn field_lines_refused() {
    let rows: &[(&[u8], HeadError)] = &[
        (b"X-A : b", HeadError::FieldName),
        (b"X-A\t: b", HeadError::FieldName),
        (b"X A: b", HeadError::FieldName),
        (b": b", HeadError::FieldName),
        (b"nocolon", HeadError::FieldName),
        (b"X-\xe9: b", HeadError::FieldName),
        (b"X\"A: b", HeadError::FieldName),
        (b"X-A: b\x01c", HeadError::FieldValue),
        (b"X-A: b\x0bc", HeadError::FieldValue),
        (b"X-A: b\x7fc", HeadError::FieldValue),
        (b"X-A: b\0c", HeadError::Nul),
        (b"X-A: b\rc", HeadError::BareCr),
        (b"X-A: b\r", HeadError::BareCr),
        (b"X-A: b\nX-B: c", HeadError::BareLf),
        (b"X-A: b\r\n c", HeadError::Folded),
        (b"X-A: b\r\n\tc", HeadError::Folded),
        (b"Host: web", HeadError::HostRepeated),
        (b"host: other", HeadError::HostRepeated),
        (b"Content-Length : 5", HeadError::FieldName),
        (b"Content-Length: 5\r\nContent-Length: 5", HeadError::LengthRepeated),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", HeadError::LengthAndCoding),
        (b"Transfer-Encoding: \x0bchunked", HeadError::FieldValue),
        (b"Transfer-Encoding: \xa0chunked", HeadError::CodingMalformed),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", HeadError::CodingMalformed),
    ];
    for (line, error) in rows {
        let bytes = [b"POST / HTTP/1.1\r\nHost: web\r\n".as_slice(), line, b"\r\n\r\n"].concat();
        assert_eq!(refused(&bytes), *error, "{}", line.escape_ascii());
    }
}

#[test]
fn hosts() {
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), HeadError::HostMissing);
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), HeadError::HostMalformed);
    assert_eq!(refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), HeadError::HostRepeated);
    assert_eq!(refused(b"GET http://a/ HTTP/1.1\r\n\r\n"), HeadError::HostMissing);
    assert_eq!(refused(b"GET http://a/ HTTP/1.1\r\nHost: @\r\n\r\n"), HeadError::HostMalformed);
    let bytes = b"GET / HTTP/1.0\r\n\r\n";
    assert_eq!(passed(bytes).host.of(bytes), b"");
    let bytes = b"GET / HTTP/1.1\r\nHost:\r\n\r\n";
    assert_eq!(passed(bytes).host.of(bytes), b"");
    let bytes = b"GET http://a:8/x HTTP/1.1\r\nHost: b\r\n\r\n";
    let head = passed(bytes);
    assert_eq!((head.host.of(bytes), head.target.path().of(bytes)), (&b"a:8"[..], &b"/x"[..]));
}

#[test]
fn persistence() {
    let rows: &[(&[u8], bool)] = &[
        (b"HTTP/1.1\r\nHost: w\r\n", true),
        (b"HTTP/1.1\r\nHost: w\r\nConnection: close\r\n", false),
        (b"HTTP/1.1\r\nHost: w\r\nConnection: keep-alive, CLOSE\r\n", false),
        (b"HTTP/1.1\r\nHost: w\r\nConnection: a\r\nConnection: close\r\n", false),
        (b"HTTP/1.0\r\n", false),
        (b"HTTP/1.0\r\nConnection: Keep-Alive\r\n", true),
        (b"HTTP/1.0\r\nConnection: keep-alive, close\r\n", false),
    ];
    for (rest, keeps) in rows {
        let bytes = [b"GET / ".as_slice(), rest, b"\r\n"].concat();
        assert_eq!(passed(&bytes).keeps_alive(), *keeps, "{}", rest.escape_ascii());
    }
}

#[test]
fn http10_neither_upgrades_nor_expects() {
    let bytes =
        b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\nExpect: 100-continue\r\n\r\n";
    let head = passed(bytes);
    assert!(!head.asks_upgrade && !head.expects_continue);
    let bytes = b"GET / HTTP/1.1\r\nHost: w\r\nUpgrade: x\r\n\r\n";
    assert!(!passed(bytes).asks_upgrade, "Connection must name it");
}

#[test]
fn limits() {
    let many = |count: usize| {
        let fields = "A: b\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nHost: w\r\n{fields}\r\n").into_bytes()
    };
    assert_eq!(passed(&many(HEAD_FIELDS_MAX)).fields.as_slice().len(), HEAD_FIELDS_MAX);
    assert_eq!(refused(&many(HEAD_FIELDS_MAX + 1)), HeadError::FieldsTooMany);
    // Few stand in the head itself, more in a table of their own: nobody can tell.
    for count in HEAD_FIELDS_IN_PLACE - 1..=HEAD_FIELDS_IN_PLACE + 1 {
        let bytes = many(count);
        let fields = passed(&bytes).fields;
        let names: Vec<&[u8]> =
            fields.as_slice().iter().map(|field| field.name.of(&bytes)).collect();
        assert_eq!((names.len(), names[0]), (count, &b"Host"[..]));
        assert!(names[1..].iter().all(|name| name == b"A"), "{count}");
    }
    let nominating = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("X-{n}")).collect();
        // What is about the connection itself, and empty members, are no names.
        let names = names.join(", ,close,");
        format!("GET / HTTP/1.1\r\nHost: w\r\nConnection: {names}\r\n\r\n").into_bytes()
    };
    let bytes = nominating(CONNECTION_NAMES_MAX);
    let head = passed(&bytes);
    let nominated = head.fields.nominated(&bytes);
    assert!((0..CONNECTION_NAMES_MAX).all(|n| nominated.has(format!("x-{n}").as_bytes())));
    for count in [CONNECTION_NAMES_MAX + 1, 255, 256, 257, 1000] {
        assert_eq!(refused(&nominating(count)), HeadError::NominatedTooMany);
    }
    let target = |len: usize| {
        let path = "a".repeat(len - 1);
        format!("GET /{path} HTTP/1.1\r\nHost: w\r\n\r\n").into_bytes()
    };
    assert_eq!(usize::from(passed(&target(TARGET_BYTES_MAX)).target.path().len), TARGET_BYTES_MAX);
    assert_eq!(refused(&target(TARGET_BYTES_MAX + 1)), HeadError::TargetTooLong);
    assert_eq!(HeadError::TargetTooLong.status(), 414);
    assert_eq!(HeadError::FieldsTooMany.status(), 431);
    assert_eq!(HeadError::NominatedTooMany.status(), 431);
}

#[test]
fn every_split_in_two_gives_the_same_head() {
    let bytes: &[u8] =
        b"\r\nPUT http://w/x HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let whole = format!("{:?}", passed(bytes));
    for cut in 0..=bytes.len() {
        let mut scan = HeadScan::default();
        let head = match RequestHead::parse(&bytes[..cut], &mut scan) {
            Ok(None) => RequestHead::parse(bytes, &mut scan),
            early => early,
        };
        assert_eq!(format!("{:?}", head.unwrap().unwrap()), whole, "cut at {cut}");
    }
}

#[test]
fn responses() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a\r\n\r\nhello";
    let head = response(bytes).unwrap().unwrap();
    assert_eq!((head.status, head.body, head.keeps_alive()), (200, Body::Length(5), true));
    assert_eq!(head.fields.value(FieldName::SetCookie, bytes), Some(b"a".as_slice()));
    let rows: &[(&[u8], u16, Body, bool)] = &[
        (b"HTTP/1.1 200\r\n\r\n", 200, Body::UntilClose, false),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, Body::Length(0), true),
        (b"HTTP/1.1 200 caf\xe9\r\nContent-Length: 0\r\n\r\n", 200, Body::Length(0), true),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 200, Body::Length(1), false),
        (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
            200,
            Body::Length(1),
            true,
        ),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, Body::None, false),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 1\r\n\r\n", 999, Body::Length(1), true),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 100, Body::None, true),
    ];
    for (bytes, status, body, keeps) in rows {
        let head = response(bytes).unwrap().unwrap();
        let told = (head.status, head.body, head.keeps_alive());
        assert_eq!(told, (*status, *body, *keeps), "{}", bytes.escape_ascii());
    }
}

#[test]
fn responses_refused() {
    let rows: &[(&[u8], HeadError)] = &[
        (b"HTTP/1.1 099 Low\r\n\r\n", HeadError::Status),
        (b"HTTP/1.1 20 OK\r\n\r\n", HeadError::StartLine),
        (b"HTTP/1.1 2000 OK\r\n\r\n", HeadError::StartLine),
        (b"HTTP/1.1  200 OK\r\n\r\n", HeadError::StartLine),
        (b"HTTP/2.0 200 OK\r\n\r\n", HeadError::VersionUnsupported),
        (b"220 mail ESMTP\r\n\r\n", HeadError::StartLine),
        (b"SSH-2.0-OpenSSH\r\n\r\n", HeadError::StartLine),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::EmptyLines),
        (b"HTTP/1.1 200 OK\nA: b\r\n\r\n", HeadError::BareLf),
        (b"HTTP/1.1 200 OK\r\nX-A : a\r\n\r\n", HeadError::FieldName),
        (b"HTTP/1.1 200 OK\r\ngarbage line\r\n\r\n", HeadError::FieldName),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeadError::Folded),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 42\r\n\r\n",
            HeadError::LengthRepeated,
        ),
        (b"HTTP/1.1 200 O\x01K\r\n\r\n", HeadError::StartLine),
    ];
    for (bytes, error) in rows {
        assert_eq!(response(bytes).map(|_| ()), Err(*error), "{}", bytes.escape_ascii());
    }
    let mut scan = HeadScan::default();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let head = ResponseHead::parse(head, &mut scan, Method::Head).unwrap().unwrap();
    assert_eq!((head.body, head.keeps_alive()), (Body::None, true), "an answer to HEAD");
}
