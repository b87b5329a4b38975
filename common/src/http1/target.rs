//! The forms of a request target (RFC 9112, 3.2), and authorities: `host [":" port]`.
//!
//! It does not normalise: paths pass as they came. Called by `head`; `host_of` also by whoever
//! routes.

use super::error::HeadError;
use super::lines::Span;
use super::method::Method;

/// What the client asked for, as spans into the head's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`, as it is sent on.
    Origin(Span),
    /// `http://authority/path?query`; the authority wins over Host.
    Absolute {
        /// `host [":" port]`.
        authority: Span,
        /// `/path?query`, `?query` or nothing: a `/` (or `*` for OPTIONS) is missing when it
        /// doesn't begin with one.
        path: Span,
    },
    /// `*`, with OPTIONS only.
    Asterisk(Span),
}

impl Target {
    /// The path and query as they came, without what an absolute form has before them.
    pub fn path(self) -> Span {
        match self {
            Target::Origin(path) | Target::Absolute { path, .. } | Target::Asterisk(path) => path,
        }
    }
}

/// Reads a target, `at` bytes into the head's buffer.
pub(super) fn parse(target: &[u8], at: usize, method: Method) -> Result<Target, HeadError> {
    if !target.iter().all(|&byte| is_target_byte(byte)) {
        return Err(HeadError::Target);
    }
    match target {
        b"*" if method == Method::Options => Ok(Target::Asterisk(Span::new(at, 1))),
        [b'/', ..] => Ok(Target::Origin(Span::new(at, target.len()))),
        _ => absolute(target, at),
    }
}

/// A URI's bytes, and the few that browsers leave unescaped in queries; no fragment, which is never
/// sent.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

fn absolute(target: &[u8], at: usize) -> Result<Target, HeadError> {
    let scheme = [b"http://".as_slice(), b"https://"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let skipped = scheme.ok_or(HeadError::Target)?.len();
    let rest = target.get(skipped..).unwrap_or(&[]);
    let len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.get(..len).unwrap_or(&[]);
    if authority.is_empty() || !is_authority(authority) {
        return Err(HeadError::HostMalformed);
    }
    Ok(Target::Absolute {
        authority: Span::new(at + skipped, len),
        path: Span::new(at + skipped + len, rest.len() - len),
    })
}

/// Whether these bytes are `host [":" port]` without user information; an empty host is one (RFC
/// 9110, 7.2).
pub fn is_authority(authority: &[u8]) -> bool {
    // As nearly all of them are.
    if authority.iter().all(|byte| STANDS_FOR_ITSELF[usize::from(*byte)]) {
        return true;
    }
    let (host, port) = split(authority);
    let port_is_good = match port {
        None => true,
        Some(port) => {
            port.len() <= 5
                && port.iter().all(u8::is_ascii_digit)
                && super::framing::number(port).is_none_or(|port| port <= u64::from(u16::MAX))
        }
    };
    port_is_good && (is_ip_literal(host) || is_reg_name(host))
}

/// The host of an authority, without its port; as it came, with a literal's brackets.
pub fn host_of(authority: &[u8]) -> &[u8] {
    split(authority).0
}

fn split(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_literal = match authority {
        [b'[', ..] => authority.iter().rposition(|&byte| byte == b']').map_or(0, |end| end + 1),
        _ => 0,
    };
    let tail = authority.get(after_literal..).unwrap_or(&[]);
    match tail.iter().position(|&byte| byte == b':') {
        None => (authority, None),
        Some(colon) => {
            let (host, port) = authority.split_at(after_literal + colon);
            (host, port.get(1..))
        }
    }
}

/// `[` an IPv6 address `]`; the address's own syntax is left to whoever compares it with a route.
fn is_ip_literal(host: &[u8]) -> bool {
    matches!(host, [b'[', inner @ .., b']'] if !inner.is_empty()
        && inner.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')))
}

/// unreserved, sub-delims and percent-encoded (RFC 3986, 3.2.2).
fn is_reg_name(host: &[u8]) -> bool {
    let mut rest = host;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => after,
            _ if STANDS_FOR_ITSELF[usize::from(byte)] => after,
            _ => return false,
        };
    }
    true
}

/// [`stands_for_itself`], looked up.
static STANDS_FOR_ITSELF: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = stands_for_itself(byte as u8);
        byte += 1;
    }
    table
};

const fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'')
        || matches!(byte, b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in [
            "",
            "web",
            "web.example.lan",
            "web:80",
            "web:",
            "web:65535",
            "WEB.",
            "[::1]",
            "[::1]:80",
            "10.0.0.7:9000",
            "a_b",
            "a%20b",
            "!$&'()*+,;=~",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b",
            "a/b",
            "user@web",
            "web:x",
            "web:65536",
            "web:123456",
            "web:80:80",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[::g]",
            "a%2",
            "a%zz",
            "a\\b",
            "a\"b",
            "w\u{e9}b",
            "a?b",
            "a#b",
            "web:+80",
            "[a]b:1",
            "x[::1]",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn hosts_without_their_ports() {
        for (authority, host) in [
            ("web", "web"),
            ("web:80", "web"),
            ("web:", "web"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn forms() {
        let whole = |target: &str, method| parse(target.as_bytes(), 4, method);
        assert_eq!(whole("/", Method::Get), Ok(Target::Origin(Span::new(4, 1))));
        assert_eq!(whole("//x/", Method::Get), Ok(Target::Origin(Span::new(4, 4))));
        assert_eq!(whole("*", Method::Options), Ok(Target::Asterisk(Span::new(4, 1))));
        let absolute = Target::Absolute { authority: Span::new(11, 5), path: Span::new(16, 6) };
        assert_eq!(whole("http://web:8/a?b=c", Method::Get), Ok(absolute));
        let bare = Target::Absolute { authority: Span::new(12, 3), path: Span::new(15, 0) };
        assert_eq!(whole("HTTPS://web", Method::Get), Ok(bare));
        let query = Target::Absolute { authority: Span::new(11, 3), path: Span::new(14, 2) };
        assert_eq!(whole("http://web?q", Method::Get), Ok(query));
        for (bad, error) in [
            ("*", HeadError::Target),
            ("web:80", HeadError::Target),
            ("path", HeadError::Target),
            ("?q", HeadError::Target),
            ("/a#f", HeadError::Target),
            ("/\u{e9}", HeadError::Target),
            ("ftp://web/", HeadError::Target),
            ("http:/web/", HeadError::Target),
            ("http:///", HeadError::HostMalformed),
            ("http://u@web/", HeadError::HostMalformed),
            ("http://u:p@web/", HeadError::HostMalformed),
        ] {
            assert_eq!(whole(bad, Method::Get), Err(error), "{bad}");
        }
    }
}
