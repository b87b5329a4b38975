//! What one loop knows of every service's instances, and its choices among them.
//!
//! It holds no connections and sends nothing: the loop tells it what began and ended, and asks.
//! What the others have to hear comes back as [`Note`]s. Called by `controller/src/balancer`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::SILENCE_TERM;
use tucano_common::name::ServiceName;
use tucano_common::prng::Prng;
use tucano_common::time::Mono;

use super::budget::RetryBudget;
use super::hosts::HostIndex;
use super::member::{Member, Standing, Tier};
use super::outlier::Sign;
use super::pick::{better, pair};
use super::table::{Duty, ServiceRoute, Weights};

/// A service's place in a [`Fleet`]; the same as long as the service is there or has requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceIx(pub u32);

/// An instance's place in a [`Fleet`]; the same as long as it is listed or has requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberIx(pub u32);

/// What the loop has to do or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Nothing is in flight on this instance, and nothing will be.
    Drained(InstanceId),
    /// No new request goes to this place's address: its idle connections are to be closed.
    Retired(MemberIx),
    /// The worker of this instance is dead: what is in flight there is lost, or goes elsewhere.
    Abandoned(MemberIx),
    /// This service's instances changed: who waits for one may have it.
    Changed(ServiceIx),
    /// The instance went out of the rotation for so long, or (none) came back.
    Ejected {
        /// Which.
        instance: InstanceId,
        /// Of which service.
        service: ServiceIx,
        /// For how long.
        out_for: Option<Duration>,
    },
}

/// Whom to send a request to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    Use(MemberIx),
    /// Every instance has as many requests as it may.
    Full,
    /// Nobody receives requests.
    Nobody,
}

/// One service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// What the table says; the last word where it says nothing any more.
    pub(super) route: Arc<ServiceRoute>,
    pub(super) is_listed: bool,
    pub(super) members: Vec<MemberIx>,
    pub(super) budget: RetryBudget,
    /// Requests that name this place.
    pub(super) requests: u32,
}

/// Every service and instance, for one loop.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub(super) version: u64,
    pub(super) services: Vec<Option<Service>>,
    pub(super) by_name: BTreeMap<ServiceName, ServiceIx>,
    pub(super) ports: Vec<(u16, HostIndex)>,
    pub(super) members: Vec<Option<Member>>,
    pub(super) free_members: Vec<MemberIx>,
    pub(super) by_instance: BTreeMap<InstanceId, MemberIx>,
    /// Loops that share `max_in_flight`.
    loops: u32,
    prng: Prng,
    turn: u64,
}

impl Fleet {
    /// Knows nobody. `loops` share each instance's bound of requests in flight.
    pub fn new(loops: u32, prng: Prng) -> Fleet {
        Fleet {
            version: 0,
            services: Vec::new(),
            by_name: BTreeMap::new(),
            ports: Vec::new(),
            members: Vec::new(),
            free_members: Vec::new(),
            by_instance: BTreeMap::new(),
            loops: loops.max(1),
            prng,
            turn: 0,
        }
    }

    /// The version of the table adopted last.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The service that an authority asks for on a port.
    pub fn route(&self, port: u16, authority: &[u8]) -> Option<ServiceIx> {
        let (_, hosts) = self.ports.iter().find(|(listed, _)| *listed == port)?;
        let place = hosts.find(authority)?;
        u32::try_from(place).ok().map(ServiceIx)
    }

    /// What the table says of a service; also of one that has left it, while requests name it.
    pub fn service(&self, service: ServiceIx) -> Option<&Arc<ServiceRoute>> {
        self.slot(service).map(|slot| &slot.route)
    }

    /// The place of a service.
    pub fn place_of(&self, service: &ServiceName) -> Option<ServiceIx> {
        self.by_name.get(service).copied()
    }

    /// Whether the service's instances are the cluster's own: what becomes of one that crashed is
    /// told.
    pub fn is_managed(&self, service: ServiceIx) -> bool {
        self.slot(service).is_some_and(|slot| slot.is_listed)
            && self.members_of(service).any(|member| member.worker.is_some())
    }

    /// Whether an instance of the service is on its way.
    pub fn is_expecting(&self, service: ServiceIx) -> bool {
        self.slot(service).is_some_and(|slot| slot.is_listed && slot.route.expecting)
    }

    /// The instance at a place.
    pub fn member(&self, member: MemberIx) -> Option<&Member> {
        self.members.get(member.0 as usize)?.as_ref()
    }

    /// Where an instance is.
    pub fn address(&self, member: MemberIx) -> Option<SocketAddr> {
        self.member(member).map(|member| member.address)
    }

