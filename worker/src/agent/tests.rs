//! The whole agent against a controller that answers what it is told: messages lost, late, doubled,
//! older, foreign.
//!
//! Nothing is really started here: the holder is a program that ends at once, so instances are
//! taken, tried and reported. Real processes are the tests' of the binary.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tucano_common::id::InstanceId;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Assignments, HeartbeatAnswer, HelloAnswer, Push};
use tucano_net::blocking::Client;
use tucano_net::config::Flags;
use tucano_net::listener::listen_on;
use tucano_net::{Method, OutRequest};
use tucano_worker_core::Layout;

use super::api::tests::push_json;
use super::fake_controller::{Answer, Asked, FakeController};
use super::*;
use crate::config::{Config, Wanted};
use crate::data_folder;
use crate::runner::supervisor::Runner;
use crate::runner::user::Identity;
use crate::wiring::Parts;

const DEADLINE: Duration = Duration::from_secs(30);
const ONE: InstanceId = InstanceId(1);
const TWO: InstanceId = InstanceId(2);

/// An agent in a thread.
struct Running {
    address: SocketAddr,
    /// Where a signal is put as the kernel would.
    signals: std::io::PipeWriter,
    thread: Option<std::thread::JoinHandle<()>>,
    root: PathBuf,
}

impl Running {
    fn start(name: &str, controller: SocketAddr, more: &[&str]) -> Running {
        let root = std::env::temp_dir().join(format!("tucano-agent-{name}-{}", std::process::id()));
        let _left_by_an_earlier_run = std::fs::remove_dir_all(&root);
        Running::start_in(root, controller, more)
    }

    fn start_in(root: PathBuf, controller: SocketAddr, more: &[&str]) -> Running {
        let url = format!("http://{controller}");
        let folder = root.to_str().unwrap();
        let args = ["--controller", &url, "--data-dir", folder, "--heartbeat", "100ms"];
        let args = args.iter().chain(more).map(OsString::from).collect();
        let Ok(Wanted::Run(config)) = Config::read(Flags::new(args, |_| None), "w1") else {
            panic!("bad flags")
        };
        let (signals_end, signals) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&signals_end, rustix::fs::OFlags::NONBLOCK).unwrap();
        let (tell, told) = mpsc::channel();
        let body = move || {
            let layout = Layout::new(&config.data_dir);
            data_folder::make(&layout, &Identity::Agents).unwrap();
            let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let runner = Runner::new(layout.clone(), Identity::Agents, PathBuf::from("/bin/false"));
            let restart = Restart::of_process().unwrap();
            let parts =
                Parts { config: *config, layout, identity: Identity::Agents, runner, restart };
            let (mut http, mut agent) =
                parts.assemble(listener, OwnedFd::from(signals_end)).unwrap();
            http.run(&mut agent).unwrap();
        };
        let thread = Some(std::thread::spawn(body));
        let address = told.recv_timeout(DEADLINE).unwrap();
        Running { address, signals, thread, root }
    }

    fn ask(&self, request: OutRequest) -> tucano_net::Answer {
        Client::new(vec![self.address], self.address.to_string()).send(&request).unwrap()
    }

    fn put(&self, id: InstanceId, push: Vec<u8>) -> u16 {
        let target = format!("/v1/instances/{id}");
        self.ask(OutRequest::new(Method::Put, target).body("application/json", push)).status
    }

    /// The ids of the instances that the agent has, each with the generation that it acts on.
    fn instances(&self) -> Vec<(String, u64)> {
        let list: Value = self.ask(OutRequest::new(Method::Get, "/v1/instances")).json().unwrap();
        let pair = |report: &Value| {
            (report["id"].as_str().unwrap().to_owned(), report["generation"].as_u64().unwrap())
        };
        list.as_array().unwrap().iter().map(pair).collect()
    }

    /// Ends it as SIGTERM does.
    fn stop(&mut self) {
        // `struct signalfd_siginfo` begins with the signal's number; read at once, as from a
        // signalfd.
        let mut info = [0; 128];
        info[..4].copy_from_slice(&(Signal::SIGTERM as i32).to_ne_bytes());
        self.signals.write_all(&info).unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.stop();
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn is_hello(asked: &Asked) -> bool {
    asked.line == "POST /v1/workers"
}

fn is_heartbeat(asked: &Asked) -> bool {
    asked.line == "POST /v1/workers/w1/heartbeat"
}

fn is_fetch(asked: &Asked) -> bool {
    asked.line == "GET /v1/workers/w1/assignments"
}

/// A controller in its right mind: this cluster, generation and instances.
fn cluster(
    name: &'static str,
    generation: u64,
    instances: &'static [InstanceId],
) -> impl FnMut(&Asked) -> Answer + Send + 'static {
    move |asked| {
        let (cluster, at) = (name.to_owned(), Wall(0));
        if is_hello(asked) {
            let (version, balancer_url) = ("0".to_owned(), "http://lb".to_owned());
            Answer::json(&HelloAnswer { cluster, version, at, generation, balancer_url })
        } else if is_heartbeat(asked) {
            Answer::json(&HeartbeatAnswer { cluster, generation, at, notices_taken: None })
        } else if is_fetch(asked) {
            let instances = instances.iter().map(|id| assignment(*id, generation)).collect();
            Answer::json(&Assignments { cluster, generation, instances })
        } else {
            Answer::Give(500, Vec::new())
        }
    }
}

