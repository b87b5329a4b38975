//! Whether this process may be other users: root may, but for one in a user namespace that has no
//! others (`unshare --map-root-user`).

use std::fs;

/// Whether it is root and there is such a user.
pub(crate) fn may_be(user: u32) -> bool {
    let is_there = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u64>().ok());
        let (first, count) = (numbers.next()??, numbers.nth(1)??);
        Some((first..first + count).contains(&u64::from(user)))
    };
    // user_namespaces(7): the first number here, the first outside, how many.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    nix::unistd::Uid::effective().is_root() && map.lines().any(|line| is_there(line) == Some(true))
}
