//! Heads on their way through: which fields pass, which end here, which are added (contract, "What
//! the balancer promises"; RFC 9110, 7.6).
//!
//! What passes is copied in as few pieces as it comes in: a head is short, and the kernel takes one
//! piece for less than several. It sends nothing. Called by `send` and `answer`.

use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;

use tucano_common::http1::fields::members;
use tucano_common::http1::framing::Recoding;
use tucano_common::http1::target::Target;
use tucano_common::http1::{
    Field, FieldName, Fields, Nominated, RequestHead, ResponseHead, Span, Version,
};
use tucano_common::id::InstanceId;
use tucano_common::limits::REQUEST_ID_BYTES_MAX;

use super::connections::RequestId;

/// What a request's head is told about where it came from.
pub(super) struct Origin {
    pub(super) peer: IpAddr,
    /// The peer is a proxy whose word counts.
    pub(super) is_trusted: bool,
    pub(super) id: RequestId,
}

/// A head made of what came and of what is added, front to back.
struct Draft<'a> {
    came: &'a [u8],
    /// The last piece that is kept, not copied yet: it may grow.
    kept: Range<usize>,
    out: &'a mut Vec<u8>,
}

impl<'a> Draft<'a> {
    /// Of a head that came in `came`, in place of what `out` had.
    fn new(came: &'a [u8], out: &'a mut Vec<u8>) -> Draft<'a> {
        out.clear();
        Draft { came, kept: 0..0, out }
    }

    /// Keeps these bytes of what came.
    fn keep(&mut self, start: usize, end: usize) {
        if self.kept.end == start {
            self.kept.end = end;
        } else {
            self.copy_kept();
            self.kept = start..end;
        }
    }

    /// What is appended here comes after what was kept so far.
    fn add(&mut self) -> &mut Vec<u8> {
        self.copy_kept();
        self.out
    }

    fn copy_kept(&mut self) {
        let kept = std::mem::replace(&mut self.kept, 0..0);
        self.out.extend_from_slice(self.came.get(kept).unwrap_or(&[]));
    }
}

/// Writes the head of a request as an instance gets it into `out`, in place of what was there.
pub(super) fn request(head: &RequestHead, bytes: &[u8], origin: &Origin, out: &mut Vec<u8>) {
    let mut draft = Draft::new(bytes, out);
    request_line(head, &mut draft);
    let fields = head.fields.as_slice();
    let last_for = match origin.is_trusted {
        true => fields.iter().rposition(|field| field.known == FieldName::XForwardedFor),
        false => None,
    };
    let keeps_id = keeps_id(&head.fields, bytes);
    let is_absolute = matches!(head.target, Target::Absolute { .. });
    let nominated = (head.connection.nominated > 0).then(|| head.fields.nominated(bytes));
    for (place, field) in fields.iter().enumerate() {
        let ends_here = match field.known {
            FieldName::Host => is_absolute,
            FieldName::XForwardedFor => !origin.is_trusted || Some(place) == last_for,
            FieldName::XForwardedProto
            | FieldName::XForwardedHost
            | FieldName::XForwardedPort
            | FieldName::XForwardedPrefix
            | FieldName::XRealIp
            | FieldName::Forwarded => !origin.is_trusted,
            FieldName::XRequestId => !keeps_id,
            _ => ends_at_this_hop(field, bytes, nominated.as_ref()),
        };
        if !ends_here {
            keep_line(&mut draft, fields, place, head.whole);
        }
    }
    let out = draft.add();
    let forwarded_for = last_for.and_then(|place| fields.get(place));
    add_forwarded(head, bytes, origin, forwarded_for, out);
    if is_absolute {
        field(out, b"Host: ", head.host.of(bytes));
    }
    if !keeps_id {
        field(out, b"X-Request-Id: ", &origin.id.digits());
    }
    if head.asks_upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        let upgrades = fields.iter().filter(|field| field.known == FieldName::Upgrade);
        upgrades.for_each(|upgrade| field(out, b"Upgrade: ", upgrade.value.of(bytes)));
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether this request asks to go on in HTTP/2: over a connection of its own, past every rule of
/// this proxy. Such an `Upgrade` is not passed on (RFC 9113 has dropped it).
pub(super) fn asks_http2(head: &RequestHead, bytes: &[u8]) -> bool {
    let upgrades = head.fields.as_slice().iter().filter(|field| field.known == FieldName::Upgrade);
    upgrades
        .flat_map(|field| members(field.value.of(bytes)))
        .any(|protocol| protocol.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"h2c")))
}

/// What the client's own id of the request is, where it is a sane one.
pub(super) fn client_id<'a>(fields: &Fields, bytes: &'a [u8]) -> Option<&'a [u8]> {
    keeps_id(fields, bytes).then(|| fields.value(FieldName::XRequestId, bytes)).flatten()
}

fn keeps_id(fields: &Fields, bytes: &[u8]) -> bool {
    let mut ids = fields.as_slice().iter().filter(|field| field.known == FieldName::XRequestId);
    let is_sane = |id: &[u8]| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    };
    ids.next().is_some_and(|id| is_sane(id.value.of(bytes))) && ids.next().is_none()
}

