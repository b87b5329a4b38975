//! The answer: its head, past interim ones, and its body, collected or handed over.

use std::io;

use tucano_common::http1::chunked::Part;
use tucano_common::http1::{Body, BodyDecoder, HeadScan, ResponseHead as ParsedHead};
use tucano_common::limits::INTERIM_ANSWERS_MAX;

use super::super::app::CallError;
use super::super::server::Lent;
use super::super::slab::Key;
use super::super::sock::Fill;
use super::call::{Call, Context, Sink, Spec, State, Step};
use crate::message::{Answer, AnswerMode, Headers, ResponseHead};

/// What a read came to for the answer.
enum Filled {
    More,
    Wait,
    End(Option<io::Error>),
}

impl Call {
    /// Sends the request and waits for the head of its answer.
    pub(super) fn ask(&mut self, up: Key, cx: &mut Context<'_>) -> Option<Step> {
        // A server may answer and close before it read everything: what it said is looked at first.
        let sent = self.send(up, cx);
        let (State::Asking { scan, .. }, Spec::Request { method, .. }) =
            (&mut self.state, &self.spec)
        else {
            return Some(Step::Wait);
        };
        let input = &cx.pool.get_mut(up)?.input;
        if !input.is_empty() {
            match ParsedHead::parse(input.data(), scan, *method) {
                Err(error) => return Some(self.fail(CallError::BadAnswer(error.reason()), cx)),
                Ok(Some(head)) if head.is_interim() => return self.skip_interim(up, &head, cx),
                Ok(Some(head)) => return self.begin_receiving(up, &head, cx),
                Ok(None) => {}
            }
        }
        match fill(up, cx) {
            Filled::More => {
                if let State::Asking { may_be_stale, .. } = &mut self.state {
                    *may_be_stale = false;
                }
                None
            }
            Filled::End(error) => self.broke(up, error, cx),
            Filled::Wait => match sent {
                Ok(()) => Some(Step::Wait),
                Err(error) => self.broke(up, Some(error), cx),
            },
        }
    }

    fn skip_interim(&mut self, up: Key, head: &ParsedHead, cx: &mut Context<'_>) -> Option<Step> {
        cx.pool.get_mut(up)?.input.consume(head.len());
        let State::Asking { scan, interims, .. } = &mut self.state else { return None };
        *scan = HeadScan::default();
        *interims += 1;
        if *interims > INTERIM_ANSWERS_MAX {
            return Some(self.fail(CallError::BadAnswer("too many interim answers"), cx));
        }
        None
    }

    fn begin_receiving(
        &mut self,
        up: Key,
        head: &ParsedHead,
        cx: &mut Context<'_>,
    ) -> Option<Step> {
        if head.status == 101 {
            return Some(self.fail(CallError::BadAnswer("a protocol nobody asked for"), cx));
        }
        let Spec::Request { answer, keep_alive, .. } = &self.spec else { return None };
        let (mode, wants_keep) = (*answer, *keep_alive);
        let keep = wants_keep && head.keeps_alive() && self.is_sent();
        let input = &mut cx.pool.get_mut(up)?.input;
        let owned = owned(head, input.data());
        input.consume(head.len());
        let (sink, step) = match mode {
            AnswerMode::Stream => (Sink::Stream, Some(Step::Head(owned))),
            AnswerMode::Collect { bytes_max } => {
                if let Body::Length(len) = head.body
                    && len > bytes_max as u64
                {
                    return Some(self.fail(CallError::TooLarge { bytes_max }, cx));
                }
                let ResponseHead { status, headers } = owned;
                let answer = Answer { status, headers, body: Vec::new() };
                (Sink::Collect { answer, bytes_max }, None)
            }
        };
        self.due_by = Some(cx.now.mono + self.timeouts.body_idle);
        self.state = State::Receiving { up, decoder: BodyDecoder::new(head.body), sink, keep };
        step
    }

