//! What the shim does, as the agent writes it and the shim reads it: texts, each ended by a NUL.
//!
//! It goes through an anonymous file, never through argv: `env` values are secrets. Only the shim
//! reads it; the holder passes it on unread and keeps nothing of it.

use std::ffi::CString;

use super::user::RunAs;

/// One script and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// Whose rights it takes; none: those of the agent.
    pub(super) user: Option<Rights>,
    /// Where it runs.
    pub(super) folder: CString,
    /// nice 19 and idle I/O.
    pub(super) low_priority: bool,
    /// For `/bin/sh -c`.
    pub(super) script: CString,
    /// `NAME=value`, all of it.
    pub(super) environment: Vec<CString>,
}

/// A user's rights by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

impl From<&RunAs> for Rights {
    fn from(user: &RunAs) -> Rights {
        Rights { uid: user.uid, gid: user.gid, groups: user.groups.clone() }
    }
}

impl Orders {
    /// The file's content.
    pub(super) fn encode(&self) -> Vec<u8> {
        let user = match &self.user {
            None => "-".to_owned(),
            Some(rights) => {
                let numbers = [rights.uid, rights.gid].into_iter().chain(rights.groups.clone());
                numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
            }
        };
        let priority = if self.low_priority { "low" } else { "normal" };
        let mut bytes = Vec::new();
        for text in [user.as_bytes(), priority.as_bytes(), self.folder.as_bytes()] {
            bytes.extend_from_slice(text);
            bytes.push(0);
        }
        for text in std::iter::once(&self.script).chain(&self.environment) {
            bytes.extend_from_slice(text.as_bytes_with_nul());
        }
        bytes
    }

    /// Reads what [`Orders::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Option<Orders> {
        let mut texts = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        let mut next = || texts.next();
        let user = match std::str::from_utf8(next()?).ok()? {
            "-" => None,
            numbers => Some(rights(numbers)?),
        };
        let low_priority = match next()? {
            b"low" => true,
            b"normal" => false,
            _ => return None,
        };
        let folder = CString::new(next()?).ok()?;
        let script = CString::new(next()?).ok()?;
        let environment = texts.map(CString::new).collect::<Result<Vec<_>, _>>().ok()?;
        Some(Orders { user, folder, low_priority, script, environment })
    }
}

fn rights(text: &str) -> Option<Rights> {
    let numbers: Option<Vec<u32>> = text.split(' ').map(|number| number.parse().ok()).collect();
    match numbers?.as_slice() {
        [uid, gid, groups @ ..] => Some(Rights { uid: *uid, gid: *gid, groups: groups.to_vec() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(user: Option<Rights>, environment: &[&str]) -> Orders {
        Orders {
            user,
            folder: c"/d/builds/c/web/1".to_owned(),
            low_priority: environment.is_empty(),
            script: c"echo \"a\nb\"; exit 1".to_owned(),
            environment: environment.iter().map(|it| CString::new(*it).unwrap()).collect(),
        }
    }

    #[test]
    fn they_come_through_as_they_were() {
        let somebody = Rights { uid: 997, gid: 996, groups: vec![996, 44] };
        let alone = Rights { uid: 1, gid: 2, groups: Vec::new() };
        for orders in [
            orders(None, &[]),
            orders(Some(somebody), &["A=b", "EMPTY=", "LINES=a\nb", "EQUALS=a=b"]),
            orders(Some(alone), &["A=é"]),
        ] {
            assert_eq!(Orders::decode(&orders.encode()), Some(orders));
        }
    }

    #[test]
    fn what_is_cut_off_or_foreign_is_refused() {
        for bytes in [&b""[..], b"\0", b"-\0low\0/d\0true", b"x\0low\0/\0true\0", b"-\0no\0/\0s\0"]
        {
            assert_eq!(Orders::decode(bytes), None, "{bytes:?}");
        }
        assert_eq!(Orders::decode(b"1\0low\0/\0true\0"), None, "a user without a group");
    }
}
