//! One connection of the blocking client: a socket with time limits, and what was read of it and
//! not used.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tucano_common::http1::chunked::Part;
use tucano_common::http1::{Body, BodyDecoder, HeadScan, Method, ResponseHead as ParsedHead};
use tucano_common::limits::{INTERIM_ANSWERS_MAX, READ_BUFFER_BYTES};
use tucano_common::time::Mono;

use super::Timeouts;
use crate::clock::Clock;
use crate::event_loop::owned_head;
use crate::keepalive;
use crate::message::ResponseHead;

/// Why no head of an answer came.
pub(super) enum Failure {
    BadAnswer(&'static str),
    Io(io::Error),
}

/// The head of an answer, and how its body ends.
pub(super) struct Head {
    pub(super) head: ResponseHead,
    pub(super) body: Body,
}

/// A connection.
pub(super) struct Connection {
    stream: TcpStream,
    method: Method,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// For each read of the body.
    pub(super) idle: Option<Duration>,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        method: Method,
        timeouts: Timeouts,
    ) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        keepalive::enable(&stream)?;
        stream.set_write_timeout(Some(timeouts.idle))?;
        let bytes = vec![0; READ_BUFFER_BYTES];
        Ok(Connection { stream, method, bytes, start: 0, end: 0, idle: Some(timeouts.idle) })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits to be asked for the body: `Some` is a final answer in its place, `None` that it may be
    /// sent, because the server says so or says nothing.
    pub(super) fn await_continue(&mut self, wait: Duration) -> Result<Option<Head>, Failure> {
        match self.next_head(Clock::mono() + wait) {
            Ok((100, _)) => Ok(None),
            Ok((_, head)) => Ok(Some(head)),
            Err(Failure::Io(error)) if is_timeout(&error) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads the head of the final answer.
    pub(super) fn read_head(&mut self, wait: Duration) -> Result<Head, Failure> {
        let by = Clock::mono() + wait;
        for _ in 0..=INTERIM_ANSWERS_MAX {
            match self.next_head(by)? {
                (100 | 102..200, _) => {}
                (101, _) => return Err(Failure::BadAnswer("a protocol nobody asked for")),
                (_, head) => return Ok(head),
            }
        }
        Err(Failure::BadAnswer("too many interim answers"))
    }

    fn next_head(&mut self, by: Mono) -> Result<(u16, Head), Failure> {
        let mut scan = HeadScan::default();
        loop {
            let data = &self.bytes[self.start..self.end];
            let parsed = ParsedHead::parse(data, &mut scan, self.method);
            if let Some(head) = parsed.map_err(|error| Failure::BadAnswer(error.reason()))? {
                let owned = Head { head: owned_head(&head, data), body: head.body };
                self.start += head.len();
                return Ok((head.status, owned));
            }
            let left = by.since(Clock::mono());
            if left.is_zero() {
                return Err(Failure::Io(io::ErrorKind::TimedOut.into()));
            }
            if self.fill(Some(left)).map_err(Failure::Io)? == 0 {
                return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads some of the body into `out`; zero at its end.
    pub(super) fn read_body(
        &mut self,
        decoder: &mut BodyDecoder,
        out: &mut [u8],
    ) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            // Not more than fits `out`: what the decoder has told is used up.
            let end = self.end.min(self.start.saturating_add(out.len()));
            let data = &self.bytes[self.start..end];
            let told = decoder.next(data);
            match told.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Some(piece) => {
                    let from = self.start;
                    self.start += piece.len;
                    if piece.part == Part::Data {
                        out[..piece.len].copy_from_slice(&self.bytes[from..from + piece.len]);
                        return Ok(piece.len);
                    }
                }
                None if decoder.is_done() => return Ok(0),
                // A trailer line is told whole, which takes more than a small `out` shows of it.
                None if end < self.end => return self.read_past_trailers(decoder),
                None => {
                    if self.fill(self.idle)? == 0 {
                        return end_at_close(decoder);
                    }
                }
            }
        }
    }

    /// Only trailers are left.
    fn read_past_trailers(&mut self, decoder: &mut BodyDecoder) -> io::Result<usize> {
        loop {
            let told = decoder.next(&self.bytes[self.start..self.end]);
            match told.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Some(piece) => self.start += piece.len,
                None if decoder.is_done() => return Ok(0),
                None => {
                    if self.fill(self.idle)? == 0 {
                        return end_at_close(decoder);
                    }
                }
            }
        }
    }

    fn fill(&mut self, wait: Option<Duration>) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        self.stream.set_read_timeout(wait)?;
        loop {
            match self.stream.read(&mut self.bytes[self.end..]) {
                Ok(len) => {
                    self.end += len;
                    return Ok(len);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn end_at_close(decoder: &BodyDecoder) -> io::Result<usize> {
    if decoder.may_end_at_close() { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What a socket with a time limit says when it passed (Linux: WouldBlock).
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
