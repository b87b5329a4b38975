//! The choice against round robin, on three workers of which one is under stress: a queueing model
//! with a clock of its own and seeded arrivals. No sockets, no real time; the same answer every
//! run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::prng::Prng;
use tucano_common::time::Mono;

use super::outlier::Sign;
use super::table::{Duty, Endpoint, PortRoutes, RouteWorker, RoutingTable, ServiceRoute, Weights};
use super::{Choice, Fleet, MemberIx, ServiceIx};

pub(super) const INSTANCES: usize = 3;
/// Requests that an instance works on at a time; the others wait in it.
const THREADS: usize = 4;
const REQUESTS: usize = 20_000;
/// The first ones find empty queues, and a choice that knows nothing.
const WARM_UP: usize = 1_000;
const SECOND_US: f64 = 1_000_000.0;

/// One run: who does how much, and how much is asked.
#[derive(Clone, Copy)]
struct World {
    /// What a request takes on each instance, on average.
    work_us: [f64; INSTANCES],
    /// Requests a second.
    rate: f64,
    /// The workers' shares as their agents report them; none: nothing was told.
    weights: Option<[u16; INSTANCES]>,
}

/// One worker does a quarter of what the others do.
const STRESSED: World =
    World { work_us: [4_000.0, 4_000.0, 16_000.0], rate: 1_500.0, weights: None };

pub(super) trait Chooser {
    fn choose(&mut self, now: Mono) -> usize;
    fn ended(&mut self, instance: usize, took: Duration, now: Mono);
}

struct RoundRobin(usize);

impl Chooser for RoundRobin {
    fn choose(&mut self, _: Mono) -> usize {
        self.0 += 1;
        self.0 % INSTANCES
    }

    fn ended(&mut self, _: usize, _: Duration, _: Mono) {}
}

pub(super) struct Ours {
    pub(super) fleet: Fleet,
    web: ServiceIx,
    pub(super) places: [MemberIx; INSTANCES],
    table: RoutingTable,
}

impl Ours {
    pub(super) fn new(seed: u64, weights: Option<[u16; INSTANCES]>) -> Ours {
        let endpoint = |id: u16| Endpoint {
            instance: InstanceId(id.into()),
            revision: 1,
            address: SocketAddr::from(([127, 0, 0, 1], 20_000 + id)),
            worker: Some(id.into()),
            duty: Duty::Serve,
            ready_at: Mono(0),
        };
        let web = ServiceRoute {
            name: ServiceName::new("web").unwrap(),
            revision: 1,
            endpoints: (0..INSTANCES as u16).map(endpoint).collect(),
            expecting: false,
            hold: Duration::from_secs(30),
            max_in_flight: None,
            outside_check: None,
        };
        let worker = |name| RouteWorker { name: WorkerName::new(name).unwrap() };
        let table = RoutingTable {
            version: 1,
            ports: vec![PortRoutes { port: 80, hosts: vec![("web".to_owned(), 0)] }],
            services: vec![Arc::new(web)],
            workers: ["a", "b", "c"].map(worker).to_vec(),
        };
        let mut fleet = Fleet::new(1, Prng::new(seed));
        fleet.adopt(&table, START, &mut Vec::new());
        if let Some(by_worker) = weights {
            fleet.weigh(&Weights { table_version: 1, by_worker: by_worker.to_vec() });
        }
        let web = fleet.route(80, b"web").unwrap();
        let places = [0, 1, 2].map(|id| fleet.by_instance[&InstanceId(id)]);
        Ours { fleet, web, places, table }
    }

    /// A newer table: this instance turned ready then.
    pub(super) fn turned_ready(&mut self, instance: usize, at: Mono) {
        let mut web = (*self.table.services[0]).clone();
        web.endpoints[instance].ready_at = at;
        self.table.services = vec![Arc::new(web)];
        self.table.version += 1;
        self.fleet.adopt(&self.table, at, &mut Vec::new());
    }
}

impl Chooser for Ours {
    fn choose(&mut self, now: Mono) -> usize {
        let Choice::Use(ix) = self.fleet.choose(self.web, &[], now) else { panic!("somebody") };
        self.fleet.begin(ix);
        self.places.iter().position(|place| *place == ix).unwrap()
    }

