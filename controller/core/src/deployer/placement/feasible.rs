//! Whether a worker would do for an instance, and how well.

use std::collections::BTreeMap;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::{
    HOST_MEMORY_KEPT_BYTES, HOST_MEMORY_KEPT_PERCENT, WORKER_INSTANCES_MAX,
    WORKER_LOAD_PERCENT_APART, WORKER_LOAD_PERCENT_MAX,
};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Spec;
use tucano_common::time::Wall;

use crate::cluster::{
    Admission, Cluster, Joined, LeaseState, Load, Refused, Reserved, Score, State, Verdict,
    VerdictKind, Worker,
};

/// A worker as one service's instances see it, while they are placed one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) worker: &'a Worker,
    load: Option<Load>,
    reserved: Reserved,
    same_service: u32,
    /// Those of them that newer ones are about to replace.
    outdated: u32,
    failures: u32,
    port_taken: bool,
    /// Its CPUs are overloaded or its processes stalled, and another worker's are clearly not.
    overloaded: bool,
}

/// What of a service matters on each worker, counted once for all of them.
struct Census<'a> {
    same_service: BTreeMap<&'a WorkerName, u32>,
    outdated: BTreeMap<&'a WorkerName, u32>,
    failures: BTreeMap<&'a WorkerName, u32>,
}

impl<'a> Bench<'a> {
    /// Every worker, by name, for instances of this service. `without` is left out of the count, as
    /// if it had gone.
    pub(crate) fn all(
        cluster: &'a Cluster,
        spec: &Spec,
        without: Option<InstanceId>,
        now: Wall,
    ) -> Vec<Bench<'a>> {
        let census = census(cluster, &spec.name, without, spec.restart.window, now);
        let freed = without.and_then(|id| {
            let instance = cluster.instance(id)?;
            Some((&instance.state.place()?.worker, cluster.reservation(instance)))
        });
        let mut same_service =
            Joined::new(census.same_service.iter().map(|(name, count)| (*name, count)));
        let mut outdated = Joined::new(census.outdated.iter().map(|(name, count)| (*name, count)));
        let mut failures = Joined::new(census.failures.iter().map(|(name, count)| (*name, count)));
        let bench = |(worker, load, mut reserved): (&'a Worker, Option<Load>, Reserved)| {
            if let Some((on, freed)) = &freed
                && **on == worker.name
            {
                reserved.give_back(*freed);
            }
            let port = spec.network.fixed_port;
            Bench {
                worker,
                load,
                reserved,
                same_service: same_service.at(&worker.name).copied().unwrap_or(0),
                outdated: outdated.at(&worker.name).copied().unwrap_or(0),
                failures: failures.at(&worker.name).copied().unwrap_or(0),
                port_taken: port.is_some_and(|port| takes_port(cluster, worker, port, without)),
                overloaded: false,
            }
        };
        let mut benches: Vec<Bench<'a>> = cluster.seats().map(bench).collect();
        shun_overloaded(&mut benches);
        benches
    }

    /// Whether it would do now, and how well, in words for people.
    pub(crate) fn verdict(&self, spec: &Spec) -> Verdict {
        Verdict { worker: self.worker.name.clone(), kind: self.assess(spec) }
    }

    /// Whether it would do now, and how well.
    pub(crate) fn assess(&self, spec: &Spec) -> VerdictKind {
        let reasons = self.refusals(spec);
        if reasons.is_empty() {
            VerdictKind::Feasible(self.score(spec))
        } else {
            VerdictKind::Refused { reasons }
        }
    }

    /// Takes one instance on.
    pub(crate) fn take(&mut self, spec: &Spec) {
        self.reserved.instances += 1;
        self.reserved.coming += 1;
        self.reserved.cpu_millis += cpu_wanted(spec);
        self.reserved.memory_bytes += memory_wanted(spec);
        self.same_service += 1;
        self.port_taken |= spec.network.fixed_port.is_some();
    }

    fn free_memory_bytes(&self) -> u64 {
        let all = self.worker.capacity.memory_bytes;
        let kept = (all / 100 * HOST_MEMORY_KEPT_PERCENT).max(HOST_MEMORY_KEPT_BYTES);
        all.saturating_sub(kept).saturating_sub(self.reserved.memory_bytes)
    }

    fn free_cpu_millis(&self) -> u64 {
        let all = u64::from(self.worker.capacity.cpus) * 1000;
        all.saturating_sub(self.reserved.cpu_millis)
    }

    fn score(&self, spec: &Spec) -> Score {
        let has = |(key, value): &(&String, &String)| self.worker.labels.get(*key) == Some(*value);
        let missing = spec.placement.prefer.iter().filter(|label| !has(label)).count();
        let percent = |load: Load| percent(((load.cpu + load.memory) / 2.0).max(load.pressure));
        Score {
            overloaded: self.overloaded,
            failures: self.failures,
            same_service: self.same_service,
            outdated: self.outdated,
            missing_labels: u32::try_from(missing).unwrap_or(u32::MAX),
            free_memory_bytes: self.free_memory_bytes(),
            load_percent: self.load.map(percent),
            coming: self.reserved.coming,
            instances: self.reserved.instances,
        }
    }

    fn refusals(&self, spec: &Spec) -> Vec<Refused> {
        let mut reasons = Vec::new();
        match self.worker.lease {
            LeaseState::Ready => {}
            lease @ (LeaseState::Suspect | LeaseState::Dead) => {
                reasons.push(Refused::Lease { lease });
            }
        }
        match self.worker.admission {
            Admission::Open => {}
            Admission::Draining { .. } => reasons.push(Refused::Draining),
        }
        for (key, wanted) in &spec.placement.require {
            let found = self.worker.labels.get(key);
            if found != Some(wanted) {
                let (key, wanted, found) = (key.clone(), wanted.clone(), found.cloned());
                reasons.push(Refused::Label { key, wanted, found });
            }
        }
        if let Some(max) = spec.placement.max_per_worker
            && self.same_service >= max
        {
            reasons.push(Refused::MaxPerWorker { has: self.same_service, max });
        }
        if let Some(port) = spec.network.fixed_port
            && self.port_taken
        {
            reasons.push(Refused::FixedPort { port });
        }
        self.refuse_for_room(spec, &mut reasons);
        reasons
    }

    fn refuse_for_room(&self, spec: &Spec, reasons: &mut Vec<Refused>) {
        let short_bytes = memory_wanted(spec).saturating_sub(self.free_memory_bytes());
        if short_bytes > 0 {
            reasons.push(Refused::Memory { short_bytes });
        }
        let short_millis = cpu_wanted(spec).saturating_sub(self.free_cpu_millis());
        if short_millis > 0 {
            reasons.push(Refused::Cpu { short_millis });
        }
        if let Some(load) = self.load {
            let memory = percent(load.memory);
            if memory > WORKER_LOAD_PERCENT_MAX {
                reasons.push(Refused::Load { of: "memory".to_owned(), percent: memory });
            }
        }
        let max = u32::try_from(WORKER_INSTANCES_MAX).unwrap_or(u32::MAX);
        if self.reserved.instances >= max {
            reasons.push(Refused::Full { max });
        }
    }
}

