//! Answers: whole ones, streamed ones, and what becomes of the rest of the request once one is
//! given.

use std::borrow::Cow;

use tucano_common::http1::chunked::ChunkHead;
use tucano_common::http1::write::{self, HeadWriter};
use tucano_common::http1::{BodyDecoder, Version};
use tucano_common::limits::SKIP_BYTES_MAX;

use super::super::app::PushError;
use super::super::config::HttpConfig;
use super::conn::{Conn, Context, Framing, Owed, Reading, Writing};
use super::request::Exchange;
use crate::message::{Headers, Response, ResponseHead};

/// Fields that the server writes itself.
const OWN_FIELDS: [&str; 4] = ["Content-Length", "Transfer-Encoding", "Connection", "X-Request-Id"];

impl Conn {
    /// Answers the request in progress.
    pub(in crate::event_loop) fn respond(&mut self, response: Response, cx: &mut Context<'_>) {
        let Some(exchange) = self.take_due() else { return };
        let can_keep = self.settle_reading(cx);
        let keep = can_keep && exchange.keeps_alive && !cx.draining;
        self.give(&exchange, response, keep);
    }

    /// Begins to answer it in pieces.
    pub(in crate::event_loop) fn respond_stream(
        &mut self,
        head: ResponseHead,
        length: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let Some(exchange) = self.take_due() else { return };
        let framing = match (length, exchange.version) {
            (Some(left), _) => Framing::Length { left },
            (None, Version::Http11) => Framing::Chunked,
            (None, Version::Http10) => Framing::UntilClose,
        };
        let can_keep = self.settle_reading(cx) && !matches!(framing, Framing::UntilClose);
        let keep = can_keep && exchange.keeps_alive && !cx.draining;
        let mut out = Vec::with_capacity(256);
        let status = final_status(head.status);
        let writer = begin(&mut out, status, &head.headers, &exchange, keep);
        let has_body = !exchange.is_head && status_has_body(status);
        match framing {
            _ if !status_has_body(status) => writer.bodiless(),
            Framing::Length { left } => writer.length(left),
            Framing::Chunked => writer.chunked(),
            Framing::UntilClose => writer.bodiless(),
        }
        self.output.append(Cow::Owned(out));
        if has_body {
            self.writing = Writing::Streaming { framing, keep, wants_more: false };
        } else {
            // The application can't know, and would go on to push.
            self.owed = Owed::Gone;
            self.writing = Writing::Finished { keep };
        }
    }

    /// Appends to a streamed answer; returns what its buffer holds.
    pub(in crate::event_loop) fn push(
        &mut self,
        bytes: &[u8],
        config: &HttpConfig,
    ) -> Result<usize, PushError> {
        let Writing::Streaming { framing, wants_more, .. } = &mut self.writing else {
            return Err(PushError::Gone);
        };
        let buffered = self.output.len();
        // An empty buffer takes any piece, or one that is larger than the bound would never be
        // taken.
        if buffered > 0 && buffered + bytes.len() > config.stream_buffer_bytes_max {
            *wants_more = true;
            return Err(PushError::Full);
        }
        match framing {
            _ if bytes.is_empty() => {}
            Framing::Length { left } => {
                let len = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                debug_assert!(len == bytes.len(), "more was pushed than the head promised");
                *left -= len as u64;
                self.output.extend(&bytes[..len]);
            }
            Framing::Chunked => {
                self.output.extend(ChunkHead::new(bytes.len()).as_ref());
                self.output.extend(bytes);
                self.output.extend(b"\r\n");
            }
            Framing::UntilClose => self.output.extend(bytes),
        }
        *wants_more |= self.output.len() >= config.stream_low_water_bytes;
        Ok(self.output.len())
    }

