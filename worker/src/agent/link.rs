//! The controller link: says hello, sends heartbeats, fetches assignments.
//!
//! When to do which is `link_state`'s; what assignments mean is the supervisor's. This file makes
//! requests out of what there is to say, reads answers, and tells the log when the controller goes
//! and when it is back: a line each, not one a second. The agent's loop calls it.

mod answers;

use std::collections::VecDeque;
use std::net::SocketAddr;

use tucano_common::limits::{
    ASSIGNMENTS_BYTES_MAX, CALL_CONNECT_TIMEOUT, LINK_ANSWER_TIMEOUT, LINK_TIMEOUT, NOTICES_MAX,
};
use tucano_common::prng::Prng;
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::units::format_duration;
use tucano_common::wire::worker::{Heartbeat, Hello, Holding, Notice, WorkerMetrics};
use tucano_net::error_chain::Chain;
use tucano_net::text::Escaped;
use tucano_net::url::HttpUrl;
use tucano_net::{AnswerMode, CallEvent, CallId, CallTimeouts, Io, Method, OutRequest};
use tucano_worker_core::Supervisor;

use super::clock_offset::ClockOffset;
use super::introduction::Introduction;
use super::link_state::{Ask, Change, LinkState, Outcome};
use super::link_text::heartbeat_json;

/// The link.
pub(crate) struct Link {
    intro: Introduction,
    state: LinkState,
    prng: Prng,
    call: Option<(CallId, Ask)>,
    clock: ClockOffset,
    /// The controller does not answer.
    away: bool,
    /// The controller's addresses; empty until its name is resolved.
    addresses: Vec<SocketAddr>,
    next_address: usize,
    resolving: bool,
    seq: u64,
    metrics: WorkerMetrics,
    notices: VecDeque<Notice>,
    /// How many went before them in this session: told, or more than could be kept.
    notices_gone: u64,
    /// How many of `notices` are in the heartbeat that is in flight.
    notices_sent: usize,
    /// The last refusal, so that the same one is not told again and again.
    refusal: Option<String>,
    /// The same of assignments that were not taken here.
    not_taken: Option<String>,
    greeted: bool,
    counts: Counts,
}

/// Heartbeats by what became of them, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Answered.
    pub(crate) taken: u64,
    /// Not.
    pub(crate) failed: u64,
}

/// What the loop has to do for the link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// Have the controller's name resolved, and hand the answer to [`Link::resolved`].
    Resolve,
}

impl Link {
    pub(crate) fn new(intro: Introduction, prng: Prng, now: Wall) -> Link {
        Link {
            addresses: intro.controller.literal().into_iter().collect(),
            state: LinkState::new(intro.every),
            intro,
            prng,
            call: None,
            clock: ClockOffset::default(),
            away: false,
            next_address: 0,
            resolving: false,
            // Larger than any that an earlier agent used, should the controller still compare.
            seq: u64::try_from(now.0).unwrap_or(0).saturating_mul(1000),
            metrics: WorkerMetrics::default(),
            notices: VecDeque::new(),
            notices_gone: 0,
            notices_sent: 0,
            refusal: None,
            not_taken: None,
            greeted: false,
            counts: Counts::default(),
        }
    }

    /// A new measurement: the next heartbeat's, due now.
    pub(crate) fn measured(&mut self, metrics: WorkerMetrics, now: Mono) {
        self.metrics = metrics;
        self.state.report(now);
    }

    /// An instance's state changed.
    pub(crate) fn report(&mut self, now: Mono) {
        self.state.report(now);
    }

    /// Something for the controller's events, once.
    pub(crate) fn notice(&mut self, notice: Notice, now: Mono) {
        // What is in flight stays until its answer: its place is at the front.
        if self.notices.len() >= NOTICES_MAX && self.notices_sent == 0 {
            self.notices.pop_front();
            self.notices_gone += 1;
        }
        if self.notices.len() < NOTICES_MAX {
            self.notices.push_back(notice);
        }
        self.state.report(now);
    }

    /// Where the controller is.
    pub(crate) fn controller(&self) -> &HttpUrl {
        &self.intro.controller
    }

    /// Whether the controller does not answer.
    pub(crate) fn is_away(&self) -> bool {
        self.away
    }

    /// The machine, as measured last.
    pub(crate) fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Heartbeats so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// When to call [`Link::pump`] again, if nothing comes before.
    pub(crate) fn deadline(&self, held: Option<&Holding>) -> Option<Mono> {
        if self.resolving { None } else { self.state.deadline(held) }
    }

    /// Sends what is due.
    pub(crate) fn pump(&mut self, io: &mut Io, supervisor: &mut Supervisor) -> Need {
        let now = io.now();
        let due = self.state.deadline(supervisor.holds()).is_some_and(|at| at <= now.mono);
        if self.resolving || !due {
            return Need::Nothing;
        }
        let Some(address) = self.addresses.get(self.next_address).copied() else {
            self.resolving = true;
            return Need::Resolve;
        };
        if let Some(ask) = self.state.next(now.mono, supervisor.holds()) {
            let request = self.request(ask, address, supervisor, now);
            let timeouts = CallTimeouts {
                connect: CALL_CONNECT_TIMEOUT,
                head: LINK_TIMEOUT,
                body_idle: LINK_TIMEOUT,
                total: Some(LINK_ANSWER_TIMEOUT),
            };
            self.call = Some((io.call(address, request, timeouts), ask));
            self.clock.asked(now.wall);
        }
        Need::Nothing
    }

