//! What a worker decides, and nothing that touches the world: which processes should run, what is
//! to be done next, when something is due.
//!
//! The shell (`worker/`) hands in assignments ([`Supervisor::assign`], [`Supervisor::push`]) and
//! facts ([`Supervisor::observe`]), asks for what is to be done ([`Supervisor::drive`]) and carries
//! it out. A pure crate: it reads no clock, opens nothing, starts nothing, does not log; `now` and
//! a seed come in as values.
#![forbid(unsafe_code)]

pub mod assignments;
mod build;
pub mod disk;
pub mod effect;
mod environment;
pub mod fact;
mod health;
mod instance;
pub mod job;
pub mod layout;
pub mod ledger;
pub mod log_rotation;
pub mod note;
pub mod ports;
mod restart;
pub mod settings;
pub mod supervisor;
mod turn;
pub mod usage;
pub mod users;

pub use assignments::{Refused, Taken};
pub use effect::{Effect, Folder, Launch, Priority, Probe, Question};
pub use fact::Fact;
pub use job::{BuildKey, Cluster, End, Ending, Job, JobRun, Oom, Process, Run, Started};
pub use layout::Layout;
pub use ledger::Ledger;
pub use note::Note;
pub use ports::PortRange;
pub use settings::Settings;
pub use supervisor::Supervisor;
pub use users::{FoundFolder, UserRange};
