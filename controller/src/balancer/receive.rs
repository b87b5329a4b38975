//! The head of a request: read, routed, and given a flow, or refused.
//!
//! It moves no body. Called by `drive` for a client between two requests.

use std::time::Duration;

use tucano_common::http1::{HeadError, HeadScan, Method, RequestHead, Version};
use tucano_common::limits::{LINGER_BYTES_MAX, LINGER_TIMEOUT, WRITE_STALL_TIMEOUT};

use super::connections::{Client, Flow, Phase, RequestId};
use super::drive::Turn;
use super::forward;
use super::lb::Lb;
use super::refusal::{Answered, Refusal};
use super::relay;
use super::slab::Key;
use super::socket::Moved;

impl Lb {
    /// Reads and parses on, after what the client was told before is delivered: answers are in
    /// order.
    pub(super) fn receive(
        &mut self,
        key: Key<Client>,
        mut scan: HeadScan,
        budget: &mut usize,
    ) -> Turn {
        let Some(client) = self.clients.get_mut(key) else { return Turn::Wait };
        match relay::flush(&mut client.socket, &mut client.output, &mut self.buffers) {
            Some(true) => {}
            Some(false) => return Turn::Wait,
            None => return self.leave(key),
        }
        if let Some(input) = &client.input {
            let had_begun = scan.has_begun();
            match RequestHead::parse(input.bytes(), &mut scan) {
                Err(error) => return self.refuse_head(key, error),
                Ok(Some(head)) => return self.begin(key, head),
                Ok(None) => client.phase = Phase::Head(scan),
            }
            if scan.has_begun() && !had_begun {
                let head_by = self.now + self.config.timeouts.head;
                // What waited for it was cut short where the loop stops; a head that came is not.
                client.deadline = match self.stopping {
                    None => client.deadline.min(head_by),
                    Some(_) => head_by,
                };
            }
        }
        if !client.socket.is_readable() {
            return self.rest(key, scan);
        }
        if *budget == 0 {
            self.queue(key);
            return Turn::Wait;
        }
        let input = self.buffers.open(&mut client.input);
        match client.socket.read(input.room()) {
            Moved::Some(count) => {
                input.filled(count);
                *budget = budget.saturating_sub(count);
                self.stats.received.add(count as u64);
                Turn::Again
            }
            Moved::Blocked => self.rest(key, scan),
            Moved::Closed | Moved::Gone => self.leave(key),
        }
    }

    /// Nothing more is there to read now.
    fn rest(&mut self, key: Key<Client>, scan: HeadScan) -> Turn {
        if let Some(client) = self.clients.get_mut(key) {
            if let Some(stopping) = self.stopping
                && !scan.has_begun()
            {
                client.deadline = client.deadline.min(stopping.linger);
            }
            self.buffers.settle(&mut client.input);
        }
        Turn::Wait
    }

    fn leave(&mut self, key: Key<Client>) -> Turn {
        self.drop_client(key);
        Turn::Wait
    }

    /// A whole head: finds its service and an instance.
    fn begin(&mut self, key: Key<Client>, mut head: RequestHead) -> Turn {
        let Some(client) = self.clients.get_mut(key) else { return Turn::Wait };
        let Some(input) = &client.input else { return Turn::Wait };
        let Some(service) = self.fleet.route(client.port, head.host.of(input.bytes())) else {
            return self.refuse_host(key, &head);
        };
        if head.asks_upgrade && forward::asks_http2(&head, input.bytes()) {
            head.asks_upgrade = false;
        }
        let id = RequestId(self.prng.next_u64());
        let mut flow = Flow::new(&head, service, id, self.now);
        if let Some(log) = &self.access_log {
            flow.noted = Some(log.note(&self.config, client.peer, (&head, input.bytes()), id));
        }
        let flow = self.flows.insert(flow);
        client.phase = Phase::Busy(flow);
        self.fleet.retain(service);
        self.counters(service).accepted.inc();
        self.place(key, flow, Some(&head));
        Turn::Again
    }

