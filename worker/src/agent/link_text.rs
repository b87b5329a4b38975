//! What the link sends and reads, apart from when: a heartbeat's JSON within its bound, a refusal
//! in words. Nothing here keeps anything; `link` calls it.

use tucano_common::limits::{API_BODY_BYTES_MAX, REFUSAL_CHARS_MAX};
use tucano_common::wire::problem::Problem;
use tucano_common::wire::worker::Heartbeat;
use tucano_net::Answer;

/// A heartbeat's JSON, within what the controller takes: where outputs of failed scripts make it
/// too large, they are left out, as they were sent before.
pub(super) fn heartbeat_json(mut heartbeat: Heartbeat) -> Vec<u8> {
    let bytes = to_json(&heartbeat);
    if bytes.len() <= API_BODY_BYTES_MAX {
        return bytes;
    }
    for instance in &mut heartbeat.instances {
        if let Some(failure) = &mut instance.failure {
            failure.output_tail.clear();
        }
    }
    to_json(&heartbeat)
}

/// Why the controller says no, with what to do.
pub(super) fn refusal(status: u16, answer: &Answer) -> String {
    let told = answer.json::<Problem>().map(|problem| problem.detail);
    let told: String = told
        .unwrap_or_else(|_| format!("it answers {status}"))
        .chars()
        .take(REFUSAL_CHARS_MAX)
        .collect();
    match status {
        401 | 403 => format!("{told} (is --join-token-file the controller's?)"),
        409 => format!("{told} (give each worker a --name of its own, and stop the other one)"),
        _ => told,
    }
}

fn to_json(heartbeat: &Heartbeat) -> Vec<u8> {
    // Growing a buffer to it in steps copies it several times over.
    let mut bytes = Vec::with_capacity(1024 + 512 * heartbeat.instances.len());
    if let Err(error) = serde_json::to_writer(&mut bytes, heartbeat) {
        log::error!("a defect: a heartbeat has no JSON: {error}");
        bytes.clear();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use tucano_common::id::InstanceId;
    use tucano_common::limits::OUTPUT_TAIL_BYTES;
    use tucano_common::name::ServiceName;
    use tucano_common::time::Wall;
    use tucano_common::wire::worker::{
        Cause, Failure, InstanceReport, RunState, Step, Usage, WorkerMetrics,
    };
    use tucano_net::Headers;

    use super::*;

    fn failed(id: u64) -> InstanceReport {
        let output_tail = "x".repeat(OUTPUT_TAIL_BYTES);
        let failure = Failure {
            at: Wall(0),
            step: Step::Runtime,
            cause: Cause::Oom { memory_limit_bytes: None, memory_peak_bytes: None },
            message: String::new(),
            output_tail,
            run: None,
        };
        InstanceReport {
            id: InstanceId(id),
            service: ServiceName::new("web").unwrap(),
            revision: 1,
            generation: 1,
            state: RunState::Starting,
            since: Wall(0),
            healthy: false,
            port: None,
            pid: None,
            started_at: None,
            restarts: 0,
            restart_nonce: 0,
            failures_in_row: 3,
            failure: Some(failure),
            waits_for: None,
            usage: Usage::default(),
        }
    }

    #[test]
    fn a_heartbeat_of_many_failures_stays_within_what_the_controller_takes() {
        for (instances, whole) in [(2, true), (1000, false)] {
            let heartbeat = Heartbeat {
                session: 1,
                seq: 1,
                at: Wall(0),
                holds: None,
                metrics: WorkerMetrics::default(),
                instances: (0..instances).map(failed).collect(),
                notices: Vec::new(),
                notices_before: None,
            };
            let bytes = heartbeat_json(heartbeat);
            assert!(bytes.len() <= API_BODY_BYTES_MAX, "{}", bytes.len());
            let read: Heartbeat = serde_json::from_slice(&bytes).unwrap();
            let outputs = read.instances.iter().flat_map(|instance| &instance.failure);
            assert!(outputs.clone().all(|failure| failure.output_tail.is_empty() != whole));
            assert_eq!(outputs.count(), usize::try_from(instances).unwrap());
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let answer = |status, body: &str| {
            let (headers, body) = (Headers::new(), body.as_bytes().to_vec());
            refusal(status, &Answer { status, headers, body })
        };
        let problem = r#"{"type":"x","title":"x","status":409,"detail":"taken by 10.0.0.9"}"#;
        assert!(answer(409, problem).starts_with("taken by 10.0.0.9 (give each worker a --name"));
        assert!(answer(401, "").contains("it answers 401 (is --join-token-file"));
        assert_eq!(answer(418, "<html>"), "it answers 418");
    }
}
