//! Every route with every token, origin and host.

use tucano_net::token::Token;
use tucano_net::{Headers, Method, Version};

use super::super::router::route;
use super::*;

const ADMIN: &str = "admin-0123456789abcdef";
const JOIN: &str = "join-0123456789abcdef";

fn head(host: &str, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: Method::Get,
        path: "/v1/services".into(),
        query: None,
        version: Version::Http11,
        host: host.into(),
        headers: fields.iter().copied().collect::<Headers>(),
        request_id: "r".into(),
        body_length: None,
    }
}

fn guard(with_tokens: bool, own: &str) -> Guard {
    let tokens = Tokens { admin: Token::new(ADMIN), join: Token::new(JOIN) };
    Guard::new(with_tokens.then_some(tokens), own.parse().expect("an address"))
}

#[test]
fn without_tokens_only_names_of_this_machine_are_answered() {
    let guard = guard(false, "127.0.0.1:7070");
    for host in [
        "localhost",
        "LOCALHOST:7070",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:7070",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:7070",
        "[::ffff:127.0.0.1]:7070",
    ] {
        assert_eq!(guard.admit(&head(host, &[])), Ok(Role::Admin), "{host}");
    }
    for host in [
        "",
        ":7070",
        "evil.example",
        "localhost.evil.example",
        "localhost:7070.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1:7070",
        "0.0.0.0:7070",
        "[::]:7070",
        "2130706433",
        "notlocalhost",
    ] {
        assert_eq!(guard.admit(&head(host, &[])), Err(Denied::Host), "{host}");
    }
}

#[test]
fn the_address_it_listens_on_is_its_own() {
    for (own, host, fits) in [
        ("10.0.0.1:7070", "10.0.0.1:7070", true),
        ("10.0.0.1:7070", "10.0.0.2:7070", false),
        ("[fd00::1]:7070", "[fd00::1]:7070", true),
        ("[fd00::1]:7070", "[FD00:0::1]", true),
        ("[fd00::1]:7070", "[fd00::2]", false),
    ] {
        let admitted = guard(false, own).admit(&head(host, &[]));
        assert_eq!(admitted.is_ok(), fits, "{own} {host}");
    }
}

#[test]
fn pages_of_other_sites_are_kept_out_whatever_they_know() {
    let token = format!("Bearer {ADMIN}");
    for (origin, own) in [
        ("http://localhost:7070", true),
        ("HTTP://localhost:7070", false),
        ("http://LocalHost:7070", true),
        ("http://localhost", false),
        ("http://localhost:7071", false),
        ("https://localhost:7070", false),
        ("http://evil.example", false),
        ("http://localhost:7070.evil.example", false),
        ("null", false),
        ("", false),
        ("file://", false),
    ] {
        for (open, fields) in [
            (true, vec![("Origin", origin)]),
            (false, vec![("Origin", origin), ("Authorization", token.as_str())]),
        ] {
            let guard = guard(!open, "127.0.0.1:7070");
            let expected = if own { Ok(Role::Admin) } else { Err(Denied::Origin) };
            assert_eq!(guard.admit(&head("localhost:7070", &fields)), expected, "{origin:?}");
        }
    }
    let two = [("Origin", "http://localhost:7070"), ("Origin", "http://evil.example")];
    let admitted = guard(false, "127.0.0.1:7070").admit(&head("localhost:7070", &two));
    assert_eq!(admitted, Err(Denied::Origin));
}

#[test]
fn with_tokens_a_token_is_wanted_and_hosts_do_not_matter() {
    for host in ["localhost", "controller.lan:7070", "", "10.9.9.9"] {
        for (fields, expected) in [
            (vec![], Err(Denied::NoToken)),
            (vec![("Authorization", format!("Bearer {ADMIN}"))], Ok(Role::Admin)),
            (vec![("Authorization", format!("bearer {JOIN}"))], Ok(Role::Worker)),
            (vec![("Authorization", format!("Bearer {ADMIN}x"))], Err(Denied::WrongToken)),
            (vec![("Authorization", format!("Basic {ADMIN}"))], Err(Denied::WrongToken)),
            (vec![("Authorization", ADMIN.to_owned())], Err(Denied::WrongToken)),
            (vec![("Authorization", "Bearer ".to_owned())], Err(Denied::WrongToken)),
            (vec![("X-Token", ADMIN.to_owned())], Err(Denied::NoToken)),
            (
                vec![
                    ("Authorization", format!("Bearer {ADMIN}")),
                    ("Authorization", format!("Bearer {ADMIN}")),
                ],
                Err(Denied::WrongToken),
            ),
        ] {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let admitted = guard(true, "0.0.0.0:7070").admit(&head(host, &fields));
            assert_eq!(admitted, expected, "{host:?} {fields:?}");
        }
    }
}

#[test]
fn the_join_token_opens_the_workers_routes_alone() {
    let id = "0123456789abc";
    let digest = format!("sha256:{}", "0".repeat(64));
    let paths = [
        ("POST", "/v1/workers".to_owned(), true),
        ("POST", "/v1/workers/w1/heartbeat".to_owned(), true),
        ("GET", "/v1/workers/w1/assignments".to_owned(), true),
        ("DELETE", "/v1/workers/w1/session".to_owned(), true),
        ("GET", format!("/v1/artifacts/{digest}"), true),
        ("GET", "/healthz".to_owned(), true),
        ("GET", "/metrics".to_owned(), false),
        ("GET", "/v1/workers".to_owned(), false),
        ("DELETE", "/v1/workers/w1".to_owned(), false),
        ("POST", "/v1/workers/w1/drain".to_owned(), false),
        ("PUT", "/v1/artifacts".to_owned(), false),
        ("GET", "/v1/services".to_owned(), false),
        ("POST", "/v1/services".to_owned(), false),
        ("GET", "/v1/events".to_owned(), false),
        ("GET", format!("/v1/instances/{id}/logs"), false),
    ];
    for (method, path, open) in paths {
        let method = match method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            _ => Method::Delete,
        };
        let access = route(method, &path).expect("a route").access();
        let expected = if open { Ok(()) } else { Err(Denied::Role) };
        assert_eq!(Guard::permit(Role::Worker, access), expected, "{method:?} {path}");
        assert_eq!(Guard::permit(Role::Admin, access), Ok(()), "{method:?} {path}");
    }
}

#[test]
fn refusals_say_what_to_do_and_nothing_of_the_secret() {
    for denied in [
        Denied::Origin,
        Denied::Host,
        Denied::NoToken,
        Denied::WrongToken,
        Denied::Role,
        Denied::Slowed,
    ] {
        let response = denied.response();
        assert_eq!(response.status, denied.status());
        assert_eq!(response.headers.contains("www-authenticate"), denied.status() == 401);
        assert_eq!(response.headers.contains("retry-after"), denied.status() == 429);
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert!(!text.contains(ADMIN) && !text.contains(JOIN));
        assert!(text.contains("\"detail\":"), "{text}");
    }
    let door = format!("{:?}", guard(true, "127.0.0.1:7070"));
    assert!(!door.contains(ADMIN) && !door.contains(JOIN), "{door}");
}
