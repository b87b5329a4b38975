//! The controller's sockets are somebody else's (systemd's; here: this test's): it is started again
//! and again under load, and nobody is refused, nothing is lost.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::{libc, setsockopt_impl, sockopt_impl};
use tucano_common::metrics;
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, SOON, raw};
use tucano_tools::cluster::{Cluster, Daemon, Folder, Layout, Options};
use tucano_tools::load::{Plan, Report, Stop, run};

fn held(workers: u32) -> Lab {
    let options = Options { holds_sockets: true, ..Options::default() };
    Lab::assemble(Folder::new("test").expect("a folder"), workers, options, None)
}

/// Requests that began and are not answered, by the balancer's own count.
fn in_flight(lab: &Lab) -> f64 {
    let text = lab.ask(Method::Get, "/metrics", None).text().into_owned();
    let own = |line: &&str| line.starts_with(metrics::HTTP_IN_FLIGHT.name);
    let values = text.lines().filter(own).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}

#[test]
fn restarts_of_the_controller_refuse_nobody_and_lose_nothing() {
    let mut lab = held(2);
    lab.deploy(&lab.demo("web", 2));
    lab.wait_healthy("web", 2);
    let mut fresh = Plan::new(lab.balancer(), "web");
    (fresh.rate, fresh.connections, fresh.duration) = (Some(100), 8, MINUTE * 5);
    fresh.contains = Some("service=web".to_owned());
    let kept = fresh.clone();
    // A new connection a request, none of which may be sent twice.
    (fresh.close, fresh.method) = (true, tucano_common::http1::Method::Post);
    let stop = Stop::default();
    let start = |plan: Plan| {
        let stop = stop.clone();
        thread::spawn(move || run(&plan, &stop).expect("the generator runs"))
    };
    let loads = [start(fresh), start(kept)];
    for _ in 0..3 {
        let mut plan = Plan::new(lab.balancer(), "web");
        (plan.path, plan.connections, plan.requests) = ("/slow?ms=1500".to_owned(), 4, 4);
        plan.close = true;
        let slow = start(plan);
        lab.until("slow requests in flight", SOON, || (in_flight(&lab) >= 4.0).then_some(()));
        let controller = lab.cluster.controller().expect("a controller");
        let status = controller.stop(MINUTE);
        assert_eq!(status.and_then(|status| status.code()), Some(0));
        lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
        // Those that were in flight as it was told to stop: answered before it left.
        let slow = slow.join().expect("the generator ends");
        assert_eq!((slow.succeeded, slow.failed()), (4, 0), "{slow}");
        lab.wait_ready(2);
        lab.answering("web", 2);
    }
    stop.stop();
    for load in loads {
        let report: Report = load.join().expect("the generator ends");
        assert!(report.succeeded > 100, "hardly any load: {report}");
        assert_eq!(report.failed(), 0, "{report}");
    }
    assert!(lab.cluster.controller().expect("a controller").log().contains("was handed over"));
}

#[test]
fn systemds_own_way_of_handing_over_is_understood() {
    let folder = Folder::new("test").expect("a folder");
    let layout = Layout::private(0).expect("addresses");
    let cluster = Cluster::new(folder, layout, Options::default()).expect("a cluster");
    let controller = cluster.binary("tucano-controller").expect("it is built");
    let (api, balancer) = (cluster.layout.api.to_string(), cluster.layout.balancer.to_string());
    let data = cluster.folder.path().join("controller").display().to_string();
    // No names: each is known by its address. A third port is the balancer's too.
    let third = std::net::SocketAddr::new(cluster.layout.balancer.ip(), 8081).to_string();
    let controller = controller.display().to_string();
    let flags = ["-l", &balancer, "-l", &third, "-l", &api, &controller, "--api-listen", &api];
    let flags = [&flags[..], &["--balancer-listen", &balancer, "--data-dir", &data]].concat();
    let flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
    let log = cluster.folder.path().join("activate.log");
    let parent = std::path::PathBuf::from("systemd-socket-activate");
    let started = Daemon::start(parent, &flags, &log);
    let mut daemon = started.unwrap_or_else(|error| panic!("{error} (apt-get install systemd)"));
    let ask = |address: &str, path: &str| {
        let url = format!("http://{address}{path}");
        let curl = ["-sS", "--retry", "30", "--retry-connrefused", "--retry-delay", "1"];
        let output = Command::new("curl").args(curl).args(["-w", "%{http_code}", &url]).output();
        String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned()
    };
    assert!(ask(&api, "/healthz").ends_with("200"), "{}", daemon.log());
    for address in [&balancer, &third] {
        let answer = ask(address, "/v1/services");
        assert!(answer.contains("no_service") || answer.ends_with("404"), "{answer}");
    }
    daemon.signal(Signal::SIGTERM).expect("it runs");
    let status = daemon.wait(Duration::from_secs(40));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", daemon.log());
}

