//! The `fetch` thread's work: a revision's folder from its source.
//!
//! An artifact comes from the controller, with the workers' secret, and is kept (`runner::artifact`
//! checks it); the folder is filled by a child of the services' user. It may take minutes; the loop
//! goes on meanwhile.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tucano_common::limits::{FETCH_IDLE_TIMEOUT, FETCH_TRIES_MAX};
use tucano_common::spec::{Digest, Source};
use tucano_net::blocking::{Client, ClientError, Timeouts};
use tucano_net::error_chain::Chain;
use tucano_net::token::Token;
use tucano_net::url::HttpUrl;
use tucano_net::{Method, OutRequest};
use tucano_worker_core::{BuildKey, Fact, Layout, Run};

use crate::runner::artifact::{ArtifactError, Artifacts, Place, make_revision_folder};
use crate::runner::user::{Identity, RunAs};

/// Between two tries; it doubles.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a pause looks whether it was told to stop.
const PAUSE_STEP: Duration = Duration::from_millis(100);

/// One revision's folder to make.
#[derive(Debug)]
pub(crate) struct FetchJob {
    /// Which.
    pub(crate) build: BuildKey,
    /// For the answer.
    pub(crate) attempt: Run,
    /// From what.
    pub(crate) source: Source,
    /// Its service's number, where it has one.
    pub(crate) user: Option<u32>,
    /// Turns true when nobody wants it any more.
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// What the thread knows.
pub(crate) struct Fetcher {
    /// Where artifacts come from.
    pub(crate) controller: HttpUrl,
    /// The workers' secret.
    pub(crate) token: Option<Token>,
    /// The ones that are kept.
    pub(crate) artifacts: Artifacts,
    /// The data folder.
    pub(crate) layout: Layout,
    /// Whose the folders are.
    pub(crate) identity: Identity,
}

/// Why a source could not be had.
#[derive(Debug)]
enum FetchError {
    /// It came, but is not good; or the worker could not place it.
    Artifact(ArtifactError),
    /// The controller could not be asked.
    Client(ClientError),
    /// The controller does not have it.
    NotThere(Digest),
    /// The controller says no.
    Status(u16),
    /// The folder that it shall stand in.
    Folder(PathBuf, io::Error),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Artifact(error) => error.fmt(f),
            FetchError::Client(_) => f.write_str("the artifact could not be fetched"),
            FetchError::NotThere(digest) => write!(
                f,
                "the controller has no artifact {digest}: upload it with PUT /v1/artifacts, and \
                 deploy again"
            ),
            FetchError::Status(status) => {
                write!(f, "the controller answers {status} to the request for the artifact")
            }
            FetchError::Folder(path, _) => write!(f, "the worker can't make {path:?}"),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FetchError::Artifact(error) => error.source(),
            FetchError::Client(error) => Some(error),
            FetchError::Folder(_, error) => Some(error),
            FetchError::NotThere(_) | FetchError::Status(_) => None,
        }
    }
}

impl FetchError {
    /// Whether the next try may go better: the network, and a controller that is starting.
    fn is_passing(&self) -> bool {
        match self {
            FetchError::Client(_) | FetchError::Status(500..) => true,
            FetchError::Artifact(ArtifactError::Read(_)) => true,
            FetchError::Artifact(_)
            | FetchError::Status(_)
            | FetchError::NotThere(_)
            | FetchError::Folder(..) => false,
        }
    }
}

impl Fetcher {
    /// Makes the folder, and says how it went.
    pub(crate) fn run(&self, job: FetchJob) -> Fact {
        let FetchJob { build, attempt, source, user, cancelled } = job;
        let made = self.identity.of(user).and_then(|owner| {
            let made = self.make(&build, &source, owner.as_ref(), &cancelled);
            made.map_err(|error| Chain(&error).to_string())
        });
        match made {
            Ok(()) => Fact::SourceReady { build, attempt },
            Err(message) => Fact::SourceFailed { build, attempt, message },
        }
    }

    fn make(
        &self,
        build: &BuildKey,
        source: &Source,
        owner: Option<&RunAs>,
        cancelled: &AtomicBool,
    ) -> Result<(), FetchError> {
        let (at, partial) = (self.layout.build(build), self.layout.build_partial(build));
        let place = Place { at: &at, partial: &partial, owner };
        if let Some(parent) = at.parent() {
            self.make_parents(parent)?;
        }
        if let Source::Artifact(digest) = source {
            self.have(digest, cancelled)?;
        }
        let make = || make_revision_folder(source, &place, &self.artifacts, cancelled);
        let result = match (make(), source) {
            // The kept copy is damaged: another one, once.
            (Err(ArtifactError::Digest), Source::Artifact(digest)) => {
                self.artifacts.forget(digest);
                self.have(digest, cancelled)?;
                make()
            }
            // It went for its room in between: another one, once.
            (Err(ArtifactError::Child(_)), Source::Artifact(digest))
                if !self.artifacts.has(digest) =>
            {
                self.have(digest, cancelled)?;
                make()
            }
            (result, _) => result,
        };
        self.artifacts.prune();
        result.map_err(FetchError::Artifact)
    }

    /// Other users pass through the folders above a revision's own, which is closed.
    fn make_parents(&self, parent: &Path) -> Result<(), FetchError> {
        let mode = if self.identity.passes_through() { 0o711 } else { 0o700 };
        let made = DirBuilder::new().recursive(true).mode(mode).create(parent);
        made.map_err(|error| FetchError::Folder(parent.to_owned(), error))
    }

    /// Fetches an artifact if it is not here.
    fn have(&self, digest: &Digest, cancelled: &AtomicBool) -> Result<(), FetchError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            if self.artifacts.has(digest) {
                return Ok(());
            }
            match self.download(digest, cancelled) {
                Ok(()) => return Ok(()),
                Err(error)
                    if error.is_passing()
                        && attempt < FETCH_TRIES_MAX
                        && !cancelled.load(Ordering::Relaxed) =>
                {
                    log::warn!("artifact {digest}: {}; trying again", Chain(&error));
                }
                Err(error) => return Err(error),
            }
            let mut waited = Duration::ZERO;
            while waited < pause && !cancelled.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSE_STEP);
                waited += PAUSE_STEP;
            }
            pause *= 2;
        }
        Ok(())
    }

    fn download(&self, digest: &Digest, cancelled: &AtomicBool) -> Result<(), FetchError> {
        let timeouts = Timeouts { idle: FETCH_IDLE_TIMEOUT, ..Timeouts::default() };
        let client = Client::of_url(&self.controller).map_err(FetchError::Client)?;
        let target = self.controller.target(&format!("/v1/artifacts/{digest}"));
        let mut request = OutRequest::new(Method::Get, target);
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        let mut answer = client.timeouts(timeouts).open(&request).map_err(FetchError::Client)?;
        match answer.status {
            200 => {
                self.artifacts.keep(digest, &mut answer, cancelled).map_err(FetchError::Artifact)
            }
            404 => Err(FetchError::NotThere(digest.clone())),
            status => Err(FetchError::Status(status)),
        }
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
