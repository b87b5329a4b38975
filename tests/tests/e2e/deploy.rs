//! Deploying: the document's own example by curl, real servers, more and fewer instances than
//! workers, new revisions.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};
use tucano_common::wire::views::{
    DeploymentState, DeploymentView, InstanceState, InstanceView, PreviewView, RevisionView,
    ServiceState, ServiceView,
};
use tucano_net::Method;
use tucano_tests::{Lab, SOON, specs};

/// How many instances each worker has.
fn spread(instances: &[InstanceView]) -> Vec<usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for instance in instances {
        *counts.entry(format!("{:?}", instance.worker)).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

#[test]
fn the_documents_example_deploys_by_curl() {
    let lab = Lab::start(3);
    // The document's keys as it spells them; a name and real scripts for its placeholders.
    let document = r#"{
"name": "nome-do-servico",
"network": {
        "expose_port": 80
},
"scripts": {
        "build-script": "echo built on $TUCANO_WORKER > index.html",
        "runtime-script": "exec python3 -m http.server --bind $HOST $PORT",
        "teardown_script": "echo gone >> $TUCANO_DATA_DIR/teardown"
},
"concurrency": 3
}"#;
    let file = lab.folder().join("service.json");
    std::fs::write(&file, document).expect("a file");
    let post = Command::new("curl")
        .args(["-s", "-w", "\n%{http_code}", "-d", &format!("@{}", file.display())])
        .arg(format!("{}/v1/services?wait=60s", lab.url()))
        .output()
        .expect("curl runs");
    let answer = String::from_utf8_lossy(&post.stdout).into_owned();
    let (body, status) = answer.rsplit_once('\n').expect("a body and a status");
    assert_eq!(status, "200", "{answer}");
    let deployment: DeploymentView = serde_json::from_str(body).expect("a deployment");
    assert_eq!(deployment.state, DeploymentState::Succeeded);
    assert_eq!((deployment.revision, deployment.wanted, deployment.healthy), (1, 3, 3));

    let service = lab.service("nome-do-servico");
    assert_eq!((service.state, service.healthy), (ServiceState::Running, 3));
    assert_eq!(spread(&service.instances), [1, 1, 1], "{service:?}");
    let by_id: BTreeMap<String, &InstanceView> =
        service.instances.iter().map(|instance| (instance.id.to_string(), instance)).collect();
    assert_eq!(lab.answering("nome-do-servico", 3), by_id.keys().cloned().collect());

    let get = Command::new("curl")
        .args(["-s", "-i", "-H", "Host: nome-do-servico"])
        .arg(format!("http://{}/", lab.balancer()))
        .output()
        .expect("curl runs");
    let answer = String::from_utf8_lossy(&get.stdout).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("built on w"), "{answer}");
    lab.remove("nome-do-servico");
    lab.assert_no_process();
}

#[test]
fn node_and_shell_services_run_side_by_side() {
    let lab = Lab::start(2);
    lab.deploy(&specs::node("api", 2));
    let ticker = lab.deploy(&specs::shell("ticker", 1));
    assert_eq!(ticker.healthy, 1);
    let answer = lab.fetch("api", "/");
    let instance = answer.headers.get("X-Tucano-Instance").expect("the balancer's field");
    assert_eq!(answer.text().trim_end(), format!("{instance} 127.0.0.1"));
    // Without expose_port there is no route and no address.
    assert_eq!(lab.service("ticker").instances[0].address, None);
    assert_eq!(lab.fetch("ticker", "/").status, 404);
    assert_eq!(lab.get::<Vec<ServiceView>>("/v1/services").len(), 2);
}

#[test]
fn more_instances_than_workers_and_fewer() {
    let lab = Lab::start(2);
    lab.deploy(&specs::shell("many", 5));
    assert_eq!(spread(&lab.service("many").instances), [2, 3]);
    lab.deploy(&specs::shell("one", 1));
    assert_eq!(spread(&lab.service("one").instances), [1]);
    let answer = lab.ask(Method::Post, "/v1/services/many/scale", Some(&json!({"concurrency": 2})));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let left = lab.wait_healthy("many", 2);
    assert_eq!(spread(&left), [1, 1]);
    let answer = lab.ask(Method::Post, "/v1/services/many/scale", Some(&json!({"concurrency": 4})));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(spread(&lab.wait_healthy("many", 4)), [2, 2]);
    let answer = lab.ask(Method::Post, "/v1/services/many/scale", Some(&json!({"concurrency": 0})));
    assert_eq!(answer.status, 202, "{}", answer.text());
    lab.wait_healthy("many", 0);
}

