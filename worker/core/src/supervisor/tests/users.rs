//! A user's number for each service: given before anything of it is made, kept through crashes, and
//! free again once nothing of it is left.

use std::time::Duration;

use tucano_common::name::ServiceName;

use super::world::{Faults, World, assignment, set};
use crate::fact::Fact;
use crate::users::UserRange;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn spec(service: &str) -> String {
    format!(r#"{{"name": "{service}", "scripts": {{"runtime-script": "r"}}}}"#)
}

/// Gives the worker one instance of each, and lets some time pass.
fn assign(world: &mut World, generation: u64, services: &[(u64, &str)]) {
    let instance = |(id, service): &(u64, &str)| assignment(*id, generation, &spec(service));
    let instances = services.iter().map(instance).collect();
    world.supervisor.assign(set(generation, instances), world.now).unwrap();
    world.run(Duration::from_secs(30));
}

/// Whose number the service's last script got.
fn user_of(world: &World, service: &str) -> Option<u32> {
    let folder = format!("c.{service}.1");
    let mut starts = world.starts.iter().rev();
    starts.find(|launch| launch.folder.ends_with(&folder)).expect("a start").user
}

fn world(range: Option<&str>) -> World {
    let mut world = World::new(7, Faults::NONE);
    world.users = range.map(|range| UserRange::parse(range).unwrap());
    world.number_services();
    world
}

#[test]
fn a_service_keeps_its_number_while_anything_of_it_is_here() {
    let mut world = world(Some("20000-20001"));
    assign(&mut world, 1, &[(1, "one"), (2, "two")]);
    assert_eq!((user_of(&world, "one"), user_of(&world, "two")), (Some(20_000), Some(20_001)));
    world.data = [(name("one"), 20_000), (name("two"), 20_001)].into();
    world.crash(Duration::from_secs(1));
    assign(&mut world, 2, &[(2, "two"), (3, "three")]);
    assert_eq!(user_of(&world, "three"), None, "there is none left: its folder stands yet");
    assign(&mut world, 3, &[(2, "two")]);
    world.supervisor.observe(Fact::DataGone { service: name("one") }, world.now);
    world.data.remove(&name("one"));
    assign(&mut world, 4, &[(2, "two"), (4, "four")]);
    assert_eq!((user_of(&world, "two"), user_of(&world, "four")), (Some(20_001), Some(20_000)));
    // Folders that went while no agent was there count from the next one's start.
    world.data.clear();
    assign(&mut world, 5, &[]);
    world.crash(Duration::from_secs(1));
    assert!(world.supervisor.ledger().users.is_empty(), "nothing is left of any");
}

#[test]
fn where_all_run_as_one_nobody_gets_a_number() {
    let mut world = world(None);
    assign(&mut world, 1, &[(1, "one")]);
    assert_eq!(user_of(&world, "one"), None);
    assert!(world.supervisor.ledger().users.is_empty());
}

#[test]
fn histories_with_faults_never_start_a_script_with_a_number_that_is_not_written_down() {
    for seed in 0..40 {
        let mut world = World::new(seed, Faults { ledger: 0.3, ..Faults::SOME });
        world.users = Some(UserRange::parse("20000-20003").unwrap());
        world.number_services();
        for generation in 1..6 {
            let services = ["a", "b", "c", "d", "e"];
            let some = (0..3).map(|n| (generation * 10 + n, services[(seed + n) as usize % 5]));
            assign(&mut world, generation, &some.collect::<Vec<_>>());
            if generation % 2 == 0 {
                world.crash(Duration::from_millis(500));
            }
        }
    }
}
