//! The worker manager: which workers are there, by their heartbeats; how loaded they are, by their
//! measurements.
//!
//! Pure. `controller/src/worker_mgr` is the thread that asks it; what it finds becomes facts for
//! the deployer. What a worker should run is not decided here: that is the deployer's `WorkerPlan`.

mod lease;
mod load;
mod news;
mod notices;
mod outside;
mod pace;

pub use lease::{Beat, BeatRefused, Caller, HelloRefused, LeaseChange, LeaseConfig, Leases};
pub use load::{is_measured, smooth, weight, weights};
pub use news::{News, usage};
pub use notices::NoticesTaken;
pub use outside::{OutsideChecks, OutsideKey};
pub use pace::PushPace;
