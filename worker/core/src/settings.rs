//! What the supervisor has to know of its worker.

use std::net::IpAddr;

use tucano_common::name::WorkerName;

use crate::layout::Layout;
use crate::ports::PortRange;

/// A worker's settings; `host` and `balancer_url` may become known (or change) later, for what
/// starts from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TUCANO_WORKER.
    pub worker: WorkerName,
    /// The data folder.
    pub layout: Layout,
    /// HOST: where services bind, and where they are checked.
    pub host: IpAddr,
    /// TUCANO_BALANCER.
    pub balancer_url: String,
    /// `--port-range`.
    pub ports: PortRange,
    /// The kernel's ephemeral ports (`ip_local_port_range`), first and last: never given out,
    /// because an outgoing connection may hold one at any time.
    pub ephemeral: Option<(u16, u16)>,
}
