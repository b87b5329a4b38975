//! Puts the agent together: folders and their lock, the ledger, the listener, the threads and what
//! connects them.
//!
//! ```text
//!   sampler ◄─── Ask, 1 ───────┐
//!   fetch   ◄─── FetchJob, 4 ──┤
//!   sweep   ◄─── SweepJob, 4 ──┼── agent (HttpLoop) ◄── Msg, 256 ── inbox
//!   disk    ◄─── SaveJob, 4 ───┘        │                            ▲
//!   sync    ◄─── (), 1 ── disk          │                            │
//!   sampler ── Msg::Sample ──────────────────────────────────────────┤
//!   fetch, sweep, disk, sync ── Msg::Done ───────────────────────────┤
//!   resolve (only while a name is looked up) ── Msg::Resolved ───────┘
//! ```
//!
//! Nothing is decided here but the order of the start: what may fail for good comes first, and
//! nothing is started before the folder is locked.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tucano_common::limits::AGENT_INBOX_MESSAGES_MAX;
use tucano_common::prng::Prng;
use tucano_common::wire::worker::{Hello, Notice};
use tucano_net::clock::Clock;
use tucano_net::listener::{ListenError, listen_on};
use tucano_net::signals::{Signal, Signals};
use tucano_net::{HttpConfig, HttpLoop, Sender};
use tucano_worker_core::{Layout, Settings, Supervisor};

use crate::agent::{
    Agent, Fetcher, Found, Guard, Hands, Inner, Introduction, Link, Msg, Restart, deliver, load,
    rebuild,
};
use crate::config::Config;
use crate::data_folder::{self, FolderError};
use crate::monitor::{self, Pulse};
use crate::runner::artifact::{ArtifactError, Artifacts};
use crate::runner::reap_ended;
use crate::runner::supervisor::Runner;
use crate::runner::user::{self, Identity, UserError};

/// Why the agent does not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// `--run-as` or `--service-uids`.
    User(UserError),
    /// `--data-dir`.
    Folder(FolderError),
    /// The artifacts in it.
    Artifacts(ArtifactError),
    /// `--listen`.
    Listen(ListenError),
    /// The system gives no more threads or descriptors.
    System(&'static str, io::Error),
}

impl StartError {
    /// 2 for a flag that is wrong, 1 for what the machine can't give.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            StartError::User(_) => 2,
            StartError::Folder(_)
            | StartError::Artifacts(_)
            | StartError::Listen(_)
            | StartError::System(..) => 1,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::User(error) => write!(f, "{}: {error}", error.flag()),
            StartError::Folder(error) => write!(f, "--data-dir: {error}"),
            StartError::Artifacts(error) => write!(f, "--data-dir: {error}"),
            StartError::Listen(error) => write!(f, "--listen: {error}"),
            StartError::System(what, _) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::System(_, error) => Some(error),
            StartError::Folder(error) => error.source(),
            StartError::Artifacts(error) => error.source(),
            StartError::Listen(error) => error.source(),
            StartError::User(_) => None,
        }
    }
}

/// Runs the agent until a signal ends it, or makes this process into its successor.
pub(crate) fn run(config: Config) -> Result<(), StartError> {
    let restart = Restart::of_process()
        .map_err(|error| StartError::System("its own program is not known", error))?;
    reap_ended();
    let identity =
        user::resolve(config.run_as.as_deref(), config.service_uids).map_err(StartError::User)?;
    let layout = Layout::new(&config.data_dir);
    data_folder::make(&layout, &identity).map_err(StartError::Folder)?;
    let _held_until_the_end = data_folder::lock(&layout.lock()).map_err(StartError::Folder)?;
    let listener = listen_on(config.listen).map_err(StartError::Listen)?;
    let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
        .map_err(|error| StartError::System("signals can't be blocked", error))?;
    data_folder::warn_if_unreachable(&config.data_dir, &identity);
    raise_descriptor_limit();
    let runner =
        Runner::new(layout.clone(), identity.clone(), PathBuf::from("/proc/self/exe")).confined();
    let parts = Parts { config, layout, identity, runner, restart };
    let (mut http, mut agent) = parts.assemble(listener, signals.into_fd())?;
    http.run(&mut agent).map_err(|error| StartError::System("the event loop broke", error))?;
    let Some(successor) = agent.successor() else { return Ok(()) };
    let Err(error) = successor.become_it();
    Err(StartError::System("its successor could not be started", error))
}

/// What the agent is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) layout: Layout,
    pub(crate) identity: Identity,
    pub(crate) runner: Runner,
    pub(crate) restart: Restart,
}

