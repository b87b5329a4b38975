//! The balancer of a simulated controller: the real choice among instances, with requests that are
//! only a beginning and an end.

use std::collections::BTreeMap;

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::prng::Prng;
use tucano_common::time::Mono;
use tucano_controller_core::balancer::outlier::Sign;
use tucano_controller_core::balancer::table::RoutingTable;
use tucano_controller_core::balancer::{Choice, Fleet, MemberIx, Note, ServiceIx};

pub(super) struct Balancer {
    fleet: Fleet,
    pub(super) table: RoutingTable,
    requests: BTreeMap<u64, (ServiceIx, MemberIx, InstanceId)>,
}

/// Where a request may go.
pub(super) enum Way {
    To(MemberIx, InstanceId, std::net::SocketAddr),
    /// An instance is on its way.
    Wait,
    Nobody,
}

impl Balancer {
    pub(super) fn new(prng: Prng) -> Balancer {
        Balancer {
            fleet: Fleet::new(1, prng),
            table: RoutingTable::default(),
            requests: BTreeMap::new(),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.fleet.version()
    }

    /// Takes a table; who has no request any more.
    pub(super) fn adopt(&mut self, table: RoutingTable, now: Mono) -> Vec<InstanceId> {
        let mut notes = Vec::new();
        self.fleet.adopt(&table, now, &mut notes);
        self.table = table;
        drained(&notes)
    }

    pub(super) fn place(&self, service: &ServiceName) -> Option<ServiceIx> {
        self.fleet.place_of(service)
    }

    pub(super) fn choose(&mut self, service: ServiceIx, tried: &[InstanceId], now: Mono) -> Way {
        match self.fleet.choose(service, tried, now) {
            Choice::Use(ix) => match self.fleet.member(ix) {
                Some(member) => Way::To(ix, member.instance, member.address),
                None => Way::Nobody,
            },
            Choice::Full => Way::Wait,
            Choice::Nobody if self.fleet.is_expecting(service) => Way::Wait,
            Choice::Nobody => Way::Nobody,
        }
    }

    pub(super) fn begin(
        &mut self,
        request: u64,
        service: ServiceIx,
        member: MemberIx,
        instance: InstanceId,
    ) {
        self.fleet.retain(service);
        self.fleet.begin(member);
        self.requests.insert(request, (service, member, instance));
    }

    /// The instance that a request is on.
    pub(super) fn instance_of(&self, request: u64) -> Option<InstanceId> {
        self.requests.get(&request).map(|(_, _, instance)| *instance)
    }

    pub(super) fn finish(&mut self, request: u64, good: bool, now: Mono) -> Vec<InstanceId> {
        let Some((service, member, _)) = self.requests.remove(&request) else { return Vec::new() };
        let mut notes = Vec::new();
        let sign = if good { Sign::Good } else { Sign::Broken };
        self.fleet.finish(member, sign, now, &mut notes);
        self.fleet.release(service);
        self.fleet.tick(now, &mut notes);
        drained(&notes)
    }
}

fn drained(notes: &[Note]) -> Vec<InstanceId> {
    let ids = notes.iter().filter_map(|note| match note {
        Note::Drained(id) => Some(*id),
        Note::Retired(_) | Note::Abandoned(_) | Note::Changed(_) | Note::Ejected { .. } => None,
    });
    ids.collect()
}
