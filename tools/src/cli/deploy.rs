//! Commands that change services: deploy, scale, restart, rollback, rm, artifact. With `--wait`
//! they show the events as they happen, and their exit code is the deployment's.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tucano_common::id::DeploymentId;
use tucano_common::limits::API_BODY_BYTES_MAX;
use tucano_common::time::Wall;
use tucano_common::wire::views::{
    ArtifactView, DeploymentState, DeploymentView, EventView, PreviewView, ServiceView, StatusView,
};
use tucano_net::Method;
use tucano_net::config::{Flags, parse};
use tucano_net::url::percent_encode;

use super::show::instance_table;
use super::{CliError, Session, argument, arguments, print};
use crate::api;
use crate::text;

/// After so long without an event, the deployment itself is looked at.
const SILENCE: Duration = Duration::from_secs(5);

/// What `--wait` and `--timeout` say.
struct Patience {
    wait: bool,
    limit: Duration,
}

impl Patience {
    fn of(flags: &mut Flags) -> Result<Patience, CliError> {
        let wait = flags.has("--wait");
        let limit = flags.value_or(
            "--timeout",
            Duration::from_secs(15 * 60),
            parse::duration_above_zero,
        )?;
        Ok(Patience { wait, limit })
    }
}

/// `tucano deploy FILE`.
pub(super) fn deploy(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let patience = Patience::of(&mut flags)?;
    let dry_run = flags.has("--dry-run");
    let archive = flags.value("--artifact", parse::text)?;
    let path = argument(flags, "FILE")?;
    let mut spec = read_file(&path)?;
    if let Some(archive) = archive {
        let uploaded = upload(session, &archive)?;
        let mut value: Value = serde_json::from_slice(&spec)
            .map_err(|error| CliError::Failed(format!("{path} is not JSON: {error}")))?;
        value["source"] = json!({ "artifact": uploaded.artifact });
        spec = value.to_string().into_bytes();
    }
    if dry_run {
        return preview(session, &spec);
    }
    change(session, &patience, Method::Post, "/v1/services", Some(&spec))
}

/// What a deploy would do, with the placement of its first instances.
fn preview(session: &Session, spec: &[u8]) -> Result<(), CliError> {
    let target = "/v1/services?dry_run=true";
    let answer = session.api.send(Method::Post, target, Some(spec))?;
    if session.json {
        return Session::print_json(&answer);
    }
    let preview: PreviewView = api::read(target, &answer)?;
    let Some(deployment) = preview.deployment.filter(|_| preview.changed) else {
        return print("nothing would change\n");
    };
    let DeploymentView { service, revision, instances, .. } = &deployment;
    print(&format!("{service} would become revision {revision}; its first step:\n"))?;
    print(&instance_table(instances))?;
    preview.leaving.iter().try_for_each(|id| print(&format!("{id} would leave\n")))
}

/// `tucano scale NAME COUNT`.
pub(super) fn scale(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let patience = Patience::of(&mut flags)?;
    let [name, count] = arguments(flags, ["NAME", "COUNT"])?;
    let count = parse::number(0, u32::MAX.into())(&count)
        .map_err(|reason| CliError::Usage(format!("COUNT {}: {reason}", text::escape(&count))))?;
    let body = json!({ "concurrency": count }).to_string();
    let target = format!("/v1/services/{}/scale", percent_encode(&name));
    change(session, &patience, Method::Post, &target, Some(body.as_bytes()))
}

/// `tucano restart NAME`.
pub(super) fn restart(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let patience = Patience::of(&mut flags)?;
    let name = argument(flags, "NAME")?;
    let target = format!("/v1/services/{}/restart", percent_encode(&name));
    change(session, &patience, Method::Post, &target, None)
}

/// `tucano rollback NAME`.
pub(super) fn rollback(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let patience = Patience::of(&mut flags)?;
    let revision = flags.value("--revision", parse::number(1, u64::MAX))?;
    let name = argument(flags, "NAME")?;
    let target = format!("/v1/services/{}/rollback", percent_encode(&name));
    let body = revision.map(|revision| json!({ "revision": revision }).to_string());
    let body = body.as_deref().map(str::as_bytes);
    change(session, &patience, Method::Post, &target, body)
}

