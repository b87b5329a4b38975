//! One instance as one loop sees it: what is in flight on it, how fast it answers, whether it may
//! be chosen.
//!
//! It compares nobody; [`super::Fleet`] does.

use std::net::SocketAddr;
use std::time::Duration;

use tucano_common::decay;
use tucano_common::id::InstanceId;
use tucano_common::limits::SLOW_START;
use tucano_common::time::Mono;

use super::ServiceIx;
use super::outlier::Outlier;
use super::table::{Duty, Endpoint};

/// A worker's weight where nothing was measured yet: the middle of 1 to 1000.
pub const WEIGHT_DEFAULT: u16 = 500;

/// Latencies below this are one and the same: the wire's noise must not choose (a round trip of a
/// LAN is about this). A bound, not a summand: what is added to every latency hides the differences
/// of services that answer in less than a millisecond (measured in `choice_tests`).
const LATENCY_FLOOR_US: f64 = 250.0;
/// After so long without an answer, half of a smoothed latency is forgotten; after twice that all
/// but a sixteenth, after three and a half times it a second is a thirtieth of a millisecond.
/// Forgetting quickens: at one pace, what broke or stood still (a second and more) would be dear
/// for a dozen seconds after it is well again, beside others that answer within a millisecond.
const LATENCY_HALVED_AFTER: Duration = Duration::from_secs(1);
/// Who has less than this left of its latency is tried with one request, not taken at its word.
const FADED: f64 = 1.0 / 8.0;
/// What a broken connection counts as. An instance that is down fails at once and so has nothing in
/// flight: without this it would look like the one with the most to give, and draw the traffic in.
const LATENCY_OF_BROKEN_US: f64 = 1_000_000.0;
/// What one answer moves the smoothed latency by (as TCP smooths its round trips), at the least:
/// the longer nothing was heard, the more the news counts. What is half forgotten must not come
/// back whole with the next answer.
const LATENCY_GAIN: f64 = 1.0 / 8.0;

/// Whether the table still has the instance, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In the table.
    Listed(Duty),
    /// Gone from it; it stays here while something is in flight on it.
    Gone,
}

/// What is known of how fast an instance answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It never answered, and never broke.
    Nothing,
    /// It answered or broke then; it fades from there.
    Told(Mono),
    /// It had faded when a request was sent then, to see. Meanwhile it counts as before it faded:
    /// what still answers nothing is not to draw a crowd.
    OnTrial(Mono),
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Member {
    /// Which.
    pub instance: InstanceId,
    /// Of which revision.
    pub revision: u64,
    /// Of which service.
    pub service: ServiceIx,
    /// Where.
    pub address: SocketAddr,
    /// Whether it may be chosen.
    pub standing: Standing,
    /// Requests on it, upgraded connections included.
    pub in_flight: u32,
    /// Its errors.
    pub outlier: Outlier,
    /// Its place among the table's workers.
    pub worker: Option<u32>,
    /// Its worker's share.
    pub weight: u16,
    ready_at: Mono,
    latency_us: f64,
    known: Known,
    /// When the head of an answer last came.
    heard_at: Mono,
    /// Its host answers nothing: used last until then.
    silent_until: Mono,
    /// Grows with every request given to anybody: among equals the one whose turn is longest ago is
    /// taken.
    pub last_turn: u64,
}

impl Member {
    /// An instance that was not known before.
    pub fn new(endpoint: &Endpoint, service: ServiceIx) -> Member {
        Member {
            instance: endpoint.instance,
            revision: endpoint.revision,
            service,
            address: endpoint.address,
            standing: Standing::Listed(endpoint.duty),
            in_flight: 0,
            outlier: Outlier::default(),
            worker: endpoint.worker,
            weight: WEIGHT_DEFAULT,
            ready_at: endpoint.ready_at,
            latency_us: 0.0,
            known: Known::Nothing,
            heard_at: Mono::default(),
            silent_until: Mono::default(),
            last_turn: 0,
        }
    }

    /// Takes what a newer table says. True: it moved to another address, where nothing is known of
    /// it.
    pub fn update(&mut self, endpoint: &Endpoint) -> bool {
        let moved = self.address != endpoint.address;
        if moved {
            self.address = endpoint.address;
            self.outlier = Outlier::default();
        }
        let was_serving = self.standing == Standing::Listed(Duty::Serve);
        if moved || (!was_serving && endpoint.duty == Duty::Serve) {
            // Who takes it back has asked it: what it did meanwhile was its host's or network's.
            self.outlier.pardon();
            self.latency_us = 0.0;
            self.known = Known::Nothing;
            self.silent_until = Mono::default();
        }
        self.revision = endpoint.revision;
        self.standing = Standing::Listed(endpoint.duty);
        self.worker = endpoint.worker;
        self.ready_at = endpoint.ready_at;
        moved
    }

