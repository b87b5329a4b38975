//! The worker manager's thread: whose heartbeats come, what each worker should run, pushes to
//! agents.
//!
//! A loop of `tucano_net` that serves nothing itself: the API hands it what agents say, the
//! deployer what is committed. Leases and loads are judged by the core; placement is the
//! deployer's. Started by `wiring.rs`.

mod agents;
mod asks;
mod checks;
mod manager;
mod minutes;
mod push;
mod pushes;
#[cfg(test)]
mod tests;
mod weights;

use std::time::Duration;

/// A message that an inbox did not take is offered again after this.
const RESEND: Duration = Duration::from_millis(5);

pub(crate) use manager::{Links, Manager, Settings};
