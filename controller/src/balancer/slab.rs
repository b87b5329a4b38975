//! Slots with generations, in pages: growing moves nothing, and a key that is over finds nothing.
//!
//! One per kind of thing a loop holds (clients, upstreams, flows). Keys travel through mio's tokens
//! and between connections; whoever comes late with an old one is ignored.

use std::marker::PhantomData;

const PAGE_BITS: u32 = 8;
const PAGE_SLOTS: usize = 1 << PAGE_BITS;
/// Generations have 29 bits, so that a key and a token's kind fit 64.
const GENERATION_MASK: u32 = (1 << 29) - 1;

/// A slot and the generation it was taken in.
pub(super) struct Key<T> {
    pub(super) index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Key<T> {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Key<T>) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> std::fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl<T> Key<T> {
    /// The key as a word of 61 bits.
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// What [`Key::to_word`] made.
    pub(super) fn from_word(word: u64) -> Key<T> {
        let generation = (word >> 32) as u32 & GENERATION_MASK;
        Key { index: word as u32, generation, of: PhantomData }
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values in slots; a slot is used again, its key is not.
pub(super) struct Slab<T> {
    /// A page that was given back is empty until it is needed again.
    pages: Vec<Box<[Slot<T>]>>,
    pages_held: usize,
    free: Vec<u32>,
    len: usize,
    /// Slots of new pages begin with it: later than every key of a page that was given back.
    generation: u32,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Slab<T> {
        Slab { pages: Vec::new(), pages_held: 0, free: Vec::new(), len: 0, generation: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> Key<T> {
        if self.free.is_empty() {
            self.add_page();
        }
        let index = self.free.pop().unwrap_or_default();
        self.len += 1;
        let slot = &mut self.pages[(index >> PAGE_BITS) as usize][index as usize % PAGE_SLOTS];
        slot.value = Some(value);
        Key { index, generation: slot.generation, of: PhantomData }
    }

    pub(super) fn get(&self, key: Key<T>) -> Option<&T> {
        let page = self.pages.get((key.index >> PAGE_BITS) as usize)?;
        let slot = page.get(key.index as usize % PAGE_SLOTS)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let page = self.pages.get_mut((key.index >> PAGE_BITS) as usize)?;
        let slot = page.get_mut(key.index as usize % PAGE_SLOTS)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let page = self.pages.get_mut((key.index >> PAGE_BITS) as usize)?;
        let slot = page.get_mut(key.index as usize % PAGE_SLOTS)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(key.index);
        self.len -= 1;
        Some(value)
    }

    /// The key of whatever is in a slot now.
    pub(super) fn key_at(&self, index: u32) -> Option<Key<T>> {
        let page = self.pages.get((index >> PAGE_BITS) as usize)?;
        let slot = page.get(index as usize % PAGE_SLOTS)?;
        slot.value.is_some().then_some(Key { index, generation: slot.generation, of: PhantomData })
    }

    /// Everything that is in, with its key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        let slots = self.pages.iter().flat_map(|page| page.iter());
        slots.enumerate().filter_map(|(index, slot)| {
            let key = Key { index: index as u32, generation: slot.generation, of: PhantomData };
            slot.value.as_ref().map(|value| (key, value))
        })
    }

    fn add_page(&mut self) {
        let place = self.pages.iter().position(|page| page.is_empty());
        let place = place.unwrap_or(self.pages.len());
        let first = (place * PAGE_SLOTS) as u32;
        let generation = self.generation;
        let slots = (0..PAGE_SLOTS).map(|_| Slot { generation, value: None }).collect();
        match self.pages.get_mut(place) {
            Some(page) => *page = slots,
            None => self.pages.push(slots),
        }
        self.pages_held += 1;
        self.free.extend((first..first + PAGE_SLOTS as u32).rev());
    }

    /// Whether far more is held than is used.
    pub(super) fn is_sparse(&self) -> bool {
        self.pages_held * PAGE_SLOTS > 4 * self.len + 2 * PAGE_SLOTS
    }

    /// Gives back the pages in which nothing is.
    pub(super) fn give_back(&mut self) {
        for page in &mut self.pages {
            if page.iter().all(|slot| slot.value.is_none()) {
                let newest = page.iter().map(|slot| slot.generation).max();
                self.generation = self.generation.max(newest.unwrap_or_default());
                self.pages_held -= usize::from(!page.is_empty());
                *page = Box::default();
            }
        }
        let pages = &self.pages;
        self.free.retain(|index| {
            pages.get((*index >> PAGE_BITS) as usize).is_some_and(|page| !page.is_empty())
        });
        self.free.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_over_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!((slab.get(first), slab.len()), (Some(&"first"), 1));
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index);
        assert_ne!(first, second);
        assert!(slab.get(first).is_none() && slab.get_mut(first).is_none());
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.get(second), slab.len()), (Some(&"second"), 1));
        assert_eq!(slab.key_at(second.index), Some(second));
        assert_eq!(Key::from_word(second.to_word()), second);
    }

    #[test]
    fn pages_are_added_and_slots_used_again() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..1000).map(|n| slab.insert(n)).collect();
        assert!(keys.iter().enumerate().all(|(n, key)| slab.get(*key) == Some(&n)));
        keys.iter().step_by(2).for_each(|key| assert!(slab.remove(*key).is_some()));
        assert_eq!((slab.len(), slab.iter().count()), (500, 500));
        assert!(slab.iter().all(|(key, n)| n % 2 == 1 && keys[*n] == key));
        (0..500).for_each(|n| assert!(slab.insert(n).index < 1024));
        assert_eq!(slab.pages.len(), 4);
    }

    #[test]
    fn pages_are_given_back_and_no_old_key_finds_what_comes_after() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..2048).map(|n| slab.insert(n)).collect();
        assert!(!slab.is_sparse());
        // All but one, in the fourth page; the first slot of all is used once more.
        keys.iter().filter(|key| key.index != 800).for_each(|key| {
            assert!(slab.remove(*key).is_some());
        });
        let again = slab.insert(9);
        slab.remove(again);
        assert!(slab.is_sparse());
        slab.give_back();
        assert!(!slab.is_sparse());
        assert_eq!((slab.pages_held, slab.len(), slab.iter().count()), (1, 1, 1));
        assert!(slab.get(again).is_none() && slab.key_at(0).is_none());
        let stays = keys.iter().find(|key| key.index == 800).copied();
        assert_eq!(stays.and_then(|key| slab.get(key)), Some(&800));
        let new: Vec<_> = (0..2047).map(|n| slab.insert(n)).collect();
        assert_eq!((slab.pages.len(), slab.len()), (8, 2048));
        let old = keys.iter().filter(|key| key.index != 800).chain([&again]);
        assert!(old.into_iter().all(|key| slab.get(*key).is_none()), "they are over");
        assert!(new.iter().enumerate().all(|(n, key)| slab.get(*key) == Some(&n)));
        // Empty twice over: nothing is held.
        new.iter().chain(&stays).for_each(|key| assert!(slab.remove(*key).is_some()));
        (0..2).for_each(|_| slab.give_back());
        assert_eq!((slab.pages_held, slab.free.capacity()), (0, 0));
    }
}
