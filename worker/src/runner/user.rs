//! `--run-as`: which user services run as, resolved to numbers once at the agent's start.
//!
//! It changes no process's user; `exec_shim` does. A user that isn't there is refused with the
//! command that makes it.

use std::ffi::CString;
use std::fmt;

use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::user_files;

/// The user that services run as where the agent is root and nobody said otherwise.
pub(crate) const DEFAULT_USER: &str = "tucano-run";

/// A user whose rights services have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    /// Its name.
    pub(crate) name: String,
    /// Its number.
    pub(crate) uid: u32,
    /// Its group's.
    pub(crate) gid: u32,
    /// All its groups.
    pub(crate) groups: Vec<u32>,
}

/// Why `--run-as` is refused; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UserError {
    /// There is no such user.
    Missing(String),
    /// The agent is not root, so it can't take another user's rights.
    NotRoot(String),
    /// The system's list of users could not be read.
    Unreadable(String),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserError::Missing(name) => write!(
                f,
                "user {name:?} isn't there; make it with: useradd --system --no-create-home \
                 --shell /usr/sbin/nologin {name}"
            ),
            UserError::NotRoot(name) => write!(
                f,
                "only an agent that runs as root can run services as {name:?}; leave the flag out"
            ),
            UserError::Unreadable(name) => {
                write!(f, "user {name:?} could not be looked up; is /etc/passwd readable?")
            }
        }
    }
}

impl std::error::Error for UserError {}

/// Resolves the flag. `None`: services run as the agent itself (it is no root, or it was told to).
pub(crate) fn resolve(flag: Option<&str>) -> Result<Option<RunAs>, UserError> {
    resolve_for(flag, Uid::effective())
}

fn resolve_for(flag: Option<&str>, agent: Uid) -> Result<Option<RunAs>, UserError> {
    match (flag, agent.is_root()) {
        (None, false) => Ok(None),
        (None, true) => look_up(DEFAULT_USER).map(Some),
        (Some(name), true) => look_up(name).map(Some),
        (Some(name), false) => {
            let user = look_up(name)?;
            if user.uid == agent.as_raw() { Ok(None) } else { Err(UserError::NotRoot(user.name)) }
        }
    }
}

fn look_up(name: &str) -> Result<RunAs, UserError> {
    let missing = || UserError::Missing(name.to_owned());
    let unreadable = |_| UserError::Unreadable(name.to_owned());
    if let Some(user) = user_files::look_up(name) {
        return Ok(user);
    }
    let c_name = CString::new(name).map_err(|_| missing())?;
    let user = User::from_name(name).map_err(unreadable)?.ok_or_else(missing)?;
    let groups = getgrouplist(&c_name, user.gid).map_err(unreadable)?;
    Ok(RunAs {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEBODY: Uid = Uid::from_raw(12_345);
    const ROOT: Uid = Uid::from_raw(0);

    #[test]
    fn the_flag_and_the_agents_own_user_decide() {
        assert_eq!(resolve_for(None, SOMEBODY), Ok(None));
        assert_eq!(resolve_for(Some("root"), SOMEBODY), Err(UserError::NotRoot("root".to_owned())));
        let root = resolve_for(Some("root"), ROOT).unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        for (flag, agent) in [(Some("nobody-of-that-name"), ROOT), (Some("a\0b"), ROOT)] {
            assert!(matches!(resolve_for(flag, agent), Err(UserError::Missing(_))), "{flag:?}");
        }
    }

    #[test]
    fn a_missing_user_is_refused_with_the_command_that_makes_it() {
        let text = UserError::Missing("tucano-run".to_owned()).to_string();
        assert!(text.contains("useradd --system"), "{text}");
        assert!(text.ends_with(" tucano-run"), "{text}");
    }
}
