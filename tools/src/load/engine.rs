//! The generator's loop: when requests are due, which connection takes each, when one is late.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tucano_common::http1::write;

use super::connection::{Connection, Finished, Turn};
use super::{Failure, Plan, Report, Stop};

/// Requests that wait for a free connection; more are failures at once.
const DUE_WAITING: usize = 100_000;
/// Timeouts, the stop flag and the end are looked at so often.
const LOOK: Duration = Duration::from_millis(20);
/// After a connection could not be made, before the next try on its place.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);
/// The alarm's, not a place's.
const ALARM: Token = Token(usize::MAX);

/// Runs a plan to its end, in this thread.
pub fn run(plan: &Plan, stop: &Stop) -> io::Result<Report> {
    let mut engine = Engine::new(plan)?;
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 * 1024];
    loop {
        let now = Instant::now();
        if !engine.turn(now, stop.is_stopped()) {
            break;
        }
        engine.set_alarm(now)?;
        engine.poll.poll(&mut events, Some(LOOK)).or_else(|error| {
            let interrupted = error.kind() == io::ErrorKind::Interrupted;
            if interrupted { Ok(()) } else { Err(error) }
        })?;
        for event in events.iter().filter(|event| event.token() != ALARM) {
            engine.advance(event.token().0, &mut scratch);
        }
    }
    engine.report.took = engine.started.elapsed();
    Ok(engine.report)
}

/// A place that one connection at a time has.
struct Place {
    connection: Option<Connection>,
    /// A request that has to go again, as it was due.
    again: Option<Instant>,
    /// No new connection before this.
    not_before: Instant,
}

struct Engine<'a> {
    plan: &'a Plan,
    request: Vec<u8>,
    poll: Poll,
    /// Tells when the next request is due: a poll's own timeout is whole milliseconds, and four
    /// requests of 4,000 a second would go at once.
    alarm: TimerFd,
    /// The request that the alarm is set for.
    alarm_for: Option<u64>,
    places: Vec<Place>,
    /// When waiting requests were due, at a fixed rate.
    due: VecDeque<Instant>,
    /// The place that is looked at first.
    first: usize,
    /// Requests that were due so far.
    begun: u64,
    started: Instant,
    ending: bool,
    report: Report,
}

