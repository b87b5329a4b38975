//! How soon an instance has its share again after something befell it: a model with a clock of its
//! own in which three instances answer a steady 200 requests a second, alike but for the wire's
//! noise. Little is in flight, so that who is dearer by a trifle would get nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tucano_common::prng::Prng;
use tucano_common::time::Mono;

use super::choice_tests::{INSTANCES, Ours, START};
use super::outlier::Sign;

const STEP_US: u64 = 5_000;

/// What a request sent then would see.
enum Fate {
    Answers(u64),
    Breaks(u64),
}

/// How many requests each instance answered in each second, from the start on.
fn shares(ours: &mut Ours, seconds: u64, fate: impl Fn(usize, Mono) -> Fate) -> Vec<[u64; 3]> {
    let mut noise = Prng::new(11);
    let mut open: BTreeMap<(Mono, u64), (usize, Mono, bool)> = BTreeMap::new();
    let mut answered = vec![[0; INSTANCES]; seconds as usize + 1];
    for turn in 0..seconds * 1_000_000 / STEP_US {
        let now = START + Duration::from_micros(turn * STEP_US);
        while let Some(((at, _), (instance, sent, answers))) =
            open.first_key_value().filter(|((at, _), _)| *at <= now).map(|(at, it)| (*at, *it))
        {
            open.pop_first();
            let mut notes = Vec::new();
            if answers {
                let second = sent.since(START).as_secs() as usize;
                answered[second][instance] += 1;
                ours.fleet.answered(ours.places[instance], at.since(sent), at);
            }
            let sign = if answers { Sign::Good } else { Sign::Broken };
            ours.fleet.finish(ours.places[instance], sign, at, &mut notes);
        }
        ours.fleet.tick(now, &mut Vec::new());
        let instance = super::choice_tests::Chooser::choose(ours, now);
        let (took, answers) = match fate(instance, now) {
            Fate::Answers(took) => (took + noise.next_u64() % 400, true),
            Fate::Breaks(took) => (took, false),
        };
        open.insert((now + Duration::from_micros(took), turn), (instance, now, answers));
    }
    answered
}

fn seconds_of(now: Mono) -> f64 {
    now.since(START).as_secs_f64()
}

/// Of 200 a second a third is 67: who has half of that has a fair share.
fn is_fair(second: &[u64; INSTANCES]) -> bool {
    second.iter().all(|count| *count >= 33)
}

#[test]
fn equals_share_alike_whatever_the_noise() {
    let steady = shares(&mut Ours::new(1, None), 20, |_, _| Fate::Answers(800));
    assert!(steady[..20].iter().all(is_fair), "{steady:?}");
}

#[test]
fn workers_that_differ_a_little_share_nearly_alike() {
    let ours = &mut Ours::new(1, Some([500, 450, 420]));
    let steady = shares(ours, 10, |_, _| Fate::Answers(800));
    assert!(steady[..10].iter().all(is_fair), "{steady:?}");
}

#[test]
fn what_broke_has_its_share_again_within_seconds() {
    for fails_us in [200, 300_000] {
        let down = 2.0..5.0;
        let fate = |instance: usize, now: Mono| match instance == 2 {
            true if down.contains(&seconds_of(now)) => Fate::Breaks(fails_us),
            _ => Fate::Answers(800),
        };
        let seen = shares(&mut Ours::new(1, None), 25, fate);
        let tried: u64 = seen[2..5].iter().map(|second| 200 - second.iter().sum::<u64>()).sum();
        assert!(tried < 60, "most are spared it: {tried}");
        // A term out of the rotation may have begun as late as it was well again.
        assert!(seen[11..25].iter().all(is_fair), "{fails_us}: {seen:?}");
    }
}

#[test]
fn what_stood_still_has_its_share_again_within_four_seconds() {
    // Stopped, and then continued: who asked meanwhile had an answer in the end.
    let fate = |instance: usize, now: Mono| match seconds_of(now) {
        second if instance == 2 && (2.0..5.0).contains(&second) => {
            Fate::Answers(((5.0 - second) * 1e6) as u64)
        }
        _ => Fate::Answers(800),
    };
    let seen = shares(&mut Ours::new(1, None), 20, fate);
    let waited: u64 = seen[2..5].iter().map(|second| second[2]).sum();
    assert!(waited < 20, "few waited: {waited}");
    assert!(seen[9..20].iter().all(is_fair), "{seen:?}");
}

#[test]
fn what_stays_slow_is_tried_with_single_requests() {
    let fate = |instance: usize, _: Mono| match instance {
        2 => Fate::Answers(2_000_000),
        _ => Fate::Answers(800),
    };
    let seen = shares(&mut Ours::new(1, None), 60, fate);
    let slow: u64 = seen[5..60].iter().map(|second| second[2]).sum();
    assert!((5..=40).contains(&slow), "{slow} of 11,000");
}

#[test]
fn a_slow_start_is_a_growing_part_of_the_share() {
    let mut ours = Ours::new(1, None);
    ours.turned_ready(2, START);
    let seen = shares(&mut ours, 20, |_, _| Fate::Answers(800));
    let in_all = |seconds: std::ops::Range<usize>| -> u64 {
        seen[seconds].iter().map(|second| second[2]).sum()
    };
    let (first, middle, last) = (in_all(0..2), in_all(4..6), in_all(12..20));
    assert!((5..=40).contains(&first), "a tenth and more: {first} of 133");
    assert!((40..=100).contains(&middle), "about half: {middle} of 133");
    assert!(last >= 8 * 50, "all of it: {last} of 533");
}
