//! Every pair of step and fact, as a table: what an instance becomes, and what is too late to mean
//! anything.

use std::time::Duration;

use super::*;
use crate::job::{End, Ending, Process};
use tucano_common::prng::Prng;

const NOW: Now = Now { mono: Mono(100_000_000), wall: Wall(1_000_000_000_000) };

fn instance(policy: &str, desired: Desired, step: Step) -> Instance {
    let json = format!(
        r#"{{"name": "web", "network": {{"expose_port": 80}}, "restart": {{"policy": "{policy}"}},
            "scripts": {{"runtime-script": "r", "teardown_script": "t"}}}}"#
    );
    let spec: Arc<Spec> = Arc::new(serde_json::from_str(&json).unwrap());
    let (cluster, service) = (Cluster::new("c").unwrap(), spec.name.clone());
    let id = InstanceId(1);
    let assignment = Assignment {
        id,
        generation: 1,
        service: service.clone(),
        revision: 1,
        desired,
        restart_nonce: 0,
        spec,
    };
    let build = BuildKey { cluster: cluster.clone(), service, revision: 1 };
    let mut instance = Instance::new(assignment, cluster, build, NOW);
    instance.run = Run(3);
    instance.address = Some("127.0.0.1:20000".parse().unwrap());
    instance.step = step;
    instance
}

fn started() -> Started {
    let process = |pid| Process { pid, start: 1 };
    Started { holder: process(1), main: process(2), at: NOW.wall }
}

fn up(ending: Option<Why>) -> Step {
    let ending = ending.map(|why| BeingEnded { why, kill_at: NOW.mono, kills: 0 });
    let health = Health::warming(NOW.mono, true);
    Step::Up(Up { started: started(), since: NOW.mono, health, ending })
}

fn steps() -> Vec<(&'static str, Step)> {
    let (known, ask) = (Some(started()), Ask::Asked);
    let outcome = Outcome::Stopped;
    let teardown = |stage| Step::Teardown { outcome, stage };
    vec![
        ("waiting", Step::Waiting),
        ("resting", Step::Resting { until: NOW.mono }),
        ("intending", Step::Intending { version: 1 }),
        ("launching", Step::Launching),
        ("adopting", Step::Adopting { known, ready: true, ask }),
        ("up", up(None)),
        ("up, stopping", up(Some(Why::Stop))),
        ("up, restarting", up(Some(Why::Restart))),
        ("up, unhealthy", up(Some(Why::Health("no answer".to_owned())))),
        ("finishing", Step::Finishing { outcome }),
        ("teardown intending", teardown(Teardown::Intending { version: 1 })),
        ("teardown launching", teardown(Teardown::Launching)),
        ("teardown adopting", teardown(Teardown::Adopting { known, ask })),
        ("teardown up", teardown(Teardown::Up { started: started(), kill_at: NOW.mono, kills: 0 })),
        ("removing", Step::Removing { outcome }),
        ("over", Step::Over { outcome, removed: false }),
        ("over, removed", Step::Over { outcome, removed: true }),
    ]
}

fn facts() -> Vec<InstanceFact> {
    let ending = Ending {
        end: End::Code(1),
        at: NOW.wall,
        started_at: None,
        memory_peak_bytes: 0,
        output_tail: String::new(),
    };
    vec![
        InstanceFact::Started(started()),
        InstanceFact::StartFailed("no".to_owned()),
        InstanceFact::PortTaken,
        InstanceFact::NotYet,
        InstanceFact::NeverStarted,
        InstanceFact::Ended(ending),
        InstanceFact::Probed(Ok(())),
        InstanceFact::NotProbed("no descriptors".to_owned()),
    ]
}

/// A machine without a battery sets its clock once it has a network: by decades.
#[test]
fn a_clock_that_is_stepped_neither_wipes_the_slate_nor_shortens_an_uptime() {
    for (stepped_ms, up, failures) in [
        (86_400_000, Duration::from_secs(2), 5),
        (-86_400_000, Duration::from_secs(2), 5),
        (-86_400_000, Duration::from_secs(61), 1),
    ] {
        let mut instance = instance("always", Desired::Run, super::tests::up(None));
        instance.failures_in_row = 4;
        let now = Now { mono: NOW.mono + up, wall: Wall(NOW.wall.0 + stepped_ms) };
        let ending = Ending {
            end: End::Code(1),
            at: now.wall,
            started_at: Some(NOW.wall),
            memory_peak_bytes: 0,
            output_tail: String::new(),
        };
        let fact = InstanceFact::Ended(ending);
        assert!(instance.observe(Script::Runtime, Run(3), fact, now, &mut Prng::new(1)));
        assert_eq!(instance.failures_in_row, failures, "{stepped_ms} {up:?}");
        let run = instance.failure.unwrap().run.unwrap();
        assert_eq!(u128::from(run.uptime_ms), up.as_millis());
    }
}

