//! What the deployer gives its shell: rows to store, events, plans and routes to publish.
//!
//! Shapes only; `journal` fills them in.

use std::sync::Arc;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::wire::worker::Assignment;

use crate::balancer::table::RoutingTable;
use crate::cluster::{Deployment, Event, Instance, Revision, Service, Survey, Worker};

/// What came of commands and facts since the last time: to be stored in one transaction, then told.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Rows to write and to delete, in an order that foreign keys allow; each row at most once.
    pub changes: Vec<Change>,
    /// Events to append, `seq` ascending without gaps.
    pub events: Vec<Event>,
    /// The plans of the workers whose assignments changed.
    pub plans: Vec<Arc<WorkerPlan>>,
    /// The new routes, where they changed.
    pub routing: Option<Arc<RoutingTable>>,
}

impl Output {
    /// Whether there is nothing to store and nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.events.is_empty()
            && self.plans.is_empty()
            && self.routing.is_none()
    }
}

/// A row to write whole, or to delete.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Insert or replace.
    PutWorker(Worker),
    /// Update no more than the generation: an assignment is gone. One that changed has the
    /// generation in its own row.
    PutGeneration {
        /// Whose.
        worker: WorkerName,
        /// Which.
        generation: u64,
    },
    /// Delete.
    DropWorker(WorkerName),
    /// Insert or replace.
    PutService(Service),
    /// Delete; its revisions, deployments and instances go by changes of their own before it.
    DropService(ServiceName),
    /// Insert or replace.
    PutRevision(Revision),
    /// Delete.
    DropRevision {
        /// Whose.
        service: ServiceName,
        /// Which.
        number: u64,
    },
    /// Insert or replace.
    PutDeployment(Deployment),
    /// Delete.
    DropDeployment(DeploymentId),
    /// Insert: before the instances whose decisions name it.
    PutSurvey(Arc<Survey>),
    /// Delete: no instance names it any more.
    DropSurvey(u64),
    /// Insert or replace.
    PutInstance(Arc<Instance>),
    /// Delete.
    DropInstance(InstanceId),
}

/// All of what a worker should run.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerPlan {
    /// Whose.
    pub worker: WorkerName,
    /// Which.
    pub generation: u64,
    /// The one published before it: a worker that holds that one needs only the assignments whose
    /// generation is `generation` (those are what to push).
    pub previous_generation: u64,
    /// Everything, by id; those that did not change are shared with the plan before.
    pub assignments: Vec<Arc<Assignment>>,
}

impl WorkerPlan {
    /// The assignments that changed with this plan.
    pub fn changed(&self) -> impl Iterator<Item = &Assignment> {
        let all = self.assignments.iter().map(Arc::as_ref);
        all.filter(|each| each.generation == self.generation)
    }
}
