//! `/v1/services`: deploy, look, scale, restart, roll back, end.

use std::sync::Arc;

use serde_json::Value;
use tucano_common::limits::CONCURRENCY_MAX;
use tucano_common::name::ServiceName;
use tucano_common::spec::{self, Spec};
use tucano_common::wire::problem::ProblemItem;
use tucano_controller_core::deployer::Command;

use super::json;
use super::problems::Refused;
use super::query::Params;
use super::start::Start;

const SPEC_WANTED: &str = "the spec as JSON, as with curl -d @service.json";

/// `POST /v1/services`, and `PUT /v1/services/{name}`, whose body may leave the name out.
pub(crate) fn deploy(
    name: Option<&ServiceName>,
    body: &[u8],
    params: &Params,
) -> Result<Start, Refused> {
    let mut value = json::value(body, SPEC_WANTED)?;
    if let (Some(name), Value::Object(spec)) = (name, &mut value) {
        spec.entry("name").or_insert_with(|| Value::String(name.to_string()));
    }
    let spec = read_spec(&value)?;
    if let Some(name) = name.filter(|name| **name != spec.name) {
        let detail = format!("{} is not the path's name, {name}", spec.name);
        return Err(Refused::Faults(vec![ProblemItem { pointer: "/name".into(), detail }]));
    }
    Ok(command(Command::Deploy { spec: Arc::new(spec) }, params))
}

fn read_spec(value: &Value) -> Result<Spec, Refused> {
    spec::parse(value).map_err(|faults| {
        let item =
            |fault: spec::Fault| ProblemItem { pointer: fault.pointer, detail: fault.detail };
        Refused::Faults(faults.into_iter().map(item).collect())
    })
}

/// `DELETE /v1/services/{name}`.
pub(crate) fn delete(service: ServiceName, params: &Params) -> Start {
    command(Command::Delete { service }, params)
}

/// `POST /v1/services/{name}/scale`.
pub(crate) fn scale(service: ServiceName, body: &[u8], params: &Params) -> Result<Start, Refused> {
    const EXAMPLE: &str = "{\"concurrency\": 5}";
    let value = json::value(body, EXAMPLE)?;
    let wanted = json::only_number(&value, "concurrency", (0, u64::from(CONCURRENCY_MAX)))?;
    let wanted = wanted.and_then(|number| u32::try_from(number).ok());
    let concurrency = wanted.ok_or_else(|| json::missing("concurrency", EXAMPLE))?;
    Ok(command(Command::Scale { service, concurrency }, params))
}

/// `POST /v1/services/{name}/restart`.
pub(crate) fn restart(service: ServiceName, params: &Params) -> Start {
    command(Command::Restart { service }, params)
}

/// `POST /v1/services/{name}/rollback`, with a revision or without a body.
pub(crate) fn rollback(
    service: ServiceName,
    body: &[u8],
    params: &Params,
) -> Result<Start, Refused> {
    let revision = if json::is_blank(body) {
        None
    } else {
        let value = json::value(body, "")?;
        json::only_number(&value, "revision", (1, u64::MAX))?
    };
    Ok(command(Command::Rollback { service, revision }, params))
}

/// A command with what its query says of how to carry it out.
pub(crate) fn command(command: Command, params: &Params) -> Start {
    Start::Command { command, dry_run: params.dry_run, wait: params.wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ServiceName {
        ServiceName::new("web").expect("a name")
    }

    fn faults(result: Result<Start, Refused>) -> Vec<String> {
        match result {
            Err(Refused::Faults(faults)) => faults.into_iter().map(|item| item.pointer).collect(),
            other => panic!("no faults: {other:?}"),
        }
    }

    #[test]
    fn a_put_may_leave_out_the_name_and_may_not_say_another() {
        let params = Params::default();
        let body = br#"{"scripts": {"runtime-script": "exec true"}}"#;
        assert_eq!(faults(deploy(None, body, &params)), ["/name"]);
        match deploy(Some(&web()), body, &params) {
            Ok(Start::Command { command: Command::Deploy { spec }, .. }) => {
                assert_eq!(spec.name, web());
            }
            other => panic!("{other:?}"),
        }
        let body = br#"{"name": "api", "scripts": {"runtime-script": "exec true"}}"#;
        assert_eq!(faults(deploy(Some(&web()), body, &params)), ["/name"]);
    }

    #[test]
    fn every_fault_of_a_spec_at_once() {
        let body = br#"{"name": "Web", "concurrency": "3", "replicas": 3}"#;
        let pointers = faults(deploy(None, body, &Params::default()));
        for pointer in ["/name", "/concurrency", "/replicas", "/scripts/runtime-script"] {
            assert!(pointers.iter().any(|found| found == pointer), "{pointer}: {pointers:?}");
        }
    }

    #[test]
    fn scale_and_rollback_take_one_number() {
        let params = Params { dry_run: true, ..Params::default() };
        let found = scale(web(), br#"{"concurrency": 5}"#, &params);
        let expected = Command::Scale { service: web(), concurrency: 5 };
        assert!(matches!(found, Ok(Start::Command { command, dry_run: true, wait: None })
            if command == expected));
        assert_eq!(faults(scale(web(), b"{}", &params)), ["/concurrency"]);
        assert_eq!(faults(scale(web(), br#"{"concurrency": 10001}"#, &params)), ["/concurrency"]);
        assert!(matches!(scale(web(), b"", &params), Err(Refused::MissingBody { .. })));
        for (body, revision) in [(&b""[..], None), (b"{}", None), (br#"{"revision": 2}"#, Some(2))]
        {
            let expected = Command::Rollback { service: web(), revision };
            let found = rollback(web(), body, &params);
            assert!(matches!(found, Ok(Start::Command { command, .. }) if command == expected));
        }
        assert_eq!(faults(rollback(web(), br#"{"revision": 0}"#, &params)), ["/revision"]);
    }
}
