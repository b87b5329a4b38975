//! A followed output ends when what it follows has ended, and not before.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::thread::{Scope, ScopedJoinHandle, scope};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, specs};

/// It says `begun`, and what it ends by: a file, or the stop signal.
fn speaker(lab: &Lab, name: &str, concurrency: u32) -> (Value, PathBuf) {
    let mut spec = specs::shell(name, concurrency);
    let word = lab.folder().join(format!("{name}-ends"));
    spec["scripts"]["runtime-script"] = json!(format!(
        "echo begun; trap 'echo told to end; exit 0' TERM; \
         while ! test -e {}; do sleep 0.05; done; echo over",
        word.display()
    ));
    (spec, word)
}

/// Follows on a thread of its own: what came until the stream's end.
fn follow<'scope>(
    lab: &Lab,
    scope: &'scope Scope<'scope, '_>,
    target: &str,
) -> ScopedJoinHandle<'scope, Vec<String>> {
    let stream = lab.api.open(&format!("{target}/logs?follow=true"), MINUTE).expect("a stream");
    scope.spawn(move || {
        let lines = BufReader::new(stream).lines();
        lines.map(|line| line.expect("whole lines, and no break")).collect()
    })
}

fn said(lines: &[String], word: &str) -> usize {
    lines.iter().filter(|line| line.ends_with(word)).count()
}

#[test]
fn it_ends_with_an_instance_that_ends_by_itself_and_with_the_last_of_a_service() {
    let lab = Lab::start(2);
    let (mut spec, word) = speaker(&lab, "speaker", 2);
    spec["restart"] = json!({ "policy": "never" });
    lab.deploy(&spec);
    let one = lab.service("speaker").instances.remove(0);
    scope(|scope| {
        let of_one = follow(&lab, scope, &format!("/v1/instances/{}", one.id));
        let of_all = follow(&lab, scope, "/v1/services/speaker");
        std::fs::write(&word, b"").expect("a file");
        let (of_one, of_all) = (of_one.join().expect("its end"), of_all.join().expect("its end"));
        assert_eq!((said(&of_one, "begun"), said(&of_one, "over")), (1, 1), "{of_one:?}");
        assert_eq!((said(&of_all, "begun"), said(&of_all, "over")), (2, 2), "{of_all:?}");
    });
}

#[test]
fn it_ends_with_a_service_that_is_deleted_and_has_its_last_words() {
    let lab = Lab::start(2);
    let (spec, _) = speaker(&lab, "speaker", 2);
    lab.deploy(&spec);
    let one = lab.service("speaker").instances.remove(0);
    scope(|scope| {
        let of_one = follow(&lab, scope, &format!("/v1/instances/{}", one.id));
        let of_all = follow(&lab, scope, "/v1/services/speaker");
        lab.remove("speaker");
        let (of_one, of_all) = (of_one.join().expect("its end"), of_all.join().expect("its end"));
        assert_eq!(said(&of_one, "told to end"), 1, "{of_one:?}");
        assert_eq!(said(&of_all, "told to end"), 2, "{of_all:?}");
    });
}

#[test]
fn it_goes_on_with_the_successor_of_an_instance_that_is_moved() {
    let lab = Lab::start(2);
    let (spec, _) = speaker(&lab, "speaker", 1);
    lab.deploy(&spec);
    let first = lab.service("speaker").instances.remove(0);
    let worker = first.worker.as_ref().expect("a worker");
    scope(|scope| {
        let of_first = follow(&lab, scope, &format!("/v1/instances/{}", first.id));
        let of_all = follow(&lab, scope, "/v1/services/speaker");
        let answer = lab.ask(Method::Post, &format!("/v1/workers/{worker}/drain"), None);
        assert_eq!(answer.status, 202, "{}", answer.text());
        // Its own stream ends with it …
        let of_first = of_first.join().expect("its end");
        assert_eq!(said(&of_first, "told to end"), 1, "{of_first:?}");
        let next = lab.wait_healthy("speaker", 1).remove(0);
        assert_ne!(next.id, first.id);
        // … and the service's with the service: the successor's words are in it.
        lab.remove("speaker");
        let of_all = of_all.join().expect("its end");
        let of_next = |line: &&String| line.contains(&next.id.to_string());
        let of_next: Vec<String> = of_all.iter().filter(of_next).cloned().collect();
        assert_eq!((said(&of_next, "begun"), said(&of_next, "told to end")), (1, 1), "{of_all:?}");
    });
}

#[test]
fn it_ends_with_an_instance_whose_worker_is_not_heard_any_more() {
    let mut lab = Lab::with(1, &["--worker-suspect", "1s", "--worker-timeout", "3s"], &[]);
    let (spec, _) = speaker(&lab, "speaker", 1);
    lab.deploy(&spec);
    let one = lab.service("speaker").instances.remove(0);
    let agent = Pid::from_raw(lab.cluster.worker(0).expect("w1").pid() as i32);
    let target = format!("/v1/instances/{}/logs?follow=true", one.id);
    let mut lines = BufReader::new(lab.api.open(&target, MINUTE).expect("a stream")).lines();
    let begun = lines.next().expect("a line").expect("a whole one");
    assert!(begun.ends_with("begun"), "{begun}");
    // Nothing is closed: to the controller it is a machine without power.
    kill(agent, Signal::SIGSTOP).expect("it is ours");
    let rest: Vec<String> = lines.map(|line| line.expect("whole lines, and no break")).collect();
    kill(agent, Signal::SIGCONT).expect("it is ours");
    let [last] = rest.as_slice() else { panic!("{rest:?}") };
    assert!(last.contains("can't be shown: its worker is not heard any more"), "{last}");
    lab.wait_healthy("speaker", 1);
}
