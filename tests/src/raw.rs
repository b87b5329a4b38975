//! Bytes on a socket, for what no proper client sends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer as it came.
#[derive(Debug)]
pub struct Raw {
    /// The status; 0 where there was no answer.
    pub status: u16,
    /// Everything up to the connection's end.
    pub text: String,
}

/// Sends these bytes and reads until the other side closes (or says nothing for five seconds).
pub fn raw(to: SocketAddr, bytes: &[u8]) -> Raw {
    let mut stream = TcpStream::connect(to).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.write_all(bytes).expect("bytes are taken");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..count]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Raw { status, text }
}
