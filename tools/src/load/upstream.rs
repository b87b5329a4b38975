//! An upstream that misbehaves on request: what a balancer meets in the wild, on one port.
//!
//! The first segment of the path chooses ([`Behaviour::parse`]), the flag `--behave` the default
//! for other paths. A thread a connection, bounded; it is a test's partner and no server.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const CONNECTIONS: usize = 1024;
const HEAD_BYTES: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(120);

/// What the upstream does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 200 with a body.
    Fine,
    /// 200 after so long.
    Slow(Duration),
    /// 200 with a body that comes a byte at a time, so far apart.
    Drip(Duration),
    /// This status.
    Status(u16),
    /// Breaks the connection with a RST, without an answer.
    Reset,
    /// Closes the connection without an answer.
    Close,
    /// Half of the body that its Content-Length promises, then the end.
    Half,
    /// A chunked body without its last chunk.
    HalfChunked,
    /// What is no HTTP.
    Garbage,
    /// 200, kept alive, and the connection closed right after.
    CloseIdle,
    /// Two answers to one request.
    Twice,
    /// Nothing, ever.
    Hang,
}

/// Each behaviour that takes no number, with its name.
const PLAIN: [(&str, Behaviour); 9] = [
    ("fine", Behaviour::Fine),
    ("reset", Behaviour::Reset),
    ("close", Behaviour::Close),
    ("half", Behaviour::Half),
    ("half-chunked", Behaviour::HalfChunked),
    ("garbage", Behaviour::Garbage),
    ("close-idle", Behaviour::CloseIdle),
    ("twice", Behaviour::Twice),
    ("hang", Behaviour::Hang),
];

/// A text names no behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBehaviour;

impl fmt::Display for NoBehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write one of slow=MS, drip=MS, status=N")?;
        PLAIN.iter().try_for_each(|(name, _)| write!(f, ", {name}"))
    }
}

impl Behaviour {
    /// Reads `reset`, `slow=500`, `status=503` …
    pub fn parse(text: &str) -> Result<Behaviour, NoBehaviour> {
        if let Some((_, behaviour)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(*behaviour);
        }
        let (name, number) = text.split_once('=').ok_or(NoBehaviour)?;
        let number: u16 = number.parse().map_err(|_| NoBehaviour)?;
        let time = Duration::from_millis(number.into());
        match name {
            "slow" => Ok(Behaviour::Slow(time)),
            "drip" => Ok(Behaviour::Drip(time)),
            "status" if (100..600).contains(&number) => Ok(Behaviour::Status(number)),
            _ => Err(NoBehaviour),
        }
    }
}

/// How an upstream answers.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    /// To paths that name no behaviour.
    pub default: Behaviour,
    /// The size of bodies.
    pub body_bytes: usize,
}

impl Upstream {
    /// Listens there and answers in threads of its own until the process ends; gives its address.
    pub fn start(self, listen: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        thread::Builder::new().name("upstream".into()).spawn(move || self.accept(&listener))?;
        Ok(address)
    }

