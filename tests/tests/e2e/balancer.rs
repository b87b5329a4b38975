//! Through the balancer: hosts, its own answers, what passes unchanged, what is added.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use tucano_common::wire::problem::Problem;
use tucano_net::{Method, OutRequest};
use tucano_tests::{Lab, SOON, raw};

#[test]
fn hosts_are_matched_and_unknown_ones_are_404() {
    let lab = Lab::start(1);
    let mut web = lab.demo("web", 1);
    web["network"]["hosts"] = json!(["web.example.lan", "*.shop.lan"]);
    lab.deploy(&web);
    let mut deep = lab.demo("deep", 1);
    deep["network"]["hosts"] = json!(["*.deep.shop.lan"]);
    lab.deploy(&deep);
    for (host, service) in [
        ("web.example.lan", "web"),
        ("WEB.Example.LAN:8080", "web"),
        ("web.example.lan.", "web"),
        ("a.shop.lan", "web"),
        ("a.b.shop.lan", "web"),
        ("a.deep.shop.lan", "deep"),
    ] {
        let answer = lab.fetch(host, "/");
        assert_eq!(answer.status, 200, "{host}");
        assert!(
            answer.text().contains(&format!("service={service} ")),
            "{host}: {}",
            answer.text()
        );
    }
    for host in ["shop.lan", "web", "example.lan", "web.example.lan.evil"] {
        let answer = lab.fetch(host, "/");
        assert_eq!(answer.status, 404, "{host}");
        assert!(answer.headers.get("X-Tucano-Error").is_some(), "{host}");
        let problem: Problem = answer.json().expect("a problem");
        assert_eq!(problem.status, 404);
    }
}

#[test]
fn a_service_without_instances_is_503_and_never_names_an_address() {
    let lab = Lab::start(1);
    let spec = lab.demo("web", 0);
    lab.deploy(&spec);
    let answer = lab.fetch("web", "/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.headers.get("Retry-After").is_some());
    assert!(answer.headers.get("X-Tucano-Error").is_some());
    assert!(answer.text().contains("web") && !answer.text().contains("127."), "{}", answer.text());
}

#[test]
fn requests_during_the_first_deploy_are_held() {
    let lab = Lab::start(1);
    let mut spec = lab.demo("slow-start", 1);
    spec["scripts"]["runtime-script"] = json!("sleep 1; exec ./tucano-demo");
    let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = lab.fetch("slow-start", "/");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn heads_pass_with_what_is_added_and_without_what_ends_here() {
    let lab = Lab::start(1);
    let spec = lab.demo("web", 1);
    lab.deploy(&spec);
    let request = OutRequest::new(Method::Get, "/headers?a=b%20c")
        .header("X-Mine", "kept")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("Forwarded", "for=6.6.6.6")
        .header("Keep-Alive", "timeout=5")
        .header("X-Request-Id", "my-own-id");
    let answer = lab.try_request("web", &request).expect("an answer");
    let head = answer.text().into_owned();
    let lower = head.to_lowercase();
    assert!(head.starts_with("GET /headers?a=b%20c HTTP/1.1\r\n"), "{head}");
    for present in [
        "x-mine: kept",
        "host: web",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: web",
        "x-request-id: my-own-id",
    ] {
        assert!(lower.contains(&format!("\r\n{present}\r\n")), "{present}: {head}");
    }
    for absent in ["6.6.6.6", "keep-alive:", "\r\nforwarded:"] {
        assert!(!lower.contains(absent), "{absent}: {head}");
    }
    let id = lab.service("web").instances[0].id.to_string();
    assert_eq!(answer.headers.get("X-Tucano-Instance"), Some(id.as_str()));
}

#[test]
fn bodies_of_any_size_pass_both_ways() {
    let lab = Lab::start(1);
    let spec = lab.demo("web", 1);
    lab.deploy(&spec);
    let body = vec![b'y'; 300_000];
    let request = OutRequest::new(Method::Post, "/echo").body("text/plain", body.clone());
    let answer = lab.try_request("web", &request).expect("an answer");
    assert_eq!((answer.status, answer.body == body), (200, true));
    let answer = lab.fetch("web", "/bytes?n=1000000");
    assert_eq!((answer.status, answer.body.len()), (200, 1_000_000));
    let head = lab.try_request("web", &OutRequest::new(Method::Head, "/bytes?n=1000"));
    let head = head.expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers.get("Content-Length"), Some("1000"));
}

#[test]
fn a_connection_is_kept_and_pipelined_requests_are_answered_in_order() {
    let lab = Lab::start(1);
    let spec = lab.demo("web", 1);
    lab.deploy(&spec);
    let one = |path: &str, end: &str| format!("GET {path} HTTP/1.1\r\nHost: web\r\n{end}\r\n");
    let bytes =
        [one("/bytes?n=3", ""), one("/slow?ms=50", ""), one("/healthz", "Connection: close\r\n")];
    let answer = raw(lab.balancer(), bytes.concat().as_bytes());
    let order: Vec<usize> =
        ["xxx", "service=web", "ok\n"].iter().filter_map(|part| answer.text.find(part)).collect();
    assert!(order.len() == 3 && order.is_sorted(), "{}", answer.text);
    assert_eq!(answer.text.matches("HTTP/1.1 200").count(), 3);
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let lab = Lab::start(1);
    let spec = lab.demo("web", 1);
    lab.deploy(&spec);
    for (fields, status) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", 400),
        ("Content-Length: +3\r\n", 400),
        ("Transfer-Encoding: gzip\r\n", 400),
        ("X-A: b\r\n folded\r\n", 400),
        ("X-A : b\r\n", 400),
        ("X-A: b\0\r\n", 400),
        ("X-A: b\nX-B: c\r\n", 400),
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: web\r\n{fields}\r\n0\r\n\r\n");
        let answer = raw(lab.balancer(), request.as_bytes());
        assert_eq!(answer.status, status, "{fields:?}: {}", answer.text);
        assert!(answer.text.contains("X-Tucano-Error:"), "{}", answer.text);
    }
    let long = format!("GET / HTTP/1.1\r\nHost: web\r\nX-Long: {}\r\n\r\n", "a".repeat(20_000));
    assert_eq!(raw(lab.balancer(), long.as_bytes()).status, 431);
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let lab = Lab::start(1);
    let mut spec = tucano_tests::specs::node("socket", 1);
    let script = "const s = require('http').createServer(); \
        s.on('request', (q, a) => a.end('plain')); \
        s.on('upgrade', (q, sock) => { \
            sock.write('HTTP/1.1 101 Switching Protocols\\r\\n' + \
                'Connection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n'); \
            sock.pipe(sock); }); \
        s.listen(process.env.PORT, process.env.HOST)";
    spec["scripts"]["runtime-script"] = json!(format!("exec node -e \"{script}\""));
    lab.deploy(&spec);
    let mut stream = TcpStream::connect(lab.balancer()).expect("the balancer");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let request = "GET / HTTP/1.1\r\nHost: socket\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        seen.push(byte[0]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
    for word in ["first", "second"] {
        stream.write_all(word.as_bytes()).expect("the tunnel takes it");
        let mut back = vec![0; word.len()];
        stream.read_exact(&mut back).expect("the tunnel gives it back");
        assert_eq!(back, word.as_bytes());
    }
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
}

