//! The spec: the JSON that a user deploys, as validated values.
//!
//! [`parse`] turns JSON into a [`Spec`] or into every fault at once, each with its JSON pointer; a
//! `Spec` that exists is valid. The agent parses the same JSON again (a spec is validated on both
//! sides). Serialising a `Spec` writes the contract's keys with every default filled in, so that
//! two spellings of one wish are equal.

mod parse;
mod print;
mod reader;
mod sections;
pub mod suggest;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::name::ServiceName;

pub use parse::{Fault, parse};

/// A service as asked for: one revision's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The service's name.
    pub name: ServiceName,
    /// How it is reached.
    pub network: Network,
    /// What it is: scripts that workers run, or addresses outside the cluster.
    pub workload: Workload,
    /// How many instances (0 stops them all and keeps the service); 1 by default. 0 for an external
    /// service.
    pub concurrency: u32,
    /// Variables of its processes, over the ones that the worker sets.
    pub env: BTreeMap<String, EnvValue>,
    /// Memory, CPU and process limits.
    pub resources: Resources,
    /// When and how an ended process is started again, on its worker.
    pub restart: Restart,
    /// How a new revision takes over.
    pub update: Update,
    /// Where instances may and should run.
    pub placement: Placement,
    /// How an instance is ended.
    pub stop: Stop,
    /// How long the build script may take.
    pub build_timeout: Duration,
}

/// What a service is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Workload {
    /// Scripts that workers run.
    Scripts(Scripts),
    /// Addresses outside the cluster, `host:port` with a literal IP address; only balanced and
    /// health-checked.
    External(Vec<std::net::SocketAddr>),
}

/// The scripts (each run as `/bin/sh -c`) and the files they start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Scripts {
    /// Once a worker and revision.
    pub build: Option<String>,
    /// The instance itself.
    pub runtime: String,
    /// Once an instance, after its process is gone.
    pub teardown: Option<String>,
    /// What the revision's folder starts as.
    pub source: Source,
}

/// What a revision's folder starts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An empty folder; the scripts fetch what they need.
    Empty,
    /// An uploaded .tar.gz, by its digest.
    Artifact(Digest),
    /// A folder that stands on the worker.
    Path(String),
}

/// A SHA-256 digest, written `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:…`; the digits must be in lower case, so that a digest has one spelling.
    pub fn parse(text: &str) -> Option<Digest> {
        let hex = text.strip_prefix("sha256:")?;
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Digest(text.to_owned()))
    }

    /// The digest of these 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Digest {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        Digest(format!("sha256:{hex}"))
    }

    /// The 64 hexadecimal digits: safe as a file's name.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a service is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The port its clients see; without one the service has no route, and its processes no port.
    pub expose_port: Option<u16>,
    /// The domains linked to it: lower case, without port or trailing dot; `*.` in front matches
    /// one or more labels.
    pub hosts: Vec<String>,
    /// How its worker learns that it is well.
    pub health_check: HealthCheck,
    /// How long a request waits for an instance on its way.
    pub hold: Duration,
    /// Requests in flight an instance; more wait in the queue.
    pub max_in_flight: Option<u32>,
    /// The port its process insists on; then a worker holds one instance of it at most.
    pub fixed_port: Option<u16>,
}

/// How a worker learns that an instance is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: HealthProbe,
    /// Between two checks of a running instance.
    pub interval: Duration,
    /// Of one check.
    pub timeout: Duration,
    /// So many passes in a row make an instance healthy.
    pub healthy_after: u32,
    /// So many failures in a row make it unhealthy.
    pub unhealthy_after: u32,
    /// From the process's start to its first pass; later counts as a failed start.
    pub start_timeout: Duration,
}

/// What a check is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthProbe {
    /// A TCP connect.
    Connect,
    /// `GET` this path and want 2xx or 3xx.
    Get(String),
    /// Nothing is asked: the process says `READY=1` to `$NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
}

/// Limits of each instance; placement counts them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resources {
    /// In thousandths of a core (`"cpu": 0.5` is 500).
    pub cpu_millis: Option<u32>,
    /// In bytes, hard.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// When an ended process is started again on its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// The first delay; it doubles up to `backoff_max`, and starts anew after 60 s up.
    pub backoff: Duration,
    /// The largest delay.
    pub backoff_max: Duration,
    /// So many failures within `window` move the instance to another worker.
    pub attempts: u32,
    /// See `attempts`.
    pub window: Duration,
}

/// After which ends a process is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// After every end.
    Always,
    /// After a signal or an exit code other than 0.
    OnFailure,
    /// After none.
    Never,
}

/// How a new revision takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// Instances above `concurrency` while it lasts; 0 stops an old one before its new one starts.
    pub max_surge: u32,
    /// A new instance counts when it has been healthy for so long.
    pub min_healthy: Duration,
    /// From an instance's placement to its being healthy.
    pub healthy_deadline: Duration,
    /// Of the whole deployment.
    pub progress_deadline: Duration,
    /// A failed deployment goes back to the last revision that was healthy.
    pub auto_revert: bool,
}

/// Where instances may and should run, by the workers' labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Labels that a worker must have.
    pub require: BTreeMap<String, String>,
    /// Labels that make a worker better.
    pub prefer: BTreeMap<String, String>,
    /// Instances of this service on one worker.
    pub max_per_worker: Option<u32>,
}

/// How an instance is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Sent first.
    pub signal: StopSignal,
    /// Requests in flight get so long before that signal.
    pub drain: Duration,
    /// From that signal to SIGKILL.
    pub grace: Duration,
}

/// The signals a spec may ask for as its stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the signal(7) of its name")]
pub enum StopSignal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
    Kill,
    Winch,
}

/// A variable's value: never printed by `Debug`, because it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvValue(pub String);

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"…\"")
    }
}

impl Spec {
    /// The scripts, unless the service is external.
    pub fn scripts(&self) -> Option<&Scripts> {
        match &self.workload {
            Workload::Scripts(scripts) => Some(scripts),
            Workload::External(_) => None,
        }
    }

    /// Whether a worker that has built `self` holds what `other` wants: then no second build is
    /// needed for it.
    pub fn same_build(&self, other: &Spec) -> bool {
        match (&self.workload, &other.workload) {
            (Workload::Scripts(a), Workload::Scripts(b)) => {
                a.build == b.build && a.source == b.source && self.env == other.env
            }
            (Workload::External(_), Workload::External(_)) => true,
            (Workload::Scripts(_), Workload::External(_))
            | (Workload::External(_), Workload::Scripts(_)) => false,
        }
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Spec, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        parse(&value).map_err(|faults| {
            let first = faults.into_iter().next();
            serde::de::Error::custom(first.map_or_else(String::new, |fault| fault.to_string()))
        })
    }
}
