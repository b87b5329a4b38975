//! A whole cluster of real processes on this machine, in a folder of its own: what `make demo`
//! shows and what the end-to-end tests drive.
//!
//! Every loopback address is this machine, so each cluster takes addresses of its own and leaves
//! the ports at their defaults: clusters side by side can't take each other's ports. It decides
//! nothing about services; it starts, finds, signals and cleans up.

mod daemon;
mod folder;
mod layout;
mod left;
mod sweep;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use daemon::Daemon;
pub use folder::Folder;
pub use layout::{Layout, Site};
pub use left::TEST_MOUNT;
pub use sweep::{Stray, strays};

use nix::sys::signal::Signal;

use crate::wait::TooLate;

/// Agents end in some milliseconds; one that was stopped (SIGSTOP) is killed after this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a cluster could not be started or stopped.
#[derive(Debug)]
pub enum ClusterError {
    /// A binary is not beside this one.
    NoBinary(PathBuf),
    /// A folder or file of the cluster.
    File(PathBuf, io::Error),
    /// A process could not be started.
    Spawn(PathBuf, io::Error),
    /// A process ended instead of getting ready; its last lines.
    Ended(String, String),
    /// It was not ready in time; its last lines.
    NotReady(TooLate, String),
    /// No free port was found on this address.
    NoPort(String),
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterError::NoBinary(path) => {
                write!(f, "{} is not built: cargo build --workspace --bins", path.display())
            }
            ClusterError::File(path, error) => write!(f, "{}: {error}", path.display()),
            ClusterError::Spawn(path, error) => {
                write!(f, "{} could not be started: {error}", path.display())
            }
            ClusterError::Ended(name, log) => write!(f, "{name} ended:\n{log}"),
            ClusterError::NotReady(late, log) => write!(f, "{late}:\n{log}"),
            ClusterError::NoPort(address) => write!(f, "no free port on {address}"),
        }
    }
}

impl std::error::Error for ClusterError {}

/// How a cluster is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Flags of the controller beside the ones that place it.
    pub controller_flags: Vec<String>,
    /// Flags of every worker beside the ones that place it.
    pub worker_flags: Vec<String>,
    /// The words of a command that becomes the worker, after it has arranged its machine.
    pub worker_before: Vec<String>,
    /// What stands in the controller's environment beside this process's own.
    pub controller_env: Vec<(String, String)>,
    /// The controller's sockets are this process's, and handed over as systemd does.
    pub holds_sockets: bool,
}

/// A controller and its workers, each in a process group of its own so that a Ctrl-C at the
/// terminal reaches only whoever drives them.
#[derive(Debug)]
pub struct Cluster {
    /// Everything of it lies here.
    pub folder: Folder,
    /// Where it listens.
    pub layout: Layout,
    options: Options,
    bin_dir: PathBuf,
    /// The balancer's and the API's, where this process holds them.
    held: Option<[TcpListener; 2]>,
    controller: Option<Daemon>,
    workers: Vec<Option<Daemon>>,
}

impl Cluster {
    /// Nothing runs yet.
    pub fn new(folder: Folder, layout: Layout, options: Options) -> Result<Cluster, ClusterError> {
        let bin_dir = bin_dir()?;
        let workers = layout.workers.iter().map(|_| None).collect();
        Ok(Cluster { folder, layout, options, bin_dir, held: None, controller: None, workers })
    }

    /// The path of a binary that is built beside this one.
    pub fn binary(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let path = self.bin_dir.join(name);
        if path.is_file() { Ok(path) } else { Err(ClusterError::NoBinary(path)) }
    }

    /// Starts the controller (again), and waits until its API answers.
    pub fn start_controller(&mut self) -> Result<(), ClusterError> {
        if self.options.holds_sockets && self.held.is_none() {
            self.held = Some([listen(self.layout.balancer)?, listen(self.layout.api)?]);
        }
        let layout = &self.layout;
        let mut flags = vec![
            "--data-dir".to_owned(),
            self.folder.path().join("controller").display().to_string(),
            "--api-listen".to_owned(),
            layout.api.to_string(),
            "--balancer-listen".to_owned(),
            layout.balancer.to_string(),
        ];
        flags.extend(self.options.controller_flags.iter().cloned());
        let log = self.folder.path().join("controller.log");
        let env = &self.options.controller_env;
        let binary = self.binary("tucano-controller")?;
        let daemon = match &self.held {
            None => {
                let before = into_namespace(layout.namespace.as_deref());
                Daemon::start_in(binary, &before, &flags, env, &log)?
            }
            Some(sockets) => Daemon::start_with(binary, sockets, &flags, env, &log)?,
        };
        let daemon = self.controller.insert(daemon);
        // Where its sockets are held here, whoever asks waits for it.
        daemon.wait_for_port(layout.api, Duration::from_secs(20))
    }

