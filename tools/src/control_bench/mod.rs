//! `tucano-sim bench`: what a controller costs that has a thousand workers and twenty thousand
//! instances. `make bench-control` runs it.
//!
//! The real controller over loopback against the fake workers of [`crate::agents`], and the planner
//! alone on generated clusters. It prints figures with their bars and judges nothing else. Times
//! are given as CPU time too: on a machine that others share, wall time says little.

mod cpu;
mod planner;
mod probes;
mod storm;

use std::fmt::{self, Write as _};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tucano_common::wire::views::StatusView;
use tucano_net::url::HttpUrl;

use crate::agents::{Counts, Fleet, Plan, raise_descriptor_limit};
use crate::api::{Api, ApiError};
use crate::cluster::{ClusterError, Daemon, Folder, Layout};
use crate::wait::{self, TooLate};
use cpu::CpuTimes;
use probes::Probes;

pub use planner::planner;

/// The bars of the issue.
const HEARTBEAT_CORE_PERCENT_MAX: f64 = 30.0;
const PLACEMENTS_PER_S_MIN: f64 = 37_000.0;
const API_WAIT_MAX: Duration = Duration::from_millis(100);
/// A loaded machine has time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Workers.
    pub workers: usize,
    /// Services of the storm.
    pub services: usize,
    /// Instances of each.
    pub each: usize,
    /// Deploys that are on their way at the same time.
    pub clients: usize,
    /// How long heartbeats are measured.
    pub watch: Duration,
}

/// Why there are no figures.
#[derive(Debug)]
pub enum BenchError {
    /// The controller did not start or did not stay.
    Cluster(ClusterError),
    /// It refused something.
    Api(ApiError),
    /// Something did not happen.
    Late(TooLate),
    /// The system refused something.
    Io(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Cluster(error) => error.fmt(f),
            BenchError::Api(error) => error.fmt(f),
            BenchError::Late(error) => error.fmt(f),
            BenchError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<ClusterError> for BenchError {
    fn from(error: ClusterError) -> BenchError {
        BenchError::Cluster(error)
    }
}

impl From<ApiError> for BenchError {
    fn from(error: ApiError) -> BenchError {
        BenchError::Api(error)
    }
}

impl From<TooLate> for BenchError {
    fn from(error: TooLate) -> BenchError {
        BenchError::Late(error)
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> BenchError {
        BenchError::Io(error)
    }
}

/// A report and whether every bar was met.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines for people and scripts.
    pub text: String,
    /// Whether a bar was missed.
    pub missed: bool,
}

impl Report {
    fn line(&mut self, line: impl fmt::Display) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn bar(&mut self, met: bool, line: impl fmt::Display) {
        self.missed |= !met;
        self.line(format_args!("{line}  [{}]", if met { "met" } else { "MISSED" }));
    }
}

/// The controller with its fake workers.
struct Stage {
    controller: Daemon,
    api: Api,
    layout: Layout,
    counts: Arc<Counts>,
    fleet: Option<JoinHandle<io::Result<()>>>,
    _folder: Folder,
}

impl Stage {
    fn new(binary: PathBuf, options: &Options) -> Result<Stage, BenchError> {
        raise_descriptor_limit()?;
        let folder = Folder::new("bench-control")?;
        let layout = Layout::private(0)?;
        let flags = [
            "--data-dir".to_owned(),
            folder.path().join("controller").display().to_string(),
            "--api-listen".to_owned(),
            layout.api.to_string(),
            "--balancer-listen".to_owned(),
            layout.balancer.to_string(),
        ];
        let log = folder.path().join("controller.log");
        let mut controller = Daemon::start(binary, &flags, &log)?;
        controller.wait_for_port(layout.api, Duration::from_secs(20))?;
        let counts = Arc::new(Counts::default());
        let plan = Plan {
            controller: layout.api,
            workers: options.workers,
            first: first_address(),
            port: 7071,
            heartbeat: Duration::from_secs(1),
            start: Duration::from_millis(500),
        };
        let fleet = Fleet::new(plan, Arc::clone(&counts))?;
        let fleet = thread::Builder::new().name("agents".into()).spawn(|| fleet.run())?;
        let url: HttpUrl = format!("http://{}", layout.api).parse().map_err(io::Error::other)?;
        let api = Api::new(url, None);
        Ok(Stage { controller, api, layout, counts, fleet: Some(fleet), _folder: folder })
    }

    fn status(&self) -> Result<StatusView, ApiError> {
        self.api.get("/v1/status")
    }

    fn await_count(
        &self,
        what: &str,
        count: impl Fn(&StatusView) -> Option<u32>,
        wanted: usize,
    ) -> Result<(), TooLate> {
        wait::until(what, PATIENCE, || {
            let status = self.status().ok()?;
            (count(&status).unwrap_or(0) as usize >= wanted).then_some(())
        })
    }

    fn cpu(&self) -> io::Result<CpuTimes> {
        CpuTimes::of(self.controller.pid())
    }

    /// The controller's CPU time while nothing but heartbeats comes.
    fn watch(&self, title: &str, time: Duration, report: &mut Report) -> Result<f64, BenchError> {
        let (before, beats) = (self.cpu()?, self.counts.heartbeats.load(Ordering::Relaxed));
        self.counts.take_longest();
        let begun = Instant::now();
        thread::sleep(time);
        let (used, took) = (self.cpu()?.since(&before), begun.elapsed());
        let beats = self.counts.heartbeats.load(Ordering::Relaxed) - beats;
        let percent = used.all().as_secs_f64() / took.as_secs_f64() * 100.0;
        report.line(format_args!(
            "{title}: {:.0} heartbeats a second, {percent:.1} % of a core ({used}), the longest \
             wait {:.1} ms, {} MiB resident",
            beats as f64 / took.as_secs_f64(),
            self.counts.take_longest().as_secs_f64() * 1000.0,
            cpu::resident_bytes(self.controller.pid())? >> 20,
        ));
        Ok(percent)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.counts.stop();
        if let Some(fleet) = self.fleet.take() {
            let _ = fleet.join(); // its end is no figure
        }
        self.controller.stop(Duration::from_secs(10));
    }
}

/// Fake workers of this run have loopback addresses of their own.
fn first_address() -> Ipv4Addr {
    let block = std::process::id() % 100;
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 100, 0, 1).to_bits() + (block << 16))
}

