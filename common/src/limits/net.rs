//! tucano-net: the loop of the API, the agent and worker_mgr.

use std::time::Duration;

/// Connections a loop accepts; more wait in the listen queue. The sysadmin, their scripts and 1,000
/// workers' heartbeats fit together with long polls.
pub const CONNECTIONS_MAX: usize = 2048;
/// Accepting begins again once so many places are free, so that it does not flap at the bound.
pub const ACCEPT_RESUME_FREE: usize = CONNECTIONS_MAX / 8;
/// Connections accepted in one turn; the others wait for the next, after the requests that are
/// there.
pub const ACCEPTS_PER_TURN: usize = 64;
/// With no room left, the connection idle longest is closed for a new one, if it was so for so
/// long.
pub const EVICT_IDLE_AFTER: Duration = Duration::from_secs(1);
/// Requests of one connection that are begun in a turn, however many were pipelined.
pub const REQUESTS_PER_TURN: usize = 32;
/// The queue of connections that the kernel completed and the loop did not accept yet.
pub const LISTEN_BACKLOG: i32 = 1024;
/// Without descriptors left, accepting pauses so long: others must close some first.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A request's head has to come within this (contract).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A body of which nothing comes for so long is given up (contract).
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A client's connection may be idle between two requests so long (contract).
pub const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(75);
/// A client that takes nothing of its answer for so long is given up.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that closed its sending side may still want its answer (`nc -N`), or be gone: a FIN
/// does not say which.
pub const HALF_CLOSE_GRACE: Duration = Duration::from_secs(2);
/// After a refusal the rest of the body is read and dropped so long and so far, or the client would
/// see a reset in place of the answer.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// See [`LINGER_TIMEOUT`].
pub const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A peer that is silent for so long is asked by the kernel whether it is still there…
pub const TCP_KEEPALIVE_IDLE_SECONDS: u32 = 30;
/// … so often …
pub const TCP_KEEPALIVE_INTERVAL_SECONDS: u32 = 10;
/// … and so many times before the connection counts as broken: a minute in all.
pub const TCP_KEEPALIVE_PROBES: u32 = 3;
/// The rest of a body that was answered early is read and dropped up to this, to keep the
/// connection; beyond it, closing costs less.
pub const SKIP_BYTES_MAX: u64 = 64 * 1024;
/// Room made for a body before any of it came, whatever its head promises.
pub const BODY_RESERVE_BYTES_MAX: usize = 64 * 1024;
/// What waits to be written is put together into pieces up to this; larger bodies are not copied.
pub const WRITE_PIECE_BYTES_MAX: usize = 16 * 1024;
/// One read of a loop; a head fits with room, and a loop needs one or two such buffers at a time.
pub const READ_BUFFER_BYTES: usize = 32 * 1024;
/// Read buffers a loop keeps for the next reads; more go back to the allocator.
pub const READ_BUFFERS_KEPT: usize = 2;
/// What one connection may read or write in a turn before the others have theirs.
pub const TURN_BYTES_MAX: usize = 256 * 1024;
/// A streamed answer's buffer: a piece that would take it beyond this is not taken.
pub const STREAM_BUFFER_BYTES_MAX: usize = 512 * 1024;
/// A streamed answer asks for more once its buffer is below this.
pub const STREAM_LOW_WATER_BYTES: usize = 64 * 1024;
/// What one poll tells at once; more comes with the next.
pub const EVENTS_PER_POLL: usize = 256;
/// Messages that wait for a loop; a sender that finds it full is told.
pub const INBOX_MESSAGES_MAX: usize = 4096;
/// Messages a loop takes in one turn.
pub const INBOX_PER_TURN: usize = 256;
/// An `X-Request-Id` of a client is kept up to this (contract).
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Calls a loop has in progress: a push to each of 1,000 agents and some to spare.
pub const CALLS_MAX: usize = 2048;
/// Idle connections kept to one address, and to all of them together.
pub const POOL_IDLE_PER_ADDRESS: usize = 4;
/// See [`POOL_IDLE_PER_ADDRESS`].
pub const POOL_IDLE_MAX: usize = 1024;
/// An idle connection is closed by us before a server would do it ([`KEEP_ALIVE_IDLE`]).
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection to a controller, an agent or an instance in the same network comes about within
/// this.
pub const CALL_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The head of an answer comes within this.
pub const CALL_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Interim (1xx) answers that are skipped before the final one.
pub const INTERIM_ANSWERS_MAX: u32 = 8;
/// Stack of a thread that runs a loop; only touched pages cost memory.
pub const LOOP_STACK_BYTES: usize = 512 * 1024;
/// Stack of a helper thread.
pub const HELPER_STACK_BYTES: usize = 256 * 1024;
/// A token file: more is not a token.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// A token: fewer characters could be guessed.
pub const TOKEN_CHARS_MIN: usize = 16;
/// Lines a call site may log within [`LOG_LIMIT_WINDOW`] where a client can trigger it; the others
/// are counted.
pub const LOG_LIMIT_LINES: u32 = 5;
/// See [`LOG_LIMIT_LINES`].
pub const LOG_LIMIT_WINDOW: Duration = Duration::from_secs(10);
/// One line of the log; the rest is cut.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// A request's body up to this goes out with its head, in one call: copying it costs less than a
/// second journey through the kernel, and than waking who reads it twice.
pub const BODY_WITH_HEAD_BYTES_MAX: usize = 32 * 1024;
