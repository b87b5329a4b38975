//! Routes and bodies: every refusal by its status.

use tucano_common::wire::worker::{Assignment, Desired};
use tucano_net::{Headers, Version};
use tucano_worker_core::{Layout, PortRange, Settings};

use super::*;

fn head(method: Method, target: &str) -> RequestHead {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    RequestHead {
        method,
        path: path.to_owned(),
        query: query.map(str::to_owned),
        version: Version::Http11,
        host: "localhost".to_owned(),
        headers: Headers::new(),
        request_id: String::new(),
        body_length: None,
    }
}

fn request(method: Method, target: &str, body: &[u8]) -> Request {
    Request { head: head(method, target), body: body.to_vec() }
}

const ID: InstanceId = InstanceId(5);

fn supervisor() -> Supervisor {
    let settings = Settings {
        worker: tucano_common::name::WorkerName::new("w").unwrap(),
        layout: Layout::new("/nowhere"),
        host: std::net::IpAddr::from([127, 0, 0, 1]),
        balancer_url: String::new(),
        ports: PortRange::new(20_000, 20_010).unwrap(),
        ephemeral: None,
    };
    Supervisor::new(settings, 1)
}

/// One that has joined cluster `a`.
fn joined() -> Supervisor {
    let mut supervisor = supervisor();
    let nothing = serde_json::json!({"cluster": "a", "generation": 0, "instances": []});
    let nothing = serde_json::from_value(nothing).unwrap();
    supervisor.assign(nothing, Now::default()).unwrap();
    supervisor
}

/// A push of this generation, in JSON.
pub(in crate::agent) fn push_json(id: InstanceId, cluster: &str, generation: u64) -> Vec<u8> {
    let spec = serde_json::json!({"name": "web", "scripts": {"runtime-script": "exec true"}});
    let assignment = Assignment {
        id,
        generation,
        service: tucano_common::name::ServiceName::new("web").unwrap(),
        revision: 1,
        desired: Desired::Run,
        restart_nonce: 0,
        spec: serde_json::from_value(spec).unwrap(),
    };
    let previous_generation = generation - 1;
    let cluster = cluster.to_owned();
    serde_json::to_vec(&Push { cluster, generation, previous_generation, assignment }).unwrap()
}

#[test]
fn every_route_and_its_methods() {
    let id = ID;
    let one = format!("/v1/instances/{id}");
    let logs = format!("/v1/instances/{id}/logs?tail=5&follow=true&since=1970-01-01T00:00:01Z");
    let since = Some(Wall(1000));
    let query = LogQuery { tail: 5, follow: true, since };
    for (method, target, expected) in [
        (Method::Get, "/healthz", Action::Health),
        (Method::Head, "/healthz", Action::Health),
        (Method::Get, "/metrics", Action::Metrics),
        (Method::Get, "/v1/instances", Action::List),
        (Method::Put, &one, Action::Run(id)),
        (Method::Delete, &format!("{one}?cluster=a"), Action::Stop(id)),
        (Method::Get, &logs, Action::Logs(id, query)),
    ] {
        assert_eq!(route(&head(method, target)).ok(), Some(expected), "{target}");
    }
}

#[test]
fn what_there_is_not() {
    let id = ID;
    for (method, target, status) in [
        (Method::Get, "/".to_owned(), 404),
        (Method::Get, "/healthz/".to_owned(), 404),
        (Method::Get, "/v1/instances/".to_owned(), 404),
        (Method::Put, "/v1/instances/nonsense".to_owned(), 404),
        (Method::Put, format!("/v1/instances/{id}/"), 404),
        (Method::Get, format!("/v1/instances/{id}/logs/x"), 404),
        (Method::Post, "/healthz".to_owned(), 405),
        (Method::Get, format!("/v1/instances/{id}"), 405),
        (Method::Put, format!("/v1/instances/{id}/logs"), 405),
        (Method::Get, format!("/v1/instances/{id}/logs?tail=many"), 400),
        (Method::Get, format!("/v1/instances/{id}/logs?tail=+5"), 400),
        (Method::Get, format!("/v1/instances/{id}/logs?follow=maybe"), 400),
        (Method::Get, format!("/v1/instances/{id}/logs?since=yesterday"), 400),
        (Method::Get, format!("/v1/instances/{id}/logs?tial=5"), 400),
    ] {
        let refusal = route(&head(method, &target)).unwrap_err();
        assert_eq!(refusal.status, status, "{target}");
        assert_eq!(refusal.headers.contains("allow"), status == 405, "{target}");
    }
}