/// Runs all of it with this controller.
pub fn run(binary: PathBuf, options: &Options) -> Result<Report, BenchError> {
    let mut report = Report::default();
    let stage = Stage::new(binary, options)?;
    let ready = |status: &StatusView| status.workers.get("ready").copied();
    stage.await_count("every worker's hello", ready, options.workers)?;
    stage.watch("workers without instances", options.watch / 2, &mut report)?;
    let instances = options.services * options.each;
    let storm = storm::run(&stage, options)?;
    storm.tell(instances, &mut report);
    let running = |status: &StatusView| status.instances.get("running").copied();
    let all = "every instance running";
    let probes = Probes::start(stage.layout.api)?;
    let begun = (Instant::now(), stage.cpu()?);
    stage.await_count(all, running, instances)?;
    let settled = |status: &StatusView| status.services.get("running").copied();
    stage.await_count("every service running", settled, options.services)?;
    report.line(format_args!(
        "every instance running and every deployment over {:.2} s after the storm, the controller \
         used {}",
        begun.0.elapsed().as_secs_f64(),
        stage.cpu()?.since(&begun.1)
    ));
    report.line(format_args!("meanwhile the longest waits: {}", probes.end()));
    // What the end of the storm left to do is no heartbeat.
    thread::sleep(Duration::from_secs(2));
    let title = format!("{} workers with {instances} instances", options.workers);
    let percent = stage.watch(&title, options.watch, &mut report)?;
    report.bar(
        percent < HEARTBEAT_CORE_PERCENT_MAX,
        format_args!(
            "heartbeats: {percent:.1} % of a core, under {HEARTBEAT_CORE_PERCENT_MAX:.0} %"
        ),
    );
    let counts = &stage.counts;
    report.line(format_args!("fake workers: {counts}"));
    let data_bytes = stage.status()?.data_bytes;
    report.line(format_args!("data folder: {} MiB", data_bytes >> 20));
    Ok(report)
}
