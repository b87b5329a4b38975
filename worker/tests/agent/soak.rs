//! A day's worth of heartbeats, run fast, of the real agent with ten instances: its memory at the
//! end is what it was after a tenth.
//!
//! The controller here answers each heartbeat with newer assignments: the agent fetches
//! them, takes them, stores its ledger and reports at once, so that one second has some
//! hundred heartbeats. `make soak` runs the whole day (`TUCANO_SOAK_BEATS=86400`), `make test` a
//! part of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::Worker;

/// Heartbeats of the run that `make test` does.
const BEATS: u64 = 2000;
/// Memory comes in pages, and what an allocator gives back it gives back late. Over the whole day
/// this is less than one byte a heartbeat.
const GROWTH_BYTES_MAX: u64 = 16 * 4096;
/// The same for a part of it, whose first tenth is a second: buffers are still growing to their
/// size.
const GROWTH_BYTES_MAX_OF_PART: u64 = 2 * GROWTH_BYTES_MAX;
/// A day's.
const BEATS_OF_DAY: u64 = 86_400;
/// Without a heartbeat for so long the agent is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
const INSTANCES: usize = 10;

/// What the controller knows.
struct Controller {
    generation: u64,
    beats: u64,
    agent: Arc<AtomicI32>,
    /// Each heartbeat: how many of its instances run.
    told: Sender<usize>,
    /// The agent's memory at each tenth of the run.
    memory: Vec<u64>,
    beats_all: u64,
}

impl Controller {
    fn answer(&mut self, line: &str, body: &[u8]) -> Value {
        let at = "2026-01-01T00:00:00.000Z";
        if line.ends_with("/heartbeat") {
            let beat: Value = serde_json::from_slice(body).unwrap();
            let instances = beat["instances"].as_array().unwrap();
            let running = instances.iter().filter(|it| it["state"] == "running").count();
            if running == INSTANCES {
                self.beats += 1;
                self.generation += 1;
                if self.beats.is_multiple_of(self.beats_all / 10) {
                    // It waits for this answer: nothing moves meanwhile.
                    self.memory.push(anonymous_bytes(self.agent.load(Ordering::Relaxed)));
                }
            }
            let _the_test_is_over = self.told.send(running);
            return json!({ "cluster": "c", "generation": self.generation, "at": at });
        }
        if line.ends_with("/assignments") {
            let instances: Vec<Value> = (1..=INSTANCES).map(|n| self.assignment(n)).collect();
            return json!({
                "cluster": "c", "generation": self.generation, "instances": instances
            });
        }
        json!({
            "cluster": "c", "version": "0", "at": at, "generation": self.generation,
            "balancer_url": "http://127.0.0.1:8080",
        })
    }

    fn assignment(&self, number: usize) -> Value {
        json!({
            "id": format!("{number:013}"), "generation": self.generation, "revision": 1,
            "service": format!("web-{number}"), "desired": "run",
            "spec": {
                "name": format!("web-{number}"),
                "scripts": { "runtime-script": "exec sleep 100000" },
            },
        })
    }
}

/// Answers one connection until it ends.
fn serve(stream: TcpStream, controller: &Mutex<Controller>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let field = field.trim().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let line = request.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let answer = controller.lock().unwrap().answer(&line, &body).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        writer.write_all(&[head.as_bytes(), answer.as_bytes()].concat())?;
    }
}

/// Memory of its own that a process has: what is shared with files comes and goes.
fn anonymous_bytes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

fn await_beat(told: &Receiver<usize>) -> usize {
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_days_heartbeats_leave_its_memory_as_it_was() {
    let beats_all = std::env::var("TUCANO_SOAK_BEATS").map_or(BEATS, |text| text.parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, beats) = channel();
    let agent = Arc::new(AtomicI32::new(0));
    let (memory, its) = (Vec::new(), Arc::clone(&agent));
    let controller = Controller { generation: 1, beats: 0, agent: its, told, memory, beats_all };
    let controller = Arc::new(Mutex::new(controller));
    let asked = Arc::clone(&controller);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || serve(stream.unwrap(), &asked));
        }
    });
    let worker = Worker::of_controller(&url);
    agent.store(worker.agent(), Ordering::Relaxed);
    while await_beat(&beats) < INSTANCES {}
    for _ in 0..beats_all {
        assert_eq!(await_beat(&beats), INSTANCES, "all of them run all the time");
    }
    let memory = std::mem::take(&mut controller.lock().unwrap().memory);
    eprintln!("anonymous bytes at each tenth of {beats_all} heartbeats: {memory:?}");
    let (first, last) = (memory[0], memory[9]);
    let whole = beats_all >= BEATS_OF_DAY;
    let growth_max = if whole { GROWTH_BYTES_MAX } else { GROWTH_BYTES_MAX_OF_PART };
    assert!(last <= first + growth_max, "it grows: {memory:?}");
}
