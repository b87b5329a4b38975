//! Commands: what is looked at before the core sees one, and what is answered after it is on disk.

use serde::Serialize;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tucano_common::id::DeploymentId;
use tucano_common::name::ServiceName;
use tucano_common::spec::{Digest, Source, Workload};
use tucano_common::time::Now;
use tucano_common::wire::problem::Problem;
use tucano_common::wire::views::{DeploymentState, DeploymentView};
use tucano_controller_core::deployer::{Accepted, Command};

use super::answers::Answered;
use super::ports::Opened;
use super::shell::Shell;
use super::waiters::Awaited;
use super::{preview, problems};
use crate::msgs::{Document, Reply, Ticket};
use crate::views::{self, Detail};

/// A command that the core took; it is answered once it is on disk.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ticket: Ticket,
    accepted: Accepted,
    about: About,
    wait: Option<Duration>,
}

/// What an accepted command's answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Deployment,
    Ending,
    Instance,
    Worker,
    Forgetting,
}

impl About {
    fn of(command: &Command) -> About {
        match command {
            Command::Deploy { .. }
            | Command::Scale { .. }
            | Command::Restart { .. }
            | Command::Rollback { .. }
            | Command::PauseDeployment { .. }
            | Command::ResumeDeployment { .. } => About::Deployment,
            Command::Delete { .. } => About::Ending,
            Command::RestartInstance { .. } | Command::StopInstance { .. } => About::Instance,
            Command::DrainWorker { .. } | Command::ActivateWorker { .. } => About::Worker,
            Command::ForgetWorker { .. } => About::Forgetting,
        }
    }
}

/// An answer that is there at once, or only after a wait.
pub(super) enum Outcome {
    Now(Answered),
    After { what: Awaited, wait: Duration },
}

impl Shell {
    /// Says what a command would do.
    pub(super) fn dry_run(&self, command: Command, now: Now) -> Answered {
        self.stays_off_the_api(&command)?;
        self.artifact_is_here(&command)?;
        let preview = self.core.dry_run(command, now);
        let preview = preview.map_err(|refusal| problems::refused(&refusal))?;
        let view = preview::view(self.core.cluster(), &preview);
        Ok(Reply::Document(Document::new(200, &view)))
    }

    /// Gives a command to the core, with the port that it needs open.
    pub(super) fn take(
        &mut self,
        ticket: Ticket,
        (command, wait): (Command, Option<Duration>),
        opened: &mut Vec<Opened>,
        now: Now,
    ) -> Result<Taken, Problem> {
        self.stays_off_the_api(&command)?;
        self.artifact_is_here(&command)?;
        let port = self.open_port(&command, opened)?;
        let about = About::of(&command);
        let accepted = self.core.command(command, now);
        let accepted = accepted.map_err(|refusal| problems::refused(&refusal))?;
        opened.extend(port);
        Ok(Taken { ticket, accepted, about, wait })
    }

    /// Whoever reaches the balancer must not reach the API through it.
    fn stays_off_the_api(&self, command: &Command) -> Result<(), Problem> {
        let Command::Deploy { spec } = command else { return Ok(()) };
        let Workload::External(addresses) = &spec.workload else { return Ok(()) };
        let api = self.api_address;
        let is_api = |address: &SocketAddr| {
            // A listener on every address may stand behind any of them that has its port.
            let there = address.ip() == api.ip() || api.ip().is_unspecified();
            there && address.port() == api.port()
        };
        match addresses.iter().position(is_api) {
            Some(at) => Err(problems::address_of_the_api(at)),
            None => Ok(()),
        }
    }

