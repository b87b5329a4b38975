//! Secrets that open the API: kept apart from ordinary text, compared in constant time.
//!
//! A [`Token`] prints nothing of itself. Where it comes from (a file, a systemd credential) is
//! `config`'s matter.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::message::Headers;

/// A secret. It has no `Display`; what it is comes out through [`Token::expose`] alone, which can
/// be searched for.
#[derive(Clone)]
pub struct Token {
    text: String,
    hash: [u8; 32],
}

impl Token {
    /// A token of this text.
    pub fn new(text: impl Into<String>) -> Token {
        let text = text.into();
        let hash = Sha256::digest(text.as_bytes()).into();
        Token { text, hash }
    }

    /// The secret itself: to be sent to the one that asks for it, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether `given` is the secret. The time it takes says nothing about where they differ:
    /// hashes are compared, all of them.
    pub fn matches(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        let difference = self.hash.iter().zip(&given).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What stands after `Bearer` in the Authorization field; `None` where there is no such field, or
/// several, or another scheme.
pub fn bearer(headers: &Headers) -> Option<&str> {
    let mut fields = headers.get_all("authorization");
    let (field, None) = (fields.next()?, fields.next()) else {
        return None;
    };
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_matches() {
        let token = Token::new("0123456789abcdef");
        assert!(token.matches("0123456789abcdef"));
        for other in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.matches(other), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn bearer_fields() {
        for (field, found) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearerabc", None),
        ] {
            let headers = [("Authorization", field)].into_iter().collect();
            assert_eq!(bearer(&headers), found, "{field}");
        }
        let two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
        assert_eq!(bearer(&two.into_iter().collect()), None);
        assert_eq!(bearer(&Headers::new()), None);
    }
}
