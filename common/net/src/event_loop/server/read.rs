//! Reading: heads, bodies that are collected, streamed or dropped, and what comes after the last
//! answer.
//!
//! Each of these does one piece of work: `Some` is for the loop, `None` means that there may be
//! more at once.

use tucano_common::http1::chunked::Part;
use tucano_common::http1::{self, BodyDecoder, HeadScan};
use tucano_common::limits;

use super::super::app::BodyPlan;
use super::super::buffers::InBuf;
use super::super::sock::Fill;
use super::conn::{Conn, Context, Reading, Step, Writing};
use super::lent::Lent;
use super::request::{self, Exchange};
use crate::message::{Request, RequestHead};

impl Conn {
    pub(super) fn read_head(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let Reading::Head { scan } = &mut self.reading else { return None };
        if self.input.is_empty() {
            if cx.draining && self.serial > 0 && self.output.is_empty() {
                self.end();
                return None;
            }
        } else {
            let had_begun = scan.has_begun();
            match http1::RequestHead::parse(self.input.data(), scan) {
                Ok(Some(head)) => return Some(self.begin_request(&head, cx)),
                Ok(None) if scan.has_begun() && !had_begun && (self.serial > 0 || cx.draining) => {
                    self.read_by = Some(cx.now.mono + cx.config.head_timeout);
                }
                // The first head's time began with the connection.
                Ok(None) => {}
                Err(error) => {
                    self.refuse(error.status(), error.reason(), cx);
                    return None;
                }
            }
        }
        self.fill(cx)
    }

    fn begin_request(&mut self, head: &http1::RequestHead, cx: &mut Context<'_>) -> Step {
        let owned = request::owned(head, self.input.data(), cx.ids, cx.now.wall);
        self.input.consume(head.len());
        self.serial = self.serial.wrapping_add(1);
        self.writing = Writing::Due(Exchange::of(head, &owned.request_id));
        self.reading = Reading::Planned {
            decoder: BodyDecoder::new(head.body),
            expects_continue: head.expects_continue,
        };
        self.read_by = None;
        Step::Head(Box::new(owned))
    }

