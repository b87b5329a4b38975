//! A spec as JSON: the contract's keys, every default filled in, durations and sizes in their
//! readable form.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{
    EnvValue, HealthCheck, HealthProbe, Network, Placement, Resources, Restart, Scripts, Source,
    Spec, Stop, Update, Workload,
};
use crate::units::{format_duration, format_size};

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("network", &self.network)?;
        match &self.workload {
            Workload::External(addresses) => {
                map.serialize_entry("external", &External(addresses))?
            }
            Workload::Scripts(scripts) => {
                map.serialize_entry("scripts", scripts)?;
                map.serialize_entry("concurrency", &self.concurrency)?;
                if scripts.source != Source::Empty {
                    map.serialize_entry("source", &scripts.source)?;
                }
                map.serialize_entry("env", &self.env)?;
                map.serialize_entry("resources", &self.resources)?;
                map.serialize_entry("restart", &self.restart)?;
                map.serialize_entry("update", &self.update)?;
                map.serialize_entry("placement", &self.placement)?;
                map.serialize_entry("stop", &self.stop)?;
                map.serialize_entry("build_timeout", &Span(self.build_timeout))?;
            }
        }
        map.end()
    }
}

struct Span(Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

struct External<'a>(&'a [std::net::SocketAddr]);

impl Serialize for External<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("addresses", self.0)?;
        map.end()
    }
}

impl Serialize for Scripts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "build-script", self.build.as_ref())?;
        map.serialize_entry("runtime-script", &self.runtime)?;
        optional(&mut map, "teardown_script", self.teardown.as_ref())?;
        map.end()
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Source::Empty => {}
            Source::Artifact(digest) => map.serialize_entry("artifact", &digest.to_string())?,
            Source::Path(path) => map.serialize_entry("path", path)?,
        }
        map.end()
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "expose_port", self.expose_port)?;
        map.serialize_entry("hosts", &self.hosts)?;
        map.serialize_entry("health_check", &self.health_check)?;
        map.serialize_entry("hold", &Span(self.hold))?;
        optional(&mut map, "max_in_flight", self.max_in_flight)?;
        optional(&mut map, "fixed_port", self.fixed_port)?;
        map.end()
    }
}

impl Serialize for HealthCheck {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.probe {
            HealthProbe::Connect => {}
            HealthProbe::Get(path) => map.serialize_entry("path", path)?,
            HealthProbe::Notify => map.serialize_entry("notify", &true)?,
        }
        map.serialize_entry("interval", &Span(self.interval))?;
        map.serialize_entry("timeout", &Span(self.timeout))?;
        map.serialize_entry("healthy_after", &self.healthy_after)?;
        map.serialize_entry("unhealthy_after", &self.unhealthy_after)?;
        map.serialize_entry("start_timeout", &Span(self.start_timeout))?;
        map.end()
    }
}

impl Serialize for Resources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "cpu", self.cpu_millis.map(|millis| f64::from(millis) / 1000.0))?;
        optional(&mut map, "memory", self.memory_bytes.map(format_size))?;
        optional(&mut map, "pids", self.pids)?;
        map.end()
    }
}

impl Serialize for Restart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("policy", self.policy.as_str())?;
        map.serialize_entry("backoff", &Span(self.backoff))?;
        map.serialize_entry("backoff_max", &Span(self.backoff_max))?;
        map.serialize_entry("attempts", &self.attempts)?;
        map.serialize_entry("window", &Span(self.window))?;
        map.end()
    }
}

impl Serialize for Update {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("max_surge", &self.max_surge)?;
        map.serialize_entry("min_healthy", &Span(self.min_healthy))?;
        map.serialize_entry("healthy_deadline", &Span(self.healthy_deadline))?;
        map.serialize_entry("progress_deadline", &Span(self.progress_deadline))?;
        map.serialize_entry("auto_revert", &self.auto_revert)?;
        map.end()
    }
}

impl Serialize for Placement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("require", &self.require)?;
        map.serialize_entry("prefer", &self.prefer)?;
        optional(&mut map, "max_per_worker", self.max_per_worker)?;
        map.end()
    }
}

impl Serialize for Stop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("signal", self.signal.as_str())?;
        map.serialize_entry("drain", &Span(self.drain))?;
        map.serialize_entry("grace", &Span(self.grace))?;
        map.end()
    }
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

fn optional<M: SerializeMap, T: Serialize>(
    map: &mut M,
    key: &'static str,
    value: Option<T>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(key, &value),
        None => Ok(()),
    }
}