    /// The controller's name was looked up.
    pub(crate) fn resolved(
        &mut self,
        found: std::io::Result<Vec<SocketAddr>>,
        held: Option<&Holding>,
        now: Now,
    ) {
        self.resolving = false;
        match found {
            Ok(addresses) => {
                self.addresses = addresses;
                self.next_address = 0;
            }
            Err(error) => {
                // As a call that failed: the same pauses, the same line in the log.
                self.state.next(now.mono, held);
                let reason = format!("its name can't be resolved: {error}");
                self.ended(Outcome::Failed, &reason, now.mono);
            }
        }
    }

    fn request(
        &mut self,
        ask: Ask,
        address: SocketAddr,
        supervisor: &mut Supervisor,
        now: Now,
    ) -> OutRequest {
        let name = &self.intro.hello.name;
        let target = |path: &str| self.intro.controller.target(path);
        let request = match ask {
            Ask::Hello => {
                let hello = self.hello(address, supervisor);
                OutRequest::new(Method::Post, target("/v1/workers")).json(&hello)
            }
            Ask::Heartbeat => {
                let path = target(&format!("/v1/workers/{name}/heartbeat"));
                self.seq += 1;
                self.notices_sent = self.notices.len();
                OutRequest::new(Method::Post, path)
                    .body("application/json", self.heartbeat(supervisor, now.wall))
            }
            Ask::Assignments => {
                let path = target(&format!("/v1/workers/{name}/assignments"));
                let mode = AnswerMode::Collect { bytes_max: ASSIGNMENTS_BYTES_MAX };
                OutRequest::new(Method::Get, path).answer(mode)
            }
        };
        let request = request.host(self.intro.controller.authority());
        match &self.intro.token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    fn hello(&self, controller: SocketAddr, supervisor: &mut Supervisor) -> Hello {
        let address = self.intro.address(controller);
        if let Some(address) = address {
            supervisor.set_host(address);
        }
        let agent_port = self.intro.reachable_port(address);
        if let (Some(address), None, false) = (address, agent_port, self.greeted) {
            self.intro.warn_unreachable(address);
        }
        Hello {
            address,
            agent_port: agent_port.unwrap_or(0),
            holds: supervisor.holds().cloned(),
            instances: supervisor.reports(),
            ..self.intro.hello.clone()
        }
    }

    fn heartbeat(&self, supervisor: &Supervisor, now: Wall) -> Vec<u8> {
        heartbeat_json(Heartbeat {
            session: self.intro.hello.session,
            seq: self.seq,
            at: now,
            holds: supervisor.holds().cloned(),
            metrics: WorkerMetrics { clock_offset_ms: self.clock.millis(), ..self.metrics.clone() },
            instances: supervisor.reports(),
            notices: self.notices.iter().cloned().collect(),
            notices_before: Some(self.notices_gone),
        })
    }

    /// Whether a call is the link's.
    pub(crate) fn owns(&self, call: CallId) -> bool {
        self.call.is_some_and(|(own, _)| own == call)
    }

    /// Something became of the link's call.
    pub(crate) fn on_call(
        &mut self,
        io: &mut Io,
        event: CallEvent<'_>,
        supervisor: &mut Supervisor,
    ) {
        let now = io.now();
        let Some((_, ask)) = self.call else { return };
        let (outcome, reason) = match event {
            CallEvent::Answer(answer) => self.read(ask, &answer, supervisor, now),
            CallEvent::Failed(error) => {
                self.other_address();
                (Outcome::Failed, Chain(&error).to_string())
            }
            CallEvent::Head(_) | CallEvent::Data(_) | CallEvent::End | CallEvent::Connected => {
                return;
            }
        };
        self.call = None;
        if ask == Ask::Heartbeat {
            let taken = matches!(outcome, Outcome::Wanted(_));
            self.notices_sent = 0;
            self.counts.taken += u64::from(taken);
            self.counts.failed += u64::from(!taken);
        }
        self.ended(outcome, &reason, now.mono);
    }

    fn ended(&mut self, outcome: Outcome, reason: &str, now: Mono) {
        let url = &self.intro.controller;
        let took_us = matches!(outcome, Outcome::Wanted(_) | Outcome::Taken);
        let refused = outcome == Outcome::Refused;
        let change = self.state.ended(outcome, now, &mut self.prng);
        self.away = match change {
            Some(Change::Away) => true,
            Some(Change::Back(_)) => false,
            None => self.away,
        };
        match change {
            Some(Change::Away) => log::warn!(
                "the controller {url} is away ({}); instances go on, and it is tried again",
                Escaped(reason)
            ),
            Some(Change::Back(after)) => {
                log::info!("the controller {url} is back after {}", format_duration(after));
            }
            None => {}
        }
        if took_us {
            self.refusal = None;
        } else if refused && self.refusal.as_deref() != Some(reason) {
            log::error!("the controller {url} refuses this agent: {}", Escaped(reason));
            self.refusal = Some(reason.to_owned());
        }
    }

    /// After a failure the next of the controller's addresses is tried, and after the last its name
    /// is looked up again.
    fn other_address(&mut self) {
        self.next_address += 1;
        if self.next_address >= self.addresses.len() {
            self.next_address = 0;
            if self.intro.controller.literal().is_none() {
                self.addresses.clear();
            }
        }
    }
}
