//! Who may come in: browsers' pages out, strangers' hosts out, tokens and what they open.
//!
//! Pure: it looks at a head and says yes or no; slowing down whoever guesses is `penalty`'s matter,
//! and so is what time it is. Called by `app` with every request's head, before a body is read.

use std::net::{IpAddr, SocketAddr};

use tucano_common::http1::write::reason_phrase;
use tucano_common::wire::problem::Problem;
use tucano_net::token::bearer;
use tucano_net::{RequestHead, Response};

use super::router::Access;
use crate::config::Tokens;

/// Who is at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The sysadmin, or anybody on loopback where there are no tokens.
    Admin,
    /// A worker.
    Worker,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// A page of somewhere else sent it.
    Origin,
    /// Without tokens: a name that this machine does not have alone (DNS rebinding).
    Host,
    /// No token came.
    NoToken,
    /// A token came that is none of ours: somebody may be guessing.
    WrongToken,
    /// The workers' token where the sysadmin's is wanted.
    Role,
    /// Too many wrong tokens from that address are waiting for their answer.
    Slowed,
}

/// The door.
#[derive(Debug)]
pub(crate) struct Guard {
    /// None: the API is open, to loopback alone.
    tokens: Option<Tokens>,
    /// Where the API listens: its own name, beside loopback's.
    own: IpAddr,
}

impl Guard {
    /// A door with these keys, at this address.
    pub(crate) fn new(tokens: Option<Tokens>, own: SocketAddr) -> Guard {
        Guard { tokens, own: own.ip() }
    }

    /// Looks at who asks. What they ask for is looked at by [`Guard::permit`].
    pub(crate) fn admit(&self, head: &RequestHead) -> Result<Role, Denied> {
        if !own_origin(head) {
            return Err(Denied::Origin);
        }
        let Some(Tokens { admin, join }) = &self.tokens else {
            let own_host = host_of(&head.host).is_some_and(|host| self.is_own(host));
            return if own_host { Ok(Role::Admin) } else { Err(Denied::Host) };
        };
        let Some(given) = bearer(&head.headers) else {
            let tried = head.headers.contains("authorization");
            return Err(if tried { Denied::WrongToken } else { Denied::NoToken });
        };
        // Both are compared, whichever fits.
        match (admin.matches(given), join.matches(given)) {
            (true, _) => Ok(Role::Admin),
            (false, true) => Ok(Role::Worker),
            (false, false) => Err(Denied::WrongToken),
        }
    }

    /// Whether that role may do what is asked for.
    pub(crate) fn permit(role: Role, access: Access) -> Result<(), Denied> {
        match (role, access) {
            (Role::Admin, Access::Free | Access::Worker | Access::Admin)
            | (Role::Worker, Access::Free | Access::Worker) => Ok(()),
            (Role::Worker, Access::Admin) => Err(Denied::Role),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let name = host.strip_suffix('.').unwrap_or(host);
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        match bare.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback() || ip == self.own,
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Whether no page sent the request, or one that this API served itself.
fn own_origin(head: &RequestHead) -> bool {
    head.headers.get_all("origin").all(|origin| {
        let authority = origin.strip_prefix("http://");
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(&head.host))
    })
}

/// The host of `host[:port]`; none where there is none.
fn host_of(authority: &str) -> Option<&str> {
    let host = match authority.rfind(':') {
        Some(colon) if authority[colon + 1..].bytes().all(|b| b.is_ascii_digit()) => {
            let host = &authority[..colon];
            // `::1` without brackets is no authority: its last group is no port.
            if host.contains(':') && !host.ends_with(']') { authority } else { host }
        }
        Some(_) | None => authority,
    };
    Some(host).filter(|host| !host.is_empty())
}

impl Denied {
    /// The status that says so.
    pub(crate) fn status(self) -> u16 {
        match self {
            Denied::NoToken | Denied::WrongToken => 401,
            Denied::Origin | Denied::Host | Denied::Role => 403,
            Denied::Slowed => 429,
        }
    }

    /// The answer that says so.
    pub(crate) fn response(self) -> Response {
        let status = self.status();
        let title = reason_phrase(status);
        let response = Response::problem(&Problem::new(status, title, self.detail()));
        match self {
            Denied::NoToken => response.header("WWW-Authenticate", "Bearer realm=\"tucano\""),
            Denied::WrongToken => {
                let challenge = "Bearer realm=\"tucano\", error=\"invalid_token\"";
                response.header("WWW-Authenticate", challenge)
            }
            Denied::Slowed => response.header("Retry-After", "10"),
            Denied::Origin | Denied::Host | Denied::Role => response,
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Denied::Origin => {
                "this API is not for pages of other sites; ask it without an Origin field"
            }
            Denied::Host => {
                "without tokens this API answers to localhost, loopback addresses and the address \
                 of --api-listen alone; use one of them as the host, or start the controller with \
                 --admin-token-file and --join-token-file"
            }
            Denied::NoToken => {
                "a token is wanted: send Authorization: Bearer and what stands in the file of \
                 --admin-token-file (agents: --join-token-file)"
            }
            Denied::WrongToken => {
                "this token is not right; send Authorization: Bearer and what stands in the file \
                 of --admin-token-file (agents: --join-token-file)"
            }
            Denied::Role => {
                "the join token opens the workers' routes alone; use the one of --admin-token-file"
            }
            Denied::Slowed => {
                "too many wrong tokens came from this address; wait, and look at the token file"
            }
        }
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
