//! Names of groups, and what is said where they are missing; what they do is for the agent's tests.

use std::path::PathBuf;

use super::*;

#[test]
fn a_workers_group_is_named_after_its_data_folder_for_good() {
    assert_eq!(name_of(Path::new("/var/lib/tucano/worker")), "tucano-95f5e419f88b4313");
    assert_ne!(name_of(Path::new("/a")), name_of(Path::new("/b")));
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let some = || Some(Place::V2(PathBuf::from("/nowhere")));
    let none = Cgroups { memory: None, cpu: None, pids: None, kill: None, missing: None };
    let text = none.say_what_is_missing(true).unwrap();
    assert!(text.contains("memory, cpu, processes, kill") && text.contains("Delegate"), "{text}");
    let pi = Cgroups { memory: None, cpu: some(), pids: some(), kill: some(), missing: None };
    let text = pi.say_what_is_missing(true).unwrap();
    assert!(text.contains("cgroup_enable=memory cgroup_memory=1"), "{text}");
    assert!(!pi.say_what_is_missing(false).unwrap().contains("cmdline"));
    let all = Cgroups { memory: some(), cpu: some(), pids: some(), kill: some(), missing: None };
    assert_eq!(all.say_what_is_missing(true), None);
    assert_eq!(all.summary(), "memory v2, cpu v2, processes v2, kill v2");
}
