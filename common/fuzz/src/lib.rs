//! What must hold for any bytes at all: one function a target.
//!
//! Called by the fuzz targets beside this file, and by `common/tests/http1_corpus.rs` for every
//! input that is committed.
#![forbid(unsafe_code)]

use tucano_common::http1::chunked::{ChunkedDecoder, ChunkedError, Part};
use tucano_common::http1::exchange::{Exchange, Fact, Next, Verdict};
use tucano_common::http1::fields::is_token;
use tucano_common::http1::framing::{self, Declared};
use tucano_common::http1::target::is_authority;
use tucano_common::http1::{
    Body, Fields, HeadError, HeadScan, Method, RequestHead, ResponseHead, Version,
};

/// A request's head is the same however it arrives, and what passes is well formed.
pub fn request_head(data: &[u8]) {
    let parse = |bytes: &[u8], scan: &mut HeadScan| RequestHead::parse(bytes, scan);
    let Ok(Some(head)) = any_way(data, parse) else { return };
    let bytes = &data[..head.len()];
    assert!(head.len() <= data.len());
    assert_lines(&data[usize::from(head.whole.at)..head.len()]);
    assert_fields(&head.fields, bytes);
    assert!(is_token(head.method_text.of(bytes)));
    assert!(is_authority(head.host.of(bytes)));
    assert!(head.body != Body::UntilClose, "a request never ends with its connection");
    assert!(head.version == Version::Http11 || !(head.expects_continue || head.asks_upgrade));
    let path = head.target.path().of(bytes);
    assert!(path.iter().all(u8::is_ascii_graphic));
    // The same bytes again, without an empty line before them, are the same head.
    let again = RequestHead::parse(&bytes[usize::from(head.whole.at)..], &mut HeadScan::default());
    let again = again.expect("it parsed before").expect("it was whole before");
    assert_eq!(
        (again.body, again.connection, again.method),
        (head.body, head.connection, head.method)
    );
}

/// A response's head is the same however it arrives, whatever it answers.
pub fn response_head(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let methods = [Method::Get, Method::Head, Method::Post, Method::Other];
    let method = methods[usize::from(*choice) % methods.len()];
    let parse = |bytes: &[u8], scan: &mut HeadScan| ResponseHead::parse(bytes, scan, method);
    let Ok(Some(head)) = any_way(data, parse) else { return };
    assert_lines(&data[..head.len()]);
    assert_fields(&head.fields, &data[..head.len()]);
    assert!((100..1000).contains(&head.status));
    let has_none = method == Method::Head || matches!(head.status, 100..200 | 204 | 304);
    assert!(!has_none || head.body == Body::None);
    assert!(head.body != Body::UntilClose || !head.keeps_alive());
}

