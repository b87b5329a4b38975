//! A request's head as an owned value, and what of it is needed until the answer is written.

use std::hash::{BuildHasher, RandomState};

use tucano_common::http1::{self, Body, FieldName, Method, Version};
use tucano_common::limits::REQUEST_ID_BYTES_MAX;
use tucano_common::prng::Prng;
use tucano_common::time::Wall;

use crate::message::{Headers, RequestHead};

/// What the answer depends on.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) version: Version,
    pub(super) is_head: bool,
    /// The client lets the connection be used again.
    pub(super) keeps_alive: bool,
    pub(super) request_id: String,
}

impl Exchange {
    pub(super) fn of(head: &http1::RequestHead, request_id: &str) -> Exchange {
        Exchange {
            version: head.version,
            is_head: head.method == Method::Head,
            keeps_alive: head.keeps_alive(),
            request_id: request_id.to_owned(),
        }
    }

    /// Of something that could not be read as a request.
    pub(super) fn unknown(request_id: String) -> Exchange {
        Exchange { version: Version::Http11, is_head: false, keeps_alive: false, request_id }
    }
}

/// Makes ids for requests whose client sent none.
pub(in crate::event_loop) struct RequestIds {
    prng: Prng,
}

impl RequestIds {
    /// Ids unlike any other loop's: a random seed, since several loops and processes make them.
    pub(in crate::event_loop) fn new() -> RequestIds {
        RequestIds { prng: Prng::new(RandomState::new().hash_one(std::process::id())) }
    }

    /// The next one, as a UUID of version 7 (RFC 9562): ids sort by time.
    pub(super) fn next(&mut self, now: Wall) -> String {
        let millis = now.0.max(0) as u64;
        let (a, b) = (self.prng.next_u64(), self.prng.next_u64());
        format!(
            "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
            millis >> 16 & 0xffff_ffff,
            millis & 0xffff,
            a & 0xfff,
            a >> 12 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }
}

/// The owned head of a request whose bytes are at the front of `bytes`.
pub(super) fn owned(
    head: &http1::RequestHead,
    bytes: &[u8],
    ids: &mut RequestIds,
    now: Wall,
) -> RequestHead {
    let lossy = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let mut headers = Headers::new();
    for field in head.fields.as_slice() {
        let name = String::from_utf8_lossy(field.name.of(bytes));
        headers.push(&name, &String::from_utf8_lossy(field.value.of(bytes)));
    }
    let target = lossy(head.target.path().of(bytes));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target, None),
    };
    let path = match (path.is_empty(), head.method) {
        // An absolute form without a path (RFC 9112, 3.2.4).
        (true, Method::Options) => "*".to_owned(),
        (true, _) => "/".to_owned(),
        (false, _) => path,
    };
    let sent = head.fields.value(FieldName::XRequestId, bytes).filter(|id| is_sane(id));
    RequestHead {
        method: head.method,
        path,
        query,
        version: head.version,
        host: lossy(head.host.of(bytes)),
        request_id: sent.map_or_else(|| ids.next(now), lossy),
        headers,
        body_length: match head.body {
            Body::None => Some(0),
            Body::Length(len) => Some(len),
            Body::Chunked | Body::UntilClose => None,
        },
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tucano_common::http1::HeadScan;

    fn parse(text: &str) -> RequestHead {
        let bytes = text.as_bytes();
        let head = http1::RequestHead::parse(bytes, &mut HeadScan::default());
        let head = head.expect("valid").expect("whole");
        owned(&head, bytes, &mut RequestIds::new(), Wall(1_767_225_600_000))
    }

    #[test]
    fn targets_are_split_into_path_and_query() {
        for (start, path, query) in [
            ("GET / HTTP/1.1", "/", None),
            ("GET /a%20b?c=d?e HTTP/1.1", "/a%20b", Some("c=d?e")),
            ("GET http://x HTTP/1.1", "/", None),
            ("GET http://x?q HTTP/1.1", "/", Some("q")),
            ("OPTIONS * HTTP/1.1", "*", None),
            ("OPTIONS http://x HTTP/1.1", "*", None),
        ] {
            let head = parse(&format!("{start}\r\nHost: x\r\n\r\n"));
            assert_eq!((head.path.as_str(), head.query.as_deref()), (path, query), "{start}");
        }
    }

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for (sent, is_kept) in [("abc-1", true), ("a b", false), ("", false), (&long, false)] {
            let head = parse(&format!("GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: {sent}\r\n\r\n"));
            assert_eq!(head.request_id == sent, is_kept, "{sent}");
            assert!(is_sane(head.request_id.as_bytes()));
        }
    }

    #[test]
    fn made_ids_are_uuids_of_version_7_in_order_of_time() {
        let mut ids = RequestIds::new();
        let (a, b) = (ids.next(Wall(1_767_225_600_000)), ids.next(Wall(1_767_225_600_001)));
        assert!(a < b && a.len() == 36 && a.starts_with("019b76da-a800-7"), "{a} {b}");
        assert!(matches!(a.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{a}");
    }

    #[test]
    fn a_field_that_is_no_utf8_is_still_there() {
        let bytes = b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: \xff\r\n\r\n";
        let head = http1::RequestHead::parse(bytes, &mut HeadScan::default());
        let head = head.expect("valid").expect("whole");
        let head = owned(&head, bytes, &mut RequestIds::new(), Wall(0));
        assert_eq!(head.headers.get("origin"), Some("\u{fffd}"));
    }
}
