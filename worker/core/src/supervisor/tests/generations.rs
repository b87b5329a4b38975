//! Which messages are taken: lost, late, doubled, foreign.

use tucano_common::id::InstanceId;
use tucano_common::wire::worker::{Assignments, Desired, RunState};

use super::world::{FULL, Faults, PLAIN, World, assignment, push, set};
use crate::assignments::{Refused, Taken};

fn world() -> World {
    World::new(3, Faults::NONE)
}

fn foreign(generation: u64) -> Assignments {
    Assignments { cluster: "other".to_owned(), generation, instances: Vec::new() }
}

#[test]
fn an_older_set_is_refused_and_the_same_one_changes_nothing() {
    let mut world = world();
    let now = world.now;
    let full = set(5, vec![assignment(1, 5, PLAIN)]);
    assert_eq!(world.supervisor.assign(full.clone(), now), Ok(Taken::Changed));
    assert_eq!(world.supervisor.assign(full, now), Ok(Taken::Known));
    let older = Err(Refused::Older { generation: 4, held: 5 });
    assert_eq!(world.supervisor.assign(set(4, Vec::new()), now), older);
    assert!(world.supervisor.has(InstanceId(1)));
    assert_eq!(world.supervisor.holds().unwrap().generation, 5);
    assert_eq!(
        world.supervisor.assign(Assignments { cluster: "../x".to_owned(), ..foreign(1) }, now),
        Err(Refused::BadCluster)
    );
}

#[test]
fn a_push_goes_ahead_and_keeps_the_chain_only_where_nothing_is_missing() {
    let mut world = world();
    let now = world.now;
    world.supervisor.assign(set(5, Vec::new()), now).unwrap();
    assert_eq!(world.supervisor.push(push(5, assignment(1, 6, PLAIN)), now), Ok(Taken::Changed));
    assert_eq!(world.supervisor.holds().unwrap().generation, 6);
    // Seven got lost: the instance is taken, the generation is not.
    assert_eq!(world.supervisor.push(push(7, assignment(2, 8, PLAIN)), now), Ok(Taken::Changed));
    assert_eq!(world.supervisor.holds().unwrap().generation, 6);
    assert_eq!(world.supervisor.push(push(7, assignment(2, 8, PLAIN)), now), Ok(Taken::Known));
    // A full set that was on its way meanwhile is older than the push: it ends nothing of it.
    world.supervisor.assign(set(7, vec![assignment(1, 6, PLAIN)]), now).unwrap();
    world.run_until("both run", |world| {
        world.supervisor.reports().iter().all(|it| it.state == RunState::Running)
    });
    assert_eq!(world.supervisor.reports().len(), 2);
}

#[test]
fn late_and_doubled_pushes_bring_nothing_back() {
    let mut world = world();
    let now = world.now;
    world.supervisor.assign(set(5, vec![assignment(1, 5, PLAIN)]), now).unwrap();
    world.supervisor.assign(set(6, Vec::new()), now).unwrap();
    world.run_until("gone", |world| world.supervisor.reports().is_empty());
    let late = world.supervisor.push(push(4, assignment(1, 5, PLAIN)), world.now);
    assert_eq!(late, Err(Refused::Older { generation: 5, held: 6 }));
    world.supervisor.assign(set(7, vec![assignment(2, 7, PLAIN)]), world.now).unwrap();
    let mut older = assignment(2, 6, PLAIN);
    older.desired = Desired::Stop;
    let late = world.supervisor.push(push(5, older), world.now);
    assert_eq!(late, Err(Refused::Older { generation: 6, held: 7 }));
    let late = world.supervisor.stop(InstanceId(2), "c", 6, world.now);
    assert_eq!(late, Err(Refused::Older { generation: 6, held: 7 }));
    assert_eq!(world.supervisor.stop(InstanceId(9), "c", 6, world.now), Ok(Taken::Known));
}

