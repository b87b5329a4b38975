//! Field names, comma lists, and which fields end at this hop.
//!
//! It does not parse lines (`head` does) and knows no values but lists of tokens.
//! Called by `head`, `framing` and by readers of single fields.

macro_rules! field_names {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A field name this project acts on; all others are [`FieldName::Other`] and pass as they
        /// came.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the field names themselves")]
        pub enum FieldName {
            $($name,)*
            /// Any other.
            Other,
        }

        impl FieldName {
            /// Every name but [`FieldName::Other`].
            pub const ALL: &'static [FieldName] = &[$(FieldName::$name,)*];

            /// As it is written in answers and requests of our own; empty for [`FieldName::Other`].
            pub const fn text(self) -> &'static str {
                match self {
                    $(FieldName::$name => $text,)*
                    FieldName::Other => "",
                }
            }
        }
    };
}

field_names! {
    Te = "TE",
    Age = "Age",
    Via = "Via",
    Date = "Date",
    Etag = "ETag",
    Host = "Host",
    Allow = "Allow",
    Range = "Range",
    Accept = "Accept",
    Cookie = "Cookie",
    Expect = "Expect",
    Origin = "Origin",
    Server = "Server",
    Referer = "Referer",
    Trailer = "Trailer",
    Upgrade = "Upgrade",
    IfMatch = "If-Match",
    Location = "Location",
    Forwarded = "Forwarded",
    XRealIp = "X-Real-IP",
    Connection = "Connection",
    KeepAlive = "Keep-Alive",
    SetCookie = "Set-Cookie",
    UserAgent = "User-Agent",
    ContentType = "Content-Type",
    RetryAfter = "Retry-After",
    XRequestId = "X-Request-Id",
    CacheControl = "Cache-Control",
    MaxForwards = "Max-Forwards",
    Authorization = "Authorization",
    ContentRange = "Content-Range",
    Http2Settings = "HTTP2-Settings",
    XTucanoError = "X-Tucano-Error",
    ContentLength = "Content-Length",
    AcceptEncoding = "Accept-Encoding",
    IdempotencyKey = "Idempotency-Key",
    XForwardedFor = "X-Forwarded-For",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    ContentEncoding = "Content-Encoding",
    ProxyConnection = "Proxy-Connection",
    XForwardedProto = "X-Forwarded-Proto",
    XTucanoInstance = "X-Tucano-Instance",
    XForwardedPrefix = "X-Forwarded-Prefix",
    TransferEncoding = "Transfer-Encoding",
    ProxyAuthorization = "Proxy-Authorization",
}

const LONGEST: usize = 19;
const COUNT: usize = FieldName::ALL.len();

/// All names, the shortest first, and from where on which length stands.
static SPELLINGS: [Spelling; COUNT] = spellings();
static FIRST_OF_LENGTH: [u8; LONGEST + 2] = first_of_length();

const fn spellings() -> [Spelling; COUNT] {
    let mut table = [Spelling::of(FieldName::Other); COUNT];
    let (mut len, mut count) = (1, 0);
    while len <= LONGEST {
        let mut index = 0;
        while index < COUNT {
            if FieldName::ALL[index].text().len() == len {
                table[count] = Spelling::of(FieldName::ALL[index]);
                count += 1;
            }
            index += 1;
        }
        len += 1;
    }
    assert!(count == COUNT, "no name is longer than LONGEST");
    table
}

const fn first_of_length() -> [u8; LONGEST + 2] {
    let mut first = [0; LONGEST + 2];
    let mut index = 0;
    while index < COUNT {
        let mut longer = FieldName::ALL[index].text().len() + 1;
        while longer < first.len() {
            first[longer] += 1;
            longer += 1;
        }
        index += 1;
    }
    first
}

/// A name of up to [`LONGEST`] bytes as three words: the first eight bytes, the last eight, and
/// eight between them where these don't meet. A shorter one, with zeros behind it, is the first.
type Words = [u64; 3];

/// A name as it is compared: eight bytes at once.
#[derive(Clone, Copy)]
struct Spelling {
    name: FieldName,
    words: Words,
    /// The bits that may differ: a letter's case.
    case: Words,
}

impl Spelling {
    const fn of(name: FieldName) -> Spelling {
        let mut case = [0; LONGEST];
        let text = name.text().as_bytes();
        let mut index = 0;
        while index < text.len() {
            case[index] = if text[index].is_ascii_alphabetic() { 0x20 } else { 0 };
            index += 1;
        }
        Spelling { name, words: words(text), case: words(case.split_at(text.len()).0) }
    }

    fn matches(&self, words: &Words) -> bool {
        let differs = |at: usize| (self.words[at] ^ words[at]) & !self.case[at] != 0;
        !differs(0) && !differs(1) && !differs(2)
    }
}

const fn words(name: &[u8]) -> Words {
    let between = match name.split_at_checked(8) {
        Some((_, rest)) => rest.first_chunk(),
        None => None,
    };
    match (name.first_chunk(), between, name.last_chunk()) {
        (Some(first), Some(between), Some(last)) => {
            [u64::from_le_bytes(*first), u64::from_le_bytes(*between), u64::from_le_bytes(*last)]
        }
        (Some(first), None, Some(last)) => {
            [u64::from_le_bytes(*first), 0, u64::from_le_bytes(*last)]
        }
        _ => [short(name), 0, 0],
    }
}

