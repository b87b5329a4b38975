//! What must hold at every step, what must hold unless it was just changed, and when the cluster
//! has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::limits::{HOST_MEMORY_KEPT_BYTES, HOST_MEMORY_KEPT_PERCENT};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_controller_core::balancer::table::Duty;
use tucano_controller_core::cluster::{
    Admission, Cluster, DeploymentStatus, Instance, LeaseState, Leaving, Phase, Refused, State,
    Survey, Verdict, VerdictKind,
};
use tucano_controller_core::deployer::placement::{Ask, plan};
use tucano_worker_core::Job;

use super::agent::Agent;
use super::bus::Bus;
use super::clock::{SECOND, Time};
use super::controller::Controller;
use super::names;

/// Something may be wrong for so long: heartbeats are lost, leases run out, drains take their time.
const BOUND: Time = 45 * SECOND;

/// Whether a worker was left out, or taken last, because of what it measured.
fn is_veto(verdict: &Verdict) -> bool {
    match &verdict.kind {
        VerdictKind::Feasible(score) => score.overloaded,
        VerdictKind::Refused { reasons } => {
            reasons.iter().any(|reason| matches!(reason, Refused::Load { .. }))
        }
    }
}

/// Whether a worker was chosen that is strained though another would do that is not.
fn is_strained(survey: &Survey, chosen: &WorkerName) -> bool {
    let strained = |it: &&Verdict| matches!(&it.kind, VerdictKind::Feasible(it) if it.overloaded);
    let at_ease = |it: &Verdict| matches!(&it.kind, VerdictKind::Feasible(it) if !it.overloaded);
    survey.verdicts.iter().filter(strained).any(|it| it.worker == *chosen)
        && survey.verdicts.iter().any(at_ease)
}

/// Since when something is wrong.
#[derive(Default)]
pub(super) struct Checks {
    surplus: BTreeMap<ServiceName, Time>,
    dead_routes: BTreeMap<InstanceId, Time>,
    /// The last survey that was looked at.
    last_survey: u64,
    /// Decisions that a worker was left out of because of what it measured.
    pub(super) vetoes: u64,
    deploying: BTreeMap<DeploymentId, Time>,
    leaving: BTreeMap<InstanceId, Time>,
    known_instances: BTreeMap<InstanceId, Option<u64>>,
}

impl Checks {
    /// After each turn of the controller.
    pub(super) fn at_commit(&mut self, controller: &Controller, bus: &mut Bus) {
        let Some(running) = &controller.running else { return };
        let cluster = running.core.cluster();
        if let Some(what) = cluster.check_invariants().into_iter().next() {
            bus.fault(|| what);
        }
        self.look_at_decisions(cluster, bus);
        look_at_leaving(cluster, &running.serving, bus);
        look_at_room(cluster, bus);
        let table = &running.balancer.table;
        for endpoint in table.services.iter().flat_map(|service| &service.endpoints) {
            let place = endpoint.worker.and_then(|at| table.workers.get(at as usize));
            let worker = place.and_then(|place| cluster.worker(&place.name));
            let dead = worker.is_none_or(|worker| worker.lease == LeaseState::Dead);
            if dead && matches!(endpoint.duty, Duty::Serve | Duty::LastResort) {
                bus.fault(|| format!("{} is routed to, its worker is dead", endpoint.instance));
            }
        }
    }

    fn look_at_decisions(&mut self, cluster: &Cluster, bus: &mut Bus) {
        let last = self.last_survey;
        let mut surveys = BTreeSet::new();
        for instance in cluster.instances() {
            let Some(decision) = &instance.decision else { continue };
            let survey = &decision.survey;
            let seen = self.known_instances.insert(instance.id, Some(survey.id));
            if seen == Some(Some(survey.id)) {
                continue;
            }
            self.last_survey = self.last_survey.max(survey.id);
            let named = survey.verdicts.iter().map(|verdict| &verdict.worker);
            // An older survey may be of before a worker joined.
            if survey.id > last && !named.eq(cluster.workers().map(|worker| &worker.name)) {
                bus.fault(|| format!("{}: its decision names not every worker", instance.id));
            }
            let chosen = |worker| {
                let verdict = survey.verdicts.iter().find(|it| it.worker == worker);
                verdict.is_some_and(|it| matches!(it.kind, VerdictKind::Feasible(_)))
            };
            if decision.chosen.clone().is_some_and(|worker| !chosen(worker)) {
                bus.fault(|| format!("{}: placed where it was found not to fit", instance.id));
            }
            // The others of a survey come after its first, for which it was made.
            if survey.id > last && surveys.insert(survey.id) {
                self.vetoes += u64::from(survey.verdicts.iter().any(is_veto));
                if let Some(worker) = decision.chosen.as_ref().filter(|it| is_strained(survey, it))
                {
                    bus.fault(|| format!("{}: placed on {worker}, strained", instance.id));
                }
            }
        }
    }

