//! What a command would do: the difference between the cluster and a copy that carried it out.

use tucano_common::id::InstanceId;

use super::{Accepted, Preview, PreviewInstance};
use crate::cluster::{Cluster, Instance};

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
