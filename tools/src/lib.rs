//! What the tools are made of: the client `tucano`, the load generator, and clusters of real
//! processes for the demo and the end-to-end tests.
//!
//! Nothing here runs in production beside the client; the binaries are in `src/bin`.
#![deny(unsafe_code)]

pub mod agents;
pub mod api;
pub mod cli;
pub mod cluster;
pub mod control_bench;
pub mod demo;
pub mod load;
pub mod sim;
pub mod text;
pub mod wait;
