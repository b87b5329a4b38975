//! What a database that takes no writes means for everybody.

use std::time::Duration;

use rusqlite::Connection;
use tucano_controller_core::cluster::LeaseState;
use tucano_controller_core::deployer::{Command, Fact};

use super::bench::{Bench, deploy, service, worker};
use super::{rows, sorted};
use crate::discovery::tests::refusal;
use crate::msgs::{News, Query};

/// SQLite's code for an fsync that failed.
const IOERR_FSYNC: i32 = 10 | (4 << 8);

const RETRY: Duration = Duration::from_secs(2);

/// A spec too large for a page that is there already.
fn big(name: &str) -> Command {
    let Command::Deploy { spec } = deploy(name, 1) else { unreachable!("a deploy") };
    let mut spec = (*spec).clone();
    let value = tucano_common::spec::EnvValue("x".repeat(60_000));
    spec.env.insert("LARGE".to_owned(), value);
    Command::Deploy { spec: spec.into() }
}

fn running() -> Bench {
    let mut bench = Bench::new();
    bench.join("w1");
    bench.command(deploy("web", 1));
    bench.obey();
    assert_eq!(bench.serving(), 1);
    bench
}

#[test]
fn on_a_full_disk_commands_are_refused_and_undone_and_routes_go_on() {
    let mut bench = running();
    let (before, plans) = (rows(&bench), bench.plans.clone());
    bench.shell.store.limit_growth(Some(0));
    let (status, problem) = bench.command(big("more"));
    assert_eq!(status, 507, "{problem}");
    assert!(problem["detail"].as_str().expect("words").contains("full disk"), "{problem}");
    assert_eq!((bench.plans.clone(), bench.serving()), (plans, 1), "nobody heard of it");
    assert_eq!(bench.get(Query::Service(service("more"))).0, 404);
    assert_eq!(bench.retold, 1, "what came since the last commit has to be told again");
    let (_, state) = bench.get(Query::Status);
    assert!(state["storage"].as_str().expect("words").starts_with("read-only"), "{state}");

    bench.shell.store.limit_growth(None);
    bench.wait(RETRY);
    assert_eq!(bench.command(big("more")).0, 202, "it goes on by itself");
    assert_eq!(bench.get(Query::Status).1["storage"], "ok");
    assert_ne!(rows(&bench), before);
    bench.retell(&["w1"]);
    let (stored, known) = (bench.shell.store.load().expect("read"), rows(&bench));
    assert_eq!(sorted(stored), known);
}

#[test]
fn on_a_full_disk_a_dead_worker_leaves_the_rotation_all_the_same() {
    let mut bench = running();
    bench.join("w2");
    bench.shell.store.limit_growth(Some(0));
    assert_eq!(bench.command(big("more")).0, 507);
    bench.retell(&["w1", "w2"]);
    let generation = bench.plans[&worker("w2")].generation;
    let dead = Fact::Lease { worker: worker("w1"), lease: LeaseState::Dead };
    let late = Fact::Lease { worker: worker("w1"), lease: LeaseState::Suspect };
    bench.news(vec![News::Facts(vec![late, dead])]);
    assert_eq!(bench.serving(), 0, "requests go nowhere that is dead");
    assert_eq!(bench.plans[&worker("w2")].generation, generation, "no plan that is not on disk");

    assert!(bench.get(Query::Status).1["storage"].as_str().expect("words").contains("full disk"));

    bench.shell.store.limit_growth(None);
    bench.tick(RETRY);
    assert!(bench.plans[&worker("w2")].generation > generation, "and then it is");
    let stored = bench.shell.store.load().expect("read");
    assert_eq!(sorted(stored), rows(&bench));
}

#[test]
fn after_a_failed_fsync_the_cluster_is_read_anew_before_anything_is_written() {
    let mut bench = running();
    bench.join("w2");
    bench.tick(5 * RETRY);
    let placed = |bench: &Bench| bench.in_memory().instances;
    let before = placed(&bench);
    bench.shell.store.failing = Some(IOERR_FSYNC);
    let (status, problem) = bench.command(deploy("more", 1));
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().expect("words").contains("disk"), "{problem}");
    assert_eq!(bench.serving(), 1, "requests are routed as before");
    let state = bench.get(Query::Status).1;
    assert!(state["storage"].as_str().expect("words").starts_with("read-only"), "{state}");

    // The next fsync would succeed: it is not asked before everything is read anew.
    bench.shell.store.failing = None;
    let commits = bench.shell.counters.commits;
    assert_eq!(bench.command(deploy("more", 1)).0, 503);
    assert_eq!(bench.shell.counters.commits, commits);
    let retold = bench.retold;
    bench.tick(RETRY);
    assert_eq!(bench.retold, retold + 1, "what was not stored has to be told again");
    assert_eq!(bench.get(Query::Status).1["storage"], "ok");
    bench.retell(&["w1", "w2"]);
    assert_eq!(placed(&bench), before);
    assert_eq!(bench.get(Query::Service(service("more"))).0, 404, "it was refused");
    assert_eq!(bench.command(deploy("more", 1)).0, 202);
    assert_eq!(sorted(bench.shell.store.load().expect("read")), rows(&bench));
    let bench = bench.crash();
    assert_eq!(bench.serving(), 1);
}

#[test]
fn what_workers_said_meanwhile_is_routed_by_and_told_again() {
    let mut bench = running();
    bench.join("w2");
    bench.shell.store.failing = Some(IOERR_FSYNC);
    let dead = |bench: &mut Bench| {
        let late = Fact::Lease { worker: worker("w1"), lease: LeaseState::Suspect };
        let dead = Fact::Lease { worker: worker("w1"), lease: LeaseState::Dead };
        bench.news(vec![News::Facts(vec![late, dead])]);
    };
    dead(&mut bench);
    assert_eq!(bench.serving(), 0, "requests go nowhere that is dead");
    let generation = bench.plans[&worker("w2")].generation;
    bench.shell.store.failing = None;
    bench.tick(RETRY);
    assert_eq!(bench.plans[&worker("w2")].generation, generation, "nothing is acted on yet");
    bench.retell(&["w2"]);
    dead(&mut bench);
    assert!(bench.plans[&worker("w2")].generation > generation);
    assert_eq!(sorted(bench.shell.store.load().expect("read")), rows(&bench));
}

#[test]
fn a_file_that_was_damaged_meanwhile_stops_writing_for_good() {
    let mut bench = running();
    let path = bench.scratch.path().join("tucano.db");
    bench.shell.storage =
        super::super::storage::Storage::Broken { class: crate::discovery::Class::Corrupt };
    assert!(path.exists());
    let (status, problem) = bench.command(deploy("more", 1));
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().expect("words").contains("damaged"), "{problem}");
    bench.tick(10 * RETRY);
    assert_eq!(bench.command(deploy("more", 1)).0, 503);
    assert_eq!(bench.serving(), 1);
    assert_eq!(bench.get(Query::Service(service("web"))).0, 200);
}

#[test]
fn an_instance_whose_service_or_survey_is_gone_is_damage() {
    for change in ["DELETE FROM surveys", "DELETE FROM services"] {
        let scratch = running().end();
        let conn = Connection::open(scratch.path().join("tucano.db")).expect("opened");
        conn.pragma_update(None, "foreign_keys", false).expect("a pragma");
        // What else refers to a service would be found first.
        conn.execute_batch("DELETE FROM revisions; DELETE FROM deployments").expect("changed");
        conn.execute(change, []).expect("changed");
        drop(conn);
        let said = refusal(&scratch);
        assert!(said.contains("a row of instances refers to nothing"), "{change}: {said}");
    }
}
