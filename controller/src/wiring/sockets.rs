//! What each socket that systemd handed over is for: the API, the balancer's main port, or another
//! port of the balancer. What is missing is bound here.
//!
//! By name where it has one of ours (`api`, `balancer`), else by address: what listens where
//! `--api-listen` says is the API's, anything else the balancer's. The main port is the one of
//! `--balancer-listen`, or else the first named `balancer`. A socket of the balancer never
//! reaches the API. Called by `wiring::open` and, for the address alone, by `main`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use tucano_net::listener::{ListenError, listen_on, listen_shared};

use crate::given::Given;
use crate::msgs::Keeper;

const API: &str = "api";
const BALANCER: &str = "balancer";

/// The sockets that were handed over, sorted.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    api: Option<(SocketAddr, TcpListener)>,
    /// Those of one address stand side by side: each has a queue of its own.
    balancer: BTreeMap<SocketAddr, Vec<TcpListener>>,
    /// The first of them that was named so: it is the main one, whatever the flag says.
    named: Option<SocketAddr>,
}

/// Why what was handed over makes no sense.
#[derive(Debug)]
pub(crate) enum SortError {
    /// More than one socket for the API.
    TwoApis { first: SocketAddr, second: SocketAddr },
    /// The API's port on other addresses than the flag's: one of the two was changed alone.
    OtherApi { given: SocketAddr, flag: SocketAddr },
}

impl fmt::Display for SortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SortError::TwoApis { first, second } => write!(
                f,
                "LISTEN_FDS: two sockets are for the API, {first} and {second}: give one, and \
                 name the balancer's with FileDescriptorName={BALANCER}"
            ),
            SortError::OtherApi { given, flag } => write!(
                f,
                "LISTEN_FDS: a socket on {given} was handed over, but --api-listen is {flag}: \
                 write the same in both (systemctl edit tucano-controller.socket)"
            ),
        }
    }
}

/// One loop's listening sockets, each with its port.
pub(super) type OfLoop = Vec<(u16, TcpListener, Keeper)>;

/// The balancer's listening sockets.
#[derive(Debug)]
pub(super) struct Balancer {
    /// The main port's address.
    pub(super) main: SocketAddr,
    /// Ports that are always open, as they are not ours to close.
    pub(super) kept: BTreeSet<u16>,
    pub(super) loops: Vec<OfLoop>,
}

impl Sockets {
    /// Sorts what was given.
    pub(crate) fn sort(given: Vec<Given>, api_listen: SocketAddr) -> Result<Sockets, SortError> {
        let mut sockets = Sockets::default();
        for Given { name, address, listener } in given {
            let is_named = name == BALANCER;
            if name != API && !is_named && overlap(address, api_listen) {
                return Err(SortError::OtherApi { given: address, flag: api_listen });
            }
            if name != API && (is_named || address != api_listen) {
                sockets.named = sockets.named.or(is_named.then_some(address));
                sockets.balancer.entry(address).or_default().push(listener);
            } else if let Some((first, _)) = sockets.api {
                return Err(SortError::TwoApis { first, second: address });
            } else {
                sockets.api = Some((address, listener));
            }
        }
        Ok(sockets)
    }

    /// Where the API is, if its socket was given.
    pub(crate) fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(|(address, _)| *address)
    }

    /// The API's socket.
    pub(super) fn take_api(&mut self, api_listen: SocketAddr) -> Result<TcpListener, ListenError> {
        match self.api.take() {
            None => listen_on(api_listen),
            Some((address, listener)) => {
                log::info!("the API's socket {address} was handed over");
                Ok(listener)
            }
        }
    }

    /// The balancer's sockets, spread over `loops`.
    pub(super) fn into_balancer(
        self,
        listen: SocketAddr,
        loops: usize,
    ) -> Result<Balancer, ListenError> {
        let given = self.balancer.keys().find(|address| address.port() == listen.port());
        let given_main = given.copied().or(self.named);
        let mut of_loops: Vec<OfLoop> = (0..loops).map(|_| Vec::new()).collect();
        let mut kept = BTreeSet::new();
        for (address, sockets) in self.balancer {
            log::info!("the balancer's socket {address} was handed over");
            kept.insert(address.port());
            let failed = |error| ListenError::Failed(address, error);
            spread(address.port(), sockets, &mut of_loops).map_err(failed)?;
        }
        let main = match given_main {
            Some(main) => main,
            None => {
                let own = listen_shared(listen, loops)?;
                let address = own.first().map_or(Ok(listen), TcpListener::local_addr);
                let address = address.map_err(|error| ListenError::Failed(listen, error))?;
                for (of_loop, listener) in of_loops.iter_mut().zip(own) {
                    of_loop.push((address.port(), listener, Keeper::Us));
                }
                address
            }
        };
        Ok(Balancer { main, kept, loops: of_loops })
    }
}

