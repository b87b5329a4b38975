//! The access log: every request once, whatever becomes of its file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tucano_net::blocking::{Client, Timeouts};
use tucano_net::{Method, OutRequest};
use tucano_tests::{Lab, MINUTE, SOON, SmallDisk, raw};
use tucano_tools::cluster::{Folder, Options};
use tucano_tools::load::upstream::{Behaviour, Upstream};

/// A lab with an access log there, in its folder.
fn lab(folder: Folder, name: &str, flags: &[&str]) -> (Lab, PathBuf) {
    let path = folder.path().join(name);
    let mut options = Options::default();
    let own = ["--access-log", path.to_str().expect("a name")];
    options.controller_flags = own.iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
    (Lab::assemble(folder, 0, options, None), path)
}

/// A service on an upstream that does what each path says.
fn outside(lab: &Lab, name: &str) {
    let upstream = Upstream { default: Behaviour::Fine, body_bytes: 10 };
    let address = upstream.start("127.0.0.1:0".parse().expect("an address")).expect("it listens");
    lab.deploy(&json!({
        "name": name,
        "network": { "expose_port": 80 },
        "external": { "addresses": [address.to_string()] },
    }));
    lab.until("the first good answer", SOON, || {
        (lab.fetch(name, "/first").status == 200).then_some(())
    });
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
    text.lines().map(parse).collect()
}

/// Waits until a line is there that has this path.
fn wait_for(lab: &Lab, file: &Path, path: &str) -> Value {
    lab.until(&format!("the line of {path}"), SOON, || {
        // The last line may be half written at this moment.
        let text = fs::read_to_string(file).ok()?;
        let mut lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.find(|line: &Value| line["path"] == path)
    })
}

fn stop(lab: &mut Lab) {
    let status = lab.cluster.controller().expect("a controller").stop(MINUTE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

fn signal(lab: &mut Lab, signal: Signal) {
    lab.cluster.controller().expect("a controller").signal(signal).expect("it runs");
}

#[test]
fn every_request_is_written_once_while_its_file_is_renamed_twice() {
    let folder = Folder::new("test").expect("a folder");
    let (mut lab, file) = lab(folder, "access.log", &["--balancer-threads", "2"]);
    outside(&lab, "web");
    let is_over = AtomicBool::new(false);
    let balancer = lab.balancer();
    let told: Vec<u32> = std::thread::scope(|scope| {
        let ask = |thread: u32| {
            let timeouts = Timeouts { connect: SOON, head: MINUTE, idle: SOON };
            let client = Client::new(vec![balancer], "web").timeouts(timeouts);
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let request = OutRequest::new(Method::Get, format!("/{thread}/{count}"));
                assert_eq!(client.send(&request).expect("an answer").status, 200);
                count += 1;
            }
            count
        };
        let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || ask(thread))).collect();
        for old in ["access.log.1", "access.log.2"] {
            lab.until("some lines", SOON, || (lines_so_far(&file) > 50).then_some(()));
            fs::rename(&file, file.with_file_name(old)).expect("renamed");
            signal(&mut lab, Signal::SIGHUP);
            lab.until("a new file", SOON, || file.exists().then_some(()));
        }
        lab.until("some lines", SOON, || (lines_so_far(&file) > 50).then_some(()));
        is_over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
    });
    // What is on its way is written at the end.
    assert_eq!(lab.fetch("web", "/last").status, 200);
    stop(&mut lab);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for name in ["access.log.1", "access.log.2", "access.log"] {
        for line in lines(&file.with_file_name(name)) {
            assert_eq!((&line["service"], &line["host"]), (&json!("web"), &json!("web")), "{line}");
            if line["cause"] == "answered" {
                *seen.entry(line["path"].as_str().expect("a path").to_owned()).or_default() += 1;
            }
        }
    }
    for (thread, count) in told.into_iter().enumerate() {
        for number in 0..count {
            let path = format!("/{thread}/{number}");
            assert_eq!(seen.get(&path), Some(&1), "{path} of {count}");
        }
    }
    assert_eq!(seen.get("/last"), Some(&1));
}

