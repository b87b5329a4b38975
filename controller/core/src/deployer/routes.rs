//! The routing table, built from the cluster: only the services that changed are built anew, the
//! others are shared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::{Spec, Workload};
use tucano_common::time::{Mono, Now, Wall};

use super::outside::{Outside, outside_id};
use crate::balancer::table::{
    Duty, Endpoint, OutsideCheck, PortRoutes, RouteWorker, RoutingTable, ServiceRoute,
};
use crate::cluster::{Cluster, Instance, LeaseState, Phase, Run, Service, State, Waiting};

/// A lost instance stays in the table so long: a loop that skips a table still learns that it is to
/// be abandoned.
const ABANDON_FOR: Duration = Duration::from_secs(60);

/// The routes of one service.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// The port of this machine and the hosts there; none while the service is being ended.
    hosts: Option<(u16, Vec<String>)>,
    route: Arc<ServiceRoute>,
}

/// The table and what it is built from.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    port_map: Vec<(u16, u16)>,
    origin: Now,
    /// The wall clock as of the last call of the deployer.
    pub(super) now: Wall,
    touched: BTreeSet<ServiceName>,
    entries: BTreeMap<ServiceName, Entry>,
    /// Places never change while the table lives, so that services can be shared between tables.
    workers: Vec<RouteWorker>,
    places: BTreeMap<WorkerName, u32>,
    table: Arc<RoutingTable>,
    /// What checks found of addresses outside the cluster.
    pub(super) outside: Outside,
}

impl Routes {
    pub(super) fn new(port_map: Vec<(u16, u16)>, origin: Now) -> Routes {
        Routes {
            port_map,
            origin,
            now: origin.wall,
            touched: BTreeSet::new(),
            entries: BTreeMap::new(),
            workers: Vec::new(),
            places: BTreeMap::new(),
            table: Arc::default(),
            outside: Outside::default(),
        }
    }

    pub(super) fn table(&self) -> Arc<RoutingTable> {
        self.table.clone()
    }

    pub(super) fn listen_port(&self, expose_port: u16) -> u16 {
        let mapped = self.port_map.iter().find(|(from, _)| *from == expose_port);
        mapped.map_or(expose_port, |(_, to)| *to)
    }

    /// A service whose routes may have changed.
    pub(super) fn touch(&mut self, service: &ServiceName) {
        if !self.touched.contains(service) {
            self.touched.insert(service.clone());
        }
    }

    /// A worker is gone: the places are given anew, and every service is built with them.
    pub(super) fn forget_workers(&mut self) {
        self.workers.clear();
        self.places.clear();
        let entries = std::mem::take(&mut self.entries);
        self.touched.extend(entries.into_keys());
    }

    /// The new table, if it is another one.
    pub(super) fn rebuild(&mut self, cluster: &Cluster) -> Option<Arc<RoutingTable>> {
        let mut changed = false;
        self.outside.forget_unlisted(cluster, &self.touched);
        for name in std::mem::take(&mut self.touched) {
            let entry = cluster.service(&name).and_then(|service| self.entry(cluster, service));
            changed |= match entry {
                Some(entry) if self.entries.get(&name) == Some(&entry) => false,
                Some(entry) => {
                    self.entries.insert(name, entry);
                    true
                }
                None => self.entries.remove(&name).is_some(),
            };
        }
        if !changed {
            return None;
        }
        let mut by_port: BTreeMap<u16, Vec<(String, usize)>> = BTreeMap::new();
        for (at, entry) in self.entries.values().enumerate() {
            let Some((port, hosts)) = &entry.hosts else { continue };
            let hosts = hosts.iter().map(|host| (host.clone(), at));
            by_port.entry(*port).or_default().extend(hosts);
        }
        let ports = by_port.into_iter().map(|(port, hosts)| PortRoutes { port, hosts });
        self.table = Arc::new(RoutingTable {
            version: self.table.version + 1,
            ports: ports.collect(),
            services: self.entries.values().map(|entry| entry.route.clone()).collect(),
            workers: self.workers.clone(),
        });
        Some(self.table())
    }

    fn entry(&mut self, cluster: &Cluster, service: &Service) -> Option<Entry> {
        let spec = cluster.spec_of(service)?;
        let port = self.listen_port(spec.network.expose_port?);
        let endpoints = match &spec.workload {
            Workload::External(addresses) => addresses
                .iter()
                .map(|address| self.external(&service.name, service.revision, *address))
                .collect(),
            Workload::Scripts(_) => self.endpoints(cluster, &service.name),
        };
        let route = ServiceRoute {
            name: service.name.clone(),
            revision: service.revision,
            endpoints,
            expecting: service.phase != Phase::Ending && expecting(cluster, service, spec),
            hold: spec.network.hold,
            max_in_flight: spec.network.max_in_flight,
            outside_check: outside_check(&service.name, spec),
        };
        let hosts = (service.phase != Phase::Ending).then(|| (port, spec.network.hosts.clone()));
        Some(Entry { hosts, route: Arc::new(route) })
    }

