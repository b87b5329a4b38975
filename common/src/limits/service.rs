//! What one service may ask for, and how much of its history is kept.

use std::time::Duration;

// --- The spec -----------------------------------------------------------------------------------

/// One script's text: more belongs in a file of the source.
pub const SCRIPT_BYTES_MAX: usize = 64 * 1024;
/// Instances of one service: far more than a handful of machines holds, small enough to plan in one
/// turn.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// Hosts of one service.
pub const HOSTS_MAX: usize = 64;
/// Variables in `env`.
pub const ENV_VARS_MAX: usize = 256;
/// All of `env`, names and values: it must fit beside the arguments in what execve takes (ARG_MAX).
pub const ENV_BYTES_MAX: usize = 64 * 1024;
/// Addresses of an external service.
pub const EXTERNAL_ADDRESSES_MAX: usize = 256;

// --- History (contract) -------------------------------------------------------------------------

/// Revisions kept of a service.
pub const REVISIONS_KEPT: usize = 50;
/// Events kept.
pub const EVENTS_KEPT: u64 = 100_000;
/// Events are kept for so long, where there are not too many of them anyway …
pub const EVENTS_KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// … and with this in all: failures carry the last lines of output ([`OUTPUT_TAIL_BYTES`]).
pub const EVENTS_KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// So many are kept however old they are: a clock that jumps ahead must not end history.
pub const EVENTS_KEPT_MIN: u64 = 1000;
/// A worker's metrics, one point a minute: a week.
pub const METRICS_POINTS_KEPT: u64 = 7 * 24 * 60;
/// Ended instances kept of a service, and ended deployments: a week of a service that is deployed
/// every 20 min.
pub const ENDED_KEPT: usize = 500;
/// Events in one answer: at 300 bytes each they fit a streamed answer's buffer.
pub const EVENTS_PAGE_MAX: usize = 500;
/// What of a failed script's output goes into reasons and events.
pub const OUTPUT_TAIL_BYTES: usize = 8 * 1024;