/// `tucano rm NAME`.
pub(super) fn remove(session: &Session, mut flags: Flags) -> Result<(), CliError> {
    let patience = Patience::of(&mut flags)?;
    let name = argument(flags, "NAME")?;
    let target = format!("/v1/services/{}", percent_encode(&name));
    let answer = session.api.send(Method::Delete, &target, None)?;
    if session.json {
        Session::print_json(&answer)?;
    }
    if !patience.wait {
        return if session.json { Ok(()) } else { print(&format!("{name} is being ended\n")) };
    }
    let gone = crate::wait::until("the service's end", patience.limit, || {
        match session.api.get::<ServiceView>(&target) {
            Ok(_) => None,
            Err(error) if error.status() == Some(404) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    });
    match gone {
        Ok(outcome) => outcome?,
        Err(late) => return Err(CliError::Failed(late.to_string())),
    }
    if session.json { Ok(()) } else { print(&format!("{name} is gone\n")) }
}

/// `tucano artifact TGZ`.
pub(super) fn artifact(session: &Session, flags: Flags) -> Result<(), CliError> {
    let path = argument(flags, "TGZ")?;
    let uploaded = upload(session, &path)?;
    if session.json {
        return print(&format!("{}\n", json!(uploaded)));
    }
    print(&format!("{}\n", uploaded.artifact))
}

fn upload(session: &Session, path: &str) -> Result<ArtifactView, CliError> {
    let failed = |error| CliError::File(text::escape(path), error);
    let mut file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let target = "/v1/artifacts";
    let answer = session.api.upload(target, "application/gzip", &mut file, len)?;
    Ok(api::read(target, &answer)?)
}

fn read_file(path: &str) -> Result<Vec<u8>, CliError> {
    let failed = |error| CliError::File(text::escape(path), error);
    let mut bytes = Vec::new();
    let limit = API_BODY_BYTES_MAX as u64 + 1; // what is larger is refused by the controller
    let read = if path == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes)
    };
    read.map_err(failed)?;
    Ok(bytes)
}

/// Asks for a change and, with `--wait`, stays with its deployment to the end.
fn change(
    session: &Session,
    patience: &Patience,
    method: Method,
    target: &str,
    body: Option<&[u8]>,
) -> Result<(), CliError> {
    let asked = Instant::now();
    let before: StatusView = session.api.get("/v1/status")?;
    let answer = session.api.send(method, target, body)?;
    let deployment: DeploymentView = api::read(target, &answer)?;
    if answer.status == 200 && deployment.state == DeploymentState::Succeeded {
        return told(session, &deployment, "nothing changed: it is up already");
    }
    if !patience.wait {
        return told(session, &deployment, "it goes on by itself: tucano events -f");
    }
    let ended = follow(session, &deployment, before.last_event, asked + patience.limit)?;
    verdict(session, &ended)
}

fn told(session: &Session, deployment: &DeploymentView, what: &str) -> Result<(), CliError> {
    if session.json {
        return print(&format!("{}\n", json!(deployment)));
    }
    let DeploymentView { service, revision, id, .. } = deployment;
    print(&format!("{service} revision {revision}, deployment {id}: {what}\n"))
}

