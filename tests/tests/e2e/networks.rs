//! Cables that are cut without a reset, under steady requests: real hosts (network namespaces), the
//! real binaries.
//!
//! Where namespaces can't be made, the same requests run on loopback while an instance is killed:
//! less is shown then, and the test says so; it is never skipped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tucano_common::wire::views::{WorkerState, WorkerView};
use tucano_tests::{Lab, MINUTE, NetLab, Network};

/// Clients that ask one after the other over a connection each.
struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<(Vec<String>, Duration)>>,
}

impl Traffic {
    fn start(to: SocketAddr, clients: usize) -> Traffic {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let one = |_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(to).expect("the balancer");
                stream.set_read_timeout(Some(MINUTE)).expect("a timeout");
                let (mut failed, mut slowest) = (Vec::new(), Duration::ZERO);
                while !stop.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    if let Err(why) = get(&mut stream) {
                        failed.push(why);
                        stream = TcpStream::connect(to).expect("the balancer");
                    }
                    slowest = slowest.max(begun.elapsed());
                    done.fetch_add(1, Ordering::SeqCst);
                }
                (failed, slowest)
            })
        };
        let clients = (0..clients).map(one).collect();
        Traffic { stop, done, clients }
    }

    /// So many more requests are answered.
    fn wait_for(&self, lab: &Lab, more: u64) {
        let until = self.done.load(Ordering::SeqCst) + more;
        lab.until("requests that are answered", MINUTE, || {
            (self.done.load(Ordering::SeqCst) >= until).then_some(())
        });
    }

    /// None failed; returns how many there were and how long the slowest took.
    fn end(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let mut slowest = Duration::ZERO;
        for client in self.clients {
            let (failed, longest) = client.join().expect("a client");
            assert!(failed.is_empty(), "{failed:?}");
            slowest = slowest.max(longest);
        }
        (self.done.load(Ordering::SeqCst), slowest)
    }
}

/// One GET over a kept connection; the answer has to be a whole 200.
fn get(stream: &mut TcpStream) -> Result<(), String> {
    let request = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let is_good = head.starts_with("HTTP/1.1 200");
                return if is_good { Ok(()) } else { Err(text) };
            }
        }
        match stream.read(&mut room) {
            Ok(0) => return Err(format!("the connection ended after {text:?}")),
            Ok(count) => bytes.extend(&room[..count]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// What can be shown without namespaces.
fn an_instance_that_is_killed_loses_no_request() {
    let lab = Lab::start(3);
    lab.deploy(&lab.demo("web", 3));
    lab.answering("web", 3);
    let traffic = Traffic::start(lab.balancer(), 4);
    traffic.wait_for(&lab, 500);
    lab.kill_instance(&lab.healthy("web")[0]);
    traffic.wait_for(&lab, 500);
    traffic.end();
}

fn state_of(lab: &NetLab, name: &str) -> Option<WorkerState> {
    let workers: Vec<WorkerView> = lab.lab.api.get("/v1/workers").ok()?;
    workers.into_iter().find(|worker| worker.name.as_str() == name).map(|worker| worker.state)
}

#[test]
fn a_worker_that_loses_its_cable_loses_no_request() {
    let network = match Network::new(4) {
        Ok(network) => network,
        Err(why) => {
            eprintln!("no network namespaces, so no cable is cut, an instance is killed: {why}");
            return an_instance_that_is_killed_loses_no_request();
        }
    };
    let lab = NetLab::start(network);
    lab.lab.deploy(&lab.lab.demo("web", 3));
    lab.lab.answering("web", 3);
    let traffic = Traffic::start(lab.lab.balancer(), 4);
    traffic.wait_for(&lab.lab, 500);
    lab.network.cut(1);
    lab.lab.until("a worker that is given up", MINUTE, || {
        (state_of(&lab, "w1") == Some(WorkerState::Dead)).then_some(())
    });
    traffic.wait_for(&lab.lab, 200);
    lab.network.heal(1);
    lab.lab.until("a worker that is back", MINUTE, || {
        (state_of(&lab, "w1") == Some(WorkerState::Ready)).then_some(())
    });
    lab.lab.wait_healthy("web", 3);
    traffic.wait_for(&lab.lab, 200);
    let (count, slowest) = traffic.end();
    eprintln!("{count} requests, the slowest took {slowest:?}");
    assert!(slowest < Duration::from_millis(1500), "{slowest:?} of {count} requests");
    let events = lab.lab.events();
    assert!(events.iter().any(|event| event.kind == "host_silent"), "nobody told of the silence");
}
