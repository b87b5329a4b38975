//! Addresses outside the cluster: which fail their health checks, and since when.
//!
//! Not stored: after a start every address counts as well until its first checks say otherwise. It
//! checks nothing itself (`worker_mgr` does, on a loop). Called by the deployer for each fact.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::spec::Workload;
use tucano_common::time::Wall;

use super::core::{At, Deployer};
use super::journal::Story;
use super::{OutsideAddress, OutsideHealth};
use crate::cluster::{Cluster, EventKind, Revision, Service};

/// What checks found of addresses; of the others nothing is known, and they count as well.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    found: BTreeMap<InstanceId, Found>,
}

#[derive(Clone, Debug)]
struct Found {
    service: ServiceName,
    address: SocketAddr,
    since: Wall,
    health: Result<(), String>,
}

impl Outside {
    pub(super) fn is_down(&self, id: InstanceId) -> bool {
        self.found.get(&id).is_some_and(|found| found.health.is_err())
    }

    /// Addresses that their service names no more are forgotten: one that is named again begins
    /// anew.
    pub(super) fn forget_unlisted(&mut self, cluster: &Cluster, touched: &BTreeSet<ServiceName>) {
        self.found.retain(|_, found| {
            let lists = |service| addresses(cluster, service).contains(&found.address);
            !touched.contains(&found.service) || cluster.service(&found.service).is_some_and(lists)
        });
    }
}

/// An address's id, made of it, so that it stays the same as long as the address does.
pub(super) fn outside_id(service: &ServiceName, address: SocketAddr) -> InstanceId {
    let text = format!("{service} {address}");
    // FNV-1a, 64 bits.
    InstanceId(text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

fn addresses<'a>(cluster: &'a Cluster, service: &Service) -> &'a [SocketAddr] {
    match cluster.spec_of(service).map(|spec| &spec.workload) {
        Some(Workload::External(addresses)) => addresses,
        Some(Workload::Scripts(_)) | None => &[],
    }
}

/// Since when a service names an address without a break, as far as its kept revisions say.
fn named_since(cluster: &Cluster, service: &Service, address: SocketAddr) -> Wall {
    let names = |revision: &&Revision| match &revision.spec.workload {
        Workload::External(addresses) => addresses.contains(&address),
        Workload::Scripts(_) => false,
    };
    let newest_first = || cluster.revisions(&service.name).rev();
    let mut newer = newest_first().take_while(|revision| revision.number > service.revision);
    if let Some(deployment) = cluster.deployment(service.deployment) {
        let from = deployment.from_revision.and_then(|from| cluster.revision(&service.name, from));
        // It came with this deployment, be it one back to a revision that names it.
        if from.is_some_and(|from| !names(&from)) || !newer.all(|revision| names(&revision)) {
            return deployment.created_at;
        }
    }
    let unbroken = newest_first().take_while(names);
    unbroken.last().map_or(service.created_at, |revision| revision.created_at)
}

impl Deployer {
    /// A check found an address to be other than it was; the same again is no news.
    pub(super) fn take_outside(&mut self, found: OutsideHealth, at: At) {
        let Some(service) = self.cluster.service(&found.service).cloned() else { return };
        if !addresses(&self.cluster, &service).contains(&found.address) {
            return;
        }
        let id = outside_id(&service.name, found.address);
        let OutsideHealth { address, result: health, .. } = found;
        let story = match (&health, self.routes.outside.is_down(id)) {
            (Ok(()), true) => {
                let message = format!("{address} passes its health check again");
                Story::new(EventKind::InstanceHealthy, message, None)
            }
            (Err(reason), false) => {
                let message =
                    format!("{address} fails its health check and gets no requests: {reason}");
                Story::new(EventKind::InstanceUnhealthy, message, None)
            }
            (Ok(()), false) | (Err(_), true) => return,
        };
        let found = Found { service: service.name.clone(), address, since: at.wall, health };
        self.routes.outside.found.insert(id, found);
        self.tell_outside(&service, id, story, at);
        self.routes.touch(&service.name);
    }

    /// The addresses of an external service as its checks find them; none for another.
    pub fn outside_of(&self, service: &Service) -> Vec<OutsideAddress> {
        let all = addresses(&self.cluster, service).iter();
        all.map(|address| {
            let id = outside_id(&service.name, *address);
            let found = self.routes.outside.found.get(&id);
            let named_since = named_since(&self.cluster, service, *address);
            OutsideAddress {
                id,
                address: *address,
                named_since,
                since: found.map_or(named_since, |found| found.since),
                down: found.and_then(|found| found.health.clone().err()),
            }
        })
        .collect()
    }
}
