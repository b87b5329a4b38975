//! Answers to questions, from the committed cluster and the database.

use serde::Serialize;
use tucano_common::id::InstanceId;
use tucano_common::limits::{EVENTS_PAGE_MAX, LOG_TARGETS_ENDED_MAX};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::{Now, Wall};
use tucano_common::wire::problem::Problem;
use tucano_common::wire::views::ServiceView;
use tucano_controller_core::balancer::table::{Duty, Endpoint, RoutingTable, ServiceRoute};
use tucano_controller_core::cluster::{Deployment, Instance, LeaseState, Worker};
use tucano_controller_core::deployer::Refusal;

use super::shell::Shell;
use super::{explain, gauges, problems};
use crate::msgs::{Discovered, Document, EventsPage, LogTarget, Query, Reply};
use crate::views::{self, Detail};

pub(super) type Answered = Result<Reply, Problem>;

impl Shell {
    /// Answers a question as of now.
    pub(super) fn answer(&self, query: &Query, now: Now) -> Answered {
        let cluster = self.core.cluster();
        match query {
            Query::Services => {
                let names = cluster.services().map(|service| &service.name);
                self.shown(query, &names.filter_map(|name| self.service(name)).collect::<Vec<_>>())
            }
            Query::Service(name) => {
                self.shown(query, &self.service(name).ok_or_else(|| unknown_service(name))?)
            }
            Query::Revisions(name) => {
                let service = cluster.service(name).ok_or_else(|| unknown_service(name))?;
                let view = |each| views::revision(service, each);
                self.shown(query, &cluster.revisions(name).rev().map(view).collect::<Vec<_>>())
            }
            Query::Why(name) => {
                let why = explain::why(&self.core, name, now);
                self.shown(query, &why.ok_or_else(|| unknown_service(name))?)
            }
            Query::Simulate { lose } => {
                let found = self.core.simulate(lose, now);
                let found = found.map_err(|refusal| problems::refused(&refusal))?;
                self.shown(query, &explain::simulation(lose, &found))
            }
            Query::Deployments => {
                let view =
                    |each: &Deployment| views::deployment(cluster, each, self.ledger.of(each.id));
                self.shown(query, &cluster.deployments().rev().map(view).collect::<Vec<_>>())
            }
            Query::Deployment(id) => {
                let found = cluster.deployment(*id);
                let deployment = found.ok_or_else(|| problems::unknown_deployment(*id))?;
                self.shown(query, &views::deployment(cluster, deployment, self.ledger.of(*id)))
            }
            Query::Instances => {
                let view = |each| views::instance(cluster, each, Detail::Brief);
                self.shown(query, &cluster.instances().map(view).collect::<Vec<_>>())
            }
            Query::Instance(id) => {
                self.shown(query, &views::instance(cluster, self.instance(*id)?, Detail::Full))
            }
            Query::Workers => {
                let view = |each| views::worker(cluster, each);
                self.shown(query, &cluster.workers().map(view).collect::<Vec<_>>())
            }
            Query::Worker(name) => self.shown(query, &views::worker(cluster, self.worker(name)?)),
            Query::WorkerMetrics { worker, since } => {
                let name = &self.worker(worker)?.name;
                let back = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
                let points = self.store.metrics(name, Wall(now.wall.0.saturating_sub(back)));
                self.shown(query, &points.map_err(|error| problems::unreadable(&error))?)
            }
            Query::Events { after, limit } => self.events(*after, *limit),
            Query::Status => self.shown(query, &gauges::status(self, now)),
            Query::Discovery(name) => self.discovery(name.as_ref()),
            Query::ServiceLogs(name) => self.service_logs(name),
            Query::InstanceLogs(id) => {
                let target = self.log_target(self.instance(*id)?);
                Ok(Reply::LogTargets(target.into_iter().collect()))
            }
            Query::Gauges => Ok(Reply::Gauges(Box::new(gauges::gauges(self)))),
        }
    }

