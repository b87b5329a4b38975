//! The agent with real processes and no controller: it is given instances through its own API, is
//! killed, and has to find again what it left.

#![expect(clippy::unwrap_used, reason = "a test ends by it")]

mod adoption;
mod bench;
mod confined;
mod damaged_groups;
mod ends;
mod health;
#[path = "../common/namespace.rs"]
mod namespace;
mod processes;
mod shortage;
mod soak;
mod upgrade;