    /// A head that is refused: nothing that follows on the connection can be trusted.
    fn refuse_head(&mut self, key: Key<Client>, error: HeadError) -> Turn {
        let answered = Answered { connection: Some("close"), ..Answered::default() };
        let sent_bytes = self.say(key, Refusal::Head(error), &answered);
        self.count_refusal(Refusal::Head(error), Method::Other);
        self.log_refusal(key, Refusal::Head(error), None, sent_bytes);
        self.begin_closing(key, true);
        Turn::Again
    }

    /// A Host that nobody has on this port.
    fn refuse_host(&mut self, key: Key<Client>, head: &RequestHead) -> Turn {
        let number = RequestId(self.prng.next_u64());
        let id = number.to_string();
        let keeps = head.keeps_alive() && head.body.is_empty() && self.stopping.is_none();
        let answered = Answered {
            service: None,
            request_id: Some(&id),
            connection: connection_field(keeps, head.version),
            is_head: head.method == Method::Head,
        };
        let sent_bytes = self.say(key, Refusal::NoService, &answered);
        self.count_refusal(Refusal::NoService, head.method);
        self.log_refusal(key, Refusal::NoService, Some((head, number)), sent_bytes);
        if keeps {
            self.await_next(key, head.len());
        } else {
            self.begin_closing(key, !head.body.is_empty());
        }
        Turn::Again
    }

    /// Enters a request into the ledger that was refused before it had a service.
    pub(super) fn count_refusal(&mut self, refusal: Refusal, method: Method) {
        self.nobody.accepted.inc();
        self.nobody.answer(0, method, refusal.status(), Duration::ZERO);
        self.nobody.end(refusal.cause());
    }

    /// Puts an answer of our own behind what the client has still to take; so many bytes.
    pub(super) fn say(&mut self, key: Key<Client>, refusal: Refusal, to: &Answered<'_>) -> u64 {
        let Some(client) = self.clients.get_mut(key) else { return 0 };
        self.scratch.clear();
        refusal.write(&mut self.scratch, to);
        // Before an answer of ours nothing waits but interim heads: it fits.
        let fits = self.buffers.append(&mut client.output, &self.scratch);
        debug_assert!(fits, "a refusal is short");
        self.stats.sent.add(self.scratch.len() as u64);
        self.scratch.len() as u64
    }

    /// The request's bytes are dropped, and the next one is waited for.
    pub(super) fn await_next(&mut self, key: Key<Client>, request_len: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if let Some(input) = &mut client.input {
            input.consume(request_len);
        }
        self.buffers.settle(&mut client.input);
        client.phase = Phase::Head(HeadScan::default());
        client.deadline = self.now + self.config.timeouts.idle;
    }

    /// The connection ends when what is said is delivered.
    pub(super) fn begin_closing(&mut self, key: Key<Client>, may_be_sending: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let has_unread = client.socket.is_readable()
            || client.input.as_ref().is_some_and(|input| !input.is_empty());
        if let Some(input) = client.input.take() {
            self.buffers.put(input);
        }
        // Closing with bytes unread would reset the connection under the answer.
        let linger = (may_be_sending || has_unread).then_some(LINGER_BYTES_MAX as u32);
        client.phase = Phase::Closing { linger, is_shut: false };
        let patience = if client.output.is_some() { WRITE_STALL_TIMEOUT } else { LINGER_TIMEOUT };
        client.deadline = self.now + patience;
    }
}

/// What has to be said of the connection in an answer of our own.
pub(super) fn connection_field(keeps: bool, version: Version) -> Option<&'static str> {
    match (keeps, version) {
        (false, _) => Some("close"),
        (true, Version::Http11) => None,
        (true, Version::Http10) => Some("keep-alive"),
    }
}
