//! The loop's side of the access log: which requests get a line, and the lines on their way.
//!
//! It waits for nobody: a buffer that the writer takes at this very moment is tried again a moment
//! later, one that is full drops. Called by `receive` and `finish` for each request, and once a
//! turn.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tucano_common::http1::RequestHead;
use tucano_common::limits::ACCESS_LOG_PENDING_BYTES_MAX;
use tucano_common::time::Wall;

use super::super::Config;
use super::super::connections::RequestId;
use super::super::forward;
use super::super::stats::Cause;
use super::Shared;
use super::hooks::client_of;
use super::line::{Asked, Noted, Outcome};

/// What one loop writes through.
pub(in crate::balancer) struct Tap {
    shared: Arc<Shared>,
    /// Lines that the writer may take.
    way: Arc<Mutex<Vec<u8>>>,
    /// Lines of this turn.
    own: Vec<u8>,
    own_lines: u64,
    /// Requests that were answered well since the last one that got a line.
    skipped: u32,
}

impl Tap {
    pub(super) fn new(shared: Arc<Shared>, way: Arc<Mutex<Vec<u8>>>) -> Tap {
        let skipped = shared.one_of - 1;
        Tap { shared, way, own: Vec::new(), own_lines: 0, skipped }
    }

    /// Keeps what a line will say of a request, while its head is there.
    #[inline(never)]
    pub(in crate::balancer) fn note(
        &self,
        config: &Config,
        peer: IpAddr,
        (head, bytes): (&RequestHead, &[u8]),
        id: RequestId,
    ) -> Box<Noted> {
        let own_id = id.to_string();
        let id = forward::client_id(&head.fields, bytes).unwrap_or(own_id.as_bytes());
        let asked = Asked {
            request_id: id,
            method: head.method_text.of(bytes),
            host: head.host.of(bytes),
            target: head.target.path().of(bytes),
        };
        Box::new(Noted::new(client_of(config, peer, head, bytes), &asked))
    }

    /// A request ended: its line is written, where it gets one.
    pub(super) fn end(&mut self, noted: &Noted, ended: Wall, outcome: &Outcome<'_>) {
        if !self.is_kept(outcome) {
            return;
        }
        if self.own.len() >= ACCESS_LOG_PENDING_BYTES_MAX {
            self.shared.counts.behind.inc();
            return;
        }
        noted.write(ended, outcome, &mut self.own);
        self.own_lines += 1;
    }

    /// Whatever went wrong is kept; of what went well one of so many.
    fn is_kept(&mut self, outcome: &Outcome<'_>) -> bool {
        if outcome.cause != Cause::Answered || outcome.status >= 500 {
            return true;
        }
        self.skipped += 1;
        let is_kept = self.skipped >= self.shared.one_of;
        if is_kept {
            self.skipped = 0;
        }
        is_kept
    }

    /// Gives the writer what there is. False: it has to be tried again in a moment.
    pub(in crate::balancer) fn hand_over(&mut self) -> bool {
        if self.own.is_empty() {
            return true;
        }
        let Ok(mut waiting) = self.way.try_lock() else { return false };
        if waiting.is_empty() {
            std::mem::swap(&mut *waiting, &mut self.own);
            drop(waiting);
            self.shared.ask();
        } else if waiting.len() + self.own.len() <= ACCESS_LOG_PENDING_BYTES_MAX {
            // The writer was asked when the first of these came.
            waiting.extend_from_slice(&self.own);
        } else {
            self.shared.counts.behind.add(self.own_lines);
        }
        self.own.clear();
        self.own_lines = 0;
        true
    }

    /// The loop ends: there is no later moment.
    pub(in crate::balancer) fn hand_over_all(&mut self) {
        while !self.hand_over() {
            std::thread::yield_now();
        }
    }
}
