//! Who may use the agent's API: the controller, shown by the join token; without one, loopback
//! alone.
//!
//! Pages of browsers are kept out by their Origin and by the Host that they call this machine.
//! Pure: it looks at heads; answering late is `api`'s matter.

use std::net::IpAddr;
use std::time::Duration;

use tucano_common::limits::{AUTH_FAILURES_FREE, AUTH_FORGET};
use tucano_common::time::Mono;
use tucano_net::token::{Token, bearer};
use tucano_net::{RequestHead, Response};

/// A wrong token is answered this late, once there were several.
const DELAY: Duration = Duration::from_secs(1);

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It comes from a page.
    Origin,
    /// Without a token: it calls this machine by a name that is not its own.
    Host,
    /// Without a token: it comes from another machine.
    Peer,
    /// No token came.
    NoToken,
    /// Another token came.
    WrongToken,
}

impl Denied {
    /// The answer that says so.
    pub(crate) fn response(self) -> Response {
        match self {
            Denied::Origin => Response::error(403, "the agent's API is not for pages"),
            Denied::Host => Response::error(
                403,
                "without --join-token-file the agent answers to localhost, loopback addresses and \
                 the address of --listen alone",
            ),
            Denied::Peer => Response::error(
                403,
                "without --join-token-file the agent answers to this machine alone",
            ),
            Denied::NoToken => Response::error(
                401,
                "the workers' token is wanted: Authorization: Bearer and what stands in the file \
                 of --join-token-file",
            )
            .header("WWW-Authenticate", "Bearer realm=\"tucano\""),
            Denied::WrongToken => Response::error(401, "this is not the workers' token")
                .header("WWW-Authenticate", "Bearer realm=\"tucano\", error=\"invalid_token\""),
        }
    }
}

/// The door.
pub(crate) struct Guard {
    token: Option<Token>,
    own: IpAddr,
}

impl Guard {
    /// With this secret, listening at this address.
    pub(crate) fn new(token: Option<Token>, own: IpAddr) -> Guard {
        Guard { token, own }
    }

    /// Whether to let a request in.
    pub(crate) fn check(&self, head: &RequestHead, peer: Option<IpAddr>) -> Result<(), Denied> {
        if head.headers.contains("origin") {
            return Err(Denied::Origin);
        }
        let Some(token) = &self.token else {
            let local = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
            return match (self.is_own_name(&head.host), local) {
                (true, true) => Ok(()),
                (false, _) => Err(Denied::Host),
                (true, false) => Err(Denied::Peer),
            };
        };
        match bearer(&head.headers) {
            Some(given) if token.matches(given) => Ok(()),
            Some(_) => Err(Denied::WrongToken),
            None if head.headers.contains("authorization") => Err(Denied::WrongToken),
            None => Err(Denied::NoToken),
        }
    }

    fn is_own_name(&self, authority: &str) -> bool {
        if let Ok(address) = authority.parse::<std::net::SocketAddr>() {
            return self.is_own_address(address.ip());
        }
        let bare = authority.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(authority).parse::<IpAddr>() {
            return self.is_own_address(address);
        }
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
    }

    fn is_own_address(&self, address: IpAddr) -> bool {
        address.to_canonical().is_loopback() || address == self.own
    }
}

/// How often somebody came with a wrong token lately, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    count: u32,
    last: Option<Mono>,
    told: Option<Mono>,
}

impl Guesses {
    /// Counts one: how long to wait with its answer, and whether the controller should be told now.
    pub(crate) fn count(&mut self, now: Mono) -> (Option<Duration>, bool) {
        if self.last.is_none_or(|last| now.since(last) >= AUTH_FORGET) {
            self.count = 0;
        }
        self.last = Some(now);
        self.count = self.count.saturating_add(1);
        let tell = self.told.is_none_or(|told| now.since(told) >= AUTH_FORGET);
        if tell {
            self.told = Some(now);
        }
        ((self.count > AUTH_FAILURES_FREE).then_some(DELAY), tell)
    }
}

#[cfg(test)]
mod tests {
    use tucano_net::{Headers, Method, Version};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

    fn head(host: &str, fields: &[(&str, &str)]) -> RequestHead {
        RequestHead {
            method: Method::Get,
            path: "/v1/instances".to_owned(),
            query: None,
            version: Version::Http11,
            host: host.to_owned(),
            headers: fields.iter().copied().collect::<Headers>(),
            request_id: String::new(),
            body_length: None,
        }
    }

    #[test]
    fn without_a_token_this_machine_alone_and_by_its_own_names() {
        let guard = Guard::new(None, IpAddr::from([127, 0, 0, 3]));
        for (host, peer, expected) in [
            ("127.0.0.1:7071", HERE, Ok(())),
            ("127.0.0.3", HERE, Ok(())),
            ("localhost:7071", HERE, Ok(())),
            ("LOCALHOST.", HERE, Ok(())),
            ("[::1]:7071", HERE, Ok(())),
            ("[::1]", HERE, Ok(())),
            ("evil.example", HERE, Err(Denied::Host)),
            ("evil.example:7071", HERE, Err(Denied::Host)),
            ("192.0.2.1:7071", HERE, Err(Denied::Host)),
            ("", HERE, Err(Denied::Host)),
            ("localhost", THERE, Err(Denied::Peer)),
        ] {
            assert_eq!(guard.check(&head(host, &[]), Some(peer)), expected, "{host}");
        }
        assert_eq!(guard.check(&head("localhost", &[]), None), Err(Denied::Peer));
    }

    #[test]
    fn with_a_token_whoever_has_it() {
        let guard = Guard::new(Some(Token::new("a-join-token-of-tests")), HERE);
        let right = ("Authorization", "Bearer a-join-token-of-tests");
        for (fields, expected) in [
            (vec![right], Ok(())),
            (vec![], Err(Denied::NoToken)),
            (vec![("Authorization", "Bearer other")], Err(Denied::WrongToken)),
            (vec![("Authorization", "Basic a-join-token-of-tests")], Err(Denied::WrongToken)),
            (vec![right, right], Err(Denied::WrongToken)),
        ] {
            let checked = guard.check(&head("worker.lan", &fields), Some(THERE));
            assert_eq!(checked, expected, "{fields:?}");
        }
    }

    #[test]
    fn pages_are_kept_out_with_or_without_a_token() {
        let right = ("Authorization", "Bearer a-join-token-of-tests");
        for token in [None, Some(Token::new("a-join-token-of-tests"))] {
            let guard = Guard::new(token, HERE);
            for origin in ["http://localhost:7071", "null", "https://evil.example"] {
                let head = head("localhost:7071", &[("Origin", origin), right]);
                assert_eq!(guard.check(&head, Some(HERE)), Err(Denied::Origin));
            }
        }
    }

    #[test]
    fn guesses_are_slowed_down_and_told_once_in_a_while() {
        let mut guesses = Guesses::default();
        let start = Mono(1_000_000);
        assert_eq!(guesses.count(start), (None, true));
        for _ in 1..AUTH_FAILURES_FREE {
            assert_eq!(guesses.count(start), (None, false));
        }
        assert_eq!(guesses.count(start), (Some(DELAY), false));
        assert_eq!(guesses.count(start + AUTH_FORGET), (None, true));
    }
}
