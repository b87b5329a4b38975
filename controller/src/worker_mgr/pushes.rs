//! What of a new plan is pushed to its worker's agent, and in which order.
//!
//! Pushes only save the time until the next heartbeat; whatever is not pushed, or does not arrive,
//! is fetched then. They go one after the other. The last one may make the worker hold the plan's
//! generation, and only where nothing is missing after it: then the worker need not fetch at all.

use std::collections::BTreeSet;

use tucano_common::id::InstanceId;
use tucano_common::limits::PUSHES_QUEUED_MAX;
use tucano_common::wire::worker::{Assignment, Desired, Push};
use tucano_controller_core::deployer::WorkerPlan;

/// One message to an agent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// `PUT /v1/instances/{id}`.
    Run(Box<Push>),
    /// `DELETE /v1/instances/{id}`.
    Stop {
        /// Which.
        instance: InstanceId,
        /// The generation of its assignment.
        generation: u64,
    },
}

/// The orders that bring a worker from the plan before to `new`; none where fetching is cheaper.
pub(super) fn orders(cluster: &str, old: Option<&WorkerPlan>, new: &WorkerPlan) -> Vec<Order> {
    let changed: Vec<&Assignment> = new.changed().collect();
    if changed.len() > PUSHES_QUEUED_MAX {
        return Vec::new();
    }
    let whole = is_whole(&changed, old, new);
    let last = changed.len().saturating_sub(1);
    let order = |(at, assignment): (usize, &&Assignment)| match assignment.desired {
        Desired::Stop => Order::Stop { instance: assignment.id, generation: assignment.generation },
        Desired::Run => {
            let completes = whole && at == last;
            let previous_generation =
                if completes { new.previous_generation } else { new.generation };
            Order::Run(Box::new(Push {
                cluster: cluster.to_owned(),
                generation: new.generation,
                previous_generation,
                assignment: (*assignment).clone(),
            }))
        }
    };
    changed.iter().enumerate().map(order).collect()
}

/// Whether the pushes say all of the difference: nothing was dropped, and nothing is told by
/// DELETE, which does not count generations.
fn is_whole(changed: &[&Assignment], old: Option<&WorkerPlan>, new: &WorkerPlan) -> bool {
    let Some(old) = old.filter(|old| old.generation == new.previous_generation) else {
        return false;
    };
    let kept: BTreeSet<InstanceId> = new.assignments.iter().map(|each| each.id).collect();
    old.assignments.iter().all(|each| kept.contains(&each.id))
        && changed.iter().all(|each| each.desired == Desired::Run)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tucano_common::name::{ServiceName, WorkerName};
    use tucano_common::spec;

    use super::*;

    fn assignment(id: u64, generation: u64, desired: Desired) -> Assignment {
        let spec = json!({"name": "web", "scripts": {"runtime-script": "exec true"}});
        Assignment {
            id: InstanceId(id),
            generation,
            service: ServiceName::new("web").expect("a name"),
            revision: 1,
            desired,
            restart_nonce: 0,
            spec: Arc::new(spec::parse(&spec).expect("a spec")),
        }
    }

    fn plan(generation: u64, assignments: Vec<Assignment>) -> WorkerPlan {
        let worker = WorkerName::new("w1").expect("a name");
        let assignments = assignments.into_iter().map(Arc::new).collect();
        WorkerPlan { worker, generation, previous_generation: generation - 1, assignments }
    }

    /// Instance, generation and whether it completes the plan.
    fn shown(orders: &[Order]) -> Vec<(u64, bool)> {
        let show = |order: &Order| match order {
            Order::Run(push) => (push.assignment.id.0, push.previous_generation < push.generation),
            Order::Stop { instance, .. } => (instance.0, false),
        };
        orders.iter().map(show).collect()
    }

    #[test]
    fn only_what_changed_is_pushed_and_the_last_push_completes_the_plan() {
        let old = plan(4, vec![assignment(1, 4, Desired::Run)]);
        let new = plan(
            5,
            vec![
                assignment(1, 4, Desired::Run),
                assignment(2, 5, Desired::Run),
                assignment(3, 5, Desired::Run),
            ],
        );
        assert_eq!(shown(&orders("c", Some(&old), &new)), [(2, false), (3, true)]);
    }

    #[test]
    fn a_plan_that_drops_or_stops_something_is_completed_by_the_heartbeat() {
        let old = plan(4, vec![assignment(1, 4, Desired::Run)]);
        let dropped = plan(5, vec![assignment(2, 5, Desired::Run)]);
        assert_eq!(shown(&orders("c", Some(&old), &dropped)), [(2, false)]);
        let stopped = plan(5, vec![assignment(1, 5, Desired::Stop)]);
        let expected = Order::Stop { instance: InstanceId(1), generation: 5 };
        assert_eq!(orders("c", Some(&old), &stopped), [expected]);
    }

    #[test]
    fn without_the_plan_right_before_nothing_is_complete() {
        let new = plan(5, vec![assignment(1, 5, Desired::Run)]);
        assert_eq!(shown(&orders("c", None, &new)), [(1, false)]);
        let older = plan(3, Vec::new());
        assert_eq!(shown(&orders("c", Some(&older), &new)), [(1, false)]);
    }

    #[test]
    fn a_plan_that_changes_very_much_is_fetched() {
        let many = 0..=PUSHES_QUEUED_MAX as u64;
        let new = plan(5, many.map(|id| assignment(id, 5, Desired::Run)).collect());
        assert_eq!(orders("c", None, &new), []);
    }
}
