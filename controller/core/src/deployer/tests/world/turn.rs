//! One tick of the world: its agents act and say so, what was late arrives, leases run out.

use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::time::Wall;

use super::super::agent::Agent;
use super::*;

impl World {
    pub(in super::super) fn tick(&mut self) {
        self.now.mono = self.now.mono + Duration::from_millis(TICK_MS);
        self.now.wall = Wall(self.now.wall.0 + TICK_MS as i64);
        let names: Vec<WorkerName> = self.agents.keys().cloned().collect();
        for name in &names {
            self.turn_agent(name);
        }
        self.deliver_late();
        for change in self.leases.expire(self.now.mono) {
            let fact = Fact::Lease { worker: change.worker, lease: change.lease };
            self.deployer.observe(fact, self.now);
        }
        let now = self.now.mono;
        let drained: Vec<InstanceId> =
            self.drains.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for instance in drained {
            self.deployer.observe(Fact::Drained { instance }, self.now);
        }
        self.commit();
    }

    fn turn_agent(&mut self, name: &WorkerName) {
        let now = self.now.mono;
        let Some(agent) = self.agents.get_mut(name) else { return };
        if !agent.up {
            return;
        }
        agent.step(now);
        if !agent.linked || !(agent.changed || agent.next_beat <= now) {
            return;
        }
        agent.next_beat = now + Duration::from_secs(1);
        agent.changed = false;
        if !agent.greeted {
            return self.greet(name);
        }
        agent.seq += 1;
        let said = agent.clone();
        if self.prng.chance(self.faults.beat_late) {
            let late = now + Duration::from_millis(u64::from(self.prng.below(3000)));
            self.late_beats.push((late, Box::new(said.clone())));
        }
        if self.prng.chance(self.faults.beat_lost) {
            return;
        }
        let generation = self.hear(&said);
        if self.prng.chance(self.faults.answer_lost) {
            return;
        }
        let plan = self.plans.get(name).cloned();
        let Some(agent) = self.agents.get_mut(name) else { return };
        match (generation, plan) {
            (None, _) => agent.greeted = false,
            (Some(generation), Some(plan)) if agent.holds != Some(generation) => {
                agent.take_plan(&plan);
            }
            (Some(_), _) => {}
        }
    }

    /// Hello: answered once what comes of it is stored.
    fn greet(&mut self, name: &WorkerName) {
        let Some(agent) = self.agents.get(name) else { return };
        let caller = Caller { session: agent.session, address: agent.address, agent_port: 7071 };
        let introduction = Box::new(agent.introduction());
        if self.leases.hello(name, caller, self.now.mono).is_err() {
            return;
        }
        self.news.remove(name);
        self.deployer.observe(Fact::Hello(introduction), self.now);
        self.commit();
        let plan = self.plans.get(name).cloned().unwrap_or_else(|| no_plan(name));
        if let Some(agent) = self.agents.get_mut(name) {
            agent.greeted = true;
            if agent.holds != Some(plan.generation) {
                agent.take_plan(&plan);
            }
        }
    }

    /// A heartbeat reaches the controller; none where the agent has to say hello.
    fn hear(&mut self, said: &Agent) -> Option<u64> {
        let beat = self.leases.heartbeat(&said.name, said.session, said.seq, self.now.mono);
        match beat {
            Err(_) => return None,
            Ok(Beat::Stale) => {}
            Ok(Beat::Fresh(change)) => {
                if let Some(change) = change {
                    let fact = Fact::Lease { worker: change.worker, lease: change.lease };
                    self.deployer.observe(fact, self.now);
                }
                self.take_beat(said);
            }
        }
        Some(self.plans.get(&said.name).map_or(0, |plan| plan.generation))
    }

    fn take_beat(&mut self, said: &Agent) {
        let reports = said.reports();
        let news = self.news.entry(said.name.clone()).or_default();
        if news.take(said.holds, &reports) {
            let (worker, holds) = (said.name.clone(), said.holds);
            let fact = Fact::Reports { worker, holds, instances: reports.clone() };
            self.deployer.observe(fact, self.now);
        }
        let before = self.loads.get(&said.name).copied();
        let load = smooth(before, &said.metrics, Duration::from_secs(1));
        self.loads.insert(said.name.clone(), load);
        let fact = Fact::Measured {
            worker: said.name.clone(),
            metrics: Box::new(said.metrics.clone()),
            load: Some(load),
            usage: usage(&reports),
        };
        self.deployer.observe(fact, self.now);
    }

    fn deliver_late(&mut self) {
        let now = self.now.mono;
        let due: Vec<LateBeat> = self.late_beats.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, said) in due {
            self.hear(&said);
        }
        let due: Vec<LatePush> = self.late_pushes.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, plan) in due {
            self.push(&plan);
        }
    }
}
