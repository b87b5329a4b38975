//! Every bound in the system, in one folder, each with its reason.
//!
//! Relations between them are checked at compile time below. Nothing else in the tree declares a
//! limit. All of them are used as `limits::NAME`; the files only keep them readable.

mod archive;
mod balancer;
mod controller;
mod http;
mod net;
mod service;
mod shown;
mod silence;
mod worker;

pub use archive::*;
pub use balancer::*;
pub use controller::*;
pub use http::*;
pub use net::*;
pub use service::*;
pub use shown::*;
pub use silence::*;
pub use worker::*;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX, "a long target is 414 before it is 431");
const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize, "spans into a head are 16 bits wide");
const _: () = assert!(TRAILER_BYTES_MAX <= HEAD_BYTES_MAX, "a trailer line fits a head's buffer");
const _: () = assert!(OWN_CHUNK_BYTES_MAX + 2 * HEAD_BYTES_MAX <= BODY_BUFFER_BYTES);
const _: () = assert!(CHUNK_EXTENSION_BYTES_MAX <= u16::MAX as usize, "counted in 16 bits");
const _: () =
    assert!(3 * SCRIPT_BYTES_MAX + ENV_BYTES_MAX < API_BODY_BYTES_MAX, "a full spec fits a body");
const _: () = assert!(HEAD_BYTES_MAX < READ_BUFFER_BYTES, "a head fits one read buffer");
const _: () = assert!(STREAM_LOW_WATER_BYTES < STREAM_BUFFER_BYTES_MAX);
const _: () = assert!(POOL_IDLE_TIMEOUT.as_millis() < KEEP_ALIVE_IDLE.as_millis());
