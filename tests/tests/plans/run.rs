//! Does what a script says, line by line, and compares what it expects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tucano_common::id::DeploymentId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Spec;
use tucano_common::units::parse_size;
use tucano_common::wire::worker::{Capacity, Pressure, WorkerMetrics};
use tucano_controller_core::cluster::{DeploymentStatus, LeaseState, Phase, State, Waiting};
use tucano_controller_core::deployer::Command;

use super::machine::Machine;
use super::script::{Expected, Step, parse};
use super::show;
use super::world::World;

/// Nothing moves for so long: at rest.
const QUIET: Duration = Duration::from_secs(6);
/// A cluster that does not come to rest within so long never does.
const SETTLE: Duration = Duration::from_secs(1200);

/// Runs a script; the error says where it differs and how.
pub(crate) fn run(name: &str, text: &str) -> Result<(), String> {
    let steps = parse(name, text)?;
    let mut world = World::new();
    for (number, step) in steps {
        do_step(&mut world, number, step).map_err(|what| format!("{name}:{number}: {what}"))?;
        if let Some((rule, what)) = &world.broken {
            return Err(format!("{name}:{number}: {what} ({name}:{rule})"));
        }
    }
    Ok(())
}

fn do_step(world: &mut World, line: usize, step: Step) -> Result<(), String> {
    match step {
        Step::Worker { name, options } => join(world, &name, &options),
        Step::Load { name, options } => {
            let machine = machine(world, &name)?;
            for (key, value) in &options {
                measure(&mut machine.metrics, key, value)?;
            }
            // Loads are smoothed.
            world.run(Duration::from_secs(60));
            Ok(())
        }
        Step::Deploy { name, count, options } => {
            let spec = spec(&name, count, &options)?;
            world.command(Command::Deploy { spec })
        }
        Step::Scale { name, count } => {
            world.command(Command::Scale { service: service(&name)?, concurrency: count })
        }
        Step::Restart { name } => world.command(Command::Restart { service: service(&name)? }),
        Step::Rollback { name } => {
            world.command(Command::Rollback { service: service(&name)?, revision: None })
        }
        Step::Delete { name } => world.command(Command::Delete { service: service(&name)? }),
        Step::Pause { name } => {
            let deployment = deployment(world, &name)?;
            world.command(Command::PauseDeployment { deployment })
        }
        Step::Resume { name } => {
            let deployment = deployment(world, &name)?;
            world.command(Command::ResumeDeployment { deployment })
        }
        Step::Lose { name } => {
            machine(world, &name)?.power_off();
            until_dead(world, &name)
        }
        Step::Cut { name } => {
            machine(world, &name)?.linked = false;
            until_dead(world, &name)
        }
        Step::Return { name } => {
            let machine = machine(world, &name)?;
            (machine.up, machine.linked) = (true, true);
            world.tick();
            Ok(())
        }
        Step::Drain { name } => {
            world.command(Command::DrainWorker { worker: worker(&name)?, deadline: None })
        }
        Step::Activate { name } => {
            world.command(Command::ActivateWorker { worker: worker(&name)? })
        }
        Step::Kill { service, worker } => kill(world, &service, &worker),
        Step::Wait { time } => {
            world.run(time);
            Ok(())
        }
        Step::Settle => settle(world),
        Step::Always { name, rule } => {
            world.rules.push((line, service(&name)?, rule));
            Ok(())
        }
        Step::Expect { what, lines } => expect(world, &what, &lines),
    }
}

fn kill(world: &mut World, service: &str, worker: &str) -> Result<(), String> {
    let now = world.now.mono;
    if machine(world, worker)?.kill(service, now) == 0 {
        return Err(format!("nothing of {service} runs on {worker}"));
    }
    world.tick();
    Ok(())
}

fn join(world: &mut World, name: &str, options: &[(String, String)]) -> Result<(), String> {
    let mut capacity = Capacity { cpus: 4, memory_bytes: 1 << 30 };
    let mut labels = BTreeMap::new();
    for (key, value) in options {
        match key.split_once('.') {
            None if key == "cpus" => capacity.cpus = number(value)?,
            None if key == "memory" => capacity.memory_bytes = size(value)?,
            None if key == "arch" => drop(labels.insert(key.clone(), value.clone())),
            Some(("label", label)) => drop(labels.insert(label.to_owned(), value.clone())),
            None | Some(_) => return Err(format!("a worker has no `{key}`")),
        }
    }
    world.join(&worker(name)?, capacity).labels.extend(labels);
    world.tick();
    Ok(())
}

fn measure(metrics: &mut WorkerMetrics, key: &str, value: &str) -> Result<(), String> {
    match key {
        "cpu" => metrics.cpu_ratio = Some(number(value)?),
        "free" => metrics.memory_available_bytes = Some(size(value)?),
        "pressure" => {
            let memory = number(value)?;
            metrics.pressure = Some(Pressure { cpu: 0.0, memory, io: 0.0 });
        }
        _ => return Err(format!("`{key}` is not measured")),
    }
    Ok(())
}

