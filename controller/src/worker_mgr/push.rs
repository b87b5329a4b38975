//! Orders on their way to agents: one at a time for each, over a kept connection, and given up
//! where one fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::limits::{PUSH_TIMEOUT, PUSHES_QUEUED_MAX};
use tucano_common::name::WorkerName;
use tucano_controller_core::deployer::WorkerPlan;
use tucano_net::error_chain::Chain;
use tucano_net::{CallEvent, CallId, CallTimeouts, Io, Method, OutRequest};

use super::manager::{Known, Manager};
use super::pushes::{self, Order};

/// A connection on a LAN is there within this, or the agent is not.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

impl Manager {
    /// A worker should run something else from now on.
    pub(super) fn on_plan(&mut self, io: &mut Io, plan: Arc<WorkerPlan>) {
        let worker = plan.worker.clone();
        let Some(known) = self.workers.get_mut(&worker) else { return };
        let (changed, queued) = (plan.changed().count(), known.orders.len());
        // Much is fetched at once sooner than it is pushed one by one.
        let few = known.agent_port != 0 && queued + changed <= PUSHES_QUEUED_MAX;
        if !few || !self.pace.take(changed, io.now().mono) {
            known.plan = Some(plan);
            // The first is under way; the others are fetched with the rest.
            known.orders.truncate(1);
            return;
        }
        let orders = pushes::orders(&self.settings.cluster, known.plan.as_deref(), &plan);
        known.plan = Some(plan);
        let idle = known.orders.is_empty();
        known.orders.extend(orders);
        if idle {
            self.send_order(io, &worker);
        }
    }

    fn send_order(&mut self, io: &mut Io, worker: &WorkerName) {
        let Some(known) = self.workers.get(worker) else { return };
        let Some(order) = known.orders.front() else { return };
        let address = SocketAddr::new(known.address, known.agent_port);
        let mut request = request(&self.settings.cluster, order).host(address.to_string());
        if let Some(token) = &self.settings.join {
            request = request.bearer(token);
        }
        let timeouts = CallTimeouts {
            connect: CONNECT_TIMEOUT,
            head: PUSH_TIMEOUT,
            body_idle: PUSH_TIMEOUT,
            total: Some(PUSH_TIMEOUT),
        };
        let call = io.call(address, request, timeouts);
        self.calls.insert(call, worker.clone());
    }

    /// An order arrived, or did not.
    pub(super) fn on_pushed(&mut self, io: &mut Io, call: CallId, event: CallEvent<'_>) {
        let outcome = match event {
            CallEvent::Answer(answer) => match answer.status {
                200..=299 => Ok(()),
                // The worker has something newer: what it lacks it fetches.
                409 => Err(None),
                status => Err(Some(format!("it answers {status}"))),
            },
            CallEvent::Failed(error) => Err(Some(Chain(&error).to_string())),
            // Only of streamed answers and probes.
            CallEvent::Head(_) | CallEvent::Data(_) | CallEvent::End | CallEvent::Connected => {
                return;
            }
        };
        let Some(worker) = self.calls.remove(&call) else { return };
        let Some(known) = self.workers.get_mut(&worker) else { return };
        match outcome {
            Ok(()) => {
                known.orders.pop_front();
                known.reached(&worker, None);
                self.send_order(io, &worker);
            }
            Err(reason) => {
                known.orders.clear();
                known.reached(&worker, reason.as_deref());
            }
        }
    }
}

impl Known {
    /// One line in the log when an agent can't be reached, and one when it can again.
    fn reached(&mut self, worker: &WorkerName, failure: Option<&str>) {
        let was_reached = std::mem::replace(&mut self.is_reached, failure.is_none());
        match failure {
            Some(reason) if was_reached => log::warn!(
                "worker {worker}: its agent at {}:{} does not take orders ({reason}); it gets them \
                 with its heartbeats, up to a second later",
                self.address,
                self.agent_port
            ),
            None if !was_reached => log::info!("worker {worker}: its agent takes orders again"),
            Some(_) | None => {}
        }
    }
}

fn request(cluster: &str, order: &Order) -> OutRequest {
    match order {
        Order::Run(push) => {
            let target = format!("/v1/instances/{}", push.assignment.id);
            OutRequest::new(Method::Put, target).json(push)
        }
        Order::Stop { instance, generation } => {
            let target =
                format!("/v1/instances/{instance}?cluster={cluster}&generation={generation}");
            OutRequest::new(Method::Delete, target)
        }
    }
}
