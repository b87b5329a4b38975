//! Who hears of a commit: the loops (ports and routes), the worker manager (plans), the log.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tucano_common::name::WorkerName;
use tucano_common::time::Now;
use tucano_common::wire::problem::Problem;
use tucano_controller_core::balancer::table::RoutingTable;
use tucano_controller_core::cluster::{Event, EventKind};
use tucano_controller_core::deployer::{Change, WorkerPlan};
use tucano_net::error_chain::Chain;

use super::ports::Opened;
use super::shell::Shell;
use crate::discovery::Batch;
use crate::msgs::{Keeper, Ticket, ToLoop, ToManager};

impl Shell {
    /// Tells everybody what a commit changed.
    pub(super) fn publish(
        &mut self,
        batch: &Batch,
        plans: Vec<Arc<WorkerPlan>>,
        routing: Option<Arc<RoutingTable>>,
    ) {
        if !plans.is_empty() {
            self.worker_mgr.send(ToManager::Plans(plans));
        }
        if let Some(table) = routing {
            self.publish_table(&table);
            self.close_ports();
        }
        let last_event = batch.events.last().map_or(0, |event| event.seq);
        if !batch.changes.is_empty() || !batch.events.is_empty() {
            self.indices.committed(&batch.changes, last_event, self.core.cluster());
        }
        if !batch.points.is_empty() {
            self.indices.metrics_grew();
        }
        for change in &batch.changes {
            if let Change::DropWorker(name) = change {
                self.worker_mgr.send(ToManager::Forgotten(name.clone()));
            }
        }
        self.ledger.committed(batch);
        for event in &batch.events {
            self.counters.event(event);
            log_event(event);
        }
    }

    /// Gives a table to every loop. One that a loop has not taken yet is superseded.
    pub(super) fn publish_table(&mut self, table: &Arc<RoutingTable>) {
        let table = match self.version_base {
            0 => Arc::clone(table),
            base => {
                let mut table = RoutingTable::clone(table);
                table.version += base;
                Arc::new(table)
            }
        };
        if self.version_published == Some(table.version) {
            return;
        }
        self.version_published = Some(table.version);
        self.drains.published(&table);
        for outbox in &mut self.loops {
            outbox.supersede(|message| matches!(message, ToLoop::Table(_)));
            outbox.send(ToLoop::Table(Arc::clone(&table)));
        }
        self.worker_mgr.supersede(|message| matches!(message, ToManager::Table(_)));
        self.worker_mgr.send(ToManager::Table(table));
    }

    /// Hands sockets to the loops, before the table that needs them.
    pub(super) fn publish_ports(&mut self, opened: Vec<Opened>) {
        for Opened { port, listeners } in opened {
            self.ports.adopt(port);
            for (outbox, listener) in self.loops.iter_mut().zip(listeners) {
                outbox.send(ToLoop::Listen { port, listener, keeper: Keeper::Us });
            }
            log::info!("the balancer listens on port {port} too");
        }
    }

    fn close_ports(&mut self) {
        let needed: BTreeSet<u16> = self.core.ports();
        for port in self.ports.retain(&needed) {
            for outbox in &mut self.loops {
                outbox.send(ToLoop::Close { port });
            }
            log::info!("the balancer has closed port {port}: no service needs it");
        }
    }

    /// Opens the ports of services that are stored: at the start, and again later where one was
    /// taken then.
    pub(super) fn reopen_ports(&mut self, now: Now) {
        let mut opened = Vec::new();
        let mut missing = false;
        for port in self.core.ports() {
            match self.ports.open(port) {
                Ok(port) => opened.extend(port),
                Err(error) => {
                    missing = true;
                    self.ports.complain(port, || {
                        log::error!("services on port {port} are not reached: {}", Chain(&error));
                    });
                }
            }
        }
        self.ports.try_later(missing.then_some(now.mono));
        self.publish_ports(opened);
    }

    /// Answers a hello through the worker manager.
    pub(super) fn welcome(
        &mut self,
        ticket: Ticket,
        worker: &WorkerName,
        saved: Result<(), Problem>,
    ) {
        let plan = saved.and_then(|()| {
            let gone = || Problem::new(503, "Service Unavailable", "say hello again");
            self.core.plan_of(worker).ok_or_else(gone)
        });
        self.worker_mgr.send(match plan {
            Ok(plan) => ToManager::Welcome { ticket, plan },
            Err(problem) => ToManager::HelloFailed { ticket, problem },
        });
    }
}

/// What an operator wants to see in the journal; everything is in `/v1/events`.
fn log_event(event: &Event) {
    let level = match event.kind {
        EventKind::WorkerSuspect
        | EventKind::WorkerDead
        | EventKind::DeploymentFailed
        | EventKind::DeploymentReverted
        | EventKind::InstanceFailed
        | EventKind::InstanceLost
        | EventKind::InstanceWaiting => log::Level::Warn,
        EventKind::WorkerJoined
        | EventKind::WorkerReady
        | EventKind::WorkerReturned
        | EventKind::WorkerDraining
        | EventKind::WorkerDrained
        | EventKind::WorkerActivated
        | EventKind::WorkerForgotten
        | EventKind::DeploymentStarted
        | EventKind::DeploymentSucceeded
        | EventKind::DeploymentSuperseded
        | EventKind::ServiceDeleting
        | EventKind::ServiceDeleted => log::Level::Info,
        _ => log::Level::Debug,
    };
    log::log!(target: "event", level, "{}{}", Subject(event), event.message);
}

/// What an event is about, for a line of the log: `instance_running web 06an… on w1: `.
struct Subject<'a>(&'a Event);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.0;
        f.write_str(event.kind.as_str())?;
        if let Some(service) = &event.service {
            write!(f, " {service}")?;
        }
        if let Some(instance) = event.instance {
            write!(f, " {instance}")?;
        }
        match (&event.worker, event.service.is_some()) {
            (Some(worker), true) => write!(f, " on {worker}: "),
            (Some(worker), false) => write!(f, " {worker}: "),
            (None, _) => f.write_str(": "),
        }
    }
}
