//! Slots with generations: a key that is over is recognised, whatever took its slot since.

/// A slot and the generation it was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

/// Generations use 28 bits, so that a key and the kind of a mio token fit one word.
const GENERATION_MASK: u32 = 0x0fff_ffff;

impl Key {
    /// The key as a word of 60 bits.
    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// What [`Key::to_word`] made.
    pub(crate) fn from_word(word: u64) -> Key {
        Key { index: word as u32, generation: (word >> 32) as u32 & GENERATION_MASK }
    }
}

/// Values in slots; a slot is used again, its key is not.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Slab<T> {
        Slab { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts the value that `make` returns for its own key into a slot.
    pub(crate) fn try_insert_with<E>(
        &mut self,
        make: impl FnOnce(Key) -> Result<T, E>,
    ) -> Result<Key, E> {
        let index = self.free.last().map_or(self.slots.len(), |index| *index as usize);
        let generation = self.slots.get(index).map_or(0, |slot| slot.0);
        let key = Key { index: index as u32, generation };
        let value = make(key)?;
        if self.free.pop().is_some() {
            self.slots[index].1 = Some(value);
        } else {
            self.slots.push((generation, Some(value)));
        }
        Ok(key)
    }

    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        match self.try_insert_with(|key| Ok::<T, std::convert::Infallible>(make(key))) {
            Ok(key) => key,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.slots.get(key.index as usize)?;
        if *generation == key.generation { value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(key.index as usize)?;
        if *generation == key.generation { value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, value) = self.slots.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        *generation = (*generation + 1) & GENERATION_MASK;
        self.free.push(key.index);
        Some(value)
    }

    /// All keys that are taken, in the order of their slots.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let taken = self.slots.iter().enumerate().filter(|(_, (_, value))| value.is_some());
        taken.map(|(i, (generation, _))| Key { index: i as u32, generation: *generation }).collect()
    }

    /// All values, in the order of their slots.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|(_, value)| value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_over_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.get(first), Some(&"first"));
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_ne!(first, second);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!((slab.get(second), slab.len()), (Some(&"second"), 1));
        assert_eq!(slab.keys(), [second]);
    }

    #[test]
    fn a_key_survives_its_word() {
        for (index, generation) in [(0, 0), (7, 1), (u32::MAX, GENERATION_MASK)] {
            let key = Key { index, generation };
            assert_eq!(Key::from_word(key.to_word()), key);
            assert!(key.to_word() < 1 << 60);
        }
    }
}