    /// Reads the body of the answer.
    pub(super) fn receive(&mut self, up: Key, cx: &mut Context<'_>) -> Option<Step> {
        if self.is_paused {
            return Some(Step::Wait);
        }
        let State::Receiving { decoder, sink, .. } = &mut self.state else { return None };
        let input = &mut cx.pool.get_mut(up)?.input;
        match (decoder.next(input.data()), sink) {
            (Err(error), _) => Some(self.fail(CallError::BadAnswer(error.reason()), cx)),
            (Ok(Some(piece)), _) if piece.part != Part::Data => {
                input.consume(piece.len);
                None
            }
            (Ok(Some(piece)), Sink::Stream) => {
                Some(Step::Data(Lent::new(std::mem::take(input), piece.len)))
            }
            (Ok(Some(piece)), Sink::Collect { answer, bytes_max }) => {
                if answer.body.len() + piece.len > *bytes_max {
                    let bytes_max = *bytes_max;
                    return Some(self.fail(CallError::TooLarge { bytes_max }, cx));
                }
                answer.body.extend_from_slice(&input.data()[..piece.len]);
                input.consume(piece.len);
                None
            }
            (Ok(None), _) if decoder.is_done() => Some(self.end(cx)),
            (Ok(None), _) => self.await_more(up, cx),
        }
    }

    fn await_more(&mut self, up: Key, cx: &mut Context<'_>) -> Option<Step> {
        match fill(up, cx) {
            Filled::More => {
                self.due_by = Some(cx.now.mono + self.timeouts.body_idle);
                None
            }
            Filled::Wait => Some(Step::Wait),
            Filled::End(None) if self.may_end_here() => Some(self.end(cx)),
            Filled::End(error) => self.broke(up, error, cx),
        }
    }

    fn may_end_here(&self) -> bool {
        matches!(&self.state, State::Receiving { decoder, .. } if decoder.may_end_at_close())
    }

    /// All came: the connection goes back to the pool, or is closed.
    fn end(&mut self, cx: &mut Context<'_>) -> Step {
        let State::Receiving { up, sink, keep, .. } =
            std::mem::replace(&mut self.state, State::Over)
        else {
            return Step::Wait;
        };
        let is_clean = cx.pool.get_mut(up).is_some_and(|upstream| {
            let is_clean = upstream.input.is_empty() && !upstream.sock.is_read_closed();
            upstream.input.release(cx.buffers);
            is_clean
        });
        if keep && is_clean {
            cx.pool.keep(up, cx.now.mono + cx.config.pool_idle, cx.registry);
        } else {
            cx.pool.drop_used(up, cx.registry, cx.buffers);
        }
        match sink {
            Sink::Collect { answer, .. } => Step::Answer(answer),
            Sink::Stream => Step::End,
        }
    }

    /// Takes back what [`Step::Data`] lent.
    pub(in crate::event_loop) fn give_back(&mut self, lent: Lent, cx: &mut Context<'_>) {
        if let State::Receiving { up, .. } = self.state
            && let Some(upstream) = cx.pool.get_mut(up)
        {
            upstream.input = lent.used();
        }
    }
}

fn fill(up: Key, cx: &mut Context<'_>) -> Filled {
    let Some(upstream) = cx.pool.get_mut(up) else { return Filled::End(None) };
    match upstream.sock.fill(&mut upstream.input, cx.buffers) {
        Fill::Got(len) => {
            cx.budget = cx.budget.saturating_sub(len);
            Filled::More
        }
        Fill::Wait => {
            upstream.input.release(cx.buffers);
            Filled::Wait
        }
        Fill::Eof => Filled::End(None),
        Fill::Broken(error) => Filled::End(Some(error)),
    }
}

/// The owned head of an answer whose bytes are at the front of `bytes`.
pub(crate) fn owned(head: &ParsedHead, bytes: &[u8]) -> ResponseHead {
    let mut headers = Headers::new();
    for field in head.fields.as_slice() {
        let name = String::from_utf8_lossy(field.name.of(bytes));
        headers.push(&name, &String::from_utf8_lossy(field.value.of(bytes)));
    }
    ResponseHead { status: head.status, headers }
}
