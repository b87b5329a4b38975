//! Hosts that are slow, lossy, paused or dead, and when each is left: single judgements, and seeded
//! histories of a whole connection.

use tucano_common::limits::{SILENCE_AGENT_TIMEOUT, SILENCE_CHECK};
use tucano_common::prng::Prng;

use super::*;

const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const START_MS: u64 = 1_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(offset_ms: u64) -> Mono {
    Mono((START_MS + offset_ms) * 1000)
}

fn evidence(has_unacknowledged: bool, silent_ms: u64, questions: u8) -> Evidence {
    let unacknowledged_for = ms(silent_ms);
    Evidence { has_unacknowledged, unacknowledged_for, round_trip: ms(1), questions }
}

/// What is done about a host whose agent said so much before.
fn step(said: &[(bool, u64)], evidence: &Evidence, now_ms: u64) -> Step {
    let mut doubts = Doubts::default();
    for (is_there, when) in said {
        doubts.heard(HOST, *is_there, at(*when));
    }
    doubts.consider(HOST, (evidence.unacknowledged_for, evidence), at(now_ms))
}

#[test]
fn without_an_agent_only_a_kernel_that_acknowledges_nothing_is_dead() {
    assert_eq!(step(&[], &evidence(true, 149, 0), 0), Step::Wait);
    assert_eq!(step(&[], &evidence(true, 150, 0), 0), Step::AskAgent);
    assert_eq!(step(&[], &evidence(true, 349, 0), 0), Step::AskAgent);
    assert_eq!(step(&[], &evidence(true, 350, 0), 0), Step::Leave);
    assert_eq!(step(&[], &evidence(false, 10, 0), 0), Step::Wait);
    let asked = Step::Ask { agent: true };
    assert_eq!(step(&[], &evidence(false, 50_000, 0), 0), asked, "slow, not asked");
    assert_eq!(step(&[], &evidence(false, 1_010, 1), 0), asked, "asked a moment ago");
    assert_eq!(step(&[], &evidence(false, 1_350, 1), 0), Step::Leave, "asked, and no answer");
}

#[test]
fn a_far_host_has_more_time() {
    let far = Evidence { round_trip: ms(300), ..evidence(true, 800, 0) };
    assert_eq!(step(&[], &far, 0), Step::AskAgent);
    let longer = Evidence { unacknowledged_for: ms(900), ..far };
    assert_eq!(step(&[], &longer, 0), Step::Leave);
}

#[test]
fn an_idle_connection_is_judged_by_its_request() {
    let idle = evidence(true, 60_000, 0);
    let mut doubts = Doubts::default();
    assert_eq!(doubts.consider(HOST, (ms(100), &idle), at(0)), Step::Wait);
    assert_eq!(doubts.consider(HOST, (ms(350), &idle), at(0)), Step::Leave);
}

#[test]
fn an_agent_that_is_there_shields_a_lossy_connection_for_a_while() {
    assert_eq!(step(&[(true, 200)], &evidence(true, 400, 0), 300), Step::Wait, "asked lately");
    assert_eq!(step(&[(true, 200)], &evidence(true, 500, 0), 400), Step::AskAgent);
    assert_eq!(step(&[(true, 200)], &evidence(true, 500, 0), 550), Step::Leave, "long ago");
    assert_eq!(step(&[(true, 200)], &evidence(true, 1_000, 0), 300), Step::Leave);
}

#[test]
fn an_agent_that_is_gone_confirms_what_nothing_else_would() {
    assert_eq!(step(&[(false, 0)], &evidence(false, 349, 0), 0), Step::Wait);
    assert_eq!(step(&[(false, 0)], &evidence(false, 350, 0), 0), Step::Leave);
    // Its kernel acknowledged something after that.
    assert_eq!(step(&[(false, 0)], &evidence(false, 400, 0), 450), Step::Ask { agent: false });
    assert_eq!(step(&[(true, 0)], &evidence(false, 400, 0), 450), Step::Wait, "slow, and there");
    // What its agent says counts for more than probes that got lost.
    assert_eq!(step(&[(true, 0)], &evidence(false, 1_400, 1), 600), Step::AskAgent);
}

#[test]
fn an_agent_is_asked_now_and_then_and_forgotten() {
    let mut doubts = Doubts::default();
    let slow = evidence(false, 5_000, 0);
    let look = |doubts: &mut Doubts, now| doubts.consider(HOST, (ms(5_000), &slow), at(now));
    assert_eq!(look(&mut doubts, 0), Step::Ask { agent: true });
    assert_eq!(look(&mut doubts, 900), Step::Ask { agent: false }, "it has said nothing");
    assert_eq!(look(&mut doubts, 1_000), Step::Ask { agent: true });
    doubts.heard(HOST, true, at(1_001));
    assert_eq!(look(&mut doubts, 1_499), Step::Wait);
    assert_eq!(look(&mut doubts, 1_500), Step::AskAgent);
    doubts.forget(at(4_499));
    assert_eq!(doubts.doubts.len(), 1);
    doubts.forget(at(4_500));
    assert!(doubts.doubts.is_empty());
}

/// A host, its agent and one connection to a service there, as the balancer sees them.
struct World {
    prng: Prng,
    doubts: Doubts,
    /// Either packets are lost twice in a row now and then, or the loop is held up.
    loses_twice: bool,
    /// It says nothing from then on.
    dies_at: u64,
    /// Its machine stands still until then, as a virtual one does.
    paused_until: u64,
    sent_at: u64,
    /// When the request is acknowledged; what is sent to a dead host never is.
    acknowledged_at: u64,
    answered_at: u64,
    heard_at: u64,
    is_asked_by_kernel: bool,
    /// The agent's word, on its way, and how often it was not there.
    word: Option<(u64, bool)>,
}

