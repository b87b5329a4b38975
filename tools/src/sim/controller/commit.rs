//! What follows a turn of the controller: the decisions are stored, then told; or they are not, and
//! kept, or taken back.

use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_controller_core::balancer::table::RoutingTable;
use tucano_controller_core::deployer::{Change, Deployer, Fact, Output};

use super::{Commit, Controller, RETRY, Unsaved, serving};
use crate::sim::bus::Bus;

impl Controller {
    /// Stores what there is and tells everybody; false where the process died.
    pub(super) fn save(&mut self, commits: bool, bus: &mut Bus) -> bool {
        let now = self.now(bus);
        let Some(running) = &mut self.running else { return false };
        running.serving = serving(running.core.cluster());
        running.core.drive(now);
        let Output { changes, events, plans, routing } = running.core.take_output();
        let mut unsaved = std::mem::take(&mut running.unsaved);
        unsaved.changes.extend(changes);
        unsaved.events.extend(events);
        unsaved.plans.extend(plans.into_iter().map(|plan| (plan.worker.clone(), plan)));
        self.changed |= !unsaved.changes.is_empty() || routing.is_some();
        match self.commit(&unsaved, bus) {
            Commit::Crashed => return false,
            Commit::Done => {
                if self.prng.chance(0.1) {
                    self.look(bus);
                }
                self.publish(unsaved, routing, bus);
            }
            Commit::Refused => {
                bus.note(|| "commit refused".to_owned());
                if commits {
                    self.load_anew(bus);
                } else {
                    if let Some(running) = &mut self.running {
                        running.unsaved = unsaved;
                    }
                    if let Some(table) = routing {
                        self.publish_table(&table, bus);
                    }
                }
            }
        }
        true
    }

    fn commit(&mut self, batch: &Unsaved, bus: &mut Bus) -> Commit {
        let empty = batch.changes.is_empty() && batch.events.is_empty();
        let Some(running) = &mut self.running else { return Commit::Crashed };
        if empty && running.refusing.is_none() {
            return Commit::Done;
        }
        if running.refusing.is_some_and(|at| at > bus.now) {
            return if empty { Commit::Done } else { Commit::Refused };
        }
        if self.prng.chance(bus.faults.crash_before_commit) {
            self.crash(bus);
            return Commit::Crashed;
        }
        if self.disk_full_until > bus.now || self.prng.chance(bus.faults.commit_fails) {
            running.refusing = Some(bus.now + RETRY);
            return Commit::Refused;
        }
        if running.refusing.take().is_some() {
            running.good_since = bus.now;
        }
        if let Err(why) = self.store.commit(&batch.changes, &batch.events) {
            bus.fault(|| format!("the disk refuses for good: {why}"));
        }
        bus.stir(self.store.last_event);
        for event in &batch.events {
            bus.note(|| {
                let cause = event.cause.unwrap_or(0);
                let about = event.instance.map(|id| format!(" {id}")).unwrap_or_default();
                let service = event.service.as_ref().map(|it| format!(" {it}"));
                let service = service.unwrap_or_default();
                format!(
                    "#{} ({cause}) {}{service}{about}: {}",
                    event.seq, event.kind, event.message
                )
            });
        }
        if self.prng.chance(bus.faults.crash_after_commit) {
            self.crash(bus);
            return Commit::Crashed;
        }
        Commit::Done
    }

    /// Nothing to do after everything was done; what is stored is what is in memory.
    fn look(&mut self, bus: &mut Bus) {
        let now = self.now(bus);
        let Some(running) = &self.running else { return };
        let mut again = running.core.clone();
        again.drive(now);
        let more = again.take_output();
        if !more.is_empty() {
            bus.fault(|| format!("drive goes on by itself: {:?} {:?}", more.events, more.changes));
        }
        let (cluster, store) = (running.core.cluster(), &self.store);
        let mut rows = store.rows();
        rows.settle_generations();
        let same = cluster.services().eq(store.services.values())
            && cluster.instances().eq(store.instances.values())
            && cluster.deployments().eq(store.deployments.values())
            && cluster
                .workers()
                .map(|it| (&it.name, it.generation, it.admission))
                .eq(rows.workers.iter().map(|it| (&it.name, it.generation, it.admission)));
        if !same {
            bus.fault(|| "what is stored is not what is in memory".to_owned());
        }
    }

    fn publish(&mut self, batch: Unsaved, routing: Option<Arc<RoutingTable>>, bus: &mut Bus) {
        if let Some(running) = &mut self.running {
            for plan in batch.plans.into_values() {
                running.manager.plan(plan, bus);
            }
        }
        if let Some(table) = routing {
            self.publish_table(&table, bus);
        }
        for change in batch.changes {
            if let Change::DropWorker(name) = change
                && let Some(running) = &mut self.running
                && running.core.cluster().worker(&name).is_none()
            {
                running.manager.forget(&name);
            }
        }
    }

    pub(super) fn publish_table(&mut self, table: &Arc<RoutingTable>, bus: &mut Bus) {
        let now = self.now(bus);
        let Some(running) = &mut self.running else { return };
        let mut table = RoutingTable::clone(table);
        table.version += running.version_base;
        running.version = table.version;
        running.note_drains(&table);
        let drained = running.balancer.adopt(table, now.mono);
        self.drained(drained, bus);
    }

    /// A command could not be stored: the core is as stored again, and is told what is true.
    fn load_anew(&mut self, bus: &mut Bus) {
        bus.note(|| "controller loads anew".to_owned());
        let (now, config) = (self.now(bus), self.config());
        let rows = self.store.rows();
        let Some(running) = &mut self.running else { return };
        running.unsaved = Unsaved::default();
        match Deployer::load(config, rows, now) {
            Ok(core) => running.core = core,
            Err(error) => return bus.fault(|| error.to_string()),
        }
        running.version_base = running.version;
        let table = running.core.table();
        self.publish_table(&table, bus);
        let Some(running) = &mut self.running else { return };
        let complete = running.drains.iter().filter(|(_, (_, told))| *told);
        let complete: Vec<InstanceId> = complete.map(|(id, _)| *id).collect();
        for instance in complete {
            running.core.observe(Fact::Drained { instance }, now);
        }
        let told = running.manager.retell();
        self.tell(told, bus);
    }
}
