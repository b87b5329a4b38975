//! The spec: defaults, spellings, every fault with its pointer.

use serde_json::{Value, json};

use super::*;

fn minimal() -> Value {
    json!({"name": "web", "scripts": {"runtime-script": "exec ./serve"}})
}

/// The pointers of all faults of `value`, in their order.
fn pointers(value: &Value) -> Vec<String> {
    parse(value).expect_err("faults were expected").into_iter().map(|f| f.pointer).collect()
}

/// `minimal` with `value` at the pointer's place.
fn with(path: &[&str], value: Value) -> Value {
    let mut spec = minimal();
    let (last, parents) = path.split_last().expect("a path");
    let mut place = &mut spec;
    for part in parents {
        place = place.as_object_mut().expect("an object").entry(*part).or_insert_with(|| json!({}));
    }
    place[*last] = value;
    spec
}

#[test]
fn the_document_s_own_example_is_a_spec() {
    let spec = parse(&json!({
        "name": "loja",
        "network": { "expose_port": 80 },
        "scripts": {
            "build-script": "yarn build",
            "runtime-script": "yarn run",
            "teardown_script": "..."
        },
        "concurrency": 3
    }))
    .expect("a spec");
    assert_eq!(spec.name.as_str(), "loja");
    assert_eq!(spec.concurrency, 3);
    assert_eq!(spec.network.expose_port, Some(80));
    assert_eq!(spec.network.hosts, ["loja"]);
    let scripts = spec.scripts().expect("scripts");
    assert_eq!(scripts.build.as_deref(), Some("yarn build"));
    assert_eq!(scripts.teardown.as_deref(), Some("..."));
}

#[test]
fn defaults_are_the_contract_s() {
    let spec = parse(&minimal()).expect("a spec");
    let seconds = Duration::from_secs;
    assert_eq!(spec.concurrency, 1);
    assert_eq!(spec.network.expose_port, None);
    assert_eq!(spec.network.hold, seconds(30));
    let check = &spec.network.health_check;
    assert_eq!(
        (check.interval, check.timeout, check.start_timeout),
        (seconds(2), seconds(1), seconds(30))
    );
    assert_eq!((check.healthy_after, check.unhealthy_after), (1, 3));
    assert_eq!((spec.restart.backoff, spec.restart.backoff_max), (seconds(1), seconds(60)));
    assert_eq!((spec.restart.attempts, spec.restart.window), (5, seconds(600)));
    assert_eq!((spec.update.max_surge, spec.update.min_healthy), (1, seconds(2)));
    assert_eq!(
        (spec.update.healthy_deadline, spec.update.progress_deadline),
        (seconds(60), seconds(600))
    );
    assert!(spec.update.auto_revert);
    assert_eq!((spec.stop.drain, spec.stop.grace), (seconds(30), seconds(30)));
    assert_eq!(spec.stop.signal, StopSignal::Term);
    assert_eq!(spec.build_timeout, seconds(600));
}

/// The contract's full example, less what excludes each other.
fn full() -> Value {
    json!({
        "name": "web",
        "network": {
            "expose_port": 80, "hosts": ["Web.Example.lan.", "*.shop.lan"],
            "health_check": { "path": "/healthz", "interval": "2s", "timeout": "1s",
                "healthy_after": 1, "unhealthy_after": 3, "start_timeout": "30s" },
            "hold": "30s", "max_in_flight": 64, "fixed_port": 9000
        },
        "scripts": { "build-script": "a", "runtime-script": "b", "teardown_script": "c" },
        "concurrency": 3,
        "source": { "artifact": format!("sha256:{}", "0a".repeat(32)) },
        "env": { "NODE_ENV": "production" },
        "resources": { "cpu": 0.5, "memory": "128MiB", "pids": 256 },
        "restart": { "policy": "on_failure", "backoff": "1s", "backoff_max": "1m", "attempts": 5,
            "window": "10m" },
        "update": { "max_surge": 1, "min_healthy": "2s", "healthy_deadline": "1m",
            "progress_deadline": "10m", "auto_revert": false },
        "placement": { "require": { "disk": "ssd" }, "prefer": { "zone": "b" },
            "max_per_worker": 2 },
        "stop": { "signal": "SIGINT", "drain": "30s", "grace": "30s" },
        "build_timeout": "10m"
    })
}

