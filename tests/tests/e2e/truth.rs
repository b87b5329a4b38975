//! What is stored: snapshots, restores and damage, with the real binaries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tucano_common::wire::views::{EventView, InstanceView, StatusView};
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, specs};

/// Ids and processes: what must not change.
fn identity(instances: &[InstanceView]) -> BTreeMap<String, Option<u32>> {
    instances.iter().map(|instance| (instance.id.to_string(), instance.pid)).collect()
}

fn data_dir(lab: &Lab) -> PathBuf {
    lab.folder().join("controller")
}

/// `tucano-controller --restore FILE` into the lab's folder.
fn restore(lab: &Lab, file: &Path) -> Output {
    let binary = lab.cluster.binary("tucano-controller").expect("it is built");
    let mut command = Command::new(binary);
    command.arg("--data-dir").arg(data_dir(lab)).arg("--restore").arg(file);
    command.output().expect("it runs")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn snapshot(lab: &Lab, name: &str) -> PathBuf {
    let file = lab.folder().join(name);
    let output = lab.tucano(&["snapshot", &file.display().to_string()]);
    assert!(output.status.success(), "{}", text(&output));
    file
}

#[test]
fn a_snapshot_is_taken_while_all_goes_on_and_restored_under_running_workers() {
    use std::os::unix::fs::PermissionsExt;
    let mut lab = Lab::start(2);
    let spec = lab.demo("web", 3);
    lab.deploy(&spec);
    lab.deploy(&specs::shell("ticker", 1));
    let web = identity(&lab.wait_healthy("web", 3));
    let file = snapshot(&lab, "copy.db");
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds env values");
    let seen = lab.events().last().expect("an event").seq;

    // After it: workers get newer generations, and the snapshot knows of none of this.
    let answer = lab.ask(Method::Post, "/v1/services/ticker/restart?wait=60s", None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ticker = identity(&lab.wait_healthy("ticker", 1));

    let refused = restore(&lab, &file);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("held by another controller"), "{}", text(&refused));
    let given = lab.events().last().expect("an event").seq;
    lab.cluster.controller().expect("a controller").kill();
    let restored = restore(&lab, &file);
    assert!(restored.status.success(), "{}", text(&restored));
    assert!(text(&restored).contains("the database of before is"), "{}", text(&restored));
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(2);

    // What is in it and runs was not touched, and is reached.
    assert_eq!(identity(&lab.wait_healthy("web", 3)), web);
    lab.answering("web", 3);
    // What was started anew meanwhile is newer than the snapshot, and stays too.
    assert_eq!(identity(&lab.wait_healthy("ticker", 1)), ticker);
    // Numbers go on after the last that was given; who reads on from any number misses nothing.
    let events = lab.events();
    let gap = events.iter().find(|event| event.kind == "gap").expect("a gap is told");
    assert!(gap.seq >= given, "{gap:?}");
    let news: Vec<&EventView> = events.iter().filter(|event| event.seq > gap.seq).collect();
    assert_eq!(news[0].kind, "restored", "{:?}", news[0]);
    let numbers: Vec<u64> = news.iter().map(|event| event.seq).collect();
    let without_gaps: Vec<u64> = (gap.seq + 1..).take(numbers.len()).collect();
    assert_eq!(numbers, without_gaps);
    assert!(events.iter().any(|event| event.seq == seen));
    // And it goes on working: what it says is newer than what the workers hold.
    lab.deploy(&specs::shell("another", 2));
    lab.remove("ticker");
}

#[test]
fn a_damaged_database_is_refused_with_the_command_that_restores_the_last_good_copy() {
    let mut lab = Lab::with(1, &["--snapshot-interval", "1s"], &[]);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let before = identity(&lab.wait_healthy("web", 2));
    // The next snapshot that begins has it.
    let taken = || lab.events().iter().filter(|event| event.kind == "snapshot_taken").count();
    let count = taken();
    lab.until("two more snapshots", MINUTE, || (taken() > count + 1).then_some(()));
    lab.cluster.controller().expect("a controller").stop(MINUTE);
    let folder = data_dir(&lab);
    let kept = fs::read_dir(folder.join("snapshots")).expect("snapshots").count();
    assert!((1..=8).contains(&kept), "{kept}");
    let database = folder.join("tucano.db");
    let mut bytes = fs::read(&database).expect("read");
    // From the middle on: a single page there can be one that the migrations left free, and what
    // is in no page's use is no damage.
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..].fill(0x55);
    fs::write(&database, bytes).expect("damaged");

    let refused = lab.cluster.start_controller().expect_err("damaged").to_string();
    let line = refused.lines().last().expect("a line").to_owned();
    assert!(line.contains("tucano.db is damaged"), "{refused}");
    let command = line.split('`').nth(1).unwrap_or_else(|| panic!("no command: {line}"));
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!((words[0], words[1]), ("tucano-controller", "--data-dir"), "{line}");
    // As it stands there.
    let binary = lab.cluster.binary(words[0]).expect("it is built");
    let restored = Command::new(binary).args(&words[1..]).output().expect("it runs");
    assert!(restored.status.success(), "{}", text(&restored));
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(1);
    assert_eq!(identity(&lab.wait_healthy("web", 2)), before);
    lab.answering("web", 2);
}

