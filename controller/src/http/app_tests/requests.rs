//! Requests and answers: what reaches the deployer, and what its answers look like outside.

use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Digest;
use tucano_common::wire::worker::{Pressure, Usage, WorkerMetrics};
use tucano_controller_core::deployer::Command;

use super::*;
use crate::msgs::{Block, Discovered, Gauges};

const SPEC: &[u8] = br#"{"name": "web", "scripts": {"runtime-script": "exec sleep 9"}}"#;

fn web() -> ServiceName {
    ServiceName::new("web").expect("a name")
}

#[test]
fn health_needs_nobody() {
    let rig = Rig::new();
    let got = rig.get("/healthz");
    assert_eq!((got.status, got.text().as_str()), (200, "ok\n"));
    assert!(got.field("x-request-id").is_some());
    assert!(rig.asks.is_empty());
}

#[test]
fn every_answer_carries_the_request_id_that_came() {
    let rig = Rig::new();
    let mut client = rig.client();
    for target in ["/healthz", "/v1/nothing", "/v1/services?zebra=1"] {
        client.send("GET", target, &[("X-Request-Id", "abc-123")], b"");
        assert_eq!(client.answer().field("x-request-id"), Some("abc-123"), "{target}");
    }
}

#[test]
fn a_deploy_reaches_the_deployer_and_its_answer_comes_back_whole() {
    let rig = Rig::new();
    let mut client = rig.client();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    client.send("POST", "/v1/services?wait=60s", &form, SPEC);
    let Ask::Command { ticket, command: Command::Deploy { spec }, dry_run, wait } = rig.ask()
    else {
        panic!("not a deploy");
    };
    assert_eq!((spec.name.clone(), dry_run, wait), (web(), false, Some(Duration::from_secs(60))));
    let location = "/v1/deployments/0123456789abc";
    rig.answer(
        ticket,
        Reply::Document(Document {
            status: 202,
            index: Some(41),
            location: Some(location.into()),
            body: b"{\"id\":\"0123456789abc\"}".to_vec(),
        }),
    );
    let got = client.answer();
    assert_eq!(got.status, 202);
    assert_eq!(got.field("location"), Some(location));
    assert_eq!(got.field("x-tucano-index"), Some("41"));
    assert_eq!(got.field("content-type"), Some("application/json"));
    assert_eq!(got.text(), "{\"id\":\"0123456789abc\"}\n");
}

#[test]
fn a_refusal_of_the_deployer_is_passed_on() {
    let rig = Rig::new();
    let mut client = rig.client();
    for status in [404, 409, 424, 503, 507] {
        client.send("DELETE", "/v1/services/web?dry_run=true", &[], b"");
        let Ask::Command { ticket, command, dry_run: true, wait: None } = rig.ask() else {
            panic!("not a dry run");
        };
        assert_eq!(command, Command::Delete { service: web() });
        rig.refuse(ticket, status);
        let got = client.answer();
        assert_eq!(got.status, status);
        assert_eq!(got.field("content-type"), Some("application/problem+json"));
        assert_eq!(got.json()["detail"], "not like this");
    }
}

#[test]
fn what_is_wrong_reaches_nobody() {
    let rig = Rig::new();
    let mut client = rig.client();
    let json = ("Content-Type", "application/json");
    for (method, target, fields, body, status) in [
        ("GET", "/v1/nothing", vec![], &b""[..], 404),
        ("GET", "/v1/services/Web", vec![], b"", 404),
        ("PATCH", "/v1/services/web", vec![], b"{}", 405),
        ("BREW", "/v1/services/web", vec![], b"", 405),
        ("OPTIONS", "/v1/services", vec![("Origin", "http://localhost")], b"", 405),
        ("POST", "/v1/services", vec![], b"", 400),
        ("POST", "/v1/services", vec![json], b"{\"name\":", 400),
        ("POST", "/v1/services", vec![json], b"\xff", 400),
        ("POST", "/v1/services", vec![("Content-Type", "text/plain")], SPEC, 415),
        ("POST", "/v1/services", vec![("Content-Type", "multipart/form-data")], SPEC, 415),
        ("POST", "/v1/services", vec![json], b"[]", 422),
        ("POST", "/v1/services", vec![json], b"{\"name\": \"Web\"}", 422),
        ("POST", "/v1/services?dry-run=true", vec![json], SPEC, 400),
        ("PUT", "/v1/services/api", vec![json], SPEC, 422),
        ("POST", "/v1/services/web/scale", vec![json], b"{\"concurrency\": \"5\"}", 422),
        ("POST", "/v1/services/web/restart", vec![json], b"{\"now\": true}", 400),
        ("GET", "/v1/services?index=x", vec![], b"", 400),
        ("POST", "/v1/workers", vec![json], b"{\"name\": \"w1\"}", 422),
        ("POST", "/v1/workers/w1/heartbeat", vec![json], b"{", 400),
    ] {
        client.send(method, target, &fields, body);
        let got = client.answer();
        assert_eq!(got.status, status, "{method} {target}: {}", got.text());
        assert_eq!(got.field("content-type"), Some("application/problem+json"), "{target}");
        let problem = got.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{problem}");
        assert_eq!(got.field("allow").is_some(), status == 405, "{method} {target}");
    }
    assert!(rig.asks.is_empty() && rig.agents.is_empty());
}

