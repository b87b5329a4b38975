//! Leases under every order of what can happen to them.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> LeaseConfig {
    LeaseConfig { suspect_after: 3 * SECOND, dead_after: 10 * SECOND, start_grace: 30 * SECOND }
}

fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000)
}

fn name(text: &str) -> WorkerName {
    WorkerName::new(text).unwrap()
}

fn caller(session: u64, last: u8) -> Caller {
    Caller { session, address: IpAddr::from([127, 0, 0, last]), agent_port: 7071 }
}

/// Leases of a controller that started long ago, with one worker that said hello at 100 s.
fn one_ready() -> (Leases, WorkerName) {
    let mut leases = Leases::new(config(), at(0));
    let worker = name("w1");
    leases.hello(&worker, caller(7, 1), at(100)).unwrap();
    (leases, worker)
}

fn changes(leases: &mut Leases, seconds: u64) -> Vec<LeaseState> {
    leases.expire(at(seconds)).into_iter().map(|change| change.lease).collect()
}

#[test]
fn silence_makes_suspect_then_dead() {
    let (mut leases, worker) = one_ready();
    assert_eq!(changes(&mut leases, 102), []);
    assert_eq!(leases.next_deadline(), Some(at(103)));
    assert_eq!(changes(&mut leases, 103), [LeaseState::Suspect]);
    assert_eq!(leases.next_deadline(), Some(at(110)));
    assert_eq!(changes(&mut leases, 109), []);
    assert_eq!(changes(&mut leases, 110), [LeaseState::Dead]);
    assert_eq!(leases.next_deadline(), None);
    assert_eq!(leases.heartbeat(&worker, 7, 1, at(111)), Err(BeatRefused::NoSession));
    assert!(leases.hello(&worker, caller(7, 1), at(112)).is_ok());
    assert_eq!(leases.state(&worker), Some(LeaseState::Ready));
}

#[test]
fn a_suspect_worker_must_be_heard_several_times_in_a_row() {
    let (mut leases, worker) = one_ready();
    assert_eq!(changes(&mut leases, 103), [LeaseState::Suspect]);
    for (seq, second) in [(1, 104), (2, 105), (3, 106)] {
        assert_eq!(leases.heartbeat(&worker, 7, seq, at(second)), Ok(Beat::Fresh(None)));
    }
    let ready = LeaseChange { worker: worker.clone(), lease: LeaseState::Ready };
    assert_eq!(leases.heartbeat(&worker, 7, 4, at(107)), Ok(Beat::Fresh(Some(ready))));
}

#[test]
fn a_worker_at_the_edge_does_not_flap() {
    let (mut leases, worker) = one_ready();
    let mut changed = 0;
    // Every heartbeat takes 4 s where 3 s are allowed.
    for n in 1..50 {
        for second in 0..4 {
            changed += leases.expire(at(100 + (n - 1) * 4 + second)).len();
        }
        let beat = leases.heartbeat(&worker, 7, n, at(100 + n * 4)).unwrap();
        changed += usize::from(!matches!(beat, Beat::Fresh(None)));
    }
    assert_eq!(changed, 1, "suspect once, and it stays so");
}

#[test]
fn late_doubled_and_foreign_heartbeats_change_nothing() {
    let (mut leases, worker) = one_ready();
    assert_eq!(leases.heartbeat(&worker, 7, 5, at(101)), Ok(Beat::Fresh(None)));
    let deadline = leases.next_deadline();
    assert_eq!(leases.heartbeat(&worker, 7, 5, at(102)), Ok(Beat::Stale));
    assert_eq!(leases.heartbeat(&worker, 7, 4, at(102)), Ok(Beat::Stale));
    assert_eq!(leases.heartbeat(&worker, 8, 6, at(102)), Err(BeatRefused::OtherSession));
    assert_eq!(leases.heartbeat(&name("w2"), 7, 6, at(102)), Err(BeatRefused::NoSession));
    assert_eq!(leases.next_deadline(), deadline);
}

