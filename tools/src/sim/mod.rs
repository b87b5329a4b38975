//! The whole cluster in one process: the real cores of controller, agents and balancer under a fake
//! clock, network and disk, with fake processes. A seed fixes a history; a failure names its seed.
//!
//! Everything that happens goes through one queue ([`bus`]). Each actor draws from a random stream
//! of its own. Faults ([`Faults`]) come for a while, then stop; safety is checked at every step,
//! and in the end the cluster has to come to rest.

mod agent;
mod balancer;
mod bus;
mod checks;
mod clock;
mod controller;
mod faults;
#[path = "../../../worker/src/agent/link_state.rs"]
mod link_state;
mod machine;
mod manager;
mod names;
mod operator;
#[path = "../../../controller/src/worker_mgr/pushes.rs"]
mod pushes;
mod store;
mod world;

use std::fmt;

pub use faults::Faults;

const CLUSTER: &str = "sim";

/// A history that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The same for the same history.
    pub digest: u64,
    /// Things that happened.
    pub steps: u64,
    /// Commands that were answered with yes.
    pub commands: u64,
    /// Requests through the balancer.
    pub requests: u64,
    /// Those that found no process.
    pub failed_requests: u64,
    /// Decisions that a strained worker was left out of.
    pub vetoes: u64,
    /// Simulated time, in seconds.
    pub seconds: u64,
}

/// A history in which something did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// After so many simulated microseconds.
    pub at: u64,
    /// What.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, at, what } = self;
        let at = *at as f64 / 1e6;
        write!(f, "seed {seed}: after {at:.3} s: {what} (tucano-sim --seed {seed} --trace)")
    }
}

impl std::error::Error for Failure {}

/// Runs the history of a seed, with the faults that the seed draws.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    history(seed, None, None)
}

/// The same with these faults instead of the seed's.
pub fn run_with(seed: u64, faults: Faults) -> Result<Summary, Failure> {
    history(seed, Some(faults), None)
}

/// The same as [`run`], telling each line of what happened.
pub fn run_traced(seed: u64, tell: &mut dyn FnMut(&str)) -> Result<Summary, Failure> {
    history(seed, None, Some(tell))
}

fn history(
    seed: u64,
    faults: Option<Faults>,
    tell: Option<&mut dyn FnMut(&str)>,
) -> Result<Summary, Failure> {
    let mut world = world::World::new(seed, faults, tell.is_some());
    world.run();
    if let Some(tell) = tell {
        world.bus.lines.iter().for_each(|line| tell(line));
    }
    let bus = &world.bus;
    match &bus.failure {
        Some(what) => Err(Failure { seed, at: bus.now, what: what.clone() }),
        None => Ok(Summary {
            digest: bus.digest(),
            steps: bus.steps,
            commands: world.operator.accepted,
            requests: world.requests,
            failed_requests: world.failed_requests,
            vetoes: world.checks.vetoes,
            seconds: bus.now / clock::SECOND,
        }),
    }
}