#[test]
fn a_spec_printed_is_the_spec_read() {
    let external = external(json!(["10.0.0.7:9000"]));
    for value in [minimal(), full(), external] {
        let spec = parse(&value).expect("a spec");
        let printed = serde_json::to_value(&spec).expect("JSON");
        assert_eq!(parse(&printed), Ok(spec), "{printed}");
    }
    let printed = serde_json::to_value(parse(&full()).expect("a spec")).expect("JSON");
    assert_eq!(printed["network"]["hosts"], json!(["web.example.lan", "*.shop.lan"]));
    assert_eq!(printed["scripts"], full()["scripts"]);
    assert_eq!(printed["resources"], full()["resources"]);
}

#[test]
fn each_script_has_two_spellings_and_one_at_a_time() {
    for (a, b) in [
        ("build-script", "build_script"),
        ("runtime-script", "runtime_script"),
        ("teardown_script", "teardown-script"),
    ] {
        let one = json!({"name": "web", "scripts": {"runtime-script": "r"}});
        for key in [a, b] {
            let mut spec = one.clone();
            if key.starts_with("runtime") {
                spec["scripts"] = json!({});
            }
            spec["scripts"][key] = json!("x");
            assert!(parse(&spec).is_ok(), "{key}");
        }
        let mut both = one;
        both["scripts"][a] = json!("x");
        both["scripts"][b] = json!("x");
        assert_eq!(pointers(&both), [format!("/scripts/{b}")]);
    }
}

