//! JSON to [`Spec`], or every fault at once.
//!
//! The defaults stand here, each at the field it is for (contract: "The spec"). `sections` has the
//! parts that are their own objects.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::reader::{Faults, Object, text};
use super::sections;
use super::{Digest, HealthProbe, Scripts, Source, Spec, Workload};
use crate::limits::{CONCURRENCY_MAX, EXTERNAL_ADDRESSES_MAX, SCRIPT_BYTES_MAX};
use crate::name::ServiceName;

/// One fault of a spec: where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where (RFC 6901).
    pub pointer: String,
    /// What is wrong there, in a sentence that says what would be right.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}

const FIELDS: [&str; 12] = [
    "name",
    "network",
    "scripts",
    "concurrency",
    "source",
    "env",
    "resources",
    "restart",
    "update",
    "placement",
    "stop",
    "build_timeout",
];
/// Fields that say nothing for a service whose processes somebody else runs.
const NOT_WITH_EXTERNAL: [&str; 4] = ["scripts", "source", "env", "build_timeout"];

/// Reads a spec, or says everything that is wrong with it.
///
/// # Errors
/// Every fault of the document, at least one.
pub fn parse(value: &Value) -> Result<Spec, Vec<Fault>> {
    let mut faults = Faults::default();
    let root = Object::root(value, &mut faults);
    if !value.is_object() {
        return Err(faults.0);
    }
    let known: Vec<&'static str> = FIELDS.iter().copied().chain(["external"]).collect();
    root.only(&known, &mut faults);
    let name = name(&root, &mut faults);
    let network = sections::network(&root, name.as_ref(), &mut faults);
    let workload = workload(&root, &mut faults);
    let external = matches!(workload, Some(Workload::External(_)));
    if external
        && network.expose_port.is_none()
        && !root.object("network", &mut Faults::default()).has("expose_port")
    {
        faults.add("/network/expose_port", "an external service needs the port its clients see");
    }
    if external && network.health_check.probe == HealthProbe::Notify {
        let detail = "needs a process of the cluster's own; an external service is asked by \
                      \"path\" or by connecting";
        faults.add("/network/health_check/notify", detail);
    }
    let concurrency = root.count("concurrency", (0, CONCURRENCY_MAX), &mut faults).unwrap_or(1);
    let minute = Duration::from_secs(60);
    let build_range = (Duration::from_secs(1), 24 * 60 * minute);
    let build_timeout = root.duration("build_timeout", build_range, &mut faults);
    let env = sections::env(&root, &mut faults);
    let resources = sections::resources(&root, &mut faults);
    let restart = sections::restart(&root, &mut faults);
    let update = sections::update(&root, &mut faults);
    let placement = sections::placement(&root, &mut faults);
    let stop = sections::stop(&root, &mut faults);
    match (name, workload, faults.0.is_empty()) {
        (Some(name), Some(workload), true) => Ok(Spec {
            name,
            network,
            workload,
            concurrency: if external { 0 } else { concurrency },
            env,
            resources,
            restart,
            update,
            placement,
            stop,
            build_timeout: build_timeout.unwrap_or(10 * minute),
        }),
        _ => Err(faults.0),
    }
}

fn name(root: &Object<'_>, faults: &mut Faults) -> Option<ServiceName> {
    if !root.has("name") {
        faults.add("/name", "is required: the service's name, 1 to 63 of a-z 0-9 -");
        return None;
    }
    let text = root.text("name", faults)?;
    ServiceName::new(text).map_err(|error| faults.add("/name", error)).ok()
}