    /// What the application decided about the body of the request whose head it was told.
    pub(in crate::event_loop) fn plan(
        &mut self,
        head: Box<RequestHead>,
        plan: BodyPlan,
        cx: &mut Context<'_>,
    ) {
        let Reading::Planned { decoder, expects_continue } = self.reading else {
            // It answered within its decision.
            return;
        };
        let bytes_max = match &plan {
            BodyPlan::Buffer { bytes_max } => *bytes_max as u64,
            BodyPlan::Stream { bytes_max } => *bytes_max,
            BodyPlan::Refuse(_) => u64::MAX,
        };
        let declared = head.body_length.unwrap_or(0);
        if declared > bytes_max {
            self.refuse_size(bytes_max, cx);
            return;
        }
        match plan {
            BodyPlan::Refuse(response) => {
                self.respond(response, cx);
                return;
            }
            BodyPlan::Buffer { bytes_max } => {
                let body = Vec::with_capacity(
                    declared.min(limits::BODY_RESERVE_BYTES_MAX as u64) as usize
                );
                self.reading = Reading::Collect { head, body, bytes_max, decoder };
            }
            BodyPlan::Stream { bytes_max } => {
                self.reading = Reading::Stream { left: bytes_max, decoder, is_paused: false };
            }
        }
        if !decoder.is_done() {
            self.read_by = Some(cx.now.mono + cx.config.body_idle);
            if expects_continue && self.input.is_empty() {
                self.output.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
        }
    }

    pub(super) fn read_collected(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let Reading::Collect { body, bytes_max, decoder, .. } = &mut self.reading else {
            return None;
        };
        match decoder.next(self.input.data()) {
            Err(error) => self.refuse(400, error.reason(), cx),
            Ok(Some(piece)) => {
                if piece.part == Part::Data {
                    if body.len() + piece.len > *bytes_max {
                        let bytes_max = *bytes_max as u64;
                        self.refuse_size(bytes_max, cx);
                        return None;
                    }
                    body.extend_from_slice(&self.input.data()[..piece.len]);
                }
                self.input.consume(piece.len);
            }
            Ok(None) if decoder.is_done() => return self.end_collected(cx),
            Ok(None) => return self.fill_body(cx),
        }
        None
    }

    fn end_collected(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let reading = std::mem::replace(&mut self.reading, Reading::Done);
        let Reading::Collect { head, body, .. } = reading else { return None };
        self.read_by = None;
        self.input.release(cx.pool);
        Some(Step::Request(Request { head: *head, body }))
    }

    pub(super) fn read_streamed(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let Reading::Stream { left, decoder, is_paused } = &mut self.reading else { return None };
        if *is_paused {
            return Some(Step::Wait);
        }
        match decoder.next(self.input.data()) {
            Err(error) => self.refuse(400, error.reason(), cx),
            Ok(Some(piece)) if piece.part == Part::Data => {
                let Some(rest) = left.checked_sub(piece.len as u64) else {
                    self.refuse(413, "the body is larger than this route takes", cx);
                    return None;
                };
                *left = rest;
                return Some(Step::Data(Lent::new(std::mem::take(&mut self.input), piece.len)));
            }
            Ok(Some(piece)) => self.input.consume(piece.len),
            Ok(None) if decoder.is_done() => {
                self.reading = Reading::Done;
                self.read_by = None;
                self.input.release(cx.pool);
                return Some(Step::BodyEnd);
            }
            Ok(None) => return self.fill_body(cx),
        }
        None
    }

    /// Takes back what [`Step::Data`] lent.
    pub(in crate::event_loop) fn give_back(&mut self, input: InBuf) {
        self.input = input;
    }

    pub(super) fn read_skipped(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let Reading::Skip { decoder } = &mut self.reading else { return None };
        match decoder.next(self.input.data()) {
            // It was answered already: nothing can be said about it any more.
            Err(_) => self.begin_linger(cx),
            Ok(Some(piece)) => self.input.consume(piece.len),
            Ok(None) if decoder.is_done() => {
                self.reading = Reading::Done;
                self.read_by = None;
            }
            Ok(None) => return self.fill_body(cx),
        }
        None
    }

    pub(super) fn linger(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let Reading::Linger { left, is_fin_sent } = &mut self.reading else { return None };
        if self.output.is_empty() && !*is_fin_sent {
            *is_fin_sent = true;
            self.sock.finish_sending();
            self.read_by = Some(cx.now.mono + cx.config.linger);
        }
        *left = left.saturating_sub(self.input.data().len() as u64);
        let is_enough = *left == 0;
        self.input.consume(usize::MAX);
        if is_enough || (self.output.is_empty() && self.sock.is_read_finished()) {
            self.end();
            return None;
        }
        match self.sock.fill(&mut self.input, cx.pool) {
            Fill::Got(len) => {
                cx.budget = cx.budget.saturating_sub(len);
                None
            }
            // Its end is looked at again above, once everything was written.
            Fill::Eof if self.output.is_empty() => None,
            Fill::Eof | Fill::Wait => {
                self.input.release(cx.pool);
                Some(Step::Wait)
            }
            Fill::Broken(_) => {
                self.end();
                None
            }
        }
    }

    fn fill_body(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let step = self.fill(cx);
        if step.is_none() {
            self.read_by = Some(cx.now.mono + cx.config.body_idle);
        }
        step
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        match self.sock.fill(&mut self.input, cx.pool) {
            Fill::Got(len) => {
                cx.budget = cx.budget.saturating_sub(len);
                None
            }
            Fill::Wait => {
                self.input.release(cx.pool);
                Some(Step::Wait)
            }
            Fill::Eof | Fill::Broken(_) => {
                self.end();
                None
            }
        }
    }

    fn refuse_size(&mut self, bytes_max: u64, cx: &mut Context<'_>) {
        let allowed = tucano_common::units::format_size(bytes_max);
        self.refuse(413, &format!("the body is too large; {allowed} are allowed here"), cx);
    }

    pub(super) fn begin_linger(&mut self, cx: &mut Context<'_>) {
        self.reading = Reading::Linger { left: limits::LINGER_BYTES_MAX, is_fin_sent: false };
        self.read_by = None;
        self.input.consume(usize::MAX);
        self.input.release(cx.pool);
    }

    pub(super) fn begin_next(&mut self, cx: &mut Context<'_>) {
        self.reading = Reading::Head { scan: HeadScan::default() };
        self.writing = Writing::Idle;
        self.read_by = Some(cx.now.mono + cx.config.keep_alive_idle);
        self.input.release(cx.pool);
    }
}
