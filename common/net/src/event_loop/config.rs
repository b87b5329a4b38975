//! A loop's limits as values, so that tests can make them small; programs take the defaults.

use std::time::Duration;

use tucano_common::limits;

/// The limits and timeouts of one loop; each default is the constant of that name in `limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Connections accepted at a time.
    pub connections_max: usize,
    /// Places that must be free before accepting begins again.
    pub accept_resume_free: usize,
    /// How long a connection must be idle to be closed for a new one where there is no room.
    pub evict_idle_after: Duration,
    /// For a request's head.
    pub head_timeout: Duration,
    /// Between two parts of a request's body.
    pub body_idle: Duration,
    /// Between two requests.
    pub keep_alive_idle: Duration,
    /// Between two moments in which the client takes some of its answer.
    pub write_stall: Duration,
    /// For the answer of a client that closed its sending side.
    pub half_close_grace: Duration,
    /// For what still comes of a refused body.
    pub linger: Duration,
    /// A streamed answer's buffer.
    pub stream_buffer_bytes_max: usize,
    /// Where a streamed answer asks for more.
    pub stream_low_water_bytes: usize,
    /// Calls in progress.
    pub calls_max: usize,
    /// How long an idle connection to a server is kept.
    pub pool_idle: Duration,
    /// Messages that wait.
    pub inbox_messages_max: usize,
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            connections_max: limits::CONNECTIONS_MAX,
            accept_resume_free: limits::ACCEPT_RESUME_FREE,
            evict_idle_after: limits::EVICT_IDLE_AFTER,
            head_timeout: limits::HEAD_TIMEOUT,
            body_idle: limits::BODY_IDLE_TIMEOUT,
            keep_alive_idle: limits::KEEP_ALIVE_IDLE,
            write_stall: limits::WRITE_STALL_TIMEOUT,
            half_close_grace: limits::HALF_CLOSE_GRACE,
            linger: limits::LINGER_TIMEOUT,
            stream_buffer_bytes_max: limits::STREAM_BUFFER_BYTES_MAX,
            stream_low_water_bytes: limits::STREAM_LOW_WATER_BYTES,
            calls_max: limits::CALLS_MAX,
            pool_idle: limits::POOL_IDLE_TIMEOUT,
            inbox_messages_max: limits::INBOX_MESSAGES_MAX,
        }
    }
}
