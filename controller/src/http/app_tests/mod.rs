//! The real loop on loopback, with the test in the deployer's and the worker manager's place.

mod artifacts;
mod door;
mod events;
mod logs;
mod requests;
mod snapshot;
mod stop;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use serde_json::Value;
use tucano_common::limits::ARTIFACT_JOBS_QUEUED_MAX;
use tucano_net::token::Token;
use tucano_net::{HttpConfig, HttpLoop, SendError, Sender};

use super::{Api, Disk, FromKeeper, Links, Refused, ToApi, TransferId};
use crate::config::Tokens;
use crate::msgs::{Answer, Ask, Document, FromAgent, Query, Reply, Ticket};

/// Long enough for a machine that is busy; a test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

const ADMIN: &str = "admin-0123456789abcdef";
const JOIN: &str = "join-0123456789abcdef";

/// An API that runs.
struct Rig {
    addr: SocketAddr,
    asks: Receiver<Ask>,
    agents: Receiver<FromAgent>,
    copies: Receiver<TransferId>,
    to_api: Sender<ToApi>,
    folder: PathBuf,
    api: Option<JoinHandle<()>>,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(false, 64)
    }

    fn with_tokens() -> Rig {
        Rig::with(true, 64)
    }

    fn with(tokens: bool, asks_max: usize) -> Rig {
        let (mut api_loop, to_api) = HttpLoop::new(HttpConfig::default()).expect("a loop");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = api_loop.io().listen(listener).expect("listening");
        let (ask, asks) = bounded(asks_max);
        let (says, agents) = bounded(64);
        let (job, jobs) = bounded(ARTIFACT_JOBS_QUEUED_MAX);
        let (copy, copies) = bounded(2);
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("tucano-api-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let disk = Disk::new(folder.clone()).expect("a folder");
        let links = Links {
            deployer: Box::new(move |message| ask.try_send(message).is_ok()),
            worker_mgr: Box::new(move |message| says.try_send(message).is_ok()),
            disk: Box::new(move |message| job.try_send(message).is_ok()),
            keeper: Box::new(move |id| copy.try_send(id).is_ok()),
            metrics: Vec::new(),
        };
        let tokens = tokens.then(|| Tokens { admin: Token::new(ADMIN), join: Token::new(JOIN) });
        let answers = to_api.clone();
        std::thread::spawn(move || disk.run(&jobs, &answers));
        let api = std::thread::spawn(move || {
            let mut api = Api::new(tokens, addr, links);
            api_loop.run(&mut api).expect("the loop runs");
        });
        Rig { addr, asks, agents, copies, to_api, folder, api: Some(api) }
    }

    /// What the API asked the deployer.
    fn ask(&self) -> Ask {
        self.asks.recv_timeout(PATIENCE).expect("the API asks")
    }

    fn query(&self) -> (Ticket, Query) {
        match self.ask() {
            Ask::Query { ticket, query, .. } => (ticket, query),
            other => panic!("not a query: {other:?}"),
        }
    }

    fn answer(&self, ticket: Ticket, reply: Reply) {
        self.send(ToApi::Answer(Answer { ticket, result: Ok(reply) }));
    }

    fn refuse(&self, ticket: Ticket, status: u16) {
        let problem = tucano_common::wire::problem::Problem::new(status, "No", "not like this");
        self.send(ToApi::Answer(Answer { ticket, result: Err(problem) }));
    }

    fn send(&self, message: ToApi) {
        match self.to_api.try_send(message) {
            Ok(()) => {}
            Err(SendError::Full(_)) => panic!("the API's inbox is full"),
            Err(SendError::Closed(_)) => panic!("the API has ended"),
        }
    }

    fn client(&self) -> Client {
        Client::new(self.addr)
    }

    /// One request on a connection of its own, answered without the deployer.
    fn get(&self, target: &str) -> Got {
        let mut client = self.client();
        client.send("GET", target, &[], b"");
        client.answer()
    }

    /// Waits until the folder has so many files.
    fn wait_for_files(&self, count: usize) {
        let files = || std::fs::read_dir(&self.folder).expect("the folder").count();
        wait_until(|| files() == count);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let now = tucano_net::clock::Clock::now().mono;
        let _ = self.to_api.try_send(ToApi::Stop { deadline: now });
        if let Some(api) = self.api.take() {
            let _ = api.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = tucano_net::clock::Clock::now().mono + PATIENCE;
    while !done() {
        assert!(tucano_net::clock::Clock::now().mono < deadline, "it never comes");
        std::thread::yield_now();
    }
}

fn document(status: u16, body: &str) -> Reply {
    let body = body.as_bytes().to_vec();
    Reply::Document(Document { status, index: Some(7), location: None, body })
}

/// A connection whose every byte the test sees.
struct Client {
    stream: TcpStream,
    rest: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
struct Got {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Got {
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(each, _)| each.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a text")
    }
}

impl Client {
    fn new(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client { stream, rest: Vec::new() }
    }

    fn send(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes());
        self.write(body);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("written");
    }

    /// The status and fields of the next answer.
    fn head(&mut self) -> Got {
        let end = loop {
            if let Some(at) = find(&self.rest, b"\r\n\r\n") {
                break at;
            }
            assert!(
                self.more(),
                "closed before an answer: {:?}",
                String::from_utf8_lossy(&self.rest)
            );
        };
        let head = String::from_utf8(self.rest[..end].to_vec()).expect("a text");
        self.rest.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a field");
            (name.to_owned(), value.trim().to_owned())
        };
        let status = status.parse().expect("a number");
        Got { status, fields: lines.map(field).collect(), body: Vec::new() }
    }

    /// The next whole answer.
    fn answer(&mut self) -> Got {
        let mut got = self.head();
        if let Some(length) = got.field("content-length") {
            let length: usize = length.parse().expect("a length");
            while self.rest.len() < length {
                assert!(self.more(), "closed within the body");
            }
            got.body = self.rest.drain(..length).collect();
        } else if got.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                got.body.extend_from_slice(&chunk);
            }
        }
        got
    }

    /// The next chunk of a chunked body; none at its end.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            if let Some(at) = find(&self.rest, b"\r\n") {
                break at;
            }
            assert!(self.more(), "closed before a chunk");
        };
        let size = String::from_utf8(self.rest[..line].to_vec()).expect("a size");
        let size = usize::from_str_radix(&size, 16).expect("a size");
        while self.rest.len() < line + 2 + size + 2 {
            assert!(self.more(), "closed within a chunk");
        }
        let chunk = self.rest[line + 2..line + 2 + size].to_vec();
        self.rest.drain(..line + 2 + size + 2);
        (size > 0).then_some(chunk)
    }

    /// Lines of a streamed body until so many came.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let mut text = Vec::new();
        while text.iter().filter(|byte| **byte == b'\n').count() < count {
            text.extend_from_slice(&self.chunk().expect("more of the body"));
        }
        String::from_utf8(text).expect("a text").lines().map(str::to_owned).collect()
    }

    /// Reads some; false at the end of the connection.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        let read = match self.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            read => read.expect("read in time"),
        };
        self.rest.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// Whether the other side closes, without another byte.
    fn is_closed(&mut self) -> bool {
        let mut buffer = [0; 1024];
        matches!(self.stream.read(&mut buffer), Ok(0) | Err(_)) && self.rest.is_empty()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
