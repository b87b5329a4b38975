//! The agent's settings: every flag of its command line, each with its environment twin.
//!
//! Flags are read to values first and judged together after. Nothing is opened here but the token
//! file; what the values lead to (a taken port, a folder that can't be written, a user that isn't
//! there) is found out in `wiring.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use tucano_common::limits::{
    HEARTBEAT_DEFAULT, HEARTBEAT_MAX, HEARTBEAT_MIN, LABEL_BYTES_MAX, LABELS_MAX,
};
use tucano_common::name::{NameError, WorkerName};
use tucano_common::units::format_duration;
use tucano_net::config::{FlagError, Flags, parse, read_token};
use tucano_net::logger::{self, Format};
use tucano_net::token::Token;
use tucano_net::url::HttpUrl;
use tucano_worker_core::{PortRange, UserRange};

/// What `--help` prints.
const HELP: &str = include_str!("config/help.txt");

const CONTROLLER: &str = "http://127.0.0.1:7070";
const DATA_DIR: &str = "/var/lib/tucano/worker";
const LISTEN: &str = "127.0.0.1:7071";
const PORT_RANGE: &str = "20000-29999";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Print this and be done.
    Text(String),
    /// Run.
    Run(Box<Config>),
}

/// The settings of an agent that runs.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) controller: HttpUrl,
    pub(crate) name: WorkerName,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<IpAddr>,
    pub(crate) ports: PortRange,
    pub(crate) heartbeat: Duration,
    /// What `--label` said; the ones that come by themselves are not among them yet.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) run_as: Option<String>,
    pub(crate) service_uids: Option<UserRange>,
    pub(crate) join_token: Option<Token>,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_format: Format,
}

