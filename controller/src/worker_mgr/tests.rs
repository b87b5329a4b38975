//! The worker manager on its real loop, with the API, the deployer and the agents played.

mod bench;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tucano_common::id::InstanceId;
use tucano_common::limits::{PUSHES_BURST, PUSHES_QUEUED_MAX};
use tucano_common::name::WorkerName;
use tucano_common::wire::worker::{Desired, Hello};
use tucano_controller_core::balancer::table::{RouteWorker, RoutingTable};
use tucano_controller_core::cluster::LeaseState;
use tucano_controller_core::deployer::Fact;

use crate::msgs::{FromAgent, ToLoop, ToManager};
use bench::*;

#[test]
fn a_hello_is_answered_once_it_is_on_disk() {
    let mut bench = Bench::new(PATIENCE);
    let (status, answer) = bench.join(hello(1, 0), 3);
    assert_eq!(status, 200);
    assert_eq!(answer["cluster"], CLUSTER);
    assert_eq!(answer["generation"], 3);
    assert_eq!(answer["balancer_url"], "http://ctl.lan:8080");
}

#[test]
fn a_hello_that_could_not_be_stored_is_refused() {
    let mut bench = Bench::new(PATIENCE);
    let ticket = bench.hello(hello(1, 0));
    let problem = tucano_common::wire::problem::Problem::new(507, "", "full");
    bench.send(ToManager::HelloFailed { ticket, problem });
    assert_eq!(bench.answer(ticket), (507, json!("full")));
}

#[test]
fn an_address_that_nobody_may_be_sent_to_is_refused() {
    let mut bench = Bench::new(PATIENCE);
    for address in [
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "fe80::1",
        "255.255.255.255",
        "::ffff:169.254.169.254",
    ] {
        let address = Some(address.parse().expect("an address"));
        let ticket = bench.hello(Hello { address, ..hello(1, 0) });
        let (status, detail) = bench.answer(ticket);
        assert_eq!(status, 422);
        assert!(detail.as_str().expect("words").contains("--advertise"), "{detail}");
    }
    assert!(bench.news.is_empty());
}

#[test]
fn the_deployer_hears_of_reports_only_where_they_changed() {
    let mut bench = Bench::new(PATIENCE);
    bench.join(hello(1, 0), 3);
    let kinds = |facts: Vec<Fact>| -> Vec<&'static str> {
        let kind = |fact: &Fact| match fact {
            Fact::Hello(_) => "hello",
            Fact::Lease { .. } => "lease",
            Fact::Reports { holds, .. } => {
                assert_eq!(*holds, Some(3));
                "reports"
            }
            Fact::Measured { load, .. } => {
                assert!((load.expect("a load").cpu - 0.5).abs() < 0.01);
                "measured"
            }
            Fact::Notice { .. } => "notice",
            Fact::Drained { .. } => "drained",
            Fact::Cut { .. } => "cut",
            Fact::Outside(_) => "outside",
        };
        facts.iter().map(kind).collect()
    };
    let (status, answer) = bench.heartbeat(1, 1, json!([report(1)]));
    assert_eq!((status, &answer["generation"]), (200, &json!(3)));
    assert_eq!(kinds(bench.facts()), ["reports", "measured"]);
    bench.heartbeat(1, 2, json!([report(1)]));
    assert_eq!(kinds(bench.facts()), ["measured"]);
    bench.heartbeat(1, 2, json!([report(7)]));
    bench.heartbeat(1, 3, json!([report(1), report(2)]));
    assert_eq!(kinds(bench.facts()), ["reports", "measured"], "the doubled one said nothing");
    bench.send(ToManager::Retell);
    assert_eq!(kinds(bench.facts()), ["lease"]);
    bench.heartbeat(1, 4, json!([report(1), report(2)]));
    assert_eq!(kinds(bench.facts()), ["reports", "measured"], "told again");
}

#[test]
fn sessions_that_are_not_the_workers_are_refused() {
    let mut bench = Bench::new(PATIENCE);
    let (status, detail) = bench.heartbeat(1, 1, json!([]));
    assert_eq!(status, 404);
    assert!(detail.as_str().expect("words").contains("say hello"), "{detail}");
    bench.join(hello(1, 7071), 3);
    let (status, detail) = bench.heartbeat(2, 1, json!([]));
    assert_eq!(status, 409);
    assert!(detail.as_str().expect("words").contains("--name"), "{detail}");
    let elsewhere = Some("127.0.0.9".parse().expect("an address"));
    let ticket = bench.hello(Hello { address: elsewhere, ..hello(3, 7071) });
    let (status, detail) = bench.answer(ticket);
    assert_eq!(status, 409);
    assert!(detail.as_str().expect("words").contains("is alive at 127.0.0.1"), "{detail}");
}

