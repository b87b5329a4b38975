//! Commands that only look: the cluster, services, instances, deployments, revisions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tucano_common::time::Wall;
use tucano_common::wire::views::{
    DeploymentView, InstanceView, RevisionView, ServiceView, StatusView,
};
use tucano_common::wire::worker::Failure;
use tucano_net::Method;
use tucano_net::clock::Clock;
use tucano_net::config::{Flags, parse};
use tucano_net::url::percent_encode;

use super::explain::verdict_table;
use super::{CliError, Session, argument, arguments, print};
use crate::api;
use crate::text::{self, Table};

/// Reads a resource; with `--json` prints it as it came, else as `render` has it.
pub(super) fn look<T: DeserializeOwned>(
    session: &Session,
    target: &str,
    render: impl FnOnce(&T) -> String,
) -> Result<(), CliError> {
    let answer = session.api.send(Method::Get, target, None)?;
    if session.json {
        return Session::print_json(&answer);
    }
    print(&render(&api::read(target, &answer)?))
}

/// How long ago, by this machine's clock.
pub(super) fn ago(at: Wall) -> String {
    text::span(Clock::wall().since(at))
}

/// `2 running, 1 failed`.
fn counts(by_state: &BTreeMap<String, u32>) -> String {
    let some = by_state.iter().filter(|(_, count)| **count > 0);
    let parts: Vec<String> = some.map(|(state, count)| format!("{count} {state}")).collect();
    if parts.is_empty() { "none".to_owned() } else { text::escape(&parts.join(", ")) }
}

/// Names and values under one another; what is empty is left out.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    let shown = pairs.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:<14}{}\n", text::escape(value))).collect()
}

/// `tucano status`.
pub(super) fn status(session: &Session, flags: Flags) -> Result<(), CliError> {
    let [] = arguments(flags, [])?;
    look(session, "/v1/status", |status: &StatusView| {
        fields(&[
            ("controller", format!("{}, up {}", status.version, ago(status.started_at))),
            ("cluster", status.cluster.clone()),
            ("services", counts(&status.services)),
            ("instances", counts(&status.instances)),
            ("workers", counts(&status.workers)),
            ("storage", format!("{}, {}", status.storage, text::bytes(status.data_bytes))),
            ("last event", status.last_event.to_string()),
        ])
    })
}

/// `tucano services`.
pub(super) fn services(session: &Session, flags: Flags) -> Result<(), CliError> {
    let [] = arguments(flags, [])?;
    look(session, "/v1/services", |services: &Vec<ServiceView>| {
        let mut table = Table::new(&["SERVICE", "STATE", "REVISION", "HEALTHY", "URLS", "REASON"]);
        for service in services {
            table.row([
                service.name.to_string(),
                service.state.as_str().to_owned(),
                service.revision.to_string(),
                format!("{}/{}", service.healthy, service.concurrency),
                service.urls.join(" "),
                service.reason.clone().unwrap_or_default(),
            ]);
        }
        if table.is_empty() { "no services\n".to_owned() } else { table.render() }
    })
}

/// `tucano service NAME`.
pub(super) fn service(session: &Session, flags: Flags) -> Result<(), CliError> {
    let name = argument(flags, "NAME")?;
    let target = format!("/v1/services/{}", percent_encode(&name));
    look(session, &target, |service: &ServiceView| {
        let head = fields(&[
            ("service", service.name.to_string()),
            ("state", service.state.as_str().to_owned()),
            ("reason", service.reason.clone().unwrap_or_default()),
            ("revision", service.revision.to_string()),
            ("healthy", format!("{} of {}", service.healthy, service.concurrency)),
            ("urls", service.urls.join(" ")),
            ("deployment", service.deployment.map(|id| id.to_string()).unwrap_or_default()),
            ("changed", format!("{} ago", ago(service.updated_at))),
        ]);
        format!("{head}\n{}", instance_table(&service.instances))
    })
}

/// A line an instance.
pub(super) fn instance_table(instances: &[InstanceView]) -> String {
    let mut table = Table::new(&[
        "INSTANCE", "SERVICE", "REV", "WORKER", "ADDRESS", "STATE", "FOR", "RESTARTS", "MEMORY",
        "CPU", "REMARK",
    ]);
    for instance in instances {
        let healthy = if instance.healthy { "" } else { "unhealthy" };
        let running = instance.state.as_str() == "running";
        let remark = match (&instance.waits_for, &instance.failure) {
            (Some(waits_for), _) => format!("waits for {waits_for}"),
            (None, Some(failure)) if running => format!("before: {}", failure.message),
            (None, Some(failure)) => failure.message.clone(),
            (None, None) if running => healthy.to_owned(),
            (None, None) => String::new(),
        };
        table.row([
            instance.id.to_string(),
            instance.service.to_string(),
            instance.revision.to_string(),
            instance.worker.as_ref().map(ToString::to_string).unwrap_or_default(),
            instance.address.map(|address| address.to_string()).unwrap_or_default(),
            instance.state.as_str().to_owned(),
            ago(instance.since),
            instance.restarts.to_string(),
            text::bytes(instance.memory_bytes),
            format!("{:.2}", instance.cpu_cores),
            remark,
        ]);
    }
    if table.is_empty() { "no instances\n".to_owned() } else { table.render() }
}