/// A worker short of CPU, or whose processes wait for CPU, memory or disks most of the time
/// (pressure stall information), comes after every other while one is clearly better off; it is not
/// refused: an instance on a busy machine is slow, but one that is nowhere is down. Memory that is
/// full can't be shared like that, and is a veto.
///
/// A worker that was not measured yet, as it has just joined, is neither: it would draw in all that
/// is placed until its first heartbeat.
fn shun_overloaded(benches: &mut [Bench<'_>]) {
    let open = |bench: &&Bench<'_>| {
        bench.worker.lease == LeaseState::Ready && bench.worker.admission == Admission::Open
    };
    let strain = |bench: &Bench<'_>| bench.load.map(|load| percent(load.cpu.max(load.pressure)));
    let Some(least) = benches.iter().filter(open).filter_map(strain).min() else { return };
    for bench in benches {
        bench.overloaded = strain(bench).is_some_and(|own| {
            own > WORKER_LOAD_PERCENT_MAX && own >= least + WORKER_LOAD_PERCENT_APART
        });
    }
}

/// Whether an instance on a worker holds this port, or insists on it.
fn takes_port(cluster: &Cluster, worker: &Worker, port: u16, without: Option<InstanceId>) -> bool {
    cluster.on_worker(&worker.name).filter(|other| Some(other.id) != without).any(|other| {
        let fixed = cluster.born_spec(other).and_then(|spec| spec.network.fixed_port);
        other.observed.port == Some(port) || fixed == Some(port)
    })
}

fn census<'a>(
    cluster: &'a Cluster,
    service: &ServiceName,
    without: Option<InstanceId>,
    window: Duration,
    now: Wall,
) -> Census<'a> {
    let (same_service, outdated, failures) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut census = Census { same_service, outdated, failures };
    let asked_for = cluster.service(service);
    for instance in cluster.alive_of(service).filter(|each| Some(each.id) != without) {
        // What leaves makes room for what comes: only what stays counts for the spread.
        if instance.state.stays()
            && let Some(place) = instance.state.place()
        {
            *census.same_service.entry(&place.worker).or_default() += 1;
            if asked_for.is_some_and(|service| !service.has_as_current(instance)) {
                *census.outdated.entry(&place.worker).or_default() += 1;
            }
        }
    }
    for instance in cluster.ended_of(service) {
        if let State::Failed { worker } = &instance.state
            && now.since(instance.since) < window
        {
            *census.failures.entry(worker).or_default() += 1;
        }
    }
    census
}

