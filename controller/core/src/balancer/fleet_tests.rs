//! The fleet: tables adopted, instances chosen, drained and ejected.

use super::*;
use crate::balancer::table::{Endpoint, PortRoutes, RouteWorker, RoutingTable};
use tucano_common::name::WorkerName;

const T0: Mono = Mono(1_000_000_000);

fn endpoint(id: u64, duty: Duty) -> Endpoint {
    Endpoint {
        instance: InstanceId(id),
        revision: 1,
        address: SocketAddr::from(([127, 0, 0, 1], 20_000 + id as u16)),
        worker: Some((id % 3) as u32),
        duty,
        ready_at: Mono(0),
    }
}

fn service(name: &str, endpoints: Vec<Endpoint>) -> Arc<ServiceRoute> {
    Arc::new(ServiceRoute {
        name: ServiceName::new(name).unwrap(),
        revision: 1,
        endpoints,
        expecting: false,
        hold: Duration::from_secs(30),
        max_in_flight: None,
        outside_check: None,
    })
}

fn serving(ids: &[u64]) -> Vec<Endpoint> {
    ids.iter().map(|id| endpoint(*id, Duty::Serve)).collect()
}

fn table(version: u64, services: Vec<Arc<ServiceRoute>>) -> RoutingTable {
    let hosts = services.iter().enumerate().map(|(n, s)| (s.name.to_string(), n)).collect();
    let worker = |name: &str| RouteWorker { name: WorkerName::new(name).unwrap() };
    RoutingTable {
        version,
        ports: vec![PortRoutes { port: 80, hosts }],
        services,
        workers: vec![worker("a"), worker("b"), worker("c")],
    }
}

fn fleet() -> Fleet {
    Fleet::new(1, Prng::new(7))
}

fn adopt(fleet: &mut Fleet, table: RoutingTable) -> Vec<Note> {
    let mut notes = Vec::new();
    fleet.adopt(&table, T0, &mut notes);
    notes
}

fn chosen(fleet: &mut Fleet, service: ServiceIx) -> InstanceId {
    match fleet.choose(service, &[], T0) {
        Choice::Use(ix) => fleet.member(ix).unwrap().instance,
        other => panic!("{other:?}"),
    }
}

fn drained(notes: &[Note]) -> Vec<u64> {
    let id = |note: &Note| match note {
        Note::Drained(id) => Some(id.0),
        _ => None,
    };
    notes.iter().filter_map(id).collect()
}

fn finish(fleet: &mut Fleet, ix: MemberIx, sign: Sign, now: Mono) -> Vec<Note> {
    let mut notes = Vec::new();
    fleet.finish(ix, sign, now, &mut notes);
    notes
}

#[test]
fn routes_by_port_and_host() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1])), service("api", vec![])]));
    let web = fleet.route(80, b"WEB:80").unwrap();
    assert_eq!(fleet.service(web).unwrap().name.to_string(), "web");
    assert_ne!(fleet.route(80, b"api"), Some(web));
    assert_eq!((fleet.route(81, b"web"), fleet.route(80, b"x")), (None, None));
}

#[test]
fn load_is_spread_and_everyone_has_a_turn() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1, 2, 3]))]));
    let web = fleet.route(80, b"web").unwrap();
    let mut counts = [0u32; 4];
    for _ in 0..300 {
        let Choice::Use(ix) = fleet.choose(web, &[], T0) else { panic!() };
        fleet.begin(ix);
        counts[fleet.member(ix).unwrap().instance.0 as usize] += 1;
    }
    assert_eq!(counts[0], 0);
    assert!(counts[1..].iter().all(|count| (90..=110).contains(count)), "{counts:?}");
}

#[test]
fn weights_and_latencies_steer() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1, 2]))]));
    let web = fleet.route(80, b"web").unwrap();
    let run = |fleet: &mut Fleet| {
        let mut first = 0;
        let mut open = Vec::new();
        for _ in 0..300 {
            let Choice::Use(ix) = fleet.choose(web, &[], T0) else { panic!() };
            fleet.begin(ix);
            open.push(ix);
            first += u32::from(fleet.member(ix).unwrap().instance == InstanceId(1));
        }
        for ix in open {
            finish(fleet, ix, Sign::Good, T0);
        }
        first
    };
    assert!((145..=155).contains(&run(&mut fleet)));
    // Instance 1 is on worker 1, instance 2 on worker 2.
    fleet.weigh(&Weights { table_version: 1, by_worker: vec![0, 750, 250] });
    assert!((220..=230).contains(&run(&mut fleet)));
    fleet.weigh(&Weights { table_version: 9, by_worker: vec![0, 1, 999] });
    assert!((220..=230).contains(&run(&mut fleet)), "weights of another table are ignored");
}

