//! The controller's settings: every flag of its command line, each with its environment twin.
//!
//! Flags are read to values first and judged together after. Nothing is opened here but the token
//! files; what the values lead to (a taken port, a folder that can't be written) is found out in
//! `wiring.rs`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use tucano_common::limits;
use tucano_net::config::{FlagError, Flags, parse, read_token};
use tucano_net::logger::{self, Format};
use tucano_net::token::Token;

const ADMIN: &str = "--admin-token-file";
const JOIN: &str = "--join-token-file";

/// What `--help` prints.
pub(crate) const HELP: &str = include_str!("help.txt");

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Print this and be done.
    Text(String),
    /// Run.
    Run(Box<Config>),
}

/// The settings of a controller that runs.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) api_listen: SocketAddr,
    pub(crate) balancer_listen: SocketAddr,
    pub(crate) balancer_threads: usize,
    /// A service's port, and the port of this machine that it is served on.
    pub(crate) map_ports: Vec<(u16, u16)>,
    /// The sysadmin's and the workers'.
    token_files: Option<(PathBuf, PathBuf)>,
    pub(crate) worker_suspect: Duration,
    pub(crate) worker_timeout: Duration,
    /// Instances are moved by themselves to workers that come.
    pub(crate) rebalance: bool,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) access_log: Option<AccessLogFile>,
    pub(crate) snapshot_interval: Duration,
    /// Restore this and end, in place of running.
    pub(crate) restore: Option<PathBuf>,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_format: Format,
}

/// Where requests are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessLogFile {
    pub(crate) path: PathBuf,
    /// One of so many requests that were answered well, and all others.
    pub(crate) one_of: u32,
}

/// The two secrets: with one of them alone the other role could not be told from a stranger.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    /// Opens everything.
    pub(crate) admin: Token,
    /// Opens the workers' routes.
    pub(crate) join: Token,
}

/// A range of addresses, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) address: IpAddr,
    pub(crate) prefix_bits: u8,
}

/// Why the settings are refused.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// A flag on its own.
    Flag(FlagError),
    /// The API would be open to the network without secrets.
    OpenApi(SocketAddr),
    /// One token file without the other.
    HalfTokens { given: &'static str, missing: &'static str },
    /// A worker would be dead before it is suspect.
    Leases { suspect: Duration, timeout: Duration },
    /// Snapshots without a pause.
    Snapshots(Duration),
    /// How many requests are written down, and not where.
    SampleOfNothing,
    /// One service port mapped twice.
    MappedTwice(u16),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Flag(error) => error.fmt(f),
            ConfigError::OpenApi(address) => write!(
                f,
                "--api-listen {address}: the API runs commands, so beyond loopback it needs \
                 --admin-token-file and --join-token-file (make each with \
                 `(umask 077; openssl rand -hex 32 > FILE)`), or listen on 127.0.0.1"
            ),
            ConfigError::HalfTokens { given, missing } => {
                write!(f, "{missing} is needed beside {given}: the two open different routes")
            }
            ConfigError::Leases { suspect, timeout } => write!(
                f,
                "--worker-timeout {timeout:?} must be longer than --worker-suspect {suspect:?}"
            ),
            ConfigError::Snapshots(interval) => write!(
                f,
                "--snapshot-interval {interval:?} must be {:?} or longer",
                limits::SNAPSHOT_INTERVAL_MIN
            ),
            ConfigError::SampleOfNothing => {
                write!(f, "--access-log-sample: there is no access log without --access-log FILE")
            }
            ConfigError::MappedTwice(port) => {
                write!(f, "--map-port: port {port} is mapped more than once")
            }
        }
    }
}

impl From<FlagError> for ConfigError {
    fn from(error: FlagError) -> ConfigError {
        ConfigError::Flag(error)
    }
}

