//! Commands about workers.

use tucano_common::wire::views::WorkerView;
use tucano_common::wire::worker::WorkerMetrics;
use tucano_net::Method;
use tucano_net::config::Flags;
use tucano_net::url::percent_encode;

use super::show::{ago, fields, look};
use super::{CliError, Session, argument, arguments, print};
use crate::text::{self, Table};

/// `tucano workers`.
pub(super) fn workers(session: &Session, flags: Flags) -> Result<(), CliError> {
    let [] = arguments(flags, [])?;
    look(session, "/v1/workers", |workers: &Vec<WorkerView>| {
        let headings =
            ["WORKER", "STATE", "ADDRESS", "CPUS", "CPU", "MEMORY", "LOAD", "INSTANCES", "SEEN"];
        let mut table = Table::new(&headings);
        for worker in workers {
            let metrics = worker.metrics.as_ref();
            table.row([
                worker.name.to_string(),
                worker.state.as_str().to_owned(),
                worker.address.to_string(),
                worker.capacity.cpus.to_string(),
                metrics.and_then(|now| now.cpu_ratio).map(text::percent).unwrap_or_default(),
                memory(worker),
                metrics
                    .and_then(|now| now.load)
                    .map(|load| format!("{:.2}", load[0]))
                    .unwrap_or_default(),
                worker.instances.len().to_string(),
                seen(worker),
            ]);
        }
        if table.is_empty() { "no workers\n".to_owned() } else { table.render() }
    })
}

fn seen(worker: &WorkerView) -> String {
    worker.last_seen.map_or_else(|| "never".to_owned(), |at| format!("{} ago", ago(at)))
}

/// `1.2 GiB of 3.8 GiB`, used.
fn memory(worker: &WorkerView) -> String {
    let all = text::bytes(worker.capacity.memory_bytes);
    let used = worker.metrics.as_ref().and_then(WorkerMetrics::memory_used_bytes);
    used.map_or(all.clone(), |used| format!("{} of {all}", text::bytes(used)))
}

/// `tucano worker NAME`.
pub(super) fn worker(session: &Session, flags: Flags) -> Result<(), CliError> {
    let name = argument(flags, "NAME")?;
    look(session, &target(&name, ""), |worker: &WorkerView| {
        let labels: Vec<String> = worker.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let ids: Vec<String> = worker.instances.iter().map(ToString::to_string).collect();
        let mut text = fields(&[
            ("worker", worker.name.to_string()),
            ("state", worker.state.as_str().to_owned()),
            ("address", worker.address.to_string()),
            ("version", worker.version.clone()),
            ("labels", labels.join(" ")),
            ("cpus", worker.capacity.cpus.to_string()),
            ("memory", memory(worker)),
            (
                "reserved",
                format!(
                    "{:.2} cores, {}",
                    std::time::Duration::from_millis(worker.reserved.cpu_millis).as_secs_f64(),
                    text::bytes(worker.reserved.memory_bytes)
                ),
            ),
            ("seen", seen(worker)),
            ("instances", ids.join(" ")),
        ]);
        if let Some(now) = &worker.metrics {
            let load: Vec<String> =
                now.load.iter().flatten().map(|load| format!("{load:.2}")).collect();
            text.push_str(&fields(&[
                ("cpu", now.cpu_ratio.map(text::percent).unwrap_or_default()),
                ("load", load.join(" ")),
                ("disk free", now.disk_free_bytes.map(text::bytes).unwrap_or_default()),
                ("disk held", now.disk_held_bytes.map(text::bytes).unwrap_or_default()),
            ]));
        }
        text
    })
}

fn target(name: &str, action: &str) -> String {
    format!("/v1/workers/{}{action}", percent_encode(name))
}

/// `tucano drain NAME`.
pub(super) fn drain(session: &Session, flags: Flags) -> Result<(), CliError> {
    act(session, flags, Method::Post, "/drain", "gives its instances away")
}

/// `tucano activate NAME`.
pub(super) fn activate(session: &Session, flags: Flags) -> Result<(), CliError> {
    act(session, flags, Method::Post, "/activate", "takes instances again")
}

/// `tucano forget NAME`.
pub(super) fn forget(session: &Session, flags: Flags) -> Result<(), CliError> {
    act(session, flags, Method::Delete, "", "is forgotten")
}

fn act(
    session: &Session,
    flags: Flags,
    method: Method,
    action: &str,
    done: &str,
) -> Result<(), CliError> {
    let name = argument(flags, "NAME")?;
    let answer = session.api.send(method, &target(&name, action), None)?;
    if session.json {
        return Session::print_json(&answer);
    }
    print(&format!("{} {done}\n", text::escape(&name)))
}