fn assignment(id: InstanceId, generation: u64) -> tucano_common::wire::worker::Assignment {
    let push: Push = serde_json::from_slice(&push_json(id, "any", generation)).unwrap();
    push.assignment
}

fn held_in(asked: &Asked) -> Value {
    asked.json()["holds"].clone()
}

#[test]
fn a_worker_introduces_itself_fetches_what_it_should_run_and_reports_it() {
    let controller = FakeController::start(cluster("a", 3, &[ONE]));
    let agent = Running::start("joins", controller.address, &["--label", "disk=ssd"]);
    let hello = controller.await_request(is_hello).json();
    assert_eq!(hello["name"], "w1");
    assert_eq!(hello["address"], "127.0.0.1");
    assert_eq!(hello["agent_port"], agent.address.port());
    assert_eq!(hello["labels"]["disk"], "ssd");
    assert!(hello["capacity"]["cpus"].as_u64() > Some(0) && hello.get("holds").is_none());
    controller.await_request(is_fetch);
    let holds = json!({"cluster": "a", "generation": 3});
    let heartbeat =
        controller.await_request(|asked| is_heartbeat(asked) && held_in(asked) == holds);
    let heartbeat = heartbeat.json();
    assert_eq!(heartbeat["session"], hello["session"]);
    assert_eq!(heartbeat["instances"][0]["id"], ONE.to_string());
    // The first one may be faster than the first measurement.
    let measured = |asked: &Asked| {
        is_heartbeat(asked) && asked.json()["metrics"]["memory_total_bytes"].as_u64() > Some(0)
    };
    let next = controller.await_request(measured).json();
    assert!(next["seq"].as_u64() > heartbeat["seq"].as_u64());
}

#[test]
fn a_forgotten_worker_says_hello_again_with_the_same_session() {
    let controller = FakeController::start(cluster("a", 3, &[ONE]));
    let _agent = Running::start("forgotten", controller.address, &[]);
    let first = controller.await_request(is_hello).json();
    controller.await_request(is_heartbeat);
    let mut forgot = false;
    let mut normal = cluster("a", 3, &[ONE]);
    controller.answer(move |asked| {
        if is_heartbeat(asked) && !forgot {
            forgot = true;
            return Answer::Give(404, Vec::new());
        }
        normal(asked)
    });
    let again = controller.await_request(is_hello).json();
    assert_eq!(again["session"], first["session"]);
    assert_eq!(again["holds"], json!({"cluster": "a", "generation": 3}));
    assert_eq!(again["instances"][0]["id"], ONE.to_string());
    controller.await_request(is_heartbeat);
}