impl Config {
    /// Reads the command line and its environment.
    pub(crate) fn read(mut flags: Flags) -> Result<Wanted, ConfigError> {
        if flags.has("--help") || flags.has("-h") {
            return Ok(Wanted::Text(HELP.to_owned()));
        }
        if flags.has("--version") || flags.has("-V") {
            return Ok(Wanted::Text(format!("tucano-controller {}\n", env!("CARGO_PKG_VERSION"))));
        }
        let data_dir = PathBuf::from("/var/lib/tucano/controller");
        let threads = parse::number(1, limits::BALANCER_THREADS_MAX as u64);
        let (admin, join) = (flags.value(ADMIN, parse::path)?, flags.value(JOIN, parse::path)?);
        let config = Config {
            data_dir: flags.value_or("--data-dir", data_dir, parse::path)?,
            api_listen: flags.value_or("--api-listen", loopback(7070), parse::addr)?,
            balancer_listen: flags.value_or("--balancer-listen", anywhere(8080), parse::addr)?,
            balancer_threads: flags.value_or("--balancer-threads", cores(), threads)? as usize,
            map_ports: flags.values("--map-port", map_port)?,
            token_files: both(admin, join)?,
            worker_suspect: flags.value_or(
                "--worker-suspect",
                limits::WORKER_SUSPECT,
                parse::duration_above_zero,
            )?,
            worker_timeout: flags.value_or(
                "--worker-timeout",
                limits::WORKER_TIMEOUT,
                parse::duration_above_zero,
            )?,
            trusted_proxies: flags.values("--trusted-proxies", networks)?.concat(),
            access_log: access_log(&mut flags)?,
            snapshot_interval: flags.value_or(
                "--snapshot-interval",
                limits::SNAPSHOT_INTERVAL,
                parse::duration_above_zero,
            )?,
            restore: flags.value("--restore", parse::path)?,
            rebalance: flags.value_or("--rebalance", true, on_or_off)?,
            log_level: flags.value_or("--log-level", LevelFilter::Info, logger::parse_level)?,
            log_format: flags.value_or("--log-format", Format::Text, parse::own)?,
        };
        flags.finish()?;
        config.judged()
    }

    /// Reads the secrets; after the log is there, which is told where others may read them too.
    pub(crate) fn read_tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        let Some((admin, join)) = &self.token_files else { return Ok(None) };
        Ok(Some(Tokens { admin: read_token(ADMIN, admin)?, join: read_token(JOIN, join)? }))
    }

    /// The API is never open without secrets, whoever opened its socket.
    pub(crate) fn guard_api(&self, address: SocketAddr) -> Result<(), ConfigError> {
        if self.token_files.is_none() && !address.ip().is_loopback() {
            return Err(ConfigError::OpenApi(address));
        }
        Ok(())
    }

    /// What the flags mean together.
    fn judged(self) -> Result<Wanted, ConfigError> {
        self.guard_api(self.api_listen)?;
        let (suspect, timeout) = (self.worker_suspect, self.worker_timeout);
        if suspect >= timeout {
            return Err(ConfigError::Leases { suspect, timeout });
        }
        if self.snapshot_interval < limits::SNAPSHOT_INTERVAL_MIN {
            return Err(ConfigError::Snapshots(self.snapshot_interval));
        }
        let mut from: Vec<u16> = self.map_ports.iter().map(|(from, _)| *from).collect();
        from.sort_unstable();
        if let Some(pair) = from.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigError::MappedTwice(pair[0]));
        }
        Ok(Wanted::Run(Box::new(self)))
    }
}

fn both(
    admin: Option<PathBuf>,
    join: Option<PathBuf>,
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (admin, join) {
        (None, None) => Ok(None),
        (Some(admin), Some(join)) => Ok(Some((admin, join))),
        (Some(_), None) => Err(ConfigError::HalfTokens { given: ADMIN, missing: JOIN }),
        (None, Some(_)) => Err(ConfigError::HalfTokens { given: JOIN, missing: ADMIN }),
    }
}

fn access_log(flags: &mut Flags) -> Result<Option<AccessLogFile>, ConfigError> {
    let one_of = parse::number(1, limits::ACCESS_LOG_ONE_OF_MAX);
    let file = flags.value("--access-log", parse::path)?;
    let one_of = flags.value("--access-log-sample", one_of)?;
    match (file, one_of) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(ConfigError::SampleOfNothing),
        (Some(path), one_of) => {
            Ok(Some(AccessLogFile { path, one_of: one_of.unwrap_or(1) as u32 }))
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// The cores that this process may use.
fn cores() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(limits::BALANCER_THREADS_MAX) as u64
}

fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off"),
    }
}

fn map_port(text: &str) -> Result<(u16, u16), &'static str> {
    let port = |text: &str| parse::number(1, u64::from(u16::MAX))(text).ok();
    text.split_once(':')
        .and_then(|(from, to)| Some((port(from)? as u16, port(to)? as u16)))
        .ok_or("write two ports, such as 80:8080: a service's, and the one of this machine")
}

fn networks(text: &str) -> Result<Vec<Network>, &'static str> {
    text.split(',').map(|part| network(part.trim())).collect()
}

/// A network without a prefix is one address.
fn network(text: &str) -> Result<Network, &'static str> {
    const WANTED: &str = "write networks such as 10.0.0.0/8,192.168.1.7";
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let address: IpAddr = address.parse().map_err(|_| WANTED)?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match prefix {
        None => bits_max,
        Some(bits) => parse::number(0, bits_max)(bits).map_err(|_| WANTED)?,
    };
    Ok(Network { address, prefix_bits: prefix_bits as u8 })
}

#[cfg(test)]
mod tests;
