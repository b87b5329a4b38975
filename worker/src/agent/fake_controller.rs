//! A controller made of a listener and a closure, for tests: it records what it is asked and
//! answers what it is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Nothing in these tests takes longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// More than any of these tests makes; a test that does not look at them does not stop.
const REQUESTS_ROOM: usize = 10_000;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `POST /v1/workers`
    pub(crate) line: String,
    /// All fields, in lower case.
    pub(crate) fields: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to answer.
pub(crate) enum Answer {
    /// A status and a body.
    Give(u16, Vec<u8>),
    /// Close the connection without a word.
    Hang,
    /// A head that promises more than comes.
    Cut(Vec<u8>),
}

impl Answer {
    /// 200 with JSON.
    pub(crate) fn json(value: &impl serde::Serialize) -> Answer {
        Answer::Give(200, serde_json::to_vec(value).unwrap())
    }
}

type Respond = Box<dyn FnMut(&Asked) -> Answer + Send>;

/// The controller.
pub(crate) struct FakeController {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    asked: Receiver<Asked>,
    respond: Arc<Mutex<Respond>>,
    ended: Arc<AtomicBool>,
}

impl FakeController {
    /// Starts one.
    pub(crate) fn start(respond: impl FnMut(&Asked) -> Answer + Send + 'static) -> FakeController {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (told, asked) = mpsc::sync_channel(REQUESTS_ROOM);
        let respond: Arc<Mutex<Respond>> = Arc::new(Mutex::new(Box::new(respond)));
        let ended = Arc::new(AtomicBool::new(false));
        let (respond_there, ended_there) = (Arc::clone(&respond), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended_there.load(Ordering::Relaxed) {
                    return;
                }
                let (told, respond) = (told.clone(), Arc::clone(&respond_there));
                std::thread::spawn(move || serve(&mut stream.unwrap(), &told, &respond));
            }
        });
        FakeController { address, asked, respond, ended }
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer(&self, respond: impl FnMut(&Asked) -> Answer + Send + 'static) {
        *self.respond.lock().unwrap() = Box::new(respond);
    }

    /// The next request for which `wanted` holds; others before it are skipped.
    pub(crate) fn await_request(&self, wanted: impl Fn(&Asked) -> bool) -> Asked {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = self.asked.recv_timeout(left).expect("the request never came");
            if wanted(&asked) {
                return asked;
            }
        }
    }
}

impl Drop for FakeController {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _wakes_the_thread = TcpStream::connect(self.address);
    }
}

fn serve(stream: &mut TcpStream, told: &SyncSender<Asked>, respond: &Mutex<Respond>) {
    let mut bytes = Vec::new();
    while let Some(asked) = read_request(stream, &mut bytes) {
        let answer = respond.lock().unwrap()(&asked);
        let _the_test_is_over = told.send(asked);
        let sent = match answer {
            Answer::Give(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat())
            }
            Answer::Hang => return,
            Answer::Cut(body) => {
                let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", body.len() + 9);
                let _it_may_be_gone = stream.write_all(&[head.as_bytes(), &body].concat());
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Asked> {
    let more = |stream: &mut TcpStream, bytes: &mut Vec<u8>| {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
        Some(())
    };
    let end = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(stream, bytes)?,
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    let fields = fields.to_ascii_lowercase();
    let length = fields.lines().find_map(|field| field.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while bytes.len() < end + length {
        more(stream, bytes)?;
    }
    let body = bytes[end..end + length].to_vec();
    bytes.drain(..end + length);
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, fields, body })
}
