//! The field lines of a head as spans into its buffer, and what they say, gathered in one pass.
//!
//! It takes what httparse found; it refuses nothing itself. Called by `head`; [`Fields`] by all who
//! read heads.

use super::error::HeadError;
use super::fields::{FieldName, members};
use super::framing::Declared;
use super::method::Version;
use crate::limits::{CONNECTION_NAMES_MAX, HEAD_FIELDS_IN_PLACE};

/// A place in a head's buffer. 16 bits reach past the longest head; `limits` checks that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub at: u16,
    /// How many bytes.
    pub len: u16,
}

impl Span {
    /// The `len` bytes from `at`.
    pub(super) fn new(at: usize, len: usize) -> Span {
        // Both are within a head, whose bound `limits` holds below u16::MAX.
        let narrow = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        Span { at: narrow(at), len: narrow(len) }
    }

    /// Its bytes in the buffer that was parsed.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let at = usize::from(self.at);
        buffer.get(at..at + usize::from(self.len)).unwrap_or(&[])
    }

    /// One past the last byte.
    pub fn end(self) -> u16 {
        self.at.saturating_add(self.len)
    }

    /// Where `part`, a piece of `buffer`, stands in it.
    pub(super) fn within(buffer: &[u8], part: &[u8]) -> Span {
        let at = (part.as_ptr() as usize).saturating_sub(buffer.as_ptr() as usize);
        Span::new(at, part.len())
    }
}

/// What the `Connection` fields say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
    /// So many others: names of fields that end at this hop.
    pub nominated: u8,
}

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, as it came; the line begins here.
    pub name: Span,
    /// The value without the white space around it.
    pub value: Span,
    /// The name, where it is one we act on.
    pub known: FieldName,
}

/// The fields of a head, in order.
///
/// A head is handed from hand to hand, so what nearly every one has stands in the head itself, and
/// only one with more fields has a table of its own: room for [`HEAD_FIELDS_MAX`] in each would be
/// a KiB to move.
///
/// [`HEAD_FIELDS_MAX`]: crate::limits::HEAD_FIELDS_MAX
#[derive(Clone, Debug)]
pub struct Fields {
    few: [Field; HEAD_FIELDS_IN_PLACE],
    count: usize,
    /// All of them, where they are more.
    many: Option<Box<[Field]>>,
}

impl Fields {
    /// All of them, in order.
    pub fn as_slice(&self) -> &[Field] {
        match &self.many {
            None => self.few.get(..self.count).unwrap_or(&[]),
            Some(many) => many,
        }
    }

    /// The first field of that name.
    pub fn first(&self, name: FieldName) -> Option<Field> {
        self.as_slice().iter().find(|field| field.known == name).copied()
    }

    /// The value of the first field of that name.
    pub fn value<'a>(&self, name: FieldName, buffer: &'a [u8]) -> Option<&'a [u8]> {
        self.first(name).map(|field| field.value.of(buffer))
    }

    /// The names that the `Connection` fields nominate as ending at this hop: gathered once, since
    /// these fields may be long and are asked about each of the others.
    pub fn nominated<'a>(&self, buffer: &'a [u8]) -> Nominated<'a> {
        let connections =
            self.as_slice().iter().filter(|field| field.known == FieldName::Connection);
        let options = connections.flat_map(|field| members(field.value.of(buffer)));
        let mut nominated = Nominated { names: [&[]; CONNECTION_NAMES_MAX], count: 0 };
        for (slot, name) in nominated.names.iter_mut().zip(options.filter(|it| is_name(it))) {
            *slot = name;
            nominated.count += 1;
        }
        nominated
    }
}

/// Names of fields that end at this hop.
#[derive(Clone, Copy, Debug)]
pub struct Nominated<'a> {
    names: [&'a [u8]; CONNECTION_NAMES_MAX],
    count: usize,
}

impl Nominated<'_> {
    /// Whether it is one of them.
    pub fn has(&self, name: &[u8]) -> bool {
        self.names.iter().take(self.count).any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Whether a `Connection` option is a field's name, and not about the connection itself.
fn is_name(option: &[u8]) -> bool {
    let mut options = ConnectionOptions::default();
    options.note(option);
    options.nominated > 0
}

impl ConnectionOptions {
    /// Refuses more names than every field is compared with.
    pub(super) fn check(self) -> Result<(), HeadError> {
        match usize::from(self.nominated) <= CONNECTION_NAMES_MAX {
            true => Ok(()),
            false => Err(HeadError::NominatedTooMany),
        }
    }

    pub(super) fn keeps_alive(self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }

    fn note(&mut self, option: &[u8]) {
        if option.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else {
            self.nominated = self.nominated.saturating_add(1);
        }
    }
}

/// The fields of one name.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    /// How many; a head has fewer than 65,536.
    pub(super) times: u16,
    /// The value of the first.
    pub(super) first: Span,
}

impl Seen {
    fn note(&mut self, value: Span) {
        if self.times == 0 {
            self.first = value;
        }
        self.times += 1;
    }
}

/// What the fields say, gathered in one pass over them.
#[derive(Clone, Copy, Default)]
pub(super) struct Learnt {
    pub(super) connection: ConnectionOptions,
    pub(super) host: Seen,
    pub(super) length: Seen,
    pub(super) coding: Seen,
    pub(super) expects_continue: bool,
    pub(super) has_upgrade: bool,
}

impl Learnt {
    fn note(&mut self, field: Field, buffer: &[u8]) {
        let value = || field.value.of(buffer);
        match field.known {
            FieldName::Host => self.host.note(field.value),
            FieldName::ContentLength => self.length.note(field.value),
            FieldName::TransferEncoding => self.coding.note(field.value),
            FieldName::Connection => {
                members(value()).for_each(|option| self.connection.note(option));
            }
            FieldName::Expect => {
                self.expects_continue |= value().eq_ignore_ascii_case(b"100-continue")
            }
            FieldName::Upgrade => self.has_upgrade |= members(value()).next().is_some(),
            _ => {}
        }
    }

    pub(super) fn declared(self, buffer: &[u8]) -> Declared<'_> {
        let declared =
            |seen: Seen| (seen.times > 0).then(|| (seen.first.of(buffer), usize::from(seen.times)));
        Declared { length: declared(self.length), coding: declared(self.coding) }
    }
}

pub(super) fn collect(buffer: &[u8], headers: &[httparse::Header<'_>]) -> (Fields, Learnt) {
    let nothing = Field { name: Span::default(), value: Span::default(), known: FieldName::Other };
    let mut learnt = Learnt::default();
    let mut take = |header: &httparse::Header<'_>| {
        let name = Span::within(buffer, header.name.as_bytes());
        let value = match header.value {
            [] => Span { at: name.end() + 1, len: 0 },
            value => Span::within(buffer, value),
        };
        let field = Field { name, value, known: FieldName::of(header.name.as_bytes()) };
        learnt.note(field, buffer);
        field
    };
    let mut fields =
        Fields { few: [nothing; HEAD_FIELDS_IN_PLACE], count: headers.len(), many: None };
    if headers.len() > HEAD_FIELDS_IN_PLACE {
        fields.many = Some(headers.iter().map(take).collect());
    } else {
        for (slot, header) in fields.few.iter_mut().zip(headers) {
            *slot = take(header);
        }
    }
    (fields, learnt)
}
