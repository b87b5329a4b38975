//! The little of URLs that is needed: `http://host:port/path`, percent-encoding, query parameters.
//!
//! No other scheme, no user names, no relative references. Names are resolved by
//! [`HttpUrl::resolve`], which blocks: a loop's thread has it done elsewhere.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Where a server of ours is: `http://10.0.0.1:7070`, with an optional path before all of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    host: String,
    port: u16,
    path: String,
}

/// Why a text is no such URL; its text says what one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Another scheme than `http`.
    Scheme,
    /// No host, or one with characters that no host has.
    Host,
    /// A port that is no number from 1 to 65535.
    Port,
    /// White space, controls, a query or a fragment in the path.
    Path,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::Scheme => "write it as http://HOST:PORT (https is not spoken here)",
            UrlError::Host => "the host is missing or not valid: write http://HOST:PORT",
            UrlError::Port => "the port is not a number from 1 to 65535",
            UrlError::Path => "the path has characters that a path can't have",
        })
    }
}

impl std::error::Error for UrlError {}

impl FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<HttpUrl, UrlError> {
        let rest = text.strip_prefix("http://").ok_or(UrlError::Scheme)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let plain = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c);
        if !path.chars().all(plain) {
            return Err(UrlError::Path);
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, "")) => (host, "80"),
            Some((host, port)) => (host, port.strip_prefix(':').ok_or(UrlError::Port)?),
            None => authority.split_once(':').unwrap_or((authority, "80")),
        };
        let bracketed = authority.starts_with('[');
        let host_ok = if bracketed {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        let port_ok = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|&port: &u16| port > 0 && port_ok);
        if !host_ok {
            return Err(UrlError::Host);
        }
        let path = path.trim_end_matches('/').to_owned();
        Ok(HttpUrl { host: host.to_owned(), port: port.ok_or(UrlError::Port)?, path })
    }
}

impl HttpUrl {
    /// The host and port as the Host field has them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The target of a request for `path` (which begins with `/`) below this URL.
    pub fn target(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// The host's addresses. Asks the resolver: may block for seconds, except where the host is an
    /// address.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }

    /// The address, where the host is one: nothing has to be resolved.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

/// Undoes percent-encoding; `None` for a bad escape or for what is no UTF-8 then.
pub fn percent_decode(text: &str) -> Option<String> {
    decode(text, false)
}

/// Encodes what can't stand in one segment of a path or in a query's value.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The parameters of a query, decoded; one that can't be decoded stays as it was sent.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let plain = |text: &str| decode(text, true).unwrap_or_else(|| text.to_owned());
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(n, v)| (plain(n), plain(v)))
        .collect()
}

fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, authority, target) in [
            ("http://127.0.0.1:7070", "127.0.0.1:7070", "/v1"),
            ("http://controller.lan", "controller.lan:80", "/v1"),
            ("http://[::1]:7070/", "[::1]:7070", "/v1"),
            ("http://[::1]", "[::1]:80", "/v1"),
            ("http://a-b_c:1/tucano/", "a-b_c:1", "/tucano/v1"),
        ] {
            let url: HttpUrl = text.parse().expect(text);
            assert_eq!((url.authority().as_str(), url.target("/v1").as_str()), (authority, target));
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        for (text, error) in [
            ("https://a", UrlError::Scheme),
            ("a:7070", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http://:80", UrlError::Host),
            ("http://user@host", UrlError::Host),
            ("http://a b", UrlError::Host),
            ("http://[::g]:1", UrlError::Host),
            ("http://a:0", UrlError::Port),
            ("http://a:", UrlError::Port),
            ("http://a:+80", UrlError::Port),
            ("http://a:65536", UrlError::Port),
            ("http://[::1]80", UrlError::Port),
            ("http://a/b c", UrlError::Path),
            ("http://a/b?c", UrlError::Path),
        ] {
            assert_eq!(text.parse::<HttpUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_address_needs_no_resolver() {
        let url: HttpUrl = "http://[::1]:7070".parse().expect("a URL");
        assert_eq!(url.literal(), "[::1]:7070".parse().ok());
        assert_eq!(url.resolve().ok(), url.literal().map(|addr| vec![addr]));
        assert_eq!("http://a.lan:1".parse::<HttpUrl>().ok().and_then(|url| url.literal()), None);
    }

    #[test]
    fn percent_encoding() {
        assert_eq!(percent_decode("a%2Fb%20c+d"), Some("a/b c+d".to_owned()));
        for text in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(percent_decode(text), None, "{text}");
        }
        for text in ["", "plain", "a/b c+d", "ünï%"] {
            assert_eq!(percent_decode(&percent_encode(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn queries() {
        let pairs = query_pairs("tail=100&follow&&x=a+b%26c&x=%zz");
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("tail", "100"), ("follow", ""), ("x", "a b&c"), ("x", "%zz")]);
    }
}
