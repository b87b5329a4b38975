//! Requests that were in flight on an instance when it died: what the loops saw break, joined with
//! the worker's word that the instance is dead, whichever comes first.
//!
//! A connection that breaks is no death, and a death is known only by its worker's report: breaks
//! that no death follows are forgotten. Nobody waits for either. Called by the deployer for each
//! report and each word of the loops.

use std::collections::VecDeque;

use tucano_common::id::InstanceId;
use tucano_common::limits::{CUT_AFTER_WORD, CUT_BEFORE_WORD, CUTS_KEPT};
use tucano_common::time::Wall;

use super::core::{At, Deployer};
use crate::cluster::Instance;

/// What was heard last of instances that broke or died; bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    heard: VecDeque<Heard>,
}

#[derive(Clone, Debug)]
struct Heard {
    instance: InstanceId,
    at: Wall,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// So many requests broke, and nobody has said that it died.
    Broke(u32),
    /// It died; what broke is counted to its failure.
    Died,
}

impl Cuts {
    /// Requests broke on this instance. How many are to be counted to a death that is known.
    fn broke(&mut self, instance: InstanceId, requests: u32, now: Wall) -> u32 {
        self.forget_before(now);
        let known = self.heard.iter_mut().find(|heard| heard.instance == instance);
        match known.map(|heard| (&mut heard.what, &mut heard.at)) {
            Some((What::Died, died_at)) if now.since(*died_at) <= CUT_AFTER_WORD => requests,
            Some((What::Broke(before), at)) if now.since(*at) <= CUT_AFTER_WORD => {
                *before = before.saturating_add(requests);
                *at = now;
                0
            }
            Some(_) | None => {
                self.put(instance, What::Broke(requests), now);
                0
            }
        }
    }

    /// This instance died. How many requests broke just before.
    fn died(&mut self, instance: InstanceId, now: Wall) -> u32 {
        self.forget_before(now);
        let known = self.heard.iter().find(|heard| heard.instance == instance);
        let requests = match known.map(|heard| heard.what) {
            Some(What::Broke(requests)) => requests,
            Some(What::Died) | None => 0,
        };
        self.put(instance, What::Died, now);
        requests
    }

    fn put(&mut self, instance: InstanceId, what: What, at: Wall) {
        self.heard.retain(|heard| heard.instance != instance);
        if self.heard.len() >= CUTS_KEPT {
            self.heard.pop_front();
        }
        self.heard.push_back(Heard { instance, at, what });
    }

    fn forget_before(&mut self, now: Wall) {
        self.heard.retain(|heard| now.since(heard.at) <= CUT_BEFORE_WORD);
    }
}

impl Deployer {
    /// The loops tell that requests broke.
    pub(super) fn take_cuts(&mut self, requests: &[(InstanceId, u32)], at: At) {
        for (id, requests) in requests {
            let more = self.cuts.broke(*id, *requests, at.steady);
            let Some(instance) = self.cluster.instance(*id).filter(|_| more > 0) else { continue };
            let mut instance = instance.clone();
            if let Some(cut) = &mut instance.observed.requests_cut {
                *cut = cut.saturating_add(more);
                self.cluster.put_instance(instance);
            }
        }
    }

    /// Completes a report that tells of the end of a run with the requests that it took along.
    /// Where the word of it came late they are not known.
    pub(super) fn join_cuts(&mut self, before: &Instance, next: &mut Instance, at: At) {
        let failure = next.observed.failure.as_ref();
        let Some(failure) = failure.filter(|it| before.observed.failure.as_ref() != Some(it))
        else {
            return;
        };
        let is_late = at.wall.since(failure.at) > CUT_BEFORE_WORD;
        let ended = failure.run.is_some();
        let requests = self.cuts.died(next.id, at.steady);
        let known = ended && (requests > 0 || !is_late);
        next.observed.requests_cut = known.then_some(requests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstanceId = InstanceId(7);

    #[test]
    fn breaks_and_the_word_of_the_death_are_joined_in_either_order() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.broke(ONE, 3, Wall(1000)), 0);
        assert_eq!(cuts.broke(ONE, 2, Wall(1100)), 0, "another loop");
        assert_eq!(cuts.died(ONE, Wall(1200)), 5);
        assert_eq!(cuts.broke(ONE, 4, Wall(1300)), 4, "told after the word");
        assert_eq!(cuts.died(ONE, Wall(1400)), 0, "counted once");
    }

    #[test]
    fn what_broke_long_before_or_after_is_not_of_this_death() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.broke(ONE, 3, Wall(1000)), 0);
        assert_eq!(cuts.died(ONE, Wall(7000)), 0);
        assert_eq!(cuts.broke(ONE, 2, Wall(8500)), 0);
        assert_eq!(cuts.died(ONE, Wall(8600)), 2, "that was the next one");
        assert_eq!(cuts.broke(InstanceId(8), 1, Wall(8700)), 0, "another instance");
    }

    #[test]
    fn a_break_that_came_to_nothing_is_not_added_to_the_next() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.broke(ONE, 3, Wall(1000)), 0);
        assert_eq!(cuts.broke(ONE, 2, Wall(3000)), 0);
        assert_eq!(cuts.died(ONE, Wall(3100)), 2);
    }

    #[test]
    fn it_is_bounded() {
        let mut cuts = Cuts::default();
        for id in 0..2 * CUTS_KEPT as u64 {
            cuts.broke(InstanceId(id), 1, Wall(1000));
        }
        assert_eq!(cuts.heard.len(), CUTS_KEPT);
        assert_eq!(cuts.died(InstanceId(2 * CUTS_KEPT as u64 - 1), Wall(1000)), 1);
    }
}
