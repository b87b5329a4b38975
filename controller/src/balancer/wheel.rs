//! Deadlines of many connections, at no cost on the path of a request.
//!
//! A connection writes its deadline into itself; the wheel only knows when to look at it next. A
//! deadline that moves later touches nothing (the wheel looks, and sees that it is not time); one
//! that comes earlier moves a link in a list. Slots are in lists through the connections' own
//! numbers: no allocation, and nothing is left of a connection that closed.

use tucano_common::time::Mono;

/// 32 ms a tick: fine enough for a connect timeout of 300 ms.
const TICK_BITS: u32 = 15;
/// 1024 ticks: half a minute around; later deadlines are looked at on the way.
const SLOTS: usize = 1024;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    prev: u32,
    /// The tick it is in the wheel for; zero where it is not.
    tick: u64,
}

const UNLINKED: Link = Link { next: NONE, prev: NONE, tick: 0 };

/// Who is to be looked at, and when.
pub(super) struct Wheel {
    heads: Box<[u32; SLOTS]>,
    taken: [u64; SLOTS / 64],
    links: Vec<Link>,
    /// Every tick before this one was looked at.
    next_tick: u64,
}

impl Wheel {
    pub(super) fn new(now: Mono) -> Wheel {
        Wheel {
            heads: Box::new([NONE; SLOTS]),
            taken: [0; SLOTS / 64],
            links: Vec::new(),
            next_tick: tick_of(now),
        }
    }

    /// Looks at `index` by this time at the latest.
    pub(super) fn watch(&mut self, index: u32, deadline: Mono) {
        // A tick after the one the deadline is in: never early.
        let furthest = self.next_tick + SLOTS as u64 - 1;
        let tick = (tick_of(deadline) + 1).clamp(self.next_tick, furthest);
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, UNLINKED);
        }
        let link = self.links[index as usize];
        if link.tick != 0 && link.tick <= tick {
            return;
        }
        self.unlink(index);
        self.link(index, tick);
    }

    /// Forgets `index`.
    pub(super) fn forget(&mut self, index: u32) {
        if self.links.get(index as usize).is_some_and(|link| link.tick != 0) {
            self.unlink(index);
        }
    }

    /// Gives back the places behind the last one who is watched.
    pub(super) fn give_back(&mut self) {
        let last = self.links.iter().rposition(|link| link.tick != 0);
        self.links.truncate(last.map_or(0, |last| last + 1));
        self.links.shrink_to_fit();
    }

    /// Takes out one whose time to be looked at has come.
    pub(super) fn pop(&mut self, now: Mono) -> Option<u32> {
        let today = tick_of(now);
        loop {
            let Some(tick) = self.next_taken() else {
                self.next_tick = self.next_tick.max(today);
                return None;
            };
            if tick > today {
                // Nothing is due; the next call begins here.
                self.next_tick = self.next_tick.max(today.min(tick));
                return None;
            }
            self.next_tick = tick;
            let index = self.heads[slot_of(tick)];
            if index != NONE {
                self.unlink(index);
                return Some(index);
            }
        }
    }

    /// When there is somebody to look at, at the latest.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.next_taken().map(|tick| Mono(tick << TICK_BITS))
    }

    /// The first tick from `next_tick` on that has somebody.
    fn next_taken(&self) -> Option<u64> {
        let first = slot_of(self.next_tick);
        let words = self.taken.len();
        (0..=words).find_map(|step| {
            let word = (first / 64 + step) % words;
            let mut bits = self.taken[word];
            if step == 0 {
                bits &= u64::MAX << (first % 64);
            } else if step == words {
                bits &= !(u64::MAX << (first % 64));
            }
            let slot = word * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| self.next_tick + ((slot + SLOTS - first) % SLOTS) as u64)
        })
    }

    fn link(&mut self, index: u32, tick: u64) {
        let slot = slot_of(tick);
        let head = self.heads[slot];
        self.links[index as usize] = Link { next: head, prev: NONE, tick };
        if let Some(head) = self.links.get_mut(head as usize) {
            head.prev = index;
        }
        self.heads[slot] = index;
        self.taken[slot / 64] |= 1 << (slot % 64);
    }

    fn unlink(&mut self, index: u32) {
        let link = std::mem::replace(&mut self.links[index as usize], UNLINKED);
        if link.tick == 0 {
            return;
        }
        let slot = slot_of(link.tick);
        match self.links.get_mut(link.prev as usize) {
            Some(prev) => prev.next = link.next,
            None => self.heads[slot] = link.next,
        }
        if let Some(next) = self.links.get_mut(link.next as usize) {
            next.prev = link.prev;
        }
        if self.heads[slot] == NONE {
            self.taken[slot / 64] &= !(1 << (slot % 64));
        }
    }
}