    /// Ends a streamed answer.
    pub(in crate::event_loop) fn finish(&mut self) {
        let Writing::Streaming { framing, keep, .. } = self.writing else { return };
        match framing {
            Framing::Length { left: 1.. } => return self.abort(),
            Framing::Length { left: 0 } | Framing::UntilClose => {}
            Framing::Chunked => self.output.extend(b"0\r\n\r\n"),
        }
        self.writing = Writing::Finished { keep };
    }

    /// Breaks the connection.
    pub(in crate::event_loop) fn abort(&mut self) {
        self.writing = Writing::Idle;
        self.sock.reset_on_close();
        self.end();
    }

    /// Stops or goes on reading a streamed upload.
    pub(in crate::event_loop) fn pause_body(&mut self, pause: bool, cx: &mut Context<'_>) {
        let Reading::Stream { is_paused, .. } = &mut self.reading else { return };
        *is_paused = pause;
        // A client can't be blamed for what it is not allowed to send.
        self.read_by = (!pause).then(|| cx.now.mono + cx.config.body_idle);
    }

    /// Writes a whole answer.
    pub(super) fn give(&mut self, exchange: &Exchange, response: Response, keep: bool) {
        let mut out = Vec::with_capacity(256);
        let status = final_status(response.status);
        let writer = begin(&mut out, status, &response.headers, exchange, keep);
        if status_has_body(status) {
            writer.length(response.body.len() as u64);
        } else {
            writer.bodiless();
        }
        self.output.append(Cow::Owned(out));
        if status_has_body(status) && !exchange.is_head {
            self.output.append(response.body);
        }
        self.writing = Writing::Finished { keep };
    }

    fn take_due(&mut self) -> Option<Exchange> {
        if !matches!(self.writing, Writing::Due(_)) {
            return None;
        }
        match std::mem::replace(&mut self.writing, Writing::Idle) {
            Writing::Due(exchange) => Some(exchange),
            Writing::Idle | Writing::Streaming { .. } | Writing::Finished { .. } => None,
        }
    }

    /// The answer is given: decides about the rest of the request's body. Whether the connection
    /// can be kept.
    fn settle_reading(&mut self, cx: &mut Context<'_>) -> bool {
        let (decoder, is_awaited) = match &self.reading {
            Reading::Head { .. } | Reading::Done => return true,
            Reading::Linger { .. } => return false,
            Reading::Planned { decoder, expects_continue } => (*decoder, *expects_continue),
            Reading::Collect { decoder, .. }
            | Reading::Stream { decoder, .. }
            | Reading::Skip { decoder } => (*decoder, false),
        };
        match decoder {
            _ if decoder.is_done() => {
                self.reading = Reading::Done;
                self.read_by = None;
                true
            }
            // A client that waits for 100 may send the body after a refusal or not: nobody can
            // tell.
            BodyDecoder::Length { left } if left <= SKIP_BYTES_MAX && !is_awaited => {
                self.reading = Reading::Skip { decoder };
                self.read_by = Some(cx.now.mono + cx.config.body_idle);
                true
            }
            BodyDecoder::Length { .. } | BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => {
                self.begin_linger(cx);
                false
            }
        }
    }
}

/// An interim or unknown status would break the framing; that an application gives one is a defect.
fn final_status(status: u16) -> u16 {
    if (200..600).contains(&status) {
        return status;
    }
    log::error!("an answer with the status {status} was to be given; 500 is given");
    500
}

fn status_has_body(status: u16) -> bool {
    !matches!(status, 204 | 304)
}

fn begin<'a>(
    out: &'a mut Vec<u8>,
    status: u16,
    headers: &Headers,
    exchange: &Exchange,
    keep: bool,
) -> HeadWriter<'a> {
    let mut writer = write::response(out, status);
    for (name, value) in headers.iter() {
        if !OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            writer = writer.field(name, value);
        }
    }
    writer = writer.field("X-Request-Id", &exchange.request_id);
    match (keep, exchange.version) {
        (false, _) => writer.keep(false),
        (true, Version::Http10) => writer.field("Connection", "keep-alive"),
        (true, Version::Http11) => writer,
    }
}
