//! `…/logs`: the output of a service's instances, or of one, fetched from the agents that have it.
//!
//! The deployer says whose output there is and where; each is a streamed call to its agent, and
//! `log_merge` puts the lines in order. A followed service is asked again for its instances every
//! two seconds, so new ones join; it ends when all of them have. What an agent can't show is said
//! in the stream, in the place of its lines.

use std::collections::BTreeMap;

use tucano_common::id::InstanceId;
use tucano_common::limits::{
    LOG_MERGE_WINDOW, LOG_SOURCES_MAX, LOG_TAIL_LINES_DEFAULT, LOG_TAIL_LINES_MAX,
    LOG_TARGETS_INTERVAL,
};
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;
use tucano_net::{CallEvent, CallId, ResponseHead, TimerId};

use super::desk::Cx;
use super::events::Step;
use super::log_merge::{Held, LogMerge};
use super::log_source::{Source, Tap, Wanted, earlier, refusal_text};
use super::outflow::{Flow, Outflow};
use super::problems::Refused;
use super::query::Params;
use crate::msgs::{Ask, LogTarget, Query, Ticket};

/// Lines are made in pieces of about this.
const PIECE_BYTES: usize = 32 * 1024;

/// One client's view of some instances' output.
#[derive(Debug)]
pub(crate) struct LogStream {
    query: Query,
    follow: bool,
    tail: usize,
    since: Option<Wall>,
    ticket: Option<Ticket>,
    /// The deployer has answered once: an empty list of sources means that there are none.
    known: bool,
    sources: BTreeMap<InstanceId, Source>,
    calls: BTreeMap<CallId, InstanceId>,
    merge: LogMerge,
    out: Outflow,
    begun: bool,
    /// Why some output can't be shown; said in the answer to somebody who gets nothing else.
    failures: Vec<String>,
    wake: Option<TimerId>,
    refresh: Option<TimerId>,
}

impl LogStream {
    /// `GET /v1/services/{name}/logs`: each line begins with its instance.
    pub(crate) fn of_service(
        name: ServiceName,
        params: &Params,
        follow: bool,
        now: Wall,
    ) -> LogStream {
        LogStream::new(Query::ServiceLogs(name), params, follow, now)
    }

    /// `GET /v1/instances/{id}/logs`.
    pub(crate) fn of_instance(
        id: InstanceId,
        params: &Params,
        follow: bool,
        now: Wall,
    ) -> LogStream {
        LogStream::new(Query::InstanceLogs(id), params, follow, now)
    }

    fn new(query: Query, params: &Params, follow: bool, now: Wall) -> LogStream {
        let all_since = params.since.is_some();
        let default = if all_since { LOG_TAIL_LINES_MAX } else { LOG_TAIL_LINES_DEFAULT };
        let named = matches!(query, Query::ServiceLogs(_));
        let patience = follow.then_some(LOG_MERGE_WINDOW);
        LogStream {
            query,
            follow,
            tail: params.tail.unwrap_or(default),
            since: params.since.map(|since| earlier(now, since)),
            ticket: None,
            known: false,
            sources: BTreeMap::new(),
            calls: BTreeMap::new(),
            merge: LogMerge::new(patience, named),
            out: Outflow::default(),
            begun: false,
            failures: Vec::new(),
            wake: None,
            refresh: None,
        }
    }

    /// Whether it ends only when the instances do.
    pub(crate) fn is_parked(&self) -> bool {
        self.follow
    }

    /// Asks whose output there is.
    pub(crate) fn ask(&mut self, cx: &mut Cx<'_>) -> Result<(), Refused> {
        let query = self.query.clone();
        let ask = |ticket| Ask::Query { ticket, query, block: None };
        self.ticket = Some(cx.desk.ask(cx.conn, ask)?);
        Ok(())
    }

    /// The deployer said whose.
    pub(crate) fn on_targets(&mut self, cx: &mut Cx<'_>, mut targets: Vec<LogTarget>) -> Step {
        self.ticket = None;
        self.known = true;
        targets.sort_by_key(|target| std::cmp::Reverse(target.instance));
        targets.truncate(LOG_SOURCES_MAX);
        // What the deployer does not name any more has ended, and is about to be forgotten.
        for (id, source) in &mut self.sources {
            source.ended |= !targets.iter().any(|target| target.instance == *id);
        }
        for target in targets {
            let LogTarget { instance, worker, agent, ended, .. } = target;
            let fresh = Source { worker: worker.clone(), agent, ended, tap: Tap::Shut };
            let source = self.sources.entry(instance).or_insert(fresh);
            (source.worker, source.agent, source.ended) = (worker, agent, ended);
        }
        self.leave_unheard(cx);
        let shut = self.sources.iter().filter(|(_, source)| source.tap == Tap::Shut);
        let shut: Vec<InstanceId> = shut.map(|(id, _)| *id).collect();
        for id in shut {
            self.open(cx, id);
        }
        if self.follow {
            self.refresh = Some(cx.set_timer(cx.io.now().mono + LOG_TARGETS_INTERVAL));
            self.begin(cx);
        }
        self.go_on(cx)
    }