impl Parts {
    /// The loop and its application, with all threads started.
    pub(crate) fn assemble(
        self,
        listener: TcpListener,
        signals: OwnedFd,
    ) -> Result<(HttpLoop<Msg>, Agent), StartError> {
        let system = |what| move |error| StartError::System(what, error);
        let supervisor = supervisor(&self.config, &self.layout, &self.runner)?;
        self.runner.end_strangers(&supervisor);
        let http_config =
            HttpConfig { inbox_messages_max: AGENT_INBOX_MESSAGES_MAX, ..HttpConfig::default() };
        let (mut http, inbox) =
            HttpLoop::new(http_config).map_err(system("the event loop can't be made"))?;
        let address = http.io().listen(listener).map_err(system("--listen can't be used"))?;
        let Config { name, data_dir, controller, .. } = &self.config;
        let shown = data_dir.display();
        log::info!("worker {name}: data in {shown}, API on {address}, controller {controller}");
        log::info!("control groups: {}", self.runner.confinement());

        let introduction = self.introduction(address);
        let mut link = Link::new(introduction, Prng::new(random_seed()), Clock::wall());
        for (kind, message) in self.runner.missing() {
            log::warn!("{message}");
            let notice =
                Notice { at: Clock::wall(), kind: kind.to_owned(), message, instance: None };
            link.notice(notice, Clock::mono());
        }
        let guard = Guard::new(self.config.join_token.clone(), address.ip());
        let pulse = self.start_monitor(&inbox).map_err(system("a thread can't be started"))?;
        let fetcher = Fetcher {
            controller: self.config.controller,
            token: self.config.join_token,
            artifacts: Artifacts::open(self.layout.artifacts()).map_err(StartError::Artifacts)?,
            layout: self.layout,
            identity: self.identity,
        };
        let hands = Hands::new(self.runner, fetcher, &inbox);
        let hands = hands.map_err(system("a thread can't be started"))?;
        let (signals, state) = (Some(signals), Inner::default());
        let restart = self.restart;
        let agent = Agent { supervisor, hands, link, guard, pulse, inbox, signals, restart, state };
        Ok((http, agent))
    }

    fn start_monitor(&self, inbox: &Sender<Msg>) -> io::Result<Pulse> {
        let inbox = inbox.clone();
        let hand_over = move |sample| deliver(&inbox, Msg::Sample(sample));
        Pulse::start(self.layout.clone(), self.config.heartbeat, hand_over)
    }

    fn introduction(&self, address: SocketAddr) -> Introduction {
        let Config { controller, name, advertise, labels, join_token, .. } = &self.config;
        let capacity = monitor::capacity();
        let mut all = standard_labels(capacity.cpus, capacity.memory_bytes);
        all.extend(labels.clone());
        let hello = Hello {
            name: name.clone(),
            address: *advertise,
            agent_port: address.port(),
            session: random_seed(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capacity,
            labels: all,
            holds: None,
            instances: Vec::new(),
        };
        Introduction {
            controller: controller.clone(),
            token: join_token.clone(),
            advertise: *advertise,
            listen: address,
            every: self.config.heartbeat,
            hello,
        }
    }
}

/// The labels that come by themselves.
fn standard_labels(cpus: u32, memory_bytes: u64) -> BTreeMap<String, String> {
    let labels = [
        ("arch", std::env::consts::ARCH.to_owned()),
        ("hostname", host_name()),
        ("cpus", cpus.to_string()),
        ("memory", format!("{}MiB", memory_bytes >> 20)),
    ];
    let mut all = BTreeMap::new();
    all.extend(labels.into_iter().map(|(key, value)| (key.to_owned(), value)));
    all
}

/// This machine's name.
pub(crate) fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The supervisor, with what an earlier agent left.
fn supervisor(config: &Config, layout: &Layout, runner: &Runner) -> Result<Supervisor, StartError> {
    let now = Clock::now();
    let settings = Settings {
        worker: config.name.clone(),
        layout: layout.clone(),
        // Until the way to the controller is known.
        host: config.advertise.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        balancer_url: String::new(),
        ports: config.ports,
        ephemeral: ephemeral_ports(),
    };
    let path = layout.ledger();
    let found = load(&path, now.wall)
        .map_err(|error| StartError::Folder(FolderError::Unwritable(path, error)))?;
    let seed = random_seed();
    let rebuilt = || rebuild(runner.found_entries(), |key| layout.build(key).is_dir());
    let ledger = match found {
        Found::Ledger(ledger) => *ledger,
        // A new worker, or one whose ledger somebody removed: services do not end by that.
        Found::Nothing => rebuilt(),
        Found::SetAside(why) => {
            log::error!("{why}");
            rebuilt()
        }
    };
    let mut supervisor = Supervisor::from_ledger(settings, ledger, seed, now);
    if let Some(range) = config.service_uids {
        supervisor.number_services(range, &data_folder::owned_folders(layout));
    }
    Ok(supervisor)
}

/// First and last of the kernel's ephemeral ports.
fn ephemeral_ports() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

/// Each process is watched by descriptors: as many as the system lets us have.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("the limit of open files can't be raised: {error}");
    }
}

/// For jitter and the session's number: different at each start, no secret.
fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    match read {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => Clock::mono().0 ^ u64::from(std::process::id()) << 32,
    }
}

#[cfg(test)]
mod tests;