    /// A request names this service from here on; [`Fleet::release`] ends that.
    pub fn retain(&mut self, service: ServiceIx) {
        if let Some(slot) = self.slot_mut(service) {
            slot.requests += 1;
            slot.budget.pay_in();
        }
    }

    /// The request is over.
    pub fn release(&mut self, service: ServiceIx) {
        let Some(slot) = self.slot_mut(service) else { return };
        slot.requests = slot.requests.saturating_sub(1);
        self.free_service(service);
    }

    /// Takes one retry out of the service's budget, if there is one.
    pub fn may_retry(&mut self, service: ServiceIx, now: Mono) -> bool {
        self.slot_mut(service).is_some_and(|slot| slot.budget.take(now))
    }

    /// Whom to send a request to, but to none of those tried already.
    pub fn choose(&mut self, service: ServiceIx, tried: &[InstanceId], now: Mono) -> Choice {
        let Some(slot) = self.services.get(service.0 as usize).and_then(Option::as_ref) else {
            return Choice::Nobody;
        };
        if !slot.is_listed {
            return Choice::Nobody;
        }
        let room = slot.route.max_in_flight.map_or(u32::MAX, |max| (max / self.loops).max(1));
        let count = u32::try_from(slot.members.len()).unwrap_or(u32::MAX);
        // Two at random; nearly always both are good.
        let (first, second) = pair(&mut self.prng, count);
        let open = |ix: MemberIx| {
            let member = self.members.get(ix.0 as usize)?.as_ref()?;
            let tier = member.tier(now)?;
            let is_open = member.in_flight < room && !tried.contains(&member.instance);
            is_open.then_some((tier, member, ix))
        };
        let drawn = |place: u32| slot.members.get(place as usize).and_then(|ix| open(*ix));
        let chosen = match (drawn(first), drawn(second)) {
            (Some(a), Some(b)) if a.0 == Tier::Good && b.0 == Tier::Good => {
                Some(better(a, b, now, &mut self.prng))
            }
            _ => {
                let candidates = slot.members.iter().filter_map(|ix| open(*ix));
                candidates.reduce(|best, next| better(best, next, now, &mut self.prng))
            }
        };
        match chosen {
            Some((_, _, ix)) => {
                if let Some(member) = self.member_mut(ix) {
                    member.chosen(now);
                }
                Choice::Use(ix)
            }
            None if slot.members.iter().any(|ix| self.is_full(*ix, room, tried, now)) => {
                Choice::Full
            }
            None => Choice::Nobody,
        }
    }