impl<'a> Engine<'a> {
    fn new(plan: &'a Plan) -> io::Result<Engine<'a>> {
        let started = Instant::now();
        let place = || Place { connection: None, again: None, not_before: started };
        let mut request = Vec::new();
        let head = write::request(&mut request, plan.method, &plan.path, &plan.host);
        let head = head.field("User-Agent", "tucano-load").keep(!plan.close);
        if plan.body.is_empty() {
            head.bodiless()
        } else {
            head.body(&plan.body)
        }
        let poll = Poll::new()?;
        let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let source = alarm.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&source), ALARM, Interest::READABLE)?;
        Ok(Engine {
            plan,
            request,
            poll,
            alarm,
            alarm_for: None,
            places: (0..plan.connections.max(1)).map(|_| place()).collect(),
            due: VecDeque::new(),
            first: 0,
            begun: 0,
            started,
            ending: false,
            report: Report::default(),
        })
    }

    /// One turn before waiting; false where the run is over.
    fn turn(&mut self, now: Instant, stopped: bool) -> bool {
        let over = now.duration_since(self.started) >= self.plan.duration;
        self.ending |= stopped || over || self.begun >= self.plan.requests;
        self.schedule(now);
        let (first, count) = (self.first, self.places.len());
        for index in (first..count).chain(0..first) {
            self.expire(index, now);
            let waiting = self.due.len();
            self.feed(index, now);
            if self.plan.in_turn && self.due.len() < waiting {
                self.first = (index + 1) % count;
            }
        }
        if !self.ending {
            return true;
        }
        let in_flight = |place: &Place| {
            place.again.is_some() || place.connection.as_ref().is_some_and(|c| !c.is_idle())
        };
        if self.places.iter().any(in_flight) {
            return true;
        }
        for _ in 0..self.due.len() {
            self.report.fail(Failure::NeverSent);
        }
        false
    }

    /// Puts what became due by now into the queue.
    fn schedule(&mut self, now: Instant) {
        let Some(rate) = self.plan.rate else { return };
        while !self.ending && self.begun < self.plan.requests {
            let offset = Duration::from_secs_f64(self.begun_seconds(rate));
            let due = self.started + offset;
            if due > now {
                return;
            }
            self.begun += 1;
            if self.due.len() < DUE_WAITING {
                self.due.push_back(due);
            } else {
                self.report.fail(Failure::NeverSent);
            }
        }
    }

    fn begun_seconds(&self, rate: u32) -> f64 {
        self.begun as f64 / f64::from(rate.max(1))
    }

    /// Has the poll end when the next request is due.
    fn set_alarm(&mut self, now: Instant) -> io::Result<()> {
        let Some(rate) = self.plan.rate.filter(|_| !self.ending) else { return Ok(()) };
        if self.alarm_for == Some(self.begun) {
            return Ok(());
        }
        let next = self.started + Duration::from_secs_f64(self.begun_seconds(rate));
        // None at all would disarm it.
        let pause = next.saturating_duration_since(now).max(Duration::from_nanos(1));
        let at = Expiration::OneShot(TimeSpec::from_duration(pause));
        self.alarm.set(at, TimerSetTimeFlags::empty())?;
        self.alarm_for = Some(self.begun);
        Ok(())
    }

    /// Gives up on a request that is late.
    fn expire(&mut self, index: usize, now: Instant) {
        let place = &mut self.places[index];
        let in_flight = place.connection.as_ref().and_then(Connection::in_flight);
        if in_flight.is_some_and(|(_, begun)| now - begun >= self.plan.timeout) {
            place.connection = None;
            self.report.fail(Failure::Timeout);
        }
    }

    /// Gives a free place the next request.
    fn feed(&mut self, index: usize, now: Instant) {
        let place = &mut self.places[index];
        let busy = place.connection.as_ref().is_some_and(|connection| !connection.is_idle());
        if busy || now < place.not_before {
            return;
        }
        let due = match (place.again.take(), self.plan.rate) {
            (Some(due), _) => due,
            (None, Some(_)) => match self.due.pop_front() {
                Some(due) => due,
                None => return,
            },
            (None, None) if self.ending || self.begun >= self.plan.requests => return,
            (None, None) => {
                self.begun += 1;
                now
            }
        };
        if place.connection.is_none() {
            match connect(&self.poll, self.plan, index) {
                Ok(connection) => {
                    place.connection = Some(connection);
                    self.report.connections += 1;
                }
                Err(_) => {
                    place.not_before = now + CONNECT_PAUSE;
                    self.report.fail(Failure::Connect);
                    return;
                }
            }
        }
        if let Some(connection) = &mut place.connection {
            connection.begin(due, now, &self.request);
        }
    }

    /// Does what a connection's readiness allows.
    fn advance(&mut self, index: usize, scratch: &mut [u8]) {
        let now = Instant::now();
        let Some(place) = self.places.get_mut(index) else { return };
        let Some(connection) = &mut place.connection else { return };
        match connection.run(self.plan, &self.request, scratch) {
            Turn::Waits => return,
            Turn::Finished(finished) => {
                if self.plan.close || !finished.keeps_alive {
                    place.connection = None;
                }
                self.count(finished, now);
            }
            Turn::Failed(failure) => {
                place.connection = None;
                if failure == Failure::Connect {
                    place.not_before = now + CONNECT_PAUSE;
                }
                self.report.fail(failure);
            }
            Turn::Stale => {
                place.again = connection.in_flight().map(|(due, _)| due);
                place.connection = None;
                self.report.sent_again += 1;
            }
            Turn::Closed => place.connection = None,
        }
        // In turns the next one is somebody else's; what has to go again goes here.
        if !self.plan.in_turn || self.places[index].again.is_some() {
            self.feed(index, now);
        }
    }

    fn count(&mut self, finished: Finished, now: Instant) {
        let report = &mut self.report;
        *report.by_status.entry(finished.status).or_default() += 1;
        if let Some(instance) = finished.instance {
            *report.by_instance.entry(instance).or_default() += 1;
        }
        if let Some(code) = finished.balancer {
            *report.by_balancer.entry(code).or_default() += 1;
        }
        report.body_bytes += finished.body_bytes;
        match finished.failure {
            Some(failure) => report.fail(failure),
            None => {
                report.requests += 1;
                report.succeeded += 1;
                report.latency.add(now.saturating_duration_since(finished.due));
            }
        }
    }
}

fn connect(poll: &Poll, plan: &Plan, index: usize) -> io::Result<Connection> {
    let mut stream = TcpStream::connect(plan.target)?;
    stream.set_nodelay(true)?;
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(index), both)?;
    Ok(Connection::new(stream))
}