#[test]
fn assignments_are_the_committed_plan() {
    let mut bench = Bench::new(PATIENCE);
    let ask = |ticket| FromAgent::Assignments { ticket, worker: name() };
    let ticket = bench.ask(ask);
    assert_eq!(bench.answer(ticket).0, 404);
    bench.join(hello(1, 0), 3);
    bench.send(ToManager::Plans(vec![plan(&name(), 4, vec![assignment(1, 4, Desired::Run)])]));
    let ticket = bench.ask(ask);
    let (status, answer) = bench.answer(ticket);
    assert_eq!((status, &answer["cluster"]), (200, &json!(CLUSTER)));
    assert_eq!(
        (&answer["generation"], &answer["instances"][0]["desired"]),
        (&json!(4), &json!("run"))
    );
}

#[test]
fn a_plan_is_pushed_with_the_token_in_order() {
    let (address, requests) = agent(&[202, 202, 202]);
    let mut bench = Bench::new(PATIENCE);
    bench.join(hello(1, address.port()), 3);
    let both = vec![assignment(1, 4, Desired::Run), assignment(2, 4, Desired::Run)];
    bench.send(ToManager::Plans(vec![plan(&name(), 4, both)]));
    for (id, previous) in [(1, 4), (2, 3)] {
        let request = requests.recv_timeout(PATIENCE).expect("a push");
        let line = format!("PUT /v1/instances/{} HTTP/1.1\r\n", InstanceId(id));
        assert!(request.starts_with(&line), "{request}");
        assert!(request.contains("Authorization: Bearer a-join-token\r\n"), "{request}");
        let body: Value =
            serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
        assert_eq!((&body["cluster"], &body["generation"]), (&json!(CLUSTER), &json!(4)));
        assert_eq!(body["previous_generation"], previous, "only the last completes the plan");
    }
    let stop = vec![assignment(1, 5, Desired::Stop), assignment(2, 4, Desired::Run)];
    bench.send(ToManager::Plans(vec![plan(&name(), 5, stop)]));
    let request = requests.recv_timeout(PATIENCE).expect("a stop");
    let line = format!("DELETE /v1/instances/{}?cluster={CLUSTER}&generation=5 ", InstanceId(1));
    assert!(request.starts_with(&line), "{request}");
}

#[test]
fn a_storm_is_pushed_in_part_and_the_rest_is_fetched() {
    let mut bench = Bench::new(PATIENCE);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    silent.set_nonblocking(true).expect("a flag");
    let (reached, requests) = agent(&[202]);
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let each = PUSHES_QUEUED_MAX as u64 - 1;
    let paid = u64::from(PUSHES_BURST) / each;
    let mut plans = Vec::new();
    for number in 0..=paid + 1 {
        let worker = WorkerName::new(&format!("w{number}")).expect("a name");
        let silent = silent.local_addr().expect("an address");
        let (address, orders) = match number {
            _ if number < paid => (nobody, each),
            _ if number == paid => (silent, each),
            _ => (reached, 1),
        };
        bench.join(Hello { name: worker.clone(), ..hello(1, address.port()) }, 3);
        let all = (0..orders).map(|id| assignment(number * 100 + id, 4, Desired::Run)).collect();
        plans.push(plan(&worker, 4, all));
    }
    bench.send(ToManager::Plans(plans));
    requests.recv_timeout(PATIENCE).expect("one more could be paid");
    let refused = silent.accept().map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(std::io::ErrorKind::WouldBlock), "so many could not");
    let worker = WorkerName::new(&format!("w{paid}")).expect("a name");
    let ticket = bench.ask(|ticket| FromAgent::Assignments { ticket, worker });
    let (status, answer) = bench.answer(ticket);
    assert_eq!((status, answer["instances"].as_array().map(Vec::len)), (200, Some(each as usize)));
}

