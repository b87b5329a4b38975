//! The client's side: calls, each a state machine over a connection that is fresh or from the pool.
//!
//! A call knows nothing of the application: it says what it has for it ([`Step`]), and the loop
//! tells.
//!
//! ```text
//!   Connecting ──► Asking ──head──► Receiving ──end──► over; the connection back into the pool
//!        ▲            │ broken, pooled, nothing came, not tried twice
//!        └────────────┘
//! ```

mod call;
mod pool;
mod receive;

pub(super) use call::{Call, Context, Spec, Step};
pub(super) use pool::{Pool, User};
pub(crate) use receive::owned as owned_head;
