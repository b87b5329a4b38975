//! The balancer's doing half: N share-nothing loops between clients and instances.
//!
//! It eats routing tables and listening sockets (`msgs::ToLoop`), tells what it finds
//! (`msgs::FromLoop`), and knows nothing of the deployer, the discovery or the API: it could run as
//! a process of its own.
//!
//! | file | what it does |
//! | --- | --- |
//! | `lb` | one loop: its state, and one turn of it |
//! | `coalesce` | whether events may gather before the next turn |
//! | `listen` | accepts |
//! | `crowd` | who is closed where there is no room for others |
//! | `drive` | a client's connection, as far as it goes now |
//! | `receive` | a request's head: read, routed |
//! | `send` | to an instance: chosen, connected, written; or held |
//! | `pump`, `relay` | both bodies, with back-pressure |
//! | `splice` | long bodies, from socket to socket inside the kernel |
//! | `answer` | an answer's head on its way to the client |
//! | `forward` | which fields pass, end here, are added |
//! | `fail` | another try, an answer of our own, a cut; deadlines |
//! | `silence` | hosts that answer nothing: their requests go elsewhere |
//! | `poison` | requests that instances die of |
//! | `cuts` | how many requests an instance's end took along |
//! | `finish` | the end of an exchange |
//! | `refusal` | our own answers |
//! | `inbox`, `report` | what a loop is told, and tells |
//! | `rest` | what is given back after a rush |
//! | `access` | the access log |
//! | `stats` | the ledger, and what `/metrics` shows |
//! | `connections`, `pools`, `slab`, `buffers`, `wheel`, `socket` | what it is made of |
//!
//! What it decides (routes, choice, outliers, budgets) is `tucano_controller_core::balancer`; what
//! HTTP is,
//! `tucano_common::http1`. Called by `wiring`.

mod access;
mod answer;
mod buffers;
mod coalesce;
mod connections;
mod crowd;
mod cuts;
mod drive;
mod fail;
mod finish;
mod forward;
mod inbox;
mod lb;
mod listen;
mod poison;
mod pools;
mod pump;
mod receive;
mod refusal;
mod relay;
mod report;
mod rest;
mod send;
mod silence;
mod slab;
mod socket;
mod splice;
mod stats;
mod wheel;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mio::{Poll, Token, Waker};
use tucano_common::limits::{
    ANSWER_HEAD_TIMEOUT, BODY_IDLE_TIMEOUT, CLIENT_UNSEEN, HEAD_TIMEOUT, KEEP_ALIVE_IDLE,
    LOOP_CLIENTS_MAX, LOOP_MESSAGES_QUEUED_MAX, STOP_LINGER, TUNNEL_IDLE_TIMEOUT,
    UPSTREAM_CONNECT_TIMEOUT,
};
use tucano_common::prng::Prng;
use tucano_controller_core::balancer::Fleet;
use tucano_controller_core::balancer::silence::Doubts;
use tucano_net::clock::Clock;

pub(crate) use self::access::{AccessLog, Writer as AccessLogWriter};
use self::lb::Lb;
use self::report::Reports;
use self::stats::LoopStats;
pub(crate) use self::stats::{Cause, Stats};
use crate::msgs::{FromLoop, LoopSender};

/// The token of a loop's waker.
const WAKER: Token = Token(0);

/// Takes a report on its way to the deployer; gives it back while that one's inbox is full.
pub(crate) type Report = Arc<dyn Fn(FromLoop) -> Result<(), FromLoop> + Send + Sync>;

/// Has the agent of a host asked whether it is there; what comes of it is told to every loop. One
/// that is lost is asked again.
pub(crate) type AskAgent = Arc<dyn Fn(IpAddr) + Send + Sync>;

/// What the loops are to know.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// This loop's number; set by [`loops`].
    pub(crate) lb: u16,
    /// How many there are.
    pub(crate) loops: u16,
    /// Networks whose `X-Forwarded-*` are believed.
    pub(crate) trusted: Vec<(IpAddr, u8)>,
    /// Addresses that are no service's, whatever a table says: the controller's own API.
    pub(crate) off_limits: Vec<SocketAddr>,
    /// Where each request is written down.
    pub(crate) access_log: Option<AccessLog>,
    /// Clients of one loop.
    pub(crate) clients_max: usize,
    /// How long is waited for what.
    pub(crate) timeouts: Timeouts,
}

/// How long is waited for what (contract).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) body: Duration,
    pub(crate) connect: Duration,
    pub(crate) answer: Duration,
    pub(crate) tunnel: Duration,
    /// A client whose request is being answered is not watched for so long.
    pub(crate) unseen: Duration,
    /// Where the loop stops: who is connected may bring one more request for so long.
    pub(crate) linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: HEAD_TIMEOUT,
            idle: KEEP_ALIVE_IDLE,
            body: BODY_IDLE_TIMEOUT,
            connect: UPSTREAM_CONNECT_TIMEOUT,
            answer: ANSWER_HEAD_TIMEOUT,
            tunnel: TUNNEL_IDLE_TIMEOUT,
            unseen: CLIENT_UNSEEN,
            linger: STOP_LINGER,
        }
    }
}

