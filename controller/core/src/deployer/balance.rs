//! Moves instances to a worker that joined or returned, one at a time, where they lie unevenly.
//!
//! An imbalance is the difference between the worker with the most instances and the one with the
//! fewest, in percent of the most. Above the limit, and for as long as the limit says, it is acted
//! upon: one healthy instance of a service at rest is taken for old, and the rollout rule does the
//! rest: a successor elsewhere first, then it leaves. Only what the planner itself would put on a
//! worker with at least two fewer instances is moved, so that every move makes the difference
//! smaller and none is ever taken back. Begun by what `workers` hears, carried on by `drive`. It is
//! not stored: after a restart the workers are heard anew, and a move that was under way is a
//! surplus that the rollout rule takes back.

use std::collections::BTreeSet;

use tucano_common::id::InstanceId;
use tucano_common::limits::{
    BALANCE_BUSY_MAX, BALANCE_LASTS, BALANCE_LOOK, BALANCE_SERVICES_MAX, IMBALANCE_PERCENT_MAX,
};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Spec;
use tucano_common::time::Wall;

use super::core::{At, Deployer, Due};
use super::lifecycle::after;
use super::placement::{Bench, rank};
use super::rollout::{Progress, Standing};
use crate::cluster::{Admission, EventKind, Instance, LeaseState, Phase, Service, VerdictKind};

/// What is done about an imbalance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Balance {
    /// Nothing: no worker came since it was last found to be even.
    #[default]
    Rest,
    /// It is looked at now and then; since when it is too large, if it is.
    Watching { since: Option<Wall> },
    /// An instance moves.
    Moving {
        /// Which.
        instance: InstanceId,
        /// Given up then.
        until: Wall,
    },
}

/// What came of the search for an instance to move.
enum Found {
    /// This one, to that worker.
    Move(InstanceId, WorkerName),
    /// A service is not at rest: later.
    Busy,
    /// Nothing can be made better.
    Nothing,
}

impl Deployer {
    /// A worker came: it may be time to move something there.
    pub(super) fn watch_balance(&mut self, at: At) {
        if self.config.rebalance && self.balance == Balance::Rest {
            self.balance = Balance::Watching { since: None };
            self.deadlines.set(&Due::Balance, Some(after(at.steady, BALANCE_LOOK)));
        }
    }

    /// Whether an instance is about to be moved.
    pub(super) fn is_moving(&self, id: InstanceId) -> bool {
        matches!(self.balance, Balance::Moving { instance, .. } if instance == id)
    }

    pub(super) fn look_at_balance(&mut self, at: At) {
        self.balance = match self.balance {
            Balance::Rest => Balance::Rest,
            Balance::Moving { instance, until } => self.look_at_move(instance, until, at),
            Balance::Watching { .. } => self.balance,
        };
        if let Balance::Watching { since } = self.balance {
            self.balance = self.look_around(since, at);
        }
        let again = (self.balance != Balance::Rest).then(|| after(at.steady, BALANCE_LOOK));
        self.deadlines.set(&Due::Balance, again);
    }

    fn look_at_move(&mut self, id: InstanceId, until: Wall, at: At) -> Balance {
        let Some(instance) = self.cluster.instance(id).filter(|each| each.state.stays()) else {
            // Done: the next one goes at once where that was not enough.
            let lasted = i64::try_from(BALANCE_LASTS.as_millis()).unwrap_or(i64::MAX);
            return Balance::Watching { since: Some(Wall(at.steady.0.saturating_sub(lasted))) };
        };
        let service = instance.service.clone();
        let settled = self.cluster.service(&service).map(|each| each.phase) == Some(Phase::Settled);
        if settled && at.steady < until {
            return self.balance;
        }
        // It stays where it is; its successor is a surplus that is not up, and goes.
        self.mark(&service, None);
        Balance::Rest
    }

    fn look_around(&mut self, since: Option<Wall>, at: At) -> Balance {
        let crowded = self.crowded();
        if crowded.is_empty() {
            return Balance::Rest;
        }
        let since = since.unwrap_or(at.steady);
        let lasts = at.steady.since(since);
        if lasts < BALANCE_LASTS {
            return Balance::Watching { since: Some(since) };
        }
        match self.find_move(&crowded, at) {
            Found::Move(instance, to) => self.begin_move(instance, &to, at),
            Found::Busy if lasts < BALANCE_BUSY_MAX => Balance::Watching { since: Some(since) },
            Found::Busy | Found::Nothing => Balance::Rest,
        }
    }

