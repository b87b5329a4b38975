//! The door over real connections: tokens, guesses, pages.

use super::*;

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn the_admin_token_opens_everything_and_the_join_token_the_workers_routes() {
    let rig = Rig::with_tokens();
    let mut client = rig.client();
    for (token, target, status) in [
        (None, "/healthz", 200),
        (None, "/v1/openapi.json", 401),
        (None, "/v1/nothing", 401),
        (Some(ADMIN), "/v1/openapi.json", 200),
        (Some(ADMIN), "/v1/nothing", 404),
        (Some(JOIN), "/v1/openapi.json", 403),
        (Some(JOIN), "/v1/nothing", 404),
        (Some("wrong"), "/v1/openapi.json", 401),
    ] {
        let token = token.map(bearer);
        let fields: Vec<(&str, &str)> =
            token.iter().map(|token| ("Authorization", token.as_str())).collect();
        client.send("GET", target, &fields, b"");
        let got = client.answer();
        assert_eq!(got.status, status, "{token:?} {target}");
        assert_eq!(got.field("www-authenticate").is_some(), status == 401, "{target}");
        let text = got.text();
        assert!(!text.contains(ADMIN) && !text.contains(JOIN), "{text}");
    }
    match rig.ask() {
        Ask::Note { kind, message } => {
            assert_eq!(kind, "auth_failed");
            assert!(message.contains("127.0.0.1") && !message.contains("wrong\""), "{message}");
        }
        other => panic!("not a note: {other:?}"),
    }
    assert!(rig.asks.is_empty(), "a missing token is not a guess");
}

#[test]
fn a_stranger_s_upload_is_not_read() {
    let rig = Rig::with_tokens();
    let mut client = rig.client();
    let head = "PUT /v1/artifacts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\
                Expect: 100-continue\r\n\r\n";
    client.write(head.as_bytes());
    assert_eq!(client.answer().status, 401, "and no 100 before it");
    rig.wait_for_files(0);
}

#[test]
fn guesses_are_answered_late_and_the_right_token_at_once() {
    let rig = Rig::with_tokens();
    let wrong = bearer("guess");
    let guesses = 5 + 3;
    let mut clients: Vec<Client> = (0..guesses)
        .map(|_| {
            let mut client = rig.client();
            client.send("GET", "/v1/services", &[("Authorization", &wrong)], b"");
            client
        })
        .collect();
    let right = bearer(ADMIN);
    let mut client = rig.client();
    client.send("GET", "/v1/openapi.json", &[("Authorization", &right)], b"");
    assert_eq!(client.answer().status, 200);
    for client in &mut clients {
        assert_eq!(client.answer().status, 401);
    }
}

#[test]
fn who_leaves_while_waiting_for_a_penalty_is_forgotten() {
    let rig = Rig::with_tokens();
    let wrong = bearer("guess");
    for _ in 0..20 {
        let mut client = rig.client();
        let body = [b'x'; 1000];
        client.send("POST", "/v1/services", &[("Authorization", &wrong)], &body);
    }
    assert_eq!(rig.get("/healthz").status, 200);
}

#[test]
fn without_tokens_pages_and_foreign_names_are_kept_out() {
    let rig = Rig::new();
    let own = rig.addr.to_string();
    for (host, origin, status) in [
        (own.as_str(), None, 200),
        ("localhost", None, 200),
        ("evil.example", None, 403),
        ("localhost", Some("http://localhost"), 200),
        ("localhost", Some("http://evil.example"), 403),
        ("localhost", Some("null"), 403),
    ] {
        let mut client = rig.client();
        let mut head = format!("GET /v1/openapi.json HTTP/1.1\r\nHost: {host}\r\n");
        if let Some(origin) = origin {
            head.push_str(&format!("Origin: {origin}\r\n"));
        }
        client.write(format!("{head}\r\n").as_bytes());
        let got = client.answer();
        assert_eq!(got.status, status, "{host} {origin:?}");
        assert!(
            !got.fields
                .iter()
                .any(|(name, _)| { name.to_ascii_lowercase().starts_with("access-control-") })
        );
    }
}
