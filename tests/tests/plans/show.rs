//! A cluster in lines that people read and scripts expect, and the difference between two lists of
//! lines.

use tucano_common::name::{ServiceName, WorkerName};
use tucano_controller_core::cluster::{
    Admission, DeploymentStatus, Instance, LeaseState, Run, State, Waiting,
};

use super::world::World;

/// Where everything is: a line a worker, and one for each instance that is nowhere.
pub(crate) fn plan(world: &World) -> Vec<String> {
    let cluster = world.cluster();
    let mut lines: Vec<String> = cluster
        .workers()
        .map(|worker| {
            let held = cluster.on_worker(&worker.name);
            let mut held: Vec<(String, String)> =
                held.map(|each| (key(world, each), line(world, each))).collect();
            held.sort();
            let held: Vec<String> = held.into_iter().map(|(_, line)| line).collect();
            let state = match (worker.lease, worker.admission) {
                (LeaseState::Ready, Admission::Open) => String::new(),
                (LeaseState::Ready, Admission::Draining { .. }) => " (draining)".to_owned(),
                (lease @ (LeaseState::Suspect | LeaseState::Dead), _) => {
                    format!(" ({})", lease.as_str())
                }
            };
            let held = if held.is_empty() { "nothing".to_owned() } else { held.join(", ") };
            format!("{}{state}: {held}", worker.name)
        })
        .collect();
    for service in cluster.services() {
        for instance in cluster.alive_of(&service.name) {
            if let State::Pending { waiting } = &instance.state {
                let name = name(world, instance);
                lines.push(format!("waiting: {name} r{}: {}", instance.revision, text(waiting)));
            }
        }
    }
    lines
}

fn key(world: &World, instance: &Instance) -> String {
    let number = world.names.get(&instance.id).map_or(0, |(_, number)| *number);
    format!("{}.{number:06}", instance.service)
}

fn name(world: &World, instance: &Instance) -> String {
    let number = world.names.get(&instance.id).map_or(0, |(_, number)| *number);
    format!("{}.{number}", instance.service)
}

fn line(world: &World, instance: &Instance) -> String {
    let unhealthy =
        matches!(instance.state, State::Placed { run: Run::Running { healthy_since: None }, .. });
    let health = if unhealthy { " (unhealthy)" } else { "" };
    let (name, state) = (name(world, instance), instance.state.as_str());
    format!("{name} r{} {state}{health}", instance.revision)
}

fn text(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Turn => "its turn".to_owned(),
        Waiting::Backoff { .. } => "a delay, because instances of it keep failing".to_owned(),
        Waiting::Room { hint } => hint.clone(),
    }
}

/// Every worker's verdict for one more instance of a service.
pub(crate) fn why(world: &World, service: &ServiceName) -> Option<Vec<String>> {
    let decision = world.deployer.next_place(service, world.now)?;
    let chosen = |worker: &WorkerName| decision.chosen.as_ref() == Some(worker);
    let verdicts = decision.survey.verdicts.iter().map(|verdict| {
        let mark = if chosen(&verdict.worker) { " (chosen)" } else { "" };
        format!("{}{mark}: {}", verdict.worker, verdict.kind)
    });
    Some(verdicts.collect())
}

/// Who would move where if a worker was lost.
pub(crate) fn losing(world: &World, worker: &WorkerName) -> Result<Vec<String>, String> {
    let said = world.deployer.simulate(std::slice::from_ref(worker), world.now);
    let said = said.map_err(|refusal| refusal.to_string())?;
    let moves = said.moves.iter().map(|each| {
        let lost = name(world, &each.lost);
        match &each.successor {
            None => format!("{lost}: is not replaced"),
            Some(successor) => match &successor.state {
                State::Pending { waiting } => format!("{lost}: waits: {}", text(waiting)),
                state => {
                    let to = state.worker().map(ToString::to_string).unwrap_or_default();
                    format!("{lost}: to {to}")
                }
            },
        }
    });
    let short = said
        .short
        .iter()
        .map(|(service, wanted, placed)| format!("short: {service} has {placed} of {wanted}"));
    Ok(moves.chain(short).collect())
}

/// What became of a service's last deployment.
pub(crate) fn deployment(world: &World, service: &ServiceName) -> Option<Vec<String>> {
    let cluster = world.cluster();
    let deployment = cluster.deployments_of(service).max_by_key(|each| each.id)?;
    let what = match &deployment.status {
        DeploymentStatus::InProgress { .. } => "in progress".to_owned(),
        DeploymentStatus::Paused { .. } => "paused".to_owned(),
        DeploymentStatus::Succeeded { .. } => "succeeded".to_owned(),
        DeploymentStatus::Failed { .. } => "failed".to_owned(),
        DeploymentStatus::Reverted { to, .. } => format!("reverted to r{to}"),
        DeploymentStatus::Superseded { .. } => "superseded".to_owned(),
    };
    Some(vec![format!("r{} {what}", deployment.revision)])
}

/// The lines of both in order, `-` where only expected, `+` where only found.
pub(crate) fn difference(expected: &[String], found: &[String]) -> String {
    let mut lines = Vec::new();
    let mut rest = found;
    for line in expected {
        match rest.iter().position(|other| other == line) {
            Some(at) => {
                lines.extend(rest[..at].iter().map(|other| format!("  + {other}")));
                lines.push(format!("    {line}"));
                rest = &rest[at + 1..];
            }
            None => lines.push(format!("  - {line}")),
        }
    }
    lines.extend(rest.iter().map(|other| format!("  + {other}")));
    lines.join("\n")
}
