//! Instances that a worker runs and that this memory is too old to know: a snapshot was restored.
//!
//! One that is healthy and of a revision that is known takes its place among the others, and
//! whatever is too many then leaves as it always does: the least worth first, and only as far as
//! others make up for it. What is of a revision made after the snapshot can't be told from
//! anything else: its spec is not known, and it is left out of the assignments.
//!
//! Without a loss of memory there is nothing to adopt: what a worker was told was stored before.

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::wire::worker::{InstanceReport, RunState};

use super::core::{At, Deployer};
use super::deployments::same_instances;
use crate::cluster::{EventKind, Instance, Observed, Phase, Place, Run, State};

impl Deployer {
    /// Takes in what a worker runs beside what it should. After the reports of all that is known.
    pub(super) fn adopt(&mut self, name: &WorkerName, reports: &[InstanceReport], at: At) {
        for report in reports {
            let Some(instance) = self.adoptable(name, report, at) else { continue };
            self.ids.know(instance.id.0);
            let service = instance.service.clone();
            let message = format!("worker {name} runs it: it is newer than what is stored");
            let told = vec![(EventKind::InstanceRecovered, message)];
            let event = self.put_told(instance, told, None, at);
            self.take_report(report, at);
            self.mark(&service, Some(event));
        }
    }

    fn adoptable(
        &mut self,
        name: &WorkerName,
        report: &InstanceReport,
        at: At,
    ) -> Option<Instance> {
        let healthy = report.state == RunState::Running && report.healthy;
        if !healthy || !self.is_newer_than_memory(report) {
            return None;
        }
        let service = self.cluster.service(&report.service)?;
        if service.phase == Phase::Ending {
            return None;
        }
        let spec = &self.cluster.revision(&service.name, report.revision)?.spec;
        let as_current = same_instances(spec, self.cluster.spec_of(service)?);
        let mut instance = Instance {
            id: report.id,
            service: service.name.clone(),
            revision: if as_current { service.revision } else { report.revision },
            born_revision: report.revision,
            restart_epoch: service.restart_epoch,
            deployment: None,
            replaces: None,
            created_at: report.since.min(at.wall),
            state: State::Pending { waiting: crate::cluster::Waiting::Turn },
            since: at.wall,
            decision: None,
            restart_nonce: report.restart_nonce,
            observed: Observed {
                restarts: report.restarts,
                restart_nonce: report.restart_nonce,
                ..Observed::default()
            },
            event: 0,
        };
        if !self.fits_again(&instance, name, at) {
            return None;
        }
        let generation = self.replan(name);
        let place = Place { worker: name.clone(), generation, at: at.steady };
        // It was healthy while nobody knew of it: it counts at once.
        let healthy_since = Some(report.since.min(at.steady));
        instance.observed.ready_at = healthy_since;
        instance.state =
            State::Placed { place, run: Run::Running { healthy_since }, restart_by: None };
        Some(instance)
    }

    /// Whether it was made after everything that was stored when this deployer began, by a
    /// deployment that is known: not by an earlier service of the same name, nor by this deployer.
    fn is_newer_than_memory(&self, report: &InstanceReport) -> bool {
        let InstanceId(id) = report.id;
        let of_revision = self
            .cluster
            .deployments()
            .filter(|each| each.service == report.service && each.revision == report.revision);
        let first = of_revision.map(|each| each.id.0).min();
        self.cluster.instance(report.id).is_none()
            && id > self.known_at_load
            && first.is_some_and(|first| id > first)
    }
}