/// Less than eight bytes.
const fn short(name: &[u8]) -> u64 {
    match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            first as u64 | (last as u64) << (8 * (name.len() - 4))
        }
        _ => {
            let (mut word, mut index) = (0, 0);
            while index < name.len() {
                word |= (name[index] as u64) << (8 * index);
                index += 1;
            }
            word
        }
    }
}

impl FieldName {
    /// The name that these bytes spell, whatever their case.
    pub fn of(name: &[u8]) -> FieldName {
        let Some([first, end]) = FIRST_OF_LENGTH.get(name.len()..).and_then(|it| it.first_chunk())
        else {
            return FieldName::Other;
        };
        let words = words(name);
        let candidates = SPELLINGS.get(usize::from(*first)..usize::from(*end)).unwrap_or(&[]);
        let found = candidates.iter().find(|known| known.matches(&words));
        found.map_or(FieldName::Other, |known| known.name)
    }

    /// Whether the field speaks about one connection and never passes on (RFC 9110, 7.6.1).
    ///
    /// Transfer-Encoding is not among them: whoever passes a body on keeps or drops it with the
    /// framing.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            FieldName::Connection
                | FieldName::KeepAlive
                | FieldName::ProxyConnection
                | FieldName::Te
                | FieldName::Upgrade
                | FieldName::Http2Settings
        )
    }

    /// Whether a `Connection` option may remove the field. What routes, frames, authorises or tells
    /// where a request came from may not be talked away by its sender.
    pub fn is_removed_when_nominated(self) -> bool {
        self == FieldName::Other || self.is_hop_by_hop() || matches!(self, FieldName::Age)
    }

    /// Whether the field may stand in a trailer section (RFC 9110, 6.5.1): nothing that frames,
    /// routes, authorises, or that a recipient which merges trailers would take for the head's.
    pub fn is_allowed_in_trailer(self) -> bool {
        matches!(self, FieldName::Other | FieldName::Etag | FieldName::Date | FieldName::Server)
    }
}

/// The members of a comma-separated list, without the white space around them and without empty
/// ones (RFC 9110, 5.6.1). For lists of tokens: a comma in a quoted string would end its member.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Without the optional white space (SP, HTAB) at both ends.
pub fn trim(value: &[u8]) -> &[u8] {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !white(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !white(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or(&[])
}

/// Whether these bytes are a token (RFC 9110, 5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// Whether a field value may have this byte: HTAB, SP, visible characters and what is beyond ASCII.
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for &name in FieldName::ALL {
            assert_eq!(FieldName::of(name.text().as_bytes()), name);
            assert_eq!(FieldName::of(name.text().to_ascii_lowercase().as_bytes()), name);
            assert_eq!(FieldName::of(name.text().to_ascii_uppercase().as_bytes()), name);
            assert_eq!(FieldName::of(format!("{}x", name.text()).as_bytes()), FieldName::Other);
            assert!(is_token(name.text().as_bytes()));
        }
        for &name in FieldName::ALL {
            let text = name.text().as_bytes();
            for (place, byte) in
                (0..text.len()).flat_map(|place| (0..=255).map(move |b| (place, b)))
            {
                let mut other = text.to_vec();
                other[place] = byte;
                let is_same = other.eq_ignore_ascii_case(text);
                assert_eq!(FieldName::of(&other) == name, is_same, "{}", other.escape_ascii());
            }
        }
        assert_eq!(FieldName::of(b""), FieldName::Other);
        assert_eq!(FieldName::of(b"X-Anything"), FieldName::Other);
    }

    #[test]
    fn members_of_lists() {
        let all = |value: &'static [u8]| members(value).collect::<Vec<_>>();
        assert_eq!(all(b"a, b ,c"), [b"a", b"b", b"c"]);
        assert_eq!(all(b" , ,a,,\t b,"), [b"a", b"b"]);
        assert!(all(b"").is_empty());
        assert!(all(b" \t,").is_empty());
    }

    #[test]
    fn white_space_is_trimmed_at_the_ends_only() {
        assert_eq!(trim(b" \t a b\t"), b"a b");
        assert_eq!(trim(b" \t"), b"");
        assert_eq!(trim(b"a"), b"a");
        assert_eq!(trim(b"\x0ba"), b"\x0ba", "a vertical tab is no white space here");
    }

    #[test]
    fn tokens() {
        assert!(is_token(b"x-a_b.c~1!#$%&'*+^`|"));
        for bad in [b"".as_slice(), b"a b", b"a:", b"a\"", b"(a)", b"a/b", b"\x7f", b"\xe9", b"a,"]
        {
            assert!(!is_token(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn what_routes_or_frames_is_never_nominated_away() {
        for name in [
            FieldName::Host,
            FieldName::ContentLength,
            FieldName::TransferEncoding,
            FieldName::Authorization,
            FieldName::Cookie,
            FieldName::XForwardedFor,
            FieldName::XRequestId,
        ] {
            assert!(!name.is_removed_when_nominated(), "{name:?}");
            assert!(!name.is_hop_by_hop(), "{name:?}");
            assert!(!name.is_allowed_in_trailer(), "{name:?}");
        }
        assert!(FieldName::Other.is_removed_when_nominated());
        assert!(FieldName::KeepAlive.is_hop_by_hop());
    }
}
