//! What all actors share: the time, what is due when, the network between controller and workers,
//! the trace, and the first fault that was found.
//!
//! Everything that happens goes through the queue in one order, so that a seed fixes a history.

use std::collections::BTreeMap;

use tucano_common::prng::Prng;
use tucano_common::wire::worker::{Assignments, Heartbeat, HeartbeatAnswer, Hello, HelloAnswer};
use tucano_worker_core::{Fact, JobRun};

use super::clock::{MS, SECOND, Time};
use super::faults::Faults;
use super::pushes::Order;

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// A message arrives.
    Deliver(Packet),
    /// A caller gives up waiting.
    TimedOut { worker: usize, to_controller: bool, incarnation: u64, call: u64 },
    /// The controller takes what came.
    Turn { incarnation: u64 },
    /// The controller looks at its clock.
    ControllerWake { incarnation: u64 },
    /// The controller's process begins.
    ControllerStart,
    /// An agent looks at its clock.
    AgentWake { worker: usize, incarnation: u64 },
    /// An agent's process begins.
    AgentStart { worker: usize },
    /// An agent learns something of its machine.
    Learn { worker: usize, incarnation: u64, fact: Box<Fact> },
    /// A ledger is on disk, or is not.
    Saved { worker: usize, incarnation: u64 },
    /// A process may have reached its end.
    Ends { worker: usize, job: JobRun },
    /// A client's request begins.
    Request,
    /// A client's request ends.
    Answered { incarnation: u64, request: u64 },
    /// The operator does something.
    Operator,
    /// A second is over: faults are drawn, and what must hold for a while is looked at.
    Second,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) worker: usize,
    pub(super) to_controller: bool,
    /// Whom it was sent to: a later process on the same port does not get it.
    pub(super) incarnation: u64,
    pub(super) call: u64,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Hello(Box<Hello>),
    Heartbeat(Box<Heartbeat>),
    GetAssignments,
    Answer(Answer),
    Order(Box<Order>),
    OrderTaken(bool),
}

/// What a controller answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Hello(Box<HelloAnswer>),
    Heartbeat(HeartbeatAnswer),
    Assignments(Box<Assignments>),
    NotFound,
    Conflict,
    Unavailable,
}

/// One worker's way to the controller.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// What the worker sends is lost until then.
    pub(super) out_cut_until: Time,
    /// What is sent to the worker is lost until then.
    pub(super) in_cut_until: Time,
}

pub(super) struct Bus {
    pub(super) now: Time,
    pub(super) faults: Faults,
    pub(super) links: Vec<Link>,
    /// Of each process that is up; none where it is not.
    pub(super) controller: Option<u64>,
    pub(super) agents: Vec<Option<u64>>,
    pub(super) failure: Option<String>,
    pub(super) lines: Vec<String>,
    pub(super) steps: u64,
    queue: BTreeMap<(Time, u64), Due>,
    next: u64,
    net: Prng,
    digest: u64,
    tracing: bool,
}

impl Bus {
    pub(super) fn new(workers: usize, faults: Faults, net: Prng, tracing: bool) -> Bus {
        Bus {
            now: SECOND,
            faults,
            links: vec![Link::default(); workers],
            controller: None,
            agents: vec![None; workers],
            failure: None,
            lines: Vec::new(),
            steps: 0,
            queue: BTreeMap::new(),
            next: 0,
            net,
            digest: 0xcbf2_9ce4_8422_2325,
            tracing,
        }
    }

    pub(super) fn at(&mut self, at: Time, due: Due) {
        self.next += 1;
        self.queue.insert((at.max(self.now), self.next), due);
    }

    pub(super) fn after(&mut self, delay: Time, due: Due) {
        self.at(self.now + delay, due);
    }

    /// The next thing, with the time moved there.
    pub(super) fn pop(&mut self) -> Option<Due> {
        let ((at, _), due) = self.queue.pop_first()?;
        self.now = at;
        self.steps += 1;
        self.stir(at);
        Some(due)
    }

    /// A number that no other process, call or request has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The first fault ends the history.
    pub(super) fn fault(&mut self, what: impl FnOnce() -> String) {
        if self.failure.is_none() {
            let what = what();
            self.note(|| format!("FAULT {what}"));
            self.failure = Some(what);
        }
    }

    /// A line of the trace.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let line = format!("{:>11.6} {}", self.now as f64 / SECOND as f64, line());
            self.lines.push(line);
        }
    }

    /// Mixes something into the history's digest: two histories with one digest are the same.
    pub(super) fn stir(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether a request from the balancer reaches a worker's instance and its answer comes back.
    pub(super) fn reaches(&self, worker: usize) -> bool {
        let link = self.links.get(worker).copied().unwrap_or_default();
        link.in_cut_until <= self.now && link.out_cut_until <= self.now
    }

    /// Sends to the controller; false where nobody listens there.
    pub(super) fn tell_controller(&mut self, worker: usize, call: u64, body: Body) -> bool {
        let Some(incarnation) = self.controller else { return false };
        self.send(Packet { worker, to_controller: true, incarnation, call, body });
        true
    }

    /// Sends to an agent; false where nobody listens there.
    pub(super) fn tell_agent(&mut self, worker: usize, call: u64, body: Body) -> bool {
        let Some(incarnation) = self.agents.get(worker).copied().flatten() else { return false };
        self.send(Packet { worker, to_controller: false, incarnation, call, body });
        true
    }

    fn send(&mut self, packet: Packet) {
        let link = self.links.get(packet.worker).copied().unwrap_or_default();
        let cut_until = if packet.to_controller { link.out_cut_until } else { link.in_cut_until };
        if cut_until > self.now || self.net.chance(self.faults.packet_lost) {
            return;
        }
        let copies = 1 + u32::from(self.net.chance(self.faults.packet_doubled));
        for _ in 0..copies {
            let mut delay = 100 + u64::from(self.net.below(2_000));
            if self.net.chance(self.faults.packet_late) {
                // An ended connection's last words may come long after.
                let most = if self.net.chance(0.3) { 40_000 } else { 4_000 };
                delay += u64::from(self.net.below(most)) * MS;
            }
            self.after(delay, Due::Deliver(packet.clone()));
        }
    }
}
