//! The spec's sections that are objects of their own: network, env, resources, restart, update,
//! placement, stop.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::{Faults, Object, text};
use super::{
    EnvValue, HealthCheck, HealthProbe, Network, Placement, Resources, Restart, RestartPolicy,
    Stop, StopSignal, Update,
};
use crate::limits::{CONCURRENCY_MAX, ENV_BYTES_MAX, ENV_VARS_MAX, HOSTS_MAX};
use crate::name::ServiceName;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1024 * 1024;

pub(super) fn network(
    root: &Object<'_>,
    name: Option<&ServiceName>,
    faults: &mut Faults,
) -> Network {
    let network = root.object("network", faults);
    let known = ["expose_port", "hosts", "health_check", "hold", "max_in_flight", "fixed_port"];
    network.only(&known, faults);
    let mut hosts: Vec<String> = Vec::new();
    for (item, pointer) in network.list("hosts", faults) {
        let Some(host) = text(item, &pointer, faults) else { continue };
        match host_pattern(host) {
            Ok(host) if hosts.contains(&host) => faults.add(&pointer, "stands here twice"),
            Ok(host) => hosts.push(host),
            Err(detail) => faults.add(&pointer, detail),
        }
    }
    let given = network.value("hosts").and_then(serde_json::Value::as_array).map(Vec::len);
    if given.is_some_and(|count| count == 0 || count > HOSTS_MAX) {
        let detail =
            format!("1 to {HOSTS_MAX} hosts are wanted; leave it out for the service's own name");
        faults.add(&network.at("hosts"), detail);
    }
    if given.is_none() {
        hosts.extend(name.map(ServiceName::to_string));
    }
    Network {
        expose_port: network.port("expose_port", faults),
        hosts,
        health_check: health_check(&network, faults),
        hold: network
            .duration("hold", (Duration::ZERO, 10 * MINUTE), faults)
            .unwrap_or(30 * SECOND),
        max_in_flight: network.count("max_in_flight", (1, 65_535), faults),
        fixed_port: network.port("fixed_port", faults),
    }
}

/// A host in its one spelling: lower case, without a trailing dot; `*.` may stand in front.
fn host_pattern(text: &str) -> Result<String, String> {
    let host = text.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let labels = host.strip_prefix("*.").unwrap_or(host);
    let good = |label: &str| {
        let letters = label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        letters
            && (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() <= 253 && labels.split('.').all(good) {
        return Ok(host.to_owned());
    }
    let hint = if host.contains(':') || host.contains('/') {
        "without scheme, port or path"
    } else {
        "labels of a-z 0-9 - between dots, \"*.\" only in front"
    };
    Err(format!("{text:?} is not a host name such as web.example.lan or *.shop.lan: {hint}"))
}

fn health_check(network: &Object<'_>, faults: &mut Faults) -> HealthCheck {
    let check = network.object("health_check", faults);
    let known = [
        "path",
        "notify",
        "interval",
        "timeout",
        "healthy_after",
        "unhealthy_after",
        "start_timeout",
    ];
    check.only(&known, faults);
    let ms = Duration::from_millis;
    HealthCheck {
        probe: health_probe(&check, faults),
        interval: check.duration("interval", (ms(100), HOUR), faults).unwrap_or(2 * SECOND),
        timeout: check.duration("timeout", (ms(10), MINUTE), faults).unwrap_or(SECOND),
        healthy_after: check.count("healthy_after", (1, 100), faults).unwrap_or(1),
        unhealthy_after: check.count("unhealthy_after", (1, 100), faults).unwrap_or(3),
        start_timeout: check
            .duration("start_timeout", (ms(100), HOUR), faults)
            .unwrap_or(30 * SECOND),
    }
}

fn health_probe(check: &Object<'_>, faults: &mut Faults) -> HealthProbe {
    let path = check.text("path", faults).map(str::to_owned);
    let good = |path: &String| {
        path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|b| b.is_ascii_graphic())
    };
    if path.as_ref().is_some_and(|path| !good(path)) {
        faults.add(
            &check.at("path"),
            "not a path such as /healthz: it begins with / and has visible ASCII only",
        );
    }
    match (path, check.flag("notify", false, faults)) {
        (Some(_), true) => {
            let detail = "stands beside path: a process is asked, or tells by itself, not both";
            faults.add(&check.at("notify"), detail);
            HealthProbe::Notify
        }
        (None, true) => HealthProbe::Notify,
        (Some(path), false) => HealthProbe::Get(path),
        (None, false) => HealthProbe::Connect,
    }
}

pub(super) fn env(root: &Object<'_>, faults: &mut Faults) -> BTreeMap<String, EnvValue> {
    let mut env = BTreeMap::new();
    let section = root.object("env", faults);
    let mut bytes = 0;
    for (key, value, pointer) in section.entries() {
        let Some(value) = text(value, &pointer, faults) else { continue };
        bytes += key.len() + value.len() + 2;
        match env_fault(key, value) {
            Some(detail) => faults.add(&pointer, detail),
            None => {
                env.insert(key.to_owned(), EnvValue(value.to_owned()));
            }
        }
    }
    if env.len() > ENV_VARS_MAX || bytes > ENV_BYTES_MAX {
        let most = crate::units::format_size(ENV_BYTES_MAX as u64);
        faults.add(
            "/env",
            format_args!("more than {ENV_VARS_MAX} variables or {most}: put them into a file"),
        );
    }
    env
}

fn env_fault(key: &str, value: &str) -> Option<&'static str> {
    let letters = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if key.is_empty() || !letters || key.as_bytes()[0].is_ascii_digit() {
        return Some("not a variable's name: letters, digits and _, no digit in front");
    }
    if key.starts_with("TUCANO_") || matches!(key, "PORT" | "HOST") {
        return Some("is set by the worker: choose another name");
    }
    value.contains('\0').then_some("has a NUL character, which no environment can hold")
}

