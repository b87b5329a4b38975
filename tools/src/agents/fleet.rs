//! The fleet's loop: each worker's socket to the controller, its listener, the orders' connections
//! and a heap of deadlines. One thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tucano_common::time::Wall;

use super::conn::Conn;
use super::worker::{Ask, Worker};
use super::{Counts, Plan};

/// An answer that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// The stop flag is looked at so often.
const LOOK: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 256 * 1024;

struct Seat {
    worker: Worker,
    listener: TcpListener,
    link: Option<Conn>,
    in_flight: Option<(Ask, Instant)>,
    running: usize,
    /// The earliest entry in the heap that is about it.
    wakes: Option<Instant>,
}

/// Whose an order's connection is.
struct Caller {
    seat: usize,
    conn: Conn,
}

/// All fake workers.
pub struct Fleet {
    plan: Plan,
    counts: Arc<Counts>,
    poll: Poll,
    seats: Vec<Seat>,
    callers: Vec<Option<Caller>>,
    free: Vec<usize>,
    deadlines: BinaryHeap<Reverse<(Instant, usize)>>,
    scratch: Vec<u8>,
}

impl Fleet {
    /// Listens for every worker; nobody has said hello yet.
    pub fn new(plan: Plan, counts: Arc<Counts>) -> io::Result<Fleet> {
        let poll = Poll::new()?;
        let (now, wall) = (Instant::now(), wall());
        let mut fleet = Fleet {
            counts,
            poll,
            seats: Vec::with_capacity(plan.workers),
            callers: Vec::new(),
            free: Vec::new(),
            deadlines: BinaryHeap::new(),
            scratch: vec![0; READ_BYTES],
            plan,
        };
        for number in 0..fleet.plan.workers {
            // Spread over a second, as machines are that started at different times.
            let all = u32::try_from(fleet.plan.workers.max(1)).unwrap_or(u32::MAX);
            let offset = fleet.plan.heartbeat * u32::try_from(number).unwrap_or(0) / all;
            let Some(worker) = Worker::new(number, &fleet.plan, now + offset, wall) else {
                return Err(io::Error::other("more workers than names"));
            };
            let address = SocketAddr::new(fleet.plan.address(number), fleet.plan.port);
            let mut listener = TcpListener::bind(address)?;
            let token = Token(fleet.plan.workers + number);
            fleet.poll.registry().register(&mut listener, token, Interest::READABLE)?;
            fleet.seats.push(Seat {
                worker,
                listener,
                link: None,
                in_flight: None,
                running: 0,
                wakes: None,
            });
            fleet.wake(number);
        }
        Ok(fleet)
    }

