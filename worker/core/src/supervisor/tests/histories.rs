//! Seeded histories: everything that can happen happens, in any order; then all is asked to end,
//! and must. A failure names the seed that replays it.

use std::time::Duration;

use tucano_common::prng::Prng;
use tucano_common::wire::worker::{Assignment, Desired, RunState};

use super::world::{FULL, Faults, PLAIN, World, assignment, push, set};
use crate::job::End;

const SEEDS: u64 = 256;

/// Longer than any backoff, grace and timeout together.
const SETTLED_AFTER: Duration = Duration::from_secs(150);

/// What the controller of the history wants.
struct Wanted {
    generation: u64,
    instances: Vec<Assignment>,
    next_id: u64,
}

impl Wanted {
    fn change(&mut self, prng: &mut Prng) {
        self.generation += 1;
        let at = prng.below(self.instances.len().max(1) as u32) as usize;
        match prng.below(6) {
            0 | 1 => {
                let shapes = [FULL.to_owned(), PLAIN.to_owned(), FULL.replace("web", "api")];
                let shape = &shapes[prng.below(3) as usize];
                let mut new = assignment(self.next_id, self.generation, shape);
                new.revision = 1 + u64::from(prng.below(2));
                self.next_id += 1;
                self.instances.push(new);
            }
            2 if at < self.instances.len() => {
                self.instances.remove(at);
            }
            3 => self.with(at, |it| it.desired = Desired::Stop),
            4 => self.with(at, |it| it.restart_nonce += 1),
            _ => self.with(at, |it| it.desired = Desired::Run),
        }
    }

    fn with(&mut self, at: usize, change: impl FnOnce(&mut Assignment)) {
        let generation = self.generation;
        if let Some(assignment) = self.instances.get_mut(at) {
            change(assignment);
            assignment.generation = generation;
        }
    }
}

fn history(seed: u64) {
    let mut prng = Prng::new(seed);
    let mut world = World::new(seed, Faults::SOME);
    let mut wanted = Wanted { generation: 1, instances: Vec::new(), next_id: 1 };
    for _ in 0..40 {
        match prng.below(10) {
            0..=3 => {
                wanted.change(&mut prng);
                let all = set(wanted.generation, wanted.instances.clone());
                world.supervisor.assign(all, world.now).unwrap();
            }
            4 => {
                let previous = wanted.generation;
                wanted.change(&mut prng);
                if let Some(last) = wanted.instances.last().cloned() {
                    let mut push = push(previous, last);
                    push.generation = wanted.generation;
                    let _refused_or_not = world.supervisor.push(push, world.now);
                }
            }
            5 => world.kill(u64::from(prng.below(10)), End::Signal(9)),
            6 => world.crash(Duration::from_millis(u64::from(prng.below(3000)))),
            _ => {}
        }
        world.run(Duration::from_millis(u64::from(prng.below(3000))));
    }
    // The weather clears: what should run does, what should not is gone.
    world.faults = Faults::NONE;
    world.supervisor.assign(set(wanted.generation, wanted.instances.clone()), world.now).unwrap();
    world.run(SETTLED_AFTER);
    for assignment in &wanted.instances {
        let state = world.report(assignment.id.0).state;
        let settled: &[RunState] = match assignment.desired {
            Desired::Run => &[RunState::Running, RunState::Failed],
            Desired::Stop => &[RunState::Stopped, RunState::Failed],
        };
        assert!(settled.contains(&state), "{} is {state:?}", assignment.id);
    }
    assert_eq!(world.supervisor.reports().len(), wanted.instances.len());
    world.supervisor.assign(set(wanted.generation + 1, Vec::new()), world.now).unwrap();
    world.run(SETTLED_AFTER);
    let left = world.supervisor.reports();
    assert!(left.is_empty(), "{left:?}");
    assert!(world.jobs_running().is_empty(), "{:?}", world.jobs_running());
    assert!(world.folders().is_empty(), "{:?}", world.folders());
    let ledger = world.ledger_on_disk().cloned().unwrap_or_else(|| world.supervisor.ledger());
    assert!(ledger.instances.is_empty() && ledger.builds.is_empty(), "{ledger:?}");
}

#[test]
fn whatever_happens_nothing_is_left() {
    for seed in 0..SEEDS {
        // The panic's own message comes first; this one says how to see it again.
        struct Named(u64);
        impl Drop for Named {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("the history of seed {} failed", self.0);
                }
            }
        }
        let _named = Named(seed);
        history(seed);
    }
}
