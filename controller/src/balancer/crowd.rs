//! A loop that can take nobody in any more, for want of places or of descriptors: the connections
//! that nobody has used for the longest make room.
//!
//! Else whoever holds many connections and asks nothing keeps everybody else out. It touches no
//! request and no head that has begun: those have deadlines of their own. Called by `lb` when a
//! pause in accepting begins.

use tucano_common::limits::{ACCEPTS_PER_TURN, IDLE_CLIENT_SPARED};
use tucano_common::time::Mono;
use tucano_net::log_limited;

use super::connections::{Client, Phase};
use super::lb::Lb;
use super::slab::Key;

impl Lb {
    /// Closes as many idle connections as are taken in one turn.
    pub(super) fn make_room(&mut self) {
        let idle = self.clients.iter().filter(|(_, client)| self.may_be_closed(client));
        let mut idle: Vec<(Mono, Key<Client>)> =
            idle.map(|(key, client)| (client.deadline, key)).collect();
        if idle.len() > ACCEPTS_PER_TURN {
            // Who would be closed first anyhow.
            idle.select_nth_unstable_by_key(ACCEPTS_PER_TURN, |(deadline, _)| *deadline);
            idle.truncate(ACCEPTS_PER_TURN);
        }
        log_limited!(
            log::Level::Warn,
            "the balancer has {} connections and can take no more: {} idle ones are closed",
            self.clients.len(),
            idle.len(),
        );
        for (_, key) in idle {
            self.drop_client(key);
        }
    }

    /// Whether it waits for a request of which nothing has come, and has done so for a while. Its
    /// deadline tells since when.
    fn may_be_closed(&self, client: &Client) -> bool {
        let timeouts = &self.config.timeouts;
        let is_idle = matches!(client.phase, Phase::Head(scan) if !scan.has_begun())
            && client.input.is_none()
            && client.output.is_none();
        // One that never asked has less time than one that did: more than the first is the second.
        let left = client.deadline.since(self.now);
        let whole = if left > timeouts.head { timeouts.idle } else { timeouts.head };
        is_idle && left + IDLE_CLIENT_SPARED <= whole
    }
}