impl World {
    fn new(seed: u64, dies_at: u64) -> World {
        let mut world = World {
            prng: Prng::new(seed),
            doubts: Doubts::default(),
            loses_twice: seed % 2 == 1,
            dies_at,
            paused_until: 0,
            sent_at: 0,
            acknowledged_at: 0,
            answered_at: 0,
            heard_at: 0,
            is_asked_by_kernel: false,
            word: None,
        };
        world.send(0);
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.prng.below(u32::try_from(bound).expect("small")).into()
    }

    /// When something sent now is acknowledged by the other kernel: one in ten is lost, and sent
    /// again.
    fn arrives(&mut self, now: u64) -> u64 {
        let lost = match self.below(20) {
            0 if self.loses_twice => 600,
            0 | 1 => 200,
            _ => 0,
        };
        let at = (now + lost).max(self.paused_until) + 1 + self.below(3);
        if at >= self.dies_at { u64::MAX } else { at }
    }

    fn send(&mut self, now: u64) {
        let slow = [5, 50, 500, 5_000, 60_000][usize::try_from(self.below(5)).expect("small")];
        self.sent_at = now;
        self.acknowledged_at = self.arrives(now);
        let done = self.acknowledged_at.saturating_add(self.below(slow));
        self.answered_at = if done >= self.dies_at { u64::MAX } else { done };
        self.is_asked_by_kernel = false;
    }

    /// What passes in one millisecond.
    fn pass(&mut self, now: u64) {
        if now >= self.paused_until && self.below(2_000) == 0 {
            self.paused_until = now + self.below(120);
        }
        if self.acknowledged_at == now {
            self.heard_at = now;
        }
        if self.answered_at == now {
            self.heard_at = now;
            self.send(now);
        }
        if let Some((_, is_there)) = self.word.take_if(|(when, _)| *when <= now) {
            self.doubts.heard(HOST, is_there, at(now));
        }
    }

    /// The worker manager asks, twice where it must.
    fn ask_agent(&mut self, now: u64) {
        let timeout = u64::try_from(SILENCE_AGENT_TIMEOUT.as_millis()).expect("small");
        let begun = now + self.below(3);
        // What is lost twice is one connection's: this one is another.
        let first = match self.loses_twice {
            true if begun + 2 >= self.dies_at => u64::MAX,
            true => begun.max(self.paused_until) + 2,
            false => self.arrives(begun),
        };
        if first <= begun + timeout {
            self.word = Some((first, true));
            return;
        }
        // Two in a row are not lost here.
        let again = begun + timeout;
        let second = again.max(self.paused_until) + 2;
        let is_there = second < self.dies_at && second <= again + timeout;
        self.word = Some((if is_there { second } else { again + timeout }, is_there));
    }

    /// What the loop does when it looks.
    fn look(&mut self, now: u64) -> Step {
        let kernel_asks = self.is_asked_by_kernel && now >= self.heard_at.max(self.sent_at) + 1_000;
        if kernel_asks && now < self.dies_at {
            self.heard_at = now;
        }
        let evidence = Evidence {
            has_unacknowledged: now < self.acknowledged_at,
            unacknowledged_for: ms(now - self.heard_at),
            round_trip: ms(1),
            questions: u8::from(kernel_asks && now >= self.dies_at),
        };
        let step = self.doubts.consider(HOST, (ms(now - self.sent_at), &evidence), at(now));
        self.is_asked_by_kernel |= matches!(step, Step::Ask { .. });
        if matches!(step, Step::AskAgent | Step::Ask { agent: true }) && self.word.is_none() {
            self.ask_agent(now);
        }
        step
    }

    /// When it is left, looked at ten times a second, now and then later.
    fn left_at(&mut self, until: u64) -> Option<u64> {
        let every = u64::try_from(SILENCE_CHECK.as_millis()).expect("small");
        let mut next_look = every;
        for now in 1..until {
            self.pass(now);
            if now >= next_look {
                if self.look(now) == Step::Leave {
                    return Some(now);
                }
                let is_held_up = !self.loses_twice && self.below(50) == 0;
                let held_up = if is_held_up { self.below(2_000) } else { self.below(20) };
                next_look = now + every + held_up;
            }
        }
        None
    }
}

#[test]
fn slow_services_lost_packets_and_pauses_are_no_dead_host() {
    for seed in 0..400 {
        let left = World::new(seed, u64::MAX).left_at(30_000);
        assert_eq!(left, None, "seed {seed}: a healthy host was left");
    }
}

#[test]
fn a_dead_host_is_left_however_it_died() {
    let mut slowest = 0;
    for seed in 0..400 {
        let dies_at = 2_000 + seed * 17;
        let mut world = World::new(seed, dies_at);
        let left = world.left_at(dies_at + 10_000).expect("it is dead");
        assert!(left >= dies_at, "seed {seed}: left alive");
        // A look may be held up two seconds in this world.
        assert!(left < dies_at + 4_000, "seed {seed}: left after {}", left - dies_at);
        slowest = slowest.max(left - dies_at);
    }
    assert!(slowest > 350, "nothing was shown: {slowest}");
}
