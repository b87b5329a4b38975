//! Output: captured, merged with the instance in front, tailed, followed, kept over restarts.

use std::io::{BufRead, BufReader};

use serde_json::json;
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, SOON, specs};

/// A service's last lines.
fn tail(lab: &Lab, target: &str) -> Vec<String> {
    let answer = lab.ask(Method::Get, target, None);
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    let media_type = answer.headers.get("Content-Type").unwrap_or_default();
    assert!(media_type.starts_with("text/plain"), "{media_type}");
    answer.text().lines().map(str::to_owned).collect()
}

#[test]
fn a_services_output_is_merged_and_names_its_instances() {
    let lab = Lab::start(2);
    let mut spec = specs::shell("talker", 2);
    spec["scripts"]["runtime-script"] =
        json!("echo hello; echo trouble >&2; while true; do sleep 0.2; done");
    lab.deploy(&spec);
    let ids: Vec<String> =
        lab.service("talker").instances.iter().map(|instance| instance.id.to_string()).collect();
    let lines = lab.until("both instances' lines", SOON, || {
        let lines = tail(&lab, "/v1/services/talker/logs?tail=100");
        let said = |id: &str, word: &str| {
            lines.iter().any(|line| line.contains(id) && line.contains(word))
        };
        ids.iter().all(|id| said(id, "hello") && said(id, "trouble")).then_some(lines)
    });
    assert!(lines.iter().all(|line| ids.iter().any(|id| line.contains(id))), "{lines:?}");
    let own = tail(&lab, &format!("/v1/instances/{}/logs?tail=100", ids[0]));
    assert!(own.iter().any(|line| line.contains("hello")), "{own:?}");
    assert!(own.iter().all(|line| !line.contains(&ids[1])), "{own:?}");
}

#[test]
fn a_tail_is_the_last_lines_and_survives_a_restart_of_the_agent() {
    let mut lab = Lab::start(1);
    let mut spec = specs::shell("counter", 1);
    spec["scripts"]["runtime-script"] =
        json!("for i in $(seq 1 500); do echo line-$i; done; while true; do sleep 0.2; done");
    lab.deploy(&spec);
    let check = |lab: &Lab| {
        lab.until("the last line", SOON, || {
            let lines = tail(lab, "/v1/services/counter/logs?tail=3");
            let ends = lines.len() == 3 && lines[2].ends_with("line-500");
            ends.then_some(())
        });
    };
    check(&lab);
    assert_eq!(tail(&lab, "/v1/services/counter/logs?tail=1000").len(), 500);
    lab.cluster.worker(0).expect("w1").kill();
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(1);
    check(&lab);
}

#[test]
fn following_shows_lines_as_they_come() {
    let lab = Lab::start(1);
    lab.deploy(&specs::shell("ticker", 1));
    let target = "/v1/services/ticker/logs?tail=0&follow=true";
    let stream = lab.api.open(target, MINUTE).expect("a stream");
    let ticks = BufReader::new(stream).lines().map_while(Result::ok);
    let ticks: Vec<String> = ticks.filter(|line| line.contains("tick")).take(5).collect();
    assert_eq!(ticks.len(), 5, "{ticks:?}");
}

#[test]
fn events_are_followed_in_order_with_their_causes() {
    let lab = Lab::start(1);
    let stream = lab.api.open("/v1/events?after=0&follow=true", MINUTE).expect("a stream");
    lab.deploy(&specs::shell("ticker", 1));
    let mut seqs = Vec::new();
    let mut caused = 0;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line.trim().is_empty() {
            continue;
        }
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        seqs.push(event["seq"].as_u64().expect("a number"));
        if let Some(cause) = event.get("cause").and_then(serde_json::Value::as_u64) {
            assert!(cause < event["seq"].as_u64().expect("a number"), "{line}");
            caused += 1;
        }
        if event["type"].as_str().is_some_and(|kind| kind.contains("succeeded")) {
            break;
        }
    }
    let first = seqs[0];
    assert!(seqs.iter().enumerate().all(|(n, seq)| *seq == first + n as u64), "gaps: {seqs:?}");
    assert!(caused > 0, "no event has a cause");
}

#[test]
fn what_a_service_prints_can_not_drive_a_terminal() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("rude", 1);
    spec["scripts"]["runtime-script"] = json!(
        "printf '\\033[2Jgotcha\\r\\n'; printf 'no end of line'; while true; do sleep 1; done"
    );
    lab.deploy(&spec);
    let shown = lab.until("its output", SOON, || {
        let output = lab.tucano(&["logs", "rude", "--tail", "10"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("gotcha").then_some(text)
    });
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn a_flood_is_bounded_and_its_end_is_there() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("flood", 1);
    // 40 MiB: twice what is kept.
    spec["scripts"]["runtime-script"] = json!(
        "head -c 40000000 /dev/zero | tr '\\0' 'x' | fold -w 999; echo THE-END; \
         while true; do sleep 1; done"
    );
    lab.deploy(&spec);
    lab.until("the last line", MINUTE, || {
        let lines = tail(&lab, "/v1/services/flood/logs?tail=1");
        lines.iter().any(|line| line.contains("THE-END")).then_some(())
    });
    let mut bytes = 0;
    let mut folders = vec![lab.folder().join("w1")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => bytes += entry.metadata().map_or(0, |metadata| metadata.len()),
            }
        }
    }
    assert!(bytes < 24 * 1024 * 1024, "{bytes} bytes are kept of 40 MiB");
}
