//! The deployer's thread, turn by turn, with a real database and everybody else played.

mod bench;
mod storage;

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use tucano_common::prng::Prng;
use tucano_common::spec::Digest;
use tucano_common::wire::views::MetricsPoint;
use tucano_controller_core::cluster::LeaseState;
use tucano_controller_core::deployer::{Command, Fact, Rows};

use super::shell::Arrived;
use crate::msgs::{Ask, Block, News, Query, Reply};
use bench::{Bench, deploy, deploy_json, service, worker};

const SECOND: Duration = Duration::from_secs(1);

/// Past every `min_healthy` of the default spec.
const SETTLED: Duration = Duration::from_secs(5);

#[test]
fn a_deploy_is_placed_obeyed_routed_and_succeeds() {
    let mut bench = Bench::new();
    bench.join("w1");
    bench.join("w2");
    let ticket = bench.send_command(deploy("web", 2), Some(60 * SECOND));
    assert_eq!(bench.told(ticket), None, "it waits for the end");
    let assigned: usize = bench.plans.values().map(|plan| plan.assignments.len()).sum();
    assert_eq!(assigned, 2);
    bench.obey();
    assert_eq!(bench.serving(), 2, "routed as soon as they are healthy");
    bench.tick(SETTLED);
    let (status, body) = bench.told(ticket).expect("it has ended");
    assert_eq!((status, body["state"].as_str()), (200, Some("succeeded")));
    let (_, shown) = bench.get(Query::Service(service("web")));
    assert_eq!((shown["state"].as_str(), shown["healthy"].as_u64()), (Some("running"), Some(2)));

    let bench = bench.crash();
    let routed = bench.table().services.iter().flat_map(|service| &service.endpoints).count();
    assert_eq!(routed, 2, "routed again from what is stored, before any worker is heard");
}

#[test]
fn the_same_spec_again_changes_nothing() {
    let mut bench = Bench::new();
    bench.join("w1");
    let (status, first) = bench.command(deploy("web", 1));
    assert_eq!(status, 202);
    let events = bench.shell.indices.last_event();
    let (status, again) = bench.command(deploy("web", 1));
    assert_eq!((status, &again["id"]), (200, &first["id"]));
    assert_eq!(bench.shell.indices.last_event(), events);
}

#[test]
fn commands_that_came_together_are_stored_together() {
    let mut bench = Bench::new();
    bench.join("w1");
    let commits = bench.shell.counters.commits;
    let mut asks = Vec::new();
    let mut tickets = Vec::new();
    for name in ["a", "b", "c"] {
        let ticket = bench.ticket();
        tickets.push(ticket);
        let command = deploy(name, 1);
        asks.push(Ask::Command { ticket, command, dry_run: false, wait: None });
    }
    bench.turn(Arrived { asks, ..Arrived::default() });
    for ticket in tickets {
        assert_eq!(bench.told(ticket).expect("answered").0, 202);
    }
    assert_eq!(bench.shell.counters.commits, commits + 1);
}

#[test]
fn a_failed_deploy_that_was_waited_for_says_why() {
    let mut bench = Bench::new();
    let spec = json!({
        "name": "web",
        "scripts": {"runtime-script": "exec true"},
        "update": {
            "progress_deadline": "5s", "healthy_deadline": "2s", "min_healthy": "1s",
        },
    });
    let ticket = bench.send_command(deploy_json(spec), Some(60 * SECOND));
    for _ in 0..10 {
        bench.tick(SECOND);
    }
    let (status, body) = bench.told(ticket).expect("it has failed");
    assert_eq!((status, body["state"].as_str()), (424, Some("failed")), "{body}");
    assert_eq!(body["status"], 424);
    let detail = body["detail"].as_str().expect("a problem");
    assert!(detail.starts_with("web: revision 1 failed: "), "{detail}");
}

