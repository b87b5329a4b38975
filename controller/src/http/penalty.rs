//! Whoever guesses at tokens waits: longer for each wrong one, one after the other.
//!
//! A right token always passes at once, unless guesses from its own address fill the queue that
//! very moment. Pure: time comes in. Called by `app` with each wrong token.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tucano_common::limits::{
    AUTH_BACKLOG_MAX, AUTH_DELAY_FIRST, AUTH_DELAY_MAX, AUTH_EVENTS_MAX, AUTH_FAILURES_FREE,
    AUTH_FORGET, AUTH_PEERS_MAX,
};
use tucano_common::time::Mono;

/// What happens to a wrong token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// When its answer may go out; now, for the first few.
    pub(crate) answer_at: Mono,
    /// Say so in an event, with so many failures since the last one said.
    pub(crate) tell: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    last: Mono,
    /// When the answers that wait will all be out.
    free_at: Mono,
    /// When an event said so last, and failures since.
    told: Option<Mono>,
    untold: u32,
}

/// Who guessed.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    peers: BTreeMap<IpAddr, Record>,
    /// Events said lately: the moment from which they count, and how many. Somebody with many
    /// addresses must not fill the history.
    events: (Mono, u32),
}

impl Penalties {
    /// Whether so many guesses of this address are waiting that nothing of it is looked at.
    pub(crate) fn is_blocked(&self, peer: IpAddr, now: Mono) -> bool {
        let record = self.peers.get(&network(peer));
        record.is_some_and(|record| record.free_at.since(now) > AUTH_BACKLOG_MAX)
    }

    /// Writes down a wrong token.
    pub(crate) fn failed(&mut self, peer: IpAddr, now: Mono) -> Sentence {
        let peer = network(peer);
        self.make_room(peer, now);
        let fresh = Record { failures: 0, last: now, free_at: now, told: None, untold: 0 };
        let record = self.peers.entry(peer).or_insert(fresh);
        record.failures += 1;
        record.last = now;
        record.untold += 1;
        if let Some(over) = record.failures.checked_sub(AUTH_FAILURES_FREE + 1) {
            let delay = AUTH_DELAY_FIRST.saturating_mul(1 << over.min(16)).min(AUTH_DELAY_MAX);
            record.free_at = record.free_at.max(now) + delay;
        }
        if self.events.1 == 0 || now.since(self.events.0) >= AUTH_FORGET {
            self.events = (now, 0);
        }
        let due = record.told.is_none_or(|told| now.since(told) >= AUTH_FORGET)
            && self.events.1 < AUTH_EVENTS_MAX;
        let tell = due.then(|| std::mem::take(&mut record.untold));
        if due {
            record.told = Some(now);
            self.events.1 += 1;
        }
        Sentence { answer_at: record.free_at.max(now), tell }
    }

    /// Forgets who was quiet for long enough, and the quietest where there are too many.
    fn make_room(&mut self, peer: IpAddr, now: Mono) {
        if let Some(record) = self.peers.get(&peer) {
            if now.since(record.last) >= AUTH_FORGET {
                self.peers.remove(&peer);
            }
            return;
        }
        if self.peers.len() >= AUTH_PEERS_MAX {
            self.peers.retain(|_, record| now.since(record.last) < AUTH_FORGET);
        }
        if self.peers.len() >= AUTH_PEERS_MAX {
            let quietest = self.peers.iter().min_by_key(|(_, record)| record.last);
            if let Some(quietest) = quietest.map(|(peer, _)| *peer) {
                self.peers.remove(&quietest);
            }
        }
    }
}

/// What one guesser has: an IPv4 address, or a whole IPv6 network of the size that one host gets.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn at(millis: u64) -> Mono {
        Mono(1_000_000 + millis * 1000)
    }

    #[test]
    fn the_first_few_cost_nothing_and_the_next_ever_more() {
        let mut penalties = Penalties::default();
        for _ in 0..AUTH_FAILURES_FREE {
            assert_eq!(penalties.failed(PEER, at(0)).answer_at, at(0));
        }
        for (nth, waited_ms) in [100, 300, 700, 1500, 3100, 5100, 7100].into_iter().enumerate() {
            assert_eq!(penalties.failed(PEER, at(0)).answer_at, at(waited_ms), "{nth}");
            assert!(!penalties.is_blocked(PEER, at(0)));
        }
        let other = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 8));
        assert_eq!(penalties.failed(other, at(0)).answer_at, at(0), "others are not slowed down");
    }

    #[test]
    fn a_full_queue_is_refused_until_it_is_shorter() {
        let mut penalties = Penalties::default();
        while !penalties.is_blocked(PEER, at(0)) {
            penalties.failed(PEER, at(0));
        }
        assert!(penalties.peers[&PEER].free_at <= at(0) + AUTH_BACKLOG_MAX + AUTH_DELAY_MAX);
        assert!(!penalties.is_blocked(PEER, at(0) + AUTH_DELAY_MAX));
    }

    #[test]
    fn events_say_it_once_a_minute_with_the_count() {
        let mut penalties = Penalties::default();
        assert_eq!(penalties.failed(PEER, at(0)).tell, Some(1));
        for second in 1..60 {
            assert_eq!(penalties.failed(PEER, at(second * 1000)).tell, None);
        }
        assert_eq!(penalties.failed(PEER, at(60_000)).tell, Some(60));
    }

    #[test]
    fn quiet_addresses_are_forgotten_and_memory_is_bounded() {
        let mut penalties = Penalties::default();
        for _ in 0..20 {
            penalties.failed(PEER, at(0));
        }
        let later = at(0) + AUTH_FORGET + Duration::from_secs(60);
        assert_eq!(penalties.failed(PEER, later).answer_at, later);
        for n in 0..2 * AUTH_PEERS_MAX as u32 {
            penalties.failed(IpAddr::V4(n.into()), later);
            assert!(penalties.peers.len() <= AUTH_PEERS_MAX);
        }
    }

    #[test]
    fn many_addresses_do_not_fill_the_history() {
        let mut penalties = Penalties::default();
        let mut guess = |n: u32, now| penalties.failed(IpAddr::V4(n.into()), now).tell.is_some();
        let told = (0..1000).filter(|n| guess(*n, at(0))).count();
        assert_eq!(told, AUTH_EVENTS_MAX as usize);
        assert!(guess(5000, at(0) + AUTH_FORGET), "and it is said again later");
    }

    #[test]
    fn one_host_s_ipv6_addresses_are_one() {
        let mut penalties = Penalties::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for _ in 0..AUTH_FAILURES_FREE {
            penalties.failed(address("2001:db8::1"), at(0));
        }
        assert!(penalties.failed(address("2001:db8::2"), at(0)).answer_at > at(0));
        assert_eq!(penalties.failed(address("2001:db8:0:1::1"), at(0)).answer_at, at(0));
    }

    #[test]
    fn an_address_has_one_record_in_both_spellings() {
        let mut penalties = Penalties::default();
        let mapped: IpAddr = "::ffff:10.0.0.9".parse().expect("an address");
        for _ in 0..AUTH_FAILURES_FREE {
            penalties.failed(PEER, at(0));
        }
        assert!(penalties.failed(mapped, at(0)).answer_at > at(0));
    }
}
