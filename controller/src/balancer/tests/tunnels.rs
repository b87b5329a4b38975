//! Upgraded connections: bytes both ways, each side closed for itself.

use super::harness::{Client, Conn, Harness, Instance};
use tucano_common::http1::Method;
use tucano_controller_core::balancer::table::Duty;

const ASK: &str =
    "GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Grants the upgrade, then sends back what it gets.
fn mirror(conn: &mut Conn) {
    let Some((head, _)) = conn.head() else { return };
    assert!(head.asks_upgrade);
    conn.send(SWITCH);
    let mut room = [0; 4096];
    loop {
        let bytes: Vec<u8> = conn.unread.drain(..).collect();
        conn.send(bytes);
        match std::io::Read::read(&mut conn.stream, &mut room) {
            Ok(0) | Err(_) => break,
            Ok(count) => conn.unread.extend_from_slice(&room[..count]),
        }
    }
    conn.send("bye");
}

fn expect(client: &mut Client, text: &str) {
    while client.unread.len() < text.len() {
        assert!(client.read(), "{}", client.unread.escape_ascii());
    }
    assert_eq!(client.unread, text.as_bytes());
    client.unread.clear();
}

#[test]
fn a_granted_upgrade_is_a_tunnel() {
    let web = Instance::new(mirror);
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    // The first bytes of the new protocol come with the request, as some clients do.
    client.send(ASK.to_owned() + "early");
    let (head, text) = client.head(Method::Get).unwrap();
    assert_eq!(head.status, 101);
    assert!(text.contains("Upgrade: websocket\r\n") && text.contains("Connection: Upgrade\r\n"));
    assert!(text.contains("X-Tucano-Instance: "));
    expect(&mut client, "early");
    for n in 0..20 {
        let text = format!("GET / HTTP/1.1\r\n{n}");
        client.send(&text);
        expect(&mut client, &text);
    }
    // One side may close while the other goes on.
    client.half_close();
    expect(&mut client, "bye");
    assert!(client.is_closed());
}

#[test]
fn a_refused_upgrade_is_an_answer_like_any_other() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send(ASK.to_owned() + "GET /next HTTP/1.1\r\nHost: nobody\r\n\r\n");
    assert_eq!(client.answer().text(), "web");
    assert_eq!(client.answer().status, 404, "what follows is a request");
    assert_eq!(web.last().field("Upgrade"), Some("websocket"));
    client.send(ASK.replace("websocket", "h2c"));
    client.answer();
    assert_eq!(web.last().field("Upgrade"), None);
}

#[test]
fn large_amounts_flow_both_ways_at_once() {
    let web = Instance::new(mirror);
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send(ASK);
    client.head(Method::Get).unwrap();
    let total = 8 << 20;
    let mut writer = client.stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &vec![b'x'; total]).unwrap();
    });
    while client.unread.len() < total {
        assert!(client.read());
    }
    thread.join().unwrap();
}

#[test]
fn a_tunnel_keeps_its_instance_from_being_drained() {
    let web = Instance::new(mirror);
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send(ASK);
    client.head(Method::Get).unwrap();
    lb.change("web", |route| route.endpoints[0].duty = Duty::Drain);
    client.send("still here");
    expect(&mut client, "still here");
    assert!(lb.has_no_report());
    drop(client);
    assert_eq!(lb.drained(), 1);
}

#[test]
fn an_idle_tunnel_ends() {
    let web = Instance::new(mirror);
    let lb = Harness::quick(&[web.address]);
    let mut client = lb.client();
    client.send(ASK);
    client.head(Method::Get).unwrap();
    assert!(client.is_closed());
}

#[test]
fn an_instance_that_breaks_a_tunnel_breaks_it_for_the_client() {
    let web = Instance::new(|conn| {
        conn.head();
        conn.send(SWITCH);
        conn.send("hello");
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send(ASK);
    client.head(Method::Get).unwrap();
    expect(&mut client, "hello");
    client.half_close();
    assert!(client.is_closed());
}