    /// Starts a worker (again); it joins in its own time.
    pub fn start_worker(&mut self, index: usize) -> Result<(), ClusterError> {
        let site = &self.layout.workers[index];
        let mut flags = vec![
            "--controller".to_owned(),
            format!("http://{}", site.controller.unwrap_or(self.layout.api)),
            "--name".to_owned(),
            site.name.clone(),
            "--data-dir".to_owned(),
            self.folder.path().join(&site.name).display().to_string(),
            "--listen".to_owned(),
            site.agent.to_string(),
            "--advertise".to_owned(),
            site.agent.ip().to_string(),
        ];
        let each = self.options.worker_flags.iter().any(|flag| flag == "--service-uids");
        let named = self.options.worker_flags.iter().any(|flag| flag == "--run-as");
        if nix::unistd::geteuid().is_root() && !each && !named {
            let user = if has_nobody() { "nobody" } else { "root" };
            flags.extend(["--run-as".to_owned(), user.to_owned()]);
        }
        flags.extend(self.options.worker_flags.iter().cloned());
        let log = self.folder.path().join(format!("{}.log", site.name));
        let binary = self.binary("tucano-worker")?;
        let before =
            [into_namespace(site.namespace.as_deref()), self.options.worker_before.clone()];
        let daemon = Daemon::start_in(binary, &before.concat(), &flags, &[], &log)?;
        let daemon = self.workers[index].insert(daemon);
        daemon.wait_for_port(site.agent, Duration::from_secs(20))
    }

    /// The controller, if it was started.
    pub fn controller(&mut self) -> Option<&mut Daemon> {
        self.controller.as_mut()
    }

    /// A worker, if it was started.
    pub fn worker(&mut self, index: usize) -> Option<&mut Daemon> {
        self.workers[index].as_mut()
    }

    /// Every process that was started, the controller first.
    pub fn daemons(&mut self) -> impl Iterator<Item = &mut Daemon> {
        self.controller.iter_mut().chain(self.workers.iter_mut().flatten())
    }

    /// Ends the workers, the controller and whatever their services left behind, politely first.
    pub fn stop(&mut self) {
        let workers_first = self.workers.iter_mut().flatten().chain(self.controller.iter_mut());
        for daemon in workers_first {
            daemon.stop(Duration::from_secs(5));
        }
        self.clear();
    }

    /// Ends the daemons and has their instances end; then there should be nothing left on this
    /// machine but the folder. What there is, in words; processes among it are ended.
    pub fn clear(&mut self) -> Vec<String> {
        // An agent that is killed in the middle of a start leaves its group for the next one.
        for worker in self.workers.iter_mut().flatten() {
            let _ = worker.signal(Signal::SIGTERM);
        }
        for worker in self.workers.iter_mut().flatten() {
            worker.wait(PATIENCE);
        }
        for daemon in self.daemons() {
            daemon.kill();
        }
        self.held = None;
        left::end_holders(self.folder.path());
        let left = left::left(self.folder.path(), &self.layout);
        sweep::end(self.folder.path());
        left
    }

    /// What still runs out of this cluster's folder: instances, and what they started.
    pub fn strays(&self) -> Vec<Stray> {
        strays(self.folder.path())
    }
}

impl Drop for Cluster {
    /// Also where a test panics: nothing of it outlives it.
    fn drop(&mut self) {
        self.clear();
    }
}

fn into_namespace(namespace: Option<&str>) -> Vec<String> {
    let words = |name| ["ip", "netns", "exec", name].map(str::to_owned).to_vec();
    namespace.map(words).unwrap_or_default()
}

/// Whether there are others than root: not in a user namespace of its own
/// (`unshare --map-root-user`).
pub fn has_nobody() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().nth(2).is_none_or(|count| count != "1")
}

fn listen(address: SocketAddr) -> Result<TcpListener, ClusterError> {
    TcpListener::bind(address).map_err(|_| ClusterError::NoPort(address.to_string()))
}

/// The folder of the binaries: the one of this program, or the one above for a test's.
fn bin_dir() -> Result<PathBuf, ClusterError> {
    let here = |error| ClusterError::File(PathBuf::from("this program"), error);
    let program = std::env::current_exe().map_err(here)?;
    let folder = program.parent().unwrap_or(Path::new("."));
    let is_deps = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if is_deps { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf())
}
