//! One HTTP/1.1 connection of a fake worker, as bytes: what is to be written, what came, and the
//! next whole message in it. It knows the framing by `Content-Length` that both sides here use.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

/// A head or a body beyond this is none that a controller sends.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A connection in either direction.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
}

/// A whole message: its first line, and its body.
pub(super) struct Message {
    pub(super) line: String,
    pub(super) body: Vec<u8>,
}

impl Conn {
    pub(super) fn new(stream: TcpStream) -> Conn {
        // Without it a small answer waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Conn { stream, output: Vec::new(), written: 0, input: Vec::new() }
    }

    /// Adds a message and writes what the kernel takes.
    pub(super) fn send(&mut self, head: &str, body: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(head.as_bytes());
        self.output.extend_from_slice(body);
        self.flush()
    }

    /// Writes what the kernel takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what is there; false once the other side has closed.
    pub(super) fn fill(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(count) => self.input.extend_from_slice(&scratch[..count]),
                Err(error) if is_later(&error) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the next message out, if all of it is there.
    pub(super) fn take(&mut self) -> io::Result<Option<Message>> {
        let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.input[..end]);
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())
        });
        let length: usize = length.flatten().unwrap_or(0);
        if length > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let whole = end + 4 + length;
        if self.input.len() < whole {
            return Ok(None);
        }
        let body = self.input[end + 4..whole].to_vec();
        self.input.drain(..whole);
        Ok(Some(Message { line, body }))
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as Blocking};

    use super::*;

    #[test]
    fn messages_come_whole_and_one_after_the_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut sender = Blocking::connect(listener.local_addr().expect("it")).expect("a peer");
        let (stream, _) = listener.accept().expect("the peer");
        stream.set_nonblocking(true).expect("a flag");
        let mut conn = Conn::new(TcpStream::from_std(stream));
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\nH";
        sender.write_all(text.as_bytes()).expect("sent");
        drop(sender);
        while conn.fill(&mut [0; 7]).expect("read") {}
        let first = conn.take().expect("framed").expect("whole");
        assert_eq!((first.line.as_str(), first.body.as_slice()), ("HTTP/1.1 200 OK", &b"ok"[..]));
        assert_eq!(conn.take().expect("framed").expect("whole").line, "HTTP/1.1 204 No Content");
        assert!(conn.take().expect("framed").is_none(), "the last one is cut");
    }
}
