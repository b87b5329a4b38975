//! Held, drained, stopped: nothing is lost while instances come and go.

use std::time::{Duration, Instant};

use tucano_controller_core::balancer::table::Duty;

use super::harness::{Harness, Instance, endpoint, error_code, nowhere};
use crate::balancer::stats::Cause;
use crate::msgs::{Keeper, ToLoop};

/// Answers each request when told to.
fn gated() -> (Instance, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let (begun, wait_begun) = std::sync::mpsc::channel();
    let (go, wait_go) = std::sync::mpsc::channel::<()>();
    let (begun, wait_go) = (std::sync::Mutex::new(begun), std::sync::Mutex::new(wait_go));
    let instance = Instance::new(move |conn| {
        while conn.request().is_some() {
            begun.lock().unwrap().send(()).unwrap();
            let _ = wait_go.lock().unwrap().recv();
            conn.ok("gated");
        }
    });
    (instance, wait_begun, go)
}

#[test]
fn requests_wait_for_an_instance_on_its_way() {
    let mut lb = Harness::new();
    lb.change("web", |route| route.expecting = true);
    let mut clients: Vec<_> = (0..10).map(|_| lb.client()).collect();
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
    }
    let start = Instant::now();
    while lb.totals("web").in_flight() < 10 {
        assert!(start.elapsed() < super::harness::PATIENCE);
        std::thread::yield_now();
    }
    let web = Instance::named("web");
    lb.serve("web", &[web.address]);
    for client in &mut clients {
        assert_eq!(client.answer().text(), "web");
    }
    lb.counts("web", Cause::Answered, 10);
}

#[test]
fn who_waits_in_vain_is_told_so() {
    let mut lb = Harness::new();
    lb.change("web", |route| {
        route.expecting = true;
        route.hold = Duration::from_millis(100);
    });
    let answer = lb.get("web", "/");
    assert_eq!((answer.status, error_code(&answer)), (503, Some("no_instance")));
    assert_eq!(answer.field("Retry-After"), Some("1"));
    // The deployment is given up while somebody waits.
    lb.change("web", |route| route.hold = Duration::from_secs(60));
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    while lb.totals("web").in_flight() == 0 {
        std::thread::yield_now();
    }
    lb.change("web", |route| route.expecting = false);
    assert_eq!(client.answer().status, 503);
}

