//! Requests that go to another instance, and those that must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tucano_controller_core::balancer::table::Duty;

use super::harness::{Harness, Instance, endpoint, error_code, nowhere};
use crate::balancer::stats::Cause;
use crate::msgs::FromLoop;

/// Reads a request and closes without an answer; counts them.
fn breaking() -> (Instance, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let instance = Instance::new(move |conn| {
        if conn.request().is_some() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (instance, count)
}

#[test]
fn a_refused_connection_goes_to_another_instance_whatever_the_method() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[nowhere(), web.address]);
    for n in 0..20 {
        let mut client = lb.client();
        client.send(format!("POST /{n} HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello"));
        assert_eq!(client.answer().text(), "web");
    }
    assert!(web.seen().iter().all(|request| request.body == b"hello"));
    let totals = lb.totals("web");
    assert_eq!(totals.accepted, 20);
    assert!(totals.of(Cause::AnsweredAfterRetry) >= 1, "{totals:?}");
}

#[test]
fn a_broken_connection_goes_to_another_instance_where_that_is_safe() {
    let cases: [(&str, bool); 6] = [
        ("GET / HTTP/1.1\r\nHost: web\r\n\r\n", true),
        ("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi", true),
        ("DELETE / HTTP/1.1\r\nHost: web\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi", false),
        ("POST / HTTP/1.1\r\nHost: web\r\nIdempotency-Key: 1\r\nContent-Length: 2\r\n\r\nhi", true),
        ("FROB / HTTP/1.1\r\nHost: web\r\n\r\n", false),
    ];
    for (request, is_safe) in cases {
        let (broken, count) = breaking();
        let web = Instance::named("web");
        let mut lb = Harness::new();
        // Only the broken one may be chosen first.
        lb.change("web", |route| {
            let mut spare = endpoint(2, web.address);
            spare.duty = Duty::LastResort;
            route.endpoints = vec![endpoint(1, broken.address), spare];
        });
        let mut client = lb.client();
        client.send(request);
        let answer = client.answer();
        let expected = if is_safe { (200, 1) } else { (502, 0) };
        assert_eq!((answer.status, web.seen().len()), expected, "{request}");
        assert_eq!(count.load(Ordering::SeqCst), 1, "{request}");
        assert!(answer.keeps_alive, "{request}");
    }
}

#[test]
fn a_long_body_is_sent_once_and_a_held_one_again() {
    let (broken, _) = breaking();
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.change("web", |route| {
        let mut spare = endpoint(2, web.address);
        spare.duty = Duty::LastResort;
        route.endpoints = vec![endpoint(1, broken.address), spare];
    });
    let put = |len: usize| {
        let mut client = lb.client();
        client.send(format!("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: {len}\r\n\r\n"));
        client.send(vec![b'x'; len]);
        client.answer().status
    };
    assert_eq!(put(64 * 1024), 200);
    assert_eq!(web.last().body.len(), 64 * 1024);
    assert_eq!(put(200_000), 502);
}

#[test]
fn three_tries_and_no_more() {
    let instances: Vec<_> = (0..5).map(|_| breaking()).collect();
    let addresses: Vec<_> = instances.iter().map(|(instance, _)| instance.address).collect();
    let mut lb = Harness::new();
    lb.serve("web", &addresses);
    let answer = lb.get("web", "/");
    assert_eq!((answer.status, error_code(&answer)), (502, Some("upstream_failed")));
    let tries: usize = instances.iter().map(|(_, count)| count.load(Ordering::SeqCst)).sum();
    assert_eq!(tries, 3);
}

#[test]
fn retries_are_a_share_of_the_traffic() {
    let instances: Vec<_> = (0..3).map(|_| breaking()).collect();
    let addresses: Vec<_> = instances.iter().map(|(instance, _)| instance.address).collect();
    let mut lb = Harness::new();
    lb.serve("web", &addresses);
    let start = Instant::now();
    for _ in 0..300 {
        assert_eq!(lb.get("web", "/").status, 502);
    }
    let tries: usize = instances.iter().map(|(_, count)| count.load(Ordering::SeqCst)).sum();
    // A fifth of the traffic, and ten a second.
    let allowed = 300 / 5 + 10 * (start.elapsed().as_secs() as usize + 2);
    assert!(tries <= 300 + allowed, "{tries} tries of 300 requests");
}

#[test]
fn a_kept_connection_that_was_closed_costs_nobody_an_answer() {
    // Closes each connection right after its first answer, without saying so.
    let web = Instance::new(|conn| {
        conn.request();
        conn.ok("web");
    });
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    for _ in 0..100 {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        assert_eq!(client.answer().text(), "web");
    }
    assert!(lb.has_no_report(), "and the instance is not blamed");
}

#[test]
fn an_instance_that_fails_is_left_out_for_a_while() {
    let (begun, wait_begun) = std::sync::mpsc::channel();
    let (good, bad) = (waiting(begun.clone(), true), waiting(begun, false));
    let mut lb = Harness::new();
    lb.serve("web", &[bad.0.address, good.0.address]);
    let mut clients: Vec<_> = (0..8).map(|_| lb.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        wait_begun.recv_timeout(super::harness::PATIENCE).unwrap();
    }
    // Both have four; the bad one breaks all of its own.
    drop(bad.1);
    let report = lb.report();
    let FromLoop::Ejected { instance, out_for, .. } = report else { panic!("{report:?}") };
    assert_eq!((instance.0, out_for), (1, Some(Duration::from_secs(5))));
    lb.cut(4);
    drop(good.1);
    assert!(clients.iter_mut().all(|client| client.answer().status == 200));
    lb.counts("web", Cause::AnsweredAfterRetry, 4);
}

#[test]
fn an_instance_that_fails_fast_draws_no_traffic_in() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[nowhere(), web.address]);
    for _ in 0..40 {
        assert_eq!(lb.get("web", "/").status, 200);
    }
    assert!(lb.totals("web").of(Cause::AnsweredAfterRetry) <= 2);
}

/// Says when a request began, waits until the sender is dropped, and then answers or breaks.
fn waiting(
    begun: std::sync::mpsc::Sender<()>,
    answers: bool,
) -> (Instance, std::sync::mpsc::Sender<()>) {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, wait) = (std::sync::Mutex::new(begun), std::sync::Mutex::new(wait));
    let instance = Instance::new(move |conn| {
        while conn.request().is_some() {
            let _ = begun.lock().unwrap().send(());
            let _ = wait.lock().unwrap().recv_timeout(super::harness::PATIENCE);
            if !answers {
                return;
            }
            conn.ok("web");
        }
    });
    (instance, go)
}

#[test]
fn a_dead_workers_requests_go_elsewhere_at_once() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let dead = Instance::new(move |conn| {
        conn.request();
        tell.lock().unwrap().send(()).unwrap();
        conn.is_closed();
    });
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[dead.address]);
    let mut get = lb.client();
    get.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let mut post = lb.client();
    post.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
    for _ in 0..2 {
        told.recv_timeout(super::harness::PATIENCE).unwrap();
    }
    lb.change("web", |route| {
        route.endpoints[0].duty = Duty::Abandon;
        route.endpoints.push(endpoint(2, web.address));
    });
    assert_eq!(get.answer().text(), "web");
    assert_eq!(post.answer().status, 502);
    assert_eq!(lb.drained(), 1);
}
