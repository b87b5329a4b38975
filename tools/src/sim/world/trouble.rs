//! What goes wrong in a history, once a second and each by its own chance, and its end. What a
//! fault then does is the business of whom it happens to.

use super::World;
use crate::sim::agent::{Agent, Strain};
use crate::sim::bus::Link;
use crate::sim::clock::{SECOND, Time};
use crate::sim::faults::Faults;

impl World {
    pub(super) fn trouble_controller(&mut self, faults: &Faults) {
        if self.prng.chance(faults.controller_crash_s) {
            self.controller.crash(&mut self.bus);
            self.operator.loses_answers();
        }
        if self.prng.chance(faults.controller_stall_s) {
            self.controller.stall(&mut self.bus);
        }
        let now = self.bus.now;
        if self.prng.chance(faults.disk_full_s) {
            self.controller.disk_full_until = now + self.some_seconds(20);
        }
        if self.prng.chance(faults.clock_step_s) {
            let step = self.clock_step();
            self.bus.note(|| format!("the controller's clock steps by {step} ms"));
            self.controller.clock.step(step);
        }
    }

    pub(super) fn trouble_worker(&mut self, at: usize, faults: &Faults) {
        let now = self.bus.now;
        let (both, one) = (faults.partition_s, faults.partition_one_way_s);
        if self.prng.chance(both) {
            let until = now + self.some_seconds(40);
            self.cut(at, (until, until));
        }
        if self.prng.chance(one) {
            let until = now + self.some_seconds(40);
            let out = self.prng.chance(0.5);
            self.cut(at, if out { (until, 0) } else { (0, until) });
        }
        let overload = now + self.some_seconds(30);
        let step = self.clock_step();
        let Some(agent) = self.agents.get_mut(at) else { return };
        if self.prng.chance(faults.agent_crash_s) {
            agent.crash(&mut self.bus);
        }
        if self.prng.chance(faults.reboot_s) {
            agent.reboot(false, &mut self.bus);
        }
        if self.prng.chance(faults.wipe_s) {
            agent.reboot(true, &mut self.bus);
        }
        if self.prng.chance(faults.clock_step_s) {
            agent.clock.step(step);
        }
        if self.prng.chance(faults.overload_s) {
            agent.strain.cpu_until = overload;
        }
        self.strain_worker(at, faults);
    }

    /// What a machine measures of itself, from a stream of its own.
    fn strain_worker(&mut self, at: usize, faults: &Faults) {
        let strains = &mut self.strains;
        let until = self.bus.now + (1 + u64::from(strains.below(30))) * SECOND;
        let Some(Agent { strain, .. }) = self.agents.get_mut(at) else { return };
        if strains.chance(faults.pressure_s) {
            strain.pressure_until = until;
            self.bus.note(|| format!("w{}: its processes wait for its CPUs or disks", at + 1));
        }
        if strains.chance(faults.memory_taken_s) {
            strain.memory_until = until;
            self.bus.note(|| format!("w{}: something else takes its memory", at + 1));
        }
    }

    fn some_seconds(&mut self, most: u32) -> Time {
        (1 + u64::from(self.prng.below(most))) * SECOND
    }

    /// Mostly some seconds, sometimes hours: a clock that was set by hand.
    fn clock_step(&mut self) -> i64 {
        let span = if self.prng.chance(0.3) { 10_000_000 } else { 60_000 };
        i64::from(self.prng.below(span)) - i64::from(span / 2)
    }

    fn cut(&mut self, at: usize, (out_until, in_until): (Time, Time)) {
        let now = self.bus.now;
        self.bus.note(|| {
            let seconds = |until: Time| until.saturating_sub(now) / SECOND;
            format!(
                "w{} is cut off: out {} s, in {} s",
                at + 1,
                seconds(out_until),
                seconds(in_until)
            )
        });
        if let Some(link) = self.bus.links.get_mut(at) {
            link.out_cut_until = link.out_cut_until.max(out_until);
            link.in_cut_until = link.in_cut_until.max(in_until);
        }
    }

    /// Nothing goes wrong any more; what was wrong is mended.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.bus.note(|| "calm from here on".to_owned());
        self.bus.faults = Faults::NONE;
        self.bus.links.iter_mut().for_each(|link| *link = Link::default());
        self.controller.disk_full_until = 0;
        self.controller.clock.mend();
        for agent in &mut self.agents {
            agent.strain = Strain::default();
            agent.clock.mend();
        }
    }
}