#[test]
fn a_second_agent_is_refused_while_the_first_is_alive() {
    let (mut leases, worker) = one_ready();
    let taken = Err(HelloRefused::NameTaken { address: IpAddr::from([127, 0, 0, 1]) });
    assert_eq!(leases.hello(&worker, caller(8, 2), at(101)), taken);
    assert_eq!(changes(&mut leases, 103), [LeaseState::Suspect]);
    assert_eq!(leases.hello(&worker, caller(8, 2), at(104)), taken);
    assert_eq!(changes(&mut leases, 110), [LeaseState::Dead]);
    assert!(leases.hello(&worker, caller(8, 2), at(111)).is_ok());
    assert_eq!(leases.heartbeat(&worker, 7, 9, at(112)), Err(BeatRefused::OtherSession));
}

#[test]
fn an_agent_that_was_started_again_is_the_same_one() {
    let (mut leases, worker) = one_ready();
    assert_eq!(leases.heartbeat(&worker, 7, 50, at(101)), Ok(Beat::Fresh(None)));
    assert!(leases.hello(&worker, caller(8, 1), at(101)).is_ok());
    assert_eq!(leases.heartbeat(&worker, 8, 1, at(102)), Ok(Beat::Fresh(None)));
    assert_eq!(leases.heartbeat(&worker, 7, 51, at(102)), Err(BeatRefused::OtherSession));
}

#[test]
fn a_repeated_hello_does_not_take_old_heartbeats_for_new() {
    let (mut leases, worker) = one_ready();
    assert_eq!(leases.heartbeat(&worker, 7, 5, at(101)), Ok(Beat::Fresh(None)));
    assert!(leases.hello(&worker, caller(7, 1), at(101)).is_ok());
    assert_eq!(leases.heartbeat(&worker, 7, 4, at(102)), Ok(Beat::Stale));
}

#[test]
fn after_a_bye_the_name_is_free_and_the_lease_runs_out() {
    let (mut leases, worker) = one_ready();
    assert!(!leases.bye(&worker, Some(6)), "another session's");
    assert!(leases.bye(&worker, Some(7)));
    assert_eq!(leases.heartbeat(&worker, 7, 9, at(101)), Err(BeatRefused::NoSession));
    assert_eq!(changes(&mut leases, 103), [LeaseState::Suspect]);
    assert!(leases.hello(&worker, caller(8, 2), at(104)).is_ok());
    assert!(!leases.bye(&name("w2"), None));
}

#[test]
fn nobody_is_dead_before_the_grace_after_the_start() {
    let mut leases = Leases::new(config(), at(1000));
    leases.remember(name("w1"), LeaseState::Ready);
    leases.remember(name("w2"), LeaseState::Dead);
    assert_eq!(leases.state(&name("w1")), Some(LeaseState::Suspect));
    assert_eq!(changes(&mut leases, 1029), []);
    assert_eq!(leases.expire(at(1030)).len(), 1, "w1 alone: w2 was dead before");
    // One that was heard since the start is dead after its own silence.
    let mut leases = Leases::new(config(), at(1000));
    leases.remember(name("w1"), LeaseState::Ready);
    leases.hello(&name("w1"), caller(7, 1), at(1001)).unwrap();
    assert_eq!(changes(&mut leases, 1004), [LeaseState::Suspect]);
    assert_eq!(changes(&mut leases, 1010), []);
    assert_eq!(changes(&mut leases, 1011), [LeaseState::Dead]);
}

#[test]
fn being_held_up_itself_is_no_silence_of_the_workers() {
    let (mut leases, worker) = one_ready();
    // Nothing was read and nobody asked for 60 s.
    assert_eq!(changes(&mut leases, 160), [LeaseState::Suspect], "late, but not given up");
    assert_eq!(leases.heartbeat(&worker, 7, 1, at(160)), Ok(Beat::Fresh(None)));
    assert_eq!(leases.state(&worker), Some(LeaseState::Suspect));
}

#[test]
fn a_forgotten_worker_is_gone() {
    let (mut leases, worker) = one_ready();
    leases.forget(&worker);
    assert_eq!(leases.next_deadline(), None);
    assert_eq!(leases.heartbeat(&worker, 7, 1, at(101)), Err(BeatRefused::NoSession));
}
