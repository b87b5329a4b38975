//! Placement: feasible → score → place → plan → check, as functions over the cluster as it is.
//!
//! Feasible workers are compared by [`crate::cluster::Score`] in its order, then by name, so that
//! the same cluster and the same question always give the same plan. What a worker reserves is what
//! specs ask for; what it measures is a veto when it is overloaded and a tie-breaker before that.
//! Nothing is changed here: the deployer applies a plan after [`check`] found nothing.

mod check;
mod feasible;
mod plan;

pub use check::{Violation, check};
pub use plan::{Ask, Placement, Plan, plan};

pub(super) use feasible::{Bench, rank};