    fn accept(self, listener: &TcpListener) {
        let open = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming().flatten() {
            if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
                open.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let of_thread = Arc::clone(&open);
            let spawned = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
                let _ = self.converse(&stream); // the other side may go at any time
                of_thread.fetch_sub(1, Ordering::SeqCst);
            });
            if spawned.is_err() {
                open.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    fn converse(self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        loop {
            if reader.fill_buf()?.is_empty() {
                return Ok(());
            }
            let Some(behaviour) = self.read_request(&mut reader)? else { return Ok(()) };
            if !self.answer(stream, behaviour)? {
                return Ok(());
            }
        }
    }

    /// Reads a request and what it asks for; `None` where it can't be read.
    fn read_request(self, reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Behaviour>> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let left = HEAD_BYTES.saturating_sub(head.len() as u64);
            if reader.by_ref().take(left).read_line(&mut head)? == 0 {
                return Ok(None);
            }
            if self.asked(&head) == Behaviour::Reset {
                return Ok(Some(Behaviour::Reset)); // the rest stays unread: closing sends a RST
            }
        }
        let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, v)| {
            name.eq_ignore_ascii_case("content-length").then(|| v.trim().parse::<u64>().ok())?
        });
        io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), &mut io::sink())?;
        Ok(Some(self.asked(&head)))
    }

    /// What the request line asks for.
    fn asked(self, head: &str) -> Behaviour {
        let path = head.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
        Behaviour::parse(path.split('/').next().unwrap_or("")).unwrap_or(self.default)
    }

    /// Whether the connection goes on.
    fn answer(self, mut stream: &TcpStream, behaviour: Behaviour) -> io::Result<bool> {
        let body = vec![b'x'; self.body_bytes];
        match behaviour {
            Behaviour::Fine => stream.write_all(&whole(200, &body))?,
            Behaviour::Slow(time) => {
                thread::sleep(time);
                stream.write_all(&whole(200, &body))?;
            }
            Behaviour::Drip(time) => {
                stream.write_all(head(200, body.len()).as_bytes())?;
                for byte in &body {
                    thread::sleep(time);
                    stream.write_all(&[*byte])?;
                }
            }
            Behaviour::Status(status) => stream.write_all(&whole(status, &body))?,
            Behaviour::Reset | Behaviour::Close => return Ok(false),
            Behaviour::Half => {
                stream.write_all(head(200, 2 * body.len() + 2).as_bytes())?;
                stream.write_all(&body)?;
                return Ok(false);
            }
            Behaviour::HalfChunked => {
                let size = body.len().max(1);
                let head =
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n");
                stream.write_all(head.as_bytes())?;
                stream.write_all(&vec![b'x'; size])?;
                stream.write_all(b"\r\n")?;
                return Ok(false);
            }
            Behaviour::Garbage => {
                stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n")?;
                return Ok(false);
            }
            Behaviour::CloseIdle => {
                stream.write_all(&whole(200, &body))?;
                return Ok(false);
            }
            Behaviour::Twice => {
                stream.write_all(&[whole(200, &body), whole(200, b"injected")].concat())?;
            }
            Behaviour::Hang => {
                let mut byte = [0];
                let _ = stream.read(&mut byte)?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn head(status: u16, length: usize) -> String {
    format!("HTTP/1.1 {status} -\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
}

fn whole(status: u16, body: &[u8]) -> Vec<u8> {
    [head(status, body.len()).as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Failure, Plan, Report, Stop, run};

    fn against(default: Behaviour, change: impl Fn(&mut Plan)) -> Report {
        let upstream = Upstream { default, body_bytes: 10 };
        let address = upstream.start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut plan = Plan::new(address, "upstream");
        (plan.connections, plan.requests) = (2, 20);
        change(&mut plan);
        run(&plan, &Stop::default()).unwrap()
    }

    #[test]
    fn names() {
        assert_eq!(Behaviour::parse("reset"), Ok(Behaviour::Reset));
        assert_eq!(Behaviour::parse("slow=20"), Ok(Behaviour::Slow(Duration::from_millis(20))));
        for text in ["", "slow", "slow=", "status=42", "fast=1"] {
            assert_eq!(Behaviour::parse(text), Err(NoBehaviour), "{text}");
        }
    }

    #[test]
    fn what_is_fine_succeeds_kept_or_closed_fast_or_paced() {
        let kept = against(Behaviour::Fine, |_| ());
        assert_eq!((kept.succeeded, kept.failed(), kept.connections), (20, 0, 2), "{kept}");
        assert_eq!((kept.body_bytes, kept.by_status[&200]), (200, 20));
        let closed = against(Behaviour::Fine, |plan| plan.close = true);
        assert_eq!((closed.succeeded, closed.connections), (20, 20), "{closed}");
        let paced = against(Behaviour::Slow(Duration::from_millis(1)), |plan| {
            plan.rate = Some(1000);
            plan.contains = Some("xxx".to_owned());
        });
        assert_eq!((paced.succeeded, paced.failed()), (20, 0), "{paced}");
        assert!(paced.latency.quantile(0.5) >= Duration::from_millis(1), "{paced}");
    }

    #[test]
    fn each_misbehaviour_has_its_count() {
        for (behaviour, failure) in [
            (Behaviour::Status(503), Failure::Status),
            (Behaviour::Close, Failure::Cut),
            (Behaviour::Half, Failure::Cut),
            (Behaviour::HalfChunked, Failure::Cut),
            (Behaviour::Garbage, Failure::Malformed),
        ] {
            let report = against(behaviour, |_| ());
            assert_eq!(report.failures.get(&failure), Some(&20), "{behaviour:?}: {report}");
            assert_eq!((report.succeeded, report.failed()), (0, 20));
        }
        let reset = against(Behaviour::Reset, |_| ());
        assert_eq!(reset.failed(), 20, "{reset}");
        let body = against(Behaviour::Fine, |plan| plan.contains = Some("y".to_owned()));
        assert_eq!(body.failures.get(&Failure::Body), Some(&20), "{body}");
        let hang = against(Behaviour::Hang, |plan| {
            plan.requests = 2;
            plan.timeout = Duration::from_millis(50);
        });
        assert_eq!(hang.failures.get(&Failure::Timeout), Some(&2), "{hang}");
    }

    #[test]
    fn a_kept_connection_that_closed_is_no_failure() {
        let report = against(Behaviour::CloseIdle, |plan| plan.connections = 1);
        assert_eq!((report.succeeded, report.failed()), (20, 0), "{report}");
    }

    #[test]
    fn nobody_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut plan = Plan::new(address, "nobody");
        plan.requests = 4;
        let report = run(&plan, &Stop::default()).unwrap();
        assert_eq!(report.failures.get(&Failure::Connect), Some(&4), "{report}");
    }
}