#[test]
fn a_log_torn_by_kill_9_has_everything_that_was_answered() {
    let mut lab = Lab::start(1);
    let spec = specs::shell("ticker", 1);
    lab.deploy(&spec);
    let before = identity(&lab.wait_healthy("ticker", 1));
    for turn in 1..=6_u64 {
        let mut spec = specs::shell(&format!("s{turn}"), 0);
        spec["env"] = json!({ "TURN": turn.to_string() });
        let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
        assert_eq!(answer.status, 202, "{}", answer.text());
        lab.cluster.controller().expect("a controller").kill();
        // A commit that nobody was answered for, half on disk: its frame begins, and is cut.
        let log = data_dir(&lab).join("tucano.db-wal");
        let mut bytes = fs::read(&log).expect("a log");
        let header: Vec<u8> = bytes[..32].to_vec();
        let mut frame = [&[0, 0, 0, 1, 0, 0, 0, 0], &header[16..24], &[7; 8]].concat();
        frame.extend(vec![0xaa; usize::try_from(turn * 600).expect("small")]);
        bytes.extend(frame);
        fs::write(&log, bytes).expect("written");
        lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
        for known in 1..=turn {
            let service: Value = lab.get(&format!("/v1/services/s{known}"));
            assert_eq!(service["spec"]["env"]["TURN"], known.to_string(), "turn {turn}");
        }
    }
    assert_eq!(identity(&lab.wait_healthy("ticker", 1)), before);
}

#[test]
fn a_log_damaged_in_its_middle_is_refused_and_its_command_goes_back_to_before() {
    let mut lab = Lab::start(1);
    let deploy = |lab: &Lab, name: &str| {
        let answer = lab.ask(Method::Post, "/v1/services", Some(&specs::shell(name, 0)));
        assert_eq!(answer.status, 202, "{}", answer.text());
    };
    deploy(&lab, "first");
    // A start moves the log to the database: what follows is all that the log has.
    lab.cluster.controller().expect("a controller").stop(MINUTE);
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    deploy(&lab, "second");
    deploy(&lab, "third");
    lab.cluster.controller().expect("a controller").kill();
    let log = data_dir(&lab).join("tucano.db-wal");
    let mut bytes = fs::read(&log).expect("a log");
    let early = 32 + 24 + 100;
    bytes[early] ^= 0xff;
    fs::write(&log, bytes).expect("damaged");
    let refused = lab.cluster.start_controller().expect_err("damaged").to_string();
    assert!(refused.contains("tucano.db-wal is damaged at byte 32"), "{refused}");
    let command = refused.split('`').nth(1).expect("a command");
    let words: Vec<&str> = command.split(' ').collect();
    let binary = lab.cluster.binary(words[0]).expect("it is built");
    let restored = Command::new(binary).args(&words[1..]).output().expect("it runs");
    assert!(restored.status.success(), "{}", text(&restored));
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(1);
    let status: StatusView = lab.get("/v1/status");
    assert!(status.last_event > 1_000_000, "numbers that were given are not given again");
    for (name, status) in [("first", 200), ("second", 404), ("third", 404)] {
        let answer = lab.ask(Method::Get, &format!("/v1/services/{name}"), None);
        assert_eq!(answer.status, status, "{name}: it was told, not silent");
    }
    lab.deploy(&specs::shell("third", 1));
}
