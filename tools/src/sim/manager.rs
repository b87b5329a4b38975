//! The worker manager of a simulated controller: what `controller/src/worker_mgr` does around the
//! real leases, news, loads and orders, without its loop.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::name::WorkerName;
use tucano_common::time::{Mono, Now};
use tucano_common::wire::worker::{
    Assignments, Heartbeat, HeartbeatAnswer, Hello, HelloAnswer, Holding,
};
use tucano_controller_core::cluster::{LeaseState, Load, Worker};
use tucano_controller_core::deployer::{Fact, Introduction, WorkerPlan};
use tucano_controller_core::worker_mgr::{
    Beat, BeatRefused, Caller, LeaseConfig, Leases, News, smooth, usage,
};

use super::bus::{Answer, Body, Bus, Due};
use super::clock::{SECOND, Time};
use super::pushes::{Order, orders};
use super::{CLUSTER, names};

/// How long an order may take.
const ORDER_TIMEOUT: Time = 2 * SECOND;

/// What is known of one worker.
struct Known {
    lease: LeaseState,
    plan: Option<Arc<WorkerPlan>>,
    news: News,
    measured_at: Mono,
    orders: VecDeque<Order>,
    /// The call of the first of them.
    call: u64,
}

impl Known {
    fn new(lease: LeaseState) -> Known {
        Known {
            lease,
            plan: None,
            news: News::default(),
            measured_at: Mono(0),
            orders: VecDeque::new(),
            call: 0,
        }
    }
}

/// What the deployer is to take.
pub(super) enum Tell {
    Hello { worker: usize, call: u64, introduction: Box<Introduction> },
    Fact(Fact),
}

pub(super) struct Manager {
    pub(super) leases: Leases,
    known: BTreeMap<WorkerName, Known>,
    loads: BTreeMap<WorkerName, Load>,
}

impl Manager {
    pub(super) fn new(now: Mono) -> Manager {
        let config = LeaseConfig {
            suspect_after: Duration::from_secs(3),
            dead_after: Duration::from_secs(10),
            start_grace: Duration::from_secs(30),
        };
        let (known, loads) = (BTreeMap::new(), BTreeMap::new());
        Manager { leases: Leases::new(config, now), known, loads }
    }

    pub(super) fn remember(&mut self, worker: &Worker, plan: Option<Arc<WorkerPlan>>) {
        self.leases.remember(worker.name.clone(), worker.lease);
        let known = Known { plan, ..Known::new(worker.lease) };
        self.known.insert(worker.name.clone(), known);
    }

    pub(super) fn forget(&mut self, worker: &WorkerName) {
        self.leases.forget(worker);
        self.known.remove(worker);
        self.loads.remove(worker);
    }

    /// The deployer was loaded anew: everything counts as untold.
    pub(super) fn retell(&mut self) -> Vec<Tell> {
        let mut told = Vec::new();
        for (worker, known) in &mut self.known {
            known.news = News::default();
            let fact = Fact::Lease { worker: worker.clone(), lease: known.lease };
            told.push(Tell::Fact(fact));
        }
        told
    }

    /// A hello: what the deployer is to take, or the answer where it is refused.
    pub(super) fn hello(
        &mut self,
        worker: usize,
        call: u64,
        hello: Hello,
        now: Now,
    ) -> Result<Vec<Tell>, Answer> {
        let address = hello.address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let (session, agent_port) = (hello.session, hello.agent_port);
        let caller = Caller { session, address, agent_port };
        let change =
            self.leases.hello(&hello.name, caller, now.mono).map_err(|_| Answer::Conflict)?;
        let known =
            self.known.entry(hello.name.clone()).or_insert_with(|| Known::new(change.lease));
        known.news = News::default();
        known.lease = change.lease;
        let introduction = Box::new(Introduction {
            name: hello.name,
            address,
            agent_port,
            version: hello.version,
            capacity: hello.capacity,
            labels: hello.labels,
            holds: held(hello.holds),
            instances: hello.instances,
        });
        let lease = Fact::Lease { worker: change.worker, lease: change.lease };
        Ok(vec![Tell::Hello { worker, call, introduction }, Tell::Fact(lease)])
    }

    /// The worker's hello is on disk: what to answer.
    pub(super) fn welcome(&mut self, worker: usize, plan: Arc<WorkerPlan>, now: Now) -> Answer {
        let answer = HelloAnswer {
            cluster: CLUSTER.to_owned(),
            version: "0.1.0".to_owned(),
            at: now.wall,
            generation: plan.generation,
            balancer_url: "http://10.0.0.100:8080".to_owned(),
        };
        if let Some(known) = self.known.get_mut(&names::worker(worker)) {
            known.plan = Some(plan);
        }
        Answer::Hello(Box::new(answer))
    }

