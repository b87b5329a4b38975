//! What HTTP messages may hold, on both sides (RFC 9112; contract), and what the API takes.

use std::time::Duration;

// --- HTTP, both sides (RFC 9112; contract) ------------------------------------------------------

/// A head (start line and fields) may have so many bytes; more is 431. What nginx and HAProxy allow
/// by default, and two heads fit one 64 KiB socket read with room.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A head may have so many fields; more is 431.
pub const HEAD_FIELDS_MAX: usize = 100;
/// Fields that `Connection` may name as ending at this hop; more is 431. Each field of the head is
/// compared with each of them.
pub const CONNECTION_NAMES_MAX: usize = 32;
/// Fields that a parsed head has room for without a table of its own: a browser sends some fifteen.
pub const HEAD_FIELDS_IN_PLACE: usize = 24;
/// A request target may be so long; more is 414, so that the client learns which part was too long.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// A trailer section; a trailer line is held back until it is whole, so it must fit the smallest
/// buffer.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// A host that is looked up (RFC 1035); a longer one has no route.
pub const HOST_BYTES_MAX: usize = 253;
/// All chunk extensions of a body together: nobody uses them but to make a parser work for nothing.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;

// --- The API ------------------------------------------------------------------------------------

/// A JSON body; more is 413. A spec with three scripts of 64 KiB and its `env` fits three times.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// An artifact's upload; more is 413.
pub const ARTIFACT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A blocking query waits at most so long (Consul: 10 min), and so long by default.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// What `?wait=` is where only `?index=` was given.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// A log route without `?tail=` shows so many lines: about two screens.
pub const LOG_TAIL_LINES_DEFAULT: usize = 100;
/// `?tail=` at most: more than all rotated files of an instance hold.
pub const LOG_TAIL_LINES_MAX: usize = 1_000_000;
/// Instances whose output is merged into one answer, the newest first; each is a connection.
pub const LOG_SOURCES_MAX: usize = 64;
/// What is held back of one instance's output while the others' lines of the same time are waited
/// for.
pub const LOG_SOURCE_BYTES_MAX: usize = 64 * 1024;
/// A line of output that is longer goes out in pieces; the agents' files have shorter ones.
pub const LOG_LINE_OUT_BYTES_MAX: usize = 32 * 1024;
/// A followed line waits so long for older ones of other instances: their agents look for new lines
/// every [`LOG_FOLLOW_INTERVAL`](super::LOG_FOLLOW_INTERVAL).
pub const LOG_MERGE_WINDOW: Duration = Duration::from_millis(350);
/// A followed instance that says nothing for so long is asked anew, in case its machine vanished
/// without a word.
pub const LOG_FOLLOW_IDLE: Duration = Duration::from_secs(3600);
/// A followed service is asked so often whether it has new instances.
pub const LOG_TARGETS_INTERVAL: Duration = Duration::from_secs(2);
/// Artifacts on their way in or out at a time; each has two pieces of [`ARTIFACT_PIECE_BYTES`].
pub const ARTIFACT_TRANSFERS_MAX: usize = 16;
/// What goes to or from an artifact's file at once: large enough that the disk's turn is worth it.
pub const ARTIFACT_PIECE_BYTES: usize = 256 * 1024;
/// Jobs for the disk's thread: each transfer has one at most, and its end.
pub const ARTIFACT_JOBS_QUEUED_MAX: usize = 4 * ARTIFACT_TRANSFERS_MAX;
/// Wrong tokens from one address that are answered at once; a typing error costs nobody time.
pub const AUTH_FAILURES_FREE: u32 = 5;
/// After that each answer to one waits, twice as long as the one before, from this …
pub const AUTH_DELAY_FIRST: Duration = Duration::from_millis(100);
/// … up to this, one after the other.
pub const AUTH_DELAY_MAX: Duration = Duration::from_secs(2);
/// With so much of such waiting ahead, requests from that address are refused unread (429).
pub const AUTH_BACKLOG_MAX: Duration = Duration::from_secs(20);
/// An address without a wrong token for so long starts anew; events say no more than once in it.
pub const AUTH_FORGET: Duration = Duration::from_secs(60);
/// Events about wrong tokens in that time, whatever the address: history is for other things too.
pub const AUTH_EVENTS_MAX: u32 = 10;
/// Addresses whose failures are remembered; the one that is quiet the longest makes room.
pub const AUTH_PEERS_MAX: usize = 1024;
/// A connection may be followed (events, logs) or parked (`?wait=`) without end only so often, so
/// that workers' heartbeats always find a place.
pub const PARKED_REQUESTS_MAX: usize = 768;
