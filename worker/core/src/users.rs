//! Which user's number a service has, where each has one of its own (`--service-uids`): out of the
//! worker's range, its for as long as anything of it is here, and nobody else's before.
//!
//! What was found on the disk counts as much as what the ledger says: files are owned by numbers.
//! Whether a number is used by anything but services is the operator's to know. The supervisor
//! calls it.

use std::collections::BTreeMap;
use std::fmt;

use tucano_common::name::ServiceName;

/// `--service-uids`: first and last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    first: u32,
    last: u32,
}

/// Numbers below are the system's own users' (Debian: up to 999) and people's (from 1000 on).
const LOWEST: u32 = 10_000;
/// The highest that every file system and tool can hold.
const HIGHEST: u32 = 2_147_483_647;
/// `nobody`, and what is "no user" in 16 bits.
const NOBODY: [u32; 2] = [65_534, 65_535];

impl UserRange {
    /// Reads `200000-200999`; `Err`: what is wrong with it.
    pub fn parse(text: &str) -> Result<UserRange, &'static str> {
        let wrong = "write two numbers from 10000 on, the first not above the last: 200000-200999";
        let (first, last) = text.split_once('-').ok_or(wrong)?;
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = if plain { text.parse::<u32>().ok() } else { None };
            number.filter(|number| (LOWEST..=HIGHEST).contains(number))
        };
        let (first, last) = (number(first).ok_or(wrong)?, number(last).ok_or(wrong)?);
        let range = UserRange { first, last };
        if first > last {
            return Err(wrong);
        }
        if NOBODY.iter().any(|number| range.contains(*number)) {
            return Err("65534 and 65535 mean nobody; take a range without them: 200000-200999");
        }
        Ok(range)
    }

    /// Whether it is one of them.
    pub fn contains(self, number: u32) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// The first of them.
    pub fn first(self) -> u32 {
        self.first
    }

    /// The last of them.
    pub fn last(self) -> u32 {
        self.last
    }
}

impl fmt::Display for UserRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A folder of a service's that an agent found at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFolder {
    /// Whose.
    pub service: ServiceName,
    /// Its owner's number.
    pub owner: u32,
    /// Whether it is the service's own, which outlives its revisions.
    pub is_data: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    number: u32,
    /// Whether the service's own folder is there, or may be.
    has_data: bool,
}

/// A worker's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    /// None: all services run as one user, and no number is given out.
    range: Option<UserRange>,
    table: BTreeMap<ServiceName, Entry>,
    /// Where the next search begins: a number that became free is the last to be given again.
    next: u32,
}

impl Users {
    /// As the ledger has them.
    pub(crate) fn restore(entries: Vec<(ServiceName, u32)>) -> Users {
        let mut users = Users::default();
        for (service, number) in entries {
            users.table.insert(service, Entry { number, has_data: true });
        }
        users
    }

    /// For the ledger.
    pub(crate) fn entries(&self) -> Vec<(ServiceName, u32)> {
        self.table.iter().map(|(service, entry)| (service.clone(), entry.number)).collect()
    }

    /// Numbers are given out of this range from now on, and these folders are there.
    pub(crate) fn begin(&mut self, range: UserRange, found: &[FoundFolder]) {
        self.range = Some(range);
        self.next = range.first;
        for FoundFolder { service, owner, .. } in found {
            // A lost ledger; the first to come is the owner.
            if range.contains(*owner) && !self.is_taken(*owner) {
                let entry = Entry { number: *owner, has_data: true };
                self.table.entry(service.clone()).or_insert(entry);
            }
        }
        for (service, entry) in &mut self.table {
            entry.has_data = found.iter().any(|it| it.is_data && it.service == *service);
            if range.contains(entry.number) {
                self.next = self.next.max(entry.number.saturating_add(1));
            }
        }
    }

    /// The service's, if it has one.
    pub(crate) fn of(&self, service: &ServiceName) -> Option<u32> {
        self.table.get(service).map(|entry| entry.number)
    }

    /// Gives it one, if it needs one and one is free; whether that changed anything.
    pub(crate) fn give(&mut self, service: &ServiceName) -> bool {
        let Some(range) = self.range.filter(|_| !self.table.contains_key(service)) else {
            return false;
        };
        let mut all = (self.next..=range.last).chain(range.first..=range.last);
        let Some(number) = all.find(|number| range.contains(*number) && !self.is_taken(*number))
        else {
            return false;
        };
        self.next = number.saturating_add(1);
        self.table.insert(service.clone(), Entry { number, has_data: false });
        true
    }

