//! One history: everything that happens, in order; faults come for a while, then stop; then the
//! cluster has to come to rest.

mod trouble;

use tucano_common::prng::Prng;
use tucano_controller_core::cluster::{Admission, Phase};
use tucano_controller_core::deployer::Command;
use tucano_worker_core::JobRun;

use super::agent::Agent;
use super::balancer::Way;
use super::bus::{Bus, Due};
use super::checks::{Checks, unrest};
use super::clock::{MS, SECOND, Time};
use super::controller::Controller;
use super::faults::Faults;
use super::names::{self, Kind, SERVICES};
use super::operator::Operator;

/// How long a cluster may take to come to rest once nothing goes wrong any more.
const REST_BOUND: Time = 400 * SECOND;

pub(super) struct World {
    pub(super) bus: Bus,
    pub(super) operator: Operator,
    pub(super) requests: u64,
    pub(super) failed_requests: u64,
    controller: Controller,
    agents: Vec<Agent>,
    pub(super) checks: Checks,
    prng: Prng,
    /// Of what strains machines.
    strains: Prng,
    /// Faults come until then.
    until: Time,
    calm: bool,
    faultless: bool,
    last_unrest: String,
}

impl World {
    pub(super) fn new(seed: u64, faults: Option<Faults>, tracing: bool) -> World {
        let mut prng = Prng::new(seed);
        let mut drawer = prng.fork();
        let faults = faults.unwrap_or_else(|| Faults::draw(&mut drawer));
        let workers = 3 + drawer.below(3) as usize;
        let until = (40 + u64::from(drawer.below(80))) * SECOND;
        let drift = faults.drift_ppm;
        let mut ppm = || ((f64::from(drawer.below(2001)) / 1000.0 - 1.0) * drift) as i64;
        let controller = Controller::new(prng.fork(), ppm());
        let mut machines = prng.fork();
        let agents = (0..workers).map(|at| Agent::new(at, &mut machines, ppm())).collect();
        let faultless = !faults.any();
        let mut bus = Bus::new(workers, faults, prng.fork(), tracing);
        bus.note(|| format!("seed {seed}, {workers} workers"));
        World {
            operator: Operator::new(prng.fork(), workers),
            requests: 0,
            failed_requests: 0,
            controller,
            agents,
            checks: Checks::default(),
            strains: prng.clone().fork(),
            prng,
            until,
            calm: false,
            faultless,
            last_unrest: String::new(),
            bus,
        }
    }

    /// Runs the history to its end.
    pub(super) fn run(&mut self) {
        let faults = self.bus.faults.clone();
        self.bus.note(|| format!("{faults:?}"));
        self.bus.after(0, Due::ControllerStart);
        for worker in 0..self.agents.len() {
            self.bus.after(10 * MS * worker as u64, Due::AgentStart { worker });
        }
        self.bus.after(SECOND, Due::Operator);
        self.bus.after(SECOND, Due::Second);
        self.bus.after(SECOND, Due::Request);
        while self.bus.failure.is_none() {
            let Some(due) = self.bus.pop() else { break };
            if self.at_rest(&due) {
                break;
            }
            self.step(due);
        }
    }

    fn at_rest(&mut self, due: &Due) -> bool {
        if !self.calm || !matches!(due, Due::Second) {
            return false;
        }
        let Some(what) = unrest(&self.controller, &self.agents, &self.bus) else { return true };
        self.last_unrest = what;
        if self.bus.now > self.until + REST_BOUND {
            let what = self.last_unrest.clone();
            self.bus.fault(|| format!("does not come to rest: {what}"));
        }
        false
    }