#[test]
fn a_tail_is_bounded_and_has_a_default() {
    let tail =
        |query: &str| match route(&head(Method::Get, &format!("/v1/instances/{ID}/logs{query}"))) {
            Ok(Action::Logs(_, query)) => query.tail,
            other => panic!("{:?}", other.is_ok()),
        };
    assert_eq!(tail(""), LOG_TAIL_LINES_DEFAULT);
    assert_eq!(tail("?tail=0"), 0);
    assert_eq!(tail("?tail=99999999999"), LOG_TAIL_LINES_MAX);
}

#[test]
fn pushes_are_taken_once_and_older_or_foreign_ones_refused() {
    let (mut supervisor, now) = (joined(), Now::default());
    let path = format!("/v1/instances/{ID}");
    let mut put = |body: &[u8]| {
        let request = request(Method::Put, &path, body);
        run(ID, &request, &mut supervisor, now).status
    };
    assert_eq!(put(&push_json(ID, "a", 7)), 202);
    assert_eq!(put(&push_json(ID, "a", 7)), 200, "doubled");
    assert_eq!(put(&push_json(ID, "a", 6)), 409, "older");
    assert_eq!(put(&push_json(ID, "no cluster", 8)), 422);
    assert_eq!(put(&push_json(InstanceId(6), "a", 8)), 422, "another instance than the path's");
    assert_eq!(put(b"{"), 400);
    assert_eq!(put(b"{}"), 422);
    let mut unknown_field = push_json(ID, "a", 9);
    let text = String::from_utf8(unknown_field.clone()).unwrap();
    unknown_field = text.replace("\"spec\":{", "\"spec\":{\"nmae\":1,").into_bytes();
    assert_eq!(put(&unknown_field), 422, "specs are validated on this side too");
}

#[test]
fn a_push_before_the_hello_was_answered_is_refused() {
    let put = request(Method::Put, "/", &push_json(ID, "a", 7));
    let answer = run(ID, &put, &mut supervisor(), Now::default());
    assert_eq!(answer.status, 409);
}

#[test]
fn a_media_type_that_is_not_json_is_refused() {
    let (mut supervisor, now) = (joined(), Now::default());
    for (media, status) in [
        ("application/json; charset=utf-8", 202),
        ("application/x-www-form-urlencoded", 200),
        ("text/plain", 415),
    ] {
        let mut request = request(Method::Put, "/", &push_json(ID, "a", 7));
        request.head.headers.push("Content-Type", media);
        assert_eq!(run(ID, &request, &mut supervisor, now).status, status, "{media}");
    }
}

#[test]
fn stops_name_their_cluster_and_generation() {
    let (mut supervisor, now) = (joined(), Now::default());
    let request_of = |query: &str, body: &[u8]| {
        request(Method::Delete, &format!("/v1/instances/{ID}{query}"), body)
    };
    let mut delete =
        |query: &str, body: &[u8]| stop(ID, &request_of(query, body), &mut supervisor, now).status;
    assert_eq!(delete("?cluster=a&generation=1", b""), 200, "not there: nothing to stop");
    for (query, body, status) in [
        ("", &b""[..], 422),
        ("?cluster=a", b"", 422),
        ("?cluster=a&generation=x", b"", 422),
        ("", b"{", 400),
        ("", b"{\"cluster\":\"a\"}", 422),
    ] {
        assert_eq!(delete(query, body), status, "{query}");
    }
    let put = request(Method::Put, "/", &push_json(ID, "a", 7));
    run(ID, &put, &mut supervisor, now);
    let mut delete =
        |query: &str, body: &[u8]| stop(ID, &request_of(query, body), &mut supervisor, now).status;
    assert_eq!(delete("?cluster=b&generation=9", b""), 409, "a foreign cluster's word");
    assert_eq!(delete("?cluster=a&generation=6", b""), 409, "an older generation");
    assert_eq!(delete("", b"{\"cluster\":\"a\",\"generation\":8}"), 202);
    assert_eq!(delete("?cluster=a&generation=8", b""), 200, "doubled");
}
