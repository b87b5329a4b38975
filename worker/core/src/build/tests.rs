//! Every pair of step and fact, as a table: what a build becomes, and what is too late to mean
//! anything.

use tucano_common::name::ServiceName;
use tucano_common::time::{Now, Wall};
use tucano_common::wire::worker::{Cause, Step};

use super::*;
use crate::job::{Cluster, End, Ending, Process};

const NOW: Now = Now { mono: Mono(100_000_000), wall: Wall(1_000_000_000_000) };

fn build(step: BuildStep) -> Build {
    let json = r#"{"name": "web", "scripts": {"runtime-script": "r", "build-script": "b"}}"#;
    let spec: Arc<Spec> = Arc::new(serde_json::from_str(json).unwrap());
    let (cluster, service) = (Cluster::new("c").unwrap(), ServiceName::new("web").unwrap());
    let mut build = Build::new(BuildKey { cluster, service, revision: 1 }, spec);
    build.run = Run(3);
    build.step = step;
    build
}

fn started() -> Started {
    let process = |pid| Process { pid, start: 1 };
    Started { holder: process(1), main: process(2), at: NOW.wall }
}

fn building(why: Option<KillReason>) -> BuildStep {
    let killed = why.map(|why| Killed { why, again_at: NOW.mono });
    BuildStep::Building(Building { started: started(), since: NOW.mono, outgrown: None, killed })
}

const OVERFULL: Overfull = Overfull::Held { held: 3, build: 2, held_max: 1 };

fn failure() -> Failure {
    let (message, output_tail) = ("no".to_owned(), String::new());
    Failure {
        at: NOW.wall,
        step: Step::Build,
        cause: Cause::Worker,
        message,
        output_tail,
        run: None,
    }
}

fn steps() -> Vec<(&'static str, BuildStep)> {
    vec![
        ("waiting", BuildStep::Waiting),
        ("preparing", BuildStep::Preparing),
        ("prepared", BuildStep::Prepared),
        ("launching", BuildStep::Launching),
        ("adopting", BuildStep::Adopting { known: None, ask: Ask::Asked }),
        ("building", building(None)),
        ("building, too long", building(Some(KillReason::Timeout))),
        ("building, too much", building(Some(KillReason::Disk(OVERFULL)))),
        ("building, unwanted", building(Some(KillReason::Unwanted))),
        ("ready", BuildStep::Ready),
        ("failed", BuildStep::Failed(failure())),
        ("doomed", BuildStep::Doomed { version: 1 }),
        ("spoiled", BuildStep::Spoiled),
        ("removing", BuildStep::Removing),
        ("gone", BuildStep::Gone),
    ]
}

fn facts() -> Vec<BuildFact> {
    let ending = |end| Ending {
        end,
        at: NOW.wall,
        started_at: None,
        memory_peak_bytes: 0,
        output_tail: String::new(),
    };
    vec![
        BuildFact::SourceReady,
        BuildFact::SourceFailed("no".to_owned()),
        BuildFact::Started(started()),
        BuildFact::StartFailed("no".to_owned()),
        BuildFact::NotYet,
        BuildFact::NeverStarted,
        BuildFact::Ended(ending(End::Code(0))),
        BuildFact::Ended(ending(End::Signal(9))),
        BuildFact::Removed,
    ]
}

fn letter(step: &BuildStep) -> &'static str {
    match step {
        BuildStep::Waiting => "W",
        BuildStep::Preparing => "p",
        BuildStep::Prepared => "P",
        BuildStep::Launching => "L",
        BuildStep::Adopting { .. } => "A",
        BuildStep::Building(_) => "B",
        BuildStep::Ready => "R",
        BuildStep::Failed(_) => "F",
        BuildStep::Doomed { .. } => "D",
        BuildStep::Spoiled => "S",
        BuildStep::Removing => "r",
        BuildStep::Gone => "G",
    }
}

#[test]
fn every_step_and_fact() {
    // source ready, source failed, started, start failed, not yet, never started, ended with 0,
    // ended by 9, removed; `.`: too late, nothing changed
    let expected = "\
        ......... waiting\n\
        PF....... preparing\n\
        ......... prepared\n\
        ..BF.SRF. launching\n\
        ..BFASRF. adopting\n\
        ..BF.SRF. building\n\
        ..BF.SRF. building, too long\n\
        ..BF.SRF. building, too much\n\
        ..BF.SRS. building, unwanted\n\
        ......... ready\n\
        ......... failed\n\
        ......... doomed\n\
        ......... spoiled\n\
        ........W removing\n\
        ......... gone\n";
    let mut rows = String::new();
    for (name, step) in steps() {
        for fact in facts() {
            let mut build = build(step.clone());
            let before = build.clone();
            let meant = build.observe(Run(3), fact.clone(), NOW);
            assert!(meant || build == before, "{name}: a late fact changed something");
            rows.push_str(if meant { letter(&build.step) } else { "." });
            let mut other = before.clone();
            if fact != BuildFact::Removed {
                assert!(!other.observe(Run(2), fact, NOW), "{name}: another attempt's fact");
                assert_eq!(other, before);
            }
        }
        rows.push_str(&format!(" {name}\n"));
    }
    assert_eq!(rows, expected);
}

#[test]
fn every_step_comes_back_from_the_ledger_as_what_it_stands_for() {
    let mut rows = String::new();
    for (_, step) in steps() {
        let entry = build(step).entry();
        let again = Build::from_entry(entry.clone(), NOW.mono);
        assert_eq!(again.entry(), entry, "written again it is the same");
        rows.push_str(letter(&again.step));
    }
    assert_eq!(rows, "SSSAAAAAARFSSSS");
}

#[test]
fn one_that_takes_too_much_of_the_disk_is_ended_once_and_fails_with_the_numbers() {
    let mut build = build(building(None));
    build.outgrow(OVERFULL);
    let mut effects = Vec::new();
    for _ in ["ends it", "waits for its end"] {
        build.watch(true, NOW.mono, &mut effects);
    }
    assert!(matches!(effects.as_slice(), [crate::Effect::SignalKill(_)]), "{effects:?}");
    let ending = Ending {
        end: End::Signal(9),
        at: NOW.wall,
        started_at: None,
        memory_peak_bytes: 0,
        output_tail: String::new(),
    };
    build.observe(Run(3), BuildFact::Ended(ending), NOW);
    let failure = build.failure().unwrap();
    assert_eq!(failure.cause, Cause::Worker, "another worker may have the room");
    assert!(failure.message.contains("was ended: builds, artifacts and logs"), "{failure:?}");
}

#[test]
fn a_failure_says_what_to_do() {
    for (end, words) in [
        (End::Code(127), "exit code 127: a command was not found"),
        (End::Code(126), "exit code 126: a command could not be executed"),
        (End::Signal(9), "signal 9 (SIGKILL)"),
        (End::Unknown, "nobody saw"),
    ] {
        let mut build = build(building(None));
        let ending = Ending {
            end,
            at: NOW.wall,
            started_at: None,
            memory_peak_bytes: 0,
            output_tail: "last words".to_owned(),
        };
        build.observe(Run(3), BuildFact::Ended(ending), NOW);
        let failure = build.failure().unwrap();
        assert!(failure.message.contains(words), "{}", failure.message);
        assert_eq!(failure.output_tail, "last words");
    }
}
