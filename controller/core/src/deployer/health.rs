//! How a service is, for people: a function of the cluster.

use tucano_common::spec::Workload;

use super::{OutsideAddress, ServiceCondition, ServiceHealth};
use crate::cluster::{Cluster, DeploymentStatus, Phase, Service};

/// How a service is.
pub(super) fn health(
    cluster: &Cluster,
    service: &Service,
    outside: &[OutsideAddress],
) -> Option<ServiceHealth> {
    let (healthy, wanted) = counts(cluster, service, outside)?;
    let condition = condition(service, healthy, wanted);
    let reason = match condition {
        ServiceCondition::Stopping => None,
        ServiceCondition::Degraded => deployment_reason(cluster, service)
            .or_else(|| waits(cluster, service))
            .or_else(|| fails(outside)),
        ServiceCondition::Deploying | ServiceCondition::Failed | ServiceCondition::Running => {
            deployment_reason(cluster, service)
        }
    };
    let [healthy, wanted] = [healthy, wanted].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Some(ServiceHealth { condition, reason, healthy, wanted })
}

/// The same in a word, without looking at each instance.
pub(super) fn condition_of(
    cluster: &Cluster,
    service: &Service,
    outside: &[OutsideAddress],
) -> Option<ServiceCondition> {
    let (healthy, wanted) = counts(cluster, service, outside)?;
    Some(condition(service, healthy, wanted))
}

/// How many are healthy, and how many are wanted.
fn counts(
    cluster: &Cluster,
    service: &Service,
    outside: &[OutsideAddress],
) -> Option<(usize, usize)> {
    let spec = cluster.spec_of(service)?;
    Some(match &spec.workload {
        Workload::External(addresses) => {
            let well = outside.iter().filter(|each| each.down.is_none());
            (well.count(), addresses.len())
        }
        Workload::Scripts(_) => (cluster.healthy_count(&service.name), spec.concurrency as usize),
    })
}

fn condition(service: &Service, healthy: usize, wanted: usize) -> ServiceCondition {
    match service.phase {
        Phase::Ending => ServiceCondition::Stopping,
        Phase::Deploying => ServiceCondition::Deploying,
        Phase::Failed if healthy == 0 && wanted > 0 => ServiceCondition::Failed,
        Phase::Failed | Phase::Settled if healthy < wanted => ServiceCondition::Degraded,
        Phase::Failed | Phase::Settled => ServiceCondition::Running,
    }
}

fn deployment_reason(cluster: &Cluster, service: &Service) -> Option<String> {
    let deployment = cluster.deployment(service.deployment)?;
    match &deployment.status {
        DeploymentStatus::Failed { reason, .. } => {
            Some(format!("revision {} failed: {reason}", deployment.revision))
        }
        DeploymentStatus::Reverted { reason, to, .. } => Some(format!(
            "revision {} failed and the service went back to {to}: {reason}",
            deployment.revision
        )),
        DeploymentStatus::Paused { .. } => Some(format!(
            "deployment {id} is paused: POST /v1/deployments/{id}/resume goes on",
            id = deployment.id
        )),
        DeploymentStatus::InProgress { .. }
        | DeploymentStatus::Succeeded { .. }
        | DeploymentStatus::Superseded { .. } => None,
    }
}

fn fails(outside: &[OutsideAddress]) -> Option<String> {
    outside.iter().find_map(|each| {
        let reason = each.down.as_ref()?;
        Some(format!("{} fails its health check: {reason}", each.address))
    })
}

fn waits(cluster: &Cluster, service: &Service) -> Option<String> {
    let mut unhealthy =
        cluster.alive_of(&service.name).filter(|each| each.state.stays() && !each.healthy());
    unhealthy.find_map(|instance| {
        Some(format!("instance {} waits for {}", instance.id, instance.waits_for()?))
    })
}