#[test]
fn a_dry_run_shows_the_placement_and_stores_nothing() {
    let mut bench = Bench::new();
    bench.join("w1");
    let before = rows(&bench);
    let ticket = bench.ticket();
    let ask = Ask::Command { ticket, command: deploy("web", 2), dry_run: true, wait: None };
    bench.turn(Arrived { asks: vec![ask], ..Arrived::default() });
    let (status, body) = bench.told(ticket).expect("answered");
    assert_eq!((status, &body["dry_run"], &body["changed"]), (200, &json!(true), &json!(true)));
    let instances = body["deployment"]["instances"].as_array().expect("what would be made");
    assert_eq!(instances.len(), 2);
    assert_eq!(instances[0]["decision"]["chosen"], "w1");
    assert_eq!(rows(&bench), before);
    assert!(bench.plans[&worker("w1")].assignments.is_empty());
}

#[test]
fn what_the_core_refuses_is_a_problem() {
    let mut bench = Bench::new();
    let (status, body) = bench.command(Command::Delete { service: service("web") });
    assert_eq!(status, 404);
    assert!(body["detail"].as_str().expect("words").contains("no service web"));
    bench.command(deploy("web", 1));
    let taken = deploy_json(json!({
        "name": "other",
        "network": {"expose_port": 80, "hosts": ["web"]},
        "scripts": {"runtime-script": "exec true"},
    }));
    assert_eq!(bench.command(taken).0, 409);
}

#[test]
fn an_artifact_has_to_be_there_before_a_spec_names_it() {
    let mut bench = Bench::new();
    let digest = Digest::from_bytes(&[1; 32]);
    let command = || {
        deploy_json(json!({
            "name": "web",
            "scripts": {"runtime-script": "exec true"},
            "source": {"artifact": digest.to_string()},
        }))
    };
    let (status, body) = bench.command(command());
    assert_eq!((status, &body["errors"][0]["pointer"]), (422, &json!("/source/artifact")));
    let ticket = bench.ticket();
    let ask = Ask::ArtifactStored { ticket, digest: digest.clone(), bytes: 9 };
    bench.turn(Arrived { asks: vec![ask], ..Arrived::default() });
    assert_eq!(bench.told(ticket).expect("stored").0, 204);
    assert_eq!(bench.command(command()).0, 202);
}

#[test]
fn a_port_is_opened_before_the_deploy_and_closed_after_the_service() {
    let mut bench = Bench::new();
    let theirs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = theirs.local_addr().expect("its address").port();
    let command = || {
        deploy_json(json!({
            "name": "web",
            "network": {"expose_port": port},
            "scripts": {"runtime-script": "exec true"},
        }))
    };
    let (status, body) = bench.command(command());
    assert_eq!(status, 409);
    let detail = body["detail"].as_str().expect("words");
    assert!(detail.contains(&port.to_string()) && detail.contains("--map-port"), "{detail}");
    assert!(bench.shell.core.cluster().services().next().is_none());
    drop(theirs);
    assert_eq!(bench.command(command()).0, 202);
    assert_eq!(bench.ports, [(port, true)]);
    let mut bench = bench.crash();
    assert_eq!(bench.ports, [(port, true)], "opened again for what is stored");
    bench.command(Command::Delete { service: service("web") });
    assert_eq!(bench.ports, [(port, true), (port, false)]);
}

