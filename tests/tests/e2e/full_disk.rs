//! A worker's disk that is full: what runs goes on and is started again, what is new waits, output
//! that can't be kept is counted, and all of it mends once there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tucano_common::wire::views::InstanceView;
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, arranged, specs};
use tucano_tools::cluster::Folder;

/// A service that writes all the time, half a page in some ticks.
fn chatty() -> Value {
    let mut spec = specs::shell("chatty", 1);
    let script = "n=0; while :; do n=$((n + 1)); printf '%0500d of many\\n' $n; sleep 0.05; done";
    spec["scripts"]["runtime-script"] = json!(script);
    spec["restart"] = json!({ "backoff": "1s", "backoff_max": "1s" });
    spec
}

/// Takes all the room that there is where its file is, and all that somebody else gives back.
struct Filler {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Filler {
    fn start(path: PathBuf) -> Filler {
        let stop = Arc::new(AtomicBool::new(false));
        let mut file = File::create(&path).expect("a file on the disk");
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for bytes in [64 * 1024, 1] {
                    let piece = vec![b'x'; bytes];
                    while file.write_all(&piece).is_ok() {}
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Filler { path, stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it fills");
        fs::remove_file(self.path).expect("it was there");
    }
}

fn logs(lab: &Lab) -> String {
    lab.ask(Method::Get, "/v1/services/chatty/logs?tail=2000", None).text().into_owned()
}

#[test]
fn what_runs_goes_on_and_output_that_is_lost_is_counted() {
    let folder = Folder::new("test").expect("a folder");
    let data = folder.path().join("w1");
    fs::create_dir(&data).expect("a folder");
    let script =
        format!("mount -t tmpfs -o size=3m,mode=0711 tucano-test {}; exec \"$@\"", data.display());
    let Some(options) = arranged(&script) else { return };
    let mut lab = Lab::assemble(folder, 1, options, None);
    lab.deploy(&specs::python("web", 1));
    lab.deploy(&chatty());
    let web = lab.wait_healthy("web", 1).remove(0);
    let before = lab.wait_healthy("chatty", 1).remove(0);

    // The disk is seen in the agent's mounts alone.
    let agent = lab.cluster.worker(0).expect("w1").pid();
    let outside = data.strip_prefix("/").expect("an absolute path");
    let filler = PathBuf::from(format!("/proc/{agent}/root")).join(outside).join("filler");
    let filler = Filler::start(filler);
    lab.kill_instance(&before);
    let event = |kind: &'static str| lab.events().into_iter().find(|event| event.kind == kind);
    let failed = lab.until("it is told", MINUTE, || event("ledger_failed"));
    assert!(failed.message.contains("No space left on device"), "{failed:?}");
    // What ran before comes up again, and serves.
    lab.until("another process", MINUTE, || {
        let now = lab.wait_healthy("chatty", 1).remove(0);
        (now.restarts == 1).then_some(())
    });
    assert_eq!(lab.fetch("web", "/").status, 200);
    // What is new waits, and says for what.
    let new = specs::shell("new", 1);
    let answer = lab.ask(Method::Post, "/v1/services", Some(&new));
    assert_eq!(answer.status, 202, "{}", answer.text());
    lab.until("what it waits for", MINUTE, || {
        let instances: Vec<InstanceView> = lab.api.get("/v1/instances").ok()?;
        let mut of_new = instances.iter().filter(|it| it.service.as_str() == "new");
        let waits = of_new.any(|it| format!("{it:?}").contains("No space left"));
        waits.then_some(())
    });

    filler.end();
    lab.wait_healthy("new", 1);
    lab.until("it is told, too", MINUTE, || event("ledger_back"));
    // The count is in the output, where the lines were, and lines come again behind it.
    lab.until("what was lost", MINUTE, || {
        let text = logs(&lab);
        let (_, after) = text.split_once("bytes of output lost: No space left on device")?;
        after.contains("of many").then_some(())
    });
    let after = lab.wait_healthy("web", 1).remove(0);
    assert_eq!((after.pid, after.restarts), (web.pid, 0), "it never noticed");
    let daemon = lab.cluster.worker(0).expect("w1");
    assert!(daemon.status().is_none() && daemon.pid() == agent, "the agent lives");
}
