//! The cluster as the controller believes it to be: workers, services, revisions, deployments,
//! instances.
//!
//! Plain records; every field is public and all of it is persisted, except [`Live`], which comes
//! again with the next heartbeats. Nothing here decides. [`crate::deployer::Deployer`] is the only
//! one that changes a [`Cluster`]; `controller/src/discovery` stores its records and
//! `controller/src/views` shows them.

mod decision;
mod deployment;
mod event;
mod indices;
mod instance;
mod invariants;
mod joined;
mod model;
mod service;
mod worker;

pub use decision::{Decision, Refused, Score, Survey, Verdict, VerdictKind};
pub use deployment::{Deployment, DeploymentKind, DeploymentStatus};
pub use event::{Event, EventKind};
pub use instance::{Instance, Leaving, Observed, Place, Run, State, Waiting};
pub(crate) use joined::Joined;
pub use model::Cluster;
pub use service::{Phase, Revision, Service};
pub use worker::{Admission, LeaseState, Live, Load, Reserved, Worker};
