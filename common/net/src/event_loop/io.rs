//! What the application may ask of its loop: answers, timers, descriptors, and the end. Calls are
//! in `calls`.
//!
//! Nothing here calls the application back: what becomes of a request to the loop comes as a call
//! of [`App`](super::App) later in the same turn or in another.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use tucano_common::limits::STOP_LINGER;
use tucano_common::time::{Mono, Now};

use super::accept::Acceptor;
use super::app::{ConnId, FdId, PushError, TimerId};
use super::buffers::BufferPool;
use super::client::{Call, Pool};
use super::config::HttpConfig;
use super::server::{Conn, Context, RequestIds};
use super::slab::{Key, Slab};
use super::timers::{Due, Slot, Timers};
use super::token::{Kind, token};
use crate::clock::Clock;
use crate::message::{Response, ResponseHead};

/// Something that has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Conn(Key),
    Call(Key),
    Fd(Key),
}

/// The loop as its application sees it.
pub struct Io {
    pub(super) now: Now,
    pub(super) config: HttpConfig,
    pub(super) registry: Registry,
    pub(super) buffers: BufferPool,
    pub(super) ids: RequestIds,
    pub(super) acceptor: Acceptor,
    pub(super) conns: Slab<Conn>,
    pub(super) calls: Slab<Call>,
    pub(super) pool: Pool,
    pub(super) pool_timer: Option<Slot>,
    pub(super) fds: Slab<OwnedFd>,
    pub(super) timers: Timers,
    /// Keys of the application's timers hold the slots of their entries.
    pub(super) app_timers: Slab<Slot>,
    pub(super) ready: VecDeque<Run>,
    pub(super) is_draining: bool,
    pub(super) is_stopping: bool,
}

impl Io {
    pub(super) fn new(config: HttpConfig, registry: Registry) -> Io {
        Io {
            now: Clock::now(),
            config,
            registry,
            buffers: BufferPool::default(),
            ids: RequestIds::new(),
            acceptor: Acceptor::new(),
            conns: Slab::new(),
            calls: Slab::new(),
            pool: Pool::new(),
            pool_timer: None,
            fds: Slab::new(),
            timers: Timers::default(),
            app_timers: Slab::new(),
            ready: VecDeque::new(),
            is_draining: false,
            is_stopping: false,
        }
    }

    /// The time of this turn: one reading for all of it.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Ends the loop after this turn: open connections are dropped as they are.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Serves HTTP on a listener; returns its address, for a port that the system chose.
    pub fn listen(&mut self, listener: TcpListener) -> io::Result<SocketAddr> {
        self.acceptor.add(listener, &self.registry)
    }

