//! What a cluster left on this machine once its daemons ended: processes, control groups, mounts,
//! ports, files. Nothing may be.
//!
//! Holders are asked to end what they hold first, as an agent would; what is there afterwards has
//! escaped them. It looks and ends nothing but holders; `sweep` does. Called when a cluster ends.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Layout, strays};
use crate::wait;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";
/// A worker's groups stand no deeper below a mount than this: beside the unit of a user's session.
const GROUPS_DEPTH: u32 = 8;
/// The source of mounts that a test made itself, and ends itself.
pub const TEST_MOUNT: &str = "tucano-test";

/// Has every holder of the cluster in `folder` end what it holds, and waits for them.
pub(super) fn end_holders(folder: &Path) {
    let gone = wait::until("the end of every holder", Duration::from_secs(10), || {
        let left = holders(folder);
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGUSR1);
        }
        left.is_empty().then_some(())
    });
    drop(gone); // who is still there shows among what is left
}

/// Their command lines name their job's folder.
fn holders(folder: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let is_holder = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).skip(1);
        words.next() == Some(b"hold")
            && words.next().is_some_and(|job| Path::new(OsStr::from_bytes(job)).starts_with(folder))
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_holder).collect()
}

/// Everything that is left, each in a few words. Its daemons have ended.
pub(super) fn left(folder: &Path, layout: &Layout) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(holders(folder).iter().map(|pid| format!("the holder {pid}")));
    left.extend(strays(folder).iter().map(|it| format!("process {}: {}", it.pid, it.command)));
    let names: Vec<String> = layout
        .workers
        .iter()
        .map(|site| group_name(&folder.join(&site.name)))
        .flat_map(|name| [format!("{name}-low"), name])
        .collect();
    find_groups(Path::new(GROUPS), &names, GROUPS_DEPTH, &mut left);
    left.extend(mounts(folder));
    left.extend(ports(layout));
    left
}

/// As the agent names the groups of a data folder.
fn group_name(data_dir: &Path) -> String {
    let hash =
        data_dir.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, it| {
            (hash ^ u64::from(*it)).wrapping_mul(0x100_0000_01b3)
        });
    format!("tucano-{hash:016x}")
}

fn find_groups(folder: &Path, names: &[String], depth: u32, left: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir())) {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| names.iter().any(|own| own == name)) {
            left.push(format!("the control group {}", entry.path().display()));
        } else if depth > 0 {
            find_groups(&entry.path(), names, depth - 1, left);
        }
    }
}

fn mounts(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // proc_pid_mountinfo(5): the mount point is the fifth field, the source the second after `-`.
    let point = |line: &str| Some(PathBuf::from(line.split(' ').nth(4)?));
    let is_left = |line: &&str| {
        point(line).is_some_and(|point| point.starts_with(folder))
            && !line.ends_with(TEST_MOUNT)
            && !line.contains(&format!(" {TEST_MOUNT} "))
    };
    text.lines().filter(is_left).map(|line| format!("the mount {line}")).collect()
}

/// What listens on the agents' addresses, on the API's and the balancer's ports; but not what this
/// process listens on itself.
fn ports(layout: &Layout) -> Vec<String> {
    let agents: BTreeSet<IpAddr> = layout.workers.iter().map(|site| site.agent.ip()).collect();
    let text = fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
    let listening = text.lines().skip(1).filter_map(listener);
    let of_cluster = |address: &SocketAddr| {
        agents.contains(&address.ip()) || [layout.api, layout.balancer].contains(address)
    };
    let left: Vec<(SocketAddr, String)> =
        listening.filter(|(address, _)| of_cluster(address)).collect();
    if left.is_empty() {
        return Vec::new();
    }
    let own = own_sockets();
    let left = left.into_iter().filter(|(_, inode)| !own.contains(inode));
    left.map(|(address, _)| format!("a listener on {address}")).collect()
}

/// The address and the inode of a listening socket (proc_net(5)).
fn listener(line: &str) -> Option<(SocketAddr, String)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, "0A", ..] = fields.as_slice() else { return None };
    let (ip, port) = local.split_once(':')?;
    // The kernel prints the number as this machine has it in memory.
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(ip.into(), port), (*fields.get(9)?).to_owned()))
}

fn own_sockets() -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |link: PathBuf| {
        Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    links.filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_and_this_processs_own_is_told_apart() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let text = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let address = held.local_addr().unwrap();
        let mut found = text.lines().filter_map(listener).filter(|it| it.0 == address);
        let (_, inode) = found.next().unwrap();
        assert!(own_sockets().contains(&inode));
    }

    #[test]
    fn groups_are_found_by_their_data_folder_however_deep() {
        let name = group_name(Path::new("/var/lib/tucano/worker"));
        assert_eq!(name, "tucano-95f5e419f88b4313");
        let root = crate::cluster::Folder::new("left").unwrap();
        let deep = root.path().join("a/b").join(&name);
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(root.path().join("tucano-other")).unwrap();
        let mut left = Vec::new();
        find_groups(root.path(), &[name], GROUPS_DEPTH, &mut left);
        assert_eq!(left, [format!("the control group {}", deep.display())]);
    }
}