    fn shown(&self, query: &Query, body: &impl Serialize) -> Answered {
        Ok(Reply::Document(Document::new(200, body).index(self.indices.of(query))))
    }

    fn service(&self, name: &ServiceName) -> Option<ServiceView> {
        views::service(&self.core, name, self.ledger.service(name))
    }

    pub(super) fn instance(&self, id: InstanceId) -> Result<&Instance, Problem> {
        let found = self.core.cluster().instance(id);
        found.ok_or_else(|| problems::refused(&Refusal::UnknownInstance(id)))
    }

    pub(super) fn worker(&self, name: &WorkerName) -> Result<&Worker, Problem> {
        let found = self.core.cluster().worker(name);
        found.ok_or_else(|| problems::refused(&Refusal::UnknownWorker(name.clone())))
    }

    fn events(&self, after: u64, limit: usize) -> Answered {
        let events = self.store.events(after, limit.clamp(1, EVENTS_PAGE_MAX));
        let events = events.map_err(|error| problems::unreadable(&error))?;
        let mut page = EventsPage {
            lines: Vec::new(),
            last: events.last().map_or(after, |event| event.seq),
            newest: self.indices.last_event(),
        };
        for event in &events {
            page.lines.extend(serde_json::to_vec(event).unwrap_or_default());
            page.lines.push(b'\n');
        }
        Ok(Reply::Events(page))
    }

    /// As the balancer routes: an instance is healthy for other programs exactly while it is for
    /// ours.
    fn discovery(&self, name: Option<&ServiceName>) -> Answered {
        let index = self.indices.of(&Query::Discovery(name.cloned()));
        let table = self.core.table();
        let routed = table.services.iter().map(|route| discovered(&table, route));
        let services: Vec<Discovered> = match name {
            None => routed.collect(),
            Some(name) => {
                let service =
                    self.core.cluster().service(name).ok_or_else(|| unknown_service(name))?;
                let without_route = || Discovered {
                    service: name.clone(),
                    revision: service.revision,
                    addresses: Vec::new(),
                };
                let mut routed = routed;
                let found = routed.find(|each| each.service == *name);
                vec![found.unwrap_or_else(without_route)]
            }
        };
        Ok(Reply::Discovery { services, index })
    }

    /// All that live, and the last that ended: their output is what one looks for after a crash.
    fn service_logs(&self, name: &ServiceName) -> Answered {
        let cluster = self.core.cluster();
        cluster.service(name).ok_or_else(|| unknown_service(name))?;
        let ended = cluster.ended_of(name).rev().take(LOG_TARGETS_ENDED_MAX);
        let instances = cluster.alive_of(name).chain(ended);
        Ok(Reply::LogTargets(instances.filter_map(|each| self.log_target(each)).collect()))
    }

    /// None for an instance that never was on a worker.
    fn log_target(&self, instance: &Instance) -> Option<LogTarget> {
        let name = instance.state.worker()?;
        let worker = self.core.cluster().worker(name);
        let reachable =
            worker.filter(|worker| worker.agent_port != 0 && worker.lease != LeaseState::Dead);
        Some(LogTarget {
            instance: instance.id,
            service: instance.service.clone(),
            worker: name.clone(),
            agent: reachable.map(|worker| (worker.address, worker.agent_port).into()),
            ended: instance.state.ended(),
        })
    }
}

fn unknown_service(name: &ServiceName) -> Problem {
    problems::refused(&Refusal::UnknownService(name.clone()))
}

fn discovered(table: &RoutingTable, route: &ServiceRoute) -> Discovered {
    let healthy = |each: &&Endpoint| matches!(each.duty, Duty::Serve | Duty::LastResort);
    let address = |each: &Endpoint| {
        let worker = each.worker.and_then(|at| table.workers.get(at as usize));
        (each.instance, each.address, worker.map(|worker| worker.name.clone()))
    };
    Discovered {
        service: route.name.clone(),
        revision: route.revision,
        addresses: route.endpoints.iter().filter(healthy).map(address).collect(),
    }
}