fn workload(root: &Object<'_>, faults: &mut Faults) -> Option<Workload> {
    if !root.has("external") {
        return scripts(root, faults).map(Workload::Scripts);
    }
    for field in NOT_WITH_EXTERNAL.into_iter().filter(|field| root.has(field)) {
        faults.add(&root.at(field), "has no meaning for an external service: leave it out");
    }
    let external = root.object("external", faults);
    external.only(&["addresses"], faults);
    let mut addresses = Vec::new();
    for (item, pointer) in external.list("addresses", faults) {
        if let Some(address) = text(item, &pointer, faults)
            && let Some(address) = external_address(address, &pointer, faults)
        {
            if addresses.contains(&address) {
                faults.add(&pointer, "stands here twice");
            }
            addresses.push(address);
        }
    }
    let count = external.value("addresses").and_then(Value::as_array).map_or(0, Vec::len);
    if count == 0 || count > EXTERNAL_ADDRESSES_MAX {
        let detail = format!(
            "1 to {EXTERNAL_ADDRESSES_MAX} addresses are wanted, such as \"10.0.0.7:9000\""
        );
        faults.add(&external.at("addresses"), detail);
    }
    Some(Workload::External(addresses))
}

fn external_address(text: &str, pointer: &str, faults: &mut Faults) -> Option<SocketAddr> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        faults.add(
            pointer,
            format_args!("{text:?} is not an IP address with a port, such as 10.0.0.7:9000"),
        );
        return None;
    };
    // An IPv4 address that is written as an IPv6 one is reached all the same, and judged as such.
    let ip = address.ip().to_canonical();
    let address = SocketAddr::new(ip, address.port());
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || link_local {
        faults.add(pointer, "port 0, unspecified, multicast or link-local: never connected to");
        return None;
    }
    Some(address)
}

fn scripts(root: &Object<'_>, faults: &mut Faults) -> Option<Scripts> {
    let scripts = root.object("scripts", faults);
    let known = [
        ["build-script", "build_script"],
        ["runtime-script", "runtime_script"],
        ["teardown_script", "teardown-script"],
    ];
    scripts.only(known.as_flattened(), faults);
    let [build, runtime, teardown] = known.map(|spellings| script(&scripts, spellings, faults));
    let source = source(root, faults);
    let wrong_kind = root.value("scripts").is_some_and(|value| !value.is_object());
    if !wrong_kind && !known[1].iter().any(|key| scripts.has(key)) {
        faults.add(
            &scripts.at("runtime-script"),
            "is required: the command that runs the service (an external one has \"external\")",
        );
    }
    Some(Scripts { build, runtime: runtime?, teardown, source })
}

fn script(scripts: &Object<'_>, [usual, other]: [&str; 2], faults: &mut Faults) -> Option<String> {
    if scripts.has(usual) && scripts.has(other) {
        faults.add(
            &scripts.at(other),
            format_args!("is another spelling of \"{usual}\", which is there too"),
        );
    }
    let key = if scripts.has(usual) { usual } else { other };
    let script = scripts.text(key, faults)?;
    if script.trim().is_empty() {
        faults.add(
            &scripts.at(key),
            "is empty: write a command, or leave it out where it is optional",
        );
    } else if script.len() > SCRIPT_BYTES_MAX {
        let most = crate::units::format_size(SCRIPT_BYTES_MAX as u64);
        faults.add(
            &scripts.at(key),
            format_args!("is longer than {most}: put it into a file of the source"),
        );
    } else if script.contains('\0') {
        faults.add(&scripts.at(key), "has a NUL character, which no command line can hold");
    } else {
        return Some(script.to_owned());
    }
    None
}

fn source(root: &Object<'_>, faults: &mut Faults) -> Source {
    let source = root.object("source", faults);
    source.only(&["artifact", "path"], faults);
    if source.has("artifact") && source.has("path") {
        faults.add("/source", "has both an artifact and a path: one of them is wanted");
    }
    if let Some(text) = source.text("artifact", faults) {
        match Digest::parse(text) {
            Some(digest) => return Source::Artifact(digest),
            None => faults.add(
                "/source/artifact",
                "not a digest as PUT /v1/artifacts answers it: sha256: and 64 of 0-9 a-f",
            ),
        }
    }
    if let Some(path) = source.text("path", faults) {
        let plain = path.starts_with('/') && !path.split('/').any(|part| part == "..");
        if plain && !path.contains('\0') && path.len() < 4096 {
            return Source::Path(path.to_owned());
        }
        faults.add("/source/path", "not an absolute path without \"..\": such as /srv/app");
    }
    Source::Empty
}
