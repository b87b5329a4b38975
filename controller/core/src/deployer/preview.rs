//! What a command would do, or the loss of workers: the difference between the cluster and a copy
//! that it happened to.

use tucano_common::id::InstanceId;
use tucano_common::spec::Workload;

use super::{Accepted, Move, Preview, PreviewInstance, Simulation};
use crate::cluster::{Cluster, Instance, Phase, State};

/// The difference, as far as a command's service or worker is concerned.
pub(super) fn preview(before: &Cluster, after: &Cluster, accepted: Accepted) -> Preview {
    let is_new = |instance: &&Instance| before.instance(instance.id).is_none();
    let made = after.instances().filter(is_new).map(|instance| PreviewInstance {
        instance: instance.clone(),
        decision: instance.decision.clone(),
    });
    let leaves = |instance: &&Instance| {
        let now = after.instance(instance.id);
        instance.state.stays() && now.is_none_or(|now| !now.state.stays())
    };
    let leaving: Vec<InstanceId> = before.instances().filter(leaves).map(|each| each.id).collect();
    let deployment = accepted
        .deployment
        .filter(|id| before.deployment(*id).is_none())
        .and_then(|id| after.deployment(id).cloned());
    Preview { deployment, made: made.collect(), leaving, accepted }
}

/// What the loss of workers would do.
pub(super) fn simulation(before: &Cluster, after: &Cluster) -> Simulation {
    let mut simulation = Simulation::default();
    for service in before.services() {
        let name = &service.name;
        let is_lost = |instance: &&Instance| {
            let then = after.instance(instance.id).map(|then| &then.state);
            matches!(then, Some(State::Lost { wanted: true, .. }))
        };
        for lost in before.alive_of(name).filter(is_lost) {
            let successor = after.alive_of(name).find(|each| each.replaces == Some(lost.id));
            let (lost, successor) = (lost.clone(), successor.cloned());
            simulation.moves.push(Move { lost, successor });
        }
        let spec = before.spec_of(service).filter(|_| service.phase != Phase::Ending);
        let spec = spec.filter(|spec| matches!(spec.workload, Workload::Scripts(_)));
        let wanted = spec.map_or(0, |spec| spec.concurrency);
        let is_placed = |each: &&Instance| matches!(each.state, State::Placed { .. });
        let placed = after.alive_of(name).filter(is_placed).count();
        let placed = u32::try_from(placed).unwrap_or(u32::MAX);
        if placed < wanted {
            simulation.short.push((name.clone(), wanted, placed));
        }
    }
    simulation
}
