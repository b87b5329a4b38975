//! HTTP/1.1 without sockets, made for a proxy (RFC 9110, RFC 9112).
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`scan`] | where a head ends, and the bytes no head may have |
//! | [`head`] | request heads and response heads, as spans into the caller's buffer |
//! | [`lines`] | the field lines of a head, as spans, and what they say |
//! | [`method`] | the methods and versions whose rules differ |
//! | [`target`] | the forms of a request target, and authorities |
//! | [`fields`] | names, comma lists, which fields end at this hop |
//! | [`framing`] | one table: how long a body is, or why nobody may guess |
//! | [`chunked`] | the chunked coding, decoded in place, and chunk heads |
//! | [`body`] | one decoder over all framings |
//! | [`exchange`] | both sides of one exchange as one state |
//! | [`write`] | heads written anew |
//!
//! What is deliberately absent: sockets, buffers, clocks, allocation on the path of a request,
//! leniency. A message that two parsers could read differently is refused, on both sides. Callers:
//! the servers and clients of `tucano-net`, and the balancer's loops.

pub mod body;
pub mod chunked;
pub mod error;
pub mod exchange;
pub mod fields;
pub mod framing;
pub mod head;
pub mod lines;
pub mod method;
pub mod scan;
pub mod target;
pub mod write;

pub use body::BodyDecoder;
pub use error::HeadError;
pub use fields::FieldName;
pub use framing::Body;
pub use head::{RequestHead, ResponseHead};
pub use lines::{Field, Fields, Nominated, Span};
pub use method::{Method, Version};
pub use scan::HeadScan;
