//! The plan's linter: what must hold of a plan whatever made it. Run before every plan is applied.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::spec::Spec;
use tucano_common::time::Wall;

use super::Plan;
use super::feasible::Bench;
use crate::cluster::{Cluster, State, Survey, VerdictKind};

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It places what is no instance, or one that is not waiting.
    NotWaiting(InstanceId),
    /// It places an instance twice.
    Twice(InstanceId),
    /// It places an instance on what is no worker.
    UnknownWorker(InstanceId, WorkerName),
    /// It places an instance where it does not fit beside what is there and what the plan placed
    /// before it.
    Infeasible {
        /// Which.
        instance: InstanceId,
        /// Where.
        worker: WorkerName,
        /// Why not.
        reason: String,
    },
    /// It leaves an instance without a worker though one would do.
    LeftOut(InstanceId, WorkerName),
    /// A decision does not name every worker.
    Unnamed(InstanceId, WorkerName),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NotWaiting(id) => write!(f, "{id} does not wait for a worker"),
            Violation::Twice(id) => write!(f, "{id} is placed twice"),
            Violation::UnknownWorker(id, worker) => {
                write!(f, "{id} is placed on {worker}, which is no worker")
            }
            Violation::Infeasible { instance, worker, reason } => {
                write!(f, "{instance} is placed on {worker}, which {reason}")
            }
            Violation::LeftOut(id, worker) => {
                write!(f, "{id} is left out, though {worker} would do")
            }
            Violation::Unnamed(id, worker) => {
                write!(f, "the decision on {id} does not name {worker}")
            }
        }
    }
}

/// Everything that is wrong with a plan; empty for a good one.
pub fn check(cluster: &Cluster, plan: &Plan, now: Wall) -> Vec<Violation> {
    let mut benches = Bench::all(cluster, &plan.spec, None, now);
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let mut last_survey = None;
    let mut left_out = None;
    for placement in &plan.placements {
        let id = placement.instance;
        let state = cluster.instance(id).map(|instance| &instance.state);
        if !matches!(state, Some(State::Pending { .. })) {
            faults.push(Violation::NotWaiting(id));
        }
        if !seen.insert(id) {
            faults.push(Violation::Twice(id));
        }
        let survey = &placement.decision.survey;
        if last_survey.is_none_or(|last| !Arc::ptr_eq(last, survey)) {
            last_survey = Some(survey);
            check_names(id, &benches, survey, &mut faults);
        }
        match &placement.decision.chosen {
            Some(worker) => check_fit(id, worker, &mut benches, &plan.spec, &mut faults),
            None => left_out = left_out.or(Some(id)),
        }
    }
    if let Some(id) = left_out {
        let would_do = benches
            .iter()
            .find(|bench| matches!(bench.assess(&plan.spec), VerdictKind::Feasible(_)));
        faults.extend(would_do.map(|bench| Violation::LeftOut(id, bench.worker.name.clone())));
    }
    faults
}

/// Every worker has to be named, by name: both are sorted.
fn check_names(
    id: InstanceId,
    benches: &[Bench<'_>],
    survey: &Survey,
    faults: &mut Vec<Violation>,
) {
    let mut named = survey.verdicts.iter().map(|verdict| &verdict.worker).peekable();
    for bench in benches {
        while named.next_if(|name| **name < bench.worker.name).is_some() {}
        if named.next_if(|name| **name == bench.worker.name).is_none() {
            faults.push(Violation::Unnamed(id, bench.worker.name.clone()));
        }
    }
}

/// An instance has to fit where it goes, beside what is there and what the plan placed before it.
fn check_fit(
    id: InstanceId,
    worker: &WorkerName,
    benches: &mut [Bench<'_>],
    spec: &Spec,
    faults: &mut Vec<Violation>,
) {
    let Ok(at) = benches.binary_search_by(|bench| bench.worker.name.cmp(worker)) else {
        return faults.push(Violation::UnknownWorker(id, worker.clone()));
    };
    let kind = benches[at].assess(spec);
    if matches!(kind, VerdictKind::Refused { .. }) {
        let (worker, reason) = (worker.clone(), kind.to_string());
        faults.push(Violation::Infeasible { instance: id, worker, reason });
    }
    benches[at].take(spec);
}