    fn endpoints(&mut self, cluster: &Cluster, service: &ServiceName) -> Vec<Endpoint> {
        let now = self.now;
        let recent = cluster.ended_of(service).filter(|each| {
            matches!(each.state, State::Lost { .. }) && now.since(each.since) < ABANDON_FOR
        });
        let all = cluster.alive_of(service).chain(recent);
        all.filter_map(|instance| self.endpoint(cluster, instance)).collect()
    }

    fn endpoint(&mut self, cluster: &Cluster, instance: &Instance) -> Option<Endpoint> {
        let port = instance.observed.port?;
        let worker = cluster.worker(instance.state.worker()?)?;
        let duty = duty(instance, worker.lease)?;
        let address = SocketAddr::new(worker.address, port);
        let ready_at = instance.state.healthy_since().or(instance.observed.ready_at);
        Some(Endpoint {
            instance: instance.id,
            revision: instance.revision,
            address,
            worker: Some(self.place_of(&worker.name)),
            duty,
            ready_at: self.mono(ready_at.unwrap_or_default()),
        })
    }

    fn place_of(&mut self, worker: &WorkerName) -> u32 {
        if let Some(place) = self.places.get(worker) {
            return *place;
        }
        let place = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        self.workers.push(RouteWorker { name: worker.clone() });
        self.places.insert(worker.clone(), place);
        place
    }

    fn external(&self, service: &ServiceName, revision: u64, address: SocketAddr) -> Endpoint {
        let instance = outside_id(service, address);
        // What is in flight on an address that fails its checks may still be answered.
        let duty = if self.outside.is_down(instance) { Duty::Drain } else { Duty::Serve };
        Endpoint { instance, revision, address, worker: None, duty, ready_at: Mono(0) }
    }

    /// A stored time on this process's monotonic clock; what was before its start is its start.
    fn mono(&self, time: Wall) -> Mono {
        if time >= self.origin.wall {
            self.origin.mono + time.since(self.origin.wall)
        } else {
            self.origin.mono.minus(self.origin.wall.since(time))
        }
    }
}

/// What may be sent to an instance; none where it has nothing to do with requests.
fn duty(instance: &Instance, lease: LeaseState) -> Option<Duty> {
    match &instance.state {
        State::Placed { run: Run::Running { healthy_since }, restart_by, .. } => {
            match (restart_by, healthy_since, lease) {
                (Some(_), _, _) => Some(Duty::Drain),
                (None, None, _) => None,
                (None, Some(_), LeaseState::Ready) => Some(Duty::Serve),
                (None, Some(_), LeaseState::Suspect) => Some(Duty::LastResort),
                (None, Some(_), LeaseState::Dead) => Some(Duty::Abandon),
            }
        }
        State::Draining { .. } => Some(Duty::Drain),
        State::Lost { .. } => Some(Duty::Abandon),
        State::Placed { run: Run::Assigned | Run::Building | Run::Starting, .. }
        | State::Pending { .. }
        | State::Stopping { .. }
        | State::Stopped { .. }
        | State::Failed { .. } => None,
    }
}

/// Whether an instance is on its way, so that requests may wait for it.
fn expecting(cluster: &Cluster, service: &Service, spec: &Spec) -> bool {
    let wanted = spec.concurrency > 0;
    let coming = |instance: &Instance| match &instance.state {
        State::Pending { waiting: Waiting::Turn | Waiting::Backoff { .. } } => true,
        State::Pending { waiting: Waiting::Room { .. } } => false,
        State::Placed { .. } => !instance.healthy(),
        // Room is being made, or a successor comes with the next step.
        State::Draining { .. } | State::Stopping { .. } => true,
        State::Stopped { .. } | State::Failed { .. } | State::Lost { .. } => false,
    };
    wanted && cluster.alive_of(&service.name).any(coming)
}

/// How the addresses of an external service are checked.
fn outside_check(service: &ServiceName, spec: &Spec) -> Option<OutsideCheck> {
    let Workload::External(_) = spec.workload else { return None };
    let plain = spec.network.hosts.iter().find(|host| !host.starts_with('*'));
    let host = plain.map_or(service.as_str(), String::as_str).to_owned();
    Some(OutsideCheck { check: spec.network.health_check.clone(), host })
}
