//! A machine whose /proc tells less than an agent wants: what is not told is missing, and never 0;
//! everything else works.

use std::fs;

use serde_json::{Value, json};
use tucano_common::wire::views::WorkerView;
use tucano_tests::{Lab, MINUTE, arranged, specs};
use tucano_tools::cluster::{Folder, Layout, Options, has_nobody};

/// A service with limits is placed, started again and ended.
fn works(lab: &Lab) {
    let mut spec = specs::shell("ticker", 1);
    spec["resources"] = json!({ "memory": "64MiB", "cpu": 0.1 });
    lab.deploy(&spec);
    let before = lab.wait_healthy("ticker", 1).remove(0);
    lab.kill_instance(&before);
    lab.until("another process", MINUTE, || {
        let now = lab.wait_healthy("ticker", 1).remove(0);
        (now.restarts == 1 && now.memory_bytes > 0).then_some(())
    });
    lab.remove("ticker");
    lab.assert_no_process();
}

/// What the API says of the worker, once it was measured twice.
fn measured(lab: &Lab) -> Value {
    lab.until("a measured worker", MINUTE, || {
        let worker: Value = lab.get("/v1/workers/w1");
        let is_rated = worker["metrics"]["network_in_bytes_per_s"].is_number();
        is_rated.then_some(worker)
    })
}

#[test]
fn what_the_kernel_does_not_tell_is_missing_and_everything_else_is_there() {
    let folder = Folder::new("test").expect("a folder");
    let empty = folder.path().join("empty");
    fs::write(&empty, "").expect("a file");
    // Files that are there and say nothing, one that says nonsense.
    let odd = folder.path().join("odd");
    fs::write(&odd, "MemTotal: lots\n").expect("a file");
    let script = format!(
        "mount --bind {0} /proc/stat; mount --bind {0} /proc/uptime; mount --bind {1} /proc/meminfo
        exec \"$@\"",
        empty.display(),
        odd.display()
    );
    let Some(options) = arranged(&script) else { return };
    let lab = Lab::assemble(folder, 1, options, None);
    let worker = measured(&lab);
    let metrics = &worker["metrics"];
    for figure in ["cpu_ratio", "steal_ratio", "memory_total_bytes", "swap_free_bytes", "uptime_s"]
    {
        assert_eq!(metrics[figure], Value::Null, "{figure} in {metrics}");
    }
    for figure in ["disk_free_bytes", "inodes_total", "network_in_bytes_per_s"] {
        assert!(metrics[figure].is_number(), "{figure} in {metrics}");
    }
    assert!(metrics["load"].is_array(), "{metrics}");
    // Placement goes by these: they are known without /proc.
    let view: WorkerView = lab.get("/v1/workers/w1");
    assert!(view.capacity.memory_bytes > 0 && view.capacity.cpus > 0, "{:?}", view.capacity);
    let text = lab.ask(tucano_net::Method::Get, "/metrics", None).text().into_owned();
    assert!(text.contains("tucano_worker_load1{worker=\"w1\"}"), "{text}");
    assert!(!text.contains("tucano_worker_memory_used_bytes{"), "no 0 in its place");
    let shown = lab.tucano(&["workers"]);
    assert!(shown.status.success(), "{shown:?}");
    works(&lab);
}

#[test]
fn an_agent_that_sees_its_own_processes_alone_keeps_them() {
    let folder = Folder::new("test").expect("a folder");
    let data = folder.path().join("w1");
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody");
    let script = "mount -t proc -o hidepid=2 proc /proc
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups \"$@\"";
    // Nobody but root may mount a /proc of all processes: then it is the machine's own.
    let options = match nix::unistd::geteuid().is_root() && has_nobody() {
        true => arranged(script).unwrap_or_default(),
        false => Options::default(),
    };
    if !options.worker_before.is_empty() {
        fs::create_dir(&data).expect("its data folder");
        nix::unistd::chown(&data, Some(nobody.uid), Some(nobody.gid)).expect("its own");
    }
    let layout = Layout::private(1).expect("addresses");
    let mut lab = Lab::laid_out(folder, layout, options, None);
    let metrics = &measured(&lab)["metrics"];
    for figure in ["cpu_ratio", "memory_total_bytes", "uptime_s"] {
        assert!(metrics[figure].is_number(), "{figure} in {metrics}");
    }
    works(&lab);
    // The next agent knows them again.
    lab.deploy(&specs::shell("stays", 1));
    let before = lab.wait_healthy("stays", 1).remove(0);
    lab.cluster.worker(0).expect("w1").kill();
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(1);
    let after = lab.wait_healthy("stays", 1).remove(0);
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
}
