//! Hosts of one port, found with one hash: exact names first, then the longest `*.` suffix.
//!
//! It knows authorities as they stand in a request (any case, a port, a trailing dot) and the hosts
//! as the spec has them. Called by [`super::Fleet`] for every request.

use tucano_common::http1::target::host_of;
use tucano_common::limits::HOST_BYTES_MAX;

/// The hosts of one port.
#[derive(Clone, Debug, Default)]
pub struct HostIndex {
    /// Open addressing: a place in `entries` plus one, or zero. A power of two, at most half full.
    slots: Vec<u32>,
    entries: Vec<Entry>,
    has_wildcards: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    /// Lower case, without the `*.`.
    name: Box<[u8]>,
    is_wildcard: bool,
    service: usize,
}

impl HostIndex {
    /// An index of hosts as the spec has them, each with its service. The first of two equal ones
    /// wins; the deployer refuses a second.
    pub fn new<'a>(hosts: impl IntoIterator<Item = (&'a str, usize)>) -> HostIndex {
        let mut index = HostIndex::default();
        index.entries =
            hosts.into_iter().map(|(host, service)| Entry::new(host, service)).collect();
        index.has_wildcards = index.entries.iter().any(|entry| entry.is_wildcard);
        index.slots = vec![0; (index.entries.len() * 2).next_power_of_two()];
        for place in 0..index.entries.len() {
            let Some(entry) = index.entries.get(place) else { continue };
            let mut slot = index.slot(entry.hash);
            while index.slots.get(slot).is_some_and(|&taken| taken != 0) {
                slot = (slot + 1) & (index.slots.len() - 1);
            }
            if let (Some(slot), Ok(place)) = (index.slots.get_mut(slot), u32::try_from(place + 1)) {
                *slot = place;
            }
        }
        index
    }

    /// The service that this authority belongs to.
    pub fn find(&self, authority: &[u8]) -> Option<usize> {
        let host = host_of(authority);
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut lower = [0u8; HOST_BYTES_MAX];
        let lower = lower.get_mut(..host.len())?;
        for (to, from) in lower.iter_mut().zip(host) {
            *to = from.to_ascii_lowercase();
        }
        self.lookup(lower, false).or_else(|| self.find_wildcard(lower))
    }

    fn find_wildcard(&self, host: &[u8]) -> Option<usize> {
        if !self.has_wildcards {
            return None;
        }
        let dots = host.iter().enumerate().filter(|(place, byte)| *place > 0 && **byte == b'.');
        dots.map(|(dot, _)| host.get(dot + 1..).unwrap_or(&[]))
            .find_map(|suffix| self.lookup(suffix, true))
    }

    fn lookup(&self, name: &[u8], is_wildcard: bool) -> Option<usize> {
        let hash = hash(name, is_wildcard);
        let mut slot = self.slot(hash);
        loop {
            let place = (*self.slots.get(slot)?).checked_sub(1)?;
            let entry = self.entries.get(place as usize)?;
            if entry.hash == hash && entry.is_wildcard == is_wildcard && *entry.name == *name {
                return Some(entry.service);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn slot(&self, hash: u64) -> usize {
        // The high bits of a multiplication are the well mixed ones.
        (hash >> 32) as usize & self.slots.len().wrapping_sub(1)
    }
}

impl Entry {
    fn new(host: &str, service: usize) -> Entry {
        let (name, is_wildcard) = match host.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (host, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let hash = hash(name.as_bytes(), is_wildcard);
        Entry { hash, name: name.into_bytes().into_boxed_slice(), is_wildcard, service }
    }
}

/// FNV-1a and a final mix. Keys come from accepted specs only, so no client can make them collide.
fn hash(name: &[u8], is_wildcard: bool) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ u64::from(is_wildcard);
    let mixed = name
        .iter()
        .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_in_any_spelling() {
        let index = HostIndex::new([("web", 0), ("Web.Example.lan", 1), ("10.0.0.1", 2)]);
        for (authority, service) in [
            ("web", Some(0)),
            ("WEB", Some(0)),
            ("web:8080", Some(0)),
            ("web.", Some(0)),
            ("web.:80", Some(0)),
            ("web.example.lan", Some(1)),
            ("10.0.0.1:80", Some(2)),
            ("web..", None),
            ("webb", None),
            ("we", None),
            ("x.web", None),
            ("web.example.lan.evil", None),
            ("", None),
            (".", None),
            (":80", None),
        ] {
            assert_eq!(index.find(authority.as_bytes()), service, "{authority}");
        }
    }

    #[test]
    fn wildcards_match_one_label_or_more_and_the_longest_wins() {
        let index = HostIndex::new([("*.shop.lan", 0), ("*.lan", 1), ("a.shop.lan", 2)]);
        for (authority, service) in [
            ("b.shop.lan", Some(0)),
            ("c.b.shop.lan:1", Some(0)),
            ("A.Shop.Lan", Some(2)),
            ("shop.lan", Some(1)),
            ("lan", None),
            ("x.lan", Some(1)),
            (".lan", None),
            ("xlan", None),
            ("shop.lan.x", None),
        ] {
            assert_eq!(index.find(authority.as_bytes()), service, "{authority}");
        }
    }

    #[test]
    fn many_hosts_and_none() {
        assert_eq!(HostIndex::new([]).find(b"web"), None);
        let names: Vec<String> = (0..5000).map(|n| format!("s{n}.lan")).collect();
        let index = HostIndex::new(names.iter().enumerate().map(|(n, name)| (name.as_str(), n)));
        for (n, name) in names.iter().enumerate() {
            assert_eq!(index.find(name.as_bytes()), Some(n));
        }
        assert_eq!(index.find(b"s5000.lan"), None);
        let long = "a".repeat(HOST_BYTES_MAX + 1);
        assert_eq!(HostIndex::new([(long.as_str(), 0)]).find(long.as_bytes()), None);
    }
}
