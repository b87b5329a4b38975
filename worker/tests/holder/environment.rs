//! What a script finds around it: exactly what it was given.

use nix::sys::signal::Signal;

use crate::bench::{Job, leak_a_descriptor};
use crate::namespace::may_be;

/// The lines that a script wrote.
fn lines_of(job: Job) -> Vec<String> {
    let mut held = job.start();
    let exit = held.end();
    assert_eq!(exit["code"], 0, "{exit} {}", held.log());
    held.lines().into_iter().filter(|line| !line.starts_with("MARK=")).collect()
}

#[test]
fn its_environment_is_what_was_given_and_nothing_else() {
    let mut job = Job::new("tr '\\0' '\\n' < /proc/$$/environ");
    job.variables =
        vec!["PATH=/usr/bin:/bin".to_owned(), "EMPTY=".to_owned(), "A=b=c d".to_owned()];
    assert_eq!(lines_of(job), ["PATH=/usr/bin:/bin", "EMPTY=", "A=b=c d"]);
}

#[test]
fn its_descriptors_are_the_three_also_where_the_agent_had_others() {
    let _leaked = leak_a_descriptor();
    // Nothing but the shell's own words, which open nothing.
    let script =
        "fd=0; while [ $fd -lt 200 ]; do [ -e /proc/$$/fd/$fd ] && echo $fd; fd=$((fd+1)); done
        exit 0";
    assert_eq!(lines_of(Job::new(script)), ["0", "1", "2"]);
    assert_eq!(lines_of(Job::new("readlink /proc/$$/fd/0")), ["/dev/null"]);
}

#[test]
fn its_session_signals_and_limits_are_its_own() {
    // The shell catches and blocks some for itself: what it becomes does not.
    let script = "
        umask
        set -- $(cut -d')' -f2 /proc/$$/stat)
        [ $3 = $$ ] && [ $4 = $$ ] && echo leads its group and session
        echo terminal $5
        exec grep -E '^(SigBlk|SigIgn|NoNewPrivs):' /proc/self/status";
    let lines = lines_of(Job::new(script));
    let zeroes = "0000000000000000";
    let expected = [
        "0077".to_owned(),
        "leads its group and session".to_owned(),
        "terminal 0".to_owned(),
        format!("SigBlk:\t{zeroes}"),
        format!("SigIgn:\t{zeroes}"),
        "NoNewPrivs:\t1".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_builds_priority_is_low_and_a_services_is_not() {
    for (low, nice, score) in [(true, "19", "500"), (false, "0", "100")] {
        let mut job = Job::new("nice; cat /proc/$$/oom_score_adj");
        job.low_priority = low;
        assert_eq!(lines_of(job), [nice, score], "{low}");
    }
}

#[test]
fn it_runs_as_the_user_that_was_asked_for() {
    let own = nix::unistd::Uid::effective();
    let mut job = Job::new("id -u; id -g; id -G; grep -c . /proc/$$/environ > /dev/null; pwd");
    let expected = if may_be(65533) {
        job.user = Some("65533 65532 65532 65531");
        ["65533".to_owned(), "65532".to_owned(), "65532 65531".to_owned()]
    } else {
        let groups = nix::unistd::getgroups().unwrap().into_iter();
        let gid = nix::unistd::Gid::effective();
        let others = groups.filter(|group| *group != gid).map(|group| format!(" {group}"));
        let all = others.fold(gid.to_string(), |all, group| all + &group);
        [own.to_string(), gid.to_string(), all]
    };
    let lines = lines_of(job);
    assert_eq!(lines[..3], expected);
    assert!(lines[3].ends_with("/work"), "{lines:?}");
}

#[test]
fn a_user_whose_rights_cannot_be_taken_is_refused() {
    if may_be(65533) {
        // Root may take any: the folder above is what stops this one.
        let mut job = Job::new("true");
        job.user = Some("65533 65532");
        job.folder_exists = false;
        let mut held = job.start();
        assert!(held.status()["not_started"].as_str().unwrap().contains("folder"));
        held.end();
        return;
    }
    let mut job = Job::new("true");
    job.user = Some("65533 65532");
    let mut held = job.start();
    assert!(held.status()["not_started"].as_str().unwrap().contains("take the user's"));
    held.end();
}

#[test]
fn secrets_are_neither_in_argv_nor_with_the_holder() {
    let mut job = Job::new("echo ready; read line < /dev/zero");
    job.variables.push("TOKEN=sesame-sesame".to_owned());
    let mut held = job.start();
    held.wait_for_line("ready");
    let holder = held.holder();
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{holder}/{file}")).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!text.contains("sesame"), "{file}: {text}");
    }
    let stdin = std::fs::read_link(format!("/proc/{holder}/fd/0")).unwrap();
    assert_eq!(stdin, std::path::Path::new("/dev/null"), "its orders are closed");
    held.signal(Signal::SIGUSR1);
    held.end();
}
