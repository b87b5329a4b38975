//! What the controller, the worker and the tools have in common, and nothing that touches the
//! world: the spec, the wire's JSON, HTTP/1.1 without sockets, ids, time as values, every limit.
//!
//! A pure crate: it reads no clock, draws no randomness, opens nothing, starts no thread, does not
//! log.
#![forbid(unsafe_code)]

pub mod decay;
pub mod http1;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod name;
pub mod prng;
pub mod spec;
mod text;
pub mod time;
pub mod timers;
pub mod units;
pub mod wire;