fn lines_so_far(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

#[test]
fn a_sample_of_what_went_well_and_all_that_did_not() {
    let folder = Folder::new("test").expect("a folder");
    let flags = ["--balancer-threads", "1", "--access-log-sample", "10"];
    let (mut lab, file) = lab(folder, "access.log", &flags);
    outside(&lab, "web");
    for number in 0..100 {
        assert_eq!(lab.fetch("web", &format!("/well/{number}")).status, 200);
    }
    for (host, path) in [("web", "/reset"), ("web", "/status=503/?key=secret"), ("other", "/")] {
        assert!(lab.fetch(host, path).status >= 400, "{path}");
    }
    raw(lab.balancer(), b"GET /a b HTTP/1.1\r\nHost: web\r\n\r\n");
    raw(lab.balancer(), b"GET /half HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    stop(&mut lab);
    let lines = lines(&file);
    let well = |line: &&Value| line["path"].as_str().is_some_and(|path| path.starts_with("/well"));
    assert_eq!(lines.iter().filter(well).count(), 10, "{lines:?}");
    let find = |path: Value, cause: &str| {
        let is_it = |line: &&Value| line["path"] == path && line["cause"] == cause;
        let found: Vec<&Value> = lines.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{path} {cause}: {lines:?}");
        found[0]
    };
    assert_eq!(find(json!("/reset"), "upstream_failed")["error"], "upstream_failed");
    assert_eq!(find(json!("/status=503/"), "answered")["status"], 503);
    let nobody = find(json!("/"), "no_service");
    assert_eq!((&nobody["host"], &nobody["status"]), (&json!("other"), &json!(404)));
    assert_eq!(find(Value::Null, "bad_request")["status"], 400);
    // Its head came, its body broke off: the status was told, the cause says what became of it.
    assert_eq!(find(json!("/half"), "upstream_failed")["status"], 200);
    assert!(!fs::read_to_string(&file).expect("the log").contains("secret"));
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let folder = Folder::new("test").expect("a folder");
    let Some(disk) = SmallDisk::mount(&folder, "controller", 8 * 1024 * 1024) else {
        return on_a_device_that_is_always_full(); // this user mounts nothing
    };
    let (mut lab, file) = lab(folder, "controller/access.log", &[]);
    outside(&lab, "web");
    wait_for(&lab, &file, "/first");
    let filler = lab.folder().join("controller/filler");
    let mut all = fs::File::create(&filler).expect("a file");
    for piece in [64 * 1024, 4096, 1] {
        while all.write_all(&vec![1; piece]).is_ok() {}
    }
    // The file's last page takes some more.
    lab.until("lines that are lost", MINUTE, || {
        assert_eq!(lab.fetch("web", "/full").status, 200);
        (lost(&lab) > 0).then_some(())
    });
    drop(all);
    fs::remove_file(&filler).expect("room");
    assert_eq!(lab.fetch("web", "/again").status, 200);
    wait_for(&lab, &file, "/again");
    stop(&mut lab);
    assert!(lines(&file).iter().any(|line| line["path"] == "/again"), "every line is whole");
    let log = lab.cluster.controller().expect("a controller").log();
    assert_eq!(log.matches("the access log loses lines").count(), 1, "{log}");
    drop(lab);
    drop(disk);
}

fn on_a_device_that_is_always_full() {
    let lab = Lab::with(0, &["--access-log", "/dev/full"], &[]);
    outside(&lab, "web");
    assert_eq!(lab.fetch("web", "/").status, 200);
    lab.until("lines that are lost", SOON, || (lost(&lab) > 0).then_some(()));
}

/// What the controller tells of lines that the disk did not take.
fn lost(lab: &Lab) -> u64 {
    let text = lab.ask(Method::Get, "/metrics", None).text().into_owned();
    let name = "tucano_access_log_dropped_total{reason=\"failed\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.expect("the metric").parse().expect("a number")
}

#[test]
fn a_terminal_that_closes_ends_no_controller() {
    let mut lab = Lab::start(0);
    signal(&mut lab, Signal::SIGHUP);
    outside(&lab, "web");
    let metrics = lab.ask(Method::Get, "/metrics", None).text().into_owned();
    assert!(!metrics.contains("tucano_access_log"), "there is none");
    let controller = lab.cluster.controller().expect("a controller");
    assert!(controller.wait(Duration::ZERO).is_none(), "it runs");
}
