//! Why the controller does not start: one line each, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tucano_controller_core::deployer::LoadError;
use tucano_net::listener::ListenError;

use crate::discovery::OpenError;

/// Why the controller does not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The data folder, or its database.
    Open(OpenError),
    /// The stored cluster contradicts itself.
    Load(LoadError),
    /// A port.
    Listen { flag: &'static str, source: ListenError },
    /// The access log's file.
    AccessLog { path: PathBuf, source: io::Error },
    /// Anything that a healthy machine has.
    System { what: &'static str, source: io::Error },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Open(error) => error.fmt(f),
            StartError::Load(error) => write!(
                f,
                "--data-dir: {error}: restore a copy of before with \
                 `tucano-controller --restore FILE` (snapshots/ in the data folder has some); \
                 services go on running meanwhile"
            ),
            StartError::Listen { flag, source } => write!(f, "{flag}: {source}"),
            StartError::AccessLog { path, .. } => write!(
                f,
                "--access-log: {} can't be opened (its folder has to be there, and writable for \
                 this user)",
                path.display()
            ),
            StartError::System { what, .. } => write!(f, "could not {what}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Open(error) => std::error::Error::source(error),
            StartError::Listen { source, .. } => source.source(),
            StartError::System { source, .. } | StartError::AccessLog { source, .. } => {
                Some(source)
            }
            StartError::Load(_) => None,
        }
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> StartError {
        StartError::Open(error)
    }
}

/// Names what was being done.
pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}
