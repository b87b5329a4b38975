//! Ids of instances and deployments: short, sortable by birth, opaque to everyone outside.
//!
//! 64 bits (44 of milliseconds since 2020, 20 of a counter that starts at a random place) as 13
//! letters of Crockford's base 32 in lower case. The one writer of the cluster makes them; nobody
//! reads meaning out of them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Wall;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// How many letters an id is written with.
pub const LETTERS: usize = 13;
/// 2020-01-01T00:00:00Z, so that 44 bits last until the year 2577.
const EPOCH_MS: i64 = 1_577_836_800_000;

macro_rules! id_type {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&self.letters()).unwrap_or_default())
            }
        }

        impl $name {
            /// As it is written.
            pub fn letters(self) -> [u8; LETTERS] {
                letters_of(self.0)
            }

            /// Reads an id as it is written; `None` for anything else.
            pub fn parse(text: &str) -> Option<$name> {
                read_letters(text).map($name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                crate::text::parsed(deserializer, |text| {
                    $name::parse(text).ok_or("not an id (13 letters and digits)")
                })
            }
        }
    };
}

id_type!(InstanceId, "One running copy of a revision on one worker; a restart in place keeps it.");
id_type!(DeploymentId, "One attempt to bring a service to a revision.");

fn letters_of(value: u64) -> [u8; LETTERS] {
    let mut letters = [0u8; LETTERS];
    for (i, letter) in letters.iter_mut().rev().enumerate() {
        *letter = ALPHABET[(value >> (5 * i) & 31) as usize];
    }
    letters
}

fn read_letters(text: &str) -> Option<u64> {
    let text = text.as_bytes();
    // 13 letters hold 65 bits: the first may only be 0 to f.
    if text.len() != LETTERS || !text[0].is_ascii_hexdigit() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = ALPHABET.iter().position(|letter| letter == byte)?;
        Some(value << 5 | digit as u64)
    })
}

/// Makes ids that only grow, also when the wall clock steps back and across restarts (give it the
/// largest one known).
#[derive(Clone, Debug)]
pub struct IdSource {
    last: u64,
}

impl IdSource {
    /// A source whose ids are all larger than `largest_known`.
    pub fn after(largest_known: u64) -> IdSource {
        IdSource { last: largest_known }
    }

    /// There is this one too: the next ones are larger.
    pub fn know(&mut self, id: u64) {
        self.last = self.last.max(id);
    }

    /// The next id; `salt` decides where in the millisecond it falls, so that two controllers
    /// that were copied from one another do not make the same ones.
    pub fn next(&mut self, now: Wall, salt: u64) -> u64 {
        let millis = u64::try_from(now.0.saturating_sub(EPOCH_MS)).unwrap_or(0);
        let fresh = millis << 20 | salt & 0xf_ffff;
        self.last = fresh.max(self.last + 1);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_there_and_back_and_sorts_like_the_number() {
        let numbers = [0, 1, 31, 32, 1 << 40, u64::MAX - 1, u64::MAX];
        let texts: Vec<String> = numbers.iter().map(|&n| InstanceId(n).to_string()).collect();
        assert!(texts.is_sorted());
        for (number, text) in numbers.iter().zip(&texts) {
            assert_eq!(InstanceId::parse(text), Some(InstanceId(*number)), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "0", "zzzzzzzzzzzzz", "000000000000U", "00000000000000", "g000000000000"] {
            assert_eq!(InstanceId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ids_grow_even_when_the_clock_steps_back() {
        let mut source = IdSource::after(0);
        let first = source.next(Wall(EPOCH_MS + 1000), 5);
        let second = source.next(Wall(EPOCH_MS + 10), u64::MAX);
        assert!(second > first);
        assert!(source.next(Wall(0), 0) > second);
    }
}
