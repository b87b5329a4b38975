//! Every route with every method, and what is near a route and none.

use super::*;

const ID: &str = "0123456789abc";
const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn web() -> ServiceName {
    ServiceName::new("web").expect("a name")
}

fn w1() -> WorkerName {
    WorkerName::new("w1").expect("a name")
}

/// Every path of the API with the actions of its methods.
fn routes() -> Vec<(String, Vec<(Method, Action)>)> {
    use Method::{Delete, Get, Post, Put};
    let instance = InstanceId::parse(ID).expect("an id");
    let deployment = DeploymentId::parse(ID).expect("an id");
    let digest = Digest::parse(SHA).expect("a digest");
    let rows: Vec<(&str, Vec<(Method, Action)>)> = vec![
        ("/healthz", vec![(Get, Action::Healthz)]),
        ("/metrics", vec![(Get, Action::Metrics)]),
        ("/v1/openapi.json", vec![(Get, Action::OpenApi)]),
        ("/v1/status", vec![(Get, Action::Status)]),
        ("/v1/events", vec![(Get, Action::Events)]),
        ("/v1/snapshot", vec![(Get, Action::Snapshot)]),
        ("/v1/services", vec![(Get, Action::Services), (Post, Action::Deploy)]),
        (
            "/v1/services/web",
            vec![
                (Get, Action::Service(web())),
                (Put, Action::DeployNamed(web())),
                (Delete, Action::Delete(web())),
            ],
        ),
        ("/v1/services/web/scale", vec![(Post, Action::Scale(web()))]),
        ("/v1/services/web/restart", vec![(Post, Action::Restart(web()))]),
        ("/v1/services/web/rollback", vec![(Post, Action::Rollback(web()))]),
        ("/v1/services/web/revisions", vec![(Get, Action::Revisions(web()))]),
        ("/v1/services/web/why", vec![(Get, Action::Why(web()))]),
        ("/v1/services/web/logs", vec![(Get, Action::ServiceLogs(web()))]),
        ("/v1/deployments", vec![(Get, Action::Deployments)]),
        ("/v1/deployments/{id}", vec![(Get, Action::Deployment(deployment))]),
        ("/v1/deployments/{id}/pause", vec![(Post, Action::PauseDeployment(deployment))]),
        ("/v1/deployments/{id}/resume", vec![(Post, Action::ResumeDeployment(deployment))]),
        ("/v1/instances", vec![(Get, Action::Instances)]),
        ("/v1/instances/{id}", vec![(Get, Action::Instance(instance))]),
        ("/v1/instances/{id}/logs", vec![(Get, Action::InstanceLogs(instance))]),
        ("/v1/instances/{id}/restart", vec![(Post, Action::RestartInstance(instance))]),
        ("/v1/instances/{id}/stop", vec![(Post, Action::StopInstance(instance))]),
        ("/v1/workers", vec![(Get, Action::Workers), (Post, Action::Hello)]),
        ("/v1/workers/w1", vec![(Get, Action::Worker(w1())), (Delete, Action::Forget(w1()))]),
        ("/v1/workers/w1/metrics", vec![(Get, Action::WorkerMetrics(w1()))]),
        ("/v1/workers/w1/drain", vec![(Post, Action::Drain(w1()))]),
        ("/v1/workers/w1/activate", vec![(Post, Action::Activate(w1()))]),
        ("/v1/workers/w1/heartbeat", vec![(Post, Action::Heartbeat(w1()))]),
        ("/v1/workers/w1/assignments", vec![(Get, Action::Assignments(w1()))]),
        ("/v1/workers/w1/session", vec![(Delete, Action::Bye(w1()))]),
        ("/v1/simulate", vec![(Post, Action::Simulate)]),
        ("/v1/discovery", vec![(Get, Action::DiscoveryAll)]),
        ("/v1/discovery/web", vec![(Get, Action::Discovery(web()))]),
        ("/v1/artifacts", vec![(Put, Action::PutArtifact)]),
        ("/v1/artifacts/{sha}", vec![(Get, Action::GetArtifact(digest))]),
    ];
    let whole = |path: &str| path.replace("{id}", ID).replace("{sha}", SHA);
    rows.into_iter().map(|(path, actions)| (whole(path), actions)).collect()
}

#[test]
fn every_list_and_object_can_be_waited_for() {
    for (path, actions) in routes() {
        let Some((_, action)) = actions.into_iter().find(|(method, _)| *method == Method::Get)
        else {
            continue;
        };
        let is_object = match action {
            // Alive, counted, described, copied, streamed; or an agent's, whose heartbeat says it.
            Action::Healthz
            | Action::Metrics
            | Action::OpenApi
            | Action::Snapshot
            | Action::ServiceLogs(_)
            | Action::InstanceLogs(_)
            | Action::Assignments(_)
            | Action::GetArtifact(_) => false,
            _ => true,
        };
        let both = [Param::Index, Param::Wait].iter().all(|one| action.params().contains(one));
        assert_eq!(both, is_object, "{path}");
    }
}

