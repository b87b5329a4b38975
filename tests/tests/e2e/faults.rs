//! Disks that are full, read-only or broken under the controller's database: requests are routed,
//! writes say why not, and it goes on by itself.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use tucano_common::wire::views::StatusView;
use tucano_net::Method;
use tucano_tests::{Fault, Faults, Lab, MINUTE, SmallDisk, specs};
use tucano_tools::cluster::{Folder, Options};

/// A service without instances whose spec needs new pages.
fn large(name: &str) -> Value {
    let mut spec = specs::shell(name, 0);
    spec["env"] = json!({ "LARGE": "x".repeat(60_000) });
    spec
}

fn post(lab: &Lab, spec: &Value) -> (u16, String) {
    let answer = lab.ask(Method::Post, "/v1/services", Some(spec));
    (answer.status, answer.text().into_owned())
}

fn storage(lab: &Lab) -> String {
    lab.get::<StatusView>("/v1/status").storage
}

/// Deploys until the database refuses; which were taken, and the refusal.
fn deploy_until_refused(lab: &Lab, prefix: &str) -> (Vec<String>, u16, String) {
    let mut taken = Vec::new();
    for number in 0..100 {
        let name = format!("{prefix}-{number}");
        match post(lab, &large(&name)) {
            (202, _) => taken.push(name),
            (status, body) => return (taken, status, body),
        }
    }
    panic!("a hundred deploys fit a disk that is full");
}

/// What holds in all of these states.
fn goes_on_without_the_disk(lab: &Lab, cause: &str) {
    let state = storage(lab);
    assert!(state.starts_with("read-only: ") && state.contains(cause), "{state}");
    lab.answering("web", 2);
    let (status, body) = post(lab, &large("refused"));
    assert!(matches!(status, 503 | 507), "{body}");
    assert!(body.contains("Nothing was changed; services and their routes go on"), "{body}");
    let delete = lab.ask(Method::Delete, "/v1/services/web", None);
    assert_eq!(delete.status, status, "{}", delete.text());
    let asked = lab.ask(Method::Post, "/v1/services?dry_run=true", Some(&large("asked")));
    assert_eq!(asked.status, 200, "{}", asked.text());
    // A process that dies is started again, reported, and routed to.
    let victim = lab.healthy("web").remove(0);
    lab.kill_instance(&victim);
    lab.until("the instance's return to the rotation", MINUTE, || {
        let instances = lab.healthy("web");
        let again = instances.iter().find(|each| each.id == victim.id)?;
        (again.restarts > victim.restarts && again.pid != victim.pid).then_some(())
    });
    lab.answering("web", 2);
}

/// It takes writes again without being asked to; what was answered is there after a crash too.
fn recovers(lab: &mut Lab, taken: &[String]) {
    lab.until("a storage that takes writes", MINUTE, || {
        let (status, _) = post(lab, &large("after"));
        matches!(status, 200 | 202).then_some(())
    });
    assert_eq!(storage(lab), "ok");
    lab.cluster.controller().expect("a controller").kill();
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    for name in taken.iter().map(String::as_str).chain(["after", "web"]) {
        let answer = lab.ask(Method::Get, &format!("/v1/services/{name}"), None);
        assert_eq!(answer.status, 200, "{name} was answered with 2xx");
    }
    let refused = lab.ask(Method::Get, "/v1/services/refused", None);
    assert_eq!(refused.status, 404, "it was refused");
    lab.wait_ready(lab.cluster.layout.workers.len());
    lab.wait_healthy("web", 2);
    lab.answering("web", 2);
}

/// Takes every byte that is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    for piece in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
}

#[test]
fn a_full_disk_refuses_writes_with_507_and_goes_on_once_there_is_room() {
    let folder = Folder::new("test").expect("a folder");
    let Some(disk) = SmallDisk::mount(&folder, "controller", 8 * 1024 * 1024) else {
        return on_a_full_disk_of_the_library(); // this user mounts nothing
    };
    let mut lab = Lab::assemble(folder, 1, Options::default(), None);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    lab.wait_healthy("web", 2);
    let filler = lab.folder().join("controller/filler");
    fill(&filler);
    let (taken, status, body) = deploy_until_refused(&lab, "s");
    assert_eq!(status, 507, "{body}");
    assert!(body.contains("full disk: free some space"), "{body}");
    let copy = lab.ask(Method::Get, "/v1/snapshot", None);
    assert_eq!(copy.status, 507, "{}", copy.text());
    goes_on_without_the_disk(&lab, "full disk");
    // It starts on a full disk too, routes, and says the same.
    lab.cluster.controller().expect("a controller").kill();
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    lab.answering("web", 2);
    let (_, status, body) = deploy_until_refused(&lab, "t");
    assert_eq!(status, 507, "{body}");
    fs::remove_file(&filler).expect("room");
    recovers(&mut lab, &taken);
    drop(lab);
    drop(disk);
}

fn on_a_full_disk_of_the_library() {
    let (mut lab, faults) = Faults::lab(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    lab.wait_healthy("web", 2);
    faults.set(Fault::Full);
    let (taken, status, body) = deploy_until_refused(&lab, "s");
    assert_eq!(status, 507, "{body}");
    goes_on_without_the_disk(&lab, "full disk");
    faults.clear(Fault::Full);
    recovers(&mut lab, &taken);
}

#[test]
fn a_full_disk_as_the_library_plays_it() {
    on_a_full_disk_of_the_library();
}

#[test]
fn a_file_system_that_turns_read_only_refuses_writes_and_goes_on_when_it_is_writable() {
    let (mut lab, faults) = Faults::lab(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    lab.wait_healthy("web", 2);
    faults.set(Fault::ReadOnly);
    let (taken, status, body) = deploy_until_refused(&lab, "s");
    assert_eq!(status, 503, "{body}");
    goes_on_without_the_disk(&lab, "");
    faults.clear(Fault::ReadOnly);
    recovers(&mut lab, &taken);
}

#[test]
fn after_a_failed_fsync_all_is_written_and_read_anew_before_anything_is_built_on_it() {
    let (mut lab, faults) = Faults::lab(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    lab.wait_healthy("web", 2);
    faults.set(Fault::Fsync);
    let (taken, status, body) = deploy_until_refused(&lab, "s");
    assert_eq!((status, taken.len()), (503, 0), "{body}");
    assert!(body.contains("disk of the controller's data folder fails"), "{body}");
    goes_on_without_the_disk(&lab, "fails: check it");
    faults.clear(Fault::Fsync);
    recovers(&mut lab, &taken);
    let log = lab.cluster.controller().expect("a controller").log();
    assert!(log.contains("the database was written and read anew"), "{log}");
}

#[test]
fn a_start_on_a_disk_that_fails_says_so_and_a_later_one_has_everything() {
    let (mut lab, faults) = Faults::lab(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    lab.wait_healthy("web", 2);
    assert_eq!(post(&lab, &large("kept")).0, 202);
    lab.cluster.controller().expect("a controller").kill();
    faults.set(Fault::Fsync);
    let refused = lab.cluster.start_controller().expect_err("it trusts no such disk").to_string();
    assert!(
        refused.contains("tucano.db can't be opened: ") && refused.contains("disk fails"),
        "{refused}"
    );
    faults.clear(Fault::Fsync);
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lab.ask(Method::Get, "/v1/services/kept", None).status, 200);
    lab.wait_healthy("web", 2);
}
