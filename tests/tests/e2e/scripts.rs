//! What scripts see and leave: the folder, the environment, the source, build once, teardown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tucano_common::wire::views::ArtifactView;
use tucano_tests::{Lab, SOON, specs};
use tucano_tools::cluster::has_nobody;

/// The lines of a file that scripts append to.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_build_runs_once_a_worker_and_the_teardown_once_an_instance() {
    let lab = Lab::start(2);
    let notes = lab.scratch("notes");
    let note = |what: &str| format!("echo $TUCANO_WORKER >> {}/{what}", notes.display());
    let mut spec = specs::shell("counted", 4);
    spec["scripts"]["build-script"] = json!(note("builds"));
    spec["scripts"]["teardown_script"] = json!(note("teardowns"));
    lab.deploy(&spec);
    let mut builds = lines(&notes.join("builds"));
    builds.sort();
    assert_eq!(builds, ["w1", "w2"]);
    assert!(lines(&notes.join("teardowns")).is_empty());
    lab.remove("counted");
    let teardowns = lab.until("four teardowns", SOON, || {
        let seen = lines(&notes.join("teardowns"));
        (seen.len() >= 4).then_some(seen)
    });
    let on = |worker: &str| teardowns.iter().filter(|line| *line == worker).count();
    assert_eq!((teardowns.len(), on("w1"), on("w2")), (4, 2, 2));
}

#[test]
fn the_environment_is_clean_and_complete() {
    let lab = Lab::start(1);
    let notes = lab.scratch("notes");
    let mut spec = specs::python("env-check", 1);
    let runtime = spec["scripts"]["runtime-script"].as_str().expect("a script").to_owned();
    let dump = notes.join("environment");
    spec["scripts"]["runtime-script"] =
        json!(format!("env -0 > {}; pwd > {}/pwd; {runtime}", dump.display(), notes.display()));
    spec["env"] = json!({ "GREETING": "good day", "PATH_INFO": "x" });
    lab.deploy(&spec);
    let bytes = std::fs::read(&dump).expect("the environment");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    let environment: BTreeMap<&str, &str> = pairs.collect();
    let names: BTreeSet<&str> = environment.keys().copied().collect();
    // What the contract promises, what the spec adds, and what a shell adds by itself.
    let promised = [
        "PATH",
        "LANG",
        "TZ",
        "HOME",
        "TMPDIR",
        "TUCANO_INSTANCE_DIR",
        "PORT",
        "HOST",
        "TUCANO_SERVICE",
        "TUCANO_INSTANCE",
        "TUCANO_REVISION",
        "TUCANO_WORKER",
        "TUCANO_BALANCER",
        "TUCANO_DATA_DIR",
        "GREETING",
        "PATH_INFO",
    ];
    let of_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    for name in promised {
        assert!(names.contains(name) || name == "TZ", "{name} is missing: {names:?}");
    }
    for name in &names {
        assert!(promised.contains(name) || of_shell.contains(name), "{name} leaked: {names:?}");
    }
    let instance = &lab.service("env-check").instances[0];
    let address = instance.address.expect("an address");
    assert_eq!(environment["TUCANO_SERVICE"], "env-check");
    assert_eq!(environment["TUCANO_INSTANCE"], instance.id.to_string());
    assert_eq!(environment["TUCANO_REVISION"], "1");
    assert_eq!(environment["TUCANO_WORKER"], "w1");
    assert_eq!(environment["GREETING"], "good day");
    assert_eq!(environment["HOST"], address.ip().to_string());
    assert_eq!(environment["PORT"], address.port().to_string());
    assert_eq!(environment["HOME"], environment["TUCANO_INSTANCE_DIR"]);
    assert!(environment["TUCANO_BALANCER"].starts_with("http://"), "{environment:?}");
    assert!((20_000..30_000).contains(&address.port()));
}

