//! Where connections and calls meet the application: runs one as far as it goes and tells what it
//! has.

use tucano_common::limits::{ACCEPTS_PER_TURN, REQUESTS_PER_TURN, TURN_BYTES_MAX};

use super::app::{App, BodyEvent, CallEvent, CallId, ConnId};
use super::client;
use super::io::Io;
use super::server::{Conn, Context, Step};
use super::slab::Key;
use super::timers::Due;
use super::token::{Kind, token};

impl Io {
    /// Accepts who waits, and runs each at once: its request is often there already.
    pub(super) fn accept<A: App>(&mut self, app: &mut A) {
        for _ in 0..ACCEPTS_PER_TURN {
            let now = self.now.mono;
            if self.acceptor.is_overfull(self.conns.len(), &self.config) {
                self.evict_idle();
            }
            let open = self.conns.len();
            let accepted = self.acceptor.next(open, &self.config, &mut self.timers, now);
            let Some((stream, peer)) = accepted else { return };
            let first_head_by = now + self.config.head_timeout;
            let registry = &self.registry;
            let inserted = self.conns.try_insert_with(|key| {
                Conn::accept(stream, peer, registry, token(Kind::Conn, key), first_head_by)
            });
            match inserted {
                Ok(key) => self.run_conn(app, key),
                // The client went away meanwhile, or there is no memory to watch it with.
                Err(error) => {
                    crate::log_limited!(log::Level::Warn, "lost a connection of {peer}: {error}");
                }
            }
        }
    }

    /// Makes room: closes connections that have been idle longest, so that clients that only hold
    /// theirs can't keep others out.
    fn evict_idle(&mut self) {
        let (now, patience) = (self.now.mono, self.config.evict_idle_after);
        let idle = |key: &Key| self.conns.get(*key)?.idle_since(&self.config);
        let keys = self.conns.keys().into_iter();
        let mut longest: Vec<_> =
            keys.filter_map(|key| idle(&key).map(|since| (since, key))).collect();
        longest.sort_unstable();
        longest.truncate(self.config.accept_resume_free);
        longest.retain(|(since, _)| now.since(*since) >= patience);
        if longest.is_empty() {
            self.acceptor.look_again(now + patience, &mut self.timers);
        }
        for (_, key) in longest {
            self.close_conn(key);
        }
    }

    /// Runs a connection until it waits, its budget is used up, or it is over.
    pub(super) fn run_conn<A: App>(&mut self, app: &mut A, key: Key) {
        let mut budget = TURN_BYTES_MAX;
        let mut requests = 0;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return };
            // It runs on anyway: what it is queued for meanwhile is seen by the next step.
            conn.is_queued = true;
            let mut cx = Context {
                now: self.now,
                config: &self.config,
                pool: &mut self.buffers,
                ids: &mut self.ids,
                draining: self.is_draining,
                budget,
            };
            let step = conn.step(&mut cx);
            budget = cx.budget;
            let id = ConnId { key, serial: conn.serial };
            match step {
                Step::Wait => return self.rest_conn(key),
                Step::Yield => {
                    self.rest_conn(key);
                    return self.queue_conn(key);
                }
                Step::Close => return self.close_conn(key),
                Step::Head(head) => {
                    requests += 1;
                    if requests >= REQUESTS_PER_TURN {
                        budget = 0;
                    }
                    let plan = app.on_request_head(self, id, &head);
                    self.with_conn_key(key, |conn, cx| conn.plan(head, plan, cx));
                }
                Step::Request(request) => app.on_request(self, id, request),
                Step::Data(lent) => {
                    app.on_body(self, id, BodyEvent::Data(lent.bytes()));
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.give_back(lent.used());
                    }
                }
                Step::BodyEnd => app.on_body(self, id, BodyEvent::End),
                Step::BodyAborted => app.on_body(self, id, BodyEvent::Aborted),
                Step::Gone => app.on_gone(self, id),
                Step::Drained => app.on_drained(self, id),
            }
        }
    }

    fn rest_conn(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.is_queued = false;
            let deadline = conn.deadline();
            self.timers.arm(&mut conn.timer, deadline, Due::Conn(key));
        }
    }

    fn close_conn(&mut self, key: Key) {
        if let Some(mut conn) = self.conns.remove(key) {
            self.timers.arm(&mut conn.timer, None, Due::Conn(key));
            conn.close(&self.registry, &mut self.buffers);
        }
    }

    /// Runs a call until it waits, its budget is used up, or it is over.
    pub(super) fn run_call<A: App>(&mut self, app: &mut A, key: Key) {
        let id = CallId(key);
        let mut budget = TURN_BYTES_MAX;
        loop {
            let step = self.with_calls(budget, |calls, cx| {
                let call = calls.get_mut(key)?;
                call.is_queued = true;
                let step = call.step(cx);
                budget = cx.budget;
                Some(step)
            });
            let Some(step) = step else { return };
            let last = match step {
                client::Step::Wait => return self.rest_call(key),
                client::Step::Yield => {
                    self.rest_call(key);
                    return self.queue_call(key);
                }
                client::Step::Head(head) => {
                    app.on_call(self, id, CallEvent::Head(head));
                    continue;
                }
                client::Step::Data(lent) => {
                    app.on_call(self, id, CallEvent::Data(lent.bytes()));
                    self.with_calls(0, |calls, cx| match calls.get_mut(key) {
                        Some(call) => call.give_back(lent, cx),
                        // Cancelled by what it said.
                        None => lent.discard(cx.buffers),
                    });
                    continue;
                }
                client::Step::Answer(answer) => CallEvent::Answer(answer),
                client::Step::End => CallEvent::End,
                client::Step::Connected => CallEvent::Connected,
                client::Step::Failed(error) => CallEvent::Failed(error),
            };
            // Over before the application hears of it: what it does with the key now does nothing.
            self.take_call(key);
            return app.on_call(self, id, last);
        }
    }

    fn rest_call(&mut self, key: Key) {
        if let Some(call) = self.calls.get_mut(key) {
            call.is_queued = false;
            let deadline = call.deadline();
            self.timers.arm(&mut call.timer, deadline, Due::Call(key));
        }
    }
}
