//! What agents say: hello, heartbeats, what they ask for, bye.
//!
//! Heartbeats repeat everything, so what the deployer does not take now is simply told with a later
//! one.

use std::net::IpAddr;

use tucano_common::name::WorkerName;
use tucano_common::time::Now;
use tucano_common::wire::problem::Problem;
use tucano_common::wire::worker::{Assignments, Heartbeat, HeartbeatAnswer, Hello, Holding};
use tucano_controller_core::deployer::{Fact, Introduction, Refusal};
use tucano_controller_core::worker_mgr::{self as leases, Beat, BeatRefused, Caller, HelloRefused};

use super::manager::{Known, Manager};
use crate::msgs::{Document, News, Reply, Ticket};

impl Manager {
    /// An agent introduces itself. It is answered once that is on disk.
    pub(super) fn on_hello(
        &mut self,
        (ticket, peer, host): (Ticket, IpAddr, String),
        hello: Hello,
        now: Now,
    ) {
        let address = hello.address.unwrap_or(peer);
        if !may_be_routed_to(address) {
            let detail = format!(
                "{address} is no address that the balancer may send requests to: start the agent \
                 with --advertise"
            );
            return self.answer(ticket, Err(Problem::new(422, "Unprocessable Content", detail)));
        }
        let (session, agent_port) = (hello.session, hello.agent_port);
        let caller = Caller { session, address, agent_port };
        let change = match self.leases.hello(&hello.name, caller, now.mono) {
            Ok(change) => change,
            Err(refused) => return self.answer(ticket, Err(name_taken(&hello.name, &refused))),
        };
        let known = || Known::new(address, agent_port, change.lease);
        let known = self.workers.entry(hello.name.clone()).or_insert_with(known);
        known.begin_session(address, agent_port);
        self.hellos.insert(ticket, (hello.name.clone(), host));
        // What was found before goes first: the hello is newer.
        self.tell_deployer();
        let holds = self.held(hello.holds);
        self.deployer.send(News::Hello {
            ticket,
            introduction: Box::new(Introduction {
                name: hello.name,
                address,
                agent_port,
                version: hello.version,
                capacity: hello.capacity,
                labels: hello.labels,
                holds,
                instances: hello.instances,
            }),
        });
        self.lease_changed(change);
    }

    /// An agent tells how it is.
    pub(super) fn on_heartbeat(
        &mut self,
        ticket: Ticket,
        worker: &WorkerName,
        heartbeat: Heartbeat,
        now: Now,
    ) {
        let session = heartbeat.session;
        match self.leases.heartbeat(worker, session, heartbeat.seq, now.mono) {
            Err(refused) => return self.answer(ticket, Err(beat_refused(worker, refused))),
            Ok(Beat::Stale) => {}
            Ok(Beat::Fresh(change)) => {
                if let Some(change) = change {
                    self.lease_changed(change);
                }
                // A deployer that is behind is told with a later heartbeat.
                if self.deployer.is_empty() {
                    self.take_heartbeat(worker, heartbeat, now);
                }
            }
        }
        let known = self.workers.get(worker).and_then(|known| Some((known, known.plan.as_ref()?)));
        let Some((known, plan)) = known else {
            return self.answer(ticket, Err(beat_refused(worker, BeatRefused::NoSession)));
        };
        let answer = HeartbeatAnswer {
            cluster: self.settings.cluster.clone(),
            generation: plan.generation,
            at: now.wall,
            notices_taken: Some(known.notices.of(session)),
        };
        self.answer(ticket, Ok(Reply::Document(Document::new(200, &answer))));
    }

    fn take_heartbeat(&mut self, worker: &WorkerName, heartbeat: Heartbeat, now: Now) {
        let holds = self.held(heartbeat.holds);
        let Some(known) = self.workers.get_mut(worker) else { return };
        let usage = leases::usage(&heartbeat.instances);
        if known.news.take(holds, &heartbeat.instances) {
            self.facts.push(Fact::Reports {
                worker: worker.clone(),
                holds,
                instances: heartbeat.instances,
            });
        }
        let since = now.mono.since(known.measured_at);
        known.measured_at = now.mono;
        if leases::is_measured(&heartbeat.metrics) {
            let before = self.loads.get(worker).copied();
            let load = leases::smooth(before, &heartbeat.metrics, since);
            self.loads.insert(worker.clone(), load);
        }
        self.weigher.measured(now.mono);
        self.minutes.add(worker, now.wall, &heartbeat.metrics);
        self.facts.push(Fact::Measured {
            worker: worker.clone(),
            metrics: Box::new(heartbeat.metrics),
            load: self.loads.get(worker).copied(),
            usage,
        });
        let (session, before) = (heartbeat.session, heartbeat.notices_before);
        let notices = known.notices.take(session, before, heartbeat.notices);
        let notice = |notice| Fact::Notice { worker: worker.clone(), notice };
        self.facts.extend(notices.into_iter().map(notice));
    }

    /// An agent fetches all that it should run.
    pub(super) fn on_assignments(&mut self, ticket: Ticket, worker: &WorkerName) {
        let plan = self.workers.get(worker).and_then(|known| known.plan.clone());
        let Some(plan) = plan else {
            let refusal = Refusal::UnknownWorker(worker.clone());
            let detail = format!("{refusal}; the agent says hello first");
            return self.answer(ticket, Err(Problem::new(404, "Not Found", detail)));
        };
        let answer = Assignments {
            cluster: self.settings.cluster.clone(),
            generation: plan.generation,
            instances: plan.assignments.iter().map(|each| (**each).clone()).collect(),
        };
        self.answer(ticket, Ok(Reply::Document(Document::new(200, &answer))));
    }

    /// An agent ends; its instances run on. What is not its session any more is no news.
    pub(super) fn on_bye(&mut self, ticket: Ticket, worker: &WorkerName, session: Option<u64>) {
        if self.leases.bye(worker, session) {
            log::info!("worker {worker} said bye: its agent has ended, its instances run on");
        }
        self.answer(ticket, Ok(Reply::Done));
    }

    /// The generation that an agent holds of this cluster's assignments.
    fn held(&self, holds: Option<Holding>) -> Option<u64> {
        holds.filter(|holds| holds.cluster == self.settings.cluster).map(|holds| holds.generation)
    }
}

/// Whoever joins tells where requests go: never to link-local addresses (cloud metadata lives
/// there), nor to none at all.
fn may_be_routed_to(address: IpAddr) -> bool {
    // An IPv4 address that is written as an IPv6 one is reached all the same.
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !link_local && !address.is_unspecified() && !address.is_multicast()
}

fn name_taken(worker: &WorkerName, refused: &HelloRefused) -> Problem {
    let HelloRefused::NameTaken { address } = refused;
    let detail = format!(
        "another agent named {worker} is alive at {address}: start this one with another --name, \
         or stop that one first"
    );
    Problem::new(409, "Conflict", detail)
}

fn beat_refused(worker: &WorkerName, refused: BeatRefused) -> Problem {
    match refused {
        BeatRefused::NoSession => {
            let detail = format!("worker {worker} has no session here: say hello again");
            Problem::new(404, "Not Found", detail)
        }
        BeatRefused::OtherSession => {
            let detail = format!(
                "worker {worker} has another session: another agent has this name; give each its \
                 own --name"
            );
            Problem::new(409, "Conflict", detail)
        }
    }
}