    /// Once a second: what may be wrong for a while only.
    pub(super) fn each_second(&mut self, controller: &Controller, agents: &[Agent], bus: &mut Bus) {
        let Some(running) = &controller.running else { return self.forget() };
        if running.good_since + BOUND > bus.now {
            self.forget();
        }
        let cluster = running.core.cluster();
        for service in cluster.services() {
            let Some(spec) = cluster.spec_of(service) else { continue };
            let most = spec.concurrency + spec.update.max_surge.max(1);
            let staying = cluster.alive_of(&service.name).filter(|each| each.state.stays());
            let too_many = service.phase == Phase::Settled && staying.count() > most as usize;
            let name = &service.name;
            if lasts(&mut self.surplus, name.clone(), too_many, (bus.now, BOUND)) {
                bus.fault(|| format!("{name}: more instances than asked for, for too long"));
            }
        }
        self.look_at_progress(cluster, bus);
        let table = &running.balancer.table;
        for endpoint in table.services.iter().flat_map(|service| &service.endpoints) {
            let routed = matches!(endpoint.duty, Duty::Serve | Duty::LastResort);
            let worker = names::worker_at(endpoint.address.ip());
            let agent = worker.and_then(|at| agents.get(at));
            let gone = agent.is_none_or(|it| it.machine.runtime(endpoint.instance).is_none());
            let id = endpoint.instance;
            if lasts(&mut self.dead_routes, id, routed && gone, (bus.now, BOUND)) {
                bus.fault(|| format!("{id} is routed to and not running, for too long"));
            }
        }
    }

    /// Deployments and leaving instances come to an end.
    fn look_at_progress(&mut self, cluster: &Cluster, bus: &mut Bus) {
        for deployment in cluster.deployments() {
            let paused = matches!(deployment.status, DeploymentStatus::Paused { .. });
            let open = deployment.status.ended_at().is_none() && !paused;
            // Each spec here has a progress_deadline of a minute.
            if lasts(&mut self.deploying, deployment.id, open, (bus.now, BOUND + 60 * SECOND)) {
                bus.fault(|| format!("{} does not end: {deployment:?}", deployment.service));
            }
        }
        for instance in cluster.instances() {
            let place = instance.state.place().map(|place| &place.worker);
            let worker = place.and_then(|name| cluster.worker(name));
            let heard = worker.is_some_and(|worker| worker.lease == LeaseState::Ready);
            let leaves = heard && !instance.state.stays();
            if lasts(&mut self.leaving, instance.id, leaves, (bus.now, 2 * BOUND)) {
                bus.fault(|| format!("{} does not end: {:?}", instance.id, instance.state));
            }
        }
    }

    pub(super) fn forget(&mut self) {
        self.deploying.clear();
        self.leaving.clear();
        self.surplus.clear();
        self.dead_routes.clear();
    }
}

/// What serves leaves only where others make up for it.
fn look_at_leaving(cluster: &Cluster, serving: &BTreeSet<InstanceId>, bus: &mut Bus) {
    let healthy = |each: &&Instance| each.healthy();
    for service in cluster.services() {
        let Some(spec) = cluster.spec_of(service) else { continue };
        let alive = || cluster.alive_of(&service.name);
        let left = alive().filter(|each| {
            let why = match &each.state {
                State::Draining { why, .. } | State::Stopping { why, .. } => why,
                State::Pending { .. }
                | State::Placed { .. }
                | State::Stopped { .. }
                | State::Failed { .. }
                | State::Lost { .. } => return false,
            };
            let for_others = matches!(
                why,
                Leaving::Replaced
                    | Leaving::ScaledDown
                    | Leaving::DeploymentFailed
                    | Leaving::Surplus
                    | Leaving::Rebalanced
            );
            for_others && serving.contains(&each.id) && !is_drained(cluster, each)
        });
        let (left, stay) = (left.count(), alive().filter(healthy).count());
        let wanted = spec.concurrency as usize;
        let checked = service.phase != Phase::Ending && spec.update.max_surge > 0;
        if checked && left > 0 && stay < wanted.min(stay + left) {
            let name = &service.name;
            bus.fault(|| format!("{name}: {left} healthy ones leave, {stay} of {wanted} stay"));
        }
    }
}

/// Its worker is being drained: its time there may be over.
fn is_drained(cluster: &Cluster, instance: &Instance) -> bool {
    let worker = instance.state.worker().and_then(|name| cluster.worker(name));
    worker.is_some_and(|worker| worker.admission != Admission::Open)
}

