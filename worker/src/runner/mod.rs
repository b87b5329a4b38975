//! What runs services on this worker: holders and what they start, sources, folders, ports, logs.

pub(crate) mod artifact;
pub(crate) mod artifact_child;
mod artifact_copy;
mod artifact_tar;
mod artifact_unpack;
pub(crate) mod cgroup;
mod confinement;
mod exec_shim;
pub(crate) mod folders;
pub(crate) mod hold;
pub(crate) mod logs;
mod orders;
mod ports;
mod process;
mod record;
mod spawn;
pub(crate) mod supervisor;
mod sweep;
mod sys;
pub(crate) mod user;
mod user_files;
mod view;

pub(crate) use cgroup::Group;
pub(crate) use confinement::group_of;
pub(crate) use process::{ends_within, reap_ended};
pub(crate) use sys::let_go_of_code;
