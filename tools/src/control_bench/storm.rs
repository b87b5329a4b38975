//! The deploy storm: every service at once, each with its instances, over a few connections.
//!
//! A deploy is answered with 202 once its instances are placed and on disk, so the storm is over
//! with its last answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tucano_common::wire::views::InstanceView;
use tucano_net::Method;

use super::cpu::CpuTimes;
use super::probes::{Found, Probes};
use super::{API_WAIT_MAX, BenchError, Options, PLACEMENTS_PER_S_MIN, Report, Stage};
use crate::api::ApiError;

/// What a storm came to.
pub(super) struct Storm {
    took: Duration,
    used: CpuTimes,
    waits: Found,
    heartbeat: Duration,
}

pub(super) fn run(stage: &Stage, options: &Options) -> Result<Storm, BenchError> {
    let port = stage.layout.balancer.port();
    let services = (0..options.services).map(|number| spec(number, options.each, port));
    let bodies: Vec<Vec<u8>> = services.map(|spec| spec.to_string().into_bytes()).collect();
    let probes = Probes::start(stage.layout.api)?;
    stage.counts.take_longest();
    let (before, begun) = (stage.cpu()?, Instant::now());
    let next = AtomicUsize::new(0);
    let deploy = || -> Result<(), ApiError> {
        while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
            stage.api.send(Method::Post, "/v1/services", Some(body))?;
        }
        Ok(())
    };
    let results: Vec<Result<(), ApiError>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients.max(1)).map(|_| scope.spawn(deploy)).collect();
        clients.into_iter().filter_map(|client| client.join().ok()).collect()
    });
    let (took, used) = (begun.elapsed(), stage.cpu()?.since(&before));
    // What was sent before the last answer is answered by now.
    let (waits, heartbeat) = (probes.end(), stage.counts.take_longest());
    results.into_iter().collect::<Result<Vec<()>, ApiError>>()?;
    let instances: Vec<InstanceView> = stage.api.get("/v1/instances")?;
    let placed = instances.iter().filter(|instance| instance.worker.is_some()).count();
    if placed != options.services * options.each {
        let what = format!("{placed} of {} instances have a worker", instances.len());
        return Err(BenchError::Io(std::io::Error::other(what)));
    }
    Ok(Storm { took, used, waits, heartbeat })
}

fn spec(number: usize, each: usize, port: u16) -> Value {
    json!({
        "name": format!("storm-{number:04}"),
        "network": {
            "expose_port": port,
            "health_check": { "path": "/healthz" },
        },
        "scripts": {
            "build-script": "npm ci --omit=dev && npm run build",
            "runtime-script": "exec node server.js --port $PORT",
            "teardown_script": "rm -rf cache",
        },
        "concurrency": each,
        "env": { "NODE_ENV": "production", "LOG": "info" },
        "resources": { "cpu": 0.1, "memory": "64MiB" },
    })
}

impl Storm {
    pub(super) fn tell(&self, instances: usize, report: &mut Report) {
        let Storm { took, used, waits, heartbeat } = self;
        let (took, deployer) = (took.as_secs_f64(), used.of_thread("deployer").as_secs_f64());
        let per_s = instances as f64 / took;
        report.line(format_args!(
            "storm: {instances} instances placed and on disk in {took:.3} s; the controller used \
             {used}"
        ));
        report.line(format_args!("placements per second: {per_s:.0}"));
        report.bar(
            per_s > PLACEMENTS_PER_S_MIN,
            format_args!(
                "placements: {per_s:.0} a second of wall time, {:.0} a second of the deployer's \
                 CPU time, over {PLACEMENTS_PER_S_MIN:.0}",
                instances as f64 / deployer
            ),
        );
        let longest = waits.longest().max(*heartbeat);
        report.bar(
            longest < API_WAIT_MAX && waits.failures() == 0,
            format_args!(
                "longest waits during the storm: {waits}, a heartbeat {:.1} ms, under {} ms",
                heartbeat.as_secs_f64() * 1000.0,
                API_WAIT_MAX.as_millis()
            ),
        );
    }
}