pub(super) fn resources(root: &Object<'_>, faults: &mut Faults) -> Resources {
    let resources = root.object("resources", faults);
    resources.only(&["cpu", "memory", "pids"], faults);
    let cpu_millis = resources.value("cpu").and_then(|value| {
        let cores = value.as_f64().filter(|cores| (0.01..=1024.0).contains(cores));
        if cores.is_none() {
            faults.add("/resources/cpu", "not a number of cores from 0.01 to 1024, such as 0.5");
        }
        cores.map(|cores| (cores * 1000.0).round() as u32)
    });
    Resources {
        cpu_millis,
        memory_bytes: resources.size("memory", (MIB, 1 << 50), faults),
        pids: resources.count("pids", (1, 4_194_304), faults),
    }
}

pub(super) fn restart(root: &Object<'_>, faults: &mut Faults) -> Restart {
    let restart = root.object("restart", faults);
    restart.only(&["policy", "backoff", "backoff_max", "attempts", "window"], faults);
    let policy = restart.text("policy", faults).and_then(|text| {
        let policy = RestartPolicy::parse(text);
        if policy.is_none() {
            faults.add(&restart.at("policy"), "not one of always, on_failure, never");
        }
        policy
    });
    let ms = Duration::from_millis;
    let backoff = restart.duration("backoff", (ms(10), HOUR), faults);
    let backoff_max = restart.duration("backoff_max", (ms(10), DAY), faults);
    let first = backoff.unwrap_or(SECOND);
    let most = backoff_max.unwrap_or(first.max(MINUTE));
    if most < first {
        faults.add(&restart.at("backoff_max"), "is shorter than backoff");
    }
    Restart {
        policy: policy.unwrap_or(RestartPolicy::Always),
        backoff: first,
        backoff_max: most,
        attempts: restart.count("attempts", (1, 1000), faults).unwrap_or(5),
        window: restart.duration("window", (SECOND, DAY), faults).unwrap_or(10 * MINUTE),
    }
}

pub(super) fn update(root: &Object<'_>, faults: &mut Faults) -> Update {
    let update = root.object("update", faults);
    let known =
        ["max_surge", "min_healthy", "healthy_deadline", "progress_deadline", "auto_revert"];
    update.only(&known, faults);
    let min_healthy = update.duration("min_healthy", (Duration::ZERO, HOUR), faults);
    let healthy_deadline = update.duration("healthy_deadline", (SECOND, DAY), faults);
    let min_healthy = min_healthy.unwrap_or(2 * SECOND);
    let healthy_deadline = healthy_deadline.unwrap_or(MINUTE.max(2 * min_healthy));
    if min_healthy >= healthy_deadline {
        faults.add(
            &update.at("min_healthy"),
            "is not shorter than healthy_deadline: nothing could ever pass",
        );
    }
    Update {
        max_surge: update.count("max_surge", (0, CONCURRENCY_MAX), faults).unwrap_or(1),
        min_healthy,
        healthy_deadline,
        progress_deadline: update
            .duration("progress_deadline", (SECOND, 7 * DAY), faults)
            .unwrap_or(10 * MINUTE),
        auto_revert: update.flag("auto_revert", true, faults),
    }
}

pub(super) fn placement(root: &Object<'_>, faults: &mut Faults) -> Placement {
    let placement = root.object("placement", faults);
    placement.only(&["require", "prefer", "max_per_worker"], faults);
    let mut labels = |key: &str| -> BTreeMap<String, String> {
        let section = placement.object(key, faults);
        let pairs = section.entries().filter_map(|(label, value, pointer)| {
            Some((label.to_owned(), text(value, &pointer, faults)?.to_owned()))
        });
        let mut labels = BTreeMap::new();
        labels.extend(pairs);
        labels
    };
    let (require, prefer) = (labels("require"), labels("prefer"));
    let max_per_worker = placement.count("max_per_worker", (1, CONCURRENCY_MAX), faults);
    Placement { require, prefer, max_per_worker }
}

pub(super) fn stop(root: &Object<'_>, faults: &mut Faults) -> Stop {
    let stop = root.object("stop", faults);
    stop.only(&["signal", "drain", "grace"], faults);
    let signal = stop.text("signal", faults).and_then(|text| {
        let signal = StopSignal::parse(text);
        if signal.is_none() {
            let names: Vec<&str> = StopSignal::ALL.iter().map(|(_, name)| *name).collect();
            faults.add(&stop.at("signal"), format_args!("not one of {}", names.join(", ")));
        }
        signal
    });
    Stop {
        signal: signal.unwrap_or(StopSignal::Term),
        drain: stop.duration("drain", (Duration::ZERO, HOUR), faults).unwrap_or(30 * SECOND),
        grace: stop.duration("grace", (Duration::ZERO, HOUR), faults).unwrap_or(30 * SECOND),
    }
}
