//! What the controller decides, without sockets, clocks or disks: the cluster model, worker leases,
//! the deployer, the balancer.
#![forbid(unsafe_code)]

pub mod balancer;
pub mod cluster;
pub mod deployer;
pub mod worker_mgr;