/// Why the settings are refused.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// A flag on its own.
    Flag(FlagError),
    /// The agent's API would be open to the network without a secret.
    OpenApi(SocketAddr),
    /// The host's name can't be the worker's.
    HostName(String, NameError),
    /// One label twice.
    LabelTwice(String),
    /// One user for all services, and one for each.
    TwoUsers,
    /// More labels than a worker may have.
    TooManyLabels(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Flag(error) => error.fmt(f),
            ConfigError::OpenApi(address) => write!(
                f,
                "--listen {address}: the agent's API runs commands, so beyond loopback it needs \
                 --join-token-file (the same file as the controller's), or listen on 127.0.0.1"
            ),
            ConfigError::HostName(name, error) => {
                write!(f, "--name is needed: the host's name {name:?} can't be taken: {error}")
            }
            ConfigError::TwoUsers => f.write_str(
                "--service-uids gives each service a user of its own, --run-as one to all: leave \
                 one of them out",
            ),
            ConfigError::LabelTwice(key) => write!(f, "--label: {key:?} is given more than once"),
            ConfigError::TooManyLabels(n) => {
                write!(f, "--label: {n} labels are more than {LABELS_MAX}")
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
    /// Reads the command line and its environment; `host_name` is this machine's, for where no
    /// `--name` is given.
    pub(crate) fn read(mut flags: Flags, host_name: &str) -> Result<Wanted, ConfigError> {
        if flags.has("--help") || flags.has("-h") {
            return Ok(Wanted::Text(HELP.to_owned()));
        }
        if flags.has("--version") || flags.has("-V") {
            return Ok(Wanted::Text(format!("tucano-worker {}\n", env!("CARGO_PKG_VERSION"))));
        }
        let name = flags.value("--name", WorkerName::new)?;
        let labels = flags.values("--label", label)?;
        let join_file = flags.value("--join-token-file", parse::path)?;
        let mut config = Config {
            controller: or_standard(&mut flags, "--controller", CONTROLLER, parse::own)?,
            name: match name {
                Some(name) => name,
                None => name_of_host(host_name)?,
            },
            data_dir: or_standard(&mut flags, "--data-dir", DATA_DIR, absolute)?,
            listen: or_standard(&mut flags, "--listen", LISTEN, parse::addr)?,
            advertise: flags.value("--advertise", reachable)?,
            ports: or_standard(&mut flags, "--port-range", PORT_RANGE, ports)?,
            heartbeat: flags.value_or("--heartbeat", HEARTBEAT_DEFAULT, heartbeat)?,
            labels: collect(labels)?,
            run_as: flags.value("--run-as", parse::text)?,
            service_uids: flags.value("--service-uids", UserRange::parse)?,
            join_token: None,
            log_level: flags.value_or("--log-level", LevelFilter::Info, logger::parse_level)?,
            log_format: flags.value_or("--log-format", Format::Text, parse::own)?,
        };
        flags.finish()?;
        // Read after all flags are known to be good, so that a mistyped flag is not hidden by a
        // missing file.
        config.join_token =
            join_file.map(|path| read_token("--join-token-file", &path)).transpose()?;
        config.judged()
    }

    /// What the flags mean together.
    fn judged(self) -> Result<Wanted, ConfigError> {
        if self.join_token.is_none() && !self.listen.ip().is_loopback() {
            return Err(ConfigError::OpenApi(self.listen));
        }
        if self.run_as.is_some() && self.service_uids.is_some() {
            return Err(ConfigError::TwoUsers);
        }
        Ok(Wanted::Run(Box::new(self)))
    }
}

/// A flag whose default is written as the flag would be.
fn or_standard<T, E: fmt::Display>(
    flags: &mut Flags,
    flag: &'static str,
    standard: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, FlagError> {
    if let Some(value) = flags.value(flag, &parse)? {
        return Ok(value);
    }
    parse(standard).map_err(|error| FlagError::Bad {
        name: flag.to_owned(),
        value: standard.to_owned(),
        reason: error.to_string(),
    })
}

/// The first label of the host's name, in lower case.
fn name_of_host(host_name: &str) -> Result<WorkerName, ConfigError> {
    let label = host_name.split('.').next().unwrap_or_default();
    WorkerName::new(&label.to_ascii_lowercase())
        .map_err(|error| ConfigError::HostName(host_name.to_owned(), error))
}

/// Services get paths below it in their environment: they must mean the same from everywhere.
fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(parse::path(text)?).map_err(|error| error.to_string())
}

fn reachable(text: &str) -> Result<IpAddr, &'static str> {
    let ip: IpAddr = text.parse().map_err(|_| "write an address, such as 192.168.1.20")?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err("write one address of this machine, which the balancer can connect to");
    }
    Ok(ip)
}

fn ports(text: &str) -> Result<PortRange, &'static str> {
    PortRange::parse(text).ok_or("write two ports, the first not above the last: 20000-29999")
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    let interval = parse::duration(text).map_err(|error| error.to_string())?;
    if (HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&interval) {
        return Ok(interval);
    }
    let (min, max) = (format_duration(HEARTBEAT_MIN), format_duration(HEARTBEAT_MAX));
    Err(format!("it must be from {min} to {max}"))
}

/// `disk=ssd`
fn label(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write a label as KEY=VALUE: disk=ssd")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    if key.is_empty() || key.len() > LABEL_BYTES_MAX || !key.chars().all(plain) {
        return Err("a label's key is 1 to 63 of a-z A-Z 0-9 - . _ /");
    }
    if value.len() > LABEL_BYTES_MAX || value.chars().any(char::is_control) {
        return Err("a label's value is at most 63 bytes, without control characters");
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn collect(labels: Vec<(String, String)>) -> Result<BTreeMap<String, String>, ConfigError> {
    if labels.len() > LABELS_MAX {
        return Err(ConfigError::TooManyLabels(labels.len()));
    }
    let mut collected = BTreeMap::new();
    for (key, value) in labels {
        if collected.insert(key.clone(), value).is_some() {
            return Err(ConfigError::LabelTwice(key));
        }
    }
    Ok(collected)
}

#[cfg(test)]
mod tests;
