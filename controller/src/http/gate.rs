//! What a request has to pass before its body is read: who, what, which media type, which
//! parameters.
//!
//! Whoever is not let in learns nothing of what there is behind the door, not even whether a path
//! exists. Called by `app` with every head.

use std::net::IpAddr;

use tucano_common::time::Mono;
use tucano_net::RequestHead;

use super::auth::{Denied, Guard};
use super::media;
use super::penalty::{Penalties, Sentence};
use super::problems::Refused;
use super::query::{self, Params};
use super::router::{self, Access, Action};

/// The door, and who knocked at it too often.
#[derive(Debug)]
pub(crate) struct Gate {
    guard: Guard,
    penalties: Penalties,
}

/// Why a request goes no further than its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// It asks for what is not there, or in the wrong way.
    Refused(Refused),
    /// Who asks is not let in.
    Denied(Denied),
    /// The token was wrong: the answer may have to wait.
    Guessed(Sentence),
}

impl Gate {
    /// A door that nobody knocked at yet.
    pub(crate) fn new(guard: Guard) -> Gate {
        Gate { guard, penalties: Penalties::default() }
    }

    /// Looks at a head.
    pub(crate) fn check(
        &mut self,
        head: &RequestHead,
        peer: IpAddr,
        now: Mono,
    ) -> Result<(Action, Params), Turned> {
        let routed = router::route(head.method, &head.path);
        if !matches!(&routed, Ok(action) if action.access() == Access::Free) {
            self.admit(head, peer, now, routed.as_ref().map_or(Access::Worker, Action::access))?;
        }
        let action = routed.map_err(|error| Turned::Refused(error.into()))?;
        media::check(head, action.body()).map_err(Turned::Refused)?;
        let params = query::parse(head.query.as_deref(), action.params());
        let params = params.map_err(|error| Turned::Refused(Refused::Query(error)))?;
        Ok((action, params))
    }

    fn admit(
        &mut self,
        head: &RequestHead,
        peer: IpAddr,
        now: Mono,
        access: Access,
    ) -> Result<(), Turned> {
        if self.penalties.is_blocked(peer, now) {
            return Err(Turned::Denied(Denied::Slowed));
        }
        let role = self.guard.admit(head).map_err(|denied| match denied {
            Denied::WrongToken => Turned::Guessed(self.penalties.failed(peer, now)),
            Denied::Origin | Denied::Host | Denied::NoToken | Denied::Role | Denied::Slowed => {
                Turned::Denied(denied)
            }
        })?;
        Guard::permit(role, access).map_err(Turned::Denied)
    }
}

#[cfg(test)]
mod tests {
    use tucano_net::token::Token;
    use tucano_net::{Method, Version};

    use super::*;
    use crate::config::Tokens;

    const ADMIN: &str = "admin-0123456789abcdef";
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn gate(admin: Option<&str>) -> Gate {
        let join = "join-0123456789abcdef";
        let tokens = admin.map(|admin| Tokens { admin: Token::new(admin), join: Token::new(join) });
        Gate::new(Guard::new(tokens, "127.0.0.1:7070".parse().expect("an address")))
    }

    fn head(method: Method, target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        RequestHead {
            method,
            path: path.into(),
            query: query.map(str::to_owned),
            version: Version::Http11,
            host: "elsewhere.example".into(),
            headers: fields.iter().copied().collect(),
            request_id: "r".into(),
            body_length: None,
        }
    }

    #[test]
    fn a_stranger_learns_nothing_of_what_there_is() {
        let mut gate = gate(Some(ADMIN));
        for target in
            ["/v1/services", "/v1/nothing", "/v1/services/web?zebra=1", "/v1/services/BAD", "/"]
        {
            for method in [Method::Get, Method::Patch, Method::Post] {
                let found = gate.check(&head(method, target, &[]), PEER, Mono(0));
                assert_eq!(found, Err(Turned::Denied(Denied::NoToken)), "{method:?} {target}");
            }
        }
    }

    #[test]
    fn health_is_free_of_tokens_and_hosts() {
        for admin in [None, Some(ADMIN)] {
            let found = gate(admin).check(&head(Method::Get, "/healthz", &[]), PEER, Mono(0));
            assert_eq!(found, Ok((Action::Healthz, Params::default())));
            let found = gate(admin).check(&head(Method::Post, "/healthz", &[]), PEER, Mono(0));
            assert!(matches!(found, Err(Turned::Denied(_))));
        }
    }

    #[test]
    fn who_is_let_in_is_told_what_is_wrong() {
        let token = format!("Bearer {ADMIN}");
        let own = ("Authorization", token.as_str());
        let mut gate = gate(Some(ADMIN));
        let text = ("Content-Type", "text/plain");
        for (method, target, fields, status) in [
            (Method::Get, "/v1/nothing", vec![own], 404),
            (Method::Get, "/v1/services/BAD", vec![own], 404),
            (Method::Patch, "/v1/services", vec![own], 405),
            (Method::Post, "/v1/services", vec![own, text], 415),
            (Method::Get, "/v1/services?zebra=1", vec![own], 400),
        ] {
            match gate.check(&head(method, target, &fields), PEER, Mono(0)) {
                Err(Turned::Refused(refused)) => {
                    assert_eq!(refused.status(), status, "{method:?} {target}");
                }
                other => panic!("{method:?} {target}: {other:?}"),
            }
        }
        let found = gate.check(&head(Method::Get, "/v1/services?index=3", &[own]), PEER, Mono(0));
        assert!(matches!(found, Ok((Action::Services, params)) if params.index == Some(3)));
    }

    #[test]
    fn guesses_wait_and_the_right_token_does_not() {
        let mut gate = gate(Some(ADMIN));
        let guess = |gate: &mut Gate| {
            let wrong = [("Authorization", "Bearer wrong")];
            gate.check(&head(Method::Get, "/v1/services", &wrong), PEER, Mono(0))
        };
        let mut waited = false;
        for _ in 0..10 {
            match guess(&mut gate) {
                Err(Turned::Guessed(sentence)) => waited |= sentence.answer_at > Mono(0),
                other => panic!("{other:?}"),
            }
        }
        assert!(waited);
        let token = format!("Bearer {ADMIN}");
        let right = [("Authorization", token.as_str())];
        assert!(gate.check(&head(Method::Get, "/v1/services", &right), PEER, Mono(0)).is_ok());
        while guess(&mut gate) != Err(Turned::Denied(Denied::Slowed)) {}
        let healthz = gate.check(&head(Method::Get, "/healthz", &[]), PEER, Mono(0));
        assert!(healthz.is_ok(), "health is told to everybody");
    }
}
