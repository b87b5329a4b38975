//! The thread map in code: every channel with its capacity, every thread, and how all of it ends.
//!
//! | thread | what it is | hears | in a queue of |
//! | --- | --- | --- | --- |
//! | `main` | signals, the end | SIGTERM, SIGINT | – |
//! | `api` | mio loop: the HTTP API | `ToApi` | `INBOX_MESSAGES_MAX` |
//! | `artifact` | artifacts' files, for `api` | `DiskJob` | `ARTIFACT_JOBS_QUEUED_MAX` |
//! | `keeper` | copies of the database | `TransferId` | `COPIES_QUEUED_MAX` |
//! | `deployer` | writes the cluster and SQLite | `Ask` from `api` | `ASKS_QUEUED_MAX` |
//! | | | `News` from `worker_mgr` | `NEWS_QUEUED_MAX` |
//! | | | `FromLoop` from `lb-N` | `LOOP_REPORTS_QUEUED_MAX` |
//! | `worker_mgr` | mio loop: leases, plans, pushes | `ToManager` | `INBOX_MESSAGES_MAX` |
//! | `lb-N` | mio loop: the data plane | `ToLoop` | `LOOP_MESSAGES_QUEUED_MAX` |
//! | `access` | the access log's file, if any | `Order` | `ACCESS_LOG_ORDERS_QUEUED_MAX` |
//!
//! Nobody waits on anybody: a full inbox gives the message back. The end comes in this order: `api`
//! and the loops finish what is in flight; then the worker manager; then the deployer, which stores
//! what came last.

mod data_plane;
mod error;
mod running;
mod sockets;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tucano_common::limits::{
    ARTIFACT_JOBS_QUEUED_MAX, ASKS_QUEUED_MAX, COPIES_QUEUED_MAX, LOOP_REPORTS_QUEUED_MAX,
    NEWS_QUEUED_MAX, START_GRACE,
};
use tucano_common::time::Now;
use tucano_common::wire::views::ServiceRequests;
use tucano_controller_core::deployer as core;
use tucano_controller_core::worker_mgr::LeaseConfig;
use tucano_net::clock::Clock;
use tucano_net::{HttpConfig, HttpLoop, SendError};

pub(crate) use error::StartError;
pub(crate) use running::Running;
pub(crate) use sockets::Sockets;

use crate::balancer::{Cause, Stats};
use crate::config::{Config, Tokens};
use crate::deployer::{CountRequests, Inbox, Ports, Shell};
use crate::discovery::{DataDir, Snapshots, Store, Stored};
use crate::http::{Api, Disk, DiskJob, ToApi, TransferId, WriteMetrics};
use crate::keeper::{Counts, Keeper};
use crate::msgs::{Answer, Ask, FromLoop, LoopSender, News, ToLoop, ToManager};
use crate::outbox::TrySend;
use crate::worker_mgr::{Manager, Settings};
use crate::{deployer, http, keeper, worker_mgr};
use data_plane::OpenedLog;
use error::system;
use running::{Crew, ended};
use sockets::Balancer;

/// What is opened before any thread starts: whatever can be refused is refused here.
struct Opened {
    dir: DataDir,
    store: (Store, Stored),
    snapshots: Snapshots,
    api: TcpListener,
    balancer: Balancer,
}

fn open(config: &Config, mut sockets: Sockets) -> Result<Opened, StartError> {
    raise_descriptor_limit();
    let dir = DataDir::open(&config.data_dir)?;
    let store = Store::open(&dir)?;
    let snapshots = Snapshots::new(&dir);
    let refused = |flag| move |source| StartError::Listen { flag, source };
    let api = sockets.take_api(config.api_listen).map_err(refused("--api-listen"))?;
    let balancer = sockets
        .into_balancer(config.balancer_listen, config.balancer_threads)
        .map_err(refused("--balancer-listen"))?;
    Ok(Opened { dir, store, snapshots, api, balancer })
}

/// Both ends of every queue, and the ways into the loops.
struct Plumbing {
    asks: (Sender<Ask>, Receiver<Ask>),
    news: (Sender<News>, Receiver<News>),
    reports: (Sender<FromLoop>, Receiver<FromLoop>),
    jobs: (Sender<DiskJob>, Receiver<DiskJob>),
    copies: (Sender<TransferId>, Receiver<TransferId>),
    stop: (Sender<()>, Receiver<()>),
    to_api: tucano_net::Sender<ToApi>,
    to_manager: tucano_net::Sender<ToManager>,
    loops: Vec<LoopSender>,
}

