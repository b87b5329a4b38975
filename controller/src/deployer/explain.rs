//! Why a service is as it is, and what the loss of workers would do, as the API shows it.
//!
//! Shapes only: the core's planner says what is shown. Called for `GET /v1/services/{name}/why` and
//! `POST /v1/simulate`.

use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Now;
use tucano_common::wire::views::{MoveView, ShortView, SimulationView, WhyView};
use tucano_controller_core::deployer::{Deployer, Move, Simulation};

use crate::views::{self, Detail};

/// Why a service's instances are where they are; none where there is no such service.
pub(super) fn why(core: &Deployer, name: &ServiceName, now: Now) -> Option<WhyView> {
    let cluster = core.cluster();
    let service = cluster.service(name)?;
    let health = core.health_of(name)?;
    let instances = cluster.alive_of(name);
    Some(WhyView {
        service: name.clone(),
        state: views::condition(health.condition),
        reason: health.reason,
        revision: service.revision,
        wanted: health.wanted,
        healthy: health.healthy,
        next: core.next_place(name, now).as_ref().map(views::decision),
        instances: instances.map(|each| views::instance(cluster, each, Detail::Full)).collect(),
    })
}

/// What the loss of workers would do.
pub(super) fn simulation(lose: &[WorkerName], found: &Simulation) -> SimulationView {
    let short = found.short.iter().map(|(service, wanted, placed)| ShortView {
        service: service.clone(),
        wanted: *wanted,
        placed: *placed,
    });
    SimulationView {
        simulated: true,
        lose: lose.to_vec(),
        fits: found.short.is_empty(),
        moves: found.moves.iter().map(moved).collect(),
        short: short.collect(),
    }
}

fn moved(each: &Move) -> MoveView {
    let successor = each.successor.as_ref();
    let to = successor.and_then(|instance| instance.state.worker());
    let waits_for = successor.filter(|_| to.is_none()).and_then(|instance| instance.waits_for());
    MoveView {
        service: each.lost.service.clone(),
        instance: each.lost.id,
        from: each.lost.state.worker().cloned(),
        to: to.cloned(),
        waits_for,
        decision: successor.and_then(|it| it.decision.as_ref()).map(views::decision),
    }
}