#[test]
fn after_a_push_that_failed_the_rest_of_its_plan_is_left_to_the_heartbeat() {
    let (address, requests) = agent(&[500, 202]);
    let mut bench = Bench::new(PATIENCE);
    bench.join(hello(1, address.port()), 3);
    let both = vec![assignment(1, 4, Desired::Run), assignment(2, 4, Desired::Run)];
    bench.send(ToManager::Plans(vec![plan(&name(), 4, both.clone())]));
    requests.recv_timeout(PATIENCE).expect("the push that fails");
    let third = [both, vec![assignment(3, 5, Desired::Run)]].concat();
    // The manager has taken the failure once it answers what it is asked after the agent has
    // closed.
    loop {
        bench.send(ToManager::Plans(vec![plan(&name(), 5, third.clone())]));
        if let Ok(request) = requests.recv_timeout(Duration::from_millis(50)) {
            assert!(request.contains(&InstanceId(3).to_string()), "{request}");
            break;
        }
    }
}

#[test]
fn leases_run_out_and_come_back() {
    let mut bench = Bench::new(Duration::from_millis(60));
    bench.join(hello(1, 0), 3);
    for lease in [LeaseState::Suspect, LeaseState::Dead] {
        assert_eq!(bench.facts(), [Fact::Lease { worker: name(), lease }]);
    }
    assert_eq!(bench.heartbeat(1, 1, json!([])).0, 404, "given up: it has to say hello");
    let (status, answer) = bench.join(hello(1, 0), 4);
    assert_eq!((status, &answer["generation"]), (200, &json!(4)), "welcomed back");
}

#[test]
fn a_bye_is_taken_and_one_of_an_older_session_is_no_news() {
    let mut bench = Bench::new(PATIENCE);
    bench.join(hello(2, 0), 3);
    for session in [Some(1), Some(2), None] {
        let ticket = bench.ask(|ticket| FromAgent::Bye { ticket, worker: name(), session });
        assert_eq!(bench.answer(ticket).0, 204);
    }
}

#[test]
fn a_table_has_its_weights_at_once() {
    let mut bench = Bench::new(PATIENCE);
    bench.join(hello(1, 0), 3);
    bench.heartbeat(1, 1, json!([]));
    let workers = vec![RouteWorker { name: name() }];
    let table = RoutingTable { version: 9, workers, ..RoutingTable::default() };
    bench.send(ToManager::Table(Arc::new(table)));
    match bench.weights.recv_timeout(PATIENCE).expect("weights") {
        ToLoop::Weights(weights) => {
            assert_eq!((weights.table_version, weights.by_worker.as_slice()), (9, &[500][..]));
        }
        other => panic!("no weights: {other:?}"),
    }
}

impl Bench {
    /// What the loops are told of a host next.
    fn heard(&self) -> (IpAddr, bool) {
        loop {
            match self.weights.recv_timeout(PATIENCE).expect("a word") {
                ToLoop::Heard { host, is_there } => return (host, is_there),
                ToLoop::Weights(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Connections that nobody accepts, until the kernel takes no more: then it answers nothing.
fn fill(address: SocketAddr) -> Vec<TcpStream> {
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    std::iter::from_fn(connect).collect()
}

#[test]
fn a_host_in_doubt_is_asked_through_its_agents_door() {
    let mut bench = Bench::new(PATIENCE);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    bench.join(hello(1, address.port()), 3);
    assert_eq!(bench.heard(), (address.ip(), true), "it is looked at as it comes");
    bench.send(ToManager::Doubt(IpAddr::from([127, 0, 0, 99])));
    bench.send(ToManager::Doubt(address.ip()));
    assert_eq!(bench.heard(), (address.ip(), true), "nobody is asked for a stranger");

    let held = fill(address);
    bench.send(ToManager::Doubt(address.ip()));
    assert_eq!(bench.heard(), (address.ip(), false));
    drop((held, listener));
    bench.send(ToManager::Doubt(address.ip()));
    assert_eq!(bench.heard(), (address.ip(), true), "its machine refuses, so it is there");
}

#[test]
fn an_agent_that_was_never_reached_says_nothing_by_not_being_reached() {
    let mut bench = Bench::new(PATIENCE);
    let shut = TcpListener::bind("127.0.0.1:0").expect("a port");
    let shut_address = shut.local_addr().expect("its address");
    let _held = fill(shut_address);
    bench.join(hello(1, shut_address.port()), 3);

    let other = TcpListener::bind("127.0.0.2:0").expect("a port");
    let address = other.local_addr().expect("its address");
    let name = WorkerName::new("w2").expect("a name");
    bench.join(Hello { name, address: Some(address.ip()), ..hello(2, address.port()) }, 3);
    assert_eq!(bench.heard(), (address.ip(), true));
    let _held = fill(address);
    for host in [shut_address, address] {
        bench.send(ToManager::Doubt(host.ip()));
    }
    // What there is to say of the first would come first.
    assert_eq!(bench.heard(), (address.ip(), false));
}
