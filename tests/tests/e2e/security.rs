//! Who may ask what: tokens and their two roles, browsers, listeners, what leaks nowhere.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tucano_common::wire::views::{WorkerState, WorkerView};
use tucano_net::token::Token;
use tucano_tests::{Lab, Raw, SOON, raw, specs};
use tucano_tools::cluster::{Cluster, Folder, Layout, Options};

const ADMIN: &str = "admin-0123456789abcdef0123456789abcdef";
const JOIN: &str = "join-0123456789abcdef0123456789abcdef";

fn token_file(folder: &Folder, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, format!("{text}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    path.display().to_string()
}

/// A cluster with both tokens and one worker.
fn guarded() -> Lab {
    let folder = Folder::new("test").expect("a folder");
    let admin = token_file(&folder, "admin.token", ADMIN);
    let join = token_file(&folder, "join.token", JOIN);
    let mut options = Options::default();
    options.controller_flags.extend(["--admin-token-file".to_owned(), admin]);
    options.controller_flags.extend(["--join-token-file".to_owned(), join.clone()]);
    options.worker_flags.extend(["--join-token-file".to_owned(), join]);
    Lab::assemble(folder, 1, options, Some(Token::new(ADMIN)))
}

/// A request with these further fields, to the API.
fn ask(to: SocketAddr, line: &str, fields: &str) -> Raw {
    let host = if fields.contains("Host:") { String::new() } else { format!("Host: {to}\r\n") };
    raw(to, format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n{fields}\r\n").as_bytes())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn with_tokens_nothing_but_healthz_is_open() {
    let lab = guarded();
    let api = lab.cluster.layout.api;
    assert_eq!(ask(api, "GET /healthz", "").status, 200);
    let routes = [
        "GET /v1/services",
        "GET /v1/status",
        "GET /v1/events",
        "GET /metrics",
        "GET /v1/workers",
        "POST /v1/services",
        "DELETE /v1/services/web",
        "GET /v1/services/web/logs",
        "POST /v1/workers",
        "GET /v1/workers/w1/assignments",
    ];
    for route in routes {
        let answer = ask(api, route, "Content-Length: 0\r\n");
        assert_eq!(answer.status, 401, "{route}: {}", answer.text);
        assert!(answer.text.to_lowercase().contains("www-authenticate: bearer"), "{}", answer.text);
    }
    assert_eq!(ask(api, "GET /v1/services", &bearer(ADMIN)).status, 200);
    let basic = "Authorization: Basic YWRtaW46YWRtaW4=\r\n";
    assert_eq!(ask(api, "GET /v1/services", basic).status, 401);
}

#[test]
fn the_join_token_opens_the_workers_routes_alone() {
    let lab = guarded();
    let api = lab.cluster.layout.api;
    for route in ["GET /v1/services", "GET /v1/events", "GET /v1/workers", "GET /metrics"] {
        let answer = ask(api, route, &bearer(JOIN));
        assert_eq!(answer.status, 403, "{route}: {}", answer.text);
    }
    let assignments = ask(api, "GET /v1/workers/w1/assignments", &bearer(JOIN));
    assert!(!matches!(assignments.status, 401 | 403), "{}", assignments.text);
}

#[test]
fn the_agents_api_wants_the_join_token() {
    let lab = guarded();
    let agent = lab.cluster.layout.workers[0].agent;
    assert_eq!(ask(agent, "GET /healthz", "").status, 200);
    for route in ["GET /v1/instances", "GET /metrics", "DELETE /v1/instances/0000000000000"] {
        assert_eq!(ask(agent, route, "").status, 401, "{route}");
    }
    assert_eq!(ask(agent, "GET /v1/instances", &bearer(JOIN)).status, 200);
    // And a deploy gets through all of it.
    lab.deploy(&specs::shell("ticker", 1));
}

#[test]
fn failed_attempts_are_told_and_the_right_token_still_works() {
    let lab = guarded();
    let api = lab.cluster.layout.api;
    let answer = ask(api, "GET /v1/services", &bearer("admin-wrong"));
    assert_eq!(answer.status, 401);
    let told = lab.until("an event on the failed attempt", SOON, || {
        let events = lab.events();
        events.into_iter().find(|event| event.kind.contains("auth"))
    });
    assert!(!told.message.contains("admin-wrong"), "{told:?}");
    assert_eq!(ask(api, "GET /v1/services", &bearer(ADMIN)).status, 200);
}

#[test]
fn secrets_leak_nowhere() {
    let lab = guarded();
    let mut spec = specs::python("careful", 1);
    let dump = lab.scratch("notes").join("environment");
    let runtime = spec["scripts"]["runtime-script"].as_str().expect("a script").to_owned();
    spec["scripts"]["runtime-script"] = json!(format!("env > {}; {runtime}", dump.display()));
    spec["env"] = json!({ "DB_PASSWORD": "hunter2-hunter2" });
    lab.deploy(&spec);
    let secrets = [ADMIN, JOIN];
    let environment = fs::read_to_string(dump).expect("the service's environment");
    let mut places = vec![("the service's environment".to_owned(), environment)];
    let mut lab = lab;
    let pids: Vec<u32> = lab.cluster.daemons().map(|daemon| daemon.pid()).collect();
    for pid in pids {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        places.push(("argv".to_owned(), String::from_utf8_lossy(&arguments).into_owned()));
    }
    for (place, text) in &places {
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "a token is in {place}");
    }
    let logs: Vec<String> = lab.cluster.daemons().map(|daemon| daemon.log()).collect();
    let events = lab.ask(tucano_net::Method::Get, "/v1/events?after=0", None).text().into_owned();
    for text in logs.iter().chain([&events]) {
        for secret in secrets.iter().chain(["hunter2-hunter2"].iter()) {
            assert!(!text.contains(secret), "a secret is in: {text}");
        }
    }
}

#[test]
fn a_page_in_a_browser_can_not_drive_it() {
    let lab = Lab::start(0);
    let api = lab.cluster.layout.api;
    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(ask(api, "GET /v1/services", origin).status, 403);
    assert_eq!(ask(api, "GET /v1/services", "Origin: null\r\n").status, 403);
    // DNS rebinding: a name that leads here, but is not one of ours.
    assert_eq!(ask(api, "GET /v1/services", "Host: evil.example:7070\r\n").status, 403);
    for host in ["localhost:7070", "127.0.0.1:7070", "[::1]:7070"] {
        let answer = ask(api, "GET /v1/services", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 200, "{host}: {}", answer.text);
    }
    let answer = ask(api, "GET /v1/services", "");
    assert!(!answer.text.to_lowercase().contains("access-control"), "{}", answer.text);
    let plain = "Content-Type: text/plain\r\nContent-Length: 2\r\n";
    assert_eq!(ask(api, "POST /v1/services", plain).status, 415);
}

#[test]
fn the_balancers_port_never_reaches_the_api() {
    let lab = Lab::start(0);
    let api = lab.cluster.layout.api;
    let hosts =
        [api.to_string(), api.ip().to_string(), "localhost".to_owned(), "tucano".to_owned()];
    for host in hosts {
        let answer = ask(lab.balancer(), "GET /v1/services", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 404, "{host}: {}", answer.text);
        assert!(answer.text.contains("X-Tucano-Error:"), "{}", answer.text);
    }
}

#[test]
fn external_addresses_may_not_be_the_controllers_own_or_link_local() {
    let lab = Lab::start(0);
    let api = lab.cluster.layout.api.to_string();
    for address in [api.as_str(), "169.254.169.254:80", "[fe80::1]:80"] {
        let spec = json!({
            "name": "outside",
            "network": { "expose_port": 80 },
            "external": { "addresses": [address] },
        });
        let answer = lab.ask(tucano_net::Method::Post, "/v1/services", Some(&spec));
        assert!(matches!(answer.status, 409 | 422), "{address}: {}", answer.text());
    }
}

#[test]
fn beyond_loopback_there_is_no_listening_without_a_token() {
    let folder = Folder::new("test").expect("a folder");
    let layout = Layout::private(0).expect("addresses");
    let cluster = Cluster::new(folder, layout, Options::default()).expect("a cluster");
    let data = cluster.folder.path().join("data").display().to_string();
    for (program, flag) in [("tucano-controller", "--api-listen"), ("tucano-worker", "--listen")] {
        let binary: PathBuf = cluster.binary(program).expect("it is built");
        let mut command = Command::new(binary);
        command.args(["--data-dir", &data, flag, "0.0.0.0:7979"]);
        let output = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{program}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(text.contains("token"), "{text}");
    }
}

#[test]
fn state_is_closed_to_others() {
    let lab = guarded();
    lab.deploy(&specs::shell("ticker", 1));
    let controller = lab.folder().join("controller");
    let mode =
        |path: &PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&controller), 0o700);
    for entry in fs::read_dir(&controller).expect("a folder").flatten() {
        let path = entry.path();
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{}", path.display());
    }
    let workers: Vec<WorkerView> = lab.get("/v1/workers");
    assert!(workers.iter().all(|worker| worker.state == WorkerState::Ready));
}