fn request_line(head: &RequestHead, draft: &mut Draft<'_>) {
    if let (Version::Http11, Target::Origin(_) | Target::Asterisk(_)) = (head.version, head.target)
    {
        let fields = head.fields.as_slice();
        draft.keep(head.whole.at.into(), line_start(fields, 0, head.whole));
        return;
    }
    let bytes = draft.came;
    let path = head.target.path().of(bytes);
    let out = draft.add();
    out.extend_from_slice(head.method_text.of(bytes));
    out.push(b' ');
    match (head.target, path) {
        (Target::Absolute { .. }, []) if head.method_text.of(bytes) == b"OPTIONS" => {
            out.push(b'*');
        }
        (Target::Absolute { .. }, [] | [b'?', ..]) => out.push(b'/'),
        (Target::Absolute { .. } | Target::Origin(_) | Target::Asterisk(_), _) => {}
    }
    out.extend_from_slice(path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

fn add_forwarded(
    head: &RequestHead,
    bytes: &[u8],
    origin: &Origin,
    before: Option<&Field>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if let Some(before) = before {
        out.extend_from_slice(before.value.of(bytes));
        out.extend_from_slice(b", ");
    }
    address(out, origin.peer);
    out.extend_from_slice(b"\r\n");
    let keeps = |name| origin.is_trusted && head.fields.first(name).is_some();
    if !keeps(FieldName::XForwardedProto) {
        out.extend_from_slice(b"X-Forwarded-Proto: http\r\n");
    }
    if !keeps(FieldName::XForwardedHost) {
        field(out, b"X-Forwarded-Host: ", head.host.of(bytes));
    }
}

/// What becomes of the client's connection, as the head of its answer tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ToldOfConnection {
    /// HTTP/1.1: nothing is said, it is kept.
    Kept,
    /// HTTP/1.0: it is kept, and that must be said.
    KeptByWord,
    /// It is closed.
    Closed,
}

/// Writes the head of a final answer, or of 101, as the client gets it, into `out`.
pub(super) fn answer(
    head: &ResponseHead,
    bytes: &[u8],
    recoding: Recoding,
    told: ToldOfConnection,
    instance: Option<InstanceId>,
    out: &mut Vec<u8>,
) {
    let mut draft = Draft::new(bytes, out);
    keep_answer(head, recoding, &mut draft);
    let out = draft.add();
    let switches =
        matches!(head.status, 101 | 426) && head.fields.first(FieldName::Upgrade).is_some();
    match told {
        _ if switches => out.extend_from_slice(b"Connection: Upgrade\r\n"),
        ToldOfConnection::Kept => {}
        ToldOfConnection::KeptByWord => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        ToldOfConnection::Closed => out.extend_from_slice(b"Connection: close\r\n"),
    }
    if recoding == Recoding::IntoChunks {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(instance) = instance {
        field(out, b"X-Tucano-Instance: ", &instance.letters());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an interim answer as the client gets it into `out`.
pub(super) fn interim(head: &ResponseHead, bytes: &[u8], out: &mut Vec<u8>) {
    let mut draft = Draft::new(bytes, out);
    keep_answer(head, Recoding::Same, &mut draft);
    draft.add().extend_from_slice(b"\r\n");
}

fn keep_answer(head: &ResponseHead, recoding: Recoding, draft: &mut Draft<'_>) {
    let bytes = draft.came;
    let fields = head.fields.as_slice();
    let first_line_end = line_start(fields, 0, head.whole);
    match head.version {
        Version::Http11 => draft.keep(0, first_line_end),
        Version::Http10 => {
            draft.add().extend_from_slice(b"HTTP/1.1");
            draft.keep(b"HTTP/1.0".len(), first_line_end);
        }
    }
    let has_no_body = matches!(head.status, 100..200 | 204);
    let nominated = (head.connection.nominated > 0).then(|| head.fields.nominated(bytes));
    for (place, field) in fields.iter().enumerate() {
        let ends_here = match field.known {
            FieldName::XTucanoInstance | FieldName::XTucanoError => true,
            FieldName::Upgrade => !matches!(head.status, 101 | 426),
            FieldName::ContentLength => has_no_body,
            FieldName::TransferEncoding => has_no_body || recoding == Recoding::OutOfChunks,
            FieldName::Trailer => recoding == Recoding::OutOfChunks,
            _ => ends_at_this_hop(field, bytes, nominated.as_ref()),
        };
        if !ends_here {
            keep_line(draft, fields, place, head.whole);
        }
    }
}

fn ends_at_this_hop(field: &Field, bytes: &[u8], nominated: Option<&Nominated<'_>>) -> bool {
    let is_nominated = || nominated.is_some_and(|names| names.has(field.name.of(bytes)));
    field.known.is_hop_by_hop() || (field.known.is_removed_when_nominated() && is_nominated())
}

fn keep_line(draft: &mut Draft<'_>, fields: &[Field], place: usize, head: Span) {
    draft.keep(line_start(fields, place, head), line_start(fields, place + 1, head));
}

/// Where a field's line begins; past the last one, where the head's empty line does.
fn line_start(fields: &[Field], place: usize, head: Span) -> usize {
    match fields.get(place) {
        Some(field) => field.name.at.into(),
        None => usize::from(head.end()) - 2,
    }
}

/// Appends a line; `name` with its colon and space.
fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// As `Display` writes it; without the formatting machinery for what nearly every client has.
fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                decimal(out, octet);
            }
        }
        // A Vec takes everything.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

fn decimal(out: &mut Vec<u8>, number: u8) {
    let digits = [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit);
    let zeros = usize::from(number < 100) + usize::from(number < 10);
    out.extend_from_slice(digits.get(zeros..).unwrap_or(&[]));
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
