//! Leases: ready → suspect → dead, by the time since a worker was last heard.
//!
//! ```text
//!   hello ──► Ready ──suspect_after──► Suspect ──dead_after──► Dead ──hello──► Ready
//!               ▲                         │
//!               └── heartbeats in a row ──┘
//! ```
//!
//! One late heartbeat among punctual ones does not make a worker flap: a suspect one has to be
//! heard several times in a row. A dead one comes back by a hello alone, which says what it still
//! runs. That this controller itself was held up is no silence of the workers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tucano_common::name::WorkerName;
use tucano_common::time::Mono;
use tucano_common::timers::Deadlines;

use crate::cluster::LeaseState;

/// The times of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// No heartbeat for so long: suspect.
    pub suspect_after: Duration,
    /// No heartbeat for so long: dead.
    pub dead_after: Duration,
    /// After the controller's own start nobody that was not heard since is dead before this.
    pub start_grace: Duration,
}

/// A lease that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseChange {
    /// Whose.
    pub worker: WorkerName,
    /// To what.
    pub lease: LeaseState,
}

/// Why a hello is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloRefused {
    /// Another agent under that name is alive: 409.
    NameTaken {
        /// Where the other one is.
        address: IpAddr,
    },
}

/// What a heartbeat was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// News: take what it says. The lease changed where it says so.
    Fresh(Option<LeaseChange>),
    /// An older one than the last, or the same again: answered, and nothing taken from it.
    Stale,
}

/// Why a heartbeat is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatRefused {
    /// No session, or one that was given up: 404, the agent says hello again.
    NoSession,
    /// The session is another agent's: 409.
    OtherSession,
}

/// An agent's way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Drawn at the agent's start.
    pub session: u64,
    /// Where it is.
    pub address: IpAddr,
    /// Its own API's port there: one process holds it at a time, so the same one is the same agent,
    /// started again.
    pub agent_port: u16,
}

/// The leases of all workers.
#[derive(Clone, Debug)]
pub struct Leases {
    config: LeaseConfig,
    started: Mono,
    leases: BTreeMap<WorkerName, Lease>,
    deadlines: Deadlines<WorkerName, Mono>,
}

#[derive(Clone, Debug)]
struct Lease {
    state: LeaseState,
    /// Whose it is; none before the first hello after the controller's start, and after a bye.
    caller: Option<Caller>,
    /// The last heartbeat's number.
    seq: u64,
    /// When it was last heard; the controller's start for one that is remembered.
    heard: Mono,
    /// Punctual heartbeats in a row.
    punctual: u32,
}

/// So many punctual heartbeats in a row make a suspect worker ready again.
const PUNCTUAL_HEARTBEATS: u32 = 3;
/// A deadline that is found so late was not the worker's fault.
const OWN_DELAY: Duration = Duration::from_secs(1);

impl Leases {
    /// No workers, at the controller's start.
    pub fn new(config: LeaseConfig, started: Mono) -> Leases {
        Leases { config, started, leases: BTreeMap::new(), deadlines: Deadlines::default() }
    }

    /// The times it goes by.
    pub fn config(&self) -> &LeaseConfig {
        &self.config
    }

    /// A worker's lease; none for an unknown one.
    pub fn state(&self, worker: &WorkerName) -> Option<LeaseState> {
        self.leases.get(worker).map(|lease| lease.state)
    }

    /// A worker that is known from before the controller's start: suspect until it is heard, and
    /// not dead before the grace is over. One that was heard since has no grace: its silence is its
    /// own.
    pub fn remember(&mut self, worker: WorkerName, lease: LeaseState) {
        let state = match lease {
            LeaseState::Ready | LeaseState::Suspect => LeaseState::Suspect,
            LeaseState::Dead => LeaseState::Dead,
        };
        let lease = Lease { state, caller: None, seq: 0, heard: self.started, punctual: 0 };
        self.put(&worker, lease);
    }

    /// A hello: a session begins, whatever was before.
    pub fn hello(
        &mut self,
        worker: &WorkerName,
        caller: Caller,
        now: Mono,
    ) -> Result<LeaseChange, HelloRefused> {
        let before = self.leases.get(worker).filter(|lease| lease.state != LeaseState::Dead);
        let session = before.and_then(|lease| Some((lease.caller?, lease.seq)));
        let seq = match session {
            Some((other, seq)) if other.session == caller.session => seq,
            Some((other, _)) if !same_agent(&other, &caller) => {
                return Err(HelloRefused::NameTaken { address: other.address });
            }
            Some(_) | None => 0,
        };
        let state = LeaseState::Ready;
        self.put(worker, Lease { state, caller: Some(caller), seq, heard: now, punctual: 0 });
        Ok(LeaseChange { worker: worker.clone(), lease: state })
    }