    /// Turns until it is told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.counts.is_stopped() {
            let next = self.deadlines.peek().map(|Reverse((at, _))| *at);
            let wait = next.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, Some(wait.min(LOOK))) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                self.on_event(event.token().0);
            }
            self.look_at_clock();
        }
        Ok(())
    }

    fn on_event(&mut self, token: usize) {
        let all = self.plan.workers;
        match token {
            _ if token < all => self.on_link(token),
            _ if token < 2 * all => self.accept(token - all),
            _ => self.on_caller(token - 2 * all),
        }
    }

    fn look_at_clock(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, seat))) = self.deadlines.peek().copied() {
            if at > now {
                return;
            }
            self.deadlines.pop();
            if self.seats[seat].wakes == Some(at) {
                self.seats[seat].wakes = None;
                self.pump(seat);
            }
        }
    }

    /// Sends what is to be said, and notes when to look again.
    fn pump(&mut self, number: usize) {
        let (now, wall) = (Instant::now(), wall());
        let seat = &mut self.seats[number];
        if let Some((_, since)) = seat.in_flight
            && now >= since + PATIENCE
        {
            self.lose(number, now);
        }
        let seat = &mut self.seats[number];
        // Instances turn healthy also while a request is under way.
        let next = seat.worker.next(now, wall);
        let running = seat.worker.running();
        let before = std::mem::replace(&mut seat.running, running);
        self.counts.running.fetch_add(running as u64, Ordering::Relaxed);
        self.counts.running.fetch_sub(before as u64, Ordering::Relaxed);
        if seat.in_flight.is_none()
            && let Some(ask) = next
            && self.send(number, ask, now, wall).is_err()
        {
            self.lose(number, now);
        }
        self.wake(number);
    }

    fn send(&mut self, number: usize, ask: Ask, now: Instant, wall: Wall) -> io::Result<()> {
        let seat = &mut self.seats[number];
        if seat.link.is_none() {
            let mut stream = TcpStream::connect(self.plan.controller)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(number), interest)?;
            seat.link = Some(Conn::new(stream));
        }
        let (line, body) = seat.worker.request(ask, now, wall);
        let (host, length) = (self.plan.controller, body.len());
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        seat.in_flight = Some((ask, now));
        seat.link.as_mut().map_or(Ok(()), |link| link.send(&head, &body))
    }

    /// The connection is of no use any more.
    fn lose(&mut self, number: usize, now: Instant) {
        let seat = &mut self.seats[number];
        seat.link = None;
        if seat.in_flight.take().is_some() {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            seat.worker.failed(false, now);
        }
    }

    fn on_link(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        let Some(link) = &mut seat.link else { return };
        let open = link.flush().and_then(|()| link.fill(&mut self.scratch)).unwrap_or(false);
        let (now, wall) = (Instant::now(), wall());
        while let Ok(Some(message)) = link.take() {
            let Some((ask, since)) = seat.in_flight.take() else { break };
            let status = message.line.split(' ').nth(1).and_then(|text| text.parse().ok());
            let status = status.unwrap_or(0);
            if ask == Ask::Heartbeat {
                self.counts.answered(now - since);
            }
            if status != 200 {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
            }
            seat.worker.answered(ask, status, &message.body, now, wall);
        }
        if !open {
            self.lose(number, now);
        }
        self.pump(number);
    }

    fn accept(&mut self, number: usize) {
        while let Ok((mut stream, _)) = self.seats[number].listener.accept() {
            let slot = self.free.pop().unwrap_or(self.callers.len());
            let token = Token(2 * self.plan.workers + slot);
            if self.poll.registry().register(&mut stream, token, Interest::READABLE).is_err() {
                continue;
            }
            let caller = Some(Caller { seat: number, conn: Conn::new(stream) });
            match self.callers.get_mut(slot) {
                Some(place) => *place = caller,
                None => self.callers.push(caller),
            }
        }
    }

    fn on_caller(&mut self, slot: usize) {
        let Some(Some(caller)) = self.callers.get_mut(slot) else { return };
        let number = caller.seat;
        let (now, wall) = (Instant::now(), wall());
        let mut open = caller.conn.fill(&mut self.scratch).unwrap_or(false);
        while let Ok(Some(message)) = caller.conn.take() {
            let worker = &mut self.seats[number].worker;
            let status = worker.order(&message.line, &message.body, now, wall);
            self.counts.orders.fetch_add(1, Ordering::Relaxed);
            let head = format!("HTTP/1.1 {status} Taken\r\nContent-Length: 0\r\n\r\n");
            open &= caller.conn.send(&head, b"").is_ok();
        }
        if !open {
            self.callers[slot] = None;
            self.free.push(slot);
        }
        self.pump(number);
    }

    fn wake(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        let own = seat.worker.deadline();
        let at = match seat.in_flight {
            Some((_, since)) => (since + PATIENCE).min(own.max(Instant::now() + LOOK / 4)),
            None => own,
        };
        if seat.wakes.is_none_or(|wakes| at < wakes) {
            seat.wakes = Some(at);
            self.deadlines.push(Reverse((at, number)));
        }
    }
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(0))
}