    fn step(&mut self, due: Due) {
        if self.is_held_up(&due) {
            let at = self.controller.stalled_until;
            return self.bus.at(at, due);
        }
        let bus = &mut self.bus;
        match due {
            Due::Deliver(packet) if packet.to_controller => {
                if bus.controller == Some(packet.incarnation) {
                    self.controller.hear(packet, bus);
                }
            }
            Due::Deliver(packet) => {
                let Some(agent) = self.agents.get_mut(packet.worker) else { return };
                if bus.agents.get(packet.worker) == Some(&Some(packet.incarnation)) {
                    agent.hear(packet, bus);
                }
            }
            Due::TimedOut { worker, to_controller: true, incarnation, call } => {
                if let Some(agent) = live(&mut self.agents, bus, worker, incarnation) {
                    agent.timed_out(call, bus);
                }
            }
            Due::TimedOut { worker, to_controller: false, incarnation, call } => {
                if bus.controller == Some(incarnation) {
                    self.controller.order_timed_out(worker, call, bus);
                }
            }
            Due::Turn { incarnation } => {
                if bus.controller == Some(incarnation) {
                    self.controller.turn(bus);
                    self.look();
                }
            }
            Due::ControllerWake { incarnation } => {
                if bus.controller == Some(incarnation) {
                    self.controller.wake(bus);
                    self.look();
                }
            }
            Due::ControllerStart => {
                self.controller.begin(bus);
                self.look();
            }
            Due::AgentWake { worker, incarnation } => {
                if let Some(agent) = live(&mut self.agents, bus, worker, incarnation) {
                    agent.turn(bus);
                }
            }
            Due::AgentStart { worker } => {
                if let Some(agent) = self.agents.get_mut(worker) {
                    agent.begin(bus);
                }
            }
            Due::Learn { worker, incarnation, fact } => {
                if let Some(agent) = live(&mut self.agents, bus, worker, incarnation) {
                    agent.take(*fact, bus);
                }
            }
            Due::Saved { worker, incarnation } => {
                if let Some(agent) = live(&mut self.agents, bus, worker, incarnation) {
                    agent.saved(bus);
                }
            }
            Due::Ends { worker, job } => self.end_job(worker, &job),
            Due::Request => self.request(),
            Due::Answered { incarnation, request } => self.answered(incarnation, request),
            Due::Operator => self.operate(),
            Due::Second => self.second(),
        }
    }

    fn end_job(&mut self, worker: usize, job: &JobRun) {
        let bus = &mut self.bus;
        let Some(agent) = self.agents.get_mut(worker) else { return };
        let wall = agent.now(bus).wall;
        if let Some(fact) = agent.machine.end_due(job, wall, bus.now) {
            bus.note(|| format!("{} {job} has ended", agent.name));
            agent.take(fact, bus);
        }
    }

    /// A stopped controller takes nothing until it goes on.
    fn is_held_up(&self, due: &Due) -> bool {
        let stalled = self.controller.stalled_until > self.bus.now;
        stalled
            && match due {
                Due::Deliver(packet) => packet.to_controller,
                Due::TimedOut { to_controller, .. } => !to_controller,
                Due::Turn { .. } | Due::ControllerWake { .. } | Due::Answered { .. } => true,
                Due::ControllerStart
                | Due::AgentWake { .. }
                | Due::AgentStart { .. }
                | Due::Learn { .. }
                | Due::Saved { .. }
                | Due::Ends { .. }
                | Due::Request
                | Due::Operator
                | Due::Second => false,
            }
    }

    /// After each turn of the controller.
    fn look(&mut self) {
        for (ticket, outcome) in std::mem::take(&mut self.controller.answers) {
            self.bus.note(|| format!("operator hears {outcome:?}"));
            self.operator.hears(ticket, &outcome);
        }
        if self.controller.running.is_none() {
            self.operator.loses_answers();
        }
        if !std::mem::take(&mut self.controller.changed) {
            return;
        }
        self.checks.at_commit(&self.controller, &mut self.bus);
        if let Some(what) = self.operator.broken_promise(&self.controller.store) {
            self.bus.fault(|| what);
        }
    }

    fn operate(&mut self) {
        if self.calm {
            return;
        }
        let pause = 500 * MS + u64::from(self.prng.below(6_000)) * MS;
        self.bus.after(pause, Due::Operator);
        let Some(running) = &self.controller.running else { return };
        let command = self.operator.think(running.core.cluster());
        self.ask(command);
    }

    fn ask(&mut self, command: Command) {
        let ticket = self.bus.number();
        self.bus.note(|| match &command {
            Command::Deploy { spec } => {
                let runtime = spec.scripts().map_or("", |scripts| scripts.runtime.as_str());
                format!("operator deploys {} x{} ({runtime})", spec.name, spec.concurrency)
            }
            other => format!("operator asks {other:?}"),
        });
        self.operator.asks(ticket, command.clone());
        self.controller.command(ticket, command, &mut self.bus);
    }

    fn second(&mut self) {
        self.bus.after(SECOND, Due::Second);
        self.checks.each_second(&self.controller, &self.agents, &mut self.bus);
        if self.calm {
            return self.tidy_up();
        }
        if self.bus.now >= self.until {
            return self.calm_down();
        }
        let faults = self.bus.faults.clone();
        self.trouble_controller(&faults);
        for at in 0..self.agents.len() {
            self.trouble_worker(at, &faults);
        }
    }