#[test]
fn lost_answers_change_nothing() {
    let controller = FakeController::start(cluster("a", 3, &[ONE]));
    let agent = Running::start("lost", controller.address, &[]);
    controller.await_request(is_heartbeat);
    let mut lost = 0;
    let mut normal = cluster("a", 4, &[ONE, TWO]);
    controller.answer(move |asked| {
        lost += 1;
        if lost <= 6 { Answer::Hang } else { normal(asked) }
    });
    let holds = json!({"cluster": "a", "generation": 4});
    let heartbeat =
        controller.await_request(|asked| is_heartbeat(asked) && held_in(asked) == holds);
    assert_eq!(heartbeat.json()["instances"].as_array().unwrap().len(), 2);
    assert_eq!(agent.instances().len(), 2);
}

#[test]
fn what_is_not_named_any_more_ends_and_what_is_older_is_refused() {
    let controller = FakeController::start(cluster("a", 5, &[ONE]));
    let agent = Running::start("older", controller.address, &[]);
    let holds = json!({"cluster": "a", "generation": 5});
    controller.await_request(|asked| is_heartbeat(asked) && held_in(asked) == holds);
    // A controller that went back in time (a restored copy): its older word ends nothing.
    controller.answer(cluster("a", 4, &[]));
    for _ in 0..3 {
        controller.await_request(|asked| is_heartbeat(asked) && held_in(asked) == holds);
    }
    assert_eq!(agent.put(TWO, push_json(TWO, "a", 5)), 409, "a late push of something ended");
    assert_eq!(agent.put(ONE, push_json(ONE, "a", 2)), 409, "an older push");
    assert_eq!(agent.instances(), [(ONE.to_string(), 5)]);
}

#[test]
fn a_push_is_taken_at_once_and_moves_the_generation_only_from_the_one_before() {
    let controller = FakeController::start(cluster("a", 5, &[ONE]));
    let agent = Running::start("push", controller.address, &[]);
    let held = |generation| json!({"cluster": "a", "generation": generation});
    let await_held = |generation| {
        controller.await_request(|a| is_heartbeat(a) && held_in(a) == held(generation));
    };
    await_held(5);
    controller.answer(cluster("a", 6, &[ONE, TWO]));
    // It may have fetched the sixth already; then the push is a doubled message.
    let status = agent.put(TWO, push_json(TWO, "a", 6));
    assert!([200, 202].contains(&status), "{status}");
    await_held(6);
    assert_eq!(agent.put(TWO, push_json(TWO, "a", 6)), 200, "doubled");
    assert_eq!(agent.instances().len(), 2);
}

#[test]
fn another_clusters_word_ends_nothing() {
    let controller = FakeController::start(cluster("a", 5, &[ONE]));
    let agent = Running::start("foreign", controller.address, &[]);
    let holds = |cluster, generation| json!({"cluster": cluster, "generation": generation});
    let await_held = |cluster, generation| {
        controller.await_request(|a| is_heartbeat(a) && held_in(a) == holds(cluster, generation));
    };
    await_held("a", 5);
    assert_eq!(agent.put(TWO, push_json(TWO, "b", 9)), 409);
    // A controller with an empty database is another cluster: it may give orders of its own, and no
    // others end.
    controller.answer(cluster("b", 1, &[TWO]));
    await_held("b", 1);
    let ids: Vec<String> = agent.instances().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [ONE.to_string(), TWO.to_string()]);
}

