//! Instances that do as they are told, and what they were sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tucano_common::http1::chunked::Part;
use tucano_common::http1::{Body, BodyDecoder, HeadScan, RequestHead};

use super::harness::PATIENCE;

/// A request as an instance got it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) trailers: String,
    /// Counted from 1: the connection it came on.
    pub(super) connection: usize,
}

impl Seen {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One connection of an instance.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) unread: Vec<u8>,
    pub(super) number: usize,
}

impl Conn {
    fn read(&mut self) -> bool {
        let mut room = [0; 65536];
        match self.stream.read(&mut room) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&room[..count]);
                true
            }
        }
    }

    /// The next request's head.
    pub(super) fn head(&mut self) -> Option<(RequestHead, String)> {
        loop {
            match RequestHead::parse(&self.unread, &mut HeadScan::default()) {
                Ok(Some(head)) => {
                    let bytes: Vec<u8> = self.unread.drain(..head.len()).collect();
                    return Some((head, String::from_utf8(bytes).unwrap()));
                }
                Ok(None) if self.read() => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next whole request.
    pub(super) fn request(&mut self) -> Option<Seen> {
        let (head, text) = self.head()?;
        let (body, trailers) = self.body(head.body)?;
        Some(Seen { head: text, body, trailers, connection: self.number })
    }

    pub(super) fn body(&mut self, body: Body) -> Option<(Vec<u8>, String)> {
        let mut decoder = BodyDecoder::new(body);
        let (mut data, mut trailers) = (Vec::new(), Vec::new());
        loop {
            while let Some(piece) = decoder.next(&self.unread).ok()? {
                let bytes: Vec<u8> = self.unread.drain(..piece.len).collect();
                match piece.part {
                    Part::Data => data.extend_from_slice(&bytes),
                    Part::Trailer { .. } => trailers.extend_from_slice(&bytes),
                    Part::Extension => panic!("an extension passed"),
                    Part::Framing => {}
                }
            }
            if decoder.is_done() {
                return Some((data, String::from_utf8(trailers).unwrap()));
            }
            if !self.read() {
                return None;
            }
        }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The balancer may have left; the test sees what it should have seen.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Answers 200 with this body.
    pub(super) fn ok(&mut self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat());
    }

    /// Waits for so long in which the balancer must not say anything.
    pub(super) fn hears_nothing_for(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = std::io::Read::read(&mut self.stream, &mut [0; 100]);
        assert!(heard.is_err(), "{heard:?}");
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Waits until the balancer closes.
    pub(super) fn is_closed(&mut self) -> bool {
        while self.read() {}
        true
    }
}

/// An instance: every connection runs the same script.
pub(super) struct Instance {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Instance {
    /// Runs `script` for every connection, each on a thread of its own.
    pub(super) fn new(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Instance {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Instance::on(listener, script)
    }

    pub(super) fn on(
        listener: TcpListener,
        script: impl Fn(&mut Conn) + Send + Sync + 'static,
    ) -> Instance {
        let address = listener.local_addr().unwrap();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming()) {
                let Ok(stream) = stream else { return };
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    script(&mut Conn { stream, unread: Vec::new(), number });
                });
            }
        });
        Instance { address, seen: Arc::default() }
    }

    /// Answers every request with `name`, and records it.
    pub(super) fn named(name: &'static str) -> Instance {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let record = Arc::clone(&seen);
        let instance = Instance::new(move |conn| {
            while let Some(request) = conn.request() {
                record.lock().unwrap().push(request);
                conn.ok(name);
            }
        });
        Instance { seen, ..instance }
    }

    /// Answers every request with what it got.
    pub(super) fn echo() -> Instance {
        Instance::new(|conn| {
            while let Some(request) = conn.request() {
                conn.ok(request.body);
            }
        })
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen().last().cloned().expect("a request")
    }
}
