//! Addresses outside the cluster that fail their health checks, and since when.
//!
//! Not stored: after a start every address counts as well until its first checks say otherwise. It
//! checks nothing itself (`worker_mgr` does, on a loop). Called by the deployer for each fact.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::spec::Workload;
use tucano_common::time::Wall;

use super::core::{At, Deployer};
use super::journal::Story;
use super::{OutsideAddress, OutsideHealth};
use crate::cluster::{Cluster, EventKind, Service};

/// Who fails.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    down: BTreeMap<InstanceId, Down>,
}

#[derive(Clone, Debug)]
struct Down {
    service: ServiceName,
    address: SocketAddr,
    since: Wall,
    reason: String,
}

impl Outside {
    pub(super) fn is_down(&self, id: InstanceId) -> bool {
        self.down.contains_key(&id)
    }

    /// Addresses that no service names any more are forgotten.
    fn forget_unlisted(&mut self, cluster: &Cluster) {
        self.down.retain(|_, down| {
            let service = cluster.service(&down.service);
            service.is_some_and(|service| lists(cluster, service, down.address))
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

fn lists(cluster: &Cluster, service: &Service, address: SocketAddr) -> bool {
    addresses(cluster, service).contains(&address)
}

impl Deployer {
    /// A check found an address to be other than it was; the same again is no news.
    pub(super) fn take_outside(&mut self, found: OutsideHealth, at: At) {
        self.routes.outside.forget_unlisted(&self.cluster);
        let Some(service) = self.cluster.service(&found.service).cloned() else { return };
        if !lists(&self.cluster, &service, found.address) {
            return;
        }
        let id = outside_id(&service.name, found.address);
        let OutsideHealth { address, result, .. } = found;
        let story = match (result, self.routes.outside.is_down(id)) {
            (Ok(()), true) => {
                self.routes.outside.down.remove(&id);
                let message = format!("{address} passes its health check again");
                Story::new(EventKind::InstanceHealthy, message, None)
            }
            (Err(reason), false) => {
                let message =
                    format!("{address} fails its health check and gets no requests: {reason}");
                let service = service.name.clone();
                let down = Down { service, address, since: at.wall, reason };
                self.routes.outside.down.insert(id, down);
                Story::new(EventKind::InstanceUnhealthy, message, None)
            }
            (Ok(()), false) | (Err(_), true) => return,
        };
        self.tell_outside(&service, id, story, at);
        self.routes.touch(&service.name);
    }

    /// The addresses of an external service as its checks find them; none for another.
    pub fn outside_of(&self, service: &Service) -> Vec<OutsideAddress> {
        let all = addresses(&self.cluster, service).iter();
        all.map(|address| {
            let id = outside_id(&service.name, *address);
            let down = self.routes.outside.down.get(&id);
            OutsideAddress {
                id,
                address: *address,
                down: down.map(|down| (down.since, down.reason.clone())),
            }
        })
        .collect()
    }
}
