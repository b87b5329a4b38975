//! Routing, and what heads are on both sides.

use std::net::{IpAddr, SocketAddr};

use super::harness::{Harness, Instance, error_code, nowhere};
use crate::balancer::stats::Cause;

#[test]
fn hosts_route() {
    let (web, shop) = (Instance::named("web"), Instance::named("shop"));
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    lb.serve("shop", &[shop.address]);
    lb.host("*.shop.lan", 1);
    lb.host("a.shop.lan", 0);
    for (host, body) in [
        ("web", "web"),
        ("WEB.", "web"),
        ("web:80", "web"),
        ("shop", "shop"),
        ("x.y.Shop.lan", "shop"),
        ("a.shop.lan", "web"),
    ] {
        assert_eq!(lb.get(host, "/").text(), body, "{host}");
    }
    lb.counts("web", Cause::Answered, 4);
}

#[test]
fn unknown_hosts_are_404_and_empty_services_503() {
    let mut lb = Harness::new();
    lb.serve("web", &[]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: nobody\r\n\r\nGET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let unknown = client.answer();
    assert_eq!((unknown.status, error_code(&unknown)), (404, Some("no_service")));
    let empty = client.answer();
    assert_eq!((empty.status, error_code(&empty)), (503, Some("no_instance")));
    assert_eq!(empty.field("Retry-After"), Some("1"));
    assert_eq!(empty.field("Content-Type"), Some("application/problem+json"));
    assert!(empty.text().contains("service web") && empty.keeps_alive);
    client.send("HEAD / HTTP/1.1\r\nHost: web\r\nX-Request-Id: mine\r\n\r\n");
    let head = client.answer_to(tucano_common::http1::Method::Head);
    assert_eq!((head.status, head.field("X-Request-Id")), (503, Some("mine")));
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    assert!(client.is_closed());
    lb.counts("web", Cause::NoService, 2);
}

#[test]
fn heads_pass_and_tell_where_they_come_from() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send(
        "GET /p?q=%41 HTTP/1.1\r\nHost: web\r\nX-A:  b \r\nConnection: X-B\r\nX-B: 1\r\n\
         X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: abc-1\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(answer.field("X-Tucano-Instance"), Some("0000000000001"));
    let seen = web.last();
    assert!(seen.head.starts_with("GET /p?q=%41 HTTP/1.1\r\nHost: web\r\nX-A:  b \r\n"));
    assert_eq!(seen.field("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(seen.field("X-Forwarded-Proto"), Some("http"));
    assert_eq!(seen.field("X-Forwarded-Host"), Some("web"));
    assert_eq!(seen.field("X-Request-Id"), Some("abc-1"));
    assert!(["X-B", "Connection", "Forwarded"].iter().all(|gone| seen.field(gone).is_none()));
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    client.answer();
    assert_eq!(web.last().field("X-Request-Id").map(str::len), Some(16));
}

#[test]
fn trusted_proxies_are_believed() {
    let web = Instance::named("web");
    let mut lb = Harness::with(|config| config.trusted = vec![([127, 0, 0, 0].into(), 8)]);
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 1.2.3.4\r\n\
         X-Forwarded-Proto: https\r\n\r\n",
    );
    client.answer();
    assert_eq!(web.last().field("X-Forwarded-For"), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(web.last().field("X-Forwarded-Proto"), Some("https"));
}

#[test]
fn kept_connections_are_shared_by_all_clients() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    for _ in 0..3 {
        let mut client = lb.client();
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
            assert_eq!(client.answer().status, 200);
        }
    }
    assert!(web.seen().iter().all(|request| request.connection == 1), "{:?}", web.seen());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let web = Instance::new(|conn| {
        while let Some(request) = conn.request() {
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            conn.ok(path + &String::from_utf8(request.body).unwrap());
        }
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    let mut all = String::new();
    for n in 0..50 {
        all += &format!("GET /{n} HTTP/1.1\r\nHost: web\r\n\r\n");
        all += &format!("POST /{n} HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\n:b");
    }
    client.send(all);
    for n in 0..50 {
        assert_eq!(client.answer().text(), format!("/{n}"));
        assert_eq!(client.answer().text(), format!("/{n}:b"));
    }
    client.send("GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n");
    let last = client.answer();
    assert!(!last.keeps_alive && client.is_closed());
}

#[test]
fn ambiguous_requests_are_refused_and_the_connection_closed() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    for (request, status) in [
        (
            "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: +5\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: web\nA: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: web\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: web\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: web\r\n\r\n", 505),
        ("CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n", 501),
    ] {
        let mut client = lb.client();
        client.send(request.to_owned() + "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status, error_code(&answer)),
            (status, Some("bad_request")),
            "{request}"
        );
        assert!(!answer.keeps_alive && client.is_closed(), "{request}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: web\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: web\r\n{}\r\n", "A: b\r\n".repeat(100));
    for (request, status) in [(long, 414), (many, 431)] {
        let mut client = lb.client();
        client.send(request);
        assert_eq!(client.answer().status, status);
    }
    assert!(web.seen().is_empty());
}

#[test]
fn heads_arrive_in_any_pieces() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let request = b"\r\nGET /p HTTP/1.1\r\nHost: web\r\nA: b\r\n\r\n";
    let mut client = lb.client();
    for byte in request {
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "web");
    for cut in 1..request.len() {
        client.send(&request[..cut]);
        client.send(&request[cut..]);
        assert_eq!(client.answer().text(), "web", "cut at {cut}");
    }
}

#[test]
fn the_controllers_own_api_is_no_instance() {
    let api = Instance::named("api");
    let mut lb = Harness::with(|config| config.off_limits = vec![api.address]);
    lb.change("web", |route| {
        route.endpoints = vec![super::harness::endpoint(1, api.address)];
        route.endpoints[0].worker = None;
    });
    assert_eq!(lb.get("web", "/").status, 502);
    lb.change("web", |route| route.endpoints[0].address = ([169, 254, 169, 254], 80).into());
    assert_eq!(lb.get("web", "/").status, 502);
    assert!(api.seen().is_empty());
    // The same shape with an address that nobody has ends the same way, and so proves nothing else.
    lb.change("web", |route| route.endpoints[0].address = nowhere());
    assert_eq!(lb.get("web", "/").status, 502);
}

#[test]
fn the_own_api_is_off_limits_under_every_name_of_this_machine() {
    let is = |address: &str, own: &str| {
        crate::balancer::is_off_limits(address.parse().unwrap(), &[own.parse().unwrap()])
    };
    for (address, own) in [
        ("127.0.0.1:7070", "127.0.0.1:7070"),
        ("[::ffff:127.0.0.1]:7070", "127.0.0.1:7070"),
        ("0.0.0.0:7070", "127.0.0.1:7070"),
        ("[::ffff:0.0.0.0]:7070", "127.0.0.1:7070"),
        ("127.0.0.9:7070", "0.0.0.0:7070"),
        ("[::ffff:127.0.0.9]:7070", "0.0.0.0:7070"),
        ("127.0.0.1:7070", "[::]:7070"),
        ("0.0.0.0:7070", "[::]:7070"),
        ("[::1]:7070", "[::]:7070"),
        // Whoever has the API on another port: cloud metadata and the like.
        ("[::ffff:169.254.169.254]:80", "127.0.0.1:7070"),
        ("[fe80::1]:80", "127.0.0.1:7070"),
    ] {
        assert!(is(address, own), "{address} where the API is {own}");
    }
    for (address, own) in [
        ("127.0.0.1:7071", "127.0.0.1:7070"),
        ("127.0.0.2:7070", "127.0.0.1:7070"),
        ("127.0.0.1:7071", "0.0.0.0:7070"),
        // Reserved: no machine's address (RFC 1112).
        ("240.0.0.1:7070", "0.0.0.0:7070"),
    ] {
        assert!(!is(address, own), "{address} where the API is {own}");
    }
    // Whatever else this machine is called: its addresses on its networks.
    for own in own_addresses() {
        let is_off = is(&SocketAddr::new(own, 7070).to_string(), "0.0.0.0:7070");
        // Another test's bridge may have gone meanwhile, and its address with it.
        assert!(is_off || !own_addresses().contains(&own), "{own}");
    }
}

/// The machine's IPv4 addresses, as the kernel lists them.
fn own_addresses() -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = table.lines().collect();
    let local = lines.windows(2).filter(|pair| pair[1].contains("/32 host LOCAL"));
    local.filter_map(|pair| pair[0].trim().strip_prefix("|-- ")?.parse().ok()).collect()
}
