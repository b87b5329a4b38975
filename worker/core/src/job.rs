//! What runs under a holder process of its own: a build, an instance's runtime, its teardown; and
//! how that ends.
//!
//! Every start has a number ([`Run`]), so that news of an earlier process are told from news of the
//! current one. Names go to disk (the folder of a job's files), so they are read back as strictly
//! as they are written.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;
use tucano_common::units::format_size;
use tucano_common::wire::worker::Cause;

/// Which cluster an instance belongs to; part of folders' names, so only `a-z A-Z 0-9 - _`, 1 to 64
/// of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster(Arc<str>);

impl Cluster {
    /// Takes what a controller calls itself, if it is safe as a folder's name.
    pub fn new(text: &str) -> Option<Cluster> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        valid.then(|| Cluster(Arc::from(text)))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Cluster {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Cluster {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cluster, D::Error> {
        let text = String::deserialize(deserializer)?;
        Cluster::new(&text).ok_or_else(|| serde::de::Error::custom("not a cluster's id"))
    }
}

/// A build: once a worker and revision. The cluster is part of it because two clusters may each
/// have a `web` 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuildKey {
    /// Whose.
    pub cluster: Cluster,
    /// Of which service.
    pub service: ServiceName,
    /// Of which revision.
    pub revision: u64,
}

impl BuildKey {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<BuildKey> {
        let mut parts = text.split('.');
        let key = BuildKey::from_parts(&mut parts)?;
        parts.next().is_none().then_some(key)
    }

    fn from_parts<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<BuildKey> {
        Some(BuildKey {
            cluster: Cluster::new(parts.next()?)?,
            service: ServiceName::new(parts.next()?).ok()?,
            revision: number(parts.next()?)?,
        })
    }
}

/// `CLUSTER.SERVICE.REVISION`: none of them has a dot, so it is safe as a folder's name.
impl fmt::Display for BuildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.cluster, self.service, self.revision)
    }
}

/// The number of a start, from 1: grows by one with each process of a job.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Run(pub u32);

impl Run {
    /// The one after this.
    pub fn next(self) -> Run {
        Run(self.0.saturating_add(1))
    }
}

/// Something that runs under a holder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// The build script of a revision.
    Build(BuildKey),
    /// The runtime script of an instance.
    Runtime(InstanceId),
    /// The teardown script of an instance.
    Teardown(InstanceId),
}

/// One start of a job: one holder process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobRun {
    /// Of what.
    pub job: Job,
    /// The how many-th.
    pub run: Run,
}

impl JobRun {
    /// The runtime of this instance.
    pub fn runtime(id: InstanceId, run: Run) -> JobRun {
        JobRun { job: Job::Runtime(id), run }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<JobRun> {
        let mut parts = text.split('.');
        let kind = parts.next()?;
        let job = match kind {
            "build" => Job::Build(BuildKey::from_parts(&mut parts)?),
            "runtime" => Job::Runtime(InstanceId::parse(parts.next()?)?),
            "teardown" => Job::Teardown(InstanceId::parse(parts.next()?)?),
            _ => return None,
        };
        let run = Run(u32::try_from(number(parts.next()?)?).ok()?);
        parts.next().is_none().then_some(JobRun { job, run })
    }
}

/// Digits only, without leading zeros: a job has one name.
fn number(text: &str) -> Option<u64> {
    let plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Build(key) => write!(f, "build.{key}"),
            Job::Runtime(id) => write!(f, "runtime.{id}"),
            Job::Teardown(id) => write!(f, "teardown.{id}"),
        }
    }
}

/// `runtime.01h….3`: safe as the name of a folder.
impl fmt::Display for JobRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.run.0)
    }
}

/// A process that can't be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its start in clock ticks after boot (field 22 of `/proc/PID/stat`).
    pub start: u64,
}

/// A job's processes, once its script runs (the kernel took the `execve`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The one that holds its output and reaps what it leaves: the agent watches this one.
    pub holder: Process,
    /// The script's shell.
    pub main: Process,
    /// When.
    pub at: Wall,
}

/// What is known of an end for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oom {
    /// What it was allowed; none where it had no limit, and the machine ran out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// The most that it used at a time; none where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
}

/// `limit 64MiB, peak 63.9 MiB`, as far as it is known.
impl fmt::Display for Oom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit_bytes {
            Some(limit) => write!(f, "limit {}", format_size(limit))?,
            None => f.write_str("no limit of its own")?,
        }
        match self.peak_bytes {
            // Tenths are enough: the peak of one that hit its limit is a page or two below it.
            Some(peak) => {
                let tenths = peak.saturating_mul(10) >> 20;
                write!(f, ", peak {}.{} MiB", tenths / 10, tenths % 10)
            }
            None => Ok(()),
        }
    }
}

/// How a job's main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By the kernel, for its memory.
    Oom(Oom),
    /// Nobody could watch.
    Unknown,
}

impl End {
    /// Whether it is the end of a script that did what it should.
    pub fn is_success(self) -> bool {
        self == End::Code(0)
    }

    /// As the wire has it.
    pub fn cause(self) -> Cause {
        match self {
            End::Code(exit_code) => Cause::Exit { exit_code },
            End::Signal(signal) => Cause::Signal { signal },
            End::Oom(Oom { limit_bytes, peak_bytes }) => {
                Cause::Oom { memory_limit_bytes: limit_bytes, memory_peak_bytes: peak_bytes }
            }
            End::Unknown => Cause::Unknown,
        }
    }
}

/// `exit code 3`, `signal 9 (SIGKILL)`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Code(code) => write!(f, "exit code {code}"),
            End::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            End::Oom(oom) => write!(f, "out of memory ({oom})"),
            End::Unknown => f.write_str("an end that nobody saw"),
        }
    }
}

/// The names of the signals that end processes, by Linux's common numbering.
fn signal_name(signal: i32) -> Option<&'static str> {
    const NAMES: [(i32, &str); 14] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (31, "SIGSYS"),
    ];
    NAMES.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

/// The end of a job: its main process and everything that it had started are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub end: End,
    /// When the main process ended.
    pub at: Wall,
    /// When it started, as its record says; none where it has none.
    pub started_at: Option<Wall>,
    /// The memory of the largest of its processes, at its largest; 0 where nobody could tell.
    pub memory_peak_bytes: u64,
    /// The last of its output, control characters escaped, at most `limits::OUTPUT_TAIL_BYTES`.
    pub output_tail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_go_there_and_back() {
        for text in [
            "runtime.0000000000005.1",
            "teardown.0000000000005.4294967295",
            "build.c-1_X.web.18446744073709551615.2",
        ] {
            assert_eq!(JobRun::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "runtime",
            "runtime.0000000000005",
            "runtime.0000000000005.01",
            "runtime.0000000000005.+1",
            "runtime.0000000000005.",
            "runtime.0000000000005.4294967296",
            "runtime.0000000000005.1.1",
            "runtime.5.1",
            "build.c.web.1",
            "build.c/..web.1.1",
            "build...1.1",
            "other.0000000000005.1",
        ] {
            assert_eq!(JobRun::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_clusters_id_is_safe_as_a_folders_name() {
        let longest = "a".repeat(64);
        for text in ["c", "0", "A-b_9", longest.as_str()] {
            assert_eq!(Cluster::new(text).unwrap().as_str(), text);
        }
        let too_long = "a".repeat(65);
        for text in ["", ".", "..", "a/b", "a.b", "a b", "é", "a\0", too_long.as_str()] {
            assert_eq!(Cluster::new(text), None, "{text:?}");
        }
    }
}
