//! Which addresses a cluster listens on.
//!
//! 127.0.0.0/8 is all this machine. A cluster of the tests takes sixteen addresses of it for
//! itself, with every port at its default; the demo takes the addresses that a reader knows, and
//! other ports where those are taken.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use super::ClusterError;

/// The contract's default ports.
const API_PORT: u16 = 7070;
const AGENT_PORT: u16 = 7071;
const BALANCER_PORT: u16 = 8080;
/// Other ports are looked for from here on: below the kernel's ephemeral ones, above the agents'.
const OTHER_PORTS: std::ops::Range<u16> = 30_000..32_000;
/// Addresses of one cluster: the controller's, then its workers'.
const BLOCK: u32 = 16;
/// Blocks in 127.1.0.0 to 127.254.255.255.
const BLOCKS: u32 = 254 * 65_536 / BLOCK;

static NEXT_BLOCK: AtomicU32 = AtomicU32::new(0);

/// Where a cluster listens.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The controller's API.
    pub api: SocketAddr,
    /// The balancer's main port.
    pub balancer: SocketAddr,
    /// The workers.
    pub workers: Vec<Site>,
    /// The network namespace of the controller; none: this process's own.
    pub namespace: Option<String>,
    /// The defaults that were taken and had to be replaced, in words.
    pub moved: Vec<String>,
}

/// A worker's name and address.
#[derive(Clone, Debug)]
pub struct Site {
    /// `w1`, `w2` …
    pub name: String,
    /// Its agent's API; its instances listen on the same address.
    pub agent: SocketAddr,
    /// The network namespace it runs in; none: this process's own.
    pub namespace: Option<String>,
    /// Where its agent takes the controller to be; none: where it is.
    pub controller: Option<SocketAddr>,
}

impl Layout {
    /// Addresses that no other cluster on this machine uses.
    pub fn private(workers: u32) -> Result<Layout, ClusterError> {
        assert!(workers < BLOCK, "a block has {BLOCK} addresses");
        let first = std::process::id().wrapping_mul(8);
        for _ in 0..64 {
            let block = first.wrapping_add(NEXT_BLOCK.fetch_add(1, Ordering::SeqCst)) % BLOCKS;
            let base = Ipv4Addr::new(127, 1, 0, 0).to_bits() + block * BLOCK;
            let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(base + n));
            let free = (0..=workers).all(|n| {
                [API_PORT, AGENT_PORT, BALANCER_PORT].iter().all(|port| is_free(address(n), *port))
            });
            if free {
                let api = SocketAddr::new(address(0), API_PORT);
                let balancer = SocketAddr::new(address(0), BALANCER_PORT);
                let site = |n| site(n, SocketAddr::new(address(n), AGENT_PORT));
                let workers = (1..=workers).map(site).collect();
                return Ok(Layout { api, balancer, workers, namespace: None, moved: Vec::new() });
            }
        }
        Err(ClusterError::NoPort("127.0.0.0/8".to_owned()))
    }

    /// Hosts of their own: the controller on the first, a worker on each of the others; every one
    /// is the namespace's name and its address there.
    pub fn namespaces(hosts: &[(String, IpAddr)]) -> Layout {
        let controller = &hosts[0];
        let worker = |(number, (namespace, ip)): (u32, &(String, IpAddr))| Site {
            namespace: Some(namespace.clone()),
            ..site(number, SocketAddr::new(*ip, AGENT_PORT))
        };
        Layout {
            api: SocketAddr::new(controller.1, API_PORT),
            balancer: SocketAddr::new(controller.1, BALANCER_PORT),
            workers: (1..).zip(&hosts[1..]).map(worker).collect(),
            namespace: Some(controller.0.clone()),
            moved: Vec::new(),
        }
    }

    /// What the documentation says: the controller on 127.0.0.1, worker N on 127.0.0.N.
    pub fn familiar(workers: u8) -> Result<Layout, ClusterError> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut moved = Vec::new();
        let mut others = OTHER_PORTS;
        let mut pick = |what: &str, address: IpAddr, port: u16| {
            if is_free(address, port) {
                return Ok(SocketAddr::new(address, port));
            }
            let other = others.find(|other| is_free(address, *other));
            let other = other.ok_or_else(|| ClusterError::NoPort(address.to_string()))?;
            moved.push(format!("port {port} of {address} is taken: {what} is on {other}"));
            Ok(SocketAddr::new(address, other))
        };
        let api = pick("the API", local, API_PORT)?;
        let balancer = pick("the balancer", local, BALANCER_PORT)?;
        let mut sites = Vec::new();
        for n in 1..=workers {
            let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, n));
            let agent = pick(&format!("worker {n}'s agent"), address, AGENT_PORT)?;
            sites.push(site(u32::from(n), agent));
        }
        Ok(Layout { api, balancer, workers: sites, namespace: None, moved })
    }
}

fn site(number: u32, agent: SocketAddr) -> Site {
    Site { name: format!("w{number}"), agent, namespace: None, controller: None }
}

fn is_free(address: IpAddr, port: u16) -> bool {
    TcpListener::bind((address, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_share_no_address() {
        let layouts: Vec<Layout> = (0..3).map(|_| Layout::private(3).unwrap()).collect();
        let mut seen = Vec::new();
        for layout in &layouts {
            let agents = layout.workers.iter().map(|site| site.agent.ip());
            for address in agents.chain([layout.api.ip()]) {
                assert!(address.is_loopback() && !seen.contains(&address), "{address}");
                seen.push(address);
            }
        }
        assert_eq!(seen.len(), 12);
    }

    #[test]
    fn a_taken_port_is_replaced_and_named() {
        let address = Layout::private(0).unwrap().api.ip();
        let _held = TcpListener::bind((address, API_PORT)).unwrap();
        assert!(!is_free(address, API_PORT));
        assert!(is_free(address, BALANCER_PORT));
    }
}
