//! Several maps by worker, walked together: one step a worker instead of a search in each.

use std::borrow::Borrow;
use std::iter::Peekable;

use tucano_common::name::WorkerName;

/// Walks along a sorted map while its keys are asked for in order.
pub(crate) struct Joined<I: Iterator>(Peekable<I>);

impl<'a, K: Borrow<WorkerName>, V: 'a, I: Iterator<Item = (K, &'a V)>> Joined<I> {
    pub(crate) fn new(entries: I) -> Joined<I> {
        Joined(entries.peekable())
    }

    /// The value of this key; keys must be asked for in ascending order.
    pub(crate) fn at(&mut self, key: &WorkerName) -> Option<&'a V> {
        while self.0.next_if(|(name, _)| name.borrow() < key).is_some() {}
        self.0.next_if(|(name, _)| name.borrow() == key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn finds_what_a_search_would_find() {
        let name = |n: u32| WorkerName::new(&format!("w{n:02}")).unwrap();
        for bits in 0..64_u32 {
            let map: BTreeMap<WorkerName, u32> =
                (0..6).filter(|n| bits & 1 << n != 0).map(|n| (name(n), n)).collect();
            let mut joined = Joined::new(map.iter());
            for n in (0..6).filter(|n| (bits + n) % 3 != 0) {
                assert_eq!(joined.at(&name(n)), map.get(&name(n)), "{bits} {n}");
            }
        }
    }
}
