//! Bad specs: each is 422 with the pointer of its fault, every fault at once, and nothing is
//! stored.

use serde_json::{Value, json};
use tucano_common::wire::problem::Problem;
use tucano_common::wire::views::{EventView, ServiceView};
use tucano_net::Method;
use tucano_tests::{Lab, specs};

/// A good spec with one thing changed, and the pointer of the fault.
fn faults() -> Vec<(&'static str, Value, &'static str)> {
    let long = "a".repeat(64);
    let script = "x".repeat(65 * 1024);
    vec![
        ("/name", json!(null), "/name"),
        ("/name", json!(3), "/name"),
        ("/name", json!(""), "/name"),
        ("/name", json!("Web"), "/name"),
        ("/name", json!("-web"), "/name"),
        ("/name", json!("web-"), "/name"),
        ("/name", json!("we b"), "/name"),
        ("/name", json!("web.lan"), "/name"),
        ("/name", json!(long), "/name"),
        ("/colour", json!("red"), "/colour"),
        ("/concurrency", json!(-1), "/concurrency"),
        ("/concurrency", json!(1.5), "/concurrency"),
        ("/concurrency", json!("3"), "/concurrency"),
        ("/concurrency", json!(1_000_000), "/concurrency"),
        ("/scripts", json!("yarn start"), "/scripts"),
        ("/scripts", json!({}), "/scripts/runtime-script"),
        ("/scripts/runtime-script", json!(""), "/scripts/runtime-script"),
        ("/scripts/runtime-script", json!(["a"]), "/scripts/runtime-script"),
        ("/scripts/build-script", json!(script), "/scripts/build-script"),
        ("/scripts/run", json!("x"), "/scripts/run"),
        ("/network/expose_port", json!(0), "/network/expose_port"),
        ("/network/expose_port", json!(65_536), "/network/expose_port"),
        ("/network/expose_port", json!("80"), "/network/expose_port"),
        ("/network/fixed_port", json!(-5), "/network/fixed_port"),
        ("/network/hosts", json!([]), "/network/hosts"),
        ("/network/hosts", json!(["http://a"]), "/network/hosts/0"),
        ("/network/hosts", json!(["ok.lan", "a b"]), "/network/hosts/1"),
        ("/network/hosts", json!(["a.*.lan"]), "/network/hosts/0"),
        ("/network/hold", json!("30"), "/network/hold"),
        ("/network/hold", json!(30), "/network/hold"),
        ("/network/max_in_flight", json!(0), "/network/max_in_flight"),
        ("/network/health_check", json!("/healthz"), "/network/health_check"),
        ("/network/health_check/path", json!("healthz"), "/network/health_check/path"),
        ("/network/health_check/path", json!("/a b"), "/network/health_check/path"),
        ("/network/health_check/interval", json!("0s"), "/network/health_check/interval"),
        ("/network/health_check/healthy_after", json!(0), "/network/health_check/healthy_after"),
        ("/source", json!("/srv/app"), "/source"),
        ("/source/artifact", json!("sha256:12"), "/source/artifact"),
        ("/source/path", json!("srv/app"), "/source/path"),
        ("/source/path", json!("/srv/../etc"), "/source/path"),
        ("/env", json!(["A=1"]), "/env"),
        ("/env/1A", json!("x"), "/env/1A"),
        ("/env/A", json!(1), "/env/A"),
        ("/env/A", json!("a\u{0}b"), "/env/A"),
        ("/env/PORT", json!("80"), "/env/PORT"),
        ("/env/TUCANO_SERVICE", json!("x"), "/env/TUCANO_SERVICE"),
        ("/resources/cpu", json!("half"), "/resources/cpu"),
        ("/resources/cpu", json!(0), "/resources/cpu"),
        ("/resources/memory", json!("128MB"), "/resources/memory"),
        ("/resources/pids", json!(0), "/resources/pids"),
        ("/restart/policy", json!("sometimes"), "/restart/policy"),
        ("/restart/backoff", json!("-1s"), "/restart/backoff"),
        ("/update/max_surge", json!(-1), "/update/max_surge"),
        ("/update/healthy_deadline", json!("0s"), "/update/healthy_deadline"),
        ("/update/auto_revert", json!("yes"), "/update/auto_revert"),
        ("/placement/require", json!(["ssd"]), "/placement/require"),
        ("/placement/max_per_worker", json!(0), "/placement/max_per_worker"),
        ("/stop/signal", json!("SIGSEGV"), "/stop/signal"),
        ("/stop/grace", json!("soon"), "/stop/grace"),
        ("/build_timeout", json!("0s"), "/build_timeout"),
        ("/external", json!({ "addresses": ["10.0.0.7:9000"] }), "/scripts"),
    ]
}

