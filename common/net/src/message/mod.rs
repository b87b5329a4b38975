//! Requests and answers as owned values: what an application sees of HTTP.
//!
//! Nothing here reads or writes a socket, and nothing here knows the wire's framing. The loop and
//! the blocking client make them out of what `tucano_common::http1` parsed, and serialise them
//! through it.

mod headers;
mod request;
mod response;

pub use headers::Headers;
pub use request::{AnswerMode, Method, OutRequest, Request, RequestHead, Version};
pub use response::{Answer, Response, ResponseHead};
