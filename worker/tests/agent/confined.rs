//! What a service may take, and that an end takes all of it; the same tests on a machine that can't
//! enforce it, with what is promised there.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{ID, Worker};
use crate::processes::{eventually, is_alive, signal};

/// Whether an agent said that it can do something with control groups.
fn can(worker: &Worker, what: &str) -> bool {
    eventually("what it can do", || worker.said("control groups: "));
    !worker.said(&format!("{what} none"))
}

/// Stops it: nothing may be left, of processes and of groups.
fn stop_and_look(worker: &mut Worker, scripts: &Value) {
    let groups = worker.groups();
    worker.push("stop", scripts);
    worker.wait_for("stopped", |report| report["state"] == "stopped");
    assert!(worker.processes().is_empty());
    for group in groups {
        assert!(!group.exists(), "{group:?}");
        let all = group.parent().unwrap();
        assert!(!all.exists(), "the worker's own goes with the last: {all:?}");
    }
}

/// Both kinds of agents: as privileged as the tests, and one that may nothing.
fn each(test: impl Fn(Worker)) {
    test(Worker::new());
    test(Worker::unprivileged());
}

#[test]
fn an_agent_that_may_nothing_says_so_and_starts_services_all_the_same() {
    let mut worker = Worker::unprivileged();
    worker.push_limited(&json!({"memory": "32MiB"}), &json!({"runtime-script": "sleep 1000"}));
    worker.wait_for("running", |report| report["state"] == "running");
    if !can(&worker, "memory") {
        let told = worker.said("resources are not enforced here for: memory");
        assert!(told && worker.said("Delegate=yes"));
    }
}