/// Puts a value at a pointer, making the objects on the way; `null` takes it away.
fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let mut place = &mut spec;
    let mut parts = pointer.trim_start_matches('/').split('/').peekable();
    while let Some(part) = parts.next() {
        let object = place.as_object_mut().expect("an object on the way");
        match (parts.peek(), &value) {
            (None, Value::Null) => {
                object.remove(part);
                break;
            }
            (None, _) => {
                object.insert(part.to_owned(), value);
                break;
            }
            (Some(_), _) => place = object.entry(part).or_insert_with(|| json!({})),
        }
    }
    spec
}

#[test]
fn every_fault_of_the_table_is_named_and_nothing_is_stored() {
    let lab = Lab::start(0);
    let good = specs::python("good", 1);
    for (pointer, value, expected) in faults() {
        let spec = with(good.clone(), pointer, value.clone());
        let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
        let shown: String = format!("{pointer} = {value}").chars().take(120).collect();
        assert_eq!(answer.status, 422, "{shown}: {}", answer.text());
        let media_type = answer.headers.get("Content-Type");
        assert_eq!(media_type, Some("application/problem+json"), "{shown}");
        let problem: Problem = answer.json().expect("a problem");
        let pointers: Vec<&str> = problem.errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, [expected], "{shown}: {problem:?}");
        assert!(!problem.errors[0].detail.is_empty(), "{shown}");
    }
    assert!(lab.get::<Vec<ServiceView>>("/v1/services").is_empty());
    let events: Vec<EventView> = lab.events();
    assert!(events.iter().all(|event| event.service.is_none()), "{events:?}");
}

#[test]
fn faults_are_told_all_at_once_and_misspelt_fields_are_recognised() {
    let lab = Lab::start(0);
    let spec = json!({
        "name": "Web",
        "network": { "exposed_port": 80 },
        "scripts": { "runtime-script": "x", "build_scrip": "y" },
        "concurency": 3,
        "stop": { "grace": "soon" },
    });
    let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
    let problem: Problem = answer.json().expect("a problem");
    let mut pointers: Vec<&str> = problem.errors.iter().map(|e| e.pointer.as_str()).collect();
    pointers.sort_unstable();
    let wanted =
        ["/concurency", "/name", "/network/exposed_port", "/scripts/build_scrip", "/stop/grace"];
    assert_eq!(pointers, wanted, "{problem:?}");
    for (pointer, meant) in
        [("/concurency", "concurrency"), ("/network/exposed_port", "expose_port")]
    {
        let item = problem.errors.iter().find(|item| item.pointer == pointer).expect("a fault");
        assert!(item.detail.contains(meant), "{item:?}");
    }
}

#[test]
fn what_is_no_json_or_of_another_type_or_too_large_is_refused() {
    let lab = Lab::start(0);
    let to = lab.cluster.layout.api;
    let post = |fields: &str, body: &str| {
        let request = format!(
            "POST /v1/services HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\
             Content-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        );
        tucano_tests::raw(to, request.as_bytes())
    };
    let json_type = "Content-Type: application/json\r\n";
    assert_eq!(post(json_type, "{\"name\": ").status, 400);
    assert_eq!(post(json_type, "").status, 400);
    assert_eq!(post("Content-Type: text/plain\r\n", "{}").status, 415);
    // curl -d says so where it is not told otherwise.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(post(form, "{}").status, 422);
    assert_eq!(post("", "{}").status, 422);
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(1024 * 1024));
    assert_eq!(post(json_type, &large).status, 413);
    let answer = post(json_type, "[1, 2]");
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(lab.get::<Vec<ServiceView>>("/v1/services").is_empty());
}

#[test]
fn wrong_methods_and_paths_say_what_is_right() {
    let lab = Lab::start(0);
    for (method, target, status) in [
        (Method::Delete, "/v1/services", 405),
        (Method::Post, "/v1/status", 405),
        (Method::Put, "/v1/events", 405),
        (Method::Get, "/v1/nothing", 404),
        (Method::Get, "/v1/services/none", 404),
        (Method::Get, "/v1/services/No.Name", 404),
        (Method::Get, "/v1/deployments/none", 404),
        (Method::Get, "/v1/instances/0000000000000", 404),
        (Method::Get, "/v1/workers/none", 404),
        (Method::Get, "/", 404),
    ] {
        let answer = lab.ask(method, target, None);
        assert_eq!(answer.status, status, "{} {target}: {}", method.text(), answer.text());
        let problem: Problem = answer.json().expect("a problem");
        assert_eq!(problem.status, status);
        assert!(!problem.detail.is_empty(), "{target}");
        assert_eq!(answer.headers.get("Allow").is_some(), status == 405, "{target}");
        assert!(answer.headers.get("X-Request-Id").is_some(), "{target}");
    }
}
