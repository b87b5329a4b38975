//! Discovery: the cluster, its events and its history on disk, in SQLite.
//!
//! [`Store`] is owned by the deployer's thread alone. It writes what the core says changed, in one
//! transaction, and reads it back at the start; it decides nothing.

mod artifacts;
mod columns;
mod connection;
mod copy;
pub(crate) mod error;
mod events;
pub(crate) mod folder;
mod inspect;
mod meta;
mod metrics;
mod migrations;
mod restore;
mod rows;
mod schema;
mod snapshots;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod wal;

pub(crate) use copy::CopyError;
pub(crate) use error::{Class, OpenError, StoreError};
pub(crate) use folder::DataDir;
pub(crate) use restore::restore;
pub(crate) use snapshots::Snapshots;
pub(crate) use store::{Batch, Store, Stored};
