//! Names of services and workers: DNS labels, shared cheaply because the cluster's model repeats
//! them everywhere.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Empty, or longer than 63.
    Length(usize),
    /// A character outside `a-z 0-9 -`.
    Character(char),
    /// A hyphen at either end.
    Hyphen,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Length(0) => f.write_str("a name is needed: 1 to 63 of a-z 0-9 -"),
            NameError::Length(n) => write!(f, "{n} characters long: a name has at most 63"),
            NameError::Character(c) => {
                write!(f, "{:?} is not allowed: a name has a-z 0-9 - only", c)
            }
            NameError::Hyphen => f.write_str("a name neither begins nor ends with a hyphen"),
        }
    }
}

/// Checks a DNS label in lower case (RFC 1123, 2.1): 1 to 63 of `a-z 0-9 -`, no hyphen at either
/// end.
pub fn check_label(text: &str) -> Result<(), NameError> {
    if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(NameError::Character(bad));
    }
    if text.is_empty() || text.len() > 63 {
        return Err(NameError::Length(text.len()));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Hyphen);
    }
    Ok(())
}

/// So much of a name is compared as a number: the maps of the cluster's model compare names all the
/// time, and most of them differ there.
const HEAD_BYTES: usize = 8;

/// The first bytes as a number that sorts as they do; a name has no byte 0, which fills it up.
fn head(text: &str) -> u64 {
    let mut head = [0; HEAD_BYTES];
    head.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
    u64::from_be_bytes(head)
}

/// Compares names whose heads are equal. Not inlined: every map by name has it in it.
#[inline(never)]
fn cmp_rest(a: &str, b: &str) -> Ordering {
    if a.len() <= HEAD_BYTES && b.len() <= HEAD_BYTES {
        Ordering::Equal // their heads are all of both
    } else {
        a.cmp(b)
    }
}

macro_rules! name_type {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $name {
            head: u64,
            text: Arc<str>,
        }

        impl $name {
            /// Takes a text that is a DNS label.
            pub fn new(text: &str) -> Result<$name, NameError> {
                check_label(text)?;
                Ok($name { head: head(text), text: Arc::from(text) })
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &$name) -> Ordering {
                match self.head.cmp(&other.head) {
                    Ordering::Equal => cmp_rest(&self.text, &other.text),
                    unequal => unequal,
                }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &$name) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                self.head == other.head && cmp_rest(&self.text, &other.text).is_eq()
            }
        }

        impl Eq for $name {}

        /// As the text has it, which stands for it in a map.
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.text.hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.text
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                crate::text::parsed(deserializer, $name::new)
            }
        }
    };
}

name_type!(ServiceName, "The name of a service, unique in the cluster.");
name_type!(WorkerName, "The name of a worker, unique in the cluster; never its address.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let longest = "a".repeat(63);
        for good in ["a", "0", "web", "a-b", "a--b", longest.as_str()] {
            assert_eq!(check_label(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(64);
        for (bad, error) in [
            ("", NameError::Length(0)),
            (too_long.as_str(), NameError::Length(64)),
            ("-a", NameError::Hyphen),
            ("a-", NameError::Hyphen),
            ("A", NameError::Character('A')),
            ("a.b", NameError::Character('.')),
            ("é", NameError::Character('é')),
        ] {
            assert_eq!(check_label(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn names_sort_as_their_texts_do() {
        let texts = [
            "a",
            "a-",
            "a0",
            "aa",
            "b",
            "w0000001",
            "w0000002",
            "w0000001a",
            "w0000001b",
            "w000000",
            "w000000-1",
            "w00000010",
            "w00000011",
        ];
        let names = texts.map(|text| ServiceName { head: head(text), text: Arc::from(text) });
        for (a, left) in names.iter().zip(texts) {
            for (b, right) in names.iter().zip(texts) {
                assert_eq!(a.cmp(b), left.cmp(right), "{left} {right}");
                assert_eq!(a == b, left == right, "{left} {right}");
            }
        }
    }
}