/// The framing table against one written down differently.
pub fn framing(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (Some(counts), Some(length)) = (parts.next(), parts.next()) else { return };
    let coding = parts.next().unwrap_or(&[]);
    let count = |place: usize| counts.get(place).map_or(0, |byte| usize::from(byte % 3));
    let version = if counts.get(2) == Some(&b'0') { Version::Http10 } else { Version::Http11 };
    let declared = Declared {
        length: (count(0) > 0).then_some((length, count(0))),
        coding: (count(1) > 0).then_some((coding, count(1))),
    };
    let trimmed: &[u8] = length.trim_ascii();
    let digits = std::str::from_utf8(trimmed).ok().filter(|text| {
        !text.is_empty() && text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    let number = digits.and_then(|text| text.parse::<i64>().ok());
    let only_blanks_around = length.iter().all(|byte| {
        byte.is_ascii_digit() || matches!(byte, b' ' | b'\t') || !byte.is_ascii_whitespace()
    });
    let expected = match (count(0), count(1)) {
        (0, 0) => Some(Body::None),
        (1, 0) if only_blanks_around => number.map(|number| Body::Length(number.unsigned_abs())),
        (0, 1) if version == Version::Http11 && coding.eq_ignore_ascii_case(b"chunked") => {
            Some(Body::Chunked)
        }
        _ => None,
    };
    assert_eq!(framing::of_request(version, declared).ok(), expected);
    for status in [100, 101, 200, 204, 304, 599] {
        for method in [Method::Get, Method::Head] {
            let Ok(of) = framing::of_response(method, status, version, declared) else {
                assert!(count(0) + count(1) > 0, "nothing declared is never refused");
                continue;
            };
            let has_none = method == Method::Head || matches!(status, 100..200 | 204 | 304);
            assert_eq!(of.body == Body::None, has_none);
        }
    }
}

/// A chunked body decodes the same however it arrives, and what is passed on decodes to the same
/// data.
pub fn chunked(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(decode(data, step), whole, "in steps of {step}");
    }
    let Ok(decoded) = whole else { return };
    assert!(decoded.passed.len() <= data.len());
    let again = decode(&decoded.passed, usize::MAX).expect("what is passed on is well formed");
    assert_eq!((&again.data, again.is_done), (&decoded.data, decoded.is_done));
    assert_eq!(again.passed, decoded.passed, "nothing is left to be dropped");
}

/// The exchange keeps its promises in any history.
pub fn exchange(data: &[u8]) {
    const FACTS: [Fact; 16] = [
        Fact::RequestWhole,
        Fact::RequestSent,
        Fact::RequestMalformed,
        Fact::ClientClosed,
        Fact::ClientGone,
        Fact::Interim,
        Fact::Switch,
        Fact::Final { keeps_alive: true },
        Fact::Final { keeps_alive: false },
        Fact::AnswerWhole,
        Fact::AnswerMalformed,
        Fact::AnswerExtra,
        Fact::UpstreamClosed,
        Fact::UpstreamGone,
        Fact::UpstreamLate,
        Fact::UpstreamDeaf,
    ];
    const HEADS: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: w\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: w\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ];
    let Some((first, rest)) = data.split_first() else { return };
    let head = HEADS[usize::from(*first) % HEADS.len()];
    let Ok(Some(head)) = RequestHead::parse(head, &mut HeadScan::default()) else { return };
    let mut exchange = Exchange::new(&head);
    let (mut finals, mut over) = (0, false);
    for byte in rest {
        let awaited = exchange.awaits_answer();
        match byte % 18 {
            16 => exchange.try_again(),
            17 => exchange.answer_ourselves(),
            place => {
                let fact = FACTS[usize::from(place)];
                let verdict = exchange.on(fact);
                let begins = matches!(fact, Fact::Final { .. } | Fact::Switch);
                finals += u32::from(begins && matches!(verdict, Verdict::Pass | Verdict::Tunnel));
                let before = matches!(verdict, Verdict::Fail(_) | Verdict::Refuse);
                assert!(!before || awaited, "nothing is tried again once an answer began");
                assert!(verdict != Verdict::Cut || !awaited);
                assert!(verdict != Verdict::Tunnel || head.asks_upgrade);
            }
        }
        assert!(finals <= 1, "one request, one answer");
        let end = exchange.end();
        assert!(!over || end.is_some(), "what is over stays over");
        over = end.is_some();
        if let Some(end) = end {
            assert!(end.client != Next::Keep || exchange.request_is_whole());
            assert!(end.upstream != Next::Keep || exchange.request_is_whole());
            assert!(end.upstream != Next::Keep || finals == 1);
        }
    }
}

type Parsed<T> = Result<Option<T>, HeadError>;

/// Parses whole and byte by byte, and holds both to the same answer.
fn any_way<T: std::fmt::Debug>(
    data: &[u8],
    parse: impl Fn(&[u8], &mut HeadScan) -> Parsed<T>,
) -> Parsed<T> {
    let whole = parse(data, &mut HeadScan::default());
    let mut scan = HeadScan::default();
    let dripped = (0..=data.len())
        .map(|len| parse(&data[..len], &mut scan))
        .find(|answer| !matches!(answer, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(format!("{whole:?}"), format!("{dripped:?}"));
    whole
}

/// CRLF at the end of every line and nowhere else; one empty line, at the end.
fn assert_lines(head: &[u8]) {
    assert!(head.ends_with(b"\r\n\r\n") && !head.contains(&0));
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').collect();
    let (rest, lines) = lines.split_last().expect("at least one line");
    assert!(rest.is_empty());
    for (place, line) in lines.iter().enumerate() {
        let line = line.strip_suffix(b"\r").expect("no bare LF");
        assert!(!line.contains(&b'\r'), "no bare CR");
        assert_eq!(line.is_empty(), place + 1 == lines.len());
        assert!(!line.starts_with(b" ") && !line.starts_with(b"\t"));
    }
}

fn assert_fields(fields: &Fields, bytes: &[u8]) {
    let mut end = 0;
    for field in fields.as_slice() {
        assert!(is_token(field.name.of(bytes)));
        assert!(field.name.at >= end && field.value.at > field.name.end());
        assert!(usize::from(field.value.end()) <= bytes.len());
        assert_eq!(field.value.of(bytes).trim_ascii().len(), field.value.of(bytes).len());
        end = field.value.end();
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    passed: Vec<u8>,
    is_done: bool,
}

fn decode(body: &[u8], step: usize) -> Result<Decoded, ChunkedError> {
    let mut decoder = ChunkedDecoder::default();
    let mut decoded = Decoded::default();
    let mut held: Vec<u8> = Vec::new();
    for piece in body.chunks(step) {
        held.extend_from_slice(piece);
        while let Some(piece) = decoder.next(&held)? {
            assert!(piece.len > 0);
            let bytes: Vec<u8> = held.drain(..piece.len).collect();
            match piece.part {
                Part::Extension | Part::Trailer { is_forbidden: true } => continue,
                Part::Data => decoded.data.extend_from_slice(&bytes),
                Part::Framing | Part::Trailer { is_forbidden: false } => {}
            }
            decoded.passed.extend_from_slice(&bytes);
        }
    }
    decoded.is_done = decoder.is_done();
    Ok(decoded)
}
