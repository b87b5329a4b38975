//! One connection of the generator: at most one request at a time, written, read and judged.
//!
//! ```text
//!   Idle ──begin──► Writing ──all written──► Reading ──whole answer──► Idle, or closed
//!                      └──────────── any error ────────────┴──► closed
//! ```

use std::io::{self, Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use tucano_common::http1::chunked::Part;
use tucano_common::http1::{BodyDecoder, HeadScan, Method, ResponseHead};

use super::{Failure, Plan};

/// How much of a body is kept to be looked at.
const BODY_KEPT: usize = 64 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// What is known of an answer while it comes.
struct Answer {
    scan: HeadScan,
    /// Bytes not yet understood.
    input: Vec<u8>,
    head: Option<Head>,
    body: Vec<u8>,
    body_bytes: u64,
}

struct Head {
    status: u16,
    instance: Option<String>,
    balancer: Option<String>,
    decoder: BodyDecoder,
    keeps_alive: bool,
}

/// A whole answer.
pub(super) struct Finished {
    pub(super) due: Instant,
    pub(super) status: u16,
    pub(super) instance: Option<String>,
    pub(super) balancer: Option<String>,
    pub(super) body_bytes: u64,
    /// What of it was wrong, if anything.
    pub(super) failure: Option<Failure>,
    pub(super) keeps_alive: bool,
}

/// What a turn brought.
pub(super) enum Turn {
    /// More is to come.
    Waits,
    /// The answer is there.
    Finished(Finished),
    /// The request failed; the connection is of no use any more.
    Failed(Failure),
    /// A kept connection was closed before a byte of an answer: the request goes again.
    Stale,
    /// Nothing was in flight and the other side closed it.
    Closed,
}

struct Exchange {
    due: Instant,
    begun: Instant,
    written: usize,
    answer: Answer,
}

/// One connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    exchange: Option<Exchange>,
    answered: u64,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection { stream, exchange: None, answered: 0 }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.exchange.is_none()
    }

    /// When the request in flight was due and begun.
    pub(super) fn in_flight(&self) -> Option<(Instant, Instant)> {
        self.exchange.as_ref().map(|exchange| (exchange.due, exchange.begun))
    }

    /// Begins a request that was due at `due`. A kept connection is writable already and nobody
    /// will say so again: it is written to at once. An error shows at the next turn.
    pub(super) fn begin(&mut self, due: Instant, now: Instant, request: &[u8]) {
        let answer = Answer {
            scan: HeadScan::default(),
            input: Vec::new(),
            head: None,
            body: Vec::new(),
            body_bytes: 0,
        };
        let mut written = 0;
        if self.answered > 0 {
            let _ = write(&mut self.stream, request, &mut written);
        }
        self.exchange = Some(Exchange { due, begun: now, written, answer });
    }

    /// Does what can be done without waiting.
    pub(super) fn run(&mut self, plan: &Plan, request: &[u8], scratch: &mut [u8]) -> Turn {
        debug_assert!(scratch.len() >= READ_BYTES);
        let Some(exchange) = &mut self.exchange else {
            return match self.stream.read(scratch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::Waits,
                Ok(_) | Err(_) => Turn::Closed,
            };
        };
        let is_reused = self.answered > 0;
        let write_error = write(&mut self.stream, request, &mut exchange.written).err();
        let turn = read(&mut self.stream, plan, exchange, scratch);
        let turn = match (turn, write_error) {
            (turn, None) => turn,
            // A server may answer and close without having taken all of the request.
            (Turn::Finished(finished), Some(_)) => Turn::Finished(finished),
            (_, Some(error)) => Turn::Failed(broken(&error)),
        };
        match turn {
            Turn::Failed(Failure::Broken | Failure::Cut)
                if is_reused && exchange.answer.is_untouched() =>
            {
                Turn::Stale
            }
            Turn::Finished(finished) => {
                self.exchange = None;
                self.answered += 1;
                Turn::Finished(finished)
            }
            turn => turn,
        }
    }
}

impl Answer {
    fn is_untouched(&self) -> bool {
        self.head.is_none() && self.input.is_empty()
    }
}

fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Failure::Connect,
        io::ErrorKind::UnexpectedEof => Failure::Cut,
        _ => Failure::Broken,
    }
}

fn write(stream: &mut TcpStream, request: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < request.len() {
        match stream.write(&request[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Not connected yet: the readiness that tells is still to come.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read(stream: &mut TcpStream, plan: &Plan, exchange: &mut Exchange, scratch: &mut [u8]) -> Turn {
    loop {
        match stream.read(scratch) {
            Ok(0) => return exchange.answer.ended_by_close(plan, exchange.due),
            Ok(count) => match exchange.answer.take(&scratch[..count], plan, exchange.due) {
                Turn::Waits => {}
                turn => return turn,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                ) =>
            {
                return Turn::Waits;
            }
            Err(error) => return Turn::Failed(broken(&error)),
        }
    }
}

impl Answer {
    /// Takes bytes as they come.
    fn take(&mut self, bytes: &[u8], plan: &Plan, due: Instant) -> Turn {
        self.input.extend_from_slice(bytes);
        while self.head.is_none() {
            let head = match ResponseHead::parse(&self.input, &mut self.scan, plan.method) {
                Ok(Some(head)) => head,
                Ok(None) => return Turn::Waits,
                Err(_) => return Turn::Failed(Failure::Malformed),
            };
            let len = head.len();
            if !head.is_interim() {
                self.head = Some(Head::of(&head, &self.input));
            }
            self.input.drain(..len);
            self.scan = HeadScan::default();
        }
        let Some(head) = &mut self.head else { return Turn::Waits };
        let mut used = 0;
        loop {
            match head.decoder.next(&self.input[used..]) {
                Ok(Some(piece)) => {
                    if piece.part == Part::Data {
                        let room = BODY_KEPT.saturating_sub(self.body.len()).min(piece.len);
                        self.body.extend_from_slice(&self.input[used..used + room]);
                        self.body_bytes += piece.len as u64;
                    }
                    used += piece.len;
                }
                Ok(None) => break,
                Err(_) => return Turn::Failed(Failure::Malformed),
            }
        }
        self.input.drain(..used);
        if !head.decoder.is_done() {
            return Turn::Waits;
        }
        // What follows a whole answer is no answer of ours.
        if self.input.is_empty() {
            self.finish(plan, due)
        } else {
            Turn::Failed(Failure::Malformed)
        }
    }

    fn ended_by_close(&mut self, plan: &Plan, due: Instant) -> Turn {
        match &mut self.head {
            Some(head) if head.decoder.may_end_at_close() => {
                head.keeps_alive = false;
                self.finish(plan, due)
            }
            Some(_) | None => Turn::Failed(Failure::Cut),
        }
    }

    fn finish(&mut self, plan: &Plan, due: Instant) -> Turn {
        let Some(head) = self.head.take() else { return Turn::Failed(Failure::Cut) };
        let status_fits = match plan.status {
            Some(status) => head.status == status,
            None => (200..300).contains(&head.status),
        };
        let contains = plan.contains.as_deref().map(str::as_bytes);
        let body_fits = contains.is_none_or(|text| {
            plan.method == Method::Head || self.body.windows(text.len()).any(|part| part == text)
        });
        let failure = match (status_fits, body_fits) {
            (false, _) => Some(Failure::Status),
            (true, false) => Some(Failure::Body),
            (true, true) => None,
        };
        Turn::Finished(Finished {
            due,
            status: head.status,
            instance: head.instance,
            balancer: head.balancer,
            body_bytes: self.body_bytes,
            failure,
            keeps_alive: head.keeps_alive,
        })
    }
}

impl Head {
    fn of(head: &ResponseHead, input: &[u8]) -> Head {
        let named = |name: &[u8]| {
            let mut fields = head.fields.as_slice().iter();
            let field = fields.find(|field| field.name.of(input).eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(field.value.of(input)).into_owned())
        };
        Head {
            status: head.status,
            instance: named(b"x-tucano-instance"),
            balancer: named(b"x-tucano-error"),
            decoder: BodyDecoder::new(head.body),
            keeps_alive: head.keeps_alive(),
        }
    }
}