    /// A heartbeat: what the deployer is to take, and the answer.
    pub(super) fn heartbeat(
        &mut self,
        worker: usize,
        beat: Heartbeat,
        now: Now,
    ) -> (Vec<Tell>, Answer) {
        let name = names::worker(worker);
        let mut told = Vec::new();
        match self.leases.heartbeat(&name, beat.session, beat.seq, now.mono) {
            Err(BeatRefused::NoSession) => return (told, Answer::NotFound),
            Err(BeatRefused::OtherSession) => return (told, Answer::Conflict),
            Ok(Beat::Stale) => {}
            Ok(Beat::Fresh(change)) => {
                if let Some(change) = change {
                    told.push(self.lease_changed(change.worker, change.lease));
                }
                self.take(&name, beat, now, &mut told);
            }
        }
        let plan = self.known.get(&name).and_then(|known| known.plan.as_ref());
        let answer = match plan {
            None => Answer::NotFound,
            Some(plan) => Answer::Heartbeat(HeartbeatAnswer {
                cluster: CLUSTER.to_owned(),
                generation: plan.generation,
                at: now.wall,
                notices_taken: None,
            }),
        };
        (told, answer)
    }

    fn take(&mut self, name: &WorkerName, beat: Heartbeat, now: Now, told: &mut Vec<Tell>) {
        let Some(known) = self.known.get_mut(name) else { return };
        let holds = held(beat.holds);
        let used = usage(&beat.instances);
        if known.news.take(holds, &beat.instances) {
            let worker = name.clone();
            told.push(Tell::Fact(Fact::Reports { worker, holds, instances: beat.instances }));
        }
        let since = now.mono.since(known.measured_at);
        known.measured_at = now.mono;
        let load = smooth(self.loads.get(name).copied(), &beat.metrics, since);
        self.loads.insert(name.clone(), load);
        told.push(Tell::Fact(Fact::Measured {
            worker: name.clone(),
            metrics: Box::new(beat.metrics),
            load: Some(load),
            usage: used,
        }));
        let notice = |notice| Tell::Fact(Fact::Notice { worker: name.clone(), notice });
        told.extend(beat.notices.into_iter().map(notice));
    }

    fn lease_changed(&mut self, worker: WorkerName, lease: LeaseState) -> Tell {
        if let Some(known) = self.known.get_mut(&worker) {
            known.lease = lease;
        }
        Tell::Fact(Fact::Lease { worker, lease })
    }

    pub(super) fn assignments(&self, worker: usize) -> Answer {
        let plan = self.known.get(&names::worker(worker)).and_then(|known| known.plan.as_ref());
        match plan {
            None => Answer::NotFound,
            Some(plan) => Answer::Assignments(Box::new(Assignments {
                cluster: CLUSTER.to_owned(),
                generation: plan.generation,
                instances: plan.assignments.iter().map(|each| (**each).clone()).collect(),
            })),
        }
    }

    /// Leases that ran out.
    pub(super) fn expire(&mut self, now: Mono) -> Vec<Tell> {
        let changes = self.leases.expire(now);
        changes.into_iter().map(|it| self.lease_changed(it.worker, it.lease)).collect()
    }

    /// A worker should run something else from now on: it is told as far as that is quick.
    pub(super) fn plan(&mut self, plan: Arc<WorkerPlan>, bus: &mut Bus) {
        let name = plan.worker.clone();
        let Some(known) = self.known.get_mut(&name) else { return };
        let new = orders(CLUSTER, known.plan.as_deref(), &plan);
        known.plan = Some(plan);
        let idle = known.orders.is_empty();
        known.orders.extend(new);
        if idle {
            self.send_order(&name, bus);
        }
    }

    fn send_order(&mut self, name: &WorkerName, bus: &mut Bus) {
        let Some(known) = self.known.get_mut(name) else { return };
        let Some(order) = known.orders.front().cloned() else { return };
        let Some(worker) = names::index(name) else { return };
        let call = bus.number();
        known.call = call;
        let heard = bus.tell_agent(worker, call, Body::Order(Box::new(order)));
        let incarnation = bus.controller.unwrap_or(0);
        let wait = if heard { ORDER_TIMEOUT } else { 1000 };
        bus.after(wait, Due::TimedOut { worker, to_controller: false, incarnation, call });
    }

    /// An order was taken, or not; those after one that was not are given up.
    pub(super) fn order_ended(&mut self, worker: usize, call: u64, taken: bool, bus: &mut Bus) {
        let name = names::worker(worker);
        let Some(known) = self.known.get_mut(&name).filter(|known| known.call == call) else {
            return;
        };
        known.call = 0;
        if taken {
            known.orders.pop_front();
            self.send_order(&name, bus);
        } else {
            known.orders.clear();
        }
    }
}

fn held(holds: Option<Holding>) -> Option<u64> {
    holds.filter(|holds| holds.cluster == CLUSTER).map(|holds| holds.generation)
}
