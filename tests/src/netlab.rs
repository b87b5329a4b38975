//! A network of hosts on this machine: network namespaces on a bridge of their own, whose cables
//! can be cut without a reset, in one direction or both. It wants root and Debian's iproute2; no
//! packet filter, which not every kernel has.
//!
//! Names and addresses hold this process's number, so runs side by side don't meet; dropped, also
//! by a panic, nothing is left. Called by the tests of partitions and power cuts.
//!
//! Where this machine lets nobody make namespaces the cluster is on loopback, and a worker is cut
//! off by stopping its agent: the controller hears as little of it, and the tests ask the same of
//! it. What is not shown then is that its instances can't be reached.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use tucano_net::token::Token;
use tucano_tools::cluster::{Folder, Layout, Options};

use crate::Lab;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Hosts on a bridge.
struct Network {
    bridge: String,
    hosts: Vec<(String, IpAddr)>,
}

impl Network {
    /// So many hosts; none where this machine lets nobody make them, with the reason.
    fn new(hosts: u8) -> Result<Network, String> {
        // Asked for once: tests begin side by side, and two of one number are on one network.
        let serial = NEXT.fetch_add(1, Ordering::SeqCst);
        let tag = format!("{}x{serial}", std::process::id());
        let bridge = format!("tb{tag}");
        let (number, net) = free_net(serial)?;
        let mut network = Network { bridge: bridge.clone(), hosts: Vec::new() };
        // With an address of its own: else it takes a cable's, and another one when that is cut.
        let [_, a, b, c] = number.to_be_bytes();
        let own = format!("02:00:01:{a:02x}:{b:02x}:{c:02x}");
        let kind = ["type", "bridge", "forward_delay", "0"];
        ip(&[&["link", "add", &bridge, "address", &own], &kind[..]].concat())?;
        ip(&["addr", "add", &format!("{net}.1/24"), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for host in 0..hosts {
            let name = format!("tn{tag}h{host}");
            let address = format!("{net}.{}", 10 + host);
            ip(&["netns", "add", &name])?;
            network.hosts.push((name.clone(), address.parse().expect("an address")));
            let cable = network.cable(host.into());
            let link = ["link", "add", &cable, "type", "veth", "peer", "name", "eth0"];
            ip(&[&link[..], &["netns", &name]].concat())?;
            ip(&["link", "set", &cable, "master", &bridge, "up"])?;
            ip(&["-n", &name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    fn cable(&self, host: usize) -> String {
        format!("{}v{host}", self.bridge)
    }

    /// Pulls a host's cable: what it is sent is lost without a word.
    fn cut(&self, host: usize) {
        let cable = self.cable(host);
        ip(&["link", "set", &cable, "nomaster"]).expect("a cable to cut");
    }

    /// Plugs it in again.
    fn heal(&self, host: usize) {
        let cable = self.cable(host);
        ip(&["link", "set", &cable, "master", &self.bridge]).expect("a cable to plug in");
    }

    /// What `from` sends to `to` is lost: it takes another machine's address on the wire for that
    /// one's, which is nobody's.
    fn lose(&self, from: usize, to: usize) {
        let ((name, _), (_, address)) = (&self.hosts[from], &self.hosts[to]);
        let (address, nobody) = (address.to_string(), "02:00:00:00:00:01");
        let neighbour = ["neigh", "replace", &address, "lladdr", nobody, "dev", "eth0"];
        ip(&[&["-n", name], &neighbour[..], &["nud", "permanent"]].concat()).expect("a neighbour");
    }

    /// It arrives again.
    fn find(&self, from: usize, to: usize) {
        let ((name, _), (_, address)) = (&self.hosts[from], &self.hosts[to]);
        let neighbour = ["neigh", "del", &address.to_string(), "dev", "eth0"];
        ip(&[&["-n", name], &neighbour[..]].concat()).expect("a neighbour to forget");
    }

    /// Every connection between two hosts is forgotten by the kernel of `at`; returns them, in
    /// words. To be called while nothing gets from there to `peer`: then that one is not told, and
    /// keeps half a connection.
    fn forget(&self, at: usize, peer: usize) -> String {
        let ((name, _), (_, address)) = (&self.hosts[at], &self.hosts[peer]);
        let kill = ["netns", "exec", name, "ss", "-HK", "dst", &address.to_string()];
        ip(&kill).expect("connections to forget")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (host, (name, _)) in self.hosts.iter().enumerate() {
            // A namespace stays, unseen, while connections in it wait for their end: its cable too.
            let _ = ip(&["link", "del", &self.cable(host)]);
            let _ = ip(&["netns", "del", name]);
        }
        let _ = ip(&["link", "del", &self.bridge]);
    }
}

/// A network that nobody on this machine has, and its number.
fn free_net(serial: u32) -> Result<(u32, String), String> {
    // Runs have room for so many networks before they come to the next run's.
    let first = std::process::id().wrapping_mul(32).wrapping_add(serial);
    for further in 0..50 {
        let number = first.wrapping_add(further * 250);
        let net = format!("10.{}.{}", 200 + number / 250 % 50, number % 250);
        if ip(&["-o", "address", "show", "to", &format!("{net}.0/24")])?.is_empty() {
            return Ok((number, net));
        }
    }
    Err("every network of the tests is taken".to_owned())
}

/// Runs `ip`; returns what it prints.
fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Which packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// All between a worker and the controller.
    Both,
    /// Those to the controller.
    ToController,
    /// Those to the worker.
    ToWorker,
}

/// Which end of connections forgets them; the other one keeps half of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgets {
    /// The controller: the agent goes on with a link that nobody is on.
    Controller,
    /// The worker: so does the balancer with its connections to the instances.
    Worker,
}

/// A cluster whose workers can be cut off. The controller is host 0, the workers are hosts 1, 2 …
pub struct NetLab {
    /// The cluster; it ends before its network.
    pub lab: Lab,
    network: Option<Network>,
}

impl NetLab {
    /// A controller and so many workers, all ready; with hosts of their own where that is possible.
    pub fn start(workers: u8, controller_flags: &[&str]) -> NetLab {
        match Network::new(workers + 1) {
            Ok(network) => NetLab::on(network, controller_flags),
            Err(why) => {
                eprintln!("no network namespaces ({}): agents are stopped instead", why.trim_end());
                NetLab { lab: Lab::with(workers.into(), controller_flags, &[]), network: None }
            }
        }
    }

    fn on(network: Network, controller_flags: &[&str]) -> NetLab {
        const ADMIN: &str = "an-admin-token-for-the-network-tests";
        const JOIN: &str = "a-join-token-for-the-network-tests";
        let folder = Folder::new("net").expect("a folder");
        let file = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a token's file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
            path.display().to_string()
        };
        let (admin, join) = (file("admin.token", ADMIN), file("join.token", JOIN));
        let tokens = ["--admin-token-file", &admin, "--join-token-file", &join];
        let owned = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
        let options = Options {
            controller_flags: owned(&[&tokens[..], controller_flags].concat()),
            worker_flags: owned(&tokens[2..]),
            ..Options::default()
        };
        let layout = Layout::namespaces(&network.hosts);
        let lab = Lab::laid_out(folder, layout, options, Some(Token::new(ADMIN)));
        NetLab { lab, network: Some(network) }
    }

    /// Whether there are cables, and not only agents that are stopped.
    pub fn has_cables(&self) -> bool {
        self.network.is_some()
    }

    /// Cuts a worker off. One that is to lose packets in one direction on loopback loses both.
    pub fn cut(&mut self, worker: usize, lost: Lost) {
        match (&self.network, lost) {
            (Some(network), Lost::Both) => network.cut(worker),
            (Some(network), Lost::ToController) => network.lose(worker, 0),
            (Some(network), Lost::ToWorker) => network.lose(0, worker),
            (None, _) => self.signal(worker, Signal::SIGSTOP),
        }
    }

    /// Ends that.
    pub fn heal(&mut self, worker: usize, lost: Lost) {
        match (&self.network, lost) {
            (Some(network), Lost::Both) => network.heal(worker),
            (Some(network), Lost::ToController) => network.find(worker, 0),
            (Some(network), Lost::ToWorker) => network.find(0, worker),
            (None, _) => self.signal(worker, Signal::SIGCONT),
        }
    }

    /// Leaves half of every connection to a worker that is cut off. On loopback, where the agent is
    /// stopped, its link is dead without a word as it is.
    pub fn halve(&self, worker: usize, forgets: Forgets) {
        let Some(network) = &self.network else { return };
        let forgotten = match forgets {
            Forgets::Controller => network.forget(0, worker),
            Forgets::Worker => network.forget(worker, 0),
        };
        assert!(forgotten.contains("ESTAB"), "nothing was forgotten: {forgotten:?}");
    }

    fn signal(&mut self, worker: usize, signal: Signal) {
        let agent = self.lab.cluster.worker(worker - 1).expect("an agent");
        agent.signal(signal).expect("an agent that lives");
    }
}
