//! One loop, beside its clients (`client`) and instances that do as they are told (`instance`).

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Mono;
use tucano_controller_core::balancer::table::{
    Duty, Endpoint, PortRoutes, RouteWorker, RoutingTable, ServiceRoute,
};
use tucano_net::clock::Clock;

pub(super) use super::client::{Answer, Client, error_code};
pub(super) use super::instance::{Conn, Instance};
use crate::balancer::{Config, Stats, Timeouts, loops};
use crate::msgs::{FromLoop, Keeper, LoopSender, ToLoop};

/// Nothing here takes longer unless it is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A loop that runs.
pub(super) struct Harness {
    sender: LoopSender,
    thread: Option<JoinHandle<()>>,
    reports: Receiver<FromLoop>,
    cuts: Receiver<Vec<(InstanceId, u32)>>,
    doubts: Receiver<IpAddr>,
    pub(super) stats: Stats,
    pub(super) address: SocketAddr,
    version: u64,
    services: Vec<ServiceRoute>,
    hosts: Vec<(String, usize)>,
}

impl Harness {
    pub(super) fn new() -> Harness {
        Harness::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Harness {
        let mut config = Config::new(1);
        // Most tests end with idle clients; those about the end set their own.
        config.timeouts.linger = Duration::ZERO;
        change(&mut config);
        let (tell, reports) = channel();
        let (tell_cut, cuts) = channel();
        let tell = Mutex::new((tell, tell_cut));
        let report: crate::balancer::Report = Arc::new(move |report| {
            let tell = tell.lock().unwrap();
            let _ = match report {
                FromLoop::Cut { requests, .. } => tell.1.send(requests).is_ok(),
                other => tell.0.send(other).is_ok(),
            };
            Ok(())
        });
        let (doubt, doubts) = channel();
        let doubt = Mutex::new(doubt);
        let ask: crate::balancer::AskAgent = Arc::new(move |host| {
            let _ = doubt.lock().unwrap().send(host);
        });
        let mut made = loops(&config, &report, &ask).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sender = made.senders.remove(0);
        let listen = ToLoop::Listen { port: address.port(), listener, keeper: Keeper::Us };
        sender.try_send(listen).unwrap();
        let lb = made.loops.remove(0);
        let thread = Some(std::thread::spawn(|| lb.run()));
        Harness {
            sender,
            thread,
            reports,
            cuts,
            doubts,
            stats: made.stats,
            address,
            version: 0,
            services: Vec::new(),
            hosts: Vec::new(),
        }
    }

    /// With short times, and one service `web` on these instances.
    pub(super) fn quick(instances: &[SocketAddr]) -> Harness {
        let mut harness = Harness::with(|config| config.timeouts = quick_timeouts());
        harness.serve("web", instances);
        harness
    }

    /// A service and its instances; ids are 1, 2, 3 … for the first service, 101 … for the second.
    pub(super) fn serve(&mut self, name: &str, instances: &[SocketAddr]) {
        let known = self.services.iter().position(|route| route.name.as_str() == name);
        let place = known.unwrap_or(self.services.len());
        let endpoints = (1 + 100 * place as u64..).zip(instances);
        let endpoints = endpoints.map(|(id, address)| endpoint(id, *address)).collect();
        self.change(name, |route| route.endpoints = endpoints);
    }

    /// Changes what the table says of a service, and publishes it.
    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut ServiceRoute)) {
        let known = self.services.iter().position(|route| route.name.as_str() == name);
        let place = known.unwrap_or_else(|| {
            self.services.push(ServiceRoute {
                name: ServiceName::new(name).unwrap(),
                revision: 1,
                endpoints: Vec::new(),
                expecting: false,
                hold: Duration::from_secs(10),
                max_in_flight: None,
                outside_check: None,
            });
            self.hosts.push((name.to_owned(), self.services.len() - 1));
            self.services.len() - 1
        });
        change(&mut self.services[place]);
        self.publish();
    }

    pub(super) fn host(&mut self, host: &str, service: usize) {
        self.hosts.push((host.to_owned(), service));
        self.publish();
    }

    fn publish(&mut self) {
        self.version += 1;
        let port = self.address.port();
        let table = RoutingTable {
            version: self.version,
            ports: vec![PortRoutes { port, hosts: self.hosts.clone() }],
            services: self.services.iter().cloned().map(Arc::new).collect(),
            workers: vec![RouteWorker { name: WorkerName::new("w1").unwrap() }],
        };
        self.sender.try_send(ToLoop::Table(Arc::new(table))).unwrap();
    }

    pub(super) fn tell(&self, message: ToLoop) {
        self.sender.try_send(message).unwrap();
    }

    /// The next report but for cuts, which are no judgement, or panic.
    pub(super) fn report(&self) -> FromLoop {
        self.reports.recv_timeout(PATIENCE).expect("a report")
    }

    /// Waits until so many requests were told to be cut off by the first instance, and no more.
    pub(super) fn cut(&self, count: u32) {
        let mut told = 0;
        while told < count {
            let requests = self.cuts.recv_timeout(PATIENCE).expect("word of a cut");
            assert!(requests.iter().all(|(instance, _)| instance.0 == 1), "{requests:?}");
            told += requests.iter().map(|(_, requests)| requests).sum::<u32>();
        }
        assert_eq!(told, count);
    }

    /// The next host whose agent is to be asked.
    pub(super) fn doubt(&self) -> IpAddr {
        self.doubts.recv_timeout(PATIENCE).expect("a doubt")
    }

    /// The next `Drained`.
    pub(super) fn drained(&self) -> u64 {
        loop {
            if let FromLoop::Drained { instance, .. } = self.report() {
                return instance.0;
            }
        }
    }

    pub(super) fn has_no_report(&self) -> bool {
        self.reports.try_recv().is_err()
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// One request on a connection of its own.
    pub(super) fn get(&self, host: &str, path: &str) -> Answer {
        let mut client = self.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.answer()
    }

    pub(super) fn totals(&self, service: &str) -> crate::balancer::stats::Totals {
        self.stats.totals(&ServiceName::new(service).unwrap())
    }

    /// Waits until the ledger of a service says so; it is written a moment after the answer.
    pub(super) fn counts(&self, service: &str, cause: crate::balancer::stats::Cause, times: u64) {
        let start = Instant::now();
        while self.totals(service).of(cause) != times {
            let totals = self.totals(service);
            assert!(start.elapsed() < PATIENCE, "{cause:?} is not {times}: {totals:?}");
            std::thread::yield_now();
        }
    }

    pub(super) fn stop(&mut self, within: Duration) -> u64 {
        self.tell(ToLoop::Stop { deadline: Clock::mono() + within });
        loop {
            if let FromLoop::Stopped { cut, .. } = self.report() {
                self.thread.take().unwrap().join().unwrap();
                return cut;
            }
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            let cut = self.stop(Duration::from_millis(300));
            for service in &self.services {
                let totals = self.totals(service.name.as_str());
                assert_eq!(totals.in_flight(), cut.min(totals.in_flight()), "{totals:?}");
            }
        }
    }
}

pub(super) fn quick_timeouts() -> Timeouts {
    Timeouts {
        head: Duration::from_millis(300),
        idle: Duration::from_millis(600),
        body: Duration::from_millis(400),
        connect: Duration::from_millis(200),
        answer: Duration::from_millis(500),
        tunnel: Duration::from_millis(700),
        unseen: Duration::from_millis(32),
        linger: Duration::ZERO,
    }
}

pub(super) fn endpoint(id: u64, address: SocketAddr) -> Endpoint {
    Endpoint {
        instance: InstanceId(id),
        revision: 1,
        address,
        worker: Some(0),
        duty: Duty::Serve,
        ready_at: Mono(0),
    }
}

/// An address that nobody listens on.
pub(super) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
