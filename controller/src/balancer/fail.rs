//! What is done when something goes wrong: another try, an answer of our own, a cut.
//!
//! The rules of the contract: a request that no instance has begun to answer and that may be sent
//! again goes to another instance, three tries at most, within the retry budget. Called by `drive`,
//! by `send` for a connection that can't be made, and by the wheel.

use tucano_common::http1::Method;
use tucano_common::http1::chunked::ChunkedError;
use tucano_common::http1::exchange::{Fact, Failure, Verdict};
use tucano_controller_core::balancer::MemberIx;
use tucano_controller_core::balancer::outlier::Sign;

use super::connections::{Client, Engagement, Flow, Phase, Stage, Upstream};
use super::drive::Turn;
use super::forward;
use super::lb::Lb;
use super::receive::connection_field;
use super::refusal::{Answered, Refusal};
use super::slab::Key;
use super::stats::{Again, Cause};

/// What the client has to change in its body.
pub(super) fn malformed_reason(error: Option<ChunkedError>) -> &'static str {
    error.map_or("the body is malformed", ChunkedError::reason)
}

impl Lb {
    /// The instance failed before anything of its answer began.
    pub(super) fn try_failed(
        &mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        failure: Failure,
    ) -> Turn {
        let Some(flow) = self.flows.get_mut(flow_key) else { return Turn::Again };
        let Stage::Sent(upstream_key) = flow.stage else { return Turn::Again };
        let Some(upstream) = self.upstreams.get(upstream_key) else { return Turn::Again };
        let member = upstream.member;
        let began_to_answer = upstream.input.as_ref().is_some_and(|input| !input.is_empty());
        // A connection that carried exchanges before and ends without a byte was closed meanwhile:
        // that says nothing about the instance.
        let is_stale = upstream.is_reused
            && failure == Failure::Closed
            && !began_to_answer
            && !flow.tries.was_stale;
        let connecting = !flow.seen.is_sent;
        flow.stage = Stage::Held(self.now);
        self.drop_upstream(upstream_key);
        self.release_member(member, if is_stale { Sign::Nothing } else { Sign::Broken });
        let may_have_died = !connecting && failure == Failure::Closed && !began_to_answer;
        if may_have_died && self.looks_at_death(key, flow_key, member) {
            return Turn::Again;
        }
        if is_stale && self.may_go_again(flow_key) {
            if let Some(flow) = self.flows.get_mut(flow_key) {
                flow.tries.was_stale = true;
                flow.tries.forget_last();
            }
            let leaves = self.fleet.member(member).is_none_or(|member| member.is_leaving());
            if leaves {
                self.place(key, flow_key, None);
            } else {
                self.send(key, flow_key, member, None);
            }
            return Turn::Again;
        }
        let failure = match failure {
            Failure::Late if connecting => Failure::Closed,
            other => other,
        };
        self.retry_or_refuse(key, flow_key, failure, !began_to_answer);
        Turn::Again
    }

    /// Sends a request to another instance where that is right; else answers for the service.
    pub(super) fn retry_or_refuse(
        &mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        failure: Failure,
        is_untouched: bool,
    ) {
        let Some(flow) = self.flows.get(flow_key) else { return };
        let (service, are_used_up) = (flow.service, flow.tries.are_used_up());
        let refusal = match failure {
            Failure::Closed => Refusal::Unreachable,
            Failure::Malformed => Refusal::AnswerMalformed,
            Failure::Late => Refusal::Late,
        };
        let may_go = failure == Failure::Closed && is_untouched && self.may_go_again(flow_key);
        if may_go && !are_used_up && self.fleet.may_retry(service, self.now) {
            let seen = self.flows.get(flow_key).map(|flow| flow.seen).unwrap_or_default();
            self.counters(service).again(match (seen.left_silent, seen.is_sent) {
                (true, _) => Again::Silent,
                (false, true) => Again::Broken,
                (false, false) => Again::Refused,
            });
            self.place(key, flow_key, None);
        } else if may_go && self.fleet.is_expecting(service) {
            // No further try for now, but an instance is on its way.
            self.hold_after_crash(key, flow_key);
        } else {
            self.refuse(key, flow_key, refusal);
        }
    }

    /// Whether a request may be sent again: it is held whole, and no instance acted on it, or it
    /// may be acted on twice.
    pub(super) fn may_go_again(&self, flow_key: Key<Flow>) -> bool {
        let flow = self.flows.get(flow_key);
        flow.is_some_and(|flow| flow.is_kept && (!flow.seen.is_sent || flow.is_repeatable))
    }