#[test]
fn the_same_spec_again_changes_nothing_and_another_one_replaces_it() {
    let lab = Lab::start(2);
    let spec = lab.demo("web", 2);
    let first = lab.deploy(&spec);
    let before: BTreeSet<_> = lab.service("web").instances.iter().map(|i| i.id).collect();
    let again = lab.try_deploy(&spec);
    assert_eq!(again.status, 200);
    assert_eq!(again.json::<Value>().expect("JSON")["revision"], first.revision);
    // Another spelling of the same wish is the same wish.
    let mut spelled = spec.clone();
    spelled["stop"]["signal"] = json!("SIGTERM");
    assert_eq!(lab.deploy(&spelled).revision, 1);
    let after: BTreeSet<_> = lab.service("web").instances.iter().map(|i| i.id).collect();
    assert_eq!(before, after);

    let mut changed = spec;
    changed["env"] = json!({ "COLOUR": "green" });
    let second = lab.deploy(&changed);
    assert_eq!((second.revision, second.from_revision), (2, Some(1)));
    let now = lab.wait_healthy("web", 2);
    assert!(now.iter().all(|instance| instance.revision == 2 && !before.contains(&instance.id)));
    assert!(lab.fetch("web", "/").text().contains("revision=2"));
    let revisions: Vec<RevisionView> = lab.get("/v1/services/web/revisions");
    let numbers: BTreeSet<u64> = revisions.iter().map(|revision| revision.revision).collect();
    assert_eq!(numbers, BTreeSet::from([1, 2]));
    assert!(revisions.iter().all(|revision| revision.current == (revision.revision == 2)));
}

#[test]
fn put_takes_the_name_from_the_path_too() {
    let lab = Lab::start(1);
    let spec = specs::shell("put-me", 1);
    let answer = lab.ask(Method::Put, "/v1/services/put-me?wait=60s", Some(&spec));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let other = lab.ask(Method::Put, "/v1/services/other", Some(&spec));
    assert_eq!(other.status, 422, "{}", other.text());
    assert_eq!(lab.get::<Vec<ServiceView>>("/v1/services").len(), 1);
}

#[test]
fn a_post_answers_with_the_deployment_and_where_it_is() {
    let lab = Lab::start(1);
    let answer = lab.ask(Method::Post, "/v1/services", Some(&specs::shell("web", 1)));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let location = answer.headers.get("Location").expect("a Location").to_owned();
    assert!(answer.headers.get("X-Request-Id").is_some());
    let ended = lab.until("the deployment's end", SOON, || {
        let deployment: DeploymentView = lab.get(&location);
        (deployment.state != DeploymentState::InProgress).then_some(deployment)
    });
    assert_eq!(ended.state, DeploymentState::Succeeded);
    assert!(ended.ended_at.is_some_and(|at| at >= ended.created_at));
    let instance: InstanceView = lab.get(&format!("/v1/instances/{}", ended.instances[0].id));
    assert_eq!(instance.state, InstanceState::Running);
    // Why it is where it is: every worker's verdict.
    let decision = instance.decision.expect("a decision");
    assert_eq!(decision.chosen, instance.worker);
    assert_eq!(decision.verdicts.len(), 1);
}

#[test]
fn a_dry_run_places_and_stores_nothing() {
    let lab = Lab::start(2);
    let spec = specs::shell("dry", 3);
    let answer = lab.ask(Method::Post, "/v1/services?dry_run=true", Some(&spec));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let preview: PreviewView = answer.json().expect("a preview");
    assert!(preview.dry_run && preview.changed && preview.leaving.is_empty());
    let placed = preview.deployment.expect("a deployment").instances;
    assert_eq!(spread(&placed), [1, 2], "{placed:?}");
    assert_eq!(lab.ask(Method::Get, "/v1/services/dry", None).status, 404);
    assert!(lab.get::<Vec<ServiceView>>("/v1/services").is_empty());
    assert!(lab.get::<Vec<DeploymentView>>("/v1/deployments").is_empty());
    lab.assert_no_process();
}

#[test]
fn labels_decide_where_instances_may_run() {
    let mut lab = Lab::with(1, &[], &["--label", "disk=ssd"]);
    let mut spec = specs::shell("picky", 1);
    spec["placement"] = json!({ "require": { "disk": "ssd" } });
    lab.deploy(&spec);
    spec["name"] = json!("pickier");
    spec["placement"] = json!({ "require": { "disk": "tape" } });
    let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let waiting = lab.until("an instance that waits", SOON, || {
        let service: ServiceView = lab.api.get("/v1/services/pickier").ok()?;
        service.instances.into_iter().find(|i| i.state == InstanceState::Pending)
    });
    let reason = waiting.waits_for.expect("what it waits for");
    assert!(reason.contains("disk"), "{reason}");
    assert!(lab.cluster.controller().is_some());
}
