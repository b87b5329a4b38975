//! `--run-as` and `--service-uids`: which users services run as, resolved to numbers once at the
//! agent's start.
//!
//! It changes no process's user; `exec_shim` does. A user that isn't there is refused with the
//! command that makes it.

use std::ffi::CString;
use std::fmt;

use nix::unistd::{Gid, Uid, User, getgrouplist};
use tucano_worker_core::UserRange;

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

/// Whose rights services have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The agent's own: it is no root, or it was told to.
    Agents,
    /// One user's, all of them.
    One(RunAs),
    /// A number of its own each, which the supervisor gives out.
    Each(UserRange),
}

impl Identity {
    /// Whether others than the agent's user pass through the data folder to their own.
    pub(crate) fn passes_through(&self) -> bool {
        match self {
            Identity::Agents => false,
            Identity::One(_) | Identity::Each(_) => true,
        }
    }

    /// A service's, by the number that it was given; `Ok(None)`: the agent's. `Err`: it was given
    /// none, and must not have the agent's.
    pub(crate) fn of(&self, number: Option<u32>) -> Result<Option<RunAs>, String> {
        match (self, number) {
            (Identity::Agents, _) => Ok(None),
            (Identity::One(user), _) => Ok(Some(user.clone())),
            (Identity::Each(_), Some(number)) => Ok(Some(RunAs::numbered(number))),
            (Identity::Each(range), None) => Err(format!(
                "every user of --service-uids {range} belongs to a service that has something on \
                 this worker: give a larger range, or remove what services that are gone left in \
                 the data folder's data/ and start the agent again"
            )),
        }
    }

    /// One of those that it stands for, where it is not the agent's own.
    pub(crate) fn any(&self) -> Option<RunAs> {
        match self {
            Identity::Agents => None,
            Identity::One(user) => Some(user.clone()),
            Identity::Each(range) => Some(RunAs::numbered(range.first())),
        }
    }
}

impl RunAs {
    /// A user that is a number and in no list.
    fn numbered(number: u32) -> RunAs {
        RunAs { name: number.to_string(), uid: number, gid: number, groups: vec![number] }
    }
}

/// Why a flag is refused; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UserError {
    /// There is no such user.
    Missing(String),
    /// The agent is not root, so it can't take another user's rights.
    NotRoot(String),
    /// The system's list of users could not be read.
    Unreadable(String),
    /// The agent is not root, so it can't take many users' rights.
    NotRootForEach,
    /// This user namespace has no such numbers.
    Unmapped(String),
    UnmappedEach(UserRange),
    /// One of the numbers is somebody's.
    Somebodys(UserRange, String, u32),
}

impl UserError {
    /// Which flag is wrong.
    pub(crate) fn flag(&self) -> &'static str {
        match self {
            UserError::Missing(_)
            | UserError::NotRoot(_)
            | UserError::Unreadable(_)
            | UserError::Unmapped(_) => "--run-as",
            UserError::NotRootForEach | UserError::UnmappedEach(_) | UserError::Somebodys(..) => {
                "--service-uids"
            }
        }
    }
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
            UserError::Unmapped(name) => write!(
                f,
                "the user namespace of this agent has no user {name:?}; map it (/etc/subuid), or \
                 give root, which is no more than who started the agent there"
            ),
            UserError::UnmappedEach(range) => write!(
                f,
                "{range}: the user namespace of this agent has no such users; map them \
                 (/etc/subuid), or leave the flag out"
            ),
            UserError::NotRootForEach => f.write_str(
                "only an agent that runs as root can give each service a user of its own; leave \
                 the flag out",
            ),
            UserError::Somebodys(range, name, number) => {
                write!(f, "{range}: {number} is the user {name:?}; give numbers that are nobody's")
            }
        }
    }
}

impl std::error::Error for UserError {}

/// Resolves the flags, of which one at most is given.
pub(crate) fn resolve(
    run_as: Option<&str>,
    each: Option<UserRange>,
) -> Result<Identity, UserError> {
    match each {
        Some(range) => each_of(range, Uid::effective()),
        None => {
            let user = resolve_for(run_as, Uid::effective())?;
            Ok(user.map_or(Identity::Agents, Identity::One))
        }
    }
}

fn each_of(range: UserRange, agent: Uid) -> Result<Identity, UserError> {
    if !agent.is_root() {
        return Err(UserError::NotRootForEach);
    }
    if ![range.first(), range.last()].into_iter().all(user_files::is_mapped) {
        return Err(UserError::UnmappedEach(range));
    }
    match user_files::among(|number| range.contains(number)) {
        Some((name, number)) => Err(UserError::Somebodys(range, name, number)),
        None => Ok(Identity::Each(range)),
    }
}

fn resolve_for(flag: Option<&str>, agent: Uid) -> Result<Option<RunAs>, UserError> {
    match (flag, agent.is_root()) {
        (None, false) => Ok(None),
        (flag, is_root) => {
            let user = look_up(flag.unwrap_or(DEFAULT_USER))?;
            match (user.uid == agent.as_raw(), is_root) {
                // Nothing is to be taken: in a user namespace that has root alone it could not be.
                (true, _) => Ok(None),
                (false, true) if !user_files::is_mapped(user.uid) => {
                    Err(UserError::Unmapped(user.name))
                }
                (false, true) => Ok(Some(user)),
                (false, false) => Err(UserError::NotRoot(user.name)),
            }
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
        assert_eq!(resolve_for(Some("root"), ROOT), Ok(None));
        let daemon = resolve_for(Some("daemon"), ROOT).unwrap().unwrap();
        assert_eq!((daemon.uid, daemon.gid), (1, 1));
        assert!(daemon.groups.contains(&1));
        for (flag, agent) in [(Some("nobody-of-that-name"), ROOT), (Some("a\0b"), ROOT)] {
            assert!(matches!(resolve_for(flag, agent), Err(UserError::Missing(_))), "{flag:?}");
        }
    }

    #[test]
    fn a_service_without_a_number_never_gets_the_agents_rights() {
        let range = UserRange::parse("200000-200009").unwrap();
        assert_eq!(each_of(range, SOMEBODY), Err(UserError::NotRootForEach));
        let each = each_of(range, ROOT).unwrap();
        assert_eq!(each, Identity::Each(range));
        assert_eq!(each.of(Some(200_003)).unwrap().unwrap().groups, [200_003]);
        assert!(each.of(None).unwrap_err().contains("larger range"));
        assert_eq!(each.any().unwrap().uid, 200_000);
        // A number of an earlier agent's ledger means nothing to one that was given other flags.
        let one = Identity::One(RunAs::numbered(7));
        assert_eq!(one.of(Some(200_003)).unwrap().unwrap().uid, 7);
        assert_eq!(Identity::Agents.of(Some(200_003)), Ok(None));
        let passing = [one, each, Identity::Agents].map(|it| it.passes_through());
        assert_eq!(passing, [true, true, false]);
    }

    #[test]
    fn a_missing_user_is_refused_with_the_command_that_makes_it() {
        let text = UserError::Missing("tucano-run".to_owned()).to_string();
        assert!(text.contains("useradd --system"), "{text}");
        assert!(text.ends_with(" tucano-run"), "{text}");
    }
}
