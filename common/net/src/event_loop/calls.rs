//! Calls as the application asks for them.

use std::net::SocketAddr;

use super::app::{CallId, CallTimeouts};
use super::client::{Call, Context, Spec};
use super::io::Io;
use super::slab::Key;
use super::timers::Due;
use crate::message::OutRequest;

impl Io {
    /// Sends a request. Whatever becomes of it comes as `on_call`, never before this returns.
    ///
    /// A pooled connection that breaks before anything of the answer came is replaced by a fresh
    /// one, once: the request must bear to arrive twice, or say [`OutRequest::close`].
    pub fn call(
        &mut self,
        addr: SocketAddr,
        request: OutRequest,
        timeouts: CallTimeouts,
    ) -> CallId {
        self.begin_call(addr, Spec::request(addr, request), timeouts)
    }

    /// Tries whether something accepts connections at `addr`: `CallEvent::Connected`, or
    /// `CallEvent::Failed` (at the latest after `timeouts.connect`).
    pub fn probe(&mut self, addr: SocketAddr, timeouts: CallTimeouts) -> CallId {
        self.begin_call(addr, Spec::Probe, timeouts)
    }

    /// Forgets a call: nothing more is heard of it.
    pub fn cancel(&mut self, call: CallId) {
        if let Some(mut call) = self.take_call(call.0) {
            self.with_calls(0, |_, cx| call.cancel(cx));
        }
    }

    /// Reads no more of a streamed answer until [`Io::resume_call`]: the server is slowed down.
    pub fn pause_call(&mut self, call: CallId) {
        self.set_paused(call.0, true);
    }

    /// See [`Io::pause_call`].
    pub fn resume_call(&mut self, call: CallId) {
        self.set_paused(call.0, false);
    }

    fn begin_call(&mut self, addr: SocketAddr, spec: Spec, timeouts: CallTimeouts) -> CallId {
        let now = self.now.mono;
        let is_refused = self.calls.len() >= self.config.calls_max;
        let key = self.calls.insert_with(|key| {
            let call = Call::new(key, addr, spec, timeouts, now);
            if is_refused { call.refused() } else { call }
        });
        self.queue_call(key);
        CallId(key)
    }

    fn set_paused(&mut self, key: Key, pause: bool) {
        let now = self.now.mono;
        if let Some(call) = self.calls.get_mut(key) {
            call.pause(pause, now);
            self.queue_call(key);
        }
    }

    /// Takes a call out of the table, and its timer with it.
    pub(super) fn take_call(&mut self, key: Key) -> Option<Call> {
        let mut call = self.calls.remove(key)?;
        self.timers.arm(&mut call.timer, None, Due::Call(key));
        Some(call)
    }

    /// Lends what calls need of the loop.
    pub(super) fn with_calls<T>(
        &mut self,
        budget: usize,
        change: impl FnOnce(&mut super::slab::Slab<Call>, &mut Context<'_>) -> T,
    ) -> T {
        let mut cx = Context {
            now: self.now,
            config: &self.config,
            buffers: &mut self.buffers,
            registry: &self.registry,
            pool: &mut self.pool,
            budget,
        };
        let changed = change(&mut self.calls, &mut cx);
        let next_at = self.pool.next_at();
        self.timers.arm(&mut self.pool_timer, next_at, Due::Pool);
        changed
    }
}