/// `tucano instances`.
pub(super) fn instances(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let service = flags.value("--service", parse::text)?;
    let [] = arguments(flags, [])?;
    let Some(service) = service else {
        return look(session, "/v1/instances", |all: &Vec<InstanceView>| instance_table(all));
    };
    let target = format!("/v1/services/{}", percent_encode(&service));
    look(session, &target, |service: &ServiceView| instance_table(&service.instances))
}

/// What a failed script left: one line, then its last output.
fn failure_text(failure: &Failure) -> String {
    let mut text = format!("\nfailed: {}\n", text::escape(&failure.message));
    if let Some(run) = &failure.run {
        let uptime = text::span(Duration::from_millis(run.uptime_ms));
        let peak = text::bytes(run.memory_peak_bytes);
        text.push_str(&format!("it ran for {uptime}, with {peak} of memory at most"));
        match run.requests_in_flight {
            Some(requests) => text.push_str(&format!(", and took {requests} requests along\n")),
            None => text.push('\n'),
        }
    }
    for line in failure.output_tail.lines() {
        text.push_str(&format!("  | {}\n", text::escape(line)));
    }
    text
}

/// `tucano instance ID`.
pub(super) fn instance(session: &Session, flags: Flags) -> Result<(), CliError> {
    let id = argument(flags, "ID")?;
    let target = format!("/v1/instances/{}", percent_encode(&id));
    look(session, &target, |instance: &InstanceView| {
        let mut text = fields(&[
            ("instance", instance.id.to_string()),
            ("service", format!("{} revision {}", instance.service, instance.revision)),
            ("worker", instance.worker.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("address", instance.address.map(|address| address.to_string()).unwrap_or_default()),
            ("state", format!("{} for {}", instance.state.as_str(), ago(instance.since))),
            ("healthy", if instance.healthy { "yes" } else { "no" }.to_owned()),
            ("waits for", instance.waits_for.clone().unwrap_or_default()),
            ("pid", instance.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            ("restarts", instance.restarts.to_string()),
            ("memory", text::bytes(instance.memory_bytes)),
            ("cpu", format!("{:.2} cores", instance.cpu_cores)),
            ("replaces", instance.replaces.map(|id| id.to_string()).unwrap_or_default()),
        ]);
        if let Some(failure) = &instance.failure {
            text.push_str(&failure_text(failure));
        }
        if let Some(decision) = &instance.decision {
            let verdicts = verdict_table(decision);
            text.push_str(&format!("\nplaced {}\n{verdicts}", decision.at));
        }
        text
    })
}

/// `tucano deployments`.
pub(super) fn deployments(session: &Session, flags: Flags) -> Result<(), CliError> {
    let [] = arguments(flags, [])?;
    look(session, "/v1/deployments", |deployments: &Vec<DeploymentView>| {
        let headings =
            ["DEPLOYMENT", "SERVICE", "REV", "STATE", "HEALTHY", "BEGAN", "TOOK", "REASON"];
        let mut table = Table::new(&headings);
        for deployment in deployments {
            let took = deployment.ended_at.map(|end| text::span(end.since(deployment.created_at)));
            table.row([
                deployment.id.to_string(),
                deployment.service.to_string(),
                deployment.revision.to_string(),
                deployment.state.as_str().to_owned(),
                format!("{}/{}", deployment.healthy, deployment.wanted),
                format!("{} ago", ago(deployment.created_at)),
                took.unwrap_or_default(),
                deployment.reason.clone().unwrap_or_default(),
            ]);
        }
        if table.is_empty() { "no deployments\n".to_owned() } else { table.render() }
    })
}

/// `tucano deployment ID`.
pub(super) fn deployment(session: &Session, flags: Flags) -> Result<(), CliError> {
    let id = argument(flags, "ID")?;
    let target = format!("/v1/deployments/{}", percent_encode(&id));
    look(session, &target, |deployment: &DeploymentView| {
        let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let requests = deployment
            .requests
            .map(|counts| format!("{} accepted, {} lost", counts.accepted, counts.lost));
        let mut text = fields(&[
            ("deployment", deployment.id.to_string()),
            ("service", format!("{} revision {}", deployment.service, deployment.revision)),
            ("from", number(deployment.from_revision)),
            ("state", deployment.state.as_str().to_owned()),
            ("reason", deployment.reason.clone().unwrap_or_default()),
            ("reverted to", number(deployment.reverted_to)),
            ("healthy", format!("{} of {}", deployment.healthy, deployment.wanted)),
            ("requests", requests.unwrap_or_default()),
            ("began", deployment.created_at.to_string()),
            ("ended", deployment.ended_at.map(|at| at.to_string()).unwrap_or_default()),
        ]);
        if let Some(failure) = &deployment.failure {
            text.push_str(&failure_text(failure));
        }
        format!("{text}\n{}", instance_table(&deployment.instances))
    })
}

/// `tucano revisions NAME`.
pub(super) fn revisions(session: &Session, flags: Flags) -> Result<(), CliError> {
    let name = argument(flags, "NAME")?;
    let target = format!("/v1/services/{}/revisions", percent_encode(&name));
    look(session, &target, |revisions: &Vec<RevisionView>| {
        let mut table = Table::new(&["REVISION", "ACCEPTED", "WAS HEALTHY", "CURRENT"]);
        for revision in revisions {
            let yes = |is: bool| if is { "yes" } else { "" }.to_owned();
            table.row([
                revision.revision.to_string(),
                format!("{} ago", ago(revision.created_at)),
                yes(revision.was_healthy),
                yes(revision.current),
            ]);
        }
        table.render()
    })
}