    fn ended(&mut self, instance: usize, took: Duration, now: Mono) {
        let place = self.places[instance];
        self.fleet.answered(place, took, now);
        let mut notes = Vec::new();
        self.fleet.finish(place, Sign::Good, now, &mut notes);
        assert!(notes.is_empty(), "{notes:?}");
    }
}

/// Long after the slow start.
pub(super) const START: Mono = Mono(1_000_000_000);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// On this instance, of the request that arrived then.
    End(usize, u64),
}

#[derive(Clone, Default)]
struct Instance {
    busy: usize,
    waiting: VecDeque<u64>,
}

/// The 99th percentile of the time from a request to its answer, in µs.
fn p99(world: World, seed: u64, chooser: &mut dyn Chooser) -> u64 {
    // What arrives when, and how much each has to do, is the same whoever chooses.
    let mut prng = Prng::new(seed);
    let mut exponential = |mean: f64| {
        let evenly = ((prng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -evenly.ln() * mean
    };
    let requests: Vec<(f64, f64)> =
        (0..REQUESTS).map(|_| (exponential(SECOND_US / world.rate), exponential(1.0))).collect();
    let mut works = requests.iter().map(|(_, work)| *work);
    let mut gaps = requests.iter().map(|(gap, _)| *gap as u64);
    let mut instances = vec![Instance::default(); INSTANCES];
    let mut events = BinaryHeap::from([Reverse((START.0, Event::Arrival))]);
    let mut took = Vec::new();
    while let Some(Reverse((now, event))) = events.pop() {
        let place = match event {
            Event::Arrival => {
                let place = chooser.choose(Mono(now));
                instances[place].waiting.push_back(now);
                if let Some(gap) = gaps.next() {
                    events.push(Reverse((now + gap, Event::Arrival)));
                }
                place
            }
            Event::End(place, arrived) => {
                took.push(now - arrived);
                chooser.ended(place, Duration::from_micros(now - arrived), Mono(now));
                instances[place].busy -= 1;
                place
            }
        };
        let instance = &mut instances[place];
        while instance.busy < THREADS
            && let Some(arrived) = instance.waiting.pop_front()
        {
            instance.busy += 1;
            let work = works.next().unwrap_or(1.0) * world.work_us[place];
            events.push(Reverse((now + work as u64 + 1, Event::End(place, arrived))));
        }
    }
    let mut took = took.split_off(WARM_UP);
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Both, in µs: round robin's and ours.
fn both(world: World, seed: u64) -> (u64, u64) {
    let ours = p99(world, seed, &mut Ours::new(seed, world.weights));
    (p99(world, seed, &mut RoundRobin(0)), ours)
}

#[test]
fn beside_a_stressed_worker_the_slowest_are_far_faster_than_by_turns() {
    // By turns a third of the requests is more than the stressed worker can do.
    for seed in 0..4 {
        let (by_turns, ours) = both(STRESSED, seed);
        assert!(ours * 100 < by_turns, "seed {seed}: {ours} against {by_turns}");
    }
}

#[test]
fn they_are_faster_too_where_the_stressed_worker_can_do_its_share() {
    for seed in 0..4 {
        let (by_turns, ours) = both(World { rate: 500.0, ..STRESSED }, seed);
        assert!(ours * 2 < by_turns, "seed {seed}: {ours} against {by_turns}");
    }
}

#[test]
fn what_the_workers_tell_helps_further() {
    let told = World { weights: Some([800, 800, 200]), ..STRESSED };
    for seed in 0..4 {
        let (by_turns, ours) = both(told, seed);
        assert!(ours * 100 < by_turns, "seed {seed}: {ours} against {by_turns}");
    }
}

#[test]
fn among_equals_nothing_is_lost() {
    let equal = World { work_us: [4_000.0; INSTANCES], rate: 1_800.0, weights: None };
    for seed in 0..4 {
        let (by_turns, ours) = both(equal, seed);
        assert!(ours * 10 <= by_turns * 11, "seed {seed}: {ours} against {by_turns}");
    }
}

#[test]
fn services_of_less_than_a_millisecond_are_told_apart() {
    let fast = World { work_us: [100.0, 100.0, 800.0], rate: 40_000.0, weights: None };
    for seed in 0..4 {
        let (_, ours) = both(fast, seed);
        // Were latencies counted from a millisecond on alone, it would be 1,700; with a millisecond
        // added to each of them, 1,350.
        assert!(ours < 1_200, "seed {seed}: {ours}");
    }
}