#[test]
fn a_data_folder_outlives_revisions() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("keeper", 1);
    let runtime = "echo run >> $TUCANO_DATA_DIR/runs; wc -l < $TUCANO_DATA_DIR/runs; \
                   while true; do sleep 0.2; done";
    spec["scripts"]["runtime-script"] = json!(runtime);
    lab.deploy(&spec);
    spec["env"] = json!({ "A": "1" });
    lab.deploy(&spec);
    let logs = lab.until("the second run's count", SOON, || {
        let answer = lab.ask(tucano_net::Method::Get, "/v1/services/keeper/logs?tail=10", None);
        let text = answer.text().into_owned();
        text.lines().any(|line| line.trim_end().ends_with('2')).then_some(text)
    });
    assert!(!logs.is_empty());
}

#[test]
fn a_source_path_is_what_the_revisions_folder_starts_as() {
    let lab = Lab::start(1);
    let site = lab.scratch("site");
    std::fs::write(site.join("index.html"), "from the path\n").expect("a file");
    let mut spec = specs::python("from-path", 1);
    spec["scripts"]["build-script"] = json!("echo built >> index.html");
    spec["source"] = json!({ "path": site });
    lab.deploy(&spec);
    assert_eq!(lab.fetch("from-path", "/").text(), "from the path\nbuilt\n");
    // The build works on a copy.
    let original = std::fs::read_to_string(site.join("index.html")).expect("a file");
    assert_eq!(original, "from the path\n");
}

#[test]
fn an_artifact_is_uploaded_once_and_unpacked_on_every_worker() {
    let lab = Lab::start(2);
    let site = lab.scratch("site");
    std::fs::write(site.join("index.html"), "from the archive\n").expect("a file");
    let archive = lab.folder().join("site.tar.gz");
    let status = Command::new("tar")
        .args(["-C", &site.display().to_string(), "-czf", &archive.display().to_string(), "."])
        .status();
    assert!(status.expect("tar runs").success());
    let put = |expected: &str| {
        let output = Command::new("curl")
            .args(["-s", "-w", "\n%{http_code}", "-T", &archive.display().to_string()])
            .arg(format!("{}/v1/artifacts", lab.url()))
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a body and a status");
        assert_eq!(status, expected, "{text}");
        serde_json::from_str::<ArtifactView>(body).expect("an artifact")
    };
    let artifact = put("201");
    assert_eq!(put("200"), artifact);
    let mut spec = specs::python("from-artifact", 2);
    spec["scripts"]["build-script"] = json!("test -s index.html");
    spec["source"] = json!({ "artifact": artifact.artifact });
    lab.deploy(&spec);
    for _ in 0..4 {
        assert_eq!(lab.fetch("from-artifact", "/").text(), "from the archive\n");
    }
    lab.answering("from-artifact", 2);
}

#[test]
fn an_artifact_that_is_not_there_is_refused_or_fails_with_its_name() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("missing", 1);
    let digest = format!("sha256:{}", "ab".repeat(32));
    spec["source"] = json!({ "artifact": digest });
    let answer = lab.try_deploy(&spec);
    assert!(matches!(answer.status, 409 | 422 | 424), "{}", answer.text());
    assert!(answer.text().contains(&digest) || answer.text().contains("artifact"));
}

#[test]
fn scripts_run_as_the_configured_user_never_as_root() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("whoami", 1);
    spec["scripts"]["runtime-script"] = json!("id -u; while true; do sleep 0.2; done");
    lab.deploy(&spec);
    let own = nix::unistd::geteuid();
    let uid = lab.until("the printed uid", SOON, || {
        let answer = lab.ask(tucano_net::Method::Get, "/v1/services/whoami/logs?tail=5", None);
        let text = answer.text().into_owned();
        let last = text.lines().next()?.split_whitespace().last()?.to_owned();
        last.parse::<u32>().ok()
    });
    if own.is_root() && !has_nobody() {
        // The lab says `--run-as root` where there is nobody else.
        assert_eq!(uid, 0);
        return;
    }
    assert_ne!(uid, 0, "a service ran as root");
    assert_eq!(uid == own.as_raw(), !own.is_root());
}
