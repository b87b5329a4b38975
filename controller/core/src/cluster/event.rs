//! What happened: the records behind `GET /v1/events`.

use std::fmt;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Grows by one an event, without gaps.
    pub seq: u64,
    /// When.
    pub at: Wall,
    /// What.
    pub kind: EventKind,
    /// The service it concerns.
    pub service: Option<ServiceName>,
    /// The revision.
    pub revision: Option<u64>,
    /// The deployment.
    pub deployment: Option<DeploymentId>,
    /// The instance.
    pub instance: Option<InstanceId>,
    /// The worker.
    pub worker: Option<WorkerName>,
    /// The event that led to it.
    pub cause: Option<u64>,
    /// In a sentence.
    pub message: String,
}

macro_rules! kinds {
    ($($variant:ident => $text:literal, $doc:literal;)+) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum EventKind {
            $(#[doc = $doc] $variant,)+
            /// A worker's notice or the API's note, by its own name.
            Notice(String),
        }

        impl EventKind {
            /// Its name, as the JSON has it.
            pub fn as_str(&self) -> &str {
                match self { $(EventKind::$variant => $text,)+ EventKind::Notice(name) => name }
            }

            /// Reads a name; one that is no event of the core is a notice.
            pub fn parse(text: &str) -> EventKind {
                match text {
                    $($text => EventKind::$variant,)+
                    other => EventKind::Notice(other.to_owned()),
                }
            }

            /// Every kind that the core itself tells.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$(($text, $doc)),+];
        }
    };
}

kinds! {
    WorkerJoined => "worker_joined", "A worker said hello for the first time.";
    WorkerReady => "worker_ready", "A late worker is heard again.";
    WorkerSuspect => "worker_suspect", "A worker's heartbeats are late.";
    WorkerDead => "worker_dead", "A worker was given up.";
    WorkerReturned => "worker_returned", "A worker that was given up came back.";
    WorkerDraining => "worker_draining", "An operator drains a worker.";
    WorkerDrained => "worker_drained", "A drained worker holds no instance any more.";
    WorkerActivated => "worker_activated", "An operator takes a drained worker back.";
    WorkerForgotten => "worker_forgotten", "An operator removed a worker.";
    DeploymentStarted => "deployment_started", "A deployment began.";
    DeploymentPaused => "deployment_paused", "An operator holds a deployment where it is.";
    DeploymentResumed => "deployment_resumed", "A paused deployment goes on.";
    DeploymentSucceeded => "deployment_succeeded", "Every instance was healthy for long enough.";
    DeploymentFailed => "deployment_failed", "A deployment did not get there.";
    DeploymentReverted => "deployment_reverted", "A deployment failed and the service went back.";
    DeploymentSuperseded => "deployment_superseded", "A newer deployment took its place.";
    InstanceWaiting => "instance_waiting", "An instance found no worker that would do.";
    InstancePlaced => "instance_placed", "An instance was given to a worker.";
    InstanceBuilding => "instance_building", "Its worker builds its revision.";
    InstanceStarting => "instance_starting", "Its process was started.";
    InstanceRunning => "instance_running", "It is ready.";
    InstanceMoving => "instance_moving", "It moves, because workers are filled unevenly.";
    InstanceUnhealthy => "instance_unhealthy", "It fails its health check.";
    InstanceHealthy => "instance_healthy", "It passes its health check again.";
    InstanceRestarting => "instance_restarting", "It ended and is started again in place.";
    InstanceDraining => "instance_draining", "It left the rotation.";
    InstanceStopping => "instance_stopping", "It is being ended.";
    InstanceStopped => "instance_stopped", "It ended as asked, or by itself without an error.";
    InstanceFailed => "instance_failed", "It ended otherwise and is not started again.";
    InstanceLost => "instance_lost", "Its worker is dead or has lost it.";
    InstanceRecovered => "instance_recovered", "Its worker came back with it in time.";
    ServiceDeleting => "service_deleting", "A service is being ended.";
    ServiceDeleted => "service_deleted", "The last of a service is gone.";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