    /// Begins to end: no more connections are accepted, idle ones are closed, every further answer
    /// closes its connection. Whoever has not asked anything yet may still do so for a moment: the
    /// request may be on its way. Done when [`Io::is_drained`].
    pub fn drain(&mut self) {
        self.is_draining = true;
        self.acceptor.close(&self.registry);
        let linger = self.now.mono + STOP_LINGER;
        for key in self.conns.keys() {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.hurry(linger);
            }
            self.queue_conn(key);
        }
    }

    /// Whether everybody was answered who asked, or may be about to.
    pub fn is_drained(&self) -> bool {
        !self.conns.values().any(|conn| conn.is_busy() || conn.is_fresh())
    }

    /// Requests whose head came and whose answer has not wholly left yet.
    pub fn requests_in_flight(&self) -> usize {
        self.conns.values().filter(|conn| conn.is_busy()).count()
    }

    /// Connections that are open, idle ones included.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Answers a request. The answer of a request that is over or answered already is dropped.
    pub fn respond(&mut self, conn: ConnId, response: Response) {
        self.with_conn(conn, |conn, cx| conn.respond(response, cx));
    }

    /// Begins a streamed answer; `length` where it is known, else it is chunked. Follow with
    /// [`Io::push`] and [`Io::finish`].
    pub fn respond_stream(&mut self, conn: ConnId, head: ResponseHead, length: Option<u64>) {
        self.with_conn(conn, |conn, cx| conn.respond_stream(head, length, cx));
    }

    /// Appends to a streamed answer; returns the bytes that its buffer holds now. A piece that
    /// would take the buffer beyond its bound is not taken; an empty buffer takes any piece.
    pub fn push(&mut self, conn: ConnId, bytes: &[u8]) -> Result<usize, PushError> {
        self.with_conn(conn, |conn, cx| conn.push(bytes, cx.config)).unwrap_or(Err(PushError::Gone))
    }

    /// Ends a streamed answer. One that is shorter than its head said breaks the connection.
    pub fn finish(&mut self, conn: ConnId) {
        self.with_conn(conn, |conn, _| conn.finish());
    }

    /// Breaks the connection, so that the client sees that its answer is not whole.
    pub fn abort(&mut self, conn: ConnId) {
        self.with_conn(conn, |conn, _| conn.abort());
    }

    /// The client's address, while the request is in progress.
    pub fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.live(conn).map(|conn| conn.peer)
    }

    /// The address of ours that the client connected to, while the request is in progress.
    pub fn local_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        self.live(conn)?.stream().local_addr().ok()
    }

    /// Reads no more of a streamed upload until [`Io::resume_body`]: the client is slowed down.
    pub fn pause_body(&mut self, conn: ConnId) {
        self.with_conn(conn, |conn, cx| conn.pause_body(true, cx));
    }

    /// See [`Io::pause_body`].
    pub fn resume_body(&mut self, conn: ConnId) {
        self.with_conn(conn, |conn, cx| conn.pause_body(false, cx));
    }

    /// Watches a descriptor (a pipe, a pidfd, a signalfd; non-blocking) until it is unwatched.
    /// `on_fd` tells when it turns readable, also where it is so already.
    pub fn watch_fd(&mut self, fd: OwnedFd) -> io::Result<FdId> {
        let registry = &self.registry;
        let key = self.fds.try_insert_with(|key| {
            let raw = fd.as_raw_fd();
            registry.register(&mut SourceFd(&raw), token(Kind::Fd, key), Interest::READABLE)?;
            Ok::<_, io::Error>(fd)
        })?;
        Ok(FdId(key))
    }

    /// A watched descriptor, to read from it.
    pub fn fd(&self, fd: FdId) -> Option<BorrowedFd<'_>> {
        self.fds.get(fd.0).map(AsFd::as_fd)
    }

    /// Ends the watch and gives the descriptor back.
    pub fn unwatch_fd(&mut self, fd: FdId) -> Option<OwnedFd> {
        let fd = self.fds.remove(fd.0)?;
        // It is registered as long as it is in the table.
        let _ = self.registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
        Some(fd)
    }

    /// Calls `on_timer` once, at `at` or as soon after as the loop comes to it.
    pub fn set_timer(&mut self, at: Mono) -> TimerId {
        let timers = &mut self.timers;
        TimerId(self.app_timers.insert_with(|key| timers.set(at, Due::App(key))))
    }

    /// Forgets a timer.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        if let Some(slot) = self.app_timers.remove(timer.0) {
            self.timers.cancel(slot);
        }
    }

    /// The request's connection, as long as an answer is due or on its way.
    fn live(&self, id: ConnId) -> Option<&Conn> {
        let conn = self.conns.get(id.key)?;
        (conn.serial == id.serial && conn.is_answerable()).then_some(conn)
    }

    fn with_conn<T>(
        &mut self,
        id: ConnId,
        change: impl FnOnce(&mut Conn, &mut Context<'_>) -> T,
    ) -> Option<T> {
        self.live(id)?;
        let changed = self.with_conn_key(id.key, change)?;
        self.queue_conn(id.key);
        Some(changed)
    }

    pub(super) fn with_conn_key<T>(
        &mut self,
        key: Key,
        change: impl FnOnce(&mut Conn, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let conn = self.conns.get_mut(key)?;
        let mut cx = Context {
            now: self.now,
            config: &self.config,
            pool: &mut self.buffers,
            ids: &mut self.ids,
            draining: self.is_draining,
            budget: 0,
        };
        Some(change(conn, &mut cx))
    }

    /// Has a connection run, in this turn or the next.
    pub(super) fn queue_conn(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !std::mem::replace(&mut conn.is_queued, true)
        {
            self.ready.push_back(Run::Conn(key));
        }
    }

    /// The same for a call.
    pub(super) fn queue_call(&mut self, key: Key) {
        if let Some(call) = self.calls.get_mut(key)
            && !std::mem::replace(&mut call.is_queued, true)
        {
            self.ready.push_back(Run::Call(key));
        }
    }
}
