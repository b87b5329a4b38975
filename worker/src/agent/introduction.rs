//! Who the agent says it is, and where it says it can be reached.
//!
//! What stays the same from hello to hello, and the two things that follow from the way to the
//! controller. `link` sends it; `wiring` fills it in.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use tucano_common::wire::worker::Hello;
use tucano_net::token::Token;
use tucano_net::url::HttpUrl;

/// How the agent introduces itself; what changes is filled in each time.
pub(crate) struct Introduction {
    /// Where the controller is.
    pub(crate) controller: HttpUrl,
    /// The workers' secret.
    pub(crate) token: Option<Token>,
    /// `--advertise`: else the local address of the connection.
    pub(crate) advertise: Option<IpAddr>,
    /// Where the agent's own API is.
    pub(crate) listen: SocketAddr,
    /// `--heartbeat`
    pub(crate) every: Duration,
    /// Everything that stays.
    pub(crate) hello: Hello,
}

impl Introduction {
    /// Where the balancer reaches this worker's instances.
    pub(super) fn address(&self, controller: SocketAddr) -> Option<IpAddr> {
        self.advertise.or_else(|| local_address_towards(controller))
    }

    /// The port of the agent's API, if it is reached at the worker's address.
    pub(super) fn reachable_port(&self, address: Option<IpAddr>) -> Option<u16> {
        let listen = self.listen;
        let reached = listen.ip().is_unspecified() || address == Some(listen.ip());
        reached.then_some(listen.port())
    }

    /// Everything works without, only later: the operator should know why.
    pub(super) fn warn_unreachable(&self, address: IpAddr) {
        let listen = self.listen;
        let wanted = SocketAddr::new(address, listen.port());
        log::warn!(
            "the controller can't reach this agent: it listens on {listen}, and is known as \
             {address}; with --listen {wanted} it would learn of changes at once, and outputs \
             could be read"
        );
    }
}

/// This machine's address on the way to the controller. Nothing is sent: the kernel only looks up
/// the route.
fn local_address_towards(controller: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match controller.ip() {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(controller).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tucano_common::name::WorkerName;
    use tucano_common::wire::worker::Capacity;

    use super::*;

    fn introduction(advertise: Option<&str>, listen: &str) -> Introduction {
        let hello = Hello {
            name: WorkerName::new("w").unwrap(),
            address: None,
            agent_port: 0,
            session: 1,
            version: String::new(),
            capacity: Capacity::default(),
            labels: BTreeMap::new(),
            holds: None,
            instances: Vec::new(),
        };
        Introduction {
            controller: "http://127.0.0.1:7070".parse().unwrap(),
            token: None,
            advertise: advertise.map(|ip| ip.parse().unwrap()),
            listen: listen.parse().unwrap(),
            every: Duration::from_secs(1),
            hello,
        }
    }

    #[test]
    fn the_address_is_the_one_on_the_way_unless_another_is_given() {
        let controller = SocketAddr::from(([127, 0, 0, 1], 7070));
        for (advertise, expected) in [(None, "127.0.0.1"), (Some("192.0.2.7"), "192.0.2.7")] {
            let address = introduction(advertise, "127.0.0.1:1").address(controller);
            assert_eq!(address.unwrap().to_string(), expected);
        }
    }

    #[test]
    fn the_port_is_told_where_it_can_be_reached() {
        for (listen, address, expected) in [
            ("127.0.0.1:7071", "127.0.0.1", Some(7071)),
            ("0.0.0.0:7071", "192.0.2.7", Some(7071)),
            ("[::]:7071", "192.0.2.7", Some(7071)),
            ("192.0.2.7:7071", "192.0.2.7", Some(7071)),
            ("127.0.0.1:7071", "192.0.2.7", None),
            ("127.0.0.1:7071", "127.0.0.2", None),
        ] {
            let port = introduction(None, listen).reachable_port(address.parse().ok());
            assert_eq!(port, expected, "{listen} {address}");
        }
        assert_eq!(introduction(None, "127.0.0.1:1").reachable_port(None), None);
    }
}