#[test]
fn tried_suspect_and_full_instances_come_last() {
    let mut fleet = fleet();
    let mut route = (*service("web", serving(&[1, 2]))).clone();
    route.endpoints.push(endpoint(3, Duty::LastResort));
    route.max_in_flight = Some(1);
    adopt(&mut fleet, table(1, vec![Arc::new(route)]));
    let web = fleet.route(80, b"web").unwrap();
    for expected in [&[1, 2][..], &[1, 2], &[3]] {
        let Choice::Use(ix) = fleet.choose(web, &[], T0) else { panic!() };
        assert!(expected.contains(&fleet.member(ix).unwrap().instance.0));
        fleet.begin(ix);
    }
    assert_eq!(fleet.choose(web, &[], T0), Choice::Full);
    let all = [InstanceId(1), InstanceId(2), InstanceId(3)];
    assert_eq!(fleet.choose(web, &all, T0), Choice::Nobody);
}

#[test]
fn an_idle_instance_is_drained_at_once_and_a_busy_one_with_its_last_request() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1, 2]))]));
    let web = fleet.route(80, b"web").unwrap();
    let busy = chosen(&mut fleet, web);
    let ix = fleet.by_instance[&busy];
    fleet.begin(ix);
    fleet.begin(ix);
    let draining = [1, 2].map(|id| endpoint(id, Duty::Drain));
    let notes = adopt(&mut fleet, table(2, vec![service("web", draining.to_vec())]));
    assert_eq!(drained(&notes), [3 - busy.0]);
    assert_eq!(fleet.choose(web, &[], T0), Choice::Nobody);
    assert_eq!(drained(&finish(&mut fleet, ix, Sign::Good, T0)), [0u64; 0]);
    assert_eq!(drained(&finish(&mut fleet, ix, Sign::Good, T0)), [busy.0]);
    let notes = adopt(&mut fleet, table(3, vec![service("web", draining.to_vec())]));
    assert_eq!(drained(&notes), [1, 2], "said again with every table that still wants it so");
    let notes = adopt(&mut fleet, table(4, vec![]));
    assert!(drained(&notes).is_empty(), "and not once they are gone");
    assert!(fleet.by_instance.is_empty() && fleet.members.iter().all(Option::is_none));
    assert!(fleet.by_name.is_empty() && fleet.services.iter().all(Option::is_none));
}

#[test]
fn instances_that_begin_as_leaving_are_told_too() {
    let mut fleet = fleet();
    let leaving = vec![endpoint(1, Duty::Drain), endpoint(2, Duty::Abandon)];
    let notes = adopt(&mut fleet, table(1, vec![service("web", leaving)]));
    assert_eq!(drained(&notes), [1, 2]);
    assert!(!notes.iter().any(|note| matches!(note, Note::Abandoned(_))), "nothing was there");
}

#[test]
fn what_is_gone_keeps_its_place_until_its_last_request() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1]))]));
    let web = fleet.route(80, b"web").unwrap();
    fleet.retain(web);
    let ix = fleet.by_instance[&InstanceId(1)];
    fleet.begin(ix);
    adopt(&mut fleet, table(2, vec![service("api", serving(&[5]))]));
    assert_eq!(fleet.route(80, b"web"), None);
    assert!(fleet.service(web).is_some() && fleet.address(ix).is_some());
    assert_eq!(fleet.choose(web, &[], T0), Choice::Nobody);
    assert_eq!(drained(&finish(&mut fleet, ix, Sign::Good, T0)), [1]);
    fleet.release(web);
    assert!(fleet.service(web).is_none() && fleet.address(ix).is_none());
    // It comes back, in whatever place is free.
    adopt(&mut fleet, table(3, vec![service("web", serving(&[9]))]));
    let web = fleet.route(80, b"web").unwrap();
    assert_eq!(chosen(&mut fleet, web), InstanceId(9));
}

#[test]
fn a_dead_workers_requests_are_told_once() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1]))]));
    let ix = fleet.by_instance[&InstanceId(1)];
    fleet.begin(ix);
    let dead = || service("web", vec![endpoint(1, Duty::Abandon)]);
    let notes = adopt(&mut fleet, table(2, vec![dead()]));
    assert!(notes.contains(&Note::Abandoned(ix)) && drained(&notes).is_empty());
    let notes = adopt(&mut fleet, table(3, vec![dead()]));
    assert!(!notes.contains(&Note::Abandoned(ix)));
    assert_eq!(drained(&finish(&mut fleet, ix, Sign::Broken, T0)), [1]);
}

