//! The API: every request of the sysadmin and of the agents, on one loop.
//!
//! `router` says what a request asks for, `auth` who may ask, `start` what it begins, and `app`
//! carries that out: it asks the deployer or the worker manager by ticket, and answers when they
//! do. Nothing is decided here about the cluster, and nothing here waits: files are the matter of
//! the thread in `disk`. Started by `wiring`:
//!
//! ```text
//! let (mut api_loop, to_api) = HttpLoop::<ToApi>::new(HttpConfig::default())?;
//! let own = api_loop.io().listen(listener)?;
//! let disk = Disk::new(folder.join("artifacts"))?;  // thread `artifact`: disk.run(&jobs, &to_api)
//! let mut api = Api::new(tokens, own, links);       // thread `api`: api_loop.run(&mut api)
//! ```

mod app;
#[cfg(test)]
mod app_tests;
mod artifacts;
mod auth;
mod desk;
mod discovery;
mod disk;
mod events;
mod gate;
mod json;
mod log_merge;
mod log_source;
mod logs;
mod media;
mod metrics;
mod openapi;
mod outflow;
mod penalty;
mod problems;
mod query;
mod reply;
mod router;
mod services;
mod start;
mod status;
mod work;
mod workers;

pub(crate) use app::Api;
pub(crate) use desk::{Links, WriteMetrics};
pub(crate) use disk::{Disk, Job as DiskJob, TransferId, deliver};
pub(crate) use problems::Refused;

use std::fs::File;

use tucano_common::time::Mono;

use crate::msgs::Answer;

/// What the API hears from other threads.
#[derive(Debug)]
pub(crate) enum ToApi {
    /// A ticket's answer.
    Answer(Answer),
    /// A job of the artifacts' thread is done.
    Disk(disk::FromDisk),
    /// A copy of the database is made.
    Copied(FromKeeper),
    /// Accept nothing more, answer what is in flight, at the latest then, and end the loop.
    Stop {
        /// What is not answered by then is cut.
        deadline: Mono,
    },
}

/// A copy of the database that a client asked for.
#[derive(Debug)]
pub(crate) struct FromKeeper {
    /// Whose.
    pub(crate) id: TransferId,
    /// The file, or why there is none.
    pub(crate) made: Result<File, Refused>,
}
