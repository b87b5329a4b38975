//! Measures this machine and its instances, once a heartbeat.
//!
//! The collector: what it measures goes to the agent's loop, which is the pusher (it sends the
//! latest sample with each heartbeat). Nothing is kept here but what the next difference needs;
//! what the numbers mean is `worker_core::usage`'s.

mod heat;
mod machine;
mod proc_file;
mod proc_text;
mod processes;
mod pulse;
mod quiet;
mod sampler;
mod slow;

pub(crate) use machine::capacity;
pub(crate) use pulse::{Beat, Pulse};
pub(crate) use sampler::Sample;
