//! The loop with real sockets on loopback: an application whose paths say what it does.

mod client;
mod loop_itself;
mod noise;
mod refusals;
mod server;
mod streams;
mod uploads;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::message::{Request, RequestHead, Response, ResponseHead};

/// Longer than anything here takes; only a defect waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the application heard, in order.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Parked,
    Gone,
    Uploaded(usize),
    Aborted,
    Drained,
    Msg(u32),
    Timer,
    Fd,
    Call(String),
}

type Calls = Vec<(SocketAddr, OutRequest, CallTimeouts)>;

enum Ask {
    Note(u32),
    Answer(&'static str),
    Push(Vec<u8>),
    Finish,
    Abort,
    Call(Box<Calls>),
    Probe(SocketAddr, CallTimeouts),
    CancelCalls,
    Timer(Duration),
    CancelledTimer(Duration),
    Watch(std::os::fd::OwnedFd),
    ResumeBody,
    Drain,
    Stop,
}

use crate::message::OutRequest;

#[derive(Default)]
struct Counters {
    turns: std::sync::atomic::AtomicUsize,
    connections: std::sync::atomic::AtomicUsize,
}

struct TestApp {
    heard: crossbeam_channel::Sender<Heard>,
    parked: Vec<ConnId>,
    calls: Vec<CallId>,
    uploaded: usize,
    pauses: bool,
    counters: std::sync::Arc<Counters>,
}

impl TestApp {
    fn say(&self, heard: Heard) {
        // A test that is over does not listen any more.
        let _ = self.heard.send(heard);
    }
}

impl App for TestApp {
    type Msg = Ask;

    fn on_request_head(&mut self, _io: &mut Io, _conn: ConnId, head: &RequestHead) -> BodyPlan {
        match head.path.as_str() {
            "/small" => BodyPlan::Buffer { bytes_max: 100 },
            "/upload" | "/pause" | "/upload-early" => {
                (self.uploaded, self.pauses) = (0, head.path == "/pause");
                BodyPlan::Stream { bytes_max: 1 << 30 }
            }
            "/upload-small" => BodyPlan::Stream { bytes_max: 100 },
            "/refuse" => BodyPlan::Refuse(Response::error(401, "a token is needed")),
            _ => BodyPlan::Buffer { bytes_max: 1 << 20 },
        }
    }

    fn on_request(&mut self, io: &mut Io, conn: ConnId, request: Request) {
        match request.head.path.as_str() {
            "/park" => {
                self.parked.push(conn);
                self.say(Heard::Parked);
            }
            "/stream" | "/stream-10" => {
                let length = (request.head.path == "/stream-10").then_some(10);
                io.respond_stream(conn, ResponseHead::new(200).header("X-A", "b"), length);
                self.parked.push(conn);
                self.say(Heard::Parked);
            }
            "/big" => io.respond(conn, Response::with_body(200, "a/b", vec![b'x'; 8 << 20])),
            "/204" => io.respond(conn, Response::new(204)),
            "/evil" => io.respond(
                conn,
                Response::text(200, "x").header("X-Evil", "a\r\nX-B: c").header("connection", "z"),
            ),
            "/peer" => {
                let peer = io.peer(conn).map(|addr| addr.ip().to_string());
                io.respond(conn, Response::text(200, peer.unwrap_or_default()));
            }
            "/twice" => {
                io.respond(conn, Response::text(200, "first"));
                io.respond(conn, Response::text(200, "second"));
            }
            path => {
                let body = String::from_utf8_lossy(&request.body);
                let text = format!("{} {path} [{body}]", request.head.method.text());
                io.respond(conn, Response::text(200, text));
            }
        }
    }

    fn on_body(&mut self, io: &mut Io, conn: ConnId, event: BodyEvent<'_>) {
        match event {
            BodyEvent::Data(bytes) => {
                self.uploaded += bytes.len();
                if self.pauses {
                    self.pauses = false;
                    io.pause_body(conn);
                    self.parked.push(conn);
                    self.say(Heard::Parked);
                }
            }
            BodyEvent::End => {
                self.say(Heard::Uploaded(self.uploaded));
                io.respond(conn, Response::text(201, self.uploaded.to_string()));
            }
            BodyEvent::Aborted => self.say(Heard::Aborted),
        }
    }

    fn on_gone(&mut self, _io: &mut Io, conn: ConnId) {
        self.parked.retain(|parked| *parked != conn);
        self.say(Heard::Gone);
    }

