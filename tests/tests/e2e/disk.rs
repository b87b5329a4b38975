//! What a worker holds of its disk is bounded: a disk that is really small, real builds, real
//! artifacts.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tucano_common::wire::views::{ArtifactView, WorkerView};
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, SmallDisk, specs};
use tucano_tools::cluster::{Folder, Options};

const MIB: u64 = 1024 * 1024;

/// A service whose build takes so much of the disk, slowly enough to be seen.
fn hungry(name: &str, mib: u32) -> Value {
    let mut spec = specs::shell(name, 1);
    spec["scripts"]["build-script"] = json!(format!(
        "for i in $(seq {mib}); do head -c 1048576 /dev/zero > part-$i; sleep 0.05; done"
    ));
    spec
}

/// A service from an artifact of its own that does not pack.
fn packed(lab: &Lab, name: &str, mib: u32) -> Value {
    let site = lab.scratch(name);
    let random = format!("head -c {} /dev/urandom > {}/data", u64::from(mib) * MIB, site.display());
    assert!(Command::new("sh").args(["-c", &random]).status().expect("sh runs").success());
    let archive = lab.folder().join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&site).arg("-czf").arg(&archive).arg(".");
    assert!(tar.status().expect("tar runs").success());
    let output = Command::new("curl")
        .args(["-s", "-T", &archive.display().to_string()])
        .arg(format!("{}/v1/artifacts", lab.url()))
        .output()
        .expect("curl runs");
    let artifact: ArtifactView = serde_json::from_slice(&output.stdout).expect("an artifact");
    let mut spec = specs::shell(name, 1);
    spec["source"] = json!({ "artifact": artifact.artifact });
    spec
}

fn artifacts(lab: &Lab) -> usize {
    fs::read_dir(lab.folder().join("w1/artifacts")).expect("a folder").count()
}

/// What the worker says it holds of its disk, and may hold.
fn held(lab: &Lab) -> (u64, u64) {
    lab.until("what is held", MINUTE, || {
        let worker: WorkerView = lab.get("/v1/workers/w1");
        let metrics = worker.metrics?;
        Some((metrics.disk_held_bytes?, metrics.disk_held_bytes_max?))
    })
}

#[test]
fn what_nobody_needs_makes_room_and_a_build_that_takes_too_much_is_ended() {
    let folder = Folder::new("test").expect("a folder");
    let disk = SmallDisk::mount(&folder, "w1", 80 * MIB);
    let lab = Lab::assemble(folder, 1, Options::default(), None);
    if disk.is_none() {
        // This user mounts nothing: a large disk holds what there is, and says so.
        lab.deploy(&hungry("fits", 28));
        let (held, held_max) = held(&lab);
        assert!((28 * MIB..held_max).contains(&held), "{held} of {held_max}");
        return;
    }
    // 40 MiB may be held. Three artifacts are kept though nothing of them runs any more.
    for name in ["one", "two", "three"] {
        lab.deploy(&packed(&lab, name, 5));
        lab.remove(name);
    }
    assert_eq!(artifacts(&lab), 3);
    // 28 MiB and 15 are too much: the oldest go, no more than is needed.
    lab.deploy(&hungry("fits", 28));
    lab.until("room", MINUTE, || (artifacts(&lab) == 2).then_some(()));
    let (held, held_max) = held(&lab);
    assert!(held <= held_max && held_max == 40 * MIB, "{held} of {held_max}");
    // Now there is nothing left that would make room.
    let spec = hungry("too-much", 200);
    let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let text = lab.until("the build's failure", MINUTE, || {
        let mut failed = lab.events().into_iter().filter(|event| event.kind == "instance_failed");
        failed.next().map(|event| event.message)
    });
    assert!(text.starts_with("the build script was ended: builds, artifacts and logs"), "{text}");
    assert!(text.contains("of 40MiB at most") && text.contains("larger disk"), "{text}");
    assert_eq!(artifacts(&lab), 0, "all of them went before");
    // What runs was left alone.
    assert_eq!(lab.wait_healthy("fits", 1).len(), 1);
    drop(lab);
    drop(disk);
}
