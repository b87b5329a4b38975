//! What a loop gives back after a rush: places of connections that are gone, buffers that nobody
//! waits for, and what the allocator keeps of both.
//!
//! A loop looks every few seconds while it works, once more after that, and not while it is idle:
//! nothing wakes it for this alone. It closes no connection. Called by `lb`.

#![expect(unsafe_code, reason = "the block stands alone and says why it is sound")]

use tucano_common::limits::{REST_INTERVAL, REST_REQUESTS_MAX};
use tucano_common::time::Mono;

use super::lb::Lb;

/// When a loop looks whether it holds too much.
#[derive(Debug, Default)]
pub(super) enum Rest {
    /// Nothing is to be looked at.
    #[default]
    Nothing,
    /// Something may be given back then; so many requests had begun when that was seen.
    Look { at: Mono, begun: u64 },
    /// What was left when all was given back: as long as nothing happens, nothing is looked for.
    Given { begun: u64, clients: usize },
}

impl Lb {
    /// Sees whether there is something to give back, and when.
    pub(super) fn plan_rest(&mut self) {
        let begun = self.fleet.begun();
        match self.rest {
            Rest::Look { .. } => return,
            Rest::Given { begun: then, clients }
                if (then, clients) == (begun, self.clients.len()) =>
            {
                return;
            }
            Rest::Nothing | Rest::Given { .. } => {}
        }
        if self.buffers.have_spare() || self.has_spare_places() {
            let at = self.now + REST_INTERVAL;
            self.rest = Rest::Look { at, begun };
            self.chore_by(at);
        }
    }

    fn has_spare_places(&self) -> bool {
        self.clients.is_sparse() || self.upstreams.is_sparse() || self.flows.is_sparse()
    }

    /// Gives back what is not used, when it is time to look.
    pub(super) fn give_back(&mut self) {
        let Rest::Look { at, begun } = self.rest else { return };
        if at > self.now {
            self.chore_by(at);
            return;
        }
        let is_quiet = self.fleet.begun() - begun <= REST_REQUESTS_MAX;
        let is_sparse = self.has_spare_places();
        if is_quiet {
            self.buffers.give_back();
            self.scratch = Vec::new();
        }
        if is_sparse {
            self.clients.give_back();
            self.upstreams.give_back();
            self.flows.give_back();
            self.wheel.give_back();
        }
        if is_quiet || is_sparse {
            self.ready.shrink_to_fit();
            self.pools.give_back();
            trim();
        }
        let (begun, clients) = (self.fleet.begun(), self.clients.len());
        self.rest = match is_quiet {
            true => Rest::Given { begun, clients },
            // It is looked at again, until it is.
            false => Rest::Nothing,
        };
    }
}

/// Has the allocator give whole pages that nobody uses back to the system: by itself it does so at
/// the end of a heap alone, and keeps all that lies before something small.
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and touches only what is not allocated, under the allocator's own
    // locks.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
