//! What the end-to-end tests stand on: a cluster of the real binaries in a folder of its own
//! ([`Lab`]), requests to its API and through its balancer, and waiting with a deadline.
//!
//! A test that panics leaves no process, port or file behind; what the daemons printed is shown.

#![deny(unsafe_code)]

mod clock;
mod disk;
mod lab;
mod machine;
mod netlab;
mod puppet;
mod raw;
mod slow;
pub mod specs;
mod traffic;

pub use clock::SteppedClock;
pub use disk::{Fault, Faults, SmallDisk};
pub use lab::{Lab, MINUTE, SOON};
pub use machine::arranged;
pub use netlab::{Forgets, Lost, NetLab};
pub use puppet::Puppet;
pub use raw::{Raw, raw};
pub use slow::{Pace, SlowWay};
pub use traffic::Traffic;
