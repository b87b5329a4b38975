//! Kept connections to instances that nobody uses now: one pool an instance, shared by all clients
//! of a loop.
//!
//! The one used last is taken first, so that those too many grow old and are closed. It holds keys,
//! not connections. Called by `send`, `finish` and the loop's chores.

use std::collections::VecDeque;

use tucano_common::limits::UPSTREAM_IDLE_MAX;
use tucano_common::time::Mono;
use tucano_controller_core::balancer::MemberIx;

use super::connections::Upstream;
use super::slab::Key;

type Idle = (Key<Upstream>, Mono);

/// Every instance's idle connections.
#[derive(Default)]
pub(super) struct Pools {
    by_member: Vec<VecDeque<Idle>>,
}

impl Pools {
    /// Keeps a connection; one that has to go for it is returned.
    pub(super) fn put(
        &mut self,
        member: MemberIx,
        key: Key<Upstream>,
        now: Mono,
    ) -> Option<Key<Upstream>> {
        let place = member.0 as usize;
        if self.by_member.len() <= place {
            self.by_member.resize_with(place + 1, VecDeque::new);
        }
        let pool = self.by_member.get_mut(place)?;
        pool.push_back((key, now));
        if pool.len() <= UPSTREAM_IDLE_MAX {
            return None;
        }
        pool.pop_front().map(|(oldest, _)| oldest)
    }

    /// Takes the connection used last, if it was idle since `fresh_since` at the earliest.
    pub(super) fn take(&mut self, member: MemberIx, fresh_since: Mono) -> Option<Key<Upstream>> {
        let pool = self.by_member.get_mut(member.0 as usize)?;
        let (_, since) = pool.back()?;
        if *since < fresh_since {
            return None;
        }
        pool.pop_back().map(|(key, _)| key)
    }

    /// Gives back room that nothing is in.
    pub(super) fn give_back(&mut self) {
        self.by_member.iter_mut().for_each(VecDeque::shrink_to_fit);
    }

    /// Forgets one connection, wherever it is.
    pub(super) fn remove(&mut self, member: MemberIx, key: Key<Upstream>) {
        let Some(pool) = self.by_member.get_mut(member.0 as usize) else { return };
        if let Some(place) = pool.iter().rposition(|(idle, _)| *idle == key) {
            pool.remove(place);
        }
    }

    /// Takes all connections of an instance.
    pub(super) fn drain(&mut self, member: MemberIx) -> VecDeque<(Key<Upstream>, Mono)> {
        self.by_member.get_mut(member.0 as usize).map(std::mem::take).unwrap_or_default()
    }

    /// Takes one that is idle since before `until`.
    pub(super) fn pop_older(&mut self, until: Mono) -> Option<Key<Upstream>> {
        let is_old =
            |pool: &&mut VecDeque<Idle>| pool.front().is_some_and(|(_, since)| *since < until);
        let pool = self.by_member.iter_mut().find(is_old)?;
        pool.pop_front().map(|(key, _)| key)
    }

    /// Since when the oldest one is idle.
    pub(super) fn oldest(&self) -> Option<Mono> {
        self.by_member.iter().filter_map(|pool| pool.front()).map(|(_, since)| *since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(word: u64) -> Key<Upstream> {
        Key::from_word(word)
    }

    #[test]
    fn the_last_one_in_is_taken_first_and_old_ones_grow_older() {
        let mut pools = Pools::default();
        let (a, b) = (MemberIx(0), MemberIx(3));
        for (word, at) in [(1, 10), (2, 20), (3, 30)] {
            assert_eq!(pools.put(b, key(word), Mono(at)), None);
        }
        pools.put(a, key(4), Mono(5));
        assert_eq!(pools.oldest(), Some(Mono(5)));
        assert_eq!(pools.take(b, Mono(31)), None, "none is fresh enough");
        assert_eq!(pools.take(b, Mono(0)), Some(key(3)));
        assert_eq!(pools.pop_older(Mono(10)), Some(key(4)));
        assert_eq!(pools.pop_older(Mono(10)), None);
        pools.remove(b, key(1));
        pools.remove(b, key(99));
        assert_eq!(pools.drain(b).into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [key(2)]);
        assert!(pools.oldest().is_none() && pools.take(b, Mono(0)).is_none());
    }

    #[test]
    fn one_instances_pool_is_bounded() {
        let mut pools = Pools::default();
        for word in 0..UPSTREAM_IDLE_MAX as u64 {
            assert_eq!(pools.put(MemberIx(0), key(word), Mono(word)), None);
        }
        assert_eq!(pools.put(MemberIx(0), key(999), Mono(999)), Some(key(0)));
    }
}
