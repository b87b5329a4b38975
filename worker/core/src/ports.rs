//! Which port an instance gets: out of the worker's range, outside the kernel's ephemeral ports,
//! not one that is in use, and not one that was in use a minute ago (its old owner's clients may
//! still be about).
//!
//! Whether something outside the agent listens on a port is the shell's to check at the start; it
//! tells `PortTaken`.

use std::collections::BTreeMap;

use tucano_common::id::InstanceId;
use tucano_common::limits::PORT_QUARANTINE;
use tucano_common::time::{Mono, Now, Wall};

/// `--port-range`: first and last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// From `first` to `last`, both included and neither 0; `None` where that is no range.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (first > 0 && first <= last).then_some(PortRange { first, last })
    }

    /// Reads `20000-29999`.
    pub fn parse(text: &str) -> Option<PortRange> {
        let (first, last) = text.split_once('-')?;
        PortRange::new(port(first)?, port(last)?)
    }

    fn len(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Digits only: `+80` is no port.
fn port(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A worker's ports.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    range: PortRange,
    ephemeral: Option<(u16, u16)>,
    owners: BTreeMap<u16, InstanceId>,
    quarantine: BTreeMap<u16, Mono>,
    /// Where the next search begins, from the range's start: one after the last port that was given
    /// out.
    next: u32,
}

impl Ports {
    /// All free. `salt` decides where the first search begins, so that agents that share a
    /// machine's range do not run after each other's ports.
    pub(crate) fn new(range: PortRange, ephemeral: Option<(u16, u16)>, salt: u32) -> Ports {
        let ephemeral = ephemeral.filter(|(low, high)| {
            // An operator who gave nothing but ephemeral ports gets them: there is no better one.
            !(*low <= range.first && range.last <= *high)
        });
        let (owners, quarantine) = (BTreeMap::new(), BTreeMap::new());
        Ports { range, ephemeral, owners, quarantine, next: salt % range.len() }
    }

    /// A free port for `id`, now its own; `None` while there is none.
    pub(crate) fn allocate(&mut self, id: InstanceId, now: Mono) -> Option<u16> {
        self.quarantine.retain(|_, until| *until > now);
        let len = self.range.len();
        let candidates = (0..len).map(|n| (self.next + n) % len);
        let offset = candidates.into_iter().find(|offset| self.is_free(self.at(*offset)))?;
        let port = self.at(offset);
        self.next = (offset + 1) % len;
        self.owners.insert(port, id);
        Some(port)
    }

    /// Takes a port that is given: a spec's fixed one, or one out of the ledger. `Err`: the
    /// instance that holds it.
    pub(crate) fn claim(&mut self, port: u16, id: InstanceId) -> Result<(), InstanceId> {
        match self.owners.get(&port) {
            Some(owner) if *owner != id => Err(*owner),
            Some(_) | None => {
                self.owners.insert(port, id);
                Ok(())
            }
        }
    }

    /// Gives a port back. A fixed port outside the range may be used again at once: its next owner
    /// insists on it too.
    pub(crate) fn release(&mut self, port: u16, id: InstanceId, now: Mono) {
        if self.owners.get(&port) == Some(&id) {
            self.owners.remove(&port);
            self.set_aside(port, now);
        }
    }

    /// Something else listens on it.
    pub(crate) fn set_aside(&mut self, port: u16, now: Mono) {
        if self.range.contains(port) {
            self.quarantine.insert(port, now + PORT_QUARANTINE);
        }
    }

    /// When the next port leaves its quarantine.
    pub(crate) fn deadline(&self, now: Mono) -> Option<Mono> {
        self.quarantine.values().filter(|until| **until > now).min().copied()
    }

    /// The quarantine for the ledger: each port with the wall time of its end.
    pub(crate) fn quarantined(&self, now: Now) -> Vec<(u16, Wall)> {
        let in_force = self.quarantine.iter().filter(|(_, until)| **until > now.mono);
        in_force.map(|(port, until)| (*port, now.wall + until.since(now.mono))).collect()
    }

    /// The quarantine out of a ledger; a clock that jumped does not make it longer than it is.
    pub(crate) fn restore(&mut self, quarantined: &[(u16, Wall)], now: Now) {
        for (port, until) in quarantined {
            let left = until.since(now.wall).min(PORT_QUARANTINE);
            if !left.is_zero() && self.range.contains(*port) {
                self.quarantine.insert(*port, now.mono + left);
            }
        }
    }

    fn at(&self, offset: u32) -> u16 {
        // Below the range's length, so it stays within 16 bits.
        self.range.first + u16::try_from(offset).unwrap_or(0)
    }

    fn is_free(&self, port: u16) -> bool {
        let ephemeral = self.ephemeral.is_some_and(|(low, high)| (low..=high).contains(&port));
        !ephemeral && !self.owners.contains_key(&port) && !self.quarantine.contains_key(&port)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: InstanceId = InstanceId(1);
    const B: InstanceId = InstanceId(2);

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    fn ports(first: u16, last: u16) -> Ports {
        Ports::new(PortRange::new(first, last).unwrap(), None, 0)
    }

    #[test]
    fn ranges() {
        for text in ["1-1", "20000-29999", "1-65535"] {
            assert_eq!(PortRange::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "-", "5", "5-", "-5", "0-5", "6-5", "+1-5", "1-65536", "1-2-3", "1 - 2"] {
            assert_eq!(PortRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_port_has_one_owner_and_rests_for_a_minute() {
        let mut ports = ports(100, 101);
        assert_eq!(ports.allocate(A, at(0)), Some(100));
        assert_eq!(ports.allocate(B, at(0)), Some(101));
        assert_eq!(ports.allocate(B, at(0)), None);
        ports.release(100, B, at(5));
        assert_eq!(ports.allocate(B, at(70)), None, "only its owner gives it back");
        ports.release(100, A, at(5));
        assert_eq!(ports.deadline(at(5)), Some(at(65)));
        assert_eq!(ports.deadline(at(65)), None);
        assert_eq!(ports.allocate(B, at(64)), None);
        assert_eq!(ports.allocate(B, at(65)), Some(100));
    }

    #[test]
    fn the_search_goes_round() {
        let mut ports = Ports::new(PortRange::new(100, 103).unwrap(), None, 2);
        let given: Vec<_> = (0..5).map(|_| ports.allocate(A, at(0))).collect();
        assert_eq!(given, [Some(102), Some(103), Some(100), Some(101), None]);
    }

    #[test]
    fn ephemeral_ports_are_left_to_the_kernel_unless_there_is_nothing_else() {
        let mixed = PortRange::new(32_766, 32_769).unwrap();
        let mut ports = Ports::new(mixed, Some((32_768, 60_999)), 0);
        let given: Vec<_> = (0..3).map(|_| ports.allocate(A, at(0))).collect();
        assert_eq!(given, [Some(32_766), Some(32_767), None]);
        let inside = PortRange::new(40_000, 40_001).unwrap();
        let mut ports = Ports::new(inside, Some((32_768, 60_999)), 0);
        assert_eq!(ports.allocate(A, at(0)), Some(40_000));
    }

    #[test]
    fn a_port_that_something_else_has_is_set_aside() {
        let mut ports = ports(100, 101);
        assert_eq!(ports.allocate(A, at(0)), Some(100));
        ports.release(100, A, at(0));
        ports.set_aside(101, at(1));
        assert_eq!(ports.allocate(A, at(2)), None);
        assert_eq!(ports.allocate(A, at(60)), Some(100));
        assert_eq!(ports.allocate(B, at(61)), Some(101));
    }

    #[test]
    fn a_fixed_port_belongs_to_one_and_is_free_at_once_after_it() {
        let mut ports = ports(100, 101);
        assert_eq!(ports.claim(9000, A), Ok(()));
        assert_eq!(ports.claim(9000, A), Ok(()));
        assert_eq!(ports.claim(9000, B), Err(A));
        ports.release(9000, A, at(0));
        assert_eq!(ports.claim(9000, B), Ok(()));
    }

    #[test]
    fn the_quarantine_survives_the_agent_and_a_jump_of_the_clock() {
        let mut old = ports(100, 101);
        old.set_aside(100, at(10));
        let saved = old.quarantined(Now { mono: at(20), wall: Wall(1_000_000) });
        assert_eq!(saved, [(100, Wall(1_050_000))]);
        for (wall, free_at) in [(1_040_000, 10), (1_050_000, 0), (9_000_000, 0), (-5, 60)] {
            let mut new = ports(100, 100);
            new.restore(&saved, Now { mono: at(0), wall: Wall(wall) });
            if free_at > 0 {
                let before = at(free_at).minus(Duration::from_micros(1));
                assert_eq!(new.allocate(A, before), None, "{wall}");
            }
            assert_eq!(new.allocate(A, at(free_at)), Some(100), "{wall}");
        }
    }
}
