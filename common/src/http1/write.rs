//! Heads written anew, for those who answer or ask themselves: the API, the agents, their clients,
//! and the balancer's own answers. Heads that pass through are the balancer's `forward`'s.
//!
//! It writes into the caller's `Vec` and cannot write a malformed head: bytes that would end a line
//! early are replaced. It doesn't decide framing for the caller, but offers each once.
//!
//! ```
//! use tucano_common::http1::write;
//! let mut out = Vec::new();
//! write::response(&mut out, 404).field("Content-Type", "text/plain").body(b"no such thing\n");
//! assert!(out.starts_with(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n"));
//! assert!(out.ends_with(b"\r\nContent-Length: 14\r\n\r\nno such thing\n"));
//! ```

use std::fmt::{self, Write};

use super::fields::is_value_byte;
use super::method::Method;

/// Begins a response.
pub fn response(out: &mut Vec<u8>, status: u16) -> HeadWriter<'_> {
    let mut head = HeadWriter { out };
    head.text(format_args!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)));
    head
}

/// Begins a request. The target is written as given but for bytes that no target may have, which
/// are percent-encoded; `host` goes into the Host field.
pub fn request<'a>(
    out: &'a mut Vec<u8>,
    method: Method,
    target: &str,
    host: &str,
) -> HeadWriter<'a> {
    let mut head = HeadWriter { out };
    head.text(format_args!("{} ", method.text()));
    for byte in target.bytes() {
        if byte.is_ascii_graphic() && byte != b'#' {
            head.out.push(byte);
        } else {
            head.text(format_args!("%{byte:02X}"));
        }
    }
    head.out.extend_from_slice(b" HTTP/1.1\r\n");
    head.field("Host", host)
}

/// A head that is being written; one of the last four methods ends it.
#[must_use = "a head without its end is none"]
#[derive(Debug)]
pub struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl HeadWriter<'_> {
    /// Adds a field. The name is a constant token; in the value, bytes that no field may have
    /// become spaces.
    pub fn field(mut self, name: &str, value: impl fmt::Display) -> Self {
        debug_assert!(super::fields::is_token(name.as_bytes()), "{name} is no field name");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        let start = self.out.len();
        self.text(format_args!("{value}"));
        for byte in self.out.iter_mut().skip(start) {
            if !is_value_byte(*byte) {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a field where there is a value.
    pub fn maybe(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// Adds `Connection: close` where the connection is not kept.
    pub fn keep(self, keeps_alive: bool) -> Self {
        if keeps_alive { self } else { self.field("Connection", "close") }
    }

    /// Ends the head of a message without a body and without a length.
    pub fn bodiless(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the head of a message whose body of `len` bytes the caller sends.
    pub fn length(self, len: u64) {
        self.field("Content-Length", len).bodiless();
    }

    /// Ends the head of a message whose body the caller sends in chunks.
    pub fn chunked(self) {
        self.field("Transfer-Encoding", "chunked").bodiless();
    }

    /// Ends the head and writes the whole body after it.
    pub fn body(self, body: &[u8]) {
        let HeadWriter { out } = self.field("Content-Length", body.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
    }

    fn text(&mut self, text: fmt::Arguments<'_>) {
        struct Into<'a>(&'a mut Vec<u8>);
        impl Write for Into<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
        // A Vec takes everything, and a value's own Display that fails leaves what it wrote.
        let _ = Into(self.out).write_fmt(text);
    }
}

/// The reason phrase of a status, for people who read heads.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        424 => "Failed Dependency",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => match status / 100 {
            1 => "Informational",
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Body, HeadScan, RequestHead, ResponseHead};

    #[test]
    fn what_is_written_parses() {
        let mut out = Vec::new();
        request(&mut out, Method::Post, "/v1/a b?q=\u{e9}#f", "ctl:7070")
            .field("Accept", "application/json")
            .maybe("X-Request-Id", None::<&str>)
            .keep(false)
            .body(b"{}");
        let head = RequestHead::parse(&out, &mut HeadScan::default()).unwrap().unwrap();
        assert_eq!(head.target.path().of(&out), b"/v1/a%20b?q=%C3%A9%23f");
        assert_eq!((head.method, head.body), (Method::Post, Body::Length(2)));
        assert_eq!(head.host.of(&out), b"ctl:7070");
        assert!(!head.keeps_alive() && out.ends_with(b"\r\n\r\n{}"));

        for status in [100, 200, 226, 304, 404, 499, 503, 599, 999] {
            let mut out = Vec::new();
            response(&mut out, status).field("Server", "tucano").chunked();
            let head = ResponseHead::parse(&out, &mut HeadScan::default(), Method::Get);
            assert_eq!(head.unwrap().unwrap().status, status);
        }
    }

    #[test]
    fn a_value_can_not_end_its_line() {
        let mut out = Vec::new();
        response(&mut out, 200).field("X-A", "a\r\nX-B: b\0\n\x1b[0m").length(7);
        let head = ResponseHead::parse(&out, &mut HeadScan::default(), Method::Get);
        let fields = head.unwrap().unwrap().fields;
        assert_eq!(fields.as_slice().len(), 2);
        assert_eq!(fields.as_slice()[0].value.of(&out), b"a  X-B: b   [0m");
    }
}