    /// The operator wants every service well in the end, and every worker in use.
    fn tidy_up(&mut self) {
        let Some(running) = &self.controller.running else { return };
        let cluster = running.core.cluster();
        let draining = cluster.workers().find(|it| it.admission != Admission::Open);
        let worker = draining.map(|worker| worker.name.clone());
        let failed = (0..SERVICES).map(names::service).find(|name| {
            let service = cluster.service(name);
            service.is_some_and(|service| {
                let spec = cluster.spec_of(service);
                let bad = spec.is_some_and(|spec| !is_good(spec));
                let done = service.phase != Phase::Deploying && service.phase != Phase::Ending;
                service.phase == Phase::Failed || (done && bad)
            })
        });
        let paused = super::operator::paused(cluster).next();
        if let Some(deployment) = paused {
            self.ask(Command::ResumeDeployment { deployment });
        } else if let Some(worker) = worker {
            self.ask(Command::ActivateWorker { worker });
        } else if let Some(name) = failed {
            let command = self.operator.deploy(&name, Kind::Plain);
            self.ask(command);
        }
    }

    // --- requests ----------------------------------------------------------------------------

    /// A client asks for each service.
    fn request(&mut self) {
        self.bus.after(700 * MS, Due::Request);
        if self.controller.stalled_until > self.bus.now {
            return;
        }
        for at in 0..SERVICES {
            self.request_of(at);
        }
    }

    fn request_of(&mut self, at: usize) {
        let now = self.controller.now(&self.bus).mono;
        let Some(running) = &mut self.controller.running else { return };
        let Some(place) = running.balancer.place(&names::service(at)) else { return };
        let (ix, id, address) = match running.balancer.choose(place, &[], now) {
            Way::To(ix, id, address) => (ix, id, address),
            Way::Wait | Way::Nobody => return,
        };
        let Some(worker) = names::worker_at(address.ip()) else { return };
        let Some(agent) = self.agents.get(worker) else { return };
        let owner = agent.machine.listener(address.port());
        let request = self.bus.number();
        self.requests += 1;
        running.balancer.begin(request, place, ix, id);
        let reached = self.bus.reaches(worker);
        match owner {
            Some(owner) if owner != id && reached => {
                return self.bus.fault(|| format!("a request for {id} reaches {owner}"));
            }
            Some(_) if reached => {
                let length = 10 * MS + u64::from(self.prng.below(1500)) * MS;
                let incarnation = self.bus.controller.unwrap_or(0);
                return self.bus.after(length, Due::Answered { incarnation, request });
            }
            Some(_) | None => {}
        }
        self.failed_requests += 1;
        if self.faultless && !self.calm && self.is_well(at) {
            self.bus.fault(|| format!("nothing goes wrong, and {id} does not answer"));
            return;
        }
        let Some(running) = &mut self.controller.running else { return };
        let drained = running.balancer.finish(request, false, now);
        self.controller.drained(drained, &mut self.bus);
    }

    /// Whether a service's runtime is one that does not end by itself.
    fn is_well(&self, at: usize) -> bool {
        let Some(running) = &self.controller.running else { return false };
        let cluster = running.core.cluster();
        let revisions = names::service(at);
        let mut all = cluster.revisions(&revisions);
        all.all(|revision| is_good(&revision.spec))
    }

    fn answered(&mut self, incarnation: u64, request: u64) {
        if self.bus.controller != Some(incarnation) {
            return;
        }
        let now = self.controller.now(&self.bus).mono;
        let Some(running) = &mut self.controller.running else { return };
        let Some(instance) = running.balancer.instance_of(request) else { return };
        let lives = self.agents.iter().any(|agent| agent.machine.runtime(instance).is_some());
        self.failed_requests += u64::from(!lives);
        let drained = running.balancer.finish(request, lives, now);
        self.controller.drained(drained, &mut self.bus);
    }
}

fn is_good(spec: &tucano_common::spec::Spec) -> bool {
    let scripts = spec.scripts();
    scripts.is_none_or(|it| it.runtime == "run" && it.build.as_deref() != Some("fail"))
}

/// An agent, if it is still the process that something is for.
fn live<'a>(
    agents: &'a mut [Agent],
    bus: &Bus,
    worker: usize,
    incarnation: u64,
) -> Option<&'a mut Agent> {
    let same = bus.agents.get(worker) == Some(&Some(incarnation));
    agents.get_mut(worker).filter(|_| same)
}