/// What is given away of a worker is there.
fn look_at_room(cluster: &Cluster, bus: &mut Bus) {
    for worker in cluster.workers() {
        let all = worker.capacity.memory_bytes;
        let kept = (all / 100 * HOST_MEMORY_KEPT_PERCENT).max(HOST_MEMORY_KEPT_BYTES);
        let given = cluster.reserved(&worker.name).memory_bytes;
        if given > all.saturating_sub(kept) {
            bus.fault(|| format!("{}: {given} bytes of {all} are given away", worker.name));
        }
    }
}

/// Whether something has been wrong for longer than the bound.
fn lasts<K: Ord>(
    since: &mut BTreeMap<K, Time>,
    key: K,
    wrong: bool,
    (now, bound): (Time, Time),
) -> bool {
    if !wrong {
        since.remove(&key);
        return false;
    }
    *since.entry(key).or_insert(now) + bound < now
}

/// Why the cluster is not what its services ask for; none where it has come to rest.
pub(super) fn unrest(controller: &Controller, agents: &[Agent], bus: &Bus) -> Option<String> {
    let Some(running) = &controller.running else { return Some("no controller".to_owned()) };
    let cluster = running.core.cluster();
    let wall = controller.now(bus).wall;
    for agent in agents {
        let row = cluster.worker(&agent.name);
        if row.is_none_or(|row| row.lease != LeaseState::Ready) {
            return Some(format!("{} is not ready", agent.name));
        }
    }
    let mut services = cluster.services();
    if let Some(what) = services.find_map(|service| {
        let what = service_unrest(cluster, &service.name, wall)?;
        Some(format!("{}: {what}", service.name))
    }) {
        return Some(what);
    }
    agents.iter().find_map(|agent| agent_unrest(cluster, agent)).or_else(|| {
        let table = &running.balancer.table;
        let all = table.services.iter().flat_map(|service| &service.endpoints);
        let mut serving = all.filter(|endpoint| endpoint.duty == Duty::Serve);
        let healthy = |instance: &&Instance| {
            let spec = cluster.born_spec(instance);
            instance.healthy() && spec.is_some_and(|it| it.network.expose_port.is_some())
        };
        let wanted = cluster.instances().filter(healthy).count();
        let count = serving.by_ref().count();
        (count != wanted).then(|| format!("{count} are routed to, {wanted} are healthy"))
    })
}

fn service_unrest(cluster: &Cluster, name: &ServiceName, wall: Wall) -> Option<String> {
    let service = cluster.service(name)?;
    let spec = cluster.spec_of(service)?;
    match service.phase {
        Phase::Deploying => return Some("is being deployed".to_owned()),
        Phase::Ending => return Some("is being ended".to_owned()),
        Phase::Failed => return Some("has failed".to_owned()),
        Phase::Settled => {}
    }
    let alive: Vec<&Instance> = cluster.alive_of(name).collect();
    let fits = |id: InstanceId| {
        let ask = Ask { spec: spec.clone(), instances: vec![id], cause: None, survey_id: 1 };
        let plan = plan(cluster, &ask, wall);
        plan.placements.iter().any(|placement| placement.decision.chosen.is_some())
    };
    let mut waits = 0;
    for each in &alive {
        match &each.state {
            State::Pending { .. } if !fits(each.id) => waits += 1,
            State::Pending { .. } => return Some(format!("{} waits for nothing", each.id)),
            _ if !each.healthy() => {
                return Some(format!("{} is not healthy: {:?}", each.id, each.state));
            }
            _ => {}
        }
    }
    let current = alive.iter().filter(|each| service.has_as_current(each)).count();
    // Where one finds no room, an old one stays in its place.
    let old = alive.len() - current;
    let wrong = old > waits || current != spec.concurrency as usize && waits == 0;
    let wanted = spec.concurrency;
    wrong.then(|| format!("{current} current and {old} old instances, {wanted} asked for"))
}

/// What runs on a machine is what should, and nothing else.
fn agent_unrest(cluster: &Cluster, agent: &Agent) -> Option<String> {
    let name = &agent.name;
    let mut expected: Vec<InstanceId> = cluster.on_worker(name).map(|each| each.id).collect();
    let mut found = Vec::new();
    for job in agent.machine.processes.keys() {
        match &job.job {
            Job::Runtime(id) => found.push(*id),
            Job::Build(_) | Job::Teardown(_) => return Some(format!("{name}: {job} runs")),
        }
    }
    expected.sort_unstable();
    found.sort_unstable();
    if expected != found {
        return Some(format!("{name} runs {found:?}, should run {expected:?}"));
    }
    let mind = agent.mind.as_ref()?;
    let held: Vec<InstanceId> = mind.supervisor.ids().collect();
    if held != expected {
        return Some(format!("{name} holds {held:?}, should run {expected:?}"));
    }
    let generation = cluster.worker(name).map(|row| row.generation);
    let holds = mind.supervisor.holds().map(|holds| holds.generation);
    (holds != generation).then(|| format!("{name} holds {holds:?}, not {generation:?}"))
}