/// Opens everything but what was handed over, then starts every thread.
pub(crate) fn start(
    config: &Config,
    tokens: Option<Tokens>,
    sockets: Sockets,
) -> Result<Running, StartError> {
    let Opened { dir, store, snapshots, api, balancer } = open(config, sockets)?;
    let now = Clock::now();
    let making = "make an event loop";
    let (mut api_loop, to_api) = HttpLoop::new(HttpConfig::default()).map_err(system(making))?;
    let (mut manager_loop, to_manager) =
        HttpLoop::new(HttpConfig::default()).map_err(system(making))?;
    let api_address = api_loop.io().listen(api).map_err(system("listen for the API"))?;
    let disk = Disk::new(dir.path().join("artifacts"));
    let disk = disk.map_err(system("use the artifacts' folder"))?;
    let mut pipes = Plumbing {
        asks: bounded(ASKS_QUEUED_MAX),
        news: bounded(NEWS_QUEUED_MAX),
        reports: bounded(LOOP_REPORTS_QUEUED_MAX),
        jobs: bounded(ARTIFACT_JOBS_QUEUED_MAX),
        copies: bounded(COPIES_QUEUED_MAX),
        stop: bounded(0),
        to_api,
        to_manager,
        loops: Vec::new(),
    };
    let ways = (&pipes.reports.0, &pipes.to_manager);
    let (loops, log) = data_plane::make(config, api_address, balancer.loops, ways)?;
    pipes.loops = loops.senders;

    let requests = count_requests(loops.stats.clone());
    let addresses = (api_address, balancer.main);
    let ports = Ports::new(balancer.main, balancer.kept, pipes.loops.len());
    let shell = make_shell(config, store, (api_address, ports, requests), &pipes, now)?;
    let mut manager = make_manager(config, &shell, addresses, tokens.as_ref(), &pipes, now);
    let crew = Crew::default();
    let keeper = make_keeper(config, snapshots, &pipes, &crew);
    let links = api_links(&pipes, loops.stats, keeper.counts(), log.as_ref());
    let mut api = Api::new(tokens, api_address, links);

    let inbox = Inbox {
        asks: pipes.asks.1,
        news: pipes.news.1,
        loops: pipes.reports.1,
        stop: pipes.stop.1,
    };
    let deployer = crew.start("deployer", move || deployer::run(shell, &inbox))?;
    let run = move || ended("worker_mgr", manager_loop.run(&mut manager));
    let manager = crew.start("worker_mgr", run)?;
    let (jobs, done) = (pipes.jobs.1, pipes.to_api.clone());
    drop((pipes.jobs.0, pipes.copies.0));
    let keeper = crew.start("keeper", move || keeper.run())?;
    let artifact = crew.start("artifact", move || disk.run(&jobs, &done))?;
    let api = crew.start("api", move || ended("api", api_loop.run(&mut api)))?;
    let loops = data_plane::run(&crew, pipes.loops, loops.loops)?;
    log::info!(
        "tucano-controller {}: API on http://{api_address}, balancer on http://{}, \
         data in {}",
        env!("CARGO_PKG_VERSION"),
        addresses.1,
        dir.path().display()
    );
    Ok(Running {
        access_log: data_plane::run_access_log(&crew, log)?,
        crew,
        to_api: pipes.to_api,
        to_manager: pipes.to_manager,
        loops,
        stop_deployer: pipes.stop.0,
        queues: (pipes.asks.0, pipes.news.0, pipes.reports.0),
        api,
        keeper,
        artifact,
        manager,
        deployer,
        dir,
    })
}

fn make_shell(
    config: &Config,
    store: (Store, Stored),
    (api_address, ports, requests): (SocketAddr, Ports, CountRequests),
    pipes: &Plumbing,
    now: Now,
) -> Result<Shell, StartError> {
    let core_config = core::Config {
        cluster: store.1.cluster.clone(),
        // Two starts within a microsecond of each other's age may share it: it salts ids, it guards
        // nothing.
        seed: now.wall.0.unsigned_abs() << 20 ^ now.mono.0 ^ u64::from(std::process::id()),
        port_map: config.map_ports.clone(),
        rebalance: config.rebalance,
    };
    let links = deployer::Links {
        api: answers(&pipes.to_api),
        api_address,
        worker_mgr: into_loop(&pipes.to_manager),
        loops: into_loops(&pipes.loops),
        requests,
    };
    Shell::new(store, core_config, ports, links, now).map_err(StartError::Load)
}

