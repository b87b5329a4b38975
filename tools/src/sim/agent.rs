//! An agent: the worker's real core and its real link to the controller, on a machine that is made
//! up. Its process dies and begins again; its machine and its disk go on.

mod link;

use std::net::{IpAddr, Ipv4Addr};

use tucano_common::limits::HEARTBEAT_DEFAULT;
use tucano_common::name::WorkerName;
use tucano_common::prng::Prng;
use tucano_common::time::Now;
use tucano_common::wire::worker::Notice;
use tucano_worker_core::{Effect, Fact, Job, Layout, Ledger, PortRange, Settings, Supervisor};

use super::bus::{Bus, Due};
use super::clock::{Clock, MS, SECOND, Time};
use super::link_state::{Ask, LinkState};
use super::machine::Machine;
use super::names;

/// How long an agent waits for an answer.
const LINK_TIMEOUT: Time = 5 * SECOND;
const MEMORY_BYTES: u64 = 1 << 30;

pub(super) struct Agent {
    pub(super) index: usize,
    pub(super) name: WorkerName,
    pub(super) host: IpAddr,
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    pub(super) mind: Option<Mind>,
    pub(super) strain: Strain,
    disk: Option<Ledger>,
    /// The last ledger did not get there.
    ledger_failed: bool,
    /// On its way to the disk, and whether it will arrive.
    saving: Option<(u64, Ledger, bool)>,
    prng: Prng,
}

/// Until when its machine measures too much of something.
#[derive(Clone, Copy, Default)]
pub(super) struct Strain {
    pub(super) cpu_until: Time,
    pub(super) pressure_until: Time,
    pub(super) memory_until: Time,
}

/// The agent's process.
pub(super) struct Mind {
    pub(super) supervisor: Supervisor,
    link: LinkState,
    session: u64,
    seq: u64,
    call: Option<(u64, Ask)>,
    notices: Vec<Notice>,
    next_sample: Time,
    wake: Option<Time>,
}

impl Agent {
    pub(super) fn new(index: usize, prng: &mut Prng, ppm: i64) -> Agent {
        let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
        let layout = Layout::new(format!("/w{number}"));
        Agent {
            index,
            name: names::worker(index),
            host: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
            machine: Machine::new(index, layout, prng.fork()),
            clock: Clock::new(ppm),
            mind: None,
            strain: Strain::default(),
            disk: None,
            ledger_failed: false,
            saving: None,
            prng: prng.fork(),
        }
    }

    fn settings(&self) -> Option<Settings> {
        Some(Settings {
            worker: self.name.clone(),
            layout: Layout::new(format!("/w{}", self.index + 1)),
            host: self.host,
            balancer_url: "http://10.0.0.100:8080".to_owned(),
            ports: PortRange::new(20_000, 20_039)?,
            ephemeral: None,
        })
    }

    pub(super) fn now(&self, bus: &Bus) -> Now {
        self.clock.now(bus.now)
    }

    fn incarnation(&self, bus: &Bus) -> u64 {
        bus.agents.get(self.index).copied().flatten().unwrap_or(0)
    }

    // --- its life ----------------------------------------------------------------------------

    /// The process begins: with what the ledger says, or with nothing.
    pub(super) fn begin(&mut self, bus: &mut Bus) {
        let Some(settings) = self.settings() else { return };
        if self.mind.is_some() {
            return;
        }
        let incarnation = bus.number();
        self.clock.begin(bus.now, u64::from(self.prng.below(1 << 30)));
        if let Some(slot) = bus.agents.get_mut(self.index) {
            *slot = Some(incarnation);
        }
        let now = self.now(bus);
        let seed = self.prng.next_u64();
        let supervisor = match self.disk.clone() {
            Some(ledger) => Supervisor::from_ledger(settings, ledger, seed, now),
            None => Supervisor::new(settings, seed),
        };
        let known = supervisor.jobs();
        for job in self.machine.sweep(&known) {
            // On a full disk what ran before is started again without a word in the ledger.
            if let Job::Runtime(id) = &job.job
                && supervisor.has(*id)
                && !self.ledger_failed
            {
                bus.fault(|| format!("{}: {job} was started without a ledger's word", self.name));
            }
        }
        self.mind = Some(Mind {
            supervisor,
            link: LinkState::new(HEARTBEAT_DEFAULT),
            session: self.prng.next_u64(),
            seq: u64::try_from(now.wall.0).unwrap_or(0).saturating_mul(1000),
            call: None,
            notices: Vec::new(),
            next_sample: bus.now,
            wake: None,
        });
        bus.note(|| format!("{} begins", self.name));
        self.turn(bus);
    }

    /// The process ends without a word.
    pub(super) fn crash(&mut self, bus: &mut Bus) {
        if self.mind.take().is_none() {
            return;
        }
        if let Some(slot) = bus.agents.get_mut(self.index) {
            *slot = None;
        }
        // What was being written is there whole, or not at all.
        if let Some((_, ledger, _)) = self.saving.take()
            && self.prng.chance(0.5)
        {
            self.disk = Some(ledger);
        }
        bus.note(|| format!("{} crashes", self.name));
        bus.stir(self.index as u64);
        let away = 100 * MS + u64::from(self.prng.below(15_000)) * MS;
        bus.after(away, Due::AgentStart { worker: self.index });
    }

    /// The machine begins anew; `empty`: another one in its place.
    pub(super) fn reboot(&mut self, empty: bool, bus: &mut Bus) {
        self.crash(bus);
        bus.note(|| format!("{} loses power, empty: {empty}", self.name));
        let wall = self.now(bus).wall;
        if empty {
            self.machine.wipe();
            self.disk = None;
        } else {
            self.machine.lose_power(wall);
        }
    }

