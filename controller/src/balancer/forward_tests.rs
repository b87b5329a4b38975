//! Heads on their way through, as the other side sees them.

use tucano_common::http1::{HeadScan, Method};
use tucano_common::prng::Prng;

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

/// A request's head of fields as they come: known ones and others, in any order and case.
fn random_head(prng: &mut Prng) -> String {
    let pick =
        |prng: &mut Prng, from: &[&str]| from[prng.below(from.len() as u32) as usize].to_owned();
    let target = pick(prng, &["/", "/a?b=c", "http://web/x", "http://web?q", "*"]);
    let method = if target == "*" { "OPTIONS" } else { "GET" };
    let mut head = format!("{method} {target} HTTP/1.{}\r\n", prng.below(2));
    let mut lines = vec!["Host: web".to_owned()];
    for _ in 0..prng.below(30) {
        let known = FieldName::ALL[prng.below(FieldName::ALL.len() as u32) as usize];
        let name = match known {
            FieldName::Host | FieldName::ContentLength | FieldName::TransferEncoding => "X-Own",
            known if prng.chance(0.7) => known.text(),
            _ => "X-Own",
        };
        let name = if prng.chance(0.3) { name.to_lowercase() } else { name.to_owned() };
        let values =
            ["a", "", "close", "keep-alive, x-own", "upgrade", "websocket", "h2c", "cookie, a b"];
        lines.push(format!("{name}:{}{}", [" ", "", "\t"][lines.len() % 3], pick(prng, &values)));
    }
    while !lines.is_empty() {
        let at = prng.below(lines.len() as u32) as usize;
        head.push_str(&lines.swap_remove(at));
        head.push_str("\r\n");
    }
    head + "\r\n"
}

#[test]
fn whatever_fields_come_what_goes_on_is_whole_and_says_where_it_came_from() {
    let mut prng = Prng::new(7);
    for _ in 0..20_000 {
        let text = random_head(&mut prng);
        let Ok(Some(mut head)) = RequestHead::parse(text.as_bytes(), &mut HeadScan::default())
        else {
            panic!("not a head: {text:?}");
        };
        if asks_http2(&head, text.as_bytes()) {
            head.asks_upgrade = false;
        }
        let is_trusted = prng.chance(0.5);
        let origin = Origin { peer: IpAddr::from([10, 0, 0, 9]), is_trusted, id: ID };
        let mut out = Vec::new();
        request(&head, text.as_bytes(), &origin, &mut out);
        let shown = || format!("{text:?} -> {:?}", String::from_utf8_lossy(&out));
        let parsed = RequestHead::parse(&out, &mut HeadScan::default());
        let passed = parsed.unwrap_or_else(|error| panic!("{error:?}: {}", shown())).unwrap();
        assert_eq!(passed.len(), out.len(), "{}", shown());
        assert_eq!((passed.method, passed.version), (head.method, Version::Http11), "{}", shown());
        assert_eq!(passed.host.of(&out), b"web", "{}", shown());
        assert!(matches!(passed.target, Target::Origin(_) | Target::Asterisk(_)), "{}", shown());
        assert_eq!((passed.asks_upgrade, passed.body), (head.asks_upgrade, head.body));
        let count = |name| passed.fields.as_slice().iter().filter(|it| it.known == name).count();
        let fields = passed.fields.as_slice().iter();
        let told = fields.rev().find(|it| it.known == FieldName::XForwardedFor).unwrap();
        assert!(told.value.of(&out).ends_with(b"10.0.0.9"), "{}", shown());
        assert!(is_trusted || count(FieldName::XForwardedFor) == 1, "{}", shown());
        assert!(is_trusted || count(FieldName::Forwarded) == 0, "{}", shown());
        assert_eq!(count(FieldName::XRequestId), 1, "{}", shown());
        for gone in [FieldName::KeepAlive, FieldName::ProxyConnection, FieldName::Te] {
            assert_eq!(count(gone), 0, "{}", shown());
        }
        // What is neither this hop's nor ours passes as it came, in its order.
        let own = |head: &RequestHead, bytes: &[u8]| -> Vec<Vec<u8>> {
            let fields = head.fields.as_slice().iter();
            let ours = |it: &&Field| matches!(it.known, FieldName::Accept | FieldName::Referer);
            fields.filter(ours).map(|it| it.value.of(bytes).to_vec()).collect()
        };
        assert_eq!(own(&passed, &out), own(&head, text.as_bytes()), "{}", shown());
    }
}
