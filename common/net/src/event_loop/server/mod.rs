//! The server's side: connections that were accepted, each a state machine over its socket.
//!
//! A connection knows nothing of the application: it says what it has for it ([`Step`]), and the
//! loop tells.
//!
//! ```text
//!   reading:  Head ──head──► Planned ──plan──► Collect | Stream ──end of body──► Done ──answer
//! left──► Head
//!               │               │                     └──answered early──► Skip ──► Done
//!               └──not HTTP─────┴──refused, too large, too slow──► Linger ──► closed
//!   writing:  Idle ──head──► Due ──respond──► Finished ──all left──► Idle
//!                             └──respond_stream──► Streaming ──finish──► Finished
//! ```

mod answer;
mod conn;
mod lent;
mod read;
mod request;

pub(super) use conn::{Conn, Context, Step};
pub(super) use lent::Lent;
pub(super) use request::RequestIds;
