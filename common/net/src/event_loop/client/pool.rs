//! Connections to servers: those in use by a call, and idle ones that wait for the next.
//!
//! Bounded for each address and altogether; one that its server closes, or that says something
//! unasked, is dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mio::Registry;
use tucano_common::limits::{POOL_IDLE_MAX, POOL_IDLE_PER_ADDRESS};
use tucano_common::time::Mono;

use super::super::buffers::{BufferPool, InBuf};
use super::super::slab::{Key, Slab};
use super::super::sock::Sock;

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::event_loop) enum User {
    /// The call of this key.
    Call(Key),
    /// Nobody, until then.
    Idle {
        /// When it is closed.
        until: Mono,
    },
}

/// A connection to a server.
pub(in crate::event_loop) struct Upstream {
    pub(in crate::event_loop) sock: Sock,
    pub(in crate::event_loop) input: InBuf,
    pub(in crate::event_loop) addr: SocketAddr,
    pub(in crate::event_loop) user: User,
}

/// All connections to servers.
pub(in crate::event_loop) struct Pool {
    upstreams: Slab<Upstream>,
    /// The idle ones by when they are over.
    idle: BTreeMap<(Mono, Key), SocketAddr>,
    /// The idle ones of each address, the latest used last.
    by_addr: BTreeMap<SocketAddr, Vec<Key>>,
}

impl Pool {
    pub(in crate::event_loop) fn new() -> Pool {
        Pool { upstreams: Slab::new(), idle: BTreeMap::new(), by_addr: BTreeMap::new() }
    }

    pub(in crate::event_loop) fn get_mut(&mut self, key: Key) -> Option<&mut Upstream> {
        self.upstreams.get_mut(key)
    }

    /// Adds a connection; `make` gets its key, to register it by.
    pub(in crate::event_loop) fn add(
        &mut self,
        make: impl FnOnce(Key) -> std::io::Result<Upstream>,
    ) -> std::io::Result<Key> {
        self.upstreams.try_insert_with(make)
    }

    /// Takes the idle connection to `addr` that was used last: the least likely to be closed
    /// meanwhile.
    pub(in crate::event_loop) fn take(&mut self, addr: SocketAddr, call: Key) -> Option<Key> {
        let key = *self.by_addr.get(&addr)?.last()?;
        self.forget_idle(key);
        self.upstreams.get_mut(key)?.user = User::Call(call);
        Some(key)
    }

    /// Keeps a connection for the next call, or drops it where there are enough.
    pub(in crate::event_loop) fn keep(&mut self, key: Key, until: Mono, registry: &Registry) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let of_addr = self.by_addr.get(&upstream.addr).map_or(0, Vec::len);
        if of_addr >= POOL_IDLE_PER_ADDRESS || self.idle.len() >= POOL_IDLE_MAX {
            return self.drop_upstream(key, registry);
        }
        upstream.user = User::Idle { until };
        self.idle.insert((until, key), upstream.addr);
        self.by_addr.entry(upstream.addr).or_default().push(key);
    }

    /// Closes a connection, idle or not.
    pub(in crate::event_loop) fn drop_upstream(&mut self, key: Key, registry: &Registry) {
        self.forget_idle(key);
        if let Some(mut upstream) = self.upstreams.remove(key) {
            upstream.sock.deregister(registry);
        }
    }

    /// The same for one whose buffer may hold something.
    pub(in crate::event_loop) fn drop_used(
        &mut self,
        key: Key,
        registry: &Registry,
        buffers: &mut BufferPool,
    ) {
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.input.consume(usize::MAX);
            upstream.input.release(buffers);
        }
        self.drop_upstream(key, registry);
    }

    /// When the first idle connection is over.
    pub(in crate::event_loop) fn next_at(&self) -> Option<Mono> {
        self.idle.first_key_value().map(|((until, _), _)| *until)
    }

    /// Closes the idle connections that are over.
    pub(in crate::event_loop) fn sweep(&mut self, now: Mono, registry: &Registry) {
        while let Some((&(until, key), _)) = self.idle.first_key_value()
            && until <= now
        {
            self.drop_upstream(key, registry);
        }
    }

    fn forget_idle(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        let User::Idle { until } = upstream.user else { return };
        self.idle.remove(&(until, key));
        if let Some(keys) = self.by_addr.get_mut(&upstream.addr) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_addr.remove(&upstream.addr);
            }
        }
    }
}
