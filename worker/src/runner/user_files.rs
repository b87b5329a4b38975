//! A user in the plain files of the system, without the C library's name services.
//!
//! Those would load half a megabyte of libraries into an agent that has four, for one question at
//! its start. A user that is in no file (a directory service's) is asked for there, by `user`.

use std::fs;

use super::user::RunAs;

/// Looks in `/etc/passwd` and `/etc/group`.
pub(super) fn look_up(name: &str) -> Option<RunAs> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let (uid, gid) = user(&users, name)?;
    let groups = groups(&fs::read_to_string("/etc/group").ok()?, name, gid);
    Some(RunAs { name: name.to_owned(), uid, gid, groups })
}

/// The first user in `/etc/passwd` whose number is one of these.
pub(super) fn among(is_one: impl Fn(u32) -> bool) -> Option<(String, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        is_one(number).then(|| (name.to_owned(), number))
    })
}

/// `name:password:uid:gid:…`, passwd(5).
fn user(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let (_password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
        if found { Some((uid.parse().ok()?, gid.parse().ok()?)) } else { None }
    })
}

/// `name:password:gid:member,member`, group(5): the user's own group, then those that list it.
fn groups(groups: &str, name: &str, own: u32) -> Vec<u32> {
    let listed = groups.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let gid: u32 = fields.next()?.parse().ok()?;
        let is_member = fields.next()?.split(',').any(|member| member == name);
        (is_member && gid != own).then_some(gid)
    });
    std::iter::once(own).chain(listed).collect()
}

/// Whether there is such a number in this user namespace: each line of the map is its first number
/// here, the first outside, and how many (user_namespaces(7)).
pub(super) fn is_mapped(number: u32) -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return true };
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|it| it.parse::<u64>().unwrap_or(0));
        let (first, count) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(0));
        (first..first.saturating_add(count)).contains(&u64::from(number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_their_groups() {
        let users = "root:x:0:0:root:/root:/bin/bash\n# no user\n+::::::\n\
                     web:x:33:44:web,,,:/var/www:/usr/sbin/nologin\nbad:x:a:b::/:\n";
        assert_eq!(user(users, "root"), Some((0, 0)));
        assert_eq!(user(users, "web"), Some((33, 44)));
        for name in ["we", "webb", "bad", "", "# no user", "x"] {
            assert_eq!(user(users, name), None, "{name}");
        }
        let file = "root:x:0:\nweb:x:44:web\nvideo:x:5:web,root\nsound:x:6:root,webb\nold:x:7\n";
        assert_eq!(groups(file, "web", 44), [44, 5]);
        assert_eq!(groups(file, "nobody", 65_534), [65_534]);
    }

    #[test]
    fn a_user_is_found_by_its_number() {
        let daemon = look_up("daemon").unwrap().uid;
        assert_eq!(among(|number| number == daemon), Some(("daemon".to_owned(), daemon)));
        assert_eq!(among(|_| false), None);
    }

    #[test]
    fn the_files_say_what_the_name_services_say() {
        for name in ["root", "nobody", "daemon"] {
            let theirs = nix::unistd::User::from_name(name).unwrap();
            let ours = look_up(name).map(|user| (user.uid, user.gid));
            assert_eq!(ours, theirs.map(|user| (user.uid.as_raw(), user.gid.as_raw())), "{name}");
        }
    }
}