impl Config {
    /// So many loops, and the contract's times.
    pub(crate) fn new(loops: u16) -> Config {
        Config {
            lb: 0,
            loops: loops.max(1),
            trusted: Vec::new(),
            off_limits: Vec::new(),
            access_log: None,
            clients_max: LOOP_CLIENTS_MAX,
            timeouts: Timeouts::default(),
        }
    }

    /// Whether this peer's word about where a request came from counts.
    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|(network, bits)| is_within(peer, *network, *bits))
    }

    /// Whether no request may go there: link-local addresses (a cloud's metadata service is one),
    /// and the controller's own API under any of this machine's names for itself.
    fn is_off_limits(&self, address: SocketAddr) -> bool {
        is_off_limits(address, &self.off_limits)
    }
}

/// Whether no request and no check may go there, the own API being at `off_limits`.
pub(crate) fn is_off_limits(address: SocketAddr, off_limits: &[SocketAddr]) -> bool {
    // An IPv4 address may be written as an IPv6 one, and is reached all the same.
    let ip = address.ip().to_canonical();
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let is_own = |own: &SocketAddr| {
        own.port() == address.port()
            && match own.ip().to_canonical() {
                own if own == ip => true,
                own if own.is_unspecified() => is_of_this_machine(ip),
                own => own.is_loopback() && ip.is_unspecified(),
            }
    };
    is_link_local || off_limits.iter().any(is_own)
}

/// Whether a connection there ends on this machine: an address that can be bound is one of its own.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let rest = 32u32.saturating_sub(bits.into());
            a.to_bits().checked_shr(rest).unwrap_or(0) == n.to_bits().checked_shr(rest).unwrap_or(0)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let rest = 128u32.saturating_sub(bits.into());
            a.to_bits().checked_shr(rest).unwrap_or(0) == n.to_bits().checked_shr(rest).unwrap_or(0)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// The loops, made and not running yet: they listen nowhere and know no route before they are told.
pub(crate) struct Loops {
    /// The way into each.
    pub(crate) senders: Vec<LoopSender>,
    /// Each to be run on a thread of its own.
    pub(crate) loops: Vec<Loop>,
    /// What they count.
    pub(crate) stats: Stats,
}

/// One loop.
pub(crate) struct Loop(Lb);

impl Loop {
    /// Turns until `ToLoop::Stop` was told and obeyed.
    pub(crate) fn run(self) {
        self.0.run();
    }
}

/// Makes the loops.
pub(crate) fn loops(config: &Config, report: &Report, ask: &AskAgent) -> io::Result<Loops> {
    let stats = Stats::new(config.loops.into());
    let mut made = Loops { senders: Vec::new(), loops: Vec::new(), stats: stats.clone() };
    for (number, stats) in (0u16..).zip(stats.loops().iter().cloned()) {
        let config = Arc::new(Config { lb: number, ..config.clone() });
        let (sender, lb) = new_loop(config, (Arc::clone(report), Arc::clone(ask)), stats)?;
        made.senders.push(sender);
        made.loops.push(Loop(lb));
    }
    Ok(made)
}

fn new_loop(
    config: Arc<Config>,
    (report, ask_agent): (Report, AskAgent),
    stats: Arc<LoopStats>,
) -> io::Result<(LoopSender, Lb)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (sender, inbox) = crossbeam_channel::bounded(LOOP_MESSAGES_QUEUED_MAX);
    // Choices and request ids need no secrecy, but loops and runs must not repeat each other's.
    let mut prng = Prng::new(RandomState::new().build_hasher().finish());
    let now = Clock::mono();
    let lb = Lb {
        poll,
        inbox,
        reports: Reports::new(report),
        ask_agent,
        cuts: Default::default(),
        doubts: Doubts::default(),
        listeners: Default::default(),
        early_listeners: Vec::new(),
        has_table: false,
        accepted: Vec::new(),
        clients: slab::Slab::new(),
        upstreams: slab::Slab::new(),
        flows: slab::Slab::new(),
        pools: Default::default(),
        wheel: wheel::Wheel::new(now),
        ready: VecDeque::new(),
        fleet: Fleet::new(config.loops.into(), prng.fork()),
        held: Vec::new(),
        releasing: Vec::new(),
        counters: Vec::new(),
        nobody: stats.service("", 0),
        stats,
        buffers: buffers::Buffers::new(),
        scratch: Vec::new(),
        access_log: config.access_log.as_ref().map(AccessLog::tap),
        notes: Vec::new(),
        prng,
        now,
        rest: Default::default(),
        chores_at: None,
        stopping: None,
        config,
    };
    Ok((LoopSender::new(sender, waker), lb))
}

#[cfg(test)]
mod tests;