#[test]
fn an_instance_that_moved_starts_anew() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1]))]));
    let ix = fleet.by_instance[&InstanceId(1)];
    let mut moved = endpoint(1, Duty::Serve);
    moved.address.set_port(1);
    let notes = adopt(&mut fleet, table(2, vec![service("web", vec![moved])]));
    assert!(notes.contains(&Note::Retired(ix)), "its kept connections lead to the old place");
    assert_eq!(fleet.address(ix).unwrap().port(), 1);
}

#[test]
fn an_older_table_is_refused_and_an_unchanged_service_untouched() {
    let mut fleet = fleet();
    let web = service("web", serving(&[1]));
    adopt(&mut fleet, table(5, vec![Arc::clone(&web)]));
    assert!(adopt(&mut fleet, table(4, vec![])).is_empty());
    assert_eq!(fleet.version(), 5);
    assert!(adopt(&mut fleet, table(6, vec![web])).is_empty());
}

#[test]
fn errors_take_out_never_the_last_and_never_more_than_half() {
    let mut fleet = fleet();
    adopt(&mut fleet, table(1, vec![service("web", serving(&[1, 2, 3, 4]))]));
    let web = fleet.route(80, b"web").unwrap();
    let mut out = Vec::new();
    for _ in 0..200 {
        let Choice::Use(ix) = fleet.choose(web, &[], T0) else { panic!() };
        fleet.begin(ix);
        for note in finish(&mut fleet, ix, Sign::Broken, T0) {
            if let Note::Ejected { instance, out_for: Some(_), .. } = note {
                out.push(instance);
            }
        }
    }
    assert_eq!((out.len(), fleet.ejected(web, T0)), (2, 2), "{out:?}");
    assert!(!out.contains(&chosen(&mut fleet, web)));
    let later = T0 + Duration::from_secs(6);
    let mut notes = Vec::new();
    fleet.tick(later, &mut notes);
    assert_eq!(
        notes.iter().filter(|note| matches!(note, Note::Ejected { out_for: None, .. })).count(),
        2
    );
    assert_eq!(fleet.ejected(web, later), 0);

    let mut alone = super::tests::fleet();
    adopt(&mut alone, table(1, vec![service("web", serving(&[1]))]));
    let ix = alone.by_instance[&InstanceId(1)];
    for _ in 0..10 {
        alone.begin(ix);
        assert!(finish(&mut alone, ix, Sign::Broken, T0).is_empty());
    }
}

/// Seeded histories against a plain count: what is in flight is what began and did not end, nobody
/// is drained with requests in flight, and everyone who leaves is drained exactly once.
#[test]
fn drained_means_drained_in_any_history() {
    for seed in 0..64 {
        let mut prng = Prng::new(seed);
        let mut fleet = Fleet::new(1, prng.fork());
        let mut open: Vec<(MemberIx, InstanceId, ServiceIx)> = Vec::new();
        let (mut version, mut left, mut told) = (0, Vec::new(), Vec::new());
        let mut duties: BTreeMap<u64, Duty> = BTreeMap::new();
        for _ in 0..400 {
            let mut notes = Vec::new();
            match prng.below(4) {
                0 => {
                    version += 1;
                    let id = u64::from(prng.below(12));
                    match (duties.get(&id).copied(), prng.below(3)) {
                        (None, _) if !told.contains(&id) && !left.contains(&id) => {
                            duties.insert(id, Duty::Serve);
                        }
                        (Some(Duty::Serve), _) => {
                            duties.insert(id, Duty::Drain);
                            left.push(id);
                        }
                        (Some(_), 0) => {
                            duties.remove(&id);
                        }
                        _ => {}
                    }
                    let list = duties.iter().map(|(id, duty)| endpoint(*id, *duty)).collect();
                    fleet.adopt(&table(version, vec![service("web", list)]), T0, &mut notes);
                }
                1 if !open.is_empty() => {
                    let place = prng.below(open.len() as u32) as usize;
                    let (ix, _, web) = open.swap_remove(place);
                    fleet.finish(ix, Sign::Good, T0, &mut notes);
                    fleet.release(web);
                }
                _ => {
                    let Some(web) = fleet.route(80, b"web") else { continue };
                    if let Choice::Use(ix) = fleet.choose(web, &[], T0) {
                        let instance = fleet.member(ix).unwrap().instance;
                        assert_eq!(duties.get(&instance.0), Some(&Duty::Serve), "seed {seed}");
                        fleet.retain(web);
                        fleet.begin(ix);
                        open.push((ix, instance, web));
                    }
                }
            }
            for id in drained(&notes) {
                assert!(left.contains(&id), "seed {seed}: {id}");
                assert!(!open.iter().any(|(_, open, _)| open.0 == id), "seed {seed}: {id}");
                told.push(id);
            }
        }
        let busy = |id: &u64| open.iter().any(|(_, open, _)| open.0 == *id);
        assert!(left.iter().all(|id| told.contains(id) != busy(id)), "seed {seed}");
    }
}