    /// The workers that hold too many instances, the fullest first.
    fn crowded(&self) -> Vec<(WorkerName, u32)> {
        let open = self.cluster.seats().filter(|(worker, _, _)| {
            worker.lease == LeaseState::Ready && worker.admission == Admission::Open
        });
        let mut seats: Vec<(WorkerName, u32)> =
            open.map(|(worker, _, held)| (worker.name.clone(), held.instances)).collect();
        let least = seats.iter().map(|(_, count)| *count).min().unwrap_or(0);
        seats.retain(|(_, most)| {
            let apart = most - least;
            // One that moves from two to one is no gain.
            apart >= 2 && u64::from(apart) * 100 > u64::from(*most) * IMBALANCE_PERCENT_MAX
        });
        seats.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        seats
    }

    fn find_move(&self, crowded: &[(WorkerName, u32)], at: At) -> Found {
        let mut busy = false;
        let mut tried: BTreeSet<&ServiceName> = BTreeSet::new();
        for (from, count) in crowded {
            // The newest of each service: what was placed last moves first.
            let there: Vec<&Instance> = self.cluster.on_worker(from).collect();
            for instance in there.into_iter().rev() {
                if tried.len() == BALANCE_SERVICES_MAX {
                    return if busy { Found::Busy } else { Found::Nothing };
                }
                let Some(service) = self.cluster.service(&instance.service) else { continue };
                let Some(spec) = self.cluster.spec_of(service) else { continue };
                if spec.update.max_surge == 0 || !tried.insert(&instance.service) {
                    continue;
                }
                if !self.is_at_rest(service, spec, at) {
                    busy = true;
                } else if let Some(to) = self.better_place(instance, spec, (from, *count), at) {
                    return Found::Move(instance.id, to);
                }
            }
            tried.clear();
        }
        if busy { Found::Busy } else { Found::Nothing }
    }

    /// Whether a service is as asked for, with nothing on its way.
    fn is_at_rest(&self, service: &Service, spec: &Spec, at: At) -> bool {
        let members = self.members(service, spec, at);
        let ready = members.iter().all(|each| {
            each.standing == Standing::Current && each.progress == Progress::Ready && !each.suspect
        });
        let alive = self.cluster.alive_of(&service.name).count();
        let whole = members.len() == spec.concurrency as usize && alive == members.len();
        service.phase == Phase::Settled && ready && whole && self.delay(service, spec, at).is_none()
    }

    /// Where the planner would put an instance if it was not there yet, if that is on a worker with
    /// at least two fewer.
    fn better_place(
        &self,
        instance: &Instance,
        spec: &Spec,
        (from, count): (&WorkerName, u32),
        at: At,
    ) -> Option<WorkerName> {
        let benches = Bench::all(&self.cluster, spec, Some(instance.id), at.wall);
        let ranked = benches.iter().filter_map(|bench| match bench.assess(spec) {
            VerdictKind::Feasible(score) => Some((rank(&score), &bench.worker.name)),
            VerdictKind::Refused { .. } => None,
        });
        let ranked: Vec<_> = ranked.collect();
        let (best, to) = ranked.iter().min()?;
        let own = ranked.iter().find(|(_, name)| *name == from);
        let better = own.is_none_or(|(own, _)| best < own);
        let fewer = self.cluster.reserved(to).instances + 2 <= count;
        (better && fewer).then(|| (*to).clone())
    }

    fn begin_move(&mut self, id: InstanceId, to: &WorkerName, at: At) -> Balance {
        let Some(instance) = self.cluster.instance(id).cloned() else { return Balance::Rest };
        let Some(from) = instance.state.worker().cloned() else { return Balance::Rest };
        let limits = self.cluster.born_spec(&instance).map(|spec| {
            spec.build_timeout + spec.update.healthy_deadline + spec.update.min_healthy
        });
        let [has, other] = [&from, to].map(|worker| self.cluster.reserved(worker).instances);
        let text = format!(
            "moves from {from}, which holds {has} instances, to a worker like {to}, which holds \
             {other}"
        );
        let service = instance.service.clone();
        let event = self.put_told(instance, vec![(EventKind::InstanceMoving, text)], None, at);
        self.mark(&service, Some(event));
        let until = after(at.steady, limits.unwrap_or_default() + BALANCE_LASTS);
        Balance::Moving { instance: id, until }
    }
}