/// What the loops count, as services and deployments show it.
fn count_requests(stats: Stats) -> CountRequests {
    Box::new(move |service| {
        let totals = stats.totals(service);
        let causes = Cause::ALL.into_iter();
        ServiceRequests {
            accepted: totals.accepted,
            in_flight: totals.in_flight(),
            lost: totals.lost(),
            ended: causes.map(|cause| (cause.text().to_owned(), totals.of(cause))).collect(),
        }
    })
}

fn make_manager(
    config: &Config,
    shell: &Shell,
    (api, balancer): (SocketAddr, SocketAddr),
    tokens: Option<&Tokens>,
    pipes: &Plumbing,
    now: Now,
) -> Manager {
    let settings = Settings {
        cluster: shell.cluster_id().to_owned(),
        leases: LeaseConfig {
            suspect_after: config.worker_suspect,
            dead_after: config.worker_timeout,
            start_grace: START_GRACE,
        },
        balancer,
        join: tokens.map(|tokens| tokens.join.clone()),
        off_limits: vec![api],
    };
    let links = worker_mgr::Links {
        api: answers(&pipes.to_api),
        deployer: into_queue(&pipes.news.0),
        loops: into_loops(&pipes.loops),
    };
    let mut manager = Manager::new(settings, links, now.mono);
    shell.workers().for_each(|(worker, plan)| manager.remember(worker, plan));
    manager
}

fn make_keeper(config: &Config, snapshots: Snapshots, pipes: &Plumbing, crew: &Crew) -> Keeper {
    let (asks, to_api) = (pipes.asks.0.clone(), pipes.to_api.clone());
    let links = keeper::Links {
        jobs: pipes.copies.1.clone(),
        api: Box::new(move |copy| {
            // An API that has ended has no clients.
            let _ = http::deliver(&to_api, ToApi::Copied(copy));
        }),
        note: Box::new(move |kind, message| {
            // The log has it too.
            let _ = asks.try_send(Ask::Note { kind, message });
        }),
        go_on: crew.goes_on(),
    };
    Keeper::new(snapshots, config.snapshot_interval, links)
}

fn api_links(
    pipes: &Plumbing,
    balancer: Stats,
    copied: Arc<Counts>,
    log: Option<&OpenedLog>,
) -> http::Links {
    let (asks, jobs) = (pipes.asks.0.clone(), pipes.jobs.0.clone());
    let copies = pipes.copies.0.clone();
    let to_manager = pipes.to_manager.clone();
    let mut metrics: Vec<WriteMetrics> =
        vec![Box::new(move |text| balancer.write(text)), Box::new(move |text| copied.write(text))];
    if let Some((log, _)) = log {
        let log = log.clone();
        metrics.push(Box::new(move |text| log.write(text)));
    }
    http::Links {
        deployer: Box::new(move |ask| asks.try_send(ask).is_ok()),
        worker_mgr: Box::new(move |said| to_manager.try_send(ToManager::Agent(said)).is_ok()),
        disk: Box::new(move |job| jobs.try_send(job).is_ok()),
        keeper: Box::new(move |id| copies.try_send(id).is_ok()),
        metrics,
    }
}

/// Messages to an inbox that has ended count as taken: nobody waits for them.
fn into_queue<M: Send + 'static>(queue: &Sender<M>) -> TrySend<M> {
    let queue = queue.clone();
    Box::new(move |message| match queue.try_send(message) {
        Err(crossbeam_channel::TrySendError::Full(message)) => Err(message),
        Ok(()) | Err(crossbeam_channel::TrySendError::Disconnected(_)) => Ok(()),
    })
}

fn into_loop<M: Send + 'static>(sender: &tucano_net::Sender<M>) -> TrySend<M> {
    let sender = sender.clone();
    Box::new(move |message| match sender.try_send(message) {
        Err(SendError::Full(message)) => Err(message),
        Ok(()) | Err(SendError::Closed(_)) => Ok(()),
    })
}

fn answers(to_api: &tucano_net::Sender<ToApi>) -> TrySend<Answer> {
    let to_api = to_api.clone();
    Box::new(move |answer| match to_api.try_send(ToApi::Answer(answer)) {
        Err(SendError::Full(ToApi::Answer(answer))) => Err(answer),
        Ok(()) | Err(SendError::Full(_) | SendError::Closed(_)) => Ok(()),
    })
}

fn into_loops(loops: &[LoopSender]) -> Vec<TrySend<ToLoop>> {
    let way = |sender: LoopSender| -> TrySend<ToLoop> {
        Box::new(move |message| sender.try_send(message))
    };
    loops.iter().cloned().map(way).collect()
}

/// The balancer holds two descriptors a request: as many as the system lets this user have.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("the limit of open files stays as it is: {error}");
    }
}
