//! The controller dies at each commit of a rollout, a revert, a drain and a delete: before that
//! commit is synced, and after it, before anybody hears of it. It goes on where it was.
//!
//! A library that is preloaded into it counts the syncs of the database's log and ends the process
//! at one of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tucano_common::wire::views::{
    DeploymentState, DeploymentView, InstanceState, InstanceView, ServiceState, ServiceView,
    WorkerView,
};
use tucano_net::Method;
use tucano_tests::{Faults, Lab, MINUTE};

/// Commits from a command on at which it dies: a rollout of two instances has about so many.
const MOMENTS: u32 = 7;

/// Does something under a controller that dies at that commit, and starts another one. The answer,
/// where there was one, and whether it died there.
fn dying(
    lab: &mut Lab,
    faults: &Faults,
    (commit, after): (u32, bool),
    act: impl FnOnce(&Lab) -> Option<u16>,
) -> (Option<u16>, bool) {
    faults.die_at(commit, after);
    let status = act(lab);
    let controller = lab.cluster.controller().expect("a controller");
    // Fewer commits than that may be all there is to do: then it is ended here.
    let died = controller.wait(std::time::Duration::from_secs(4));
    faults.live();
    if died.is_none() {
        controller.kill();
    }
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    (status, died.is_some())
}

/// The status of a request that the controller may not live to answer.
fn try_ask(lab: &Lab, method: Method, target: &str, body: Option<&Value>) -> Option<u16> {
    let body = body.map(Value::to_string);
    let body = body.as_deref().map(str::as_bytes);
    lab.api.ask(method, target, body, MINUTE).ok().map(|answer| answer.status)
}

fn moments() -> impl Iterator<Item = (u32, bool)> {
    (1..=MOMENTS).flat_map(|commit| [(commit, false), (commit, true)])
}

fn revision_of(spec: &Value, turn: usize) -> Value {
    let mut spec = spec.clone();
    spec["env"] = json!({ "TURN": turn.to_string() });
    spec
}

/// Waits until a service has what it should, and nothing else.
fn settled(lab: &Lab, name: &str, count: usize) -> ServiceView {
    lab.until(&format!("{name} at rest"), MINUTE, || {
        let service: ServiceView = lab.api.get(&format!("/v1/services/{name}")).ok()?;
        let living: Vec<&InstanceView> =
            service.instances.iter().filter(|each| !ended(each.state)).collect();
        let right = living.iter().all(|each| each.healthy && each.revision == service.revision);
        let rests = service.state == ServiceState::Running && right && living.len() == count;
        rests.then_some(service)
    })
}

fn ended(state: InstanceState) -> bool {
    matches!(state, InstanceState::Stopped | InstanceState::Failed | InstanceState::Lost)
}

fn deployments(lab: &Lab, name: &str) -> Vec<DeploymentView> {
    let all: Vec<DeploymentView> = lab.get("/v1/deployments");
    all.into_iter().filter(|each| each.service.as_str() == name).collect()
}

/// Events have no gap, and each cause is an earlier one.
fn history_is_whole(lab: &Lab) {
    let events = lab.events();
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    let without_gaps: Vec<u64> = (1..=seqs.len() as u64).collect();
    assert_eq!(seqs, without_gaps);
    let backwards = events.iter().all(|event| event.cause.is_none_or(|cause| cause < event.seq));
    assert!(backwards, "{events:?}");
}

#[test]
fn a_rollout_goes_on_where_it_was() {
    let (mut lab, faults) = Faults::lab(2);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let mut turn = 0;
    let mut deaths = 0;
    for moment in moments() {
        turn += 1;
        let next = revision_of(&spec, turn);
        let before = settled(&lab, "web", 2).revision;
        let (status, died) = dying(&mut lab, &faults, moment, |lab| {
            try_ask(lab, Method::Post, "/v1/services", Some(&next))
        });
        deaths += u32::from(died);
        let service = settled(&lab, "web", 2);
        let taken = service.revision > before;
        assert!(taken || status.is_none(), "{moment:?}: answered {status:?} and forgotten");
        if moment == (1, true) {
            assert!(taken, "what is on disk is gone on with, though nobody was answered");
        }
        let unfinished = deployments(&lab, "web").into_iter().any(|each| each.ended_at.is_none());
        assert!(!unfinished, "{moment:?}");
        lab.answering("web", 2);
        if !taken {
            lab.deploy(&next);
        }
    }
    assert!(deaths > 6, "it died {deaths} times only: nothing was shown");
    history_is_whole(&lab);
    lab.remove("web");
    lab.assert_no_process();
}

