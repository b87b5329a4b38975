//! The agent's half of the link to its controller.

use tucano_common::time::Now;
use tucano_common::wire::worker::{Capacity, Heartbeat, Hello, Holding, Pressure, WorkerMetrics};
use tucano_worker_core::{Refused, Supervisor};

use super::{Agent, LINK_TIMEOUT, MEMORY_BYTES, Strain};
use crate::sim::bus::{Answer, Body, Bus, Due, Packet};
use crate::sim::clock::MS;
use crate::sim::link_state::{Ask, Outcome};
use crate::sim::pushes::Order;
use crate::sim::{CLUSTER, names};

impl Agent {
    pub(super) fn pump(&mut self, bus: &mut Bus) {
        let now = self.now(bus);
        let metrics = self.metrics(bus);
        let (worker, incarnation) = (self.index, self.incarnation(bus));
        let Some(mind) = &mut self.mind else { return };
        let Some(ask) = mind.link.next(now.mono, mind.supervisor.holds()) else { return };
        let call = bus.number();
        mind.call = Some((call, ask));
        let body = match ask {
            Ask::Hello => Body::Hello(Box::new(Hello {
                name: self.name.clone(),
                address: Some(self.host),
                agent_port: 7071,
                session: mind.session,
                version: "0.1.0".to_owned(),
                capacity: Capacity { cpus: 4, memory_bytes: MEMORY_BYTES },
                labels: names::labels(self.index),
                holds: mind.supervisor.holds().cloned(),
                instances: mind.supervisor.reports(),
            })),
            Ask::Heartbeat => {
                mind.seq += 1;
                Body::Heartbeat(Box::new(Heartbeat {
                    session: mind.session,
                    seq: mind.seq,
                    at: now.wall,
                    holds: mind.supervisor.holds().cloned(),
                    metrics,
                    instances: mind.supervisor.reports(),
                    notices: std::mem::take(&mut mind.notices),
                    notices_before: None,
                }))
            }
            Ask::Assignments => Body::GetAssignments,
        };
        // Where nobody listens that is known at once.
        let heard = bus.tell_controller(worker, call, body);
        let wait = if heard { LINK_TIMEOUT } else { MS };
        let to_controller = true;
        bus.after(wait, Due::TimedOut { worker, to_controller, incarnation, call });
    }

    fn metrics(&self, bus: &Bus) -> WorkerMetrics {
        let Strain { cpu_until, pressure_until, memory_until } = self.strain;
        let io = if pressure_until > bus.now { 0.99 } else { 0.0 };
        let available = if memory_until > bus.now { MEMORY_BYTES / 50 } else { MEMORY_BYTES / 2 };
        WorkerMetrics {
            cpu_ratio: Some(if cpu_until > bus.now { 0.99 } else { 0.1 }),
            pressure: Some(Pressure { io, ..Pressure::default() }),
            memory_total_bytes: Some(MEMORY_BYTES),
            memory_available_bytes: Some(available),
            ..WorkerMetrics::default()
        }
    }

    pub(in crate::sim) fn timed_out(&mut self, call: u64, bus: &mut Bus) {
        let current = self.mind.as_ref().and_then(|mind| mind.call);
        if current.is_some_and(|(own, _)| own == call) {
            self.ended(Outcome::Failed, bus);
        }
    }

    fn ended(&mut self, outcome: Outcome, bus: &mut Bus) {
        let now = self.now(bus);
        if let Some(mind) = &mut self.mind {
            mind.call = None;
            mind.link.ended(outcome, now.mono, &mut self.prng);
            self.turn(bus);
        }
    }

    /// A message for the agent.
    pub(in crate::sim) fn hear(&mut self, packet: Packet, bus: &mut Bus) {
        let now = self.now(bus);
        let Some(mind) = &mut self.mind else { return };
        match packet.body {
            Body::Answer(answer) => {
                let Some((call, _)) = mind.call.filter(|(call, _)| *call == packet.call) else {
                    return;
                };
                debug_assert_eq!(call, packet.call);
                let outcome = Self::read(answer, &mut mind.supervisor, now);
                self.ended(outcome, bus);
            }
            Body::Order(order) => {
                let taken = match *order {
                    Order::Run(push) => mind.supervisor.push(*push, now),
                    Order::Stop { instance, generation } => {
                        mind.supervisor.stop(instance, CLUSTER, generation, now)
                    }
                };
                bus.note(|| format!("{} takes an order: {taken:?}", self.name));
                let good = !matches!(taken, Err(Refused::Older { .. }));
                bus.tell_controller(self.index, packet.call, Body::OrderTaken(good));
                self.turn(bus);
            }
            Body::Hello(_) | Body::Heartbeat(_) | Body::GetAssignments | Body::OrderTaken(_) => {}
        }
    }

    fn read(answer: Answer, supervisor: &mut Supervisor, now: Now) -> Outcome {
        match answer {
            Answer::Hello(hello) => {
                supervisor.set_balancer_url(hello.balancer_url.clone());
                let (cluster, generation) = (hello.cluster.clone(), hello.generation);
                Outcome::Wanted(Holding { cluster, generation })
            }
            Answer::Heartbeat(answer) => {
                let (cluster, generation) = (answer.cluster, answer.generation);
                Outcome::Wanted(Holding { cluster, generation })
            }
            Answer::Assignments(set) => match supervisor.assign(*set, now) {
                Ok(_) => Outcome::Taken,
                Err(_) => Outcome::NotTaken,
            },
            Answer::NotFound => Outcome::Unknown,
            Answer::Conflict => Outcome::Refused,
            Answer::Unavailable => Outcome::Failed,
        }
    }
}
