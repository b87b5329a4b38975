//! One exchange between its two sockets: moves what can be moved, says what happened.
//!
//! It chooses no instance, ends no exchange and closes no connection; `drive` acts on what it says.
//! Back-pressure is the absence of work: nothing is read from one side while the other has
//! something left to take, so memory does not grow with a body's size.

use tucano_common::http1::ResponseHead;
use tucano_common::http1::exchange::{Fact, Verdict};
use tucano_common::id::InstanceId;
use tucano_common::time::Mono;

use super::buffers::{Buf, Buffers};
use super::connections::{Client, Flow, Upstream};
use super::relay;
use super::socket::{Moved, Socket};
use super::splice::Passed;
use super::stats::LoopStats;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing can be moved now.
    Blocked,
    /// Something moved; look again.
    Moved,
    /// This connection had its share of the turn.
    Yield,
    /// Something happened that others have to act on.
    Judge(Verdict),
}

/// Both sides of one exchange, and what moving bytes takes.
pub(super) struct Sides<'a> {
    pub(super) client: &'a mut Client,
    pub(super) flow: &'a mut Flow,
    pub(super) upstream: &'a mut Upstream,
    pub(super) buffers: &'a mut Buffers,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) stats: &'a LoopStats,
    pub(super) instance: Option<InstanceId>,
    /// The loop is stopping: connections are not kept.
    pub(super) is_stopping: bool,
    pub(super) now: Mono,
    /// Bytes that may still be moved in this turn.
    pub(super) budget: &'a mut usize,
}