    /// Answers a request ourselves.
    pub(super) fn refuse(
        &mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        refusal: Refusal,
    ) -> Turn {
        self.detach(flow_key, Sign::Nothing);
        let Some(flow) = self.flows.get_mut(flow_key) else { return Turn::Again };
        flow.exchange.answer_ourselves();
        flow.cause.get_or_insert(refusal.cause());
        flow.status = refusal.status();
        let keeps = !flow.exchange.tells_close() && self.stopping.is_none();
        if !keeps {
            flow.exchange.answer_closes();
        }
        let connection = connection_field(keeps, flow.version);
        let (is_head, service, id) = (flow.method == Method::Head, flow.service, flow.id);
        let id = self.client_id(key, flow_key).unwrap_or_else(|| id.to_string());
        let name = self.fleet.service(service).map(|route| route.name.clone());
        let answered =
            Answered { service: name.as_ref(), request_id: Some(&id), connection, is_head };
        self.say(key, refusal, &answered);
        if let Some(flow) = self.flows.get_mut(flow_key)
            && let Some(noted) = &mut flow.noted
        {
            noted.error = Some(refusal.code());
        }
        self.queue(key);
        Turn::Again
    }

    /// The client's own id of a request whose head is still there.
    pub(super) fn client_id(&self, key: Key<Client>, flow_key: Key<Flow>) -> Option<String> {
        let input = self.clients.get(key)?.input.as_ref()?;
        if !self.flows.get(flow_key)?.is_kept {
            return None;
        }
        let mut scan = tucano_common::http1::HeadScan::default();
        let head = tucano_common::http1::RequestHead::parse(input.bytes(), &mut scan).ok()??;
        let id = forward::client_id(&head.fields, input.bytes())?;
        String::from_utf8(id.to_vec()).ok()
    }

    /// Takes a flow off its connection to an instance, which is closed.
    pub(super) fn detach(&mut self, flow_key: Key<Flow>, sign: Sign) {
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        let Stage::Sent(upstream_key) = flow.stage else { return };
        flow.stage = Stage::Held(self.now);
        let Some(upstream) = self.upstreams.get(upstream_key) else { return };
        let member = upstream.member;
        self.drop_upstream(upstream_key);
        self.release_member(member, sign);
    }

    /// A request on this instance is over.
    pub(super) fn release_member(&mut self, member: MemberIx, sign: Sign) {
        let mut notes = std::mem::take(&mut self.notes);
        self.fleet.finish(member, sign, self.now, &mut notes);
        self.notes = notes;
    }

    /// What a client was waited for, or what it waited for, did not happen in time.
    pub(super) fn deadline_is_over(&mut self, key: Key<Client>) {
        let Some(client) = self.clients.get(key) else { return };
        match client.phase {
            Phase::Closing { .. } => {
                self.drop_client(key);
            }
            Phase::Head(scan) if !scan.has_begun() || client.output.is_some() => {
                self.drop_client(key);
            }
            Phase::Head(_) => {
                let answered = Answered { connection: Some("close"), ..Answered::default() };
                let sent_bytes = self.say(key, Refusal::RequestLate, &answered);
                self.count_refusal(Refusal::RequestLate, Method::Other);
                self.log_refusal(key, Refusal::RequestLate, None, sent_bytes);
                self.begin_closing(key, true);
            }
            Phase::Busy(flow_key) => self.flow_is_late(key, flow_key),
        }
        self.queue(key);
    }

    fn flow_is_late(&mut self, key: Key<Client>, flow_key: Key<Flow>) {
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        if let Stage::Held(_) = flow.stage {
            self.hold_is_over(key, flow_key);
            return;
        }
        let client_takes_nothing = flow.answer.waits_for_receiver()
            || self.clients.get(key).is_some_and(|client| client.output.is_some());
        let client_sends_nothing = flow.seen.is_sent
            && !flow.exchange.request_is_whole()
            && !flow.request.waits_for_receiver();
        if flow.exchange.awaits_answer() && client_sends_nothing {
            self.refuse(key, flow_key, Refusal::RequestLate);
            return;
        }
        let (fact, cause) = match client_takes_nothing && !flow.exchange.awaits_answer() {
            true => (Fact::ClientGone, Cause::ClientGone),
            false => (Fact::UpstreamLate, Cause::Timeout),
        };
        let verdict = flow.exchange.on(fact);
        if !matches!(verdict, Verdict::Fail(_)) {
            flow.cause.get_or_insert(cause);
        }
        self.judge(key, flow_key, verdict);
    }

    /// A worker is dead: what is in flight on this instance is lost, or goes elsewhere, all of it
    /// at once.
    pub(super) fn abandon(&mut self, member: MemberIx) {
        let on_it = |upstream: &Upstream| match upstream.duty {
            Engagement::Busy(client) if upstream.member == member => Some(client),
            Engagement::Busy(_) | Engagement::Idle(_) => None,
        };
        let lost: Vec<Key<Client>> =
            self.upstreams.iter().filter_map(|(_, upstream)| on_it(upstream)).collect();
        for key in lost {
            let Some(flow_key) = self.flow_of(key) else { continue };
            let Some(flow) = self.flows.get_mut(flow_key) else { continue };
            let verdict = flow.exchange.on(Fact::UpstreamGone);
            self.judge(key, flow_key, verdict);
            self.queue(key);
        }
    }
}
