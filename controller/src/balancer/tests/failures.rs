//! Instances and clients that misbehave: what the other side must see.

use std::time::Duration;

use super::harness::{Harness, Instance, error_code};
use crate::balancer::stats::Cause;

fn once(answer: &'static str) -> Instance {
    Instance::new(move |conn| {
        if conn.request().is_some() {
            conn.send(answer);
        }
    })
}

#[test]
fn what_is_no_answer_is_502() {
    for answer in [
        "",
        "220 mail ESMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 42\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 O",
    ] {
        let web = once(answer);
        let mut lb = Harness::new();
        lb.serve("web", &[web.address]);
        let mut client = lb.client();
        client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
        let got = client.answer();
        assert_eq!(got.status, 502, "{answer}");
        assert!(error_code(&got).is_some_and(|code| code.starts_with("upstream_")), "{answer}");
        assert!(got.keeps_alive && !got.text().contains("127.0.0.1"), "{answer}");
        lb.counts("web", Cause::UpstreamFailed, 1);
    }
}

#[test]
fn a_broken_answer_never_looks_complete() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n",
    ] {
        let web = once(answer);
        let mut lb = Harness::new();
        lb.serve("web", &[web.address]);
        let mut client = lb.client();
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let got = client.answer();
        assert_eq!((got.status, got.is_whole), (200, false), "{answer}");
        assert!(client.is_closed());
        lb.counts("web", Cause::UpstreamFailed, 1);
        // What is malformed breaks off here, not there.
        if !answer.contains("ZZ") {
            lb.cut(1);
        }
    }
}

#[test]
fn a_broken_answer_to_http10_is_a_reset() {
    // Its end is the connection's end: only a reset tells that it broke off.
    let web = once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.0\r\nHost: web\r\n\r\n");
    let mut room = [0; 1000];
    let error = loop {
        match std::io::Read::read(&mut client.stream, &mut room) {
            Ok(0) => panic!("it looks complete"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn bytes_after_an_answer_reach_nobody() {
    let web = Instance::new(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\n");
            conn.send("Content-Length: 4\r\n\r\nEVIL");
        }
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    for _ in 0..5 {
        let mut client = lb.client();
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
            assert_eq!(client.answer().text(), "good");
        }
    }
}

#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let web = Instance::new(move |conn| {
        conn.request();
        conn.ok("good");
        // The balancer has put the connection away meanwhile.
        conn.hears_nothing_for(Duration::from_millis(50));
        conn.ok("EVIL");
        conn.is_closed();
        tell.lock().unwrap().send(()).unwrap();
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    for _ in 0..3 {
        assert_eq!(lb.get("web", "/").text(), "good");
        told.recv_timeout(super::harness::PATIENCE).expect("the balancer closes it");
    }
}

#[test]
fn a_cut_request_never_becomes_whole() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let web = Instance::new(move |conn| {
        let whole = conn.request().is_some();
        tell.lock().unwrap().send(whole).unwrap();
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    for body in
        ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let mut client = lb.client();
        client.send("POST / HTTP/1.1\r\nHost: web\r\n".to_owned() + body);
        client.half_close();
        assert!(!told.recv_timeout(super::harness::PATIENCE).unwrap(), "{body}");
    }
    lb.counts("web", Cause::ClientGone, 2);
}

#[test]
fn a_client_that_shut_its_sending_side_gets_its_answer() {
    let (go, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let web = Instance::new(move |conn| {
        conn.request();
        wait.lock().unwrap().recv_timeout(super::harness::PATIENCE).unwrap();
        conn.ok("late");
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    client.half_close();
    // The balancer watches the connection by now, and has seen its end.
    assert_eq!(lb.get("nobody", "/").status, 404);
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "late");
    assert!(client.is_closed());
}

#[test]
fn a_client_that_resets_frees_its_instance() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let web = Instance::new(move |conn| {
        conn.request();
        tell.lock().unwrap().send("begun").unwrap();
        conn.is_closed();
        tell.lock().unwrap().send("closed").unwrap();
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(told.recv_timeout(super::harness::PATIENCE).unwrap(), "begun");
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&client.stream, nix::sys::socket::sockopt::Linger, &linger)
        .unwrap();
    drop(client);
    assert_eq!(told.recv_timeout(super::harness::PATIENCE).unwrap(), "closed");
    lb.counts("web", Cause::ClientGone, 1);
}

#[test]
fn silent_and_churning_clients_harm_nobody() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let silent: Vec<_> = (0..200).map(|_| lb.client()).collect();
    let request = b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello";
    for n in 0..300 {
        let mut client = lb.client();
        client.send(&request[..n * 7 % request.len()]);
    }
    assert_eq!(lb.get("web", "/").text(), "web");
    drop(silent);
}

#[test]
fn who_holds_a_connection_and_asks_nothing_makes_room_and_nobody_else() {
    let web = Instance::named("web");
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let slow = Instance::new(move |conn| {
        conn.request();
        told.lock().unwrap().recv().unwrap();
        conn.ok("slow");
    });
    let mut lb = Harness::with(|config| {
        config.clients_max = 4;
        config.timeouts.head = super::harness::PATIENCE;
    });
    lb.serve("web", &[web.address]);
    lb.serve("slow", &[slow.address]);
    let ask = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut clients: Vec<_> = (0..4).map(|_| lb.client()).collect();
    for client in &mut clients {
        client.send(ask("web"));
        assert_eq!(client.answer().text(), "web");
    }
    let [busy, halfway, idle, other] = &mut clients[..] else { unreachable!() };
    busy.send(ask("slow"));
    halfway.send("GET / HTTP/1.1\r\nHo");
    // There is no place for one more until those two have been idle for a while.
    let mut late = lb.client();
    late.send(ask("web"));
    assert_eq!(late.answer().text(), "web");
    assert!(idle.is_closed() && other.is_closed());
    halfway.send("st: web\r\n\r\n");
    assert_eq!(halfway.answer().text(), "web");
    tell.send(()).unwrap();
    assert_eq!(busy.answer().text(), "slow");
}
