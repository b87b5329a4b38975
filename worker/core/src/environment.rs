//! The clean environment of a script: what the contract names, then the spec's `env`, and nothing
//! of the agent's own.
//!
//! Names that begin with `TUCANO_` are the worker's: a spec can't change them, because the sweep
//! knows an instance's processes by them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::spec::EnvValue;

use crate::settings::Settings;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// UTF-8 without a country: it is there on every system, also without locales.
const LANG: &str = "C.UTF-8";
/// The same on every worker, whatever its own zone.
const TZ: &str = "UTC";
/// Where a script says that it is ready (sd_notify(3)), if its health check is that.
pub(crate) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// What a spec can't set.
const OWN_PREFIX: &str = "TUCANO_";

/// Whose environment it is.
pub(crate) struct Subject<'a> {
    pub(crate) service: &'a ServiceName,
    pub(crate) revision: u64,
    /// None for a build, which all instances share.
    pub(crate) instance: Option<InstanceId>,
    /// HOME, TMPDIR, TUCANO_INSTANCE_DIR.
    pub(crate) home: &'a Path,
    /// PORT and HOST.
    pub(crate) address: Option<SocketAddr>,
    /// The spec's.
    pub(crate) env: &'a BTreeMap<String, EnvValue>,
}

/// Every variable, sorted by name.
pub(crate) fn environment(subject: &Subject<'_>, settings: &Settings) -> Vec<(String, EnvValue)> {
    let home = subject.home.to_string_lossy();
    let data = settings.layout.data(subject.service);
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), EnvValue(value.to_owned()));
    };
    set("PATH", PATH);
    set("LANG", LANG);
    set("TZ", TZ);
    set("HOME", &home);
    set("TMPDIR", &home);
    let host = subject.address.map_or(settings.host, |address| address.ip());
    set("HOST", &host.to_string());
    if let Some(address) = subject.address {
        set("PORT", &address.port().to_string());
    }
    for (name, value) in subject.env.iter().filter(|(name, _)| !name.starts_with(OWN_PREFIX)) {
        set(name, &value.0);
    }
    set("TUCANO_SERVICE", subject.service.as_str());
    set("TUCANO_REVISION", &subject.revision.to_string());
    set("TUCANO_WORKER", settings.worker.as_str());
    set("TUCANO_BALANCER", &settings.balancer_url);
    set("TUCANO_DATA_DIR", &data.to_string_lossy());
    set("TUCANO_INSTANCE_DIR", &home);
    if let Some(id) = subject.instance {
        set("TUCANO_INSTANCE", &id.to_string());
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use tucano_common::name::WorkerName;

    use super::*;
    use crate::layout::Layout;
    use crate::ports::PortRange;

    fn settings() -> Settings {
        Settings {
            worker: WorkerName::new("pi-1").unwrap(),
            layout: Layout::new("/d"),
            host: "10.0.0.7".parse().unwrap(),
            balancer_url: "http://10.0.0.1:8080".to_owned(),
            ports: PortRange::new(1, 2).unwrap(),
            ephemeral: None,
        }
    }

    fn lines(instance: Option<InstanceId>, address: Option<&str>, env: &[(&str, &str)]) -> String {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), EnvValue((*v).to_owned()))).collect();
        let subject = Subject {
            service: &ServiceName::new("web").unwrap(),
            revision: 7,
            instance,
            home: Path::new("/d/instances/x"),
            address: address.map(|text| text.parse().unwrap()),
            env: &env,
        };
        let all = environment(&subject, &settings());
        all.iter().map(|(name, value)| format!("{name}={}\n", value.0)).collect()
    }

    #[test]
    fn an_instance_gets_exactly_this() {
        let expected = "\
            HOME=/d/instances/x\nHOST=127.0.0.2\nLANG=C.UTF-8\nNODE_ENV=production\n\
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPORT=20001\n\
            TMPDIR=/d/instances/x\nTUCANO_BALANCER=http://10.0.0.1:8080\n\
            TUCANO_DATA_DIR=/d/data/web\nTUCANO_INSTANCE=0000000000005\n\
            TUCANO_INSTANCE_DIR=/d/instances/x\nTUCANO_REVISION=7\nTUCANO_SERVICE=web\n\
            TUCANO_WORKER=pi-1\nTZ=UTC\n";
        let env = [("NODE_ENV", "production")];
        assert_eq!(lines(Some(InstanceId(5)), Some("127.0.0.2:20001"), &env), expected);
    }

    #[test]
    fn a_build_has_no_instance_and_no_port() {
        let text = lines(None, None, &[]);
        assert!(!text.contains("TUCANO_INSTANCE=") && !text.contains("PORT="), "{text}");
        assert!(text.contains("TUCANO_INSTANCE_DIR=/d/instances/x\n"), "{text}");
        assert!(text.contains("HOST=10.0.0.7\n"), "{text}");
    }

    #[test]
    fn a_spec_overrides_what_is_not_tucanos() {
        let env = [("PATH", "/opt/bin"), ("TZ", "Europe/Lisbon"), ("TUCANO_INSTANCE", "other")];
        let text = lines(Some(InstanceId(5)), None, &env);
        assert!(text.contains("PATH=/opt/bin\n") && text.contains("TZ=Europe/Lisbon\n"), "{text}");
        assert!(text.contains("TUCANO_INSTANCE=0000000000005\n"), "{text}");
    }
}