/// Every socket gets a loop, and every loop a socket. Where there are fewer sockets than loops,
/// some share one: each newcomer wakes them all and the first who looks takes it, which is as a
/// rule the one with the least to do. (EPOLLEXCLUSIVE would wake one alone, but as a rule the same
/// one: its loop would get nearly all connections.)
fn spread(port: u16, sockets: Vec<TcpListener>, loops: &mut [OfLoop]) -> io::Result<()> {
    let count = loops.len();
    for (turn, socket) in sockets.iter().cycle().take(sockets.len().max(count)).enumerate() {
        if let Some(of_loop) = loops.get_mut(turn % count) {
            of_loop.push((port, socket.try_clone()?, Keeper::Systemd));
        }
    }
    Ok(())
}

/// Whether both can't be listened on: one is on every address of the machine.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_wide = one.ip().is_unspecified() || other.ip().is_unspecified();
    one != other && one.port() == other.port() && is_wide
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str) -> Given {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        Given { name: name.to_owned(), address, listener }
    }

    fn again(other: &Given) -> Given {
        let listener = other.listener.try_clone().expect("a copy");
        Given { name: other.name.clone(), address: other.address, listener }
    }

    const ELSEWHERE: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    #[test]
    fn names_say_what_a_socket_is_for() {
        let (api, web) = (given("api"), given("balancer"));
        let (api_address, web_address) = (api.address, web.address);
        let mut sockets = Sockets::sort(vec![web, api], web_address).expect("one API");
        assert_eq!(sockets.api_address(), Some(api_address));
        let taken = sockets.take_api(ELSEWHERE).expect("given").local_addr();
        assert_eq!(taken.expect("its address"), api_address);
        let balancer = sockets.into_balancer(ELSEWHERE, 1).expect("given");
        assert_eq!(balancer.main, web_address, "the first one where the flag's is not given");
    }

    #[test]
    fn addresses_do_where_there_are_no_names() {
        let unit = "tucano-controller.socket";
        let (api, web, more) = (given(unit), given(unit), given(unit));
        let (flag, web_address, port) = (api.address, web.address, more.address.port());
        let sockets = Sockets::sort(vec![more, api, web], flag).expect("one API");
        assert_eq!(sockets.api_address(), Some(flag));
        let balancer = sockets.into_balancer(web_address, 2).expect("given");
        assert_eq!(balancer.main, web_address);
        assert_eq!(balancer.kept, BTreeSet::from([web_address.port(), port]));
        // None of them is where the flag says: the main port is bound.
        let sockets = Sockets::sort(vec![given(unit)], flag).expect("no API");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let balancer = sockets.into_balancer(free, 1).expect("a free port");
        assert!(balancer.loops[0].len() == 2 && !balancer.kept.contains(&balancer.main.port()));
    }

    #[test]
    fn a_flag_that_was_changed_alone_is_told() {
        let unit = given("tucano-controller.socket");
        let anywhere = SocketAddr::from(([0, 0, 0, 0], unit.address.port()));
        let error = Sockets::sort(vec![again(&unit)], anywhere).expect_err("another address");
        assert!(error.to_string().contains("--api-listen"), "{error}");
        let named = Given { name: "api".to_owned(), ..again(&unit) };
        assert!(Sockets::sort(vec![named], anywhere).is_ok(), "its name says it all");
        let elsewhere = SocketAddr::from(([127, 9, 9, 9], unit.address.port()));
        assert!(Sockets::sort(vec![unit], elsewhere).is_ok(), "both can be");
    }

    #[test]
    fn one_api_is_enough() {
        let error = Sockets::sort(vec![given("api"), given("api")], ELSEWHERE).expect_err("two");
        assert!(error.to_string().contains("two sockets are for the API"), "{error}");
    }

    /// So many of one address over so many loops: how many each loop gets.
    fn counts(sockets: usize, loops: usize) -> Vec<usize> {
        let first = given("balancer");
        let address = first.address;
        let given = (1..sockets).map(|_| again(&first)).collect::<Vec<_>>();
        let given = given.into_iter().chain([first]).collect();
        let sockets = Sockets::sort(given, ELSEWHERE).expect("no API");
        let balancer = sockets.into_balancer(address, loops).expect("given");
        let all = balancer.loops.iter().flatten();
        assert!(
            all.into_iter()
                .all(|(port, _, keeper)| { *port == address.port() && *keeper == Keeper::Systemd })
        );
        balancer.loops.iter().map(Vec::len).collect()
    }

    #[test]
    fn every_socket_has_a_loop_and_every_loop_a_socket() {
        assert_eq!(counts(1, 1), [1]);
        assert_eq!(counts(1, 3), [1, 1, 1]);
        assert_eq!(counts(2, 3), [1, 1, 1]);
        assert_eq!(counts(3, 2), [2, 1]);
    }

    #[test]
    fn what_is_not_given_is_bound() {
        let mut none = Sockets::sort(Vec::new(), ELSEWHERE).expect("no API");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        assert!(none.take_api(free).is_ok());
        let balancer = none.into_balancer(free, 2).expect("a free port");
        assert!(balancer.kept.is_empty() && balancer.main.port() != 0);
        let own = |of_loop: &OfLoop| of_loop.len() == 1 && of_loop[0].2 == Keeper::Us;
        assert!(balancer.loops.iter().all(own));
    }
}
