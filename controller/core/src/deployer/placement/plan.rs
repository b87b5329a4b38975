//! Which instance goes where.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::spec::Spec;
use tucano_common::time::Wall;

use super::feasible::{Bench, Rank, rank};
use crate::cluster::{Cluster, Decision, Survey, Verdict, VerdictKind};

/// Instances of one revision that want a worker.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What they are.
    pub spec: Arc<Spec>,
    /// Which; placed in this order.
    pub instances: Vec<InstanceId>,
    /// The event that asked for it.
    pub cause: Option<u64>,
    /// The number of the survey that comes of it, if a new one is needed.
    pub survey_id: u64,
}

/// Where instances should go.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every instance asked about.
    pub placements: Vec<Placement>,
    /// What they are.
    pub spec: Arc<Spec>,
}

/// Where one instance should go, if anywhere.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Which.
    pub instance: InstanceId,
    /// Where, with every worker's verdict.
    pub decision: Decision,
}

/// A feasible worker in the heap, the best first: how good it is, and where it stands by its name.
type Candidate = Reverse<(Rank, usize)>;

/// Finds each instance the best worker, one after the other, each counting for the next.
///
/// One survey of all workers is made before the first and shared by all; it costs what the workers
/// are, each instance then costs the logarithm of that. Where none is left that would do, a second
/// survey says why.
pub fn plan(cluster: &Cluster, ask: &Ask, now: Wall) -> Plan {
    let mut benches = Bench::all(cluster, &ask.spec, None, now);
    let verdicts: Vec<Verdict> = benches.iter().map(|bench| bench.verdict(&ask.spec)).collect();
    let feasible = verdicts.iter().enumerate().filter_map(|(at, verdict)| match &verdict.kind {
        VerdictKind::Feasible(score) => Some(Reverse((rank(score), at))),
        VerdictKind::Refused { .. } => None,
    });
    let mut heap: BinaryHeap<Candidate> = feasible.collect();
    let survey_of = |id, verdicts| Arc::new(Survey { id, at: now, cause: ask.cause, verdicts });
    let first = survey_of(ask.survey_id, verdicts);
    let mut placements = Vec::with_capacity(ask.instances.len());
    let mut rest = ask.instances.iter();
    for instance in rest.by_ref() {
        let Some(Reverse((_, best))) = heap.pop() else {
            // Nothing was placed before the first: then the first survey says it all.
            let survey = if placements.is_empty() {
                first.clone()
            } else {
                let verdicts = benches.iter().map(|bench| bench.verdict(&ask.spec)).collect();
                survey_of(ask.survey_id + 1, verdicts)
            };
            let nowhere = |instance: &InstanceId| Placement {
                instance: *instance,
                decision: Decision { chosen: None, survey: survey.clone() },
            };
            placements.push(nowhere(instance));
            placements.extend(rest.map(nowhere));
            break;
        };
        let bench = &mut benches[best];
        bench.take(&ask.spec);
        if let VerdictKind::Feasible(score) = bench.assess(&ask.spec) {
            heap.push(Reverse((rank(&score), best)));
        }
        let chosen = Some(bench.worker.name.clone());
        let decision = Decision { chosen, survey: first.clone() };
        placements.push(Placement { instance: *instance, decision });
    }
    Plan { placements, spec: ask.spec.clone() }
}