sockopt_impl!(
    /// `DeferAcceptSec=` of a socket unit (tcp(7)).
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// The balancer's open connections to clients.
fn clients(api: SocketAddr) -> u32 {
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(api, ask).text;
    let own = |line: &&str| {
        line.starts_with(metrics::HTTP_CONNECTIONS.name) && line.contains("\"client\"")
    };
    let values = answer.lines().filter(own).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u32>().ok()).sum()
}

#[test]
fn on_sockets_that_wait_for_bytes_who_says_nothing_is_counted_and_closed() {
    let folder = Folder::new("test").expect("a folder");
    let layout = Layout::private(0).expect("addresses");
    let cluster = Cluster::new(folder, layout, Options::default()).expect("a cluster");
    let binary = cluster.binary("tucano-controller").expect("it is built");
    let bind = |address| std::net::TcpListener::bind(address).expect("a free port");
    let (api, balancer) = (bind(cluster.layout.api), bind(cluster.layout.balancer));
    for listener in [&api, &balancer] {
        nix::sys::socket::setsockopt(listener, DeferAccept, &1).expect("a socket option");
    }
    let data = cluster.folder.path().join("controller").display().to_string();
    let log = cluster.folder.path().join("deferred.log");
    let [api_flag, balancer_flag] =
        [cluster.layout.api, cluster.layout.balancer].map(|address| address.to_string());
    let flags = ["--data-dir", &data, "--api-listen", &api_flag, "--balancer-listen"];
    let flags = flags.into_iter().chain([&*balancer_flag]).map(str::to_owned).collect::<Vec<_>>();
    let started = Daemon::start_with(binary, &[balancer, api], &flags, &[], &log);
    let mut daemon = started.unwrap_or_else(|error| panic!("{error}"));
    let until = |what: &str, count: u32| {
        let seen = || (clients(cluster.layout.api) == count).then_some(());
        tucano_tools::wait::until(what, MINUTE, seen).unwrap_or_else(|late| panic!("{late}"));
    };
    until("nobody connected", 0);
    let mut silent = TcpStream::connect(cluster.layout.balancer).expect("it is taken");
    until("the one who says nothing", 1);
    silent.set_read_timeout(Some(MINUTE)).expect("a timeout");
    let mut room = [0; 100];
    assert_eq!(silent.read(&mut room).expect("it is closed"), 0, "without a word");
    until("nobody connected", 0);
    daemon.signal(Signal::SIGTERM).expect("it runs");
    let status = daemon.wait(Duration::from_secs(40));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", daemon.log());
}

#[test]
fn an_api_that_was_handed_over_is_as_closed_as_any() {
    // 0.0.0.0 without tokens is refused, whoever bound it.
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a free port");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let folder = Folder::new("test").expect("a folder");
    let layout = Layout::private(0).expect("addresses");
    let cluster = Cluster::new(folder, layout, Options::default()).expect("a cluster");
    let binary = cluster.binary("tucano-controller").expect("it is built");
    let data = cluster.folder.path().join("controller").display().to_string();
    let log = cluster.folder.path().join("refused.log");
    let flags = ["--data-dir".to_owned(), data];
    let started = Daemon::start_with(binary, &[other, listener], &flags, &[], &log);
    let mut daemon = started.unwrap_or_else(|error| panic!("{error}"));
    let status = daemon.wait(MINUTE).expect("it ends");
    assert_eq!(status.code(), Some(2), "{}", daemon.log());
    assert!(daemon.log().contains("--admin-token-file"), "{}", daemon.log());
}
