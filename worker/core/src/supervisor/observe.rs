//! Facts, each to the state machine that it is about.

use tucano_common::id::InstanceId;
use tucano_common::time::Now;

use super::Supervisor;
use crate::build::BuildFact;
use crate::disk::DiskUse;
use crate::effect::{Effect, Folder};
use crate::fact::Fact;
use crate::instance::{InstanceFact, Script};
use crate::job::{BuildKey, Job, JobRun, Run};
use crate::note::Note;

impl Supervisor {
    /// Takes a fact.
    pub fn observe(&mut self, fact: Fact, now: Now) {
        self.now = now;
        self.stirred = true;
        match fact {
            Fact::SourceReady { build, attempt } => {
                self.pending.push(Effect::Note(Note::SourceReady(build.clone())));
                self.build_fact(&build, attempt, BuildFact::SourceReady);
            }
            Fact::SourceFailed { build, attempt, message } => {
                let job = Job::Build(build.clone());
                self.pending.push(Effect::Note(Note::Failed { job, message: message.clone() }));
                self.build_fact(&build, attempt, BuildFact::SourceFailed(message));
            }
            Fact::NotLimited { job, message } => {
                self.pending.push(Effect::Note(Note::NotLimited { job, message }));
            }
            Fact::Probed { id, run, result } => {
                let fact = InstanceFact::Probed(result);
                // Its process ended while the check was under way: nothing to tell.
                let _late = self.instance_fact(id, Script::Runtime, run, fact);
            }
            Fact::NotProbed { id, run, reason } => {
                let fact = InstanceFact::NotProbed(reason);
                let _late = self.instance_fact(id, Script::Runtime, run, fact);
            }
            Fact::Removed { folder } => self.removed(&folder),
            Fact::RemoveFailed { folder, message } => {
                let name = self.name_of(&folder);
                let note = Note::NotRemoved { folder: name, message };
                self.pending.push(Effect::Note(note));
                self.removed(&folder);
            }
            Fact::DiskSeen(seen) => self.disk_seen(&seen),
            Fact::DataGone { service } => self.users.set_data(&service, false),
            Fact::LedgerSaved { version } => {
                if self.saves.succeeded(version) {
                    self.pending.push(Effect::Note(Note::LedgerBack));
                }
            }
            Fact::LedgerFailed { version, message } => {
                if self.saves.failed(version, message.clone(), now.mono) {
                    self.pending.push(Effect::Note(Note::LedgerFailed(message)));
                }
            }
            Fact::Started { .. }
            | Fact::StartFailed { .. }
            | Fact::PortTaken { .. }
            | Fact::NotYet { .. }
            | Fact::NeverStarted { .. }
            | Fact::Ended { .. } => self.job_fact(fact),
        }
    }

    fn job_fact(&mut self, fact: Fact) {
        let (job, build, instance, what) = match fact {
            Fact::Started { job, started } => {
                (job, Some(BuildFact::Started(started)), InstanceFact::Started(started), "started")
            }
            Fact::StartFailed { job, message } => (
                job,
                Some(BuildFact::StartFailed(message.clone())),
                InstanceFact::StartFailed(message),
                "start failed",
            ),
            Fact::PortTaken { job } => (job, None, InstanceFact::PortTaken, "port taken"),
            Fact::NotYet { job } => (job, Some(BuildFact::NotYet), InstanceFact::NotYet, "not yet"),
            Fact::NeverStarted { job } => {
                (job, Some(BuildFact::NeverStarted), InstanceFact::NeverStarted, "never started")
            }
            Fact::Ended { job, ending } => {
                (job, Some(BuildFact::Ended(ending.clone())), InstanceFact::Ended(ending), "ended")
            }
            Fact::SourceReady { .. }
            | Fact::SourceFailed { .. }
            | Fact::NotLimited { .. }
            | Fact::Probed { .. }
            | Fact::NotProbed { .. }
            | Fact::Removed { .. }
            | Fact::RemoveFailed { .. }
            | Fact::DiskSeen(_)
            | Fact::DataGone { .. }
            | Fact::LedgerSaved { .. }
            | Fact::LedgerFailed { .. } => return,
        };
        let runs = matches!(instance, InstanceFact::Started(_));
        let run = job.run;
        let note = note_of(&job, &instance);
        let meant = match &job.job {
            Job::Build(key) => build.is_some_and(|fact| self.build_fact(key, run, fact)),
            Job::Runtime(id) => self.instance_fact(*id, Script::Runtime, run, instance),
            Job::Teardown(id) => self.instance_fact(*id, Script::Teardown, run, instance),
        };
        if meant {
            self.pending.extend(note.map(Effect::Note));
        } else {
            self.late(job, what, runs);
        }
    }

    /// A process that nobody owns is ended.
    fn late(&mut self, job: JobRun, what: &str, runs: bool) {
        self.pending.push(Effect::Note(Note::Late(format!("{job}: {what}"))));
        if runs {
            self.pending.push(Effect::SignalKill(job));
        }
    }

    /// Ends a build that takes too much, and says where what is left is too much all the same.
    fn disk_seen(&mut self, seen: &DiskUse) {
        let overfull = seen.overfull();
        if let (Some(why), Some((key, _))) = (overfull, &seen.building)
            && let Some(build) = self.builds.get_mut(key)
        {
            build.outgrow(why);
        }
        // What a build has too much goes with it.
        let is_over = seen.surplus() > 0 && overfull.is_none();
        if is_over != std::mem::replace(&mut self.disk_is_over, is_over) {
            let (held_bytes, held_bytes_max) = (seen.held(), seen.held_max());
            let note = Note::DiskHeld { is_over, held_bytes, held_bytes_max };
            self.pending.push(Effect::Note(note));
        }
    }

    fn build_fact(&mut self, key: &BuildKey, run: Run, fact: BuildFact) -> bool {
        let now = self.now;
        self.builds.get_mut(key).is_some_and(|build| build.observe(run, fact, now))
    }

    fn instance_fact(
        &mut self,
        id: InstanceId,
        script: Script,
        run: Run,
        fact: InstanceFact,
    ) -> bool {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&id) else { return false };
        instance.observe(script, run, fact, now, &mut self.prng)
    }

    fn removed(&mut self, folder: &Folder) {
        match folder {
            Folder::Instance(id) => {
                if let Some(instance) = self.instances.get_mut(id) {
                    instance.folder_removed();
                }
            }
            Folder::Build(key) => {
                self.build_fact(key, Run(0), BuildFact::Removed);
            }
        }
    }

    fn name_of(&self, folder: &Folder) -> String {
        let layout = &self.settings.layout;
        let path = match folder {
            Folder::Instance(id) => layout.instance(*id),
            Folder::Build(key) => layout.build(key),
        };
        path.to_string_lossy().into_owned()
    }
}

/// What is told of builds and teardowns; instances tell of their runtimes themselves.
fn note_of(job: &JobRun, fact: &InstanceFact) -> Option<Note> {
    if matches!(job.job, Job::Runtime(_)) {
        return None;
    }
    match fact {
        InstanceFact::Started(started) => {
            Some(Note::Started { job: job.clone(), pid: started.main.pid })
        }
        InstanceFact::Ended(ending) => Some(Note::Ended { job: job.clone(), end: ending.end }),
        InstanceFact::StartFailed(message) => {
            Some(Note::Failed { job: job.job.clone(), message: message.clone() })
        }
        InstanceFact::PortTaken
        | InstanceFact::NotYet
        | InstanceFact::NeverStarted
        | InstanceFact::Probed(_)
        | InstanceFact::NotProbed(_) => None,
    }
}