fn memory_wanted(spec: &Spec) -> u64 {
    spec.resources.memory_bytes.unwrap_or(0)
}

fn cpu_wanted(spec: &Spec) -> u64 {
    spec.resources.cpu_millis.map_or(0, u64::from)
}

fn percent(share: f32) -> u32 {
    // Saturates, and shares are between 0 and 1.
    (share * 100.0).round() as u32
}

/// How good a feasible worker is, the best the least; equal ones are ordered by name by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u128);

/// A score as a number: workers are compared by the thousand for each decision.
///
/// The spread that counts first is the one that is left once newer instances took the old ones'
/// places. A load counts in steps of 10 %, so that noise does not decide, and each instance on its
/// way as one step, or a storm of deploys would find the same worker idle each time. An unmeasured
/// worker stands in the middle.
pub(crate) fn rank(score: &Score) -> Rank {
    let spread = score.same_service.saturating_sub(score.outdated);
    let load_steps = score.load_percent.unwrap_or(50) / 10 + score.coming;
    let memory_steps = score.free_memory_bytes / MEMORY_STEP_BYTES;
    // What counts first stands first. More than fits is as much as fits.
    let places: [(u64, u32); 8] = [
        (u64::from(score.overloaded), 1),
        (score.failures.into(), 16),
        (spread.into(), 16),
        (score.same_service.into(), 16),
        (score.missing_labels.into(), 16),
        (ALL_MEMORY_STEPS - memory_steps.min(ALL_MEMORY_STEPS), MEMORY_STEPS_BITS),
        (load_steps.into(), 16),
        (score.instances.into(), 16),
    ];
    let put = |rank: u128, (value, bits): (u64, u32)| {
        rank << bits | u128::from(value.min((1 << bits) - 1))
    };
    Rank(places.into_iter().fold(0, put))
}

/// Free memory counts in steps of so much: smaller differences between machines of one kind are no
/// reason.
const MEMORY_STEP_BYTES: u64 = 64 << 20;
/// A pebibyte in steps.
const MEMORY_STEPS_BITS: u32 = 24;
const ALL_MEMORY_STEPS: u64 = (1 << MEMORY_STEPS_BITS) - 1;

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use tucano_common::prng::Prng;

    use super::*;

    /// What counts, in its order.
    fn in_words(score: &Score) -> impl Ord + std::fmt::Debug {
        (
            score.overloaded,
            score.failures,
            score.same_service.saturating_sub(score.outdated),
            score.same_service,
            score.missing_labels,
            Reverse(score.free_memory_bytes / MEMORY_STEP_BYTES),
            score.load_percent.unwrap_or(50) / 10 + score.coming,
            score.instances,
        )
    }

    #[test]
    fn a_rank_orders_as_the_words_say() {
        let mut prng = Prng::new(1);
        let mut score = || Score {
            overloaded: prng.chance(0.3),
            failures: prng.below(2),
            same_service: prng.below(3),
            outdated: prng.below(3),
            missing_labels: prng.below(2),
            free_memory_bytes: u64::from(prng.below(3)) * MEMORY_STEP_BYTES,
            load_percent: prng.chance(0.5).then(|| prng.below(101)),
            coming: prng.below(3),
            instances: prng.below(1001),
        };
        for _ in 0..20_000 {
            let (a, b) = (score(), score());
            assert_eq!(rank(&a).cmp(&rank(&b)), in_words(&a).cmp(&in_words(&b)), "{a:?} {b:?}");
        }
    }

    #[test]
    fn more_than_fits_takes_no_other_place() {
        let none = Score {
            overloaded: false,
            failures: 0,
            same_service: 0,
            outdated: 0,
            missing_labels: 0,
            free_memory_bytes: u64::MAX,
            load_percent: None,
            coming: 0,
            instances: 0,
        };
        let crowded = Score { instances: u32::MAX, ..none };
        let loaded = Score { coming: 1, ..none };
        let failed = Score { failures: 1, ..none };
        let shared = Score { same_service: u32::MAX, instances: u32::MAX, ..none };
        let ranks = [none, crowded, loaded, shared, failed].map(|score| rank(&score));
        assert!(ranks.is_sorted() && ranks[0] < ranks[4], "{ranks:?}");
    }
}
