//! One loop, its clients, and instances that do as they are told.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tucano_common::http1::chunked::Part;
use tucano_common::http1::{
    Body, BodyDecoder, FieldName, HeadScan, Method, RequestHead, ResponseHead,
};
use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Mono;
use tucano_controller_core::balancer::table::{
    Duty, Endpoint, PortRoutes, RouteWorker, RoutingTable, ServiceRoute,
};
use tucano_net::clock::Clock;

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

/// A final answer as the client got it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) status: u16,
    /// The body's content.
    pub(super) body: Vec<u8>,
    pub(super) trailers: String,
    /// It ended as its framing says.
    pub(super) is_whole: bool,
    pub(super) keeps_alive: bool,
    pub(super) framing: Body,
}

impl Answer {
    /// A field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A raw client.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) unread: Vec<u8>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, unread: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads once; false at the end, or where the connection broke.
    pub(super) fn read(&mut self) -> bool {
        let mut room = [0; 65536];
        match self.stream.read(&mut room) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&room[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came; so far: {}", self.unread.escape_ascii())
            }
            Err(_) => false,
        }
    }

    /// The next head, interim ones too.
    pub(super) fn head(&mut self, method: Method) -> Option<(ResponseHead, String)> {
        loop {
            match ResponseHead::parse(&self.unread, &mut HeadScan::default(), method) {
                Ok(Some(head)) => {
                    let bytes: Vec<u8> = self.unread.drain(..head.len()).collect();
                    return Some((head, String::from_utf8(bytes).unwrap()));
                }
                Ok(None) if self.read() => {}
                Ok(None) => return None,
                Err(error) => panic!("{error}: {}", self.unread.escape_ascii()),
            }
        }
    }

    /// The next final answer.
    pub(super) fn answer(&mut self) -> Answer {
        self.answer_to(Method::Get)
    }

    pub(super) fn answer_to(&mut self, method: Method) -> Answer {
        let (head, text) = loop {
            let (head, text) = self.head(method).expect("an answer");
            if !head.is_interim() {
                break (head, text);
            }
        };
        let mut decoder = BodyDecoder::new(head.body);
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let is_whole = loop {
            while let Some(piece) = decoder.next(&self.unread).expect("a well-formed body") {
                let bytes: Vec<u8> = self.unread.drain(..piece.len).collect();
                match piece.part {
                    Part::Data => body.extend_from_slice(&bytes),
                    Part::Trailer { .. } => trailers.extend_from_slice(&bytes),
                    Part::Framing | Part::Extension => {}
                }
            }
            if decoder.is_done() {
                break true;
            }
            if !self.read() {
                break decoder.may_end_at_close();
            }
        };
        Answer {
            status: head.status,
            keeps_alive: head.keeps_alive(),
            framing: head.body,
            head: text,
            body,
            trailers: String::from_utf8(trailers).unwrap(),
            is_whole,
        }
    }

    /// Whether the balancer closes the connection, without another byte.
    pub(super) fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.read() && self.unread.is_empty()
    }

    pub(super) fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// A request as an instance got it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) trailers: String,
    /// Counted from 1: the connection it came on.
    pub(super) connection: usize,
}

impl Seen {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One connection of an instance.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) unread: Vec<u8>,
    pub(super) number: usize,
}

impl Conn {
    fn read(&mut self) -> bool {
        let mut room = [0; 65536];
        match self.stream.read(&mut room) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&room[..count]);
                true
            }
        }
    }

    /// The next request's head.
    pub(super) fn head(&mut self) -> Option<(RequestHead, String)> {
        loop {
            match RequestHead::parse(&self.unread, &mut HeadScan::default()) {
                Ok(Some(head)) => {
                    let bytes: Vec<u8> = self.unread.drain(..head.len()).collect();
                    return Some((head, String::from_utf8(bytes).unwrap()));
                }
                Ok(None) if self.read() => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next whole request.
    pub(super) fn request(&mut self) -> Option<Seen> {
        let (head, text) = self.head()?;
        let (body, trailers) = self.body(head.body)?;
        Some(Seen { head: text, body, trailers, connection: self.number })
    }

    pub(super) fn body(&mut self, body: Body) -> Option<(Vec<u8>, String)> {
        let mut decoder = BodyDecoder::new(body);
        let (mut data, mut trailers) = (Vec::new(), Vec::new());
        loop {
            while let Some(piece) = decoder.next(&self.unread).ok()? {
                let bytes: Vec<u8> = self.unread.drain(..piece.len).collect();
                match piece.part {
                    Part::Data => data.extend_from_slice(&bytes),
                    Part::Trailer { .. } => trailers.extend_from_slice(&bytes),
                    Part::Extension => panic!("an extension passed"),
                    Part::Framing => {}
                }
            }
            if decoder.is_done() {
                return Some((data, String::from_utf8(trailers).unwrap()));
            }
            if !self.read() {
                return None;
            }
        }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The balancer may have left; the test sees what it should have seen.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Answers 200 with this body.
    pub(super) fn ok(&mut self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat());
    }

    /// Waits for so long in which the balancer must not say anything.
    pub(super) fn hears_nothing_for(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = std::io::Read::read(&mut self.stream, &mut [0; 100]);
        assert!(heard.is_err(), "{heard:?}");
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Waits until the balancer closes.
    pub(super) fn is_closed(&mut self) -> bool {
        while self.read() {}
        true
    }
}

/// An instance: every connection runs the same script.
pub(super) struct Instance {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Instance {
    /// Runs `script` for every connection, each on a thread of its own.
    pub(super) fn new(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Instance {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Instance::on(listener, script)
    }

    pub(super) fn on(
        listener: TcpListener,
        script: impl Fn(&mut Conn) + Send + Sync + 'static,
    ) -> Instance {
        let address = listener.local_addr().unwrap();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming()) {
                let Ok(stream) = stream else { return };
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    script(&mut Conn { stream, unread: Vec::new(), number });
                });
            }
        });
        Instance { address, seen: Arc::default() }
    }

    /// Answers every request with `name`, and records it.
    pub(super) fn named(name: &'static str) -> Instance {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let record = Arc::clone(&seen);
        let instance = Instance::new(move |conn| {
            while let Some(request) = conn.request() {
                record.lock().unwrap().push(request);
                conn.ok(name);
            }
        });
        Instance { seen, ..instance }
    }

    /// Answers every request with what it got.
    pub(super) fn echo() -> Instance {
        Instance::new(|conn| {
            while let Some(request) = conn.request() {
                conn.ok(request.body);
            }
        })
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen().last().cloned().expect("a request")
    }
}

/// Whether a head has a field of ours.
pub(super) fn error_code(answer: &Answer) -> Option<&str> {
    answer.field(FieldName::XTucanoError.text())
}
