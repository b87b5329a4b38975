//! A raw client, and the answers that it gets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tucano_common::http1::chunked::Part;
use tucano_common::http1::{Body, BodyDecoder, FieldName, HeadScan, Method, ResponseHead};

use super::harness::PATIENCE;

/// A final answer as the client got it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) status: u16,
    /// The body's content.
    pub(super) body: Vec<u8>,
    pub(super) trailers: String,
    /// It ended as its framing says.
    pub(super) is_whole: bool,
    pub(super) keeps_alive: bool,
    pub(super) framing: Body,
}

impl Answer {
    /// A field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A raw client.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) unread: Vec<u8>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, unread: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads once; false at the end, or where the connection broke.
    pub(super) fn read(&mut self) -> bool {
        let mut room = [0; 65536];
        match self.stream.read(&mut room) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&room[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came; so far: {}", self.unread.escape_ascii())
            }
            Err(_) => false,
        }
    }

    /// The next head, interim ones too.
    pub(super) fn head(&mut self, method: Method) -> Option<(ResponseHead, String)> {
        loop {
            match ResponseHead::parse(&self.unread, &mut HeadScan::default(), method) {
                Ok(Some(head)) => {
                    let bytes: Vec<u8> = self.unread.drain(..head.len()).collect();
                    return Some((head, String::from_utf8(bytes).unwrap()));
                }
                Ok(None) if self.read() => {}
                Ok(None) => return None,
                Err(error) => panic!("{error}: {}", self.unread.escape_ascii()),
            }
        }
    }

    /// The next final answer.
    pub(super) fn answer(&mut self) -> Answer {
        self.answer_to(Method::Get)
    }

    pub(super) fn answer_to(&mut self, method: Method) -> Answer {
        let (head, text) = loop {
            let (head, text) = self.head(method).expect("an answer");
            if !head.is_interim() {
                break (head, text);
            }
        };
        let mut decoder = BodyDecoder::new(head.body);
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let is_whole = loop {
            while let Some(piece) = decoder.next(&self.unread).expect("a well-formed body") {
                let bytes: Vec<u8> = self.unread.drain(..piece.len).collect();
                match piece.part {
                    Part::Data => body.extend_from_slice(&bytes),
                    Part::Trailer { .. } => trailers.extend_from_slice(&bytes),
                    Part::Framing | Part::Extension => {}
                }
            }
            if decoder.is_done() {
                break true;
            }
            if !self.read() {
                break decoder.may_end_at_close();
            }
        };
        Answer {
            status: head.status,
            keeps_alive: head.keeps_alive(),
            framing: head.body,
            head: text,
            body,
            trailers: String::from_utf8(trailers).unwrap(),
            is_whole,
        }
    }

    /// Whether the balancer closes the connection, without another byte.
    pub(super) fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.read() && self.unread.is_empty()
    }

    pub(super) fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// Whether a head has a field of ours.
pub(super) fn error_code(answer: &Answer) -> Option<&str> {
    answer.field(FieldName::XTucanoError.text())
}
