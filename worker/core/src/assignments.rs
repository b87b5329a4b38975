//! Which messages of a controller a worker takes: the rules of generations and clusters.

use std::fmt;

/// What a message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Something: drive.
    Changed,
    /// Nothing, because the worker knew it already: a doubled message.
    Known,
}

/// Why a message was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is older than what the worker holds.
    Older {
        /// The message's.
        generation: u64,
        /// The worker's.
        held: u64,
    },
    /// It comes from another cluster than the one that the worker has joined.
    ForeignCluster,
    /// It is ahead of the first full set: the controller has not heard yet what runs here.
    NotJoined,
    /// The cluster's id is not one.
    BadCluster,
    /// More instances than a worker may have.
    TooMany(usize),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Older { generation, held } => {
                write!(f, "generation {generation} is older than {held}, which this worker holds")
            }
            Refused::ForeignCluster => f.write_str(
                "this worker belongs to another cluster: it takes its orders from there",
            ),
            Refused::NotJoined => f.write_str(
                "this worker has just begun: it takes orders once its hello was answered",
            ),
            Refused::BadCluster => {
                f.write_str("not a cluster's id: 1 to 64 of a-z A-Z 0-9 - _ were expected")
            }
            Refused::TooMany(n) => write!(f, "{n} instances are more than a worker may have"),
        }
    }
}