#[test]
fn one_that_eats_memory_is_ended_for_it_and_told_with_limit_and_peak() {
    each(|mut worker| {
        let script = "python3 -c 'x = bytearray(150 << 20); x[::4096] = x[1::4096]
print(\"ate it\", flush=True)
import sys; sys.exit(7)'; exit $?";
        let scripts = json!({"runtime-script": script});
        worker.push_limited(&json!({"memory": "48MiB"}), &scripts);
        let report = worker.wait_for("an end", |report| report["failure"].is_object());
        let failure = &report["failure"];
        if can(&worker, "memory") {
            assert_eq!(failure["cause"], "oom", "{failure}");
            assert_eq!(failure["memory_limit_bytes"], 48 << 20, "{failure}");
            let peak = failure["memory_peak_bytes"].as_u64().unwrap();
            assert!(((40 << 20)..=(48 << 20)).contains(&peak), "{failure}");
            let message = failure["message"].as_str().unwrap();
            assert!(message.contains("limit 48MiB, peak 4"), "{message}");
            assert!(message.contains("raise resources.memory"), "{message}");
        } else {
            worker.wait_for_line("ate it");
            assert_eq!((&failure["cause"], &failure["exit_code"]), (&json!("exit"), &json!(7)));
        }
        stop_and_look(&mut worker, &scripts);
    });
}

#[test]
fn processes_are_counted_and_no_more_are_had_than_allowed() {
    each(|mut worker| {
        let script = "exec python3 -c '
import os, time
for n in range(200):
    try:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
    except OSError:
        print(\"refused\", flush=True)
        break
else:
    print(\"all of them\", flush=True)
time.sleep(1000)'";
        let scripts = json!({"runtime-script": script});
        worker.push_limited(&json!({"pids": 40}), &scripts);
        if can(&worker, "processes") {
            worker.wait_for_line("refused");
            assert!(worker.processes().len() <= 40);
        } else {
            worker.wait_for_line("all of them");
        }
        stop_and_look(&mut worker, &scripts);
    });
}

#[test]
fn nothing_escapes_an_end_whatever_it_does_to_be_forgotten() {
    each(|mut worker| {
        // No mark, no session, no parent of ours: only its group knows it.
        let forget = if can(&worker, "kill") { "env -i" } else { "" };
        let root = worker.data();
        let script = format!(
            "({forget} setsid sh -c 'setsid sleep 1000 & echo $! > {0}/escaped.part
              mv {0}/escaped.part {0}/escaped' &) ; while :; do sleep 0.1; done",
            "$TUCANO_DATA_DIR"
        );
        let script = script.replace("$TUCANO_DATA_DIR", &root.join("data/web").to_string_lossy());
        let scripts = json!({"runtime-script": script});
        worker.push_limited(&json!({}), &scripts);
        let file = root.join("data/web/escaped");
        eventually("it escaped", || file.exists());
        let escaped: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(is_alive(escaped));
        // Its holder, which would have kept it, is killed.
        signal(worker.holder(), Signal::SIGKILL);
        worker.wait_for("started again", |report| report["restarts"] == 1);
        eventually("the escaped one is gone", || !is_alive(escaped));
        stop_and_look(&mut worker, &scripts);
    });
}

#[test]
fn groups_that_nobody_knows_are_ended_at_the_start() {
    let mut worker = Worker::new();
    if !can(&worker, "kill") {
        // Without groups the mark is what is looked for: adoption's tests.
        return;
    }
    let scripts = json!({"runtime-script": "sleep 1000"});
    worker.push_limited(&json!({}), &scripts);
    worker.wait_for("running", |report| report["state"] == "running");
    let group = worker.groups().pop().unwrap();
    worker.kill_agent();
    let stray = group.with_file_name("runtime.0000000000009.1");
    fs::create_dir(&stray).unwrap();
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(stray.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    worker.start();
    sleeper.wait().unwrap();
    eventually("the stray group is gone", || !stray.exists());
    let report = worker.wait_for("it is ready again", |report| report["state"] == "running");
    assert_eq!((&report["id"], &report["restarts"]), (&json!(ID), &json!(0)));
    stop_and_look(&mut worker, &scripts);
}

#[test]
fn a_build_weighs_nothing_beside_whatever_else_runs() {
    each(|mut worker| {
        let scripts = json!({
            "build-script": "cat /proc/self/cgroup > groups",
            "runtime-script": "while read line; do echo build $line; done < groups
                while read line; do echo runs $line; done < /proc/self/cgroup
                echo told; sleep 1000",
        });
        worker.push_limited(&json!({}), &scripts);
        worker.wait_for_line("told");
        let name = |group: &str| group.rsplit_once(':').map(|(_, path)| path.to_owned());
        let lines = worker.output();
        let of = |who: &str| -> Vec<String> {
            let lines = lines.iter().filter_map(|line| line.strip_prefix(who));
            lines.filter_map(name).filter(|path| path.contains("/tucano-")).collect()
        };
        let (build, runs) = (of("build "), of("runs "));
        // In a group beside the services' own, which has no weight either.
        assert!(build.iter().all(|path| path.contains("-low/build.")), "{build:?}");
        assert!(runs.iter().all(|path| !path.contains("-low/")), "{runs:?}");
        assert_eq!(build.len(), runs.len());
        assert_eq!(build.is_empty(), worker.groups().is_empty());
        stop_and_look(&mut worker, &scripts);
        for group in build {
            let top = group.rsplit_once('/').map(|(top, _)| top.trim_start_matches('/').to_owned());
            let mounted = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
            let left = mounted.map(|it| it.path().join(top.as_ref().unwrap()));
            assert!(!left.into_iter().any(|path| path.exists()), "{top:?}");
        }
    });
}

/// What a service sees: one word a line, so that it can be looked for.
const LOOK: &str = r#"
    mine=$(cat $TUCANO_DATA_DIR/kept 2>/dev/null; echo kept > $TUCANO_DATA_DIR/kept)
    echo "data $mine"
    echo work > here && echo "work $(cat here)"
    [ -e $OTHER/secret ] && echo "other seen" || echo "other hidden"
    [ -e $ROOT/state ] && echo "state seen" || echo "state hidden"
    [ -e /tmp/$MINE ] && echo "tmp shared" || echo "tmp private"
    echo mine > /tmp/$MINE.service && echo "tmp writable"
    [ -e $HOME/$MINE.service ] && echo "tmp is home"
    (: > /usr/tucano-test-$MINE) 2>/dev/null && echo "usr writable" || echo "usr read-only"
    (: > /etc/tucano-test-$MINE) 2>/dev/null && echo "etc writable" || echo "etc read-only"
    rm -f /usr/tucano-test-$MINE /etc/tucano-test-$MINE
    echo done; exec sleep 1000"#;

#[test]
fn a_service_sees_its_own_folders_and_a_tmp_of_its_own() {
    let mut worker = Worker::outside_tmp();
    let mine = format!("tucano-view-{}", std::process::id());
    let outside = std::env::temp_dir().join(&mine);
    fs::write(&outside, "the machine's").unwrap();
    let other = worker.data().join("data/other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("secret"), "").unwrap();
    let script = LOOK
        .replace("$OTHER", &other.to_string_lossy())
        .replace("$ROOT", &worker.data().to_string_lossy())
        .replace("$MINE", &mine);
    let scripts = json!({"build-script": "echo built > built", "runtime-script": script});
    worker.push_limited(&json!({}), &scripts);
    worker.wait_for_line("done");
    // An agent that can't hide anything says so, and everything else works the same.
    let hides = !worker.said("services share /tmp");
    for line in ["data ", "work work", "tmp writable"] {
        worker.wait_for_line(line);
    }
    let expected = if hides {
        ["other hidden", "state hidden", "tmp private", "tmp is home"].as_slice()
    } else {
        ["other seen", "state seen", "tmp shared"].as_slice()
    };
    let writes = !hides && nix::unistd::Uid::effective().is_root();
    let system =
        if writes { ["usr writable", "etc writable"] } else { ["usr read-only", "etc read-only"] };
    for line in expected.iter().chain(&system) {
        worker.wait_for_line(line);
    }
    // Nothing of it is to be seen outside.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*worker.data().to_string_lossy()), "{mounts}");
    assert_eq!(outside.with_extension("service").exists(), !hides);
    let own = fs::read_to_string(worker.data().join("data/web/kept")).unwrap();
    assert_eq!(own, "kept\n", "what it wrote into its own folder is there");
    stop_and_look(&mut worker, &scripts);
    fs::remove_file(&outside).unwrap();
    let _where_tmp_is_shared = fs::remove_file(outside.with_extension("service"));
}

#[test]
fn how_its_group_is_slowed_and_waits_is_measured_where_the_kernel_tells() {
    each(|mut worker| {
        let scripts = json!({"runtime-script": "while :; do :; done"});
        worker.push("run", &scripts);
        worker.wait_for("a process", |report| report["pid"].is_number());
        let folder = |file: &str| worker.groups().into_iter().find(|it| it.join(file).exists());
        // A tenth of a CPU, as an operator may set it: Tucano itself sets no quota.
        let slowed = [("cpu.max", "10000 100000"), ("cpu.cfs_quota_us", "10000")];
        let slowed = slowed.iter().any(|(file, quota)| {
            folder(file).is_some_and(|folder| fs::write(folder.join(file), quota).is_ok())
        });
        let told = |report: &Value| report["usage"]["throttled_ms"].as_u64();
        if slowed {
            worker.wait_for("throttling", |report| told(report) > Some(0));
        }
        if let Some(group) = folder("cpu.pressure") {
            worker.wait_for("pressure", |report| {
                let cpu = report["usage"]["pressure"]["cpu"].as_f64();
                cpu.is_some_and(|share| if slowed { share > 0.0 } else { share >= 0.0 })
            });
            assert!(fs::read_to_string(group.join("cpu.pressure")).is_ok());
        }
        if worker.groups().is_empty() {
            worker.wait_for("a measurement", |report| report["usage"]["processes"] != 0);
            let report = worker.report();
            assert_eq!(told(&report), None, "{report}");
            assert_eq!(report["usage"]["pressure"], Value::Null, "{report}");
        }
        stop_and_look(&mut worker, &scripts);
    });
}
