//! End to end: the real binaries, several workers on loopback, services that nobody here wrote.
//!
//! Every test has a cluster of its own and leaves nothing behind. The binaries are the ones in this
//! build's folder: `make test` builds them first.

#![deny(unsafe_code)]

mod access_log;
mod archives;
mod away;
mod balancer;
mod bomb;
mod client;
mod clock;
mod counted;
mod crashes;
mod delete;
mod deploy;
mod disk;
mod dossier;
mod failures;
mod faults;
mod flags;
mod follow;
mod full_disk;
mod handover;
mod install;
mod load;
mod logs;
mod measured;
mod networks;
mod operator;
mod poison;
mod restarts;
mod scripts;
mod security;
mod shortage;
mod silent_proc;
mod specs;
mod storm;
mod truth;
mod users;
