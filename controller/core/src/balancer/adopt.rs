//! A newer routing table becomes what a loop knows: who is new, who moved, who leaves.
//!
//! Places stay what they are, so requests in flight go on under the new table. It chooses nobody;
//! called by the loop between two turns.

use std::collections::BTreeSet;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::time::Mono;

use super::budget::RetryBudget;
use super::fleet::{Fleet, MemberIx, Note, Service, ServiceIx, receives};
use super::hosts::HostIndex;
use super::member::{Member, Standing};
use super::table::{Duty, Endpoint, RoutingTable, ServiceRoute};

impl Fleet {
    /// Takes a table, unless it is older than the last one.
    pub fn adopt(&mut self, table: &RoutingTable, now: Mono, notes: &mut Vec<Note>) {
        if table.version < self.version {
            return;
        }
        self.version = table.version;
        let places: Vec<ServiceIx> =
            table.services.iter().map(|route| self.place(route, now)).collect();
        self.drop_missing(&places, notes);
        for (route, place) in table.services.iter().zip(&places) {
            self.take(*place, route, notes);
        }
        self.ports = table
            .ports
            .iter()
            .map(|port| {
                let hosts = port.hosts.iter().filter_map(|(host, service)| {
                    places.get(*service).map(|place| (host.as_str(), place.0 as usize))
                });
                (port.port, HostIndex::new(hosts))
            })
            .collect();
    }

    /// The place of a service, a new one where it has none.
    fn place(&mut self, route: &Arc<ServiceRoute>, now: Mono) -> ServiceIx {
        if let Some(place) = self.by_name.get(&route.name) {
            return *place;
        }
        let free = self.services.iter().position(Option::is_none).unwrap_or(self.services.len());
        if free == self.services.len() {
            self.services.push(None);
        }
        let place = ServiceIx(u32::try_from(free).unwrap_or(u32::MAX));
        if let Some(slot) = self.services.get_mut(free) {
            // Not listed yet: `take` compares with what was known before, which is nothing.
            *slot = Some(Service {
                route: Arc::clone(route),
                is_listed: false,
                members: Vec::new(),
                budget: RetryBudget::new(now),
                requests: 0,
            });
        }
        self.by_name.insert(route.name.clone(), place);
        place
    }

    /// Services that the table does not have any more: all of their instances are gone.
    fn drop_missing(&mut self, listed: &[ServiceIx], notes: &mut Vec<Note>) {
        let mut keep = vec![false; self.services.len()];
        for place in listed {
            if let Some(keep) = keep.get_mut(place.0 as usize) {
                *keep = true;
            }
        }
        for (index, _) in keep.iter().enumerate().filter(|(_, keep)| !**keep) {
            let place = ServiceIx(u32::try_from(index).unwrap_or(u32::MAX));
            let Some(slot) = self.slot_mut(place).filter(|slot| slot.is_listed) else { continue };
            slot.is_listed = false;
            for member in slot.members.clone() {
                self.leave(member, Standing::Gone, notes);
            }
            notes.push(Note::Changed(place));
            self.free_service(place);
        }
    }

    /// One service of the table.
    fn take(&mut self, place: ServiceIx, route: &Arc<ServiceRoute>, notes: &mut Vec<Note>) {
        let Some(slot) = self.slot_mut(place) else { return };
        if slot.is_listed && Arc::ptr_eq(&slot.route, route) {
            return;
        }
        slot.is_listed = true;
        slot.route = Arc::clone(route);
        let listed: BTreeSet<InstanceId> =
            route.endpoints.iter().map(|endpoint| endpoint.instance).collect();
        let members = self.slot(place).map_or(&[][..], |slot| &slot.members);
        let is_gone = |ix: &MemberIx| {
            self.member(*ix).is_none_or(|member| !listed.contains(&member.instance))
        };
        let gone: Vec<MemberIx> = members.iter().copied().filter(is_gone).collect();
        for member in gone {
            self.leave(member, Standing::Gone, notes);
        }
        for endpoint in &route.endpoints {
            self.take_endpoint(place, endpoint, notes);
        }
        notes.push(Note::Changed(place));
    }

    fn take_endpoint(&mut self, place: ServiceIx, endpoint: &Endpoint, notes: &mut Vec<Note>) {
        let known = self.by_instance.get(&endpoint.instance).copied();
        // An instance belongs to one service for life; one that turns up elsewhere is another.
        let known = known.filter(|ix| self.member(*ix).is_some_and(|known| known.service == place));
        let ix = known.unwrap_or_else(|| self.add(place, endpoint));
        if receives(endpoint.duty) {
            if let Some(member) = self.member_mut(ix)
                && member.update(endpoint)
            {
                notes.push(Note::Retired(ix));
            }
            return;
        }
        if known.is_none()
            && let Some(member) = self.member_mut(ix)
        {
            // It was never here as anything else: it turns leaving with this table.
            member.standing = Standing::Listed(Duty::Serve);
        }
        self.leave(ix, Standing::Listed(endpoint.duty), notes);
    }

    fn add(&mut self, place: ServiceIx, endpoint: &Endpoint) -> MemberIx {
        let ix = self.free_members.pop().unwrap_or_else(|| {
            self.members.push(None);
            MemberIx(u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(slot) = self.members.get_mut(ix.0 as usize) {
            *slot = Some(Member::new(endpoint, place));
        }
        self.by_instance.insert(endpoint.instance, ix);
        if let Some(slot) = self.slot_mut(place) {
            slot.members.push(ix);
        }
        ix
    }

    /// An instance that receives no new requests from here on. A level, not an event: where it is
    /// idle it is told drained with every table that changes its service, since the deployer may
    /// have taken it back and out again in a table that this loop never saw.
    fn leave(&mut self, ix: MemberIx, standing: Standing, notes: &mut Vec<Note>) {
        let Some(member) = self.member_mut(ix) else { return };
        let was_leaving = member.is_leaving();
        let was_abandoned = member.standing == Standing::Listed(Duty::Abandon);
        member.standing = standing;
        let (instance, in_flight) = (member.instance, member.in_flight);
        if !was_leaving {
            notes.push(Note::Retired(ix));
        }
        let is_listed = matches!(standing, Standing::Listed(_));
        if in_flight == 0 && (is_listed || !was_leaving) {
            notes.push(Note::Drained(instance));
        }
        if standing == Standing::Listed(Duty::Abandon) && !was_abandoned && in_flight > 0 {
            notes.push(Note::Abandoned(ix));
        }
        self.free_member(ix);
    }
}