    /// A worker that is dead says nothing more, and closes nothing either where its machine has no
    /// power.
    fn leave_unheard(&mut self, cx: &mut Cx<'_>) {
        let unheard = self.sources.iter().filter_map(|(id, source)| match source.tap {
            Tap::Open { call, .. } if source.agent.is_none() => Some((*id, call)),
            Tap::Open { .. } | Tap::Shut | Tap::Over => None,
        });
        let unheard: Vec<_> = unheard.collect();
        for (id, call) in unheard {
            cx.cancel_call(call);
            self.ended(cx, call, id);
            self.fail(id, "its worker is not heard any more");
        }
    }

    fn open(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        let Some(agent) = source.agent else {
            if !self.follow || source.ended {
                source.tap = Tap::Over;
                self.fail(id, "its agent can't be reached");
            }
            return;
        };
        let follow = self.follow && !source.ended;
        let mut wanted = Wanted { tail: self.tail, since: self.since, follow };
        if let Some(last) = self.merge.last_time(id) {
            // After a break everything past the last line is wanted, however much it is.
            wanted = Wanted { tail: LOG_TAIL_LINES_MAX, since: Wall::parse(&last), follow };
        }
        let request = wanted.request(id, cx.desk.join.as_ref());
        let call = cx.io.call(agent, request, wanted.timeouts());
        cx.desk.own_call(call, cx.conn);
        self.calls.insert(call, id);
        source.tap = Tap::Open { call, paused: false };
        self.merge.open(id);
    }

    /// Something became of a call to an agent.
    pub(crate) fn on_call(&mut self, cx: &mut Cx<'_>, call: CallId, event: CallEvent<'_>) -> Step {
        let Some(id) = self.calls.get(&call).copied() else {
            return Step::Going;
        };
        match event {
            CallEvent::Head(head) if head.status == 200 => return Step::Going,
            CallEvent::Head(head) => {
                cx.cancel_call(call);
                self.ended(cx, call, id);
                // An instance that was placed a moment ago: its agent is about to hear of it.
                let early = head.status == 404 && self.is_shut(id);
                if !early {
                    self.fail(id, &refusal_text(head.status));
                    self.stop(id);
                }
            }
            CallEvent::Data(bytes) => {
                if self.merge.push(id, bytes, cx.io.now().mono) {
                    self.pause(cx, id);
                }
            }
            CallEvent::End => self.ended(cx, call, id),
            CallEvent::Failed(error) => {
                self.ended(cx, call, id);
                self.fail(id, &error.to_string());
                if !self.follow {
                    self.stop(id);
                }
            }
            // Only probes connect, and only collected answers come whole.
            CallEvent::Connected | CallEvent::Answer(_) => return Step::Going,
        }
        self.go_on(cx)
    }

    /// A timer of this stream is due.
    pub(crate) fn on_timer(&mut self, cx: &mut Cx<'_>, timer: TimerId) -> Step {
        if self.refresh == Some(timer) {
            self.refresh = None;
            if self.ticket.is_none()
                && let Err(refused) = self.ask(cx)
            {
                log::debug!("a followed log is not refreshed: {refused}");
                self.refresh = Some(cx.set_timer(cx.io.now().mono + LOG_TARGETS_INTERVAL));
            }
        }
        if self.wake == Some(timer) {
            self.wake = None;
        }
        self.go_on(cx)
    }

    /// The client took what it had.
    pub(crate) fn on_drained(&mut self, cx: &mut Cx<'_>) -> Step {
        self.out.drained();
        self.go_on(cx)
    }

    /// Whether a refusal can not be answered any more.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The question was refused after the answer had begun.
    pub(crate) fn on_refused(&mut self, cx: &mut Cx<'_>, status: u16) -> Step {
        self.ticket = None;
        if status != 404 {
            self.refresh = Some(cx.set_timer(cx.io.now().mono + LOG_TARGETS_INTERVAL));
            return Step::Going;
        }
        // The service is gone: what its agents still send is the end.
        for source in self.sources.values_mut() {
            source.ended = true;
            if source.tap == Tap::Shut {
                source.tap = Tap::Over;
            }
        }
        self.go_on(cx)
    }

