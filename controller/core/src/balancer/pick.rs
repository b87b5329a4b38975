//! Which of two instances, and which two: the power of two choices.
//!
//! It knows nothing of services. Called by `fleet`.

use std::cmp::Ordering;

use tucano_common::prng::Prng;
use tucano_common::time::Mono;

use super::fleet::MemberIx;
use super::member::{Member, Tier};

/// An instance that a request may go to.
pub(super) type Candidate<'a> = (Tier, &'a Member, MemberIx);

/// Costs this close are the same where one of two is idle: what was measured is not that exact, and
/// while little is in flight the dearer one would get nothing at all. Where more is, requests in
/// flight make the shares.
const ALIKE: f64 = 1.25;

/// The one of the better tier; within one the cheaper; among equals the one whose turn is longer
/// ago.
///
/// One that turned ready later than the other gives way so often that it gets its growing part of
/// what the other gets, but not to one that is as many times dearer. Those that turned ready
/// together are equals.
pub(super) fn better<'a>(
    a: Candidate<'a>,
    b: Candidate<'a>,
    now: Mono,
    prng: &mut Prng,
) -> Candidate<'a> {
    let parts = (a.1.slow_start(now), b.1.slow_start(now));
    if a.0 != b.0 || parts.0 == parts.1 {
        return cheaper(a, b, now);
    }
    let (fresh, other) = if parts.0 < parts.1 { (a, b) } else { (b, a) };
    let part = parts.0.min(parts.1) / parts.0.max(parts.1);
    match prng.chance(part) || fresh.1.cost(now) < part * other.1.cost(now) {
        true => cheaper(fresh, other, now),
        false => other,
    }
}

fn cheaper<'a>(a: Candidate<'a>, b: Candidate<'a>, now: Mono) -> Candidate<'a> {
    let by_cost = || {
        let is_quiet = a.1.in_flight.min(b.1.in_flight) == 0;
        let (a, b) = (a.1.cost(now), b.1.cost(now));
        let are_alike = is_quiet && a.max(b) <= ALIKE * a.min(b);
        if are_alike { Ordering::Equal } else { a.total_cmp(&b) }
    };
    let order = a.0.cmp(&b.0).then_with(by_cost);
    if order.then(a.1.last_turn.cmp(&b.1.last_turn)).is_le() { a } else { b }
}

/// Two different places below `count`; both the same where there is only one.
pub(super) fn pair(prng: &mut Prng, count: u32) -> (u32, u32) {
    if count < 2 {
        return (0, 0);
    }
    let first = prng.below(count);
    let second = prng.below(count - 1);
    (first, if second >= first { second + 1 } else { second })
}