#[test]
fn every_fault_is_told_at_once_each_with_its_pointer() {
    let spec = json!({
        "name": "Web_1", "netwrok": {},
        "network": {"expose_port": 0, "hold": 5, "hosts": ["a b", 7]},
        "scripts": {"runtime": "x"}, "concurrency": -1, "env": {"A": 1, "1B": "x", "PORT": "1"},
        "update": {"min_healthy": "2m", "healthy_deadline": "1m"}
    });
    let mut found = pointers(&spec);
    found.sort();
    let mut wanted = [
        "/netwrok",
        "/name",
        "/network/hosts/0",
        "/network/hosts/1",
        "/network/expose_port",
        "/network/hold",
        "/scripts/runtime",
        "/scripts/runtime-script",
        "/concurrency",
        "/env/1B",
        "/env/A",
        "/env/PORT",
        "/update/min_healthy",
    ];
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn one_fault_each() {
    let cases: &[(&[&str], Value, &str)] = &[
        (&["name"], json!(""), "/name"),
        (&["name"], json!("a.b"), "/name"),
        (&["name"], json!("a".repeat(64)), "/name"),
        (&["name"], json!(null), "/name"),
        (&["concurrency"], json!(1.5), "/concurrency"),
        (&["concurrency"], json!("3"), "/concurrency"),
        (&["concurrency"], json!(1_000_000), "/concurrency"),
        (&["scripts"], json!([]), "/scripts"),
        (&["scripts", "runtime-script"], json!("  "), "/scripts/runtime-script"),
        (&["scripts", "runtime-script"], json!("a\0b"), "/scripts/runtime-script"),
        (&["scripts", "build-script"], json!("x".repeat(70_000)), "/scripts/build-script"),
        (&["network"], json!("x"), "/network"),
        (&["network", "expose_port"], json!(65_536), "/network/expose_port"),
        (&["network", "expose_port"], json!("80"), "/network/expose_port"),
        (&["network", "exposePort"], json!(80), "/network/exposePort"),
        (&["network", "hosts"], json!([]), "/network/hosts"),
        (&["network", "hosts"], json!(["a.lan", "A.LAN."]), "/network/hosts/1"),
        (&["network", "hosts"], json!(["http://a.lan"]), "/network/hosts/0"),
        (&["network", "hosts"], json!(["a.*.lan"]), "/network/hosts/0"),
        (&["network", "hosts"], json!(["*"]), "/network/hosts/0"),
        (&["network", "health_check", "path"], json!("healthz"), "/network/health_check/path"),
        (&["network", "health_check", "path"], json!("/a b"), "/network/health_check/path"),
        (&["network", "health_check", "notify"], json!("yes"), "/network/health_check/notify"),
        (
            &["network", "health_check"],
            json!({"notify": true, "path": "/"}),
            "/network/health_check/notify",
        ),
        (&["network", "health_check", "interval"], json!("0s"), "/network/health_check/interval"),
        (&["network", "health_check", "timeout"], json!("1 s"), "/network/health_check/timeout"),
        (&["source", "artifact"], json!("sha256:ABC"), "/source/artifact"),
        (&["source", "path"], json!("srv/app"), "/source/path"),
        (&["source", "path"], json!("/srv/../etc"), "/source/path"),
        (&["source", "git"], json!("x"), "/source/git"),
        (&["env", "TUCANO_X"], json!("x"), "/env/TUCANO_X"),
        (&["env", "A~/B"], json!("x"), "/env/A~0~1B"),
        (&["resources", "cpu"], json!(0), "/resources/cpu"),
        (&["resources", "memory"], json!("128MB"), "/resources/memory"),
        (&["resources", "memory"], json!(-1), "/resources/memory"),
        (&["restart", "policy"], json!("sometimes"), "/restart/policy"),
        (&["restart", "backoff_max"], json!("500ms"), "/restart/backoff_max"),
        (&["update", "auto_revert"], json!("yes"), "/update/auto_revert"),
        (&["placement", "require"], json!({"disk": 1}), "/placement/require/disk"),
        (&["placement", "max_per_worker"], json!(0), "/placement/max_per_worker"),
        (&["stop", "signal"], json!("SIGSEGV"), "/stop/signal"),
        (&["stop", "drain"], json!("2h"), "/stop/drain"),
        (&["build_timeout"], json!(600), "/build_timeout"),
    ];
    for (path, value, pointer) in cases {
        assert_eq!(pointers(&with(path, value.clone())), [*pointer], "{path:?} = {value}");
    }
}

fn external(addresses: Value) -> Value {
    let network = json!({"expose_port": 80});
    json!({"name": "old", "network": network, "external": {"addresses": addresses}})
}

#[test]
fn external_services() {
    let spec = parse(&external(json!(["10.0.0.7:9000", "[fd00::1]:80"]))).expect("a spec");
    assert_eq!(spec.concurrency, 0);
    for (addresses, pointer) in [
        (json!([]), "/external/addresses"),
        (json!(["10.0.0.7"]), "/external/addresses/0"),
        (json!(["old.lan:80"]), "/external/addresses/0"),
        (json!(["10.0.0.7:0"]), "/external/addresses/0"),
        (json!(["169.254.169.254:80"]), "/external/addresses/0"),
        (json!(["[fe80::1]:80"]), "/external/addresses/0"),
        (json!(["[::ffff:169.254.169.254]:80"]), "/external/addresses/0"),
        (json!(["[::ffff:0.0.0.0]:80"]), "/external/addresses/0"),
        (json!(["10.0.0.7:1", "10.0.0.7:1"]), "/external/addresses/1"),
        (json!(["10.0.0.7:1", "[::ffff:10.0.0.7]:1"]), "/external/addresses/1"),
    ] {
        assert_eq!(pointers(&external(addresses.clone())), [pointer], "{addresses}");
    }
    let mut both = external(json!(["10.0.0.7:1"]));
    both["scripts"] = json!({"runtime-script": "x"});
    assert_eq!(pointers(&both), ["/scripts"]);
    let mut unrouted = external(json!(["10.0.0.7:1"]));
    unrouted["network"] = json!({});
    assert_eq!(pointers(&unrouted), ["/network/expose_port"]);
    let mut told = external(json!(["10.0.0.7:1"]));
    told["network"]["health_check"] = json!({"notify": true});
    assert_eq!(pointers(&told), ["/network/health_check/notify"]);
}

#[test]
fn what_is_no_object_is_one_fault() {
    for value in [json!(null), json!([]), json!("web"), json!(3)] {
        assert_eq!(pointers(&value), [""], "{value}");
    }
}

#[test]
fn unknown_fields_say_what_was_meant() {
    let faults = parse(&with(&["network", "exposed_port"], json!(80))).expect_err("a fault");
    assert!(faults[0].detail.contains("did you mean \"expose_port\""), "{}", faults[0].detail);
}

#[test]
fn secrets_do_not_show() {
    let spec = parse(&with(&["env", "KEY"], json!("hunter2"))).expect("a spec");
    assert!(!format!("{spec:?}").contains("hunter2"));
    let faults = parse(&with(&["env", "PORT"], json!("hunter2"))).expect_err("a fault");
    assert!(!format!("{faults:?}").contains("hunter2"));
}
