//! One transaction a turn, and what happens where it fails.
//!
//! A command of a turn that could not be stored is undone: the core is loaded anew from what is
//! stored. What workers and loops reported is true all the same: it stays in memory, is routed by,
//! and is stored with the next commit that works. Plans, events and answers wait for that commit;
//! nobody acts on what may be forgotten.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use tucano_common::limits::UNSAVED_CHANGES_MAX;
use tucano_common::name::WorkerName;
use tucano_common::time::{Mono, Now};
use tucano_common::wire::problem::Problem;
use tucano_controller_core::deployer::{Deployer, Fact, Output, WorkerPlan};
use tucano_net::clock::Clock;
use tucano_net::error_chain::Chain;

use super::shell::{Shell, Turn};
use super::storage::Storage;
use crate::discovery::{Batch, Class, StoreError};
use crate::msgs::ToManager;

/// What is in memory and not on disk.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    batch: Batch,
    plans: BTreeMap<WorkerName, Arc<WorkerPlan>>,
}

impl Shell {
    /// Stores what a turn brought and tells everybody, or says why not.
    pub(super) fn save(&mut self, turn: &mut Turn, now: Now) -> Result<(), Problem> {
        if matches!(self.storage, Storage::Broken { .. }) {
            return Err(self.storage.problem());
        }
        self.core.drive(now);
        let Output { changes, mut events, plans, routing } = self.core.take_output();
        self.ledger.tell(&mut events);
        let mut batch = mem::take(&mut self.unsaved.batch);
        batch.changes.extend(changes);
        batch.events.extend(events);
        batch.points.append(&mut turn.batch.points);
        batch.artifacts.append(&mut turn.batch.artifacts);
        let mut all_plans = mem::take(&mut self.unsaved.plans);
        all_plans.extend(plans.into_iter().map(|plan| (plan.worker.clone(), plan)));
        let commits = turn.commits();
        match self.commit(&batch, now) {
            Ok(()) => {
                self.publish_ports(mem::take(&mut turn.opened));
                self.publish(&batch, all_plans.into_values().collect(), routing);
                Ok(())
            }
            Err(problem) => {
                let kept = batch.changes.len().max(batch.events.len());
                if commits || kept > UNSAVED_CHANGES_MAX {
                    self.load_anew(now);
                } else {
                    // Of workers' histories the newest minutes count.
                    let old = batch.points.len().saturating_sub(UNSAVED_CHANGES_MAX);
                    batch.points.drain(..old);
                    self.unsaved = Unsaved { batch, plans: all_plans };
                    if let Some(table) = routing {
                        self.publish_table(&table);
                    }
                }
                Err(problem)
            }
        }
    }

    /// After a write or an fsync that failed: all that was stored is written once more, and the
    /// cluster read from there. What was not stored is told again by whoever knows it.
    pub(super) fn read_anew(&mut self, now: Now) {
        if !self.storage.must_read_anew(now.mono) {
            return;
        }
        match self.store.recover() {
            Ok(()) => {
                self.storage = Storage::Good;
                log::info!("the database was written and read anew: it takes writes again");
                self.load_anew(now);
            }
            Err(error) => self.fail(&error, now),
        }
    }

    /// A database that refused is tried with what is in memory already, before a command of this
    /// turn is taken.
    pub(super) fn try_again(&mut self, turn: &mut Turn, now: Now) {
        if self.storage != Storage::Good && self.storage.may_write(now.mono) {
            // Who waits for it is answered with the turn.
            let _ = self.save(turn, now);
        }
    }

    /// When a database that refuses is tried again by itself: only where something waits for it.
    pub(super) fn next_try(&self) -> Option<Mono> {
        match self.storage {
            Storage::Refusing { retry_at, .. } if !self.unsaved.batch.is_empty() => Some(retry_at),
            Storage::Distrusted { retry_at, .. } => Some(retry_at),
            Storage::Refusing { .. } | Storage::Good | Storage::Broken { .. } => None,
        }
    }

    fn commit(&mut self, batch: &Batch, now: Now) -> Result<(), Problem> {
        if !self.storage.may_write(now.mono) {
            return if batch.is_empty() { Ok(()) } else { Err(self.storage.problem()) };
        }
        if batch.is_empty() && self.storage == Storage::Good {
            return Ok(());
        }
        let begun = Clock::mono();
        let result = self.write(batch);
        self.counters.commit_time += Clock::mono().since(begun);
        match result {
            Ok(()) => {
                self.counters.commits += 1;
                if mem::replace(&mut self.storage, Storage::Good) != Storage::Good {
                    log::info!("the database takes writes again");
                }
                Ok(())
            }
            Err(error) => {
                self.counters.commit_failures += 1;
                self.fail(&error, now);
                Err(self.storage.problem())
            }
        }
    }

    /// An empty batch is a probe: something small is written.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if let Storage::Refusing { class: Class::ReadOnly, .. } = self.storage {
            self.store.reopen()?;
        }
        if batch.is_empty() { self.store.probe() } else { self.store.commit(batch) }
    }

    fn fail(&mut self, error: &StoreError, now: Now) {
        let storage = self.storage.after(error.class, now.mono);
        if self.storage == Storage::Good {
            log::error!("nothing can be stored: {}; services and routes go on", Chain(error));
        }
        self.storage = storage;
    }

    /// Begins anew from what is stored: undoes what could not be. Workers tell their part again.
    fn load_anew(&mut self, now: Now) {
        self.unsaved = Unsaved::default();
        let config = self.core.config().clone();
        let rows = match self.store.load() {
            Ok(rows) => rows,
            Err(error) => return self.give_up(&error),
        };
        match Deployer::load(config, rows, now) {
            Ok(core) => self.core = core,
            Err(error) => return self.give_up(&error),
        }
        // Its versions begin anew: they go on from the last one that was told.
        self.version_base = self.version_published.map_or(0, |version| version + 1);
        let table = self.core.table();
        self.publish_table(&table);
        for instance in self.drains.complete() {
            self.core.observe(Fact::Drained { instance }, now);
        }
        self.worker_mgr.send(ToManager::Retell);
    }

    fn give_up(&mut self, error: &dyn std::error::Error) {
        log::error!(
            "the stored cluster can't be read back: {}; requests are routed as before, nothing \
             else is done until the controller is started again",
            Chain(error)
        );
        self.storage = Storage::Broken { class: Class::Corrupt };
    }
}