#[test]
fn an_unreadable_set_is_told_and_changes_nothing() {
    let controller = FakeController::start(cluster("a", 5, &[ONE]));
    let agent = Running::start("unreadable", controller.address, &[]);
    let holds = json!({"cluster": "a", "generation": 5});
    controller.await_request(|asked| is_heartbeat(asked) && held_in(asked) == holds);
    let mut normal = cluster("a", 6, &[]);
    controller.answer(move |asked| {
        if is_fetch(asked) { Answer::Give(200, b"{\"new\":1}".to_vec()) } else { normal(asked) }
    });
    let told = controller.await_request(|asked| {
        is_heartbeat(asked) && asked.json()["notices"][0]["kind"] == "assignments_unreadable"
    });
    assert_eq!(held_in(&told), holds);
    let after = |asked: &Asked| is_heartbeat(asked) && asked.json().get("notices").is_none();
    controller.await_request(after);
    assert_eq!(agent.instances(), [(ONE.to_string(), 5)]);
}

#[test]
fn the_next_agent_takes_up_what_the_last_one_held() {
    let controller = FakeController::start(cluster("a", 5, &[ONE]));
    let mut first = Running::start("next", controller.address, &[]);
    let holds = json!({"cluster": "a", "generation": 5});
    controller.await_request(|asked| is_heartbeat(asked) && held_in(asked) == holds);
    let ledger = first.root.join("state/ledger.json");
    let deadline = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(&ledger).is_ok_and(|text| text.contains("\"generation\":5")) {
        assert!(Instant::now() < deadline, "the ledger was never written");
        std::thread::yield_now();
    }
    first.stop();
    let root = std::mem::take(&mut first.root);
    controller.answer(|_| Answer::Hang);
    let second = Running::start_in(root, controller.address, &[]);
    let hello = controller.await_request(is_hello).json();
    assert_eq!(hello["holds"], holds);
    assert_eq!(second.instances(), [(ONE.to_string(), 5)], "without a controller too");
}

#[test]
fn with_a_token_it_is_sent_and_wanted() {
    let path = std::env::temp_dir().join(format!("tucano-join-token-{}", std::process::id()));
    std::fs::write(&path, "a-join-token-of-tests").unwrap();
    let controller = FakeController::start(cluster("a", 1, &[]));
    let more = ["--join-token-file", path.to_str().unwrap()];
    let agent = Running::start("token", controller.address, &more);
    let bearer = "authorization: bearer a-join-token-of-tests";
    for wanted in [is_hello, is_fetch, is_heartbeat] {
        assert!(controller.await_request(wanted).fields.contains(bearer));
    }
    let list = || OutRequest::new(Method::Get, "/v1/instances");
    assert_eq!(agent.ask(list()).status, 401);
    let right = tucano_net::token::Token::new("a-join-token-of-tests");
    assert_eq!(agent.ask(list().bearer(&right)).status, 200);
    assert_eq!(agent.ask(OutRequest::new(Method::Get, "/healthz")).status, 200);
    let wrong = tucano_net::token::Token::new("another");
    assert_eq!(agent.ask(list().bearer(&wrong)).status, 401);
    controller.await_request(|asked| {
        is_heartbeat(asked) && asked.json()["notices"][0]["kind"] == "agent_auth_failed"
    });
    std::fs::remove_file(path).unwrap();
}

#[test]
fn metrics_are_told() {
    let controller = FakeController::start(cluster("a", 5, &[ONE]));
    let agent = Running::start("metrics", controller.address, &[]);
    let holds = json!({"cluster": "a", "generation": 5});
    controller.await_request(|asked| is_heartbeat(asked) && held_in(asked) == holds);
    // The first measurement has no share of the CPU: there is nothing to compare it with.
    controller.await_request(|asked| {
        is_heartbeat(asked) && asked.json()["metrics"]["cpu_ratio"].is_number()
    });
    let answer = agent.ask(OutRequest::new(Method::Get, "/metrics"));
    let text = answer.text().into_owned();
    for line in ["tucano_agent_generation 5\n", "tucano_worker_cpu_ratio{worker=\"w1\"} "] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    assert!(text.contains("service=\"web\",state="), "{text}");
}
