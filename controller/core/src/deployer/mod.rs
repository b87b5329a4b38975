//! The deployer: desired state against observed state, one decision at a time.
//!
//! [`Deployer`] owns the [`crate::cluster::Cluster`]. Commands and facts change the desired and the
//! observed side; `drive` moves what does not match a step; `take_output` hands over what has to be
//! stored (in one transaction) and then told to the balancer and the workers. Persist, then
//! publish: where the transaction fails, the deployer is loaded anew from what is stored.
//!
//! Pure: `controller/src/deployer` is the thread that asks it; the simulator runs the very same
//! code.

mod adopt;
mod api;
mod balance;
mod commands;
mod core;
mod cuts;
mod deployments;
mod future;
mod health;
mod journal;
mod judge;
mod lifecycle;
mod members;
mod observe;
mod output;
mod outside;
mod pause;
pub mod placement;
mod preview;
mod reconcile;
mod refusal;
mod replace;
mod rollout;
mod room;
mod routes;
mod workers;

#[cfg(test)]
mod tests;

pub use api::{Accepted, Command, Config, Fact, Introduction, LoadError, Preview, Rows};
pub use api::{
    Move, OutsideAddress, OutsideHealth, PreviewInstance, ServiceCondition, ServiceHealth,
    Simulation,
};
pub use core::Deployer;
pub use output::{Change, Output, WorkerPlan};
pub use refusal::{Refusal, RefusalKind};
