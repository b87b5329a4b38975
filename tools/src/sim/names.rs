//! The simulated cluster's names and specs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::prng::Prng;
use tucano_common::spec::{Spec, parse};

/// Services that the operator thinks of.
pub(super) const SERVICES: usize = 5;

#[expect(clippy::expect_used, reason = "a constant pattern that is a name")]
pub(super) fn worker(index: usize) -> WorkerName {
    WorkerName::new(&format!("w{}", index + 1)).expect("a worker's name")
}

#[expect(clippy::expect_used, reason = "a constant pattern that is a name")]
pub(super) fn service(index: usize) -> ServiceName {
    ServiceName::new(&format!("s{}", index + 1)).expect("a service's name")
}

/// Which worker a name is of.
pub(super) fn index(name: &WorkerName) -> Option<usize> {
    name.as_str().strip_prefix('w')?.parse::<usize>().ok()?.checked_sub(1)
}

/// Which worker an address is of.
pub(super) fn worker_at(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(ip) => usize::from(ip.octets()[3]).checked_sub(1),
        IpAddr::V6(_) => None,
    }
}

pub(super) fn labels(index: usize) -> BTreeMap<String, String> {
    let rack = if index.is_multiple_of(2) { "even" } else { "odd" };
    BTreeMap::from([("rack".to_owned(), rack.to_owned())])
}

/// What a spec's runtime does by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    /// Fits everywhere.
    Plain,
    Crashes,
    NeverReady,
    BuildFails,
}

/// A new content for a service.
pub(super) fn draw_spec(
    name: &ServiceName,
    kind: Kind,
    workers: u32,
    prng: &mut Prng,
) -> Arc<Spec> {
    let runtime = match kind {
        Kind::Good | Kind::Plain | Kind::BuildFails => "run",
        Kind::Crashes => "crash",
        Kind::NeverReady => "never",
    };
    let fixed = name.as_str() == "s2";
    let most = match kind {
        _ if fixed => workers.saturating_sub(1).max(1),
        Kind::Plain => 3,
        Kind::Good | Kind::Crashes | Kind::NeverReady | Kind::BuildFails => 6,
    };
    let mut spec = json!({
        "name": name.as_str(),
        "network": {
            "expose_port": 80,
            "hold": "5s",
            "health_check": { "interval": "1s", "start_timeout": "10s" },
        },
        "scripts": { "runtime-script": runtime },
        "concurrency": prng.below(most + 1),
        "env": { "VERSION": prng.next_u64().to_string() },
        "restart": {
            "backoff": "200ms", "backoff_max": "3s", "attempts": 1 + prng.below(4),
            "window": "30s",
        },
        "update": {
            "max_surge": prng.below(3),
            "min_healthy": format!("{}ms", 100 + prng.below(1500)),
            "healthy_deadline": "15s",
            "progress_deadline": "60s",
            "auto_revert": prng.chance(0.7),
        },
        "stop": {
            "drain": format!("{}ms", prng.below(3) * 1000),
            "grace": format!("{}ms", 100 + prng.below(3000)),
        },
        "build_timeout": "10s",
    });
    if kind == Kind::BuildFails {
        spec["scripts"]["build-script"] = json!("fail");
    } else if prng.chance(0.3) {
        spec["scripts"]["build-script"] = json!("build");
    }
    if prng.chance(0.3) {
        spec["scripts"]["teardown_script"] = json!("teardown");
    }
    if kind != Kind::Plain {
        let most = if prng.chance(0.1) { 800 } else { 200 };
        if prng.chance(0.4) {
            spec["resources"] = json!({ "memory": format!("{}MiB", 50 + prng.below(most)) });
        }
        if prng.chance(0.15) {
            spec["placement"] = json!({ "max_per_worker": 1 + prng.below(3) });
        }
        if prng.chance(0.1) {
            spec["placement"] = json!({ "require": { "rack": "odd" } });
        }
    }
    if fixed {
        spec["network"]["fixed_port"] = json!(9000);
    }
    if name.as_str() == "s3" {
        // Without a route.
        spec["network"] = json!({});
    }
    read(&spec)
}

#[expect(clippy::expect_used, reason = "what draw_spec writes is a spec")]
fn read(spec: &Value) -> Arc<Spec> {
    Arc::new(parse(spec).expect("a spec"))
}
