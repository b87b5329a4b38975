//! What a command with `?dry_run=true` would do, as the API shows it.

use tucano_common::wire::views::{DeploymentView, InstanceView, PreviewView};
use tucano_controller_core::cluster::Cluster;
use tucano_controller_core::deployer::{Preview, PreviewInstance};

use crate::views::{self, Detail};

/// A preview, with every worker's verdict on each instance that would be made.
pub(super) fn view(cluster: &Cluster, preview: &Preview) -> PreviewView {
    let made = |each: &PreviewInstance| {
        let mut instance = each.instance.clone();
        instance.decision = each.decision.clone().or(instance.decision);
        views::instance(cluster, &instance, Detail::Full)
    };
    let instances: Vec<InstanceView> = preview.made.iter().map(made).collect();
    let deployment = preview.deployment.as_ref().map(|deployment| DeploymentView {
        instances,
        ..views::deployment(cluster, deployment, None)
    });
    PreviewView {
        dry_run: true,
        changed: preview.accepted.changed,
        deployment,
        leaving: preview.leaving.clone(),
    }
}
