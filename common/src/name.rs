//! Names of services and workers: DNS labels, shared cheaply because the cluster's model repeats
//! them everywhere.

use std::borrow::Borrow;
use std::fmt;
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

macro_rules! name_type {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text that is a DNS label.
            pub fn new(text: &str) -> Result<$name, NameError> {
                check_label(text)?;
                Ok($name(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::new(&text).map_err(serde::de::Error::custom)
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
}
