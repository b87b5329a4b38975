//! A network of hosts on this machine: network namespaces on a bridge of their own, whose cables
//! can be cut without a reset. It wants root and Debian's iproute2.
//!
//! Names and addresses hold this process's number, so runs side by side don't meet; dropped, also
//! by a panic, nothing is left. Called by the tests of partitions and power cuts.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tucano_net::token::Token;
use tucano_tools::cluster::{Folder, Layout, Options};

use crate::Lab;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Hosts on a bridge.
pub struct Network {
    bridge: String,
    hosts: Vec<(String, IpAddr)>,
}

impl Network {
    /// So many hosts; none where this machine lets nobody make them, with the reason.
    pub fn new(hosts: u8) -> Result<Network, String> {
        let tag = format!("{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let bridge = format!("tb{tag}");
        let number = std::process::id().wrapping_mul(7) + NEXT.load(Ordering::SeqCst);
        let net = format!("10.{}.{}", 200 + number / 250 % 50, number % 250);
        let mut network = Network { bridge: bridge.clone(), hosts: Vec::new() };
        ip(&["link", "add", &bridge, "type", "bridge", "forward_delay", "0"])?;
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
    pub fn cut(&self, host: usize) {
        let cable = self.cable(host);
        ip(&["link", "set", &cable, "nomaster"]).expect("a cable to cut");
    }

    /// Plugs it in again.
    pub fn heal(&self, host: usize) {
        let cable = self.cable(host);
        ip(&["link", "set", &cable, "master", &self.bridge]).expect("a cable to plug in");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (name, _) in &self.hosts {
            let _ = ip(&["netns", "del", name]);
        }
        let _ = ip(&["link", "del", &self.bridge]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A cluster on such a network: the controller is host 0, the workers are hosts 1, 2 …
pub struct NetLab {
    /// The cluster; it ends before its network.
    pub lab: Lab,
    /// Its cables.
    pub network: Network,
}

impl NetLab {
    /// A controller and so many workers, all ready.
    pub fn start(network: Network) -> NetLab {
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
        let flag = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
        let options = Options {
            controller_flags: [
                flag("--admin-token-file", &admin),
                flag("--join-token-file", &join),
            ]
            .concat(),
            worker_flags: flag("--join-token-file", &join).to_vec(),
            ..Options::default()
        };
        let layout = Layout::namespaces(&network.hosts);
        let token = Token::new(ADMIN);
        NetLab { lab: Lab::laid_out(folder, layout, options, Some(token)), network }
    }
}
