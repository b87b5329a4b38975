//! A controller that runs, and its end.

use std::io;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Sender;
use tucano_common::limits::{ACCESS_LOG_STOP_TIMEOUT, STOP_TIMEOUT};
use tucano_net::SendError;
use tucano_net::clock::Clock;
use tucano_net::threads::{self, Stack};

use super::error::{StartError, system};
use crate::balancer::AccessLog;
use crate::discovery::DataDir;
use crate::http::ToApi;
use crate::msgs::{Ask, FromLoop, LoopSender, News, ToLoop, ToManager};

/// An inbox that was full is tried again so soon.
const RETRY: Duration = Duration::from_millis(10);

/// Starts threads that may only end once the process is to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Crew {
    stopping: Arc<AtomicBool>,
}

impl Crew {
    /// Starts a thread. One that ends before its time ends the process: systemd starts it again,
    /// and state is in SQLite.
    pub(super) fn start(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, StartError> {
        let stopping = Arc::clone(&self.stopping);
        let called = name.to_owned();
        let watched = move || {
            body();
            if !stopping.load(Ordering::Acquire) {
                log::error!("thread {called} has ended before its time: so does the controller");
                exit(1);
            }
        };
        threads::spawn(name, Stack::Loop, watched).map_err(system("start a thread"))
    }
}

impl Crew {
    /// Whether the process goes on, for threads that are in the middle of something long.
    pub(super) fn goes_on(&self) -> Box<dyn Fn() -> bool + Send> {
        let stopping = Arc::clone(&self.stopping);
        Box::new(move || !stopping.load(Ordering::Acquire))
    }
}

/// A controller that runs.
pub(crate) struct Running {
    pub(super) crew: Crew,
    pub(super) to_api: tucano_net::Sender<ToApi>,
    pub(super) to_manager: tucano_net::Sender<ToManager>,
    /// The balancer's loops.
    pub(super) loops: Vec<(LoopSender, JoinHandle<()>)>,
    /// The access log, and the thread that writes it.
    pub(super) access_log: Option<(AccessLog, JoinHandle<()>)>,
    pub(super) stop_deployer: Sender<()>,
    /// The deployer's other queues stay open as long as it runs: it would not wait on closed ones.
    pub(super) queues: (Sender<Ask>, Sender<News>, Sender<FromLoop>),
    pub(super) api: JoinHandle<()>,
    pub(super) keeper: JoinHandle<()>,
    pub(super) artifact: JoinHandle<()>,
    pub(super) manager: JoinHandle<()>,
    pub(super) deployer: JoinHandle<()>,
    /// Held until the last thread has ended.
    pub(super) dir: DataDir,
}

impl Running {
    /// The access log, where there is one.
    pub(crate) fn access_log(&self) -> Option<AccessLog> {
        self.access_log.as_ref().map(|(log, _)| log.clone())
    }

    /// Ends everything in order: what is in flight is finished, what is known is stored.
    pub(crate) fn stop(self) {
        self.crew.stopping.store(true, Ordering::Release);
        let deadline = Clock::mono() + STOP_TIMEOUT;
        insist(|| taken(self.to_api.try_send(ToApi::Stop { deadline })));
        for (way, thread) in &self.loops {
            insist(|| thread.is_finished() || way.try_send(ToLoop::Stop { deadline }).is_ok());
        }
        join(self.api);
        // They end once nobody sends them jobs.
        join(self.keeper);
        join(self.artifact);
        for (_, thread) in self.loops {
            join(thread);
        }
        if let Some((log, thread)) = self.access_log {
            end_access_log(&log, &thread);
        }
        insist(|| taken(self.to_manager.try_send(ToManager::Stop)));
        join(self.manager);
        drop(self.stop_deployer);
        join(self.deployer);
        drop(self.queues);
        drop(self.dir);
    }
}

/// Until it is done: this thread has nothing else to do, and inboxes are emptied all the time.
fn insist(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::sleep(RETRY);
    }
}

/// Has the last lines written; a disk that hangs does not keep the process.
fn end_access_log(log: &AccessLog, thread: &JoinHandle<()>) {
    let deadline = Clock::mono() + ACCESS_LOG_STOP_TIMEOUT;
    insist(|| log.stop() || Clock::mono() >= deadline);
    insist(|| thread.is_finished() || Clock::mono() >= deadline);
}

/// Whether a message needs no further try: it was taken, or there is nobody to take it.
fn taken<M>(sent: Result<(), SendError<M>>) -> bool {
    matches!(sent, Ok(()) | Err(SendError::Closed(_)))
}

/// A thread that panics has ended the process; so there is nothing else to learn from it.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}

/// The end of a loop: an error is one of the poll itself, and nothing can go on without it.
pub(super) fn ended(name: &str, result: io::Result<()>) {
    if let Err(error) = result {
        log::error!("loop {name}: {error}");
    }
}
