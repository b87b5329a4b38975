//! Control groups that are there and do not work: what was promised is kept, or told, or not begun.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use serde_json::{Value, json};

use crate::bench::Worker;
use crate::processes::eventually;

/// Where workers' groups of version 2 stand on this machine; none: there are none.
fn base(scripts: &Value) -> Option<PathBuf> {
    let mut worker = Worker::new();
    worker.push_limited(&json!({}), scripts);
    worker.wait_for("running", |report| report["state"] == "running");
    let groups = worker.groups();
    let of_v2 = groups.iter().find(|group| group.join("cgroup.kill").exists());
    of_v2.and_then(|group| Some(group.parent()?.parent()?.to_owned()))
}

/// A worker whose own group was made before its first job by somebody else. Both go with the test,
/// in this order.
struct Damaged {
    worker: Worker,
    _top: Top,
}

struct Top(PathBuf);

const KEPT: &str = "kept";

impl Damaged {
    /// None where the kernel does not let a group be that.
    fn new(base: &Path, file: &str, content: &str) -> Option<Damaged> {
        let worker = Worker::new();
        // As the agent names it: FNV-1a of its data folder.
        let data = worker.data();
        let bytes = data.as_os_str().as_encoded_bytes();
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        let top = Top(base.join(format!("tucano-{hash:016x}")));
        fs::create_dir(&top.0).unwrap();
        match fs::write(top.0.join(file), content) {
            Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => return None,
            written => written.unwrap(),
        }
        // With something in it the group does not go with the worker's last script.
        fs::create_dir(top.0.join(KEPT)).unwrap();
        Some(Damaged { worker, _top: top })
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        for path in [self.0.join(KEPT), self.0.clone()] {
            let _gone_already = fs::remove_dir(path);
        }
    }
}

#[test]
fn a_group_that_can_not_be_entered_fails_the_start_and_the_next_agent_does_without() {
    let scripts = json!({"runtime-script": "echo it runs; sleep 1000"});
    let Some(base) = base(&scripts) else { return };
    // Groups in a threaded one can be made and not be entered. Where the groups above share out
    // memory, none is threaded, and nothing else makes such a group.
    let Some(mut damaged) = Damaged::new(&base, "cgroup.type", "threaded") else {
        assert!(fs::read_to_string(base.join("cgroup.subtree_control")).unwrap() != "");
        return;
    };
    let worker = &mut damaged.worker;
    worker.push_limited(&json!({}), &scripts);
    let report = worker.wait_for("a failure", |report| report["failure"].is_object());
    let message = report["failure"]["message"].as_str().unwrap();
    assert!(message.contains("could not enter the control group"), "{message}");
    assert!(message.contains("start the worker's agent again"), "{message}");
    assert!(worker.processes().is_empty(), "nothing runs outside of its group");
    worker.kill_agent();
    worker.start();
    worker.wait_for("running", |report| report["state"] == "running");
    assert_eq!(worker.count_said("kill v2"), 1, "it was tried out, and is not used any more");
    worker.push("stop", &scripts);
    worker.wait_for("stopped", |report| report["state"] == "stopped");
}

#[test]
fn what_can_not_be_limited_runs_and_is_told_once() {
    let scripts = json!({"runtime-script": "echo it runs; sleep 0.1; exit 1"});
    let Some(base) = base(&json!({"runtime-script": "sleep 1000"})) else { return };
    let mut damaged = Damaged::new(&base, "cgroup.max.descendants", "1").unwrap();
    let worker = &mut damaged.worker;
    worker.push_limited(&json!({"memory": "32MiB"}), &scripts);
    worker.wait_for_line("it runs");
    worker.wait_for("another run", |report| report["restarts"].as_u64() >= Some(2));
    let told = "runs without some of its limits, which could not be set";
    assert_eq!(worker.count_said(told), 1);
    worker.push("stop", &scripts);
    worker.wait_for("stopped", |report| report["state"] == "stopped");
}

#[test]
fn the_trial_of_an_agent_that_was_killed_goes_at_the_next_start_of_any() {
    let mut worker = Worker::new();
    let scripts = json!({"runtime-script": "sleep 1000"});
    worker.push("run", &scripts);
    worker.wait_for("a process", |report| report["pid"].is_number());
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    // As an agent leaves them that is killed in its first milliseconds, of a folder that is gone.
    let base = |group: PathBuf| group.parent().unwrap().parent().unwrap().to_owned();
    let name = format!("tucano-left-{}", std::process::id());
    let left: Vec<PathBuf> =
        worker.groups().into_iter().map(|group| base(group).join(&name)).collect();
    for top in &left {
        fs::create_dir_all(top.join(format!("probe.{}", ended.id()))).unwrap();
    }
    worker.kill_agent();
    worker.start();
    for top in &left {
        eventually("their end", || !top.exists());
    }
    worker.push("stop", &scripts);
    worker.wait_for("stopped", |report| report["state"] == "stopped");
}
