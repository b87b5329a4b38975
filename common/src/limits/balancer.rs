//! The balancer: connections, buffers, waits, choices and retries.

use std::time::Duration;

use super::HEAD_BYTES_MAX;

// --- The balancer -------------------------------------------------------------------------------

/// Requests of a service that wait for an instance on its way; more are 503 at once.
pub const HELD_REQUESTS_MAX: usize = 256;
/// Those who waited go on so many at a time, with [`HELD_RELEASE_PAUSE`] between: 256 at once would
/// overflow the listen queue of a service that has just started (5 in Python, 128 and 511
/// elsewhere).
pub const HELD_RELEASED_AT_ONCE: u32 = 32;
/// See [`HELD_RELEASED_AT_ONCE`].
pub const HELD_RELEASE_PAUSE: Duration = Duration::from_millis(5);
/// Instances one request is tried on.
pub const TRIES_MAX: u32 = 3;
/// A request whose body is longer is sent once (contract).
pub const REPEATABLE_BODY_BYTES_MAX: usize = 64 * 1024;
/// A buffer of a balancer's loop: a request that may be sent again, what bodies stream through.
pub const BODY_BUFFER_BYTES: usize = HEAD_BYTES_MAX + REPEATABLE_BODY_BYTES_MAX;
/// A chunk of the balancer's own making: with the longest head before it, it fits what may wait for
/// a slow receiver.
pub const OWN_CHUNK_BYTES_MAX: usize = 32 * 1024;
/// What is written in several pieces is put together up to this, and sent in one: for so little,
/// a copy costs less than the kernel's looking at each piece.
pub const GATHERED_BYTES_MAX: usize = 4 * 1024;
/// What has to be kept of a request while its answer is awaited usually fits this: a browser's
/// head.
pub const KEPT_BUFFER_BYTES: usize = 2 * 1024;
/// Large buffers that a loop keeps for the next bodies; more go back to the allocator.
pub const LARGE_BUFFERS_KEPT: usize = 32;
/// A body of which so much is still to come goes through a pipe instead of a buffer: for less, its
/// few reads and writes are as cheap.
pub const SPLICED_BYTES_MIN: u64 = 256 * 1024;
/// What is asked to fit a pipe: one turn's share. The kernel keeps pages for no more than is in it.
pub const PIPE_BYTES: usize = 256 * 1024;
/// Pipes that a loop lends at once, two descriptors each; further long bodies are copied.
pub const PIPES_MAX: usize = 256;
/// Pipes that a loop keeps for the next long bodies.
pub const PIPES_KEPT: usize = 8;
/// Of those a loop with little to do keeps so many: one is lent again and again,
pub const LARGE_BUFFERS_AT_REST: usize = 1;
/// and of the small ones a few for what is answered slowly.
pub const SMALL_BUFFERS_AT_REST: usize = 8;
/// A loop looks so often whether it holds memory that it does not use; not while it is idle.
pub const REST_INTERVAL: Duration = Duration::from_secs(5);
/// A loop that began no more requests than this since it looked last has little to do.
pub const REST_REQUESTS_MAX: u64 = 100;
/// Clients of one loop; more wait in the listen queue. Each idle one costs half a KiB.
pub const LOOP_CLIENTS_MAX: usize = 16 * 1024;
/// Where a loop has no room for those who come, clients that have been idle for so long make some:
/// one that has just been answered may be about to ask again.
pub const IDLE_CLIENT_SPARED: Duration = Duration::from_secs(1);
/// Idle connections that a loop keeps to one instance.
pub const UPSTREAM_IDLE_MAX: usize = 256;
/// Making a connection to an instance takes at most so long (contract): a LAN's round trip is a
/// hundredth of it.
pub const UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// The head of an answer comes within this (contract).
pub const ANSWER_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A kept connection to an instance is closed after being idle so long (contract).
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A request that may not be sent twice takes a kept connection only if it was idle for less: the
/// service may be about to close an older one.
pub const UPSTREAM_FRESH: Duration = Duration::from_secs(1);
/// A new client's connection is not watched for so long while its request is being answered: most
/// answers come sooner, and one that is closed then has cost no call for it.
pub const CLIENT_UNSEEN: Duration = Duration::from_millis(64);
/// A connection whose client says nothing comes up to a loop after so many seconds; others with
/// their first bytes.
pub const ACCEPT_DEFER_S: u32 = 1;
/// Messages that a loop of the balancer takes in one turn.
pub const LOOP_MESSAGES_PER_TURN: usize = 64;
/// What one poll of a loop of the balancer tells at once.
pub const EVENTS_PER_TURN: usize = 1024;
/// From so many exchanges in flight on, a loop of the balancer that finds few events at each poll
/// lets some gather: an exchange takes milliseconds then, however fast the loop is.
pub const COALESCE_FLOWS_MIN: usize = 128;
/// More events than this in one turn are gathered enough.
pub const COALESCE_EVENTS_MAX: usize = 64;
/// Turns further apart than this leave nothing to gather.
pub const COALESCE_GAP_MAX: Duration = Duration::from_micros(500);
/// So long events gather, and up to 50 us more by the kernel's slack: at 100,000 events a second
/// that is five to ten of them.
pub const COALESCE_PAUSE: Duration = Duration::from_micros(50);
/// A tunnel (an upgraded connection) may be silent so long (contract).
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Where every instance of a service refuses its connection, requests wait so long for the table
/// that says what became of them: a crash is known here before the worker has told it.
pub const CRASH_GRACE: Duration = Duration::from_secs(2);
/// Meanwhile the instances are asked again so often: one started again in place is found by this.
pub const CRASH_RETRY: Duration = Duration::from_millis(100);

/// A connection made anew tells within this whether a service has died.
pub const DEATH_LOOK: Duration = Duration::from_millis(50);
/// A request that was in flight at so many deaths is not sent again.
pub const DEATHS_MAX: usize = 2;
/// A loop tells the deployer of broken connections no more often, however many break.
pub const CUTS_TOLD_EVERY: Duration = Duration::from_millis(100);

// --- The balancer: choices and retries (contract) -----------------------------------------------

/// Connect errors or resets in a row that take an instance out of the rotation.
pub const EJECTION_BROKEN_TRIES: u32 = 3;
/// Answers 502, 503 or 504 in a row that do.
pub const EJECTION_BAD_ANSWERS: u32 = 5;
/// The first term out of the rotation; each further one is twice as long.
pub const EJECTION_BASE: Duration = Duration::from_secs(5);
/// The longest term, and how long an instance must do well for its terms to be forgotten.
pub const EJECTION_MAX: Duration = Duration::from_secs(60);
/// Retries are at most so much of the traffic.
pub const RETRY_BUDGET_PERCENT: u64 = 20;
/// Retries that a service may save up: one sweep over what was in flight on a lost worker.
pub const RETRY_BUDGET_BURST: u64 = 100;
/// Retries a second that a service with little traffic has in any case.
pub const RETRY_BUDGET_PER_SECOND: u64 = 10;
/// An instance that turned ready gets its full share of requests after so long.
pub const SLOW_START: Duration = Duration::from_secs(10);
