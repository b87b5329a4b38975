//! The deployer's thread: the one writer of the cluster and of its database.
//!
//! It asks the core what to do, stores it, and only then tells the others; `shell.rs` has one turn
//! of it, `thread.rs` the waiting between two. It decides nothing about the cluster. Started by
//! `wiring.rs`.

mod answers;
mod commands;
mod drains;
mod explain;
mod gauges;
mod indices;
mod ledger;
mod ports;
mod preview;
mod problems;
mod publish;
mod save;
mod shell;
mod storage;
#[cfg(test)]
mod tests;
mod thread;
mod waiters;

pub(crate) use ledger::CountRequests;
pub(crate) use ports::Ports;
pub(crate) use shell::{Links, Shell};
pub(crate) use thread::{Inbox, run};
