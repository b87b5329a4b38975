//! The command-line client against a real cluster: its output and its exit codes.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tucano_tests::{Lab, specs};

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Runs it; it has to succeed.
fn done(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.tucano(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn write(lab: &Lab, spec: &Value) -> String {
    let path = lab.folder().join(format!("{}.json", spec["name"].as_str().unwrap_or("spec")));
    std::fs::write(&path, spec.to_string()).expect("a file");
    path.display().to_string()
}

#[test]
fn from_a_deploy_to_its_end() {
    let lab = Lab::start(2);
    let file = write(&lab, &lab.demo("web", 2));
    let shown = done(&lab, &["deploy", &file, "--wait"]);
    assert!(shown.contains("web revision 1 is up: 2 of 2 healthy"), "{shown}");
    assert!(shown.lines().count() > 4, "the deployment's events are shown: {shown}");
    assert!(done(&lab, &["deploy", &file, "--wait"]).contains("nothing changed"));

    assert!(done(&lab, &["status"]).contains("1 running"));
    let services = done(&lab, &["services"]);
    assert!(services.contains("web") && services.contains("2/2"), "{services}");
    let workers = done(&lab, &["workers"]);
    assert!(workers.contains("w1") && workers.contains("w2") && workers.contains("ready"));
    assert!(done(&lab, &["worker", "w1"]).contains("cpus"));
    let id = lab.service("web").instances[0].id.to_string();
    for arguments in [["service", "web"], ["instance", &id], ["revisions", "web"]] {
        assert!(!done(&lab, &arguments).is_empty());
    }
    assert!(done(&lab, &["instances"]).contains(&id));
    assert!(done(&lab, &["instance", &id]).contains("VERDICT"));
    assert!(done(&lab, &["deployments"]).contains("succeeded"));
    assert!(done(&lab, &["logs", "web"]).contains("listening on"));
    assert!(done(&lab, &["logs", &id, "--tail", "5"]).contains("listening on"));
    assert!(done(&lab, &["events", "--after", "0", "--service", "web"]).contains("web"));

    let scaled = done(&lab, &["scale", "web", "3", "--wait"]);
    assert!(scaled.contains("3 of 3 healthy"), "{scaled}");
    assert!(done(&lab, &["rm", "web", "--wait"]).contains("web is gone"));
    assert!(done(&lab, &["services"]).contains("no services"));
    lab.assert_no_process();
}

#[test]
fn json_is_the_apis_own() {
    let lab = Lab::start(1);
    let file = write(&lab, &specs::shell("ticker", 1));
    let deployed: Value =
        serde_json::from_str(&done(&lab, &["deploy", &file, "--wait", "--json"])).expect("JSON");
    assert_eq!(deployed["state"], json!("succeeded"));
    for arguments in [["status", "--json"], ["services", "--json"], ["workers", "--json"]] {
        serde_json::from_str::<Value>(&done(&lab, &arguments)).expect("JSON");
    }
    let events = done(&lab, &["events", "--json", "--after", "0"]);
    assert!(events.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{events}");
}

#[test]
fn a_failed_deployment_is_exit_code_1_with_its_reason() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("unbuilt", 1);
    spec["scripts"]["build-script"] = json!("echo no such module; exit 7");
    let output = lab.tucano(&["deploy", &write(&lab, &spec), "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("| no such module"), "{}", text(&output));

    let output = lab.tucano(&["service", "nothing"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let bad = write(&lab, &json!({ "name": "bad", "concurency": 3 }));
    let output = lab.tucano(&["deploy", &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("/concurency"), "{}", text(&output));
}

#[test]
fn a_spec_from_standard_input_and_an_artifact_by_its_file() {
    use std::io::Write;
    let lab = Lab::start(1);
    let site = lab.scratch("site");
    std::fs::write(site.join("index.html"), "from the archive\n").expect("a file");
    let archive = lab.folder().join("site.tar.gz").display().to_string();
    let tar = Command::new("tar")
        .args(["-C", &site.display().to_string(), "-czf", &archive, "."])
        .status();
    assert!(tar.expect("tar runs").success());
    let mut spec = specs::python("site", 1);
    spec["scripts"]["build-script"] = json!("test -s index.html");
    let mut child = Command::new(lab.cluster.binary("tucano").expect("it is built"))
        .args(["deploy", "-", "--artifact", &archive, "--wait", "--controller", &lab.url()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(spec.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(lab.fetch("site", "/").text(), "from the archive\n");
}