    /// A heartbeat.
    pub fn heartbeat(
        &mut self,
        worker: &WorkerName,
        session: u64,
        seq: u64,
        now: Mono,
    ) -> Result<Beat, BeatRefused> {
        let known = self.leases.get(worker).filter(|lease| lease.state != LeaseState::Dead);
        let lease = known.ok_or(BeatRefused::NoSession)?;
        let caller = lease.caller.ok_or(BeatRefused::NoSession)?;
        if caller.session != session {
            return Err(BeatRefused::OtherSession);
        }
        if seq <= lease.seq {
            return Ok(Beat::Stale);
        }
        let punctual = now.since(lease.heard) < self.config.suspect_after;
        let mut next = lease.clone();
        next.seq = seq;
        next.heard = next.heard.max(now);
        next.punctual = if punctual { lease.punctual.saturating_add(1) } else { 0 };
        if next.punctual >= PUNCTUAL_HEARTBEATS {
            next.state = LeaseState::Ready;
        }
        let changed = next.state != lease.state;
        let change = LeaseChange { worker: worker.clone(), lease: next.state };
        self.put(worker, next);
        Ok(Beat::Fresh(changed.then_some(change)))
    }

    /// A bye: the session ends, and the lease runs out as if heartbeats had stopped. False where it
    /// is another's.
    pub fn bye(&mut self, worker: &WorkerName, session: Option<u64>) -> bool {
        let Some(lease) = self.leases.get_mut(worker) else { return false };
        let own = lease
            .caller
            .is_some_and(|caller| session.is_none_or(|session| session == caller.session));
        if own {
            lease.caller = None;
        }
        own
    }

    /// A worker that an operator removed.
    pub fn forget(&mut self, worker: &WorkerName) {
        self.leases.remove(worker);
        self.deadlines.set(worker, None);
    }

    /// The leases that ran out by now, in order. Call it after what came from the workers was
    /// taken.
    pub fn expire(&mut self, now: Mono) -> Vec<LeaseChange> {
        self.forgive(now);
        let mut changes = Vec::new();
        while let Some(worker) = self.deadlines.pop_due(now) {
            let Some(mut lease) = self.leases.get(&worker).cloned() else { continue };
            lease.punctual = 0;
            lease.state = match lease.state {
                LeaseState::Ready => LeaseState::Suspect,
                LeaseState::Suspect | LeaseState::Dead => LeaseState::Dead,
            };
            let change = LeaseChange { worker: worker.clone(), lease: lease.state };
            self.put(&worker, lease);
            changes.push(change);
        }
        changes
    }

    /// When the next may run out.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.next()
    }

    /// Whoever asks this late was held up itself (a stopped process, a disk that hung): what
    /// workers sent meanwhile may still be on its way, so that time does not count.
    fn forgive(&mut self, now: Mono) {
        let late = self.deadlines.next().map_or(Duration::ZERO, |next| now.since(next));
        if late < OWN_DELAY {
            return;
        }
        let leases: Vec<(WorkerName, Lease)> =
            self.leases.iter().map(|(name, lease)| (name.clone(), lease.clone())).collect();
        for (name, mut lease) in leases {
            lease.heard = (lease.heard + late).min(now);
            self.put(&name, lease);
        }
    }

    fn put(&mut self, worker: &WorkerName, lease: Lease) {
        let deadline = match lease.state {
            LeaseState::Ready => Some(lease.heard + self.config.suspect_after),
            LeaseState::Suspect => {
                let dead = lease.heard + self.config.dead_after;
                let grace = self.started + self.config.start_grace;
                Some(if lease.heard == self.started { dead.max(grace) } else { dead })
            }
            LeaseState::Dead => None,
        };
        self.deadlines.set(worker, deadline);
        self.leases.insert(worker.clone(), lease);
    }
}

/// Whether a caller with another session is the same agent, started again: one process at a time
/// holds a port.
fn same_agent(a: &Caller, b: &Caller) -> bool {
    a.address == b.address && a.agent_port == b.agent_port
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