    fn on_drained(&mut self, _io: &mut Io, _conn: ConnId) {
        self.say(Heard::Drained);
    }

    fn on_call(&mut self, _io: &mut Io, call: CallId, event: CallEvent<'_>) {
        let text = match event {
            CallEvent::Answer(answer) => format!("{} {}", answer.status, answer.text()),
            CallEvent::Head(head) => format!("head {}", head.status),
            CallEvent::Data(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            CallEvent::End => "end".to_owned(),
            CallEvent::Connected => "connected".to_owned(),
            CallEvent::Failed(error) => format!("failed: {error}"),
        };
        let _ = call;
        self.say(Heard::Call(text));
    }

    fn on_msg(&mut self, io: &mut Io, msg: Ask) {
        match msg {
            Ask::Note(number) => self.say(Heard::Msg(number)),
            Ask::Answer(text) => io.respond(self.parked[0], Response::text(200, text)),
            Ask::Push(bytes) => match io.push(self.parked[0], &bytes) {
                Ok(buffered) => self.say(Heard::Msg(u32::from(buffered > 0))),
                Err(PushError::Full) => self.say(Heard::Call("full".to_owned())),
                Err(PushError::Gone) => self.say(Heard::Call("gone".to_owned())),
            },
            Ask::Finish => io.finish(self.parked[0]),
            Ask::Abort => io.abort(self.parked[0]),
            Ask::Call(calls) => {
                for (addr, request, timeouts) in *calls {
                    self.calls.push(io.call(addr, request, timeouts));
                }
            }
            Ask::Probe(addr, timeouts) => {
                io.probe(addr, timeouts);
            }
            Ask::CancelCalls => self.calls.drain(..).for_each(|call| io.cancel(call)),
            Ask::Timer(after) => {
                io.set_timer(io.now().mono + after);
            }
            Ask::CancelledTimer(after) => {
                let timer = io.set_timer(io.now().mono + after);
                io.cancel_timer(timer);
            }
            Ask::Watch(fd) => {
                io.watch_fd(fd).expect("watched");
            }
            Ask::ResumeBody => io.resume_body(self.parked[0]),
            Ask::Drain => io.drain(),
            Ask::Stop => io.stop(),
        }
    }

    fn on_fd(&mut self, io: &mut Io, fd: FdId) {
        assert!(io.fd(fd).is_some() && io.unwatch_fd(fd).is_some() && io.fd(fd).is_none());
        self.say(Heard::Fd);
    }

    fn on_timer(&mut self, _io: &mut Io, _timer: TimerId) {
        self.say(Heard::Timer);
    }

    fn on_turn_end(&mut self, io: &mut Io) {
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        self.counters.turns.fetch_add(1, relaxed);
        self.counters.connections.store(io.connections(), relaxed);
        if io.is_draining && io.is_drained() {
            io.stop();
        }
    }
}

/// A loop on a thread of its own; it ends with the test.
struct Server {
    addr: SocketAddr,
    sender: Sender<Ask>,
    heard: Receiver<Heard>,
    counters: std::sync::Arc<Counters>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(config: HttpConfig) -> Server {
        let (mut http, sender) = HttpLoop::new(config).expect("a loop");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = crate::listener::listen_on(loopback).expect("a free port");
        let addr = http.io().listen(listener).expect("listened on");
        let (heard_tx, heard) = unbounded();
        let counters = std::sync::Arc::new(Counters::default());
        let mut app = TestApp {
            heard: heard_tx,
            parked: Vec::new(),
            calls: Vec::new(),
            uploaded: 0,
            pauses: false,
            counters: std::sync::Arc::clone(&counters),
        };
        let thread = std::thread::spawn(move || http.run(&mut app).expect("the loop"));
        Server { addr, sender, heard, counters, thread: Some(thread) }
    }

    fn ask(&self, ask: Ask) {
        self.sender.try_send(ask).expect("room in the inbox");
    }

    fn hear(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("something heard")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        stream
    }

    /// Sends bytes and reads until the server closes.
    fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // A server that refuses early may have closed already.
        let _ = stream.write_all(bytes.as_ref());
        read_all(&mut stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.sender.try_send(Ask::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the loop's thread panicked");
        }
    }
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer with Content-Length; its head and body.
fn read_answer(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("a byte of the head"), 1);
        bytes.push(byte[0]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).expect("the body");
    (head, String::from_utf8_lossy(&body).into_owned())
}