    /// Nobody wants it any more, or the process ends.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(ticket) = self.ticket.take() {
            cx.desk.cancel(ticket);
        }
        for call in std::mem::take(&mut self.calls).into_keys() {
            cx.cancel_call(call);
        }
        for timer in [self.wake.take(), self.refresh.take()].into_iter().flatten() {
            cx.cancel_timer(timer);
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_>) {
        if !self.begun {
            self.begun = true;
            let head = ResponseHead::new(200)
                .header("Content-Type", "text/plain; charset=utf-8")
                .header("Cache-Control", "no-store")
                .header("X-Content-Type-Options", "nosniff");
            cx.io.respond_stream(cx.conn, head, None);
        }
    }

    /// Sends what can be sent, and sees whether that was all.
    fn go_on(&mut self, cx: &mut Cx<'_>) -> Step {
        if !self.known {
            return Step::Going;
        }
        loop {
            let mut held = Held::Nothing;
            if self.out.is_empty() {
                let mut piece = Vec::new();
                held = self.merge.take(cx.io.now().mono, PIECE_BYTES, &mut piece);
                self.out.put(&piece);
            }
            let nothing_new = self.out.is_empty();
            if !nothing_new {
                self.begin(cx);
            }
            let flow = match self.begun {
                true => self.out.pump(cx.io, cx.conn),
                false => Flow::Open,
            };
            self.resume(cx);
            match flow {
                Flow::Gone => return Step::Over,
                Flow::Full => return Step::Going,
                Flow::Open if nothing_new => return self.wait_or_end(cx, held),
                Flow::Open => {}
            }
        }
    }

    fn wait_or_end(&mut self, cx: &mut Cx<'_>, held: Held) -> Step {
        if let Held::Until(until) = held {
            if let (Some(until), None) = (until, self.wake) {
                self.wake = Some(cx.set_timer(until));
            }
            return Step::Going;
        }
        let over = |source: &Source| source.tap == Tap::Over;
        if !self.sources.values().all(over) || (self.follow && self.sources.is_empty()) {
            return Step::Going;
        }
        if !self.begun && !self.failures.is_empty() {
            return Step::Refused(Refused::Agents(std::mem::take(&mut self.failures)));
        }
        self.begin(cx);
        cx.io.finish(cx.conn);
        Step::Over
    }

    fn pause(&mut self, cx: &mut Cx<'_>, id: InstanceId) {
        if let Some(Tap::Open { call, paused }) = self.sources.get_mut(&id).map(|s| &mut s.tap)
            && !*paused
        {
            *paused = true;
            cx.io.pause_call(*call);
        }
    }

    fn resume(&mut self, cx: &mut Cx<'_>) {
        for (id, source) in &mut self.sources {
            if let Tap::Open { call, paused: paused @ true } = &mut source.tap
                && self.merge.has_room(*id)
            {
                *paused = false;
                cx.io.resume_call(*call);
            }
        }
    }

    /// A call is over; a source that is followed is opened again at the next refresh.
    fn ended(&mut self, cx: &mut Cx<'_>, call: CallId, id: InstanceId) {
        cx.desk.drop_call(call);
        self.calls.remove(&call);
        self.merge.close(id, cx.io.now().mono);
        if let Some(source) = self.sources.get_mut(&id) {
            let again = self.follow && !source.ended;
            source.tap = if again { Tap::Shut } else { Tap::Over };
        }
    }

    fn stop(&mut self, id: InstanceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.tap = Tap::Over;
        }
    }

    fn is_shut(&self, id: InstanceId) -> bool {
        self.sources.get(&id).is_some_and(|source| source.tap == Tap::Shut)
    }

    /// Says, in the stream or in place of it, that this instance's output can't be shown.
    fn fail(&mut self, id: InstanceId, reason: &str) {
        let worker = self.sources.get(&id).map(|source| source.worker.to_string());
        let worker = worker.unwrap_or_default();
        let text = format!("the output of {id} on {worker} can't be shown: {reason}");
        if self.failures.contains(&text) {
            return; // an agent that stays away is told of once
        }
        if self.begun {
            self.out.put(format!("{text}\n").as_bytes());
        }
        if self.failures.len() < LOG_SOURCES_MAX {
            self.failures.push(text);
        }
    }
}