impl Sides<'_> {
    /// Moves the request on, from the client to the service.
    pub(super) fn request(&mut self) -> Step {
        if self.flow.exchange.end().is_some() {
            return Step::Blocked;
        }
        // A tunnel's reads and writes tell by themselves; both of its sides may be closed in good
        // order.
        if self.client.socket.is_broken() && !self.flow.exchange.is_tunnel() {
            return self.tell(Fact::ClientGone);
        }
        if self.flow.seen.upstream_is_deaf {
            return Step::Blocked;
        }
        let Upstream { socket, output, .. } = &mut *self.upstream;
        let had_unsent = output.is_some();
        match relay::flush(socket, output, self.buffers) {
            None => return self.upstream_is_deaf(),
            Some(false) => return Step::Blocked,
            Some(true) if had_unsent => {
                if !self.flow.seen.is_sent {
                    self.flow.times.connected = self.now;
                }
                self.flow.seen.is_sent = true;
                self.flow.times.moved = self.now;
            }
            Some(true) => {}
        }
        let bytes = self.client.input.as_ref().map_or(&[][..], Buf::bytes);
        if let Err(error) = self.flow.request.advance(bytes) {
            self.flow.malformed = Some(error);
            return self.tell(Fact::RequestMalformed);
        }
        if self.flow.request.is_whole() && !self.flow.exchange.request_is_whole() {
            return self.tell(Fact::RequestWhole);
        }
        if self.flow.request.has_ready() {
            return self.write_request();
        }
        if self.flow.request.is_over() {
            return self.request_is_over();
        }
        // A request that may be sent again is kept in its buffer.
        if !self.flow.is_kept && self.flow.request.is_piped(&mut self.buffers.pipes) {
            return self.pipe_request();
        }
        self.read_request()
    }

    fn pipe_request(&mut self) -> Step {
        self.buffers.settle(&mut self.client.input);
        let (from, to) = (&mut self.client.socket, &mut self.upstream.socket);
        match self.flow.request.pass(from, to, &mut self.buffers.pipes, *self.budget) {
            Passed::Some { taken, given } => {
                self.stats.received.add(taken as u64);
                self.moved(taken);
                self.moved(given);
                Step::Moved
            }
            Passed::Blocked => Step::Blocked,
            Passed::Yield => Step::Yield,
            Passed::Sender(Moved::Closed) => self.client_closed(),
            Passed::Sender(_) => self.tell(Fact::ClientGone),
            Passed::Receiver => self.upstream_is_deaf(),
        }
    }

    pub(super) fn request_is_over(&mut self) -> Step {
        match self.flow.exchange.on(Fact::RequestSent) {
            Verdict::Ignore => Step::Blocked,
            verdict => {
                // What is kept of it waits for its answer in a buffer of its own size.
                self.buffers.settle(&mut self.client.input);
                Step::Judge(verdict)
            }
        }
    }

    fn write_request(&mut self) -> Step {
        let bytes = self.client.input.as_ref().map_or(&[][..], Buf::bytes);
        let Upstream { socket, output, .. } = &mut *self.upstream;
        let request = &mut self.flow.request;
        self.scratch.clear();
        match relay::write(socket, output, self.buffers, self.scratch, request, bytes) {
            None => return self.upstream_is_deaf(),
            Some(0) => return Step::Blocked,
            Some(count) => self.moved(count),
        }
        self.flow.seen.is_sent = true;
        if !self.flow.is_kept {
            self.drop_sent_request();
        }
        Step::Moved
    }

    fn read_request(&mut self) -> Step {
        if !self.client.socket.is_readable() {
            self.buffers.settle(&mut self.client.input);
            return Step::Blocked;
        }
        if *self.budget == 0 {
            return Step::Yield;
        }
        let input = self.buffers.open(&mut self.client.input);
        if input.is_full() {
            // Too long to be kept for another try: from here on it only passes through.
            self.flow.is_kept = false;
            self.flow.request.release(input);
        }
        match self.client.socket.read(input.room()) {
            Moved::Some(count) => {
                input.filled(count);
                self.moved(count);
                self.stats.received.add(count as u64);
                Step::Moved
            }
            Moved::Blocked => {
                self.buffers.settle(&mut self.client.input);
                Step::Blocked
            }
            Moved::Closed => self.client_closed(),
            Moved::Gone => self.tell(Fact::ClientGone),
        }
    }

    fn client_closed(&mut self) -> Step {
        if self.flow.exchange.is_tunnel() && !self.flow.seen.client_has_closed {
            self.upstream.socket.close_sending();
        }
        if std::mem::replace(&mut self.flow.seen.client_has_closed, true) {
            return Step::Blocked;
        }
        self.tell(Fact::ClientClosed)
    }

    /// The service takes no more of the request. It may have answered before it closed: that is
    /// read first.
    fn upstream_is_deaf(&mut self) -> Step {
        if self.flow.exchange.is_tunnel() {
            return self.tell(Fact::UpstreamGone);
        }
        if let Some(buf) = self.upstream.output.take() {
            self.buffers.put(buf);
        }
        if std::mem::replace(&mut self.flow.seen.upstream_is_deaf, true) {
            return Step::Blocked;
        }
        self.tell(Fact::UpstreamDeaf)
    }

    pub(super) fn drop_sent_request(&mut self) {
        if let Some(input) = &mut self.client.input {
            self.flow.request.release(input);
        }
    }

    /// Moves the answer on, from the service to the client.
    pub(super) fn answer(&mut self) -> Step {
        if self.client.output.is_some() {
            match self.flush_to_client() {
                None => return self.tell(Fact::ClientGone),
                Some(false) => return Step::Blocked,
                Some(true) => {}
            }
        }
        if self.flow.exchange.end().is_some() {
            return Step::Blocked;
        }
        if self.flow.exchange.awaits_answer() {
            return self.answer_head();
        }
        let bytes = self.upstream.input.as_ref().map_or(&[][..], Buf::bytes);
        if self.flow.answer.advance(bytes).is_err() {
            return self.tell(Fact::AnswerMalformed);
        }
        if self.flow.answer.has_ready() {
            return self.write_answer();
        }
        if self.flow.answer.is_over() {
            return self.answer_is_over();
        }
        if self.flow.answer.is_piped(&mut self.buffers.pipes) {
            return self.pipe_answer();
        }
        self.read_answer()
    }

    fn pipe_answer(&mut self) -> Step {
        self.buffers.settle(&mut self.upstream.input);
        let (from, to) = (&mut self.upstream.socket, &mut self.client.socket);
        match self.flow.answer.pass(from, to, &mut self.buffers.pipes, *self.budget) {
            Passed::Some { taken, given } => {
                self.moved(taken);
                self.sent(given);
                Step::Moved
            }
            Passed::Blocked => Step::Blocked,
            Passed::Yield => Step::Yield,
            Passed::Sender(Moved::Closed) => self.upstream_closed(),
            Passed::Sender(_) => self.tell(Fact::UpstreamGone),
            Passed::Receiver => self.tell(Fact::ClientGone),
        }
    }

    /// Writes what the client did not take before.
    fn flush_to_client(&mut self) -> Option<bool> {
        let Client { socket, output, .. } = &mut *self.client;
        let len = |output: &Option<Buf>| output.as_ref().map_or(0, |buf| buf.bytes().len());
        let before = len(output);
        let flushed = relay::flush(socket, output, self.buffers);
        let count = (before - len(output)) as u64;
        self.stats.sent.add(count);
        self.flow.sent_bytes += count;
        flushed
    }

    pub(super) fn answer_is_over(&mut self) -> Step {
        self.drop_sent_answer();
        let verdict = self.flow.exchange.on(Fact::AnswerWhole);
        if self.upstream.input.as_ref().is_some_and(|input| !input.is_empty()) {
            self.flow.exchange.on(Fact::AnswerExtra);
        }
        Step::Judge(verdict)
    }

    fn answer_head(&mut self) -> Step {
        loop {
            if let Some(input) = &self.upstream.input {
                let scan = &mut self.flow.answer_scan;
                match ResponseHead::parse(input.bytes(), scan, self.flow.method) {
                    Err(_) => return self.tell(Fact::AnswerMalformed),
                    Ok(Some(head)) => return self.pass_head(&head),
                    Ok(None) => {}
                }
            }
            // What came is looked at right away: nearly always it is the whole head.
            match self.read_answer() {
                Step::Moved => {}
                other => return other,
            }
        }
    }

    fn read_answer(&mut self) -> Step {
        if !self.upstream.socket.is_readable() {
            self.buffers.settle(&mut self.upstream.input);
            return Step::Blocked;
        }
        if *self.budget == 0 {
            return Step::Yield;
        }
        let input = self.buffers.open(&mut self.upstream.input);
        match self.upstream.socket.read(input.room()) {
            Moved::Some(count) => {
                input.filled(count);
                self.moved(count);
                Step::Moved
            }
            Moved::Blocked => {
                self.buffers.settle(&mut self.upstream.input);
                Step::Blocked
            }
            Moved::Closed => self.upstream_closed(),
            Moved::Gone => self.tell(Fact::UpstreamGone),
        }
    }

    fn upstream_closed(&mut self) -> Step {
        if self.flow.exchange.is_tunnel() {
            if std::mem::replace(&mut self.flow.seen.upstream_has_closed, true) {
                return Step::Blocked;
            }
            self.client.socket.close_sending();
            return self.tell(Fact::UpstreamClosed);
        }
        if self.flow.exchange.awaits_answer() || !self.flow.answer.may_end_at_close() {
            return self.tell(Fact::UpstreamClosed);
        }
        if self.flow.answer.makes_chunks() {
            let last = tucano_common::http1::chunked::LAST_CHUNK;
            // The output was flushed before this was read: it has room.
            let _ = self.buffers.append(&mut self.client.output, last);
        }
        self.flow.exchange.on(Fact::UpstreamDeaf);
        self.tell(Fact::AnswerWhole)
    }

    fn write_answer(&mut self) -> Step {
        let bytes = self.upstream.input.as_ref().map_or(&[][..], Buf::bytes);
        let Client { socket, output, .. } = &mut *self.client;
        let answer = &mut self.flow.answer;
        self.scratch.clear();
        match relay::write(socket, output, self.buffers, self.scratch, answer, bytes) {
            None => return self.tell(Fact::ClientGone),
            Some(0) if output.is_none() => return Step::Blocked,
            Some(count) => self.sent(count),
        }
        self.drop_sent_answer();
        Step::Moved
    }

    pub(super) fn drop_sent_answer(&mut self) {
        if let Some(input) = &mut self.upstream.input {
            self.flow.answer.release(input);
        }
        if self.upstream.input.as_ref().is_some_and(Buf::is_empty)
            && !self.upstream.socket.is_readable()
        {
            self.buffers.settle(&mut self.upstream.input);
        }
    }

    pub(super) fn tell(&mut self, fact: Fact) -> Step {
        Step::Judge(self.flow.exchange.on(fact))
    }

    pub(super) fn sent(&mut self, count: usize) {
        self.stats.sent.add(count as u64);
        self.flow.sent_bytes += count as u64;
        self.moved(count);
    }

    fn moved(&mut self, count: usize) {
        *self.budget = self.budget.saturating_sub(count);
        if count > 0 {
            self.flow.times.moved = self.now;
        }
    }
}

/// Whether a service's connection may carry another request: nothing came on it after the answer.
pub(super) fn is_quiet(socket: &mut Socket, input: &Option<Buf>) -> bool {
    // The kernel's buffer may be empty although the last read filled all of its room: one look
    // tells.
    let has_more = socket.is_readable() && socket.read(&mut [0]) != Moved::Blocked;
    !has_more && !socket.is_broken() && !socket.peer_closed() && input.is_none()
}