    /// How willingly it is chosen; none: not at all. Lower tiers are taken only when higher ones
    /// are empty.
    pub fn tier(&self, now: Mono) -> Option<Tier> {
        match (self.standing, self.outlier.is_out(now)) {
            (Standing::Listed(Duty::Serve), false) if now < self.silent_until => {
                Some(Tier::Suspect)
            }
            (Standing::Listed(Duty::Serve), false) => Some(Tier::Good),
            (Standing::Listed(Duty::LastResort), false) => Some(Tier::Suspect),
            (Standing::Listed(Duty::Serve | Duty::LastResort), true) => Some(Tier::Ejected),
            (Standing::Listed(Duty::Drain | Duty::Abandon) | Standing::Gone, _) => None,
        }
    }

    /// Whether it receives no new requests, whatever happens.
    pub fn is_leaving(&self) -> bool {
        match self.standing {
            Standing::Listed(Duty::Serve | Duty::LastResort) => false,
            Standing::Listed(Duty::Drain | Duty::Abandon) | Standing::Gone => true,
        }
    }

    /// Notes how long it took to the head of an answer.
    pub fn answered_in(&mut self, latency: Duration, now: Mono) {
        let sample = latency.as_micros() as f64;
        let known = match self.known {
            Known::Nothing | Known::OnTrial(_) => 0.0,
            Known::Told(_) => (1.0 - LATENCY_GAIN) * self.remembered(now),
        };
        self.latency_us = self.latency_us * known + sample * (1.0 - known);
        self.known = Known::Told(now);
        self.heard_at = now;
        self.silent_until = Mono::default();
    }

    /// When it last answered.
    pub fn heard_at(&self) -> Mono {
        self.heard_at
    }

    /// Notes that its host answers nothing.
    pub fn fell_silent(&mut self, until: Mono) {
        self.silent_until = until;
    }

    /// Notes that a connection could not be made, or broke before the answer.
    pub fn broke(&mut self, now: Mono) {
        self.latency_us = self.latency_us.max(LATENCY_OF_BROKEN_US);
        self.known = Known::Told(now);
    }

    /// Notes that it was chosen: where what was known of it has faded, to see how it does now.
    pub fn chosen(&mut self, now: Mono) {
        if self.known != Known::Nothing && self.remembered(now) < FADED {
            self.known = Known::OnTrial(now);
        }
    }

    /// What another request there would cost: less is better.
    pub fn cost(&self, now: Mono) -> f64 {
        let latency = (self.latency_us * self.remembered(now)).max(LATENCY_FLOOR_US);
        f64::from(self.in_flight + 1) * latency / f64::from(self.weight.max(1))
    }

    /// How much of the smoothed latency still counts, from 1 down.
    fn remembered(&self, now: Mono) -> f64 {
        let (Known::Told(since) | Known::OnTrial(since)) = self.known else { return 0.0 };
        let idle = now.since(since).as_secs_f64() / LATENCY_HALVED_AFTER.as_secs_f64();
        decay::remaining(idle * idle)
    }

    /// Its part of what it would be given: the slow start, from a tenth to all of it. Counted in
    /// turns and not as a higher cost, which among idle ones would be no turn at all.
    pub fn slow_start(&self, now: Mono) -> f64 {
        let age = now.since(self.ready_at);
        if age >= SLOW_START {
            return 1.0;
        }
        (age.as_secs_f64() / SLOW_START.as_secs_f64()).max(0.1)
    }
}

