//! To the balancer's loops, and from them. The balancer needs nothing else of this crate.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::time::Mono;
use tucano_controller_core::balancer::table::{RoutingTable, Weights};

/// What a loop of the balancer is told. Tables and weights are levels: only the newest counts.
#[derive(Debug)]
pub(crate) enum ToLoop {
    /// All routes; an older version than the loop's is ignored.
    Table(Arc<RoutingTable>),
    /// How much each worker should get; ignored where it is for another table.
    Weights(Arc<Weights>),
    /// The agent of this host was asked, as a loop wanted.
    Heard {
        /// Which.
        host: IpAddr,
        /// Whether anybody was there.
        is_there: bool,
    },
    /// Accept here too. Bound and listening already.
    Listen {
        /// The port of this machine.
        port: u16,
        /// The loop's own socket for it (SO_REUSEPORT), or a share in one that was handed over.
        listener: TcpListener,
        /// Who else has it.
        keeper: Keeper,
    },
    /// Stop accepting on this port; what is in flight goes on.
    Close {
        /// The port of this machine.
        port: u16,
    },
    /// Stop accepting, finish what is in flight, at most until then, and end.
    Stop {
        /// What is not finished by then is cut.
        deadline: Mono,
    },
}

/// Who keeps a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// This process alone: who waits in its queue is lost with it.
    Us,
    /// Systemd: who waits in its queue is left to the next controller.
    Systemd,
}

/// What a loop of the balancer tells the deployer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromLoop {
    /// No request is in flight on this endpoint, and none will be: it was `Drain` or gone in table
    /// `version` or a newer one. Told when an endpoint turns so, also by a loop that never had a
    /// request on it, and again with later tables in which it still is.
    Drained {
        /// Which loop.
        lb: u16,
        /// Which endpoint.
        instance: InstanceId,
        /// The table in which it was found drained.
        version: u64,
    },
    /// The loop takes no traffic from this endpoint's errors any more, for a while (or does again).
    Ejected {
        /// Which loop.
        lb: u16,
        /// Which endpoint.
        instance: InstanceId,
        /// Out for so long; none: back in.
        out_for: Option<Duration>,
    },
    /// A host acknowledges nothing while requests wait for it: they went elsewhere.
    Silent {
        /// Which loop.
        lb: u16,
        /// Which host.
        host: IpAddr,
        /// Requests that are sent elsewhere.
        moved: usize,
    },
    /// Instances died while they had this request, and it is not sent to another one.
    Poisoned {
        /// Which loop.
        lb: u16,
        /// To which service.
        service: ServiceName,
        /// The request, in words, without its query.
        request: String,
    },
    /// Connections broke that requests were on: so many of each endpoint since it was told last.
    Cut {
        /// Which loop.
        lb: u16,
        /// Of which endpoint, how many.
        requests: Vec<(InstanceId, u32)>,
    },
    /// The loop has ended after [`ToLoop::Stop`].
    Stopped {
        /// Which loop.
        lb: u16,
        /// Requests that were cut at the deadline.
        cut: u64,
    },
}