fn tick_of(time: Mono) -> u64 {
    time.0 >> TICK_BITS
}

fn slot_of(tick: u64) -> usize {
    tick as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tucano_common::prng::Prng;

    use super::*;

    const TICK: u64 = 1 << TICK_BITS;

    #[test]
    fn looked_at_in_time_and_never_early() {
        let mut wheel = Wheel::new(Mono(TICK * 5));
        wheel.watch(3, Mono(TICK * 7 + 1));
        assert_eq!(wheel.pop(Mono(TICK * 7 + TICK - 1)), None);
        assert_eq!(wheel.next_deadline(), Some(Mono(TICK * 8)));
        assert_eq!(wheel.pop(Mono(TICK * 8)), Some(3));
        assert_eq!((wheel.pop(Mono(TICK * 900)), wheel.next_deadline()), (None, None));
    }

    #[test]
    fn later_touches_nothing_and_earlier_moves() {
        let mut wheel = Wheel::new(Mono(0));
        wheel.watch(0, Mono(TICK * 10));
        wheel.watch(0, Mono(TICK * 20));
        assert_eq!(wheel.next_deadline(), Some(Mono(TICK * 11)));
        wheel.watch(0, Mono(TICK * 2));
        assert_eq!(wheel.next_deadline(), Some(Mono(TICK * 3)));
        wheel.forget(0);
        wheel.forget(9);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn deadlines_beyond_a_round_are_looked_at_on_the_way() {
        let mut wheel = Wheel::new(Mono(0));
        wheel.watch(0, Mono(TICK * 5000));
        let first = wheel.next_deadline().unwrap();
        assert!(first <= Mono(TICK * SLOTS as u64));
        assert_eq!(wheel.pop(first), Some(0));
    }

    /// Random watches and forgets against a map of what was last asked for.
    #[test]
    fn everyone_is_looked_at_by_their_deadline() {
        for seed in 0..32 {
            let mut prng = Prng::new(seed);
            let mut now = u64::from(prng.below(1 << 20));
            let mut wheel = Wheel::new(Mono(now));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for _ in 0..3000 {
                let index = prng.below(40);
                match prng.below(8) {
                    0 => {
                        wheel.forget(index);
                        model.remove(&index);
                    }
                    1..5 => {
                        let deadline = now + u64::from(prng.below(40_000_000));
                        wheel.watch(index, Mono(deadline));
                        let known = model.entry(index).or_insert(deadline);
                        *known = deadline.min(*known);
                    }
                    _ => now += u64::from(prng.below(3_000_000)),
                }
                let next = wheel.next_deadline();
                if let Some(first) = model.values().min() {
                    let bound = (first + 2 * TICK).max(now);
                    assert!(next.is_some_and(|next| next.0 <= bound), "seed {seed}");
                }
                while let Some(index) = wheel.pop(Mono(now)) {
                    let deadline = model.remove(&index).expect("it was watched");
                    if deadline > now {
                        // Looked at on the way of a long deadline: the loop watches it again.
                        wheel.watch(index, Mono(deadline));
                        model.insert(index, deadline);
                    }
                }
                assert!(model.values().all(|deadline| deadline + 2 * TICK > now), "seed {seed}");
            }
        }
    }
}
