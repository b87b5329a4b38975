//! Requests that wait for an instance: first in, first out, bounded.
//!
//! It keeps tickets, not requests, and knows no time: whose wait is over leaves by
//! [`HoldQueue::remove`]. Called by the loops.

use std::collections::VecDeque;

/// What waits for one service.
#[derive(Clone, Debug)]
pub struct HoldQueue<T> {
    waiting: VecDeque<T>,
    max: usize,
}

impl<T: Copy + PartialEq> HoldQueue<T> {
    /// An empty queue for at most `max`.
    pub fn new(max: usize) -> HoldQueue<T> {
        HoldQueue { waiting: VecDeque::new(), max }
    }

    /// Takes a place; false where there is none.
    #[must_use]
    pub fn push(&mut self, ticket: T) -> bool {
        if self.waiting.len() >= self.max {
            return false;
        }
        self.waiting.push_back(ticket);
        true
    }

    /// The one whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.waiting.pop_front()
    }

    /// Gives a place up: its request is gone, or its time is over.
    pub fn remove(&mut self, ticket: T) {
        if let Some(place) = self.waiting.iter().position(|waiting| *waiting == ticket) {
            self.waiting.remove(place);
        }
    }

    /// Who waits, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.waiting.iter().copied()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_and_bounded() {
        let mut queue = HoldQueue::new(2);
        assert!(queue.push('a') && queue.push('b') && !queue.push('c'));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some('a'), Some('b'), None));
        assert!(queue.is_empty());
    }

    #[test]
    fn the_gone_leave_from_the_middle() {
        let mut queue = HoldQueue::new(9);
        assert!(['a', 'b', 'c'].into_iter().all(|ticket| queue.push(ticket)));
        queue.remove('b');
        queue.remove('x');
        assert_eq!((queue.iter().collect::<Vec<_>>(), queue.len()), (vec!['a', 'c'], 2));
    }
}
