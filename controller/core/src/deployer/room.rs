//! Workers for instances that wait: placement applied, and room made where only a predecessor is in
//! the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Spec;

use super::core::{At, Deployer};
use super::placement::{Ask, Bench, Placement, Plan, check, plan};
use crate::cluster::{
    Instance, Leaving, Phase, Refused, Service, State, Survey, VerdictKind, Waiting,
};

impl Deployer {
    /// Finds a worker for every instance that waits for one.
    pub(super) fn place_waiting(&mut self, name: &ServiceName, cause: Option<u64>, at: At) {
        let mut asks: BTreeMap<u64, Vec<InstanceId>> = BTreeMap::new();
        for instance in self.cluster.alive_of(name) {
            let State::Pending { waiting } = &instance.state else { continue };
            let due = match waiting {
                Waiting::Turn | Waiting::Room { .. } => true,
                Waiting::Backoff { until } => *until <= at.steady,
            };
            if due {
                asks.entry(instance.born_revision).or_default().push(instance.id);
            }
        }
        for (revision, instances) in asks {
            let Some(revision) = self.cluster.revision(name, revision) else { continue };
            let first = instances.first().and_then(|id| self.cluster.instance(*id));
            let cause = cause.or(first.map(|each| each.event)).filter(|seq| *seq > 0);
            let spec = revision.spec.clone();
            let ask = Ask { spec, instances, cause, survey_id: self.last_survey + 1 };
            let plan = plan(&self.cluster, &ask, at.wall);
            self.last_survey += 2;
            let faults = check(&self.cluster, &plan, at.wall);
            if let Some(fault) = faults.first() {
                // A bug of the planner: nothing is placed by it, and everybody can see why.
                self.tell_note("plan_refused", format!("service {name}: {fault}"), at);
                continue;
            }
            self.apply(name, plan, at);
        }
    }

    fn apply(&mut self, name: &ServiceName, plan: Plan, at: At) {
        // The instances that find no worker share one survey, and so one hint.
        let mut hint = None;
        for Placement { instance, decision } in plan.placements {
            if decision.chosen.is_some() {
                self.settle(instance, decision, at);
            } else {
                self.waiting.insert(name.clone());
                let hint: &String = hint.get_or_insert_with(|| nearest(&decision.survey));
                self.let_wait(instance, decision, hint, at);
            }
        }
    }

    /// Where a new instance finds no worker, and would find one if an old one of its own service
    /// was gone: that one goes first, and the balancer holds the requests meanwhile. One at a time.
    pub(super) fn make_room(&mut self, service: &Service, spec: &Arc<Spec>, at: At) {
        let swaps = matches!(service.phase, Phase::Deploying | Phase::Settled);
        if !swaps || self.is_paused(service) || !self.waiting.contains(&service.name) {
            return;
        }
        let alive = || self.cluster.alive_of(&service.name);
        let under_way = alive().any(|each| match each.state {
            State::Draining { .. } | State::Stopping { .. } => true,
            State::Placed { .. } => service.has_as_current(each) && !each.healthy(),
            State::Pending { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => false,
        });
        if under_way {
            return;
        }
        let old = alive().filter(|each| {
            matches!(each.state, State::Placed { .. }) && !service.has_as_current(each)
        });
        let in_the_way = old.map(|each| (each.id, self.frees(each, spec, at)));
        let first = in_the_way.filter(|(_, frees)| *frees).map(|(id, _)| id).take(1);
        for id in first.collect::<Vec<InstanceId>>() {
            let cause = self.deployment_event(service);
            self.leave(id, Leaving::MakesRoom, cause, at);
        }
    }

    /// Whether an instance's worker would do for one of this spec, if the instance was gone.
    fn frees(&self, instance: &Instance, spec: &Spec, at: At) -> bool {
        let Some(place) = instance.state.place() else { return false };
        let benches = Bench::all(&self.cluster, spec, Some(instance.id), at.wall);
        let bench = benches.iter().find(|bench| bench.worker.name == place.worker);
        bench.is_some_and(|bench| matches!(bench.assess(spec), VerdictKind::Feasible(_)))
    }

    /// Whether a lost instance still fits on its worker, beside what was placed there meanwhile.
    /// What speaks only against new ones (a drain, a load, a label) does not count: it runs there.
    pub(super) fn fits_again(&self, lost: &Instance, worker: &WorkerName, at: At) -> bool {
        let Some(spec) = self.cluster.born_spec(lost) else { return false };
        let benches = Bench::all(&self.cluster, spec, Some(lost.id), at.wall);
        let bench = benches.iter().find(|bench| bench.worker.name == *worker);
        bench.is_some_and(|bench| match bench.assess(spec) {
            VerdictKind::Feasible(_) => true,
            VerdictKind::Refused { reasons } => reasons.iter().all(|reason| match reason {
                Refused::Lease { .. }
                | Refused::Draining
                | Refused::Label { .. }
                | Refused::Load { .. } => true,
                Refused::MaxPerWorker { .. }
                | Refused::FixedPort { .. }
                | Refused::Memory { .. }
                | Refused::Cpu { .. }
                | Refused::Full { .. } => false,
            }),
        })
    }
}

/// The shortest way to a worker that would do, in words: the one that is refused for the fewest
/// reasons.
fn nearest(survey: &Survey) -> String {
    let refused = survey.verdicts.iter().filter_map(|verdict| match &verdict.kind {
        VerdictKind::Refused { reasons } => Some((verdict, reasons.len())),
        VerdictKind::Feasible(_) => None,
    });
    match refused.min_by_key(|(_, reasons)| *reasons) {
        Some((verdict, _)) => {
            format!("a worker that would do: {} {}", verdict.worker, verdict.kind)
        }
        None => "a worker: none has joined yet".to_owned(),
    }
}