#[test]
fn every_fault_of_a_spec_comes_with_its_pointer() {
    let rig = Rig::new();
    let mut client = rig.client();
    let body = br#"{"name": "Web", "concurency": 3, "network": {"expose_port": 0}}"#;
    client.send("POST", "/v1/services", &[], body);
    let got = client.answer();
    assert_eq!(got.status, 422);
    let errors = got.json()["errors"].as_array().cloned().expect("a list");
    for pointer in ["/name", "/concurency", "/network/expose_port", "/scripts/runtime-script"] {
        assert!(errors.iter().any(|error| error["pointer"] == pointer), "{pointer}: {errors:?}");
    }
}

#[test]
fn a_body_over_a_mebibyte_is_refused() {
    let rig = Rig::new();
    let mut client = rig.client();
    let body = vec![b' '; 1024 * 1024 + 1];
    client.send("POST", "/v1/services", &[], &body);
    assert_eq!(client.answer().status, 413);
    let mut client = rig.client();
    let head =
        "POST /v1/services HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write(head.as_bytes());
    client.write(b"100001\r\n");
    client.write(&body);
    assert_eq!(client.answer().status, 413);
    assert!(rig.asks.is_empty());
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let rig = Rig::new();
    let mut client = rig.client();
    let pipelined = "GET /v1/services HTTP/1.1\r\nHost: localhost\r\n\r\n\
                     GET /v1/workers HTTP/1.1\r\nHost: localhost\r\n\r\n\
                     GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write(pipelined.as_bytes());
    for (expected, body) in [(Query::Services, "[1]"), (Query::Workers, "[2]")] {
        let (ticket, query) = rig.query();
        assert_eq!(query, expected);
        rig.answer(ticket, document(200, body));
        assert_eq!(client.answer().text().trim(), body);
    }
    assert_eq!(client.answer().text(), "ok\n");
}

#[test]
fn a_question_that_waits_is_taken_back_when_its_client_leaves() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/services/web?index=5&wait=2m", &[], b"");
    let Ask::Query { ticket, query, block } = rig.ask() else {
        panic!("not a query");
    };
    let two_minutes = Duration::from_secs(120);
    assert_eq!(query, Query::Service(web()));
    assert_eq!(block, Some(Block { index: 5, wait: two_minutes }));
    drop(client);
    match rig.ask() {
        Ask::Cancel(cancelled) => assert_eq!(cancelled, ticket),
        other => panic!("not cancelled: {other:?}"),
    }
    rig.answer(ticket, document(200, "{}"));
    assert_eq!(rig.get("/healthz").status, 200, "a late answer finds nobody and harms nobody");
}

#[test]
fn a_deployer_that_is_behind_is_said_so() {
    let rig = Rig::with(false, 1);
    let mut first = rig.client();
    first.send("GET", "/v1/services", &[], b"");
    wait_until(|| !rig.asks.is_empty());
    let got = rig.get("/v1/services");
    assert_eq!((got.status, got.field("retry-after")), (503, Some("1")));
    let (ticket, _) = rig.query();
    rig.answer(ticket, document(200, "[]"));
    assert_eq!(first.answer().status, 200);
}

#[test]
fn head_has_the_head_of_get_alone() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("HEAD", "/v1/services", &[], b"");
    let (ticket, _) = rig.query();
    rig.answer(ticket, document(200, "[1,2,3]"));
    let got = client.head();
    assert_eq!((got.status, got.field("content-length")), (200, Some("8")));
    client.send("GET", "/healthz", &[], b"");
    assert_eq!(client.answer().text(), "ok\n");
}

#[test]
fn agents_speak_to_the_worker_manager() {
    let rig = Rig::new();
    let mut client = rig.client();
    let hello = br#"{"name": "w1", "agent_port": 7071, "session": 5, "version": "0.1.0",
        "capacity": {"cpus": 2, "memory_bytes": 1024}, "labels": {}, "instances": [],
        "from_the_future": true}"#;
    client.send("POST", "/v1/workers", &[], hello);
    let says = rig.agents.recv_timeout(PATIENCE).expect("the API tells");
    let FromAgent::Hello { ticket, peer, host, hello } = says else {
        panic!("not a hello: {says:?}");
    };
    assert!(peer.is_loopback());
    assert_eq!((host.as_str(), hello.name.as_str(), hello.session), ("localhost", "w1", 5));
    rig.answer(ticket, document(200, "{\"generation\":3}"));
    assert_eq!(client.answer().json()["generation"], 3);

    let heartbeat = br#"{"session": 5, "seq": 1, "at": "2026-01-31T03:12:00.000Z",
        "metrics": {}, "instances": []}"#;
    client.send("POST", "/v1/workers/w1/heartbeat", &[], heartbeat);
    let says = rig.agents.recv_timeout(PATIENCE).expect("the API tells");
    let w1 = WorkerName::new("w1").expect("a name");
    let FromAgent::Heartbeat { ticket, worker, .. } = says else {
        panic!("not a heartbeat: {says:?}");
    };
    assert_eq!(worker, w1);
    rig.refuse(ticket, 409);
    assert_eq!(client.answer().status, 409);

    client.send("DELETE", "/v1/workers/w1/session?session=5", &[], b"");
    let says = rig.agents.recv_timeout(PATIENCE).expect("the API tells");
    let FromAgent::Bye { ticket, session, .. } = says else {
        panic!("not a bye: {says:?}");
    };
    assert_eq!(session, Some(5));
    rig.answer(ticket, Reply::Done);
    let got = client.answer();
    assert_eq!((got.status, got.body.len()), (204, 0));
    assert!(rig.asks.is_empty(), "the deployer hears of agents from the worker manager alone");
}