/// Prints the events of a deployment's service until the deployment has ended.
fn follow(
    session: &Session,
    deployment: &DeploymentView,
    last_event: u64,
    deadline: Instant,
) -> Result<DeploymentView, CliError> {
    let own = format!("/v1/deployments/{}", deployment.id);
    let mut after = last_event;
    loop {
        let target = format!("/v1/events?after={after}&follow=true");
        let stream = session.api.open(&target, SILENCE)?;
        for line in BufReader::new(stream).lines() {
            // The silence is over, or the stream was cut: look at the deployment, and go on.
            let Ok(line) = line else { break };
            let Ok(event) = serde_json::from_str::<EventView>(&line) else { continue };
            after = after.max(event.seq);
            if event.service.as_ref() != Some(&deployment.service) {
                continue;
            }
            if !session.json {
                print(&progress(&event, deployment.created_at))?;
            }
            if event.kind.starts_with("deployment") || Instant::now() >= deadline {
                let now: DeploymentView = session.api.get(&own)?;
                if now.state != DeploymentState::InProgress {
                    return Ok(now);
                }
            }
        }
        let now: DeploymentView = session.api.get(&own)?;
        if now.state != DeploymentState::InProgress {
            return Ok(now);
        }
        if Instant::now() >= deadline {
            let waits = now.reason.as_deref().map(text::escape).unwrap_or_default();
            let text = format!("deployment {} still goes on: {waits}", deployment.id);
            return Err(CliError::Failed(text));
        }
    }
}

/// One line: when, what, on which worker, in words.
fn progress(event: &EventView, began: Wall) -> String {
    let since = event.at.since(began).as_secs_f64();
    let worker = event.worker.as_ref().map_or("", |worker| worker.as_str());
    let (kind, message) = (text::escape(&event.kind), text::escape(&event.message));
    format!("  +{since:.3}s  {kind:<24} {worker:<8} {message}\n")
}

/// Says how a deployment ended; anything but success is a failure.
fn verdict(session: &Session, ended: &DeploymentView) -> Result<(), CliError> {
    if session.json {
        print(&format!("{}\n", json!(ended)))?;
    }
    let DeploymentView { service, revision, healthy, wanted, .. } = ended;
    let took = ended.ended_at.map(|end| text::span(end.since(ended.created_at)));
    let took = took.map(|took| format!(" after {took}")).unwrap_or_default();
    if ended.state == DeploymentState::Succeeded {
        if session.json {
            return Ok(());
        }
        let requests = ended.requests.map(|counts| {
            format!("; {} requests meanwhile, {} lost", counts.accepted, counts.lost)
        });
        let requests = requests.unwrap_or_default();
        print(&format!(
            "{service} revision {revision} is up: {healthy} of {wanted} healthy{took}{requests}\n"
        ))?;
        let target = format!("/v1/services/{service}");
        let now: ServiceView = session.api.get(&target)?;
        return now.urls.iter().try_for_each(|url| print(&format!("  {}\n", text::escape(url))));
    }
    let state = ended.state.as_str();
    let reason = ended.reason.as_deref().unwrap_or("no reason given");
    let mut text =
        format!("{service} revision {revision}: {state}{took}: {}", text::escape(reason));
    if let Some(back) = ended.reverted_to {
        text.push_str(&format!("\n  it is back at revision {back}"));
    }
    if let Some(failure) = &ended.failure {
        text.push_str(&format!("\n  {}", text::escape(&failure.message)));
        for line in failure.output_tail.lines() {
            text.push_str(&format!("\n  | {}", text::escape(line)));
        }
    }
    Err(CliError::Failed(text))
}

/// `tucano pause NAME|ID`.
pub(super) fn pause(session: &Session, flags: Flags) -> Result<(), CliError> {
    hold(session, flags, "pause", "is held where it is: tucano resume lets it go on")
}

/// `tucano resume NAME|ID`.
pub(super) fn resume(session: &Session, flags: Flags) -> Result<(), CliError> {
    hold(session, flags, "resume", "goes on")
}

/// What reads as an id is one; anything else is the service whose deployment is meant.
fn hold(session: &Session, flags: Flags, action: &str, what: &str) -> Result<(), CliError> {
    let named = argument(flags, "NAME|ID")?;
    let id = match DeploymentId::parse(&named) {
        Some(id) => id,
        None => {
            let target = format!("/v1/services/{}", percent_encode(&named));
            let service: ServiceView = session.api.get(&target)?;
            let none = || CliError::Failed(format!("{} has no deployment", text::escape(&named)));
            service.deployment.ok_or_else(none)?
        }
    };
    let target = format!("/v1/deployments/{id}/{action}");
    let answer = session.api.send(Method::Post, &target, None)?;
    told(session, &api::read(&target, &answer)?, what)
}