    fn artifact_is_here(&self, command: &Command) -> Result<(), Problem> {
        let Some(digest) = artifact_of(command) else { return Ok(()) };
        match self.store.artifact_bytes(digest) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(problems::unknown_artifact(digest)),
            Err(error) => Err(problems::unreadable(&error)),
        }
    }

    /// Opens the port that a command needs, unless it is open or another command of this turn
    /// opened it.
    fn open_port(&self, command: &Command, opened: &[Opened]) -> Result<Option<Opened>, Problem> {
        let Some(port) = self.core.port_wanted(command) else { return Ok(None) };
        if opened.iter().any(|each| each.port == port) {
            return Ok(None);
        }
        let expose_port = match command {
            Command::Deploy { spec } => spec.network.expose_port.unwrap_or(port),
            _ => port,
        };
        self.ports.open(port).map_err(|error| problems::port(expose_port, port, &error))
    }

    /// What a command is answered, now that it is on disk.
    pub(super) fn outcome(&self, taken: &Taken) -> Outcome {
        match taken.about {
            About::Deployment => self.deployment_outcome(taken),
            About::Ending => self.ending_outcome(taken),
            About::Instance => Outcome::Now(self.instance_changed(taken)),
            About::Worker => Outcome::Now(self.worker_changed(taken)),
            About::Forgetting => {
                let body = json!({ "name": taken.accepted.worker, "state": "forgotten" });
                Outcome::Now(Ok(Reply::Document(Document::new(202, &body))))
            }
        }
    }

    fn deployment_outcome(&self, taken: &Taken) -> Outcome {
        let Some(id) = taken.accepted.deployment else {
            return Outcome::Now(Ok(Reply::Done));
        };
        let running = self.deployment_view(id).is_ok_and(|view| view.ended_at.is_none());
        match taken.wait {
            Some(wait) if running => Outcome::After { what: Awaited::End(id), wait },
            Some(_) if taken.accepted.changed => Outcome::Now(self.ended(id)),
            Some(_) | None => {
                let status = if taken.accepted.changed { 202 } else { 200 };
                Outcome::Now(self.deployment_answer(id, status))
            }
        }
    }

    fn ending_outcome(&self, taken: &Taken) -> Outcome {
        let Some(service) = taken.accepted.service.clone() else {
            return Outcome::Now(Ok(Reply::Done));
        };
        match taken.wait {
            Some(wait) if self.core.cluster().service(&service).is_some() => {
                Outcome::After { what: Awaited::Gone(service), wait }
            }
            Some(_) | None => Outcome::Now(self.gone(&service, 202)),
        }
    }

    /// What somebody who waited for a deployment's end is answered: at its end, or when the time is
    /// over.
    pub(super) fn ended(&self, id: DeploymentId) -> Answered {
        let view = self.deployment_view(id)?;
        match view.state {
            DeploymentState::InProgress => self.deployment_answer(id, 202),
            DeploymentState::Succeeded => self.deployment_answer(id, 200),
            DeploymentState::Failed | DeploymentState::Reverted => Ok(unsuccessful(424, &view)),
            DeploymentState::Superseded => Ok(unsuccessful(409, &view)),
        }
    }

    /// What somebody who waited for a service's end is answered.
    pub(super) fn gone(&self, service: &ServiceName, status: u16) -> Answered {
        match views::service(&self.core, service, self.ledger.service(service)) {
            Some(view) => Ok(located(202, &view, format!("/v1/services/{service}"))),
            None => {
                let body = json!({ "name": service, "state": "deleted" });
                Ok(Reply::Document(Document::new(status, &body)))
            }
        }
    }

    fn deployment_view(&self, id: DeploymentId) -> Result<DeploymentView, Problem> {
        let cluster = self.core.cluster();
        let found = cluster.deployment(id).ok_or_else(|| problems::unknown_deployment(id))?;
        Ok(views::deployment(cluster, found, self.ledger.of(id)))
    }

    fn deployment_answer(&self, id: DeploymentId, status: u16) -> Answered {
        let view = self.deployment_view(id)?;
        Ok(located(status, &view, format!("/v1/deployments/{id}")))
    }

    fn instance_changed(&self, taken: &Taken) -> Answered {
        let Some(id) = taken.accepted.instance else { return Ok(Reply::Done) };
        let view = views::instance(self.core.cluster(), self.instance(id)?, Detail::Full);
        Ok(located(202, &view, format!("/v1/instances/{id}")))
    }

    fn worker_changed(&self, taken: &Taken) -> Answered {
        let Some(name) = &taken.accepted.worker else { return Ok(Reply::Done) };
        let view = views::worker(self.core.cluster(), self.worker(name)?);
        Ok(located(202, &view, format!("/v1/workers/{name}")))
    }
}

fn artifact_of(command: &Command) -> Option<&Digest> {
    let Command::Deploy { spec } = command else { return None };
    match &spec.scripts()?.source {
        Source::Artifact(digest) => Some(digest),
        Source::Empty | Source::Path(_) => None,
    }
}

fn located(status: u16, body: &impl Serialize, location: String) -> Reply {
    Reply::Document(Document::new(status, body).location(location))
}

/// A deployment that did not succeed, as a problem that carries all of the deployment too.
#[derive(Serialize)]
struct Unsuccessful<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(flatten)]
    deployment: &'a DeploymentView,
}

fn unsuccessful(status: u16, view: &DeploymentView) -> Reply {
    let title = if status == 424 { "Failed Dependency" } else { "Conflict" };
    let detail = explain(view);
    let body = Unsuccessful { kind: "about:blank", title, status, detail, deployment: view };
    located(status, &body, format!("/v1/deployments/{}", view.id))
}

/// The end of a deployment in words: what happened, why, and the last lines of output.
fn explain(view: &DeploymentView) -> String {
    let what = match (view.state, view.reverted_to) {
        (DeploymentState::Reverted, Some(to)) => {
            format!("revision {} failed and the service went back to revision {to}", view.revision)
        }
        (DeploymentState::Superseded, _) => "the deployment was superseded".to_owned(),
        _ => format!("revision {} failed", view.revision),
    };
    let mut text = format!("{}: {what}", view.service);
    let failure = view.failure.as_ref();
    let reason = view.reason.as_deref().unwrap_or_default();
    let message = failure.map(|failure| failure.message.as_str());
    // The reason names the instance, and mostly ends in what its failure says.
    let message = message.filter(|message| !reason.ends_with(message)).unwrap_or_default();
    for part in [reason, message].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(": ");
        text.push_str(part);
    }
    if let Some(failure) = failure.filter(|failure| !failure.output_tail.is_empty()) {
        text.push_str("; its last output:\n");
        text.push_str(&failure.output_tail);
    }
    text
}