#[test]
fn questions_wait_for_news_and_no_longer_than_they_want() {
    let mut bench = Bench::new();
    bench.join("w1");
    let index = |bench: &mut Bench, query| {
        let ticket = bench.query(query, None);
        match bench.reply(ticket) {
            Some(Ok(Reply::Document(document))) => document.index.expect("an index"),
            other => panic!("{other:?}"),
        }
    };
    let now = index(&mut bench, Query::Services);
    let block = Some(Block { index: now, wait: 30 * SECOND });
    let news = bench.query(Query::Services, block);
    let none = bench.query(Query::Deployments, Some(Block { index: now, wait: SECOND }));
    let cancelled = bench.query(Query::Services, block);
    bench.turn(Arrived { asks: vec![Ask::Cancel(cancelled)], ..Arrived::default() });
    assert_eq!((bench.told(news), bench.told(none)), (None, None));
    bench.tick(SECOND);
    assert_eq!(bench.told(none).expect("its time is over"), (200, json!([])));
    bench.command(deploy("web", 1));
    let (status, services) = bench.told(news).expect("there is news");
    assert_eq!((status, services.as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(bench.told(cancelled), None);
    assert!(index(&mut bench, Query::Services) > now);

    let old = bench.query(Query::Workers, Some(Block { index: 1 << 40, wait: 30 * SECOND }));
    assert!(bench.told(old).is_some(), "an index of another start's future is answered at once");
    let unknown = bench.query(Query::Service(service("no")), block);
    assert_eq!(bench.told(unknown).expect("at once").0, 404);
}

#[test]
fn every_list_and_object_waits_for_its_own_news() {
    let mut bench = Bench::new();
    bench.join("w1");
    bench.join("w2");
    for name in ["web", "other"] {
        bench.command(deploy(name, 1));
        bench.obey();
    }
    bench.tick(SETTLED);
    let of = |bench: &Bench, name: &str| {
        let cluster = bench.shell.core.cluster();
        let instance = cluster.alive_of(&service(name)).next().expect("one").clone();
        let deployment = cluster.service(&service(name)).expect("it is there").deployment;
        (instance, deployment)
    };
    let (instance, deployment) = of(&bench, "web");
    let (other, other_deployment) = of(&bench, "other");
    let name = instance.state.worker().expect("placed").clone();
    let metrics = Query::WorkerMetrics { worker: name.clone(), since: 3600 * SECOND };
    let news = [
        Query::Services,
        Query::Service(service("web")),
        Query::Revisions(service("web")),
        Query::Deployments,
        Query::Deployment(deployment),
        Query::Instances,
        Query::Instance(instance.id),
        Query::Workers,
        Query::Worker(name.clone()),
        metrics,
        Query::Status,
        Query::Discovery(None),
        Query::Discovery(Some(service("web"))),
        Query::Events { after: bench.shell.indices.last_event(), limit: 9 },
    ];
    let silent = [
        Query::Service(service("other")),
        Query::Deployment(other_deployment),
        Query::Instance(other.id),
    ];
    let ask = |bench: &mut Bench, query: &Query| {
        let index = bench.shell.indices.of(query);
        bench.query(query.clone(), Some(Block { index, wait: 60 * SECOND }))
    };
    let waiting: Vec<_> = news.iter().map(|query| (query, ask(&mut bench, query))).collect();
    let quiet: Vec<_> = silent.iter().map(|query| (query, ask(&mut bench, query))).collect();
    for (query, ticket) in waiting.iter().chain(&quiet) {
        assert!(bench.reply(*ticket).is_none(), "{query:?}: there is no news yet");
    }
    bench.command(Command::RestartInstance { instance: instance.id });
    let point = MetricsPoint { at: bench.now.wall, ..crate::discovery::tests::point(0) };
    bench.news(vec![News::Minutes(vec![(name, point)])]);
    for (query, ticket) in waiting {
        assert!(matches!(bench.reply(ticket), Some(Ok(_))), "{query:?} is not told its news");
    }
    for (query, ticket) in quiet {
        assert!(bench.reply(ticket).is_none(), "{query:?}: that was another's");
    }
}

#[test]
fn events_are_followed_by_asking_again() {
    let mut bench = Bench::new();
    let page = |bench: &mut Bench, ticket| match bench.reply(ticket) {
        Some(Ok(Reply::Events(page))) => Some(page),
        None => None,
        other => panic!("{other:?}"),
    };
    let after = |after| Query::Events { after, limit: 100 };
    let first = bench.query(after(0), Some(Block { index: 0, wait: 30 * SECOND }));
    assert_eq!(page(&mut bench, first), None, "nothing has happened");
    bench.join("w1");
    let found = page(&mut bench, first).expect("a worker joined");
    let text = String::from_utf8(found.lines).expect("text");
    assert!(text.contains("\"type\":\"worker_joined\"") && text.ends_with('\n'), "{text}");
    let next = bench.query(after(found.last), Some(Block { index: found.last, wait: SECOND }));
    assert_eq!(page(&mut bench, next), None);
    bench.tick(SECOND);
    assert_eq!(page(&mut bench, next).expect("its time is over").lines, b"");
}

#[test]
fn a_delete_can_be_waited_for() {
    let mut bench = Bench::new();
    bench.join("w1");
    bench.command(deploy("web", 1));
    bench.obey();
    let ticket = bench.send_command(Command::Delete { service: service("web") }, Some(60 * SECOND));
    assert_eq!(bench.told(ticket), None);
    let draining = bench.shell.core.cluster().instances().next().expect("one").id;
    bench.drained(draining);
    bench.obey();
    bench.obey();
    assert_eq!(bench.told(ticket), Some((200, json!({"name": "web", "state": "deleted"}))));
}

/// Rows in an order that does not depend on where they come from.
fn rows(bench: &Bench) -> String {
    sorted(bench.in_memory())
}

fn sorted(mut rows: Rows) -> String {
    rows.settle_generations();
    rows.instances.sort_by_key(|each| each.id);
    rows.deployments.sort_by_key(|each| each.id);
    rows.workers.sort_by(|a, b| a.name.cmp(&b.name));
    rows.services.sort_by(|a, b| a.name.cmp(&b.name));
    rows.revisions.sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
    format!("{rows:#?}")
}

/// Random commands, obedience, deaths, returns and crashes: what is in memory after a turn is what
/// is on disk.
#[test]
fn after_any_history_everything_that_was_committed_is_there() {
    for seed in 0..12 {
        let mut prng = Prng::new(seed);
        let mut bench = Bench::new();
        for _ in 0..60 {
            step(&mut bench, &mut prng);
            let stored = bench.shell.store.load().expect("read");
            let (stored, known) = (sorted(stored), rows(&bench));
            assert!(stored == known, "seed {seed}: stored\n{stored}\nknown\n{known}");
            if prng.chance(0.1) {
                bench = if prng.chance(0.5) { bench.crash() } else { bench.upgrade() };
                // A start takes nobody for heard, and stores that with the first change.
                for name in ["w1", "w2", "w3"] {
                    bench.join(name);
                }
            }
        }
    }
}

fn step(bench: &mut Bench, prng: &mut Prng) {
    let name = ["w1", "w2", "w3"][prng.below(3) as usize];
    let service = service(["a", "b", "c"][prng.below(3) as usize]);
    let command = match prng.below(12) {
        0 | 1 => deploy(service.as_str(), prng.below(4)),
        2 => Command::Scale { service, concurrency: prng.below(5) },
        3 => Command::Delete { service },
        4 => Command::Restart { service },
        5 => Command::Rollback { service, revision: None },
        6 => return bench.join(name),
        7 => {
            let lease = [LeaseState::Suspect, LeaseState::Dead][prng.below(2) as usize];
            let fact = Fact::Lease { worker: worker(name), lease };
            return bench.news(vec![News::Facts(vec![fact])]);
        }
        8 => {
            let cluster = bench.shell.core.cluster();
            let instances: Vec<_> = cluster.instances().map(|each| each.id).collect();
            for instance in instances {
                bench.drained(instance);
            }
            return;
        }
        9 => Command::DrainWorker { worker: worker(name), deadline: Some(SECOND) },
        10 => Command::ActivateWorker { worker: worker(name) },
        _ => {
            bench.obey();
            return bench.tick(SECOND * prng.below(20));
        }
    };
    bench.command(command);
}