    /// Everything that is due, until nothing comes; then sleeps.
    pub(super) fn turn(&mut self, bus: &mut Bus) {
        let mut rounds = 0;
        loop {
            let now = self.now(bus);
            let Some(mind) = &mut self.mind else { return };
            if mind.next_sample <= bus.now {
                mind.next_sample = bus.now + HEARTBEAT_DEFAULT.as_micros() as Time;
                mind.link.report(now.mono);
            }
            let effects = mind.supervisor.drive(now);
            if effects.is_empty() {
                break;
            }
            rounds += 1;
            if rounds > 200 {
                return bus.fault(|| format!("{}: drive does not come to rest", self.name));
            }
            for effect in effects {
                self.carry_out(effect, bus);
                if self.prng.chance(bus.faults.agent_crash_midway) {
                    return self.crash(bus);
                }
            }
        }
        self.pump(bus);
        self.sleep(bus);
    }

    fn sleep(&mut self, bus: &mut Bus) {
        let incarnation = self.incarnation(bus);
        let Some(mind) = &mut self.mind else { return };
        let own = mind.supervisor.next_deadline();
        let link = mind.link.deadline(mind.supervisor.holds());
        let deadlines = [own, link].into_iter().flatten();
        let at = deadlines.map(|mono| self.clock.when(mono, bus.now)).min();
        // A deadline that drive did not take is looked at again a little later, not at once.
        let at = at.map_or(mind.next_sample, |at| at.max(bus.now + 100)).min(mind.next_sample);
        if mind.wake.is_none_or(|wake| at < wake || wake <= bus.now) {
            mind.wake = Some(at);
            bus.at(at, Due::AgentWake { worker: self.index, incarnation });
        }
    }

    // --- its machine -------------------------------------------------------------------------

    fn learn(&self, delay: Time, fact: Fact, bus: &mut Bus) {
        let (worker, incarnation) = (self.index, self.incarnation(bus));
        bus.after(delay, Due::Learn { worker, incarnation, fact: Box::new(fact) });
    }

    fn jitter(&mut self, ms: Time) -> Time {
        self.prng.jitter(ms * MS, 0.5)
    }

    fn carry_out(&mut self, effect: Effect, bus: &mut Bus) {
        let now = self.now(bus);
        match effect {
            Effect::PrepareSource { build, attempt, .. } => {
                let fact = if self.prng.chance(bus.faults.source_fails) {
                    let message = "no such artifact".to_owned();
                    Fact::SourceFailed { build, attempt, message }
                } else {
                    let folder = Layout::new(format!("/w{}", self.index + 1)).build(&build);
                    self.machine.make_folder(folder);
                    Fact::SourceReady { build, attempt }
                };
                let delay = self.jitter(50);
                self.learn(delay, fact, bus);
            }
            Effect::Start(launch) => {
                bus.note(|| format!("{} starts {}", self.name, launch.job));
                let (delay, fact) = self.machine.start(&launch, now.wall, bus);
                self.learn(delay, fact, bus);
            }
            Effect::Adopt { job, .. } => {
                let fact = self.machine.adopt(job);
                self.learn(MS, fact, bus);
            }
            Effect::SignalStop(job) => {
                bus.note(|| format!("{} stops {job}", self.name));
                self.machine.stop(&job, bus);
            }
            Effect::SignalKill(job) => self.machine.kill(&job, bus),
            Effect::Probe(probe) => {
                let result = self.machine.probe(probe.id, bus);
                self.learn(2 * MS, Fact::Probed { id: probe.id, run: probe.run, result }, bus);
            }
            Effect::Remove(folder) => {
                let fact = self.machine.remove(folder, bus);
                let delay = self.jitter(10);
                self.learn(delay, fact, bus);
            }
            Effect::SaveLedger { version } => self.save(version, bus),
            Effect::Report => {
                if let Some(mind) = &mut self.mind {
                    mind.link.report(now.mono);
                }
            }
            Effect::Note(note) => {
                bus.note(|| format!("{}: {note}", self.name));
                if let Some(mind) = &mut self.mind
                    && note.is_notice()
                    && mind.notices.len() < 16
                {
                    let (kind, message) = (note.kind().to_owned(), note.to_string());
                    let instance = note.instance();
                    mind.notices.push(Notice { at: now.wall, kind, message, instance });
                }
            }
        }
    }

    fn save(&mut self, version: u64, bus: &mut Bus) {
        let good = !self.prng.chance(bus.faults.ledger_fails);
        let Some(mind) = &self.mind else { return };
        self.saving = Some((version, mind.supervisor.ledger(), good));
        let (worker, incarnation) = (self.index, self.incarnation(bus));
        let delay = self.jitter(4);
        bus.after(delay, Due::Saved { worker, incarnation });
    }

    /// The disk is done with a ledger.
    pub(super) fn saved(&mut self, bus: &mut Bus) {
        let Some((version, ledger, good)) = self.saving.take() else { return };
        self.ledger_failed = !good;
        let fact = if good {
            self.disk = Some(ledger);
            Fact::LedgerSaved { version }
        } else {
            Fact::LedgerFailed { version, message: "disk full".to_owned() }
        };
        self.take(fact, bus);
    }

    pub(super) fn take(&mut self, fact: Fact, bus: &mut Bus) {
        let now = self.now(bus);
        if let Some(mind) = &mut self.mind {
            mind.supervisor.observe(fact, now);
            self.turn(bus);
        }
    }
}
