//! The holder and the shim with real processes: the binary as the agent starts it, and services
//! that behave badly.

#![expect(clippy::unwrap_used, reason = "a test ends by it")]

mod bench;
mod ends;
mod environment;
#[path = "../common/namespace.rs"]
mod namespace;
mod output;