fn letter(step: &Step) -> &'static str {
    match step {
        Step::Waiting => "W",
        Step::Resting { .. } => "R",
        Step::Intending { .. } => "I",
        Step::Launching => "L",
        Step::Adopting { .. } => "A",
        Step::Up(_) => "U",
        Step::Finishing { .. } => "F",
        Step::Teardown { .. } => "T",
        Step::Removing { .. } => "r",
        Step::Over { .. } => "O",
    }
}

/// What each fact makes of each step, in the order of [`facts`]; `.`: too late, nothing changed.
fn table(script: Script, policy: &str, desired: Desired) -> String {
    let mut rows = String::new();
    for (name, step) in steps() {
        let row: String = facts()
            .into_iter()
            .map(|fact| {
                let mut instance = instance(policy, desired, step.clone());
                let before = instance.clone();
                let meant = instance.observe(script, Run(3), fact, NOW, &mut Prng::new(1));
                assert!(meant || instance == before, "{name}: a late fact changed something");
                if meant { letter(&instance.step) } else { "." }
            })
            .collect();
        rows.push_str(&format!("{row} {name}\n"));
    }
    rows
}

#[test]
fn the_runtime_while_it_should_run() {
    // started, start failed, port taken, not yet, never started, ended with 1, probed
    let expected = "\
        ........ waiting\n\
        ........ resting\n\
        ........ intending\n\
        URW..R.. launching\n\
        UR.AWR.. adopting\n\
        U....RUU up\n\
        U....W.. up, stopping\n\
        U....W.. up, restarting\n\
        U....R.. up, unhealthy\n\
        ........ finishing\n\
        ........ teardown intending\n\
        ........ teardown launching\n\
        ........ teardown adopting\n\
        ........ teardown up\n\
        ........ removing\n\
        ........ over\n\
        ........ over, removed\n";
    assert_eq!(table(Script::Runtime, "always", Desired::Run), expected);
}

#[test]
fn the_runtime_while_it_should_stop_or_is_not_started_again() {
    let expected = "\
        ........ waiting\n\
        ........ resting\n\
        ........ intending\n\
        UFW..F.. launching\n\
        UF.AWF.. adopting\n\
        U....FUU up\n\
        U....F.. up, stopping\n\
        U....F.. up, restarting\n\
        U....F.. up, unhealthy\n\
        ........ finishing\n\
        ........ teardown intending\n\
        ........ teardown launching\n\
        ........ teardown adopting\n\
        ........ teardown up\n\
        ........ removing\n\
        ........ over\n\
        ........ over, removed\n";
    assert_eq!(table(Script::Runtime, "always", Desired::Stop), expected);
    let never = table(Script::Runtime, "never", Desired::Run);
    // A stop or a restart that was under way is not its own end.
    let own = expected.replace("U....F.. up, stopping", "U....W.. up, stopping");
    assert_eq!(never, own.replace("U....F.. up, restarting", "U....W.. up, restarting"));
}

#[test]
fn the_teardown() {
    let expected = "\
        ........ waiting\n\
        ........ resting\n\
        ........ intending\n\
        ........ launching\n\
        ........ adopting\n\
        ........ up\n\
        ........ up, stopping\n\
        ........ up, restarting\n\
        ........ up, unhealthy\n\
        ........ finishing\n\
        ........ teardown intending\n\
        TF...F.. teardown launching\n\
        TF.TFF.. teardown adopting\n\
        TF...F.. teardown up\n\
        ........ removing\n\
        ........ over\n\
        ........ over, removed\n";
    for (policy, desired) in [("always", Desired::Run), ("never", Desired::Stop)] {
        assert_eq!(table(Script::Teardown, policy, desired), expected);
    }
}

#[test]
fn facts_of_another_run_mean_nothing() {
    for (name, step) in steps() {
        for (script, run) in [(Script::Runtime, 2), (Script::Runtime, 4), (Script::Teardown, 2)] {
            for fact in facts() {
                let mut instance = instance("always", Desired::Run, step.clone());
                let before = instance.clone();
                let meant = instance.observe(script, Run(run), fact, NOW, &mut Prng::new(1));
                assert!(!meant && instance == before, "{name} {run}");
            }
        }
    }
}

#[test]
fn a_folder_is_removed_once() {
    for (name, step) in steps() {
        let mut instance = instance("always", Desired::Stop, step);
        let meant = instance.folder_removed();
        assert_eq!(meant, name == "removing", "{name}");
    }
}

#[test]
fn every_step_comes_back_from_the_ledger_as_what_it_stands_for() {
    let expected = "\
        W waiting\nW resting\nA intending\nA launching\nA adopting\nA up\nA up, stopping\n\
        A up, restarting\nA up, unhealthy\nF finishing\nT teardown intending\n\
        T teardown launching\nT teardown adopting\nT teardown up\nF removing\nO over\n\
        O over, removed\n";
    let mut rows = String::new();
    for (name, step) in steps() {
        let entry = instance("always", Desired::Run, step).entry();
        let again = Instance::from_entry(entry.clone(), NOW);
        assert_eq!(again.entry(), entry, "{name}: written again it is the same");
        rows.push_str(&format!("{} {name}\n", letter(&again.step)));
    }
    assert_eq!(rows, expected);
}
