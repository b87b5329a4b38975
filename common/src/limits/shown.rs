//! Bounds of what the balancer shows: its counters and its access log.
//!
//! A part of `limits`, which everybody imports.

use std::time::Duration;

/// Methods and statuses that are told apart of one revision's answers; what goes beyond is counted
/// as one more kind.
pub const ANSWER_KINDS_MAX: usize = 32;
/// Revisions without an instance whose answers are still shown: the one that was just replaced, and
/// what a deploy and its revert leave.
pub const REVISIONS_COUNTED_OLD_MAX: usize = 3;
/// Lines of one loop that wait for the access log's writer, twice (those of a turn too): over two
/// thousand usual ones, far more than come within [`ACCESS_LOG_PAUSE`]. What does not fit is
/// dropped and counted.
pub const ACCESS_LOG_PENDING_BYTES_MAX: usize = 512 * 1024;
/// What a buffer of the access log keeps of its room when it is empty.
pub const ACCESS_LOG_KEPT_BYTES: usize = 64 * 1024;
/// From one write of the access log to the next: a hundred wake-ups a second at most.
pub const ACCESS_LOG_PAUSE: Duration = Duration::from_millis(10);
/// Lines that could not be handed to the writer, as it was taking others, are tried again so soon.
pub const ACCESS_LOG_RETRY: Duration = Duration::from_millis(1);
/// One order to write at most is under way; the others are operators' signals.
pub const ACCESS_LOG_ORDERS_QUEUED_MAX: usize = 8;
/// A path in the access log, and a host: longer ones tell nothing more, and are told to be cut.
pub const ACCESS_LOG_PATH_BYTES_MAX: usize = 2048;
/// A method in the access log: WebDAV's longest has 16.
pub const ACCESS_LOG_METHOD_BYTES_MAX: usize = 32;
/// At the end, a disk that takes no more lines of the access log is waited for so long.
pub const ACCESS_LOG_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// One of so many answered requests in the access log, at the least.
pub const ACCESS_LOG_ONE_OF_MAX: u64 = 1_000_000;
