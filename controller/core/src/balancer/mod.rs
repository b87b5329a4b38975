//! The balancer's deciding half: the routing table, and choices over it.
//!
//! | file | what it decides |
//! | --- | --- |
//! | [`table`] | nothing: what a loop is told |
//! | [`hosts`] | which service a Host asks for |
//! | [`fleet`] | which instance gets a request, and when one is drained |
//! | `adopt` | what a newer table changes |
//! | [`member`] | what another request on an instance would cost |
//! | [`outlier`] | when an instance is taken out for its errors, and for how long |
//! | [`budget`] | whether there is a retry left |
//! | [`silence`] | whether a host that answers nothing is dead or only slow |
//! | [`hold`] | who waits, in what order, how long |
//!
//! Pure. `controller/src/balancer` (the loops) asks it; the simulator runs it under a fake clock.

mod adopt;
pub mod budget;
#[cfg(test)]
mod choice_tests;
pub mod fleet;
pub mod hold;
pub mod hosts;
pub mod member;
pub mod outlier;
mod pick;
#[cfg(test)]
mod recovery_tests;
pub mod silence;
pub mod table;

pub use fleet::{Choice, Fleet, MemberIx, Note, ServiceIx};
