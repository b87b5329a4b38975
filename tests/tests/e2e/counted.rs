//! What the balancer counts of a service: over many revisions of it, and while one is deployed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tucano_common::wire::views::EventView;
use tucano_tests::{Lab, SOON};
use tucano_tools::load::upstream::{Behaviour, Upstream};

/// Answers that are shown by revision, and those in its histogram.
fn by_revision(lab: &Lab) -> BTreeMap<u64, (u64, u64)> {
    let text = lab.ask(tucano_net::Method::Get, "/metrics", None).text().into_owned();
    let mut shown: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("service=\"web\"")) {
        let Some((_, rest)) = line.split_once("revision=\"") else { continue };
        let revision = rest.split('"').next().and_then(|it| it.parse().ok()).expect("a revision");
        let count: f64 = line.rsplit(' ').next().and_then(|it| it.parse().ok()).expect("a value");
        let entry = shown.entry(revision).or_default();
        if line.starts_with("tucano_http_requests_total{") {
            entry.0 += count as u64;
        } else if line.starts_with("tucano_http_request_duration_seconds_count{") {
            entry.1 += count as u64;
        }
    }
    shown
}

#[test]
fn every_revision_is_counted_however_many_came_before() {
    let lab = Lab::with(0, &["--balancer-threads", "2"], &[]);
    let upstream = Upstream { default: Behaviour::Fine, body_bytes: 10 };
    let address = upstream.start("127.0.0.1:0".parse().expect("an address")).expect("it listens");
    for revision in 1..=120 {
        lab.deploy(&json!({
            "name": "web",
            "network": { "expose_port": 80, "max_in_flight": 100 + revision },
            "external": { "addresses": [address.to_string()] },
        }));
        if revision == 1 {
            lab.until("the first good answer", SOON, || {
                (lab.fetch("web", "/").status == 200).then_some(())
            });
        }
        let before = by_revision(&lab).get(&revision).copied().unwrap_or_default();
        for status in [200, 404, 404] {
            assert_eq!(lab.fetch("web", &format!("/status={status}")).status, status);
        }
        // Counted a moment after the answer, and by the revision of the table that the loop had.
        let shown = lab.until("the counts of the newest revision", SOON, || {
            let shown = by_revision(&lab);
            let now = shown.get(&revision).copied().unwrap_or_default();
            (now == (before.0 + 3, before.1 + 3)).then_some(shown)
        });
        assert!(shown.len() <= 5, "{shown:?}");
    }
    assert_eq!(lab.service("web").requests.accepted, lab.service("web").requests.ended["answered"]);
}

#[test]
fn the_end_of_a_deployment_tells_what_became_of_the_requests_meanwhile() {
    let lab = Lab::start(1);
    let mut spec = lab.demo("web", 2);
    lab.deploy(&spec);
    lab.wait_healthy("web", 2);
    spec["env"] = json!({ "VERSION": "2" });
    let is_over = AtomicBool::new(false);
    let deployment = std::thread::scope(|scope| {
        let ask = || {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(lab.fetch("web", "/").status, 200);
            }
        };
        let asking = scope.spawn(ask);
        let deployment = lab.deploy(&spec);
        is_over.store(true, Ordering::Relaxed);
        asking.join().expect("a client");
        deployment
    });
    let events = lab.events();
    let is_end = |event: &&EventView| {
        event.deployment == Some(deployment.id) && event.kind == "deployment_succeeded"
    };
    let message = &events.iter().find(is_end).expect("its end").message;
    let requests = deployment.requests.expect("they were counted");
    assert!(requests.accepted > 0 && requests.lost == 0, "{requests:?}");
    let told = format!("; {} requests meanwhile, 0 lost", requests.accepted);
    assert!(
        message.starts_with("revision 2 is up after ") && message.ends_with(&told),
        "{message}"
    );
}
