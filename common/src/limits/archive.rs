//! Archives and sources, on the worker.

use super::{
    ARTIFACT_PIECE_BYTES, CONNECTIONS_MAX, LOG_FOLLOW_INTERVAL, LOG_LINE_OUT_BYTES_MAX,
    LOG_MERGE_WINDOW, LOG_SOURCE_BYTES_MAX, PARKED_REQUESTS_MAX, STREAM_BUFFER_BYTES_MAX,
    WAITERS_MAX,
};

/// What an archive unpacks to, its headers counted: four times what may be uploaded, as sources
/// usually shrink.
pub const ARCHIVE_UNPACKED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Files, folders and links of one archive; a large node_modules has about 100,000.
pub const ARCHIVE_MEMBERS_MAX: u64 = 200_000;
/// Unpacked bytes to each packed one: sources reach 10, logs 50, bombs 1000.
pub const ARCHIVE_RATIO_MAX: u64 = 200;
/// The ratio counts from here: a small archive is mostly tar's padding.
pub const ARCHIVE_RATIO_FLOOR_BYTES: u64 = 16 * 1024 * 1024;
/// A member's path, or a link's target (Linux: PATH_MAX).
pub const ARCHIVE_PATH_BYTES_MAX: usize = 4096;
/// One name of a path (Linux: NAME_MAX).
pub const ARCHIVE_NAME_BYTES_MAX: usize = 255;
/// Folders in folders: each is a descriptor held while its content is written.
pub const ARCHIVE_DEPTH_MAX: usize = 100;
/// A pax header: two paths and some times.
pub const ARCHIVE_PAX_BYTES_MAX: u64 = 64 * 1024;
/// Packed artifacts that a worker keeps, newest first; the others come again from the controller.
pub const ARTIFACTS_KEPT: usize = 8;
/// See [`ARTIFACTS_KEPT`].
pub const ARTIFACTS_KEPT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

const _: () = assert!(PARKED_REQUESTS_MAX < CONNECTIONS_MAX, "parked requests leave places");
const _: () = assert!(WAITERS_MAX >= PARKED_REQUESTS_MAX, "each parked request can wait");
const _: () = assert!(ARTIFACT_PIECE_BYTES < STREAM_BUFFER_BYTES_MAX, "a piece fits an answer");
const _: () = assert!(
    LOG_FOLLOW_INTERVAL.as_millis() < LOG_MERGE_WINDOW.as_millis(),
    "an agent has looked once within the window"
);
const _: () = assert!(LOG_LINE_OUT_BYTES_MAX < LOG_SOURCE_BYTES_MAX, "a line fits its buffer");