/// A spec as a user would have written it, through the checks that every spec goes through.
fn spec(name: &str, count: u32, options: &[(String, String)]) -> Result<Arc<Spec>, String> {
    let mut parts: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut put = |part: &'static str, key: &str, value: Value| {
        parts.entry(part).or_default().insert(key.to_owned(), value);
    };
    put("network", "expose_port", json!(80));
    put("scripts", "runtime-script", json!("fine"));
    let mut labels: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (key, value) in options {
        match (key.as_str(), key.split_once('.')) {
            ("runs", _) => put("scripts", "runtime-script", json!(value)),
            ("memory", _) => put("resources", "memory", json!(value)),
            ("cpu", _) => put("resources", "cpu", json!(number::<f64>(value)?)),
            ("fixed_port", _) => put("network", "fixed_port", json!(number::<u16>(value)?)),
            ("max_per_worker", _) => {
                put("placement", "max_per_worker", json!(number::<u32>(value)?));
            }
            ("max_surge", _) => put("update", "max_surge", json!(number::<u32>(value)?)),
            ("version", _) => put("env", "VERSION", json!(value)),
            (_, Some((part @ ("require" | "prefer"), label))) => {
                labels.entry(part).or_default().insert(label.to_owned(), json!(value));
            }
            _ => return Err(format!("a deploy has no `{key}`")),
        }
    }
    for (part, labels) in labels {
        put("placement", part, Value::Object(labels));
    }
    let mut whole = json!({ "name": name, "concurrency": count });
    for (part, fields) in parts {
        whole[part] = Value::Object(fields);
    }
    let refused = |faults| format!("the spec is refused: {faults:?}");
    tucano_common::spec::parse(&whole).map(Arc::new).map_err(refused)
}

fn until_dead(world: &mut World, name: &str) -> Result<(), String> {
    let name = worker(name)?;
    for _ in 0..300 {
        world.tick();
        if world.cluster().worker(&name).is_some_and(|it| it.lease == LeaseState::Dead) {
            return Ok(());
        }
    }
    Err(format!("worker {name} does not count as dead"))
}

fn settle(world: &mut World) -> Result<(), String> {
    let end = world.now.mono + SETTLE;
    let (mut last, mut since) = (show::plan(world), world.now.mono);
    while world.now.mono < end {
        world.tick();
        let now = show::plan(world);
        if now != last || is_moving(world) {
            (last, since) = (now, world.now.mono);
        } else if world.now.mono >= since + QUIET {
            return Ok(());
        }
    }
    Err(format!("does not come to rest:\n  {}", last.join("\n  ")))
}

/// It will not move by itself.
fn waits_for_room(state: &State) -> bool {
    matches!(state, State::Pending { waiting: Waiting::Room { .. } })
}

fn is_moving(world: &World) -> bool {
    let cluster = world.cluster();
    let deploying = cluster.services().any(|service| {
        let status = cluster.deployment(service.deployment).map(|it| &it.status);
        let paused = matches!(status, Some(DeploymentStatus::Paused { .. }));
        let waits = cluster.alive_of(&service.name).any(|each| waits_for_room(&each.state));
        let deploys = service.phase == Phase::Deploying && !paused && !waits;
        service.phase == Phase::Ending || deploys
    });
    let leaves = |state: &State| matches!(state, State::Draining { .. } | State::Stopping { .. });
    deploying || cluster.instances().any(|each| leaves(&each.state))
}

fn expect(world: &World, what: &Expected, lines: &[String]) -> Result<(), String> {
    let (of, found) = match what {
        Expected::Plan => ("the plan is another one", show::plan(world)),
        Expected::Why { service: name } => {
            let found = show::why(world, &service(name)?);
            ("the verdicts are others", found.ok_or(format!("there is no service {name}"))?)
        }
        Expected::Losing { worker: name } => {
            ("what would move is another", show::losing(world, &worker(name)?)?)
        }
        Expected::Deployment { service: name } => {
            let found = show::deployment(world, &service(name)?);
            ("it is not so", found.ok_or(format!("{name} was never deployed"))?)
        }
        Expected::Events { kind, count } => {
            return match world.events.get(kind).copied().unwrap_or(0) {
                found if found == *count => Ok(()),
                found => Err(format!("there were {found} events {kind}, not {count}")),
            };
        }
    };
    if found == lines {
        return Ok(());
    }
    let difference = show::difference(lines, &found);
    Err(format!("{of} (- expected, + found):\n{difference}"))
}

fn service(name: &str) -> Result<ServiceName, String> {
    ServiceName::new(name).map_err(|_| format!("`{name}` is no service's name"))
}

fn worker(name: &str) -> Result<WorkerName, String> {
    WorkerName::new(name).map_err(|_| format!("`{name}` is no worker's name"))
}

fn machine<'a>(world: &'a mut World, name: &str) -> Result<&'a mut Machine, String> {
    let machine = world.machines.get_mut(&worker(name)?);
    machine.ok_or_else(|| format!("there is no worker {name}"))
}

fn deployment(world: &World, name: &str) -> Result<DeploymentId, String> {
    let service = world.cluster().service(&service(name)?);
    service.map(|service| service.deployment).ok_or_else(|| format!("there is no service {name}"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|_| format!("`{text}` is no size: 512MiB, 2GiB"))
}