/// Every path, with names in it.
pub(crate) fn paths() -> Vec<String> {
    routes()
        .into_iter()
        .map(|(path, _)| path.replace(SHA, &format!("sha256:{}", "0".repeat(64))))
        .collect()
}

const EVERY_METHOD: [Method; 9] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Patch,
    Method::Options,
    Method::Trace,
    Method::Other,
];

#[test]
fn each_path_takes_its_methods_and_names_them_to_the_others() {
    for (path, actions) in routes() {
        let mut allowed: Vec<Method> = METHODS
            .into_iter()
            .filter(|method| actions.iter().any(|(own, _)| own == method))
            .collect();
        if allowed.contains(&Method::Get) {
            allowed.insert(1, Method::Head);
        }
        for method in EVERY_METHOD {
            let as_get = if method == Method::Head { Method::Get } else { method };
            let expected = actions.iter().find(|(own, _)| *own == as_get);
            let expected = expected.map(|(_, action)| action.clone());
            let expected = expected.ok_or(RouteError::Method(allowed.clone()));
            assert_eq!(route(method, &path), expected, "{method:?} {path}");
        }
    }
}

#[test]
fn no_two_routes_have_one_action() {
    let mut seen: Vec<Action> = Vec::new();
    for (_, actions) in routes() {
        for (_, action) in actions {
            assert!(!seen.contains(&action), "{action:?}");
            seen.push(action);
        }
    }
}

#[test]
fn what_is_near_a_path_is_none() {
    for (path, _) in routes() {
        for other in [
            format!("{path}/"),
            format!("/{path}"),
            format!("{path}//"),
            format!("{path}/%2e%2e"),
            path.to_uppercase(),
            path.replacen("/v1", "/v2", 1).replacen("/healthz", "/health", 1),
        ] {
            for method in EVERY_METHOD {
                let found = route(method, &other);
                assert!(found.is_err() || other == path, "{method:?} {other}: {found:?}");
            }
        }
    }
    for path in ["", "*", "/", "//", "/v1", "/v1/", "/v1/services/web/x", "/v1/services/web/logs/x"]
    {
        assert_eq!(route(Method::Get, path), Err(RouteError::Path), "{path}");
    }
}

#[test]
fn a_name_that_can_not_be_is_said_to_be_no_name() {
    for (path, what) in [
        ("/v1/services/Web", "service"),
        ("/v1/services/-", "service"),
        ("/v1/services/a%2Fb", "service"),
        ("/v1/services/a%00b/logs", "service"),
        ("/v1/discovery/a.b", "service"),
        ("/v1/workers/w_1", "worker"),
        ("/v1/instances/1", "instance"),
        ("/v1/instances/0123456789abC", "instance"),
        ("/v1/deployments/zzzzzzzzzzzzz", "deployment"),
        ("/v1/artifacts/sha256:00", "artifact"),
        ("/v1/artifacts/..", "artifact"),
    ] {
        match route(Method::Get, path) {
            Err(RouteError::Name { what: found, detail }) => {
                assert_eq!(found, what, "{path}");
                assert!(detail.len() > 10, "{path}: {detail}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    assert_eq!(route(Method::Get, "/v1/services/%zz"), Err(RouteError::Path));
    assert_eq!(route(Method::Get, "/v1/services/%ff"), Err(RouteError::Path));
}

#[test]
fn escapes_are_undone_in_each_segment_alone() {
    assert_eq!(route(Method::Get, "/v1/services/%77eb"), Ok(Action::Service(web())));
    let digest = Digest::parse(SHA).expect("a digest");
    let path = format!("/v1/artifacts/{}", SHA.replace(':', "%3A"));
    assert_eq!(route(Method::Get, &path), Ok(Action::GetArtifact(digest)));
    assert_eq!(route(Method::Get, "/v1%2Fservices"), Err(RouteError::Path));
}

#[test]
fn agents_may_do_what_agents_do() {
    for (path, actions) in routes() {
        for (method, action) in actions {
            let worker_route = matches!(
                (method, path.as_str()),
                (Method::Post, "/v1/workers" | "/v1/workers/w1/heartbeat")
                    | (Method::Get, "/v1/workers/w1/assignments")
                    | (Method::Delete, "/v1/workers/w1/session")
            ) || path.starts_with("/v1/artifacts/");
            let expected = match path.as_str() {
                "/healthz" => Access::Free,
                _ if worker_route => Access::Worker,
                _ => Access::Admin,
            };
            assert_eq!(action.access(), expected, "{method:?} {path}");
        }
    }
}

#[test]
fn a_get_takes_no_body() {
    for (path, actions) in routes() {
        for (method, action) in actions {
            let reads = method == Method::Get;
            assert!(!reads || action.body() == BodyKind::None, "{path}");
            let changes = action.params().contains(&Param::DryRun);
            assert!(!(reads && changes), "{path}");
        }
    }
}