#[test]
fn discovery_is_for_programs() {
    let rig = Rig::new();
    let mut client = rig.client();
    let found = || Discovered { service: web(), revision: 3, addresses: Vec::new() };
    for (target, service, body) in [
        ("/v1/discovery/web", Some(web()), r#"{"service":"web","revision":3,"addresses":[]}"#),
        ("/v1/discovery", None, r#"[{"service":"web","revision":3,"addresses":[]}]"#),
        ("/v1/discovery?format=prometheus", None, "[]"),
    ] {
        client.send("GET", target, &[], b"");
        let (ticket, query) = rig.query();
        assert_eq!(query, Query::Discovery(service));
        rig.answer(ticket, Reply::Discovery { services: vec![found()], index: 9 });
        let got = client.answer();
        assert_eq!((got.status, got.text().trim()), (200, body), "{target}");
        assert_eq!(got.field("x-tucano-index"), Some("9"));
    }
}

#[test]
fn metrics_are_prometheus_text() {
    let rig = Rig::new();
    assert_eq!(rig.get("/v1/nothing").status, 404);
    let mut client = rig.client();
    client.send("GET", "/metrics", &[], b"");
    let (ticket, query) = rig.query();
    assert_eq!(query, Query::Gauges);
    let w1 = WorkerName::new("w1").expect("a name");
    let machine = WorkerMetrics {
        cpu_ratio: Some(0.5),
        memory_total_bytes: Some(100),
        memory_available_bytes: Some(40),
        pressure: Some(Pressure { cpu: 0.25, memory: 0.0, io: 0.0 }),
        ..WorkerMetrics::default()
    };
    let usage = Usage { memory_bytes: 4096, cpu_cores: 1.5, processes: 2, ..Usage::default() };
    let gauges = Gauges {
        instances: vec![(web(), "running", 3)],
        last_event: 17,
        machines: vec![(w1, machine)],
        usage: [1, 2].map(|id| (web(), InstanceId(id), usage, 2)).into(),
        ..Gauges::default()
    };
    rig.answer(ticket, Reply::Gauges(Box::new(gauges)));
    let got = client.answer();
    assert!(got.field("content-type").is_some_and(|kind| kind.contains("version=0.0.4")));
    let text = got.text();
    for line in [
        "tucano_instances{service=\"web\",state=\"running\"} 3",
        "tucano_events_total 17",
        "tucano_deploys_total{result=\"failed\"} 0",
        "tucano_worker_cpu_ratio{worker=\"w1\"} 0.5",
        "tucano_worker_memory_used_bytes{worker=\"w1\"} 60",
        "tucano_worker_pressure_ratio{worker=\"w1\",resource=\"cpu\"} 0.25",
        "tucano_instance_memory_bytes{service=\"web\",instance=\"0000000000002\"} 4096",
        "tucano_instance_cpu_cores{service=\"web\",instance=\"0000000000001\"} 1.5",
        "tucano_instance_restarts_total{service=\"web\"} 4",
        "tucano_api_requests_total{code=\"4xx\"} 1",
        "tucano_api_auth_failures_total 0",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE "));
    let mut names: Vec<&str> = types.filter_map(|line| line.split(' ').nth(2)).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a metric is written once");
}

#[test]
fn the_description_is_served() {
    let rig = Rig::new();
    let got = rig.get("/v1/openapi.json");
    assert_eq!(got.status, 200);
    assert_eq!(got.json()["openapi"], "3.1.0");
}

#[test]
fn an_answer_of_the_wrong_kind_is_a_500() {
    let rig = Rig::new();
    let mut client = rig.client();
    for target in ["/v1/services", "/v1/events", "/v1/services/web/logs", "/metrics"] {
        client.send("GET", target, &[], b"");
        let (ticket, _) = rig.query();
        rig.answer(ticket, Reply::Discovery { services: Vec::new(), index: 0 });
        assert_eq!(client.answer().status, 500, "{target}");
    }
    let digest = Digest::from_bytes(&[0; 32]);
    assert_eq!(rig.get(&format!("/v1/artifacts/{digest}")).status, 404);
}