/// How willingly an instance is chosen, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// In the rotation.
    Good,
    /// Its worker's heartbeats are late, or its host answers nothing.
    Suspect,
    /// Out for its errors; only where there is no other.
    Ejected,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        let endpoint = Endpoint {
            instance: InstanceId(1),
            revision: 1,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            worker: Some(0),
            duty: Duty::Serve,
            ready_at: Mono(0),
        };
        Member::new(&endpoint, ServiceIx(0))
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    #[test]
    fn cost_grows_with_load_and_latency_and_falls_with_weight() {
        let now = at(100);
        let plain = member();
        let busy = Member { in_flight: 3, ..plain.clone() };
        assert_eq!(busy.cost(now), 4.0 * plain.cost(now));
        let strong = Member { weight: 1000, ..plain.clone() };
        assert_eq!(2.0 * strong.cost(now), plain.cost(now));
        let mut slow = plain.clone();
        slow.answered_in(Duration::from_millis(50), now);
        assert!(slow.cost(now) > 10.0 * plain.cost(now));
        assert!(slow.cost(at(104)) < 2.0 * plain.cost(at(104)), "slowness is forgotten");
    }

    #[test]
    fn a_broken_instance_is_dear_for_some_seconds() {
        let now = at(100);
        let busy = Member { in_flight: 50, ..member() };
        let mut broken = member();
        broken.broke(now);
        assert!(broken.cost(now) > busy.cost(now));
        assert!(broken.cost(at(107)) < busy.cost(at(107)), "then it is tried again");
        // It is back and answers: what was forgotten meanwhile does not return.
        let plain = member();
        broken.answered_in(Duration::from_micros(250), at(115));
        assert!(broken.cost(at(115)) < 1.5 * plain.cost(at(115)));
    }

    #[test]
    fn latencies_are_smoothed() {
        let mut member = member();
        for turn in 1..100 {
            member.answered_in(Duration::from_millis(10), Mono(turn));
        }
        let before = member.latency_us;
        member.answered_in(Duration::from_millis(90), Mono(100));
        assert!((before - 10_000.0).abs() < 1.0);
        assert!((member.latency_us - 20_000.0).abs() < 1.0);
        // After a minute of silence the news is all there is.
        member.answered_in(Duration::from_millis(5), at(60));
        assert!((member.latency_us - 5_000.0).abs() < 1.0);
    }

    #[test]
    fn the_wires_noise_does_not_choose() {
        let now = at(100);
        let [mut near, mut far, mut slow] = [member(), member(), member()];
        near.answered_in(Duration::from_micros(80), now);
        far.answered_in(Duration::from_micros(240), now);
        slow.answered_in(Duration::from_micros(900), now);
        assert_eq!(near.cost(now), far.cost(now));
        assert!(slow.cost(now) > 3.0 * near.cost(now), "this is no noise");
    }

    #[test]
    fn a_new_instance_begins_with_a_tenth() {
        let fresh = Member { ready_at: at(100), ..member() };
        for (second, part) in [(100, 0.1), (105, 0.5), (110, 1.0), (111, 1.0)] {
            assert_eq!(fresh.slow_start(at(second)), part, "{second}");
        }
    }

    #[test]
    fn what_broke_or_stood_still_is_tried_with_one_request_within_four_seconds() {
        let fast = |now| {
            let mut fast = member();
            fast.answered_in(Duration::from_millis(1), now);
            fast
        };
        for latency in [LATENCY_OF_BROKEN_US, 60_000_000.0] {
            let mut ill = Member { latency_us: latency, known: Known::Told(at(100)), ..member() };
            assert!(ill.cost(at(102)) > 2.0 * fast(at(102)).cost(at(102)), "not yet");
            assert!(ill.cost(at(104)) < fast(at(104)).cost(at(104)), "now");
            ill.chosen(at(104));
            assert!(ill.cost(at(104)) > 100.0 * fast(at(104)).cost(at(104)), "one is enough");
            // Nobody answers: another one later. Somebody does: that is what counts.
            assert!(ill.cost(at(108)) < fast(at(108)).cost(at(108)));
            ill.answered_in(Duration::from_millis(1), at(105));
            assert_eq!(ill.cost(at(105)), fast(at(105)).cost(at(105)));
        }
    }

    #[test]
    fn who_is_taken_back_starts_with_a_clean_record() {
        let endpoint = Endpoint {
            instance: InstanceId(1),
            revision: 1,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            worker: Some(0),
            duty: Duty::Serve,
            ready_at: Mono(0),
        };
        let mut ill = member();
        ill.broke(at(100));
        ill.outlier.eject(at(100));
        ill.update(&endpoint);
        assert_eq!(ill.tier(at(101)), Some(Tier::Ejected), "it was not away");
        for duty in [Duty::LastResort, Duty::Drain] {
            let mut back = ill.clone();
            back.standing = Standing::Listed(duty);
            assert!(!back.update(&endpoint));
            assert_eq!(back.tier(at(101)), Some(Tier::Good));
            assert_eq!(back.cost(at(101)), member().cost(at(101)));
            assert!(back.outlier.returns(at(101)), "and the others are told");
        }
    }

    #[test]
    fn tiers() {
        let now = at(1);
        let mut member = member();
        assert_eq!(member.tier(now), Some(Tier::Good));
        member.standing = Standing::Listed(Duty::LastResort);
        assert_eq!(member.tier(now), Some(Tier::Suspect));
        member.standing = Standing::Listed(Duty::Serve);
        member.fell_silent(at(4));
        assert_eq!(member.tier(now), Some(Tier::Suspect), "its host is silent");
        assert_eq!(member.tier(at(4)), Some(Tier::Good), "for a while");
        member.answered_in(Duration::from_millis(1), now);
        assert_eq!(member.tier(now), Some(Tier::Good), "until it is heard");
        member.outlier.eject(now);
        assert_eq!(member.tier(now), Some(Tier::Ejected));
        for standing in
            [Standing::Listed(Duty::Drain), Standing::Listed(Duty::Abandon), Standing::Gone]
        {
            member.standing = standing;
            assert_eq!(member.tier(now), None);
            assert!(member.is_leaving());
        }
    }
}