#[test]
fn no_more_than_256_wait() {
    let mut lb = Harness::new();
    lb.change("web", |route| {
        // None of them gives up before all have come, however busy the machine is.
        (route.expecting, route.hold) = (true, 6 * super::harness::PATIENCE);
    });
    let mut clients: Vec<_> = (0..257).map(|_| lb.client()).collect();
    for (n, client) in (1..).zip(&mut clients) {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        while lb.totals("web").accepted < n {
            std::thread::yield_now();
        }
    }
    let over = clients.pop().unwrap().answer();
    assert_eq!((over.status, error_code(&over)), (503, Some("overload")));
    // One who leaves makes room.
    drop(clients.pop());
    lb.counts("web", Cause::Overload, 1);
    let web = Instance::named("web");
    lb.serve("web", &[web.address]);
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[test]
fn a_crash_is_waited_out() {
    // Its only instance refuses; the table that says so comes a moment later, and then the new one.
    let mut lb = Harness::new();
    lb.serve("web", &[nowhere()]);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
    while lb.totals("web").in_flight() == 0 {
        std::thread::yield_now();
    }
    lb.change("web", |route| {
        route.endpoints.clear();
        route.expecting = true;
    });
    let web = Instance::named("web");
    lb.change("web", |route| {
        route.endpoints = vec![endpoint(2, web.address)];
        route.expecting = false;
    });
    assert_eq!(client.answer().text(), "web");
}

#[test]
fn an_instance_started_again_in_place_is_found_without_a_table() {
    // Also where another one is on its way, which may take long.
    for expecting in [false, true] {
        let address = nowhere();
        let mut lb = Harness::new();
        lb.serve("web", &[address]);
        lb.change("web", |route| {
            (route.expecting, route.hold) = (expecting, 6 * super::harness::PATIENCE);
        });
        let mut client = lb.client();
        client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
        while lb.totals("web").in_flight() == 0 {
            std::thread::yield_now();
        }
        let _web = Instance::on(std::net::TcpListener::bind(address).unwrap(), |conn| {
            conn.request();
            conn.ok("again");
        });
        assert_eq!(client.answer().text(), "again");
    }
}

#[test]
fn an_instance_is_drained_with_its_last_answer() {
    let (old, begun, go) = gated();
    let new = Instance::named("new");
    let mut lb = Harness::new();
    lb.serve("web", &[old.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    begun.recv_timeout(super::harness::PATIENCE).unwrap();
    lb.change("web", |route| {
        route.endpoints[0].duty = Duty::Drain;
        route.endpoints.push(endpoint(2, new.address));
    });
    assert_eq!(lb.get("web", "/").text(), "new", "it gets no new ones");
    assert!(lb.has_no_report(), "it is not drained yet");
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "gated");
    assert_eq!(lb.drained(), 1);
    // An idle one is drained at once, and its kept connections are closed.
    lb.change("web", |route| route.endpoints[1].duty = Duty::Drain);
    assert_eq!([lb.drained(), lb.drained()], [1, 2], "and the first one is still");
}

#[test]
fn max_in_flight_makes_requests_wait_their_turn() {
    let (web, begun, go) = gated();
    let mut lb = Harness::new();
    lb.change("web", |route| {
        route.endpoints = vec![endpoint(1, web.address)];
        route.max_in_flight = Some(1);
    });
    let mut clients: Vec<_> = (0..5).map(|_| lb.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    }
    for _ in 0..5 {
        begun.recv_timeout(super::harness::PATIENCE).unwrap();
        assert!(begun.try_recv().is_err(), "one at a time");
        go.send(()).unwrap();
    }
    assert!(clients.iter_mut().all(|client| client.answer().status == 200));
}

#[test]
fn stopping_finishes_what_is_in_flight() {
    let (web, begun, go) = gated();
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut idle = lb.client();
    idle.send("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n");
    idle.answer();
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    begun.recv_timeout(super::harness::PATIENCE).unwrap();
    let address = lb.address;
    let thread = std::thread::spawn(move || {
        let cut = lb.stop(Duration::from_secs(20));
        (cut, lb)
    });
    assert!(idle.is_closed(), "an idle connection is closed");
    go.send(()).unwrap();
    let answer = client.answer();
    assert_eq!((answer.text(), answer.keeps_alive), ("gated", false));
    let (cut, lb) = thread.join().unwrap();
    assert_eq!((cut, lb.totals("web").in_flight()), (0, 0));
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn who_is_connected_when_the_loop_stops_may_still_ask() {
    let web = Instance::named("web");
    let mut lb = Harness::with(|config| config.timeouts.linger = Duration::from_secs(4));
    lb.serve("web", &[web.address]);
    let [mut kept, mut also_kept] = [lb.client(), lb.client()];
    for client in [&mut kept, &mut also_kept] {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        assert_eq!(client.answer().text(), "web");
    }
    let (mut fresh, address) = (lb.client(), lb.address);
    let thread = std::thread::spawn(move || lb.stop(super::harness::PATIENCE));
    // The loop has heard of it once it tells a client that its connection ends.
    loop {
        kept.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        if !kept.answer().keeps_alive {
            break;
        }
    }
    let mut newcomer = super::harness::Client::new(address);
    for client in [&mut also_kept, &mut fresh, &mut newcomer] {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.text(), answer.keeps_alive), ("web", false));
        assert!(client.is_closed());
    }
    assert_eq!(thread.join().unwrap(), 0);
}

#[test]
fn a_queue_that_outlives_the_loop_is_left_to_the_next() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, listener) = (ours.local_addr().unwrap().port(), ours.try_clone().unwrap());
    lb.tell(ToLoop::Listen { port, listener, keeper: Keeper::Systemd });
    let mut client = super::harness::Client::new(ours.local_addr().unwrap());
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(client.answer().status, 404, "no service is on this port");
    assert_eq!(lb.stop(Duration::from_secs(20)), 0);
    let late = std::net::TcpStream::connect(ours.local_addr().unwrap()).unwrap();
    ours.set_nonblocking(false).unwrap();
    let (_, peer) = ours.accept().unwrap();
    assert_eq!(peer, late.local_addr().unwrap(), "nobody else took it");
}

#[test]
fn stopping_cuts_what_does_not_end() {
    let (web, begun, _go) = gated();
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    begun.recv_timeout(super::harness::PATIENCE).unwrap();
    assert_eq!(lb.stop(Duration::from_millis(100)), 1);
    assert!(client.is_closed());
}

#[test]
fn ports_open_and_close_with_their_tables() {
    let web = Instance::named("web");
    let mut lb = Harness::new();
    lb.serve("web", &[web.address]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap();
    let keeper = Keeper::Us;
    lb.tell(ToLoop::Listen { port: other.port(), listener, keeper });
    let mut client = super::harness::Client::new(other);
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(client.answer().status, 404, "the service is on another port");
    lb.tell(ToLoop::Close { port: other.port() });
    let start = Instant::now();
    while std::net::TcpStream::connect(other).is_ok() {
        assert!(start.elapsed() < super::harness::PATIENCE);
    }
    client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(client.answer().status, 404, "what is open stays open");
}
