//! Many connections, kept and new ones, with everything going on that a cluster does by day and by
//! night: deploys, restarts, kills, drains. No safe request fails, the ledger balances, and the
//! controller's memory comes back to where it was.
//!
//! Small in every run of the tests; `make load` runs it with the full numbers, and says what it
//! found.

use std::fs;
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::json;
use tucano_common::metrics;
use tucano_common::wire::views::ServiceRequests;
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE};
use tucano_tools::load::{Plan, Report, Stop, run};

/// Connections that are kept and used in turn.
const HELD: &str = "TUCANO_LOAD_HELD";
/// Requests on a new connection each.
const FRESH: &str = "TUCANO_LOAD_NEW";

const INSTANCES: usize = 4;
/// What may stay, in KiB, once it is quiet: some buffers, the database's cache,
const KEPT_KIB_MAX: u64 = 512;
/// and the history of each round: revisions, instances that ended, events.
const ROUND_KIB_MAX: u64 = 32;

fn number(variable: &str, small: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

/// What a process holds of its own, in KiB: resident, without the pages of its program's file that
/// it has run through so far.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// The balancer's open connections to clients.
fn clients(lab: &Lab) -> usize {
    let text = lab.ask(Method::Get, "/metrics", None).text().into_owned();
    let own = |line: &&str| {
        line.starts_with(metrics::HTTP_CONNECTIONS.name) && line.contains("\"client\"")
    };
    let values = text.lines().filter(own).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<usize>().ok()).sum()
}

fn requests(lab: &Lab) -> ServiceRequests {
    lab.service("web").requests
}

/// One round of everything.
fn disturb(lab: &mut Lab, round: usize, spec: &mut serde_json::Value) {
    spec["env"] = json!({ "ROUND": round.to_string() });
    lab.deploy(spec);
    lab.wait_healthy("web", INSTANCES);
    let answer = lab.ask(Method::Post, "/v1/services/web/restart", None);
    assert_eq!(answer.status, 202, "{}", answer.text());
    lab.wait_healthy("web", INSTANCES);
    let victim = lab.healthy("web").into_iter().find(|instance| instance.pid.is_some());
    if let Some(pid) = victim.and_then(|instance| instance.pid) {
        // It may be on its way out already: then the kill changes nothing.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    }
    lab.cluster.worker(0).expect("w1").kill();
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(3);
    lab.wait_healthy("web", INSTANCES);
    let answer = lab.ask(Method::Post, "/v1/workers/w2/drain", None);
    assert_eq!(answer.status, 202, "{}", answer.text());
    lab.until("an empty w2", MINUTE, || {
        let instances = lab.service("web").instances;
        let left = |instance: &tucano_common::wire::views::InstanceView| {
            instance.worker.as_ref().is_some_and(|worker| worker.to_string() == "w2")
        };
        (!instances.iter().any(left)).then_some(())
    });
    let answer = lab.ask(Method::Post, "/v1/workers/w2/activate", None);
    assert_eq!(answer.status, 202, "{}", answer.text());
    lab.wait_healthy("web", INSTANCES);
}

#[test]
fn a_storm_loses_no_request_and_leaves_nothing_behind() {
    let (held_count, fresh_count) = (number(HELD, 300), number(FRESH, 1_500));
    let mut lab = Lab::start(3);
    let mut spec = lab.demo("web", u32::try_from(INSTANCES).expect("few"));
    spec["restart"] = json!({ "backoff": "200ms", "attempts": 100 });
    lab.deploy(&spec);
    lab.wait_healthy("web", INSTANCES);
    lab.answering("web", INSTANCES);
    let pid = lab.cluster.controller().expect("a controller").pid();
    let before_kib = resident_kib(pid);

    let mut held = Plan::new(lab.balancer(), "web");
    (held.connections, held.in_turn, held.duration) = (held_count, true, MINUTE * 30);
    held.rate = Some(u32::try_from(held_count / 10).expect("few").max(1));
    held.contains = Some("service=web".to_owned());
    let mut fresh = Plan { in_turn: false, close: true, connections: 64, ..held.clone() };
    (fresh.requests, fresh.rate) = (fresh_count as u64, Some(500));
    let stop = Stop::default();
    let start = |plan: Plan, stop: Stop| {
        thread::spawn(move || run(&plan, &stop).expect("the generator runs"))
    };
    let started = Instant::now();
    let holding = start(held, stop.clone());
    lab.until("every connection to be held", MINUTE * 3, || {
        (clients(&lab) >= held_count).then_some(())
    });
    let held_kib = resident_kib(pid);
    let newcomers = start(fresh, Stop::default());
    let mut rounds = 0;
    while rounds == 0 || !newcomers.is_finished() {
        rounds += 1;
        disturb(&mut lab, rounds, &mut spec);
    }
    let fresh: Report = newcomers.join().expect("the generator ends");
    let still_held = clients(&lab);
    stop.stop();
    let held: Report = holding.join().expect("the generator ends");
    lab.until("nobody connected", MINUTE, || (clients(&lab) == 0).then_some(()));
    let mut after_kib = resident_kib(pid);
    let kept_kib_max = KEPT_KIB_MAX + ROUND_KIB_MAX * rounds as u64;
    // Too late or not, the figures are told first.
    let _ = tucano_tools::wait::until("memory to be given back", MINUTE / 2, || {
        after_kib = resident_kib(pid);
        (after_kib <= before_kib + KEPT_KIB_MAX).then_some(())
    });
    let ledger = requests(&lab);
    println!(
        "{held_count} held ({still_held} at the end), {fresh_count} new, {rounds} rounds, {:.0} s\n\
         held: {held}new: {fresh}ledger: {ledger:?}\n\
         controller: {before_kib} KiB before, {held_kib} KiB with all held, {after_kib} KiB after",
        started.elapsed().as_secs_f64()
    );
    assert_eq!((held.failed(), fresh.failed()), (0, 0), "held: {held}\nnew: {fresh}");
    assert_eq!(fresh.succeeded, fresh_count as u64);
    assert!(still_held >= held_count, "{still_held}");
    let ended: u64 = ledger.ended.values().sum();
    assert_eq!((ledger.accepted, ledger.in_flight, ledger.lost), (ended, 0, 0), "{ledger:?}");
    assert!(after_kib <= before_kib + kept_kib_max, "{before_kib} KiB became {after_kib} KiB");
    assert!(ledger.accepted >= held.succeeded + fresh.succeeded, "{ledger:?}");
}