#[test]
fn an_external_service_is_balanced_too() {
    let lab = Lab::start(0);
    let upstream = tucano_tools::load::upstream::Upstream {
        default: tucano_tools::load::upstream::Behaviour::Fine,
        body_bytes: 10,
    };
    let address = upstream.start("127.0.0.1:0".parse().expect("an address")).expect("it listens");
    let spec = json!({
        "name": "outside",
        "network": { "expose_port": 80, "hosts": ["old.lan"] },
        "external": { "addresses": [address.to_string()] },
    });
    let answer = lab.try_deploy(&spec);
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    let answer = lab.until("the first good answer", SOON, || {
        let answer = lab.fetch("old.lan", "/");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.text(), "xxxxxxxxxx");
    for (path, status) in [("/reset", 502), ("/garbage", 502), ("/status=503", 503)] {
        assert_eq!(lab.fetch("old.lan", path).status, status, "{path}");
    }
}

#[test]
fn an_external_address_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let lab = Lab::start(0);
    let upstream = tucano_tools::load::upstream::Upstream {
        default: tucano_tools::load::upstream::Behaviour::Fine,
        body_bytes: 10,
    };
    let well = upstream.start("127.0.0.1:0".parse().expect("an address")).expect("it listens");
    // One that accepts and never answers: it must not keep the others from being checked.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let comes_back = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let late = comes_back.local_addr().expect("its address");
    drop(comes_back);
    let addresses = [well, silent.local_addr().expect("its address"), late];
    let check =
        json!({ "path": "/", "interval": "100ms", "timeout": "500ms", "unhealthy_after": 2 });
    let spec = json!({
        "name": "outside",
        "network": { "expose_port": 80, "hosts": ["old.lan"], "health_check": check },
        "external": { "addresses": addresses.map(|address| address.to_string()) },
    });
    let answer = lab.try_deploy(&spec);
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    let healthy = |count: usize| {
        lab.until(&format!("{count} healthy addresses"), SOON, || {
            (lab.healthy("outside").len() == count).then_some(())
        });
    };
    healthy(1);
    let service = lab.service("outside");
    assert_eq!(service.instances.len(), 3);
    assert_eq!(lab.healthy("outside")[0].address, Some(well));
    let why = |address| {
        let found = service.instances.iter().find(|each| each.address == Some(address));
        found.and_then(|each| each.waits_for.clone()).unwrap_or_default()
    };
    assert!(why(late).contains("nothing listens"), "{}", why(late));
    assert!(why(addresses[1]).contains("no answer within 500ms"), "{}", why(addresses[1]));
    for _ in 0..20 {
        assert_eq!(lab.fetch("old.lan", "/").status, 200);
    }
    let requests = lab.service("outside").requests;
    assert_eq!((requests.accepted, requests.in_flight, requests.lost), (20, 0, 0), "{requests:?}");
    assert_eq!(requests.ended["answered"], 20, "nobody is asked who fails: {requests:?}");

    upstream.start(late).expect("the port is free still");
    healthy(2);
    let told = |kind: &str| lab.events().iter().filter(|each| each.kind == kind).count();
    assert_eq!((told("instance_unhealthy"), told("instance_healthy")), (2, 1));
}