    /// A request goes to this instance.
    pub fn begin(&mut self, member: MemberIx) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(member) = self.member_mut(member) {
            member.in_flight += 1;
            member.last_turn = turn;
        }
    }

    /// Requests that were given to anybody so far.
    pub fn begun(&self) -> u64 {
        self.turn
    }

    /// The head of an answer came so long after its request was sent.
    pub fn answered(&mut self, member: MemberIx, latency: Duration, now: Mono) {
        if let Some(member) = self.member_mut(member) {
            member.answered_in(latency, now);
        }
    }

    /// A request on this instance is over.
    pub fn finish(&mut self, ix: MemberIx, sign: Sign, now: Mono, notes: &mut Vec<Note>) {
        let Some(member) = self.member_mut(ix) else { return };
        member.in_flight = member.in_flight.saturating_sub(1);
        if sign == Sign::Broken {
            member.broke(now);
        }
        let (instance, service) = (member.instance, member.service);
        if member.is_leaving() {
            if member.in_flight == 0 {
                notes.push(Note::Drained(instance));
                self.free_member(ix);
            }
            return;
        }
        if member.outlier.wants_out(sign, now)
            && self.can_spare(service, now)
            && let Some(member) = self.member_mut(ix)
        {
            let out_for = member.outlier.eject(now);
            notes.push(Note::Ejected { instance, service, out_for: Some(out_for) });
            notes.push(Note::Retired(ix));
        }
    }

    /// Tells who is back in the rotation. To be asked about once a second.
    pub fn tick(&mut self, now: Mono, notes: &mut Vec<Note>) {
        for member in self.members.iter_mut().flatten() {
            if member.outlier.returns(now) {
                let (instance, service) = (member.instance, member.service);
                notes.push(Note::Ejected { instance, service, out_for: None });
                notes.push(Note::Changed(member.service));
            }
        }
    }

    /// When the next instance comes back into the rotation.
    pub fn next_return(&self, now: Mono) -> Option<Mono> {
        let outliers = self.members.iter().flatten().map(|member| &member.outlier);
        outliers.filter_map(|outlier| outlier.out_until()).map(|until| until.max(now)).min()
    }

    /// Where something is in flight that is to be watched for silence: each such instance's host,
    /// and when it last answered.
    pub fn awaited_hosts(&self) -> impl Iterator<Item = (IpAddr, Mono)> {
        let busy = self.members.iter().flatten().filter(|member| member.in_flight > 0);
        busy.map(|member| (member.address.ip(), member.heard_at()))
    }

    /// A host answers nothing: its instances are used last for a while, and connections to them
    /// that nobody uses are worth nothing.
    pub fn fell_silent(&mut self, host: IpAddr, now: Mono, notes: &mut Vec<Note>) {
        for (place, member) in (0..).zip(&mut self.members) {
            if let Some(member) = member.as_mut().filter(|member| member.address.ip() == host) {
                member.fell_silent(now + SILENCE_TERM);
                notes.push(Note::Retired(MemberIx(place)));
            }
        }
    }

    /// Whether [`Fleet::may_retry`] would say yes now; takes nothing.
    pub fn has_retry(&self, service: ServiceIx, now: Mono) -> bool {
        self.slot(service).is_some_and(|slot| {
            let mut copy = slot.budget;
            copy.take(now)
        })
    }

    /// Takes the workers' shares, if they are for the table adopted last.
    pub fn weigh(&mut self, weights: &Weights) {
        if weights.table_version != self.version {
            return;
        }
        for member in self.members.iter_mut().flatten() {
            let share = member.worker.and_then(|worker| weights.by_worker.get(worker as usize));
            if let Some(share) = share {
                member.weight = *share;
            }
        }
    }

    /// How many of a service's instances are out of the rotation.
    pub fn ejected(&self, service: ServiceIx, now: Mono) -> usize {
        self.members_of(service).filter(|member| member.outlier.is_out(now)).count()
    }

    /// Never the last one, never more than half.
    fn can_spare(&self, service: ServiceIx, now: Mono) -> bool {
        let serving = self.members_of(service).filter(|member| !member.is_leaving()).count();
        let out = self.ejected(service, now);
        serving > 1 && (out + 1) * 2 <= serving
    }

    fn is_full(&self, ix: MemberIx, room: u32, tried: &[InstanceId], now: Mono) -> bool {
        self.member(ix).is_some_and(|member| {
            member.in_flight >= room
                && member.tier(now).is_some()
                && !tried.contains(&member.instance)
        })
    }

    fn members_of(&self, service: ServiceIx) -> impl Iterator<Item = &Member> {
        let places = self.slot(service).map_or(&[][..], |slot| &slot.members);
        places.iter().filter_map(|ix| self.member(*ix))
    }

    pub(super) fn slot(&self, service: ServiceIx) -> Option<&Service> {
        self.services.get(service.0 as usize)?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, service: ServiceIx) -> Option<&mut Service> {
        self.services.get_mut(service.0 as usize)?.as_mut()
    }

    pub(super) fn member_mut(&mut self, member: MemberIx) -> Option<&mut Member> {
        self.members.get_mut(member.0 as usize)?.as_mut()
    }

    /// Gives an instance's place up, if it is gone from the table and nothing is in flight on it.
    pub(super) fn free_member(&mut self, ix: MemberIx) {
        let Some(member) = self.member(ix) else { return };
        if member.standing != Standing::Gone || member.in_flight > 0 {
            return;
        }
        let (instance, service) = (member.instance, member.service);
        if self.by_instance.get(&instance) == Some(&ix) {
            self.by_instance.remove(&instance);
        }
        if let Some(slot) = self.slot_mut(service) {
            slot.members.retain(|member| *member != ix);
        }
        if let Some(place) = self.members.get_mut(ix.0 as usize) {
            *place = None;
            self.free_members.push(ix);
        }
    }

    /// Gives a service's place up, if it is gone from the table and no request names it.
    pub(super) fn free_service(&mut self, service: ServiceIx) {
        let Some(slot) = self.slot(service) else { return };
        if slot.is_listed || slot.requests > 0 {
            return;
        }
        let name = slot.route.name.clone();
        if self.by_name.get(&name) == Some(&service) {
            self.by_name.remove(&name);
        }
        if let Some(place) = self.services.get_mut(service.0 as usize) {
            *place = None;
        }
    }
}

/// Whether an instance with this duty receives new requests.
pub(super) fn receives(duty: Duty) -> bool {
    matches!(duty, Duty::Serve | Duty::LastResort)
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
