//! The balancer's loops, made from the flags and given the sockets that are there from the start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError};

use super::error::{StartError, system};
use super::running::Crew;
use super::sockets::OfLoop;
use crate::balancer::{self, AccessLog, AccessLogWriter, AskAgent, Loop, Loops, Report};
use crate::config::{AccessLogFile, Config};
use crate::msgs::{FromLoop, LoopSender, ToLoop, ToManager};

/// An access log whose writer does not run yet.
pub(super) type OpenedLog = (AccessLog, AccessLogWriter);

/// Makes the loops; each has its sockets, and accepts nobody before it has a table.
pub(super) fn make(
    config: &Config,
    api: SocketAddr,
    listeners: Vec<OfLoop>,
    (reports, to_manager): (&Sender<FromLoop>, &tucano_net::Sender<ToManager>),
) -> Result<(Loops, Option<OpenedLog>), StartError> {
    let log = open_access_log(config)?;
    let making = "make the balancer's loops";
    let count = u16::try_from(listeners.len()).unwrap_or(u16::MAX);
    let networks = config.trusted_proxies.iter();
    let settings = balancer::Config {
        trusted: networks.map(|network| (network.address, network.prefix_bits)).collect(),
        off_limits: vec![api],
        access_log: log.as_ref().map(|(log, _)| log.clone()),
        ..balancer::Config::new(count)
    };
    let loops = balancer::loops(&settings, &into(reports), &ask_through(to_manager));
    let loops = loops.map_err(system(making))?;
    for (sender, of_loop) in loops.senders.iter().zip(listeners) {
        for (port, listener, keeper) in of_loop {
            // A queue that nobody has used yet has room.
            let _ = sender.try_send(ToLoop::Listen { port, listener, keeper });
        }
    }
    Ok((loops, log))
}

/// Starts the loops, each with the way into it.
pub(super) fn run(
    crew: &Crew,
    ways: Vec<LoopSender>,
    loops: Vec<Loop>,
) -> Result<Vec<(LoopSender, JoinHandle<()>)>, StartError> {
    let each = |(number, (way, each)): (usize, (LoopSender, Loop))| {
        Ok((way, crew.start(&format!("lb-{number}"), move || each.run())?))
    };
    ways.into_iter().zip(loops).enumerate().map(each).collect()
}

/// Opens the access log, where one is wanted.
fn open_access_log(config: &Config) -> Result<Option<OpenedLog>, StartError> {
    let Some(AccessLogFile { path, one_of }) = &config.access_log else { return Ok(None) };
    let refused = |source| StartError::AccessLog { path: path.clone(), source };
    AccessLog::open(path, *one_of).map(Some).map_err(refused)
}

/// Starts its writer.
pub(super) fn run_access_log(
    crew: &Crew,
    opened: Option<OpenedLog>,
) -> Result<Option<(AccessLog, JoinHandle<()>)>, StartError> {
    let Some((log, writer)) = opened else { return Ok(None) };
    Ok(Some((log, crew.start("access", move || writer.run())?)))
}

/// Reports to a deployer that has ended count as taken: nobody waits for them.
fn into(reports: &Sender<FromLoop>) -> Report {
    let reports = reports.clone();
    Arc::new(move |report| match reports.try_send(report) {
        Err(TrySendError::Full(report)) => Err(report),
        Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
    })
}

/// A worker manager that is full is asked again a moment later.
fn ask_through(to_manager: &tucano_net::Sender<ToManager>) -> AskAgent {
    let to_manager = to_manager.clone();
    Arc::new(move |host| {
        let _ = to_manager.try_send(ToManager::Doubt(host));
    })
}