#[test]
fn a_late_push_does_not_revive_what_is_being_ended() {
    let mut world = world();
    let told = assignment(1, 5, FULL);
    world.supervisor.assign(set(5, vec![told.clone()]), world.now).unwrap();
    world.run_until("running", |world| world.state(1) == RunState::Running);
    world.supervisor.assign(set(7, Vec::new()), world.now).unwrap();
    world.settle();
    // Its own generation is still the one that this message was made with.
    let late = world.supervisor.push(push(4, told), world.now);
    assert_eq!(late, Err(Refused::Older { generation: 5, held: 7 }));
    world.run_until("gone", |world| world.supervisor.reports().is_empty());
    // What is newer than what is held is no late message: it is asked for again.
    world.supervisor.assign(set(8, vec![assignment(2, 8, PLAIN)]), world.now).unwrap();
    world.run_until("running", |world| world.state(2) == RunState::Running);
    world.supervisor.assign(set(9, Vec::new()), world.now).unwrap();
    let newer = world.supervisor.push(push(9, assignment(2, 10, PLAIN)), world.now);
    assert_eq!(newer, Ok(Taken::Changed));
    world.run(std::time::Duration::from_secs(60));
    assert_eq!(world.state(2), RunState::Running);
}

#[test]
fn a_push_ahead_of_the_first_full_set_is_refused() {
    let mut world = world();
    let early = || push(8, assignment(2, 8, PLAIN));
    assert_eq!(world.supervisor.push(early(), world.now), Err(Refused::NotJoined));
    let cluster = set(7, Vec::new()).cluster;
    let stop = world.supervisor.stop(InstanceId(2), &cluster, 8, world.now);
    assert_eq!(stop, Ok(Taken::Known), "there is nothing to stop");
    world.supervisor.assign(set(7, Vec::new()), world.now).unwrap();
    assert_eq!(world.supervisor.push(early(), world.now), Ok(Taken::Changed));
}

#[test]
fn another_clusters_instances_are_left_alone() {
    let mut world = world();
    world.supervisor.assign(set(9, vec![assignment(1, 9, PLAIN)]), world.now).unwrap();
    world.run_until("running", |world| world.state(1) == RunState::Running);
    // A controller without its database: it knows nothing, and its generations begin anew.
    assert_eq!(world.supervisor.assign(foreign(1), world.now), Ok(Taken::Changed));
    world.run(std::time::Duration::from_secs(60));
    assert_eq!(world.state(1), RunState::Running);
    let own = world.supervisor.push(push(9, assignment(2, 10, PLAIN)), world.now);
    assert_eq!(own, Err(Refused::ForeignCluster), "orders come from the cluster that was joined");
    let own = world.supervisor.stop(InstanceId(1), "other", 2, world.now);
    assert_eq!(own, Err(Refused::ForeignCluster));
    // It takes the instance over by naming it, without a restart.
    let pid = world.report(1).pid;
    let adopted = Assignments { instances: vec![assignment(1, 2, PLAIN)], ..foreign(2) };
    world.supervisor.assign(adopted, world.now).unwrap();
    world.run(std::time::Duration::from_secs(1));
    assert_eq!((world.report(1).pid, world.report(1).generation), (pid, 2));
    world.supervisor.assign(foreign(3), world.now).unwrap();
    world.run_until("gone", |world| world.supervisor.reports().is_empty());
}

#[test]
fn a_new_revision_of_a_running_instance_goes_on_in_its_process() {
    let mut world = world();
    world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
    world.run_until("running", |world| world.state(1) == RunState::Running);
    let before = world.report(1);
    let mut newer = assignment(1, 2, &FULL.replace("80", "81"));
    newer.revision = 2;
    world.supervisor.assign(set(2, vec![newer]), world.now).unwrap();
    world.run(std::time::Duration::from_secs(5));
    let after = world.report(1);
    assert_eq!((after.pid, after.port, after.revision), (before.pid, before.port, 2));
    // Another service under the same id is a mistake.
    let other = assignment(1, 3, &PLAIN.replace("web", "api"));
    world.supervisor.assign(set(3, vec![other]), world.now).unwrap();
    assert_eq!(world.report(1).generation, 2);
}

#[test]
fn a_stop_of_what_never_came_is_reported_as_stopped() {
    let mut world = world();
    let mut stop = assignment(1, 1, FULL);
    stop.desired = Desired::Stop;
    world.supervisor.assign(set(1, vec![stop]), world.now).unwrap();
    world.run_until("stopped", |world| world.state(1) == RunState::Stopped);
    assert!(world.starts.is_empty());
}
