//! Discovery: the cluster, its events and its history on disk, in SQLite.
//!
//! [`Store`] is owned by the deployer's thread alone. It writes what the core says changed, in one
//! transaction, and reads it back at the start; it decides nothing.

mod artifacts;
mod columns;
mod connection;
pub(crate) mod error;
mod events;
pub(crate) mod folder;
mod meta;
mod metrics;
mod migrations;
mod rows;
mod schema;
mod store;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use error::{Class, OpenError, StoreError};
pub(crate) use folder::DataDir;
pub(crate) use store::{Batch, Store, Stored};