    fn is_taken(&self, number: u32) -> bool {
        self.table.values().any(|entry| entry.number == number)
    }

    /// Its own folder is there from now on, or is gone.
    pub(crate) fn set_data(&mut self, service: &ServiceName, has_data: bool) {
        if let Some(entry) = self.table.get_mut(service) {
            entry.has_data = has_data;
        }
    }

    /// Takes back what nothing is left of; whether anything was.
    pub(crate) fn take_back(&mut self, is_here: impl Fn(&ServiceName) -> bool) -> bool {
        let before = self.table.len();
        self.table.retain(|service, entry| entry.has_data || is_here(service));
        self.table.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn folder(service: &str, owner: u32, is_data: bool) -> FoundFolder {
        FoundFolder { service: name(service), owner, is_data }
    }

    fn users(entries: &[(&str, u32)], found: &[FoundFolder]) -> Users {
        let entries = entries.iter().map(|(service, number)| (name(service), *number)).collect();
        let mut users = Users::restore(entries);
        users.begin(UserRange::parse("20000-20002").unwrap(), found);
        users
    }

    fn given(users: &mut Users, service: &str) -> Option<u32> {
        users.give(&name(service)).then(|| users.of(&name(service)).unwrap())
    }

    #[test]
    fn ranges_keep_away_from_the_systems_users() {
        let good = UserRange::parse("200000-200999").unwrap();
        assert_eq!(
            (good.first, good.last, &*good.to_string()),
            (200_000, 200_999, "200000-200999")
        );
        assert!(good.contains(200_999) && !good.contains(201_000));
        assert!(UserRange::parse("10000-10000").is_ok());
        for text in [
            "",
            "-",
            "20000",
            "0-1",
            "1000-2000",
            "20000-19999",
            "60000-70000",
            "65534-65534",
            "+20000-30000",
            "20000-4294967295",
            "a-b",
            "20000-30000-40000",
        ] {
            assert!(UserRange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_has_its_own_and_the_last_that_became_free_is_given_last() {
        let mut users = users(&[], &[]);
        assert_eq!(given(&mut users, "a"), Some(20_000));
        assert_eq!(given(&mut users, "b"), Some(20_001));
        assert_eq!(given(&mut users, "a"), None, "it has one");
        assert!(users.take_back(|service| service.as_str() != "a"));
        assert_eq!(given(&mut users, "c"), Some(20_002), "not the one of a");
        assert_eq!(given(&mut users, "d"), Some(20_000));
        assert_eq!(given(&mut users, "e"), None, "there is none");
        assert_eq!(users.of(&name("e")), None);
        assert!(!users.take_back(|_| true));
    }

    #[test]
    fn a_number_is_kept_while_the_services_own_folder_is_there() {
        let mut users =
            users(&[("kept", 20_000), ("gone", 20_001)], &[folder("kept", 20_000, true)]);
        assert!(users.take_back(|_| false));
        assert_eq!(users.entries(), [(name("kept"), 20_000)]);
        users.set_data(&name("kept"), false);
        users.set_data(&name("never-there"), true);
        assert!(users.take_back(|_| false) && users.entries().is_empty());
    }

    #[test]
    fn what_is_on_the_disk_makes_up_for_a_lost_ledger() {
        let found = [
            folder("a", 20_001, true),
            folder("b", 20_001, false),
            folder("c", 0, true),
            folder("d", 20_000, true),
        ];
        let mut users = users(&[("d", 30_000)], &found);
        // What the ledger says goes first, also out of another range; root's folder is nobody's.
        assert_eq!(users.entries(), [(name("a"), 20_001), (name("d"), 30_000)]);
        assert_eq!(given(&mut users, "b"), Some(20_002));
        assert_eq!(given(&mut users, "c"), Some(20_000));
    }

    #[test]
    fn without_a_range_nothing_is_given() {
        let mut users = Users::restore(vec![(name("a"), 20_000)]);
        assert_eq!(given(&mut users, "b"), None);
        assert_eq!(users.of(&name("a")), Some(20_000));
    }
}