#[test]
fn a_revert_goes_on_where_it_was_and_no_healthy_instance_is_stopped() {
    let (mut lab, faults) = Faults::lab(2);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let ids = |service: &ServiceView| -> BTreeSet<String> {
        let living = service.instances.iter().filter(|each| !ended(each.state));
        living.map(|each| each.id.to_string()).collect()
    };
    let before = ids(&settled(&lab, "web", 2));
    let mut turn = 0;
    let mut deaths = 0;
    for moment in moments() {
        turn += 1;
        let mut bad = revision_of(&spec, turn);
        bad["scripts"]["runtime-script"] = json!("echo broken release >&2; exit 1");
        bad["restart"] = json!({ "backoff": "50ms", "backoff_max": "100ms" });
        bad["update"] = json!({ "min_healthy": "100ms", "healthy_deadline": "3s" });
        let count = deployments(&lab, "web").len();
        let (status, died) = dying(&mut lab, &faults, moment, |lab| {
            try_ask(lab, Method::Post, "/v1/services", Some(&bad))
        });
        deaths += u32::from(died);
        let after = lab.until("the end of every deployment", MINUTE, || {
            let all = deployments(&lab, "web");
            all.iter().all(|each| each.ended_at.is_some()).then_some(all)
        });
        assert!(after.len() > count || status.is_none(), "{moment:?}: {status:?} and forgotten");
        if after.len() > count {
            let last = after.iter().max_by_key(|each| each.revision).expect("one");
            assert_eq!(last.state, DeploymentState::Reverted, "{moment:?}: {last:?}");
        }
        let service = lab.wait_healthy("web", 2);
        let now: BTreeSet<String> = service.iter().map(|each| each.id.to_string()).collect();
        assert_eq!(now, before, "{moment:?}: a healthy instance was stopped");
        lab.answering("web", 2);
    }
    assert!(deaths > 6, "it died {deaths} times only: nothing was shown");
    history_is_whole(&lab);
}

#[test]
fn a_drain_goes_on_where_it_was() {
    let (mut lab, faults) = Faults::lab(2);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let mut deaths = 0;
    for moment in moments() {
        settled(&lab, "web", 2);
        let (status, died) = dying(&mut lab, &faults, moment, |lab| {
            try_ask(lab, Method::Post, "/v1/workers/w1/drain", None)
        });
        deaths += u32::from(died);
        lab.wait_heard();
        let worker: WorkerView = lab.get("/v1/workers/w1");
        let taken = worker.state.as_str() == "draining";
        assert!(taken || status.is_none(), "{moment:?}: answered {status:?} and forgotten");
        if !taken {
            let answer = lab.ask(Method::Post, "/v1/workers/w1/drain", None);
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
        lab.until("w1 without instances, and two healthy ones", MINUTE, || {
            let service: ServiceView = lab.api.get("/v1/services/web").ok()?;
            let living: Vec<&InstanceView> =
                service.instances.iter().filter(|each| !ended(each.state)).collect();
            let away = |each: &&InstanceView| {
                each.healthy && each.worker.as_ref().is_some_and(|name| name.as_str() == "w2")
            };
            (living.len() == 2 && living.iter().all(away)).then_some(())
        });
        lab.answering("web", 2);
        let answer = lab.ask(Method::Post, "/v1/workers/w1/activate", None);
        assert_eq!(answer.status, 202, "{}", answer.text());
        // Back on both, for the next turn.
        let answer = lab.ask(Method::Post, "/v1/services/web/restart?wait=60s", None);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(deaths > 6, "it died {deaths} times only: nothing was shown");
    history_is_whole(&lab);
}

#[test]
fn a_delete_goes_on_where_it_was() {
    let (mut lab, faults) = Faults::lab(1);
    let mut deaths = 0;
    for moment in moments().take(8) {
        let spec = lab.demo("web", 2);
        lab.deploy(&spec);
        let (status, died) = dying(&mut lab, &faults, moment, |lab| {
            try_ask(lab, Method::Delete, "/v1/services/web", None)
        });
        deaths += u32::from(died);
        let there = lab.ask(Method::Get, "/v1/services/web", None);
        let stopping = there.status == 404 || there.text().contains("\"state\":\"stopping\"");
        assert!(stopping || status.is_none(), "{moment:?}: answered {status:?} and forgotten");
        if !stopping {
            lab.ask(Method::Delete, "/v1/services/web", None);
        }
        lab.until("its end", MINUTE, || {
            (lab.ask(Method::Get, "/v1/services/web", None).status == 404).then_some(())
        });
        lab.assert_no_process();
    }
    // A delete surely has three commits: taken, its instances ending, gone. Where both instances
    // are heard of in one report there is no fourth, and these were all.
    assert!(deaths >= 6, "it died {deaths} times only: nothing was shown");
    history_is_whole(&lab);
}
