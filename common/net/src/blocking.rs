//! A small blocking HTTP/1.1 client for programs that may wait: the command line, helper threads,
//! tests.
//!
//! One connection a request, closed after it; every wait has a limit. It follows no redirects and
//! speaks no TLS. A loop's thread uses [`Io::call`](crate::Io::call).

mod connection;

use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tucano_common::http1::{BodyDecoder, Method};
use tucano_common::limits;

use crate::message::{Answer, AnswerMode, Headers, OutRequest};
use connection::{Connection, Failure, Head};

/// How long a blocking request waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the head of the answer. A blocking query or a deploy that is waited for needs more.
    pub head: Duration,
    /// For each piece of the answer's body, and for each piece of the request to be taken.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: limits::CALL_CONNECT_TIMEOUT,
            head: limits::CALL_HEAD_TIMEOUT,
            idle: limits::BODY_IDLE_TIMEOUT,
        }
    }
}

/// Why a request failed.
#[derive(Debug)]
pub enum ClientError {
    /// No address of the server could be connected to.
    Connect(String, io::Error),
    /// The server took nothing, or answered nothing, in time.
    Timeout(String),
    /// The connection broke.
    Broken(String, io::Error),
    /// The answer is no HTTP.
    BadAnswer(String, &'static str),
    /// The answer's body is larger than the caller wants.
    TooLarge(String, usize),
    /// The request's own body could not be read.
    Body(io::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Connect(to, _) => write!(f, "could not connect to {to}"),
            ClientError::Timeout(to) => write!(f, "{to} did not answer in time"),
            ClientError::Broken(to, _) => write!(f, "the connection to {to} broke"),
            ClientError::BadAnswer(to, reason) => {
                write!(f, "the answer of {to} is not valid HTTP: {reason}")
            }
            ClientError::TooLarge(to, max) => {
                write!(f, "the answer of {to} is larger than {max} bytes")
            }
            ClientError::Body(_) => f.write_str("could not read what is to be sent"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Connect(_, error)
            | ClientError::Broken(_, error)
            | ClientError::Body(error) => Some(error),
            ClientError::Timeout(_) | ClientError::BadAnswer(..) | ClientError::TooLarge(..) => {
                None
            }
        }
    }
}

/// Asks one server.
#[derive(Clone, Debug)]
pub struct Client {
    addrs: Vec<SocketAddr>,
    host: String,
    timeouts: Timeouts,
}

impl Client {
    /// A client of the server at these addresses, tried in order; `host` is its Host field and its
    /// name in errors.
    pub fn new(addrs: Vec<SocketAddr>, host: impl Into<String>) -> Client {
        Client { addrs, host: host.into(), timeouts: Timeouts::default() }
    }

    /// A client of the server at this URL. Asks the resolver.
    pub fn of_url(url: &crate::url::HttpUrl) -> Result<Client, ClientError> {
        let addrs = url.resolve().map_err(|error| ClientError::Connect(url.authority(), error))?;
        Ok(Client::new(addrs, url.authority()))
    }

    /// The same with other time limits.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Client {
        self.timeouts = timeouts;
        self
    }

    /// Sends a request and collects its answer (`OutRequest::answer` says up to how much).
    pub fn send(&self, request: &OutRequest) -> Result<Answer, ClientError> {
        self.open(request)?.collect(bytes_max(request))
    }

    /// Sends a request and gives the answer's body as it comes.
    pub fn open(&self, request: &OutRequest) -> Result<Streamed, ClientError> {
        let mut connection = self.connect(request.method)?;
        let mut bytes = self.head(request, request.body.len() as u64);
        bytes.extend_from_slice(&request.body);
        let sent = connection.send(&bytes);
        self.answer_of(connection, sent)
    }

    /// Sends a request whose body is `len` bytes of `body`, and collects the answer.
    ///
    /// Nothing of the body is sent before the server said that it wants it (`Expect:
    /// 100-continue`), or said nothing for a while.
    pub fn upload(
        &self,
        request: &OutRequest,
        body: &mut dyn Read,
        len: u64,
    ) -> Result<Answer, ClientError> {
        let mut connection = self.connect(request.method)?;
        let head = self.head(&request.clone().header("Expect", "100-continue"), len);
        connection.send(&head).map_err(|error| self.broken(error))?;
        let refused = connection.await_continue(EXPECT_WAIT);
        if let Some(head) = refused.map_err(|error| self.explain(error))? {
            return Streamed::new(connection, head, self.clone()).collect(bytes_max(request));
        }
        let mut left = len;
        let mut piece = vec![0; limits::READ_BUFFER_BYTES];
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let got = body.read(&mut piece[..room]).map_err(ClientError::Body)?;
            if got == 0 {
                return Err(ClientError::Body(io::ErrorKind::UnexpectedEof.into()));
            }
            left -= got as u64;
            if let Err(error) = connection.send(&piece[..got]) {
                // What the server said before it closed explains more than that it closed.
                let answer = self.answer_of(connection, Err(error))?;
                return answer.collect(bytes_max(request));
            }
        }
        self.answer_of(connection, Ok(()))?.collect(bytes_max(request))
    }

    fn connect(&self, method: Method) -> Result<Connection, ClientError> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for addr in &self.addrs {
            match TcpStream::connect_timeout(addr, self.timeouts.connect) {
                Ok(stream) => {
                    let connection = Connection::new(stream, method, self.timeouts);
                    return connection.map_err(|error| self.broken(error));
                }
                Err(error) => failed = error,
            }
        }
        Err(ClientError::Connect(self.host.clone(), failed))
    }

    fn head(&self, request: &OutRequest, body_len: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        request.clone().close().write_head(&mut bytes, &self.host, body_len);
        bytes
    }

    /// The answer, also where sending broke: a server that refuses may not read to the end.
    fn answer_of(
        &self,
        mut connection: Connection,
        sent: io::Result<()>,
    ) -> Result<Streamed, ClientError> {
        match (connection.read_head(self.timeouts.head), sent) {
            (Ok(head), _) => Ok(Streamed::new(connection, head, self.clone())),
            (Err(_), Err(error)) => Err(self.broken(error)),
            (Err(error), Ok(())) => Err(self.explain(error)),
        }
    }

    fn explain(&self, failure: Failure) -> ClientError {
        match failure {
            Failure::BadAnswer(reason) => ClientError::BadAnswer(self.host.clone(), reason),
            Failure::Io(error) => self.broken(error),
        }
    }

    fn broken(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Timeout(self.host.clone())
            }
            _ => ClientError::Broken(self.host.clone(), error),
        }
    }
}

/// How long an upload waits to be asked for.
const EXPECT_WAIT: Duration = Duration::from_secs(1);

fn bytes_max(request: &OutRequest) -> usize {
    match request.answer {
        AnswerMode::Collect { bytes_max } => bytes_max,
        AnswerMode::Stream => limits::API_BODY_BYTES_MAX,
    }
}

/// An answer whose body is read as it comes ([`Read`]; decoded from its framing).
///
/// A body that is cut off is an error of kind `UnexpectedEof`, never a short read.
pub struct Streamed {
    /// The status.
    pub status: u16,
    /// The fields.
    pub headers: Headers,
    connection: Connection,
    decoder: BodyDecoder,
    client: Client,
}

impl Streamed {
    fn new(connection: Connection, head: Head, client: Client) -> Streamed {
        let Head { head, body } = head;
        let decoder = BodyDecoder::new(body);
        Streamed { status: head.status, headers: head.headers, connection, decoder, client }
    }

    /// Reads all of the body, up to so many bytes.
    pub fn collect(mut self, bytes_max: usize) -> Result<Answer, ClientError> {
        let mut body = Vec::new();
        let limit = bytes_max as u64 + 1;
        let read = Read::by_ref(&mut self).take(limit).read_to_end(&mut body);
        read.map_err(|error| self.client.broken(error))?;
        if body.len() > bytes_max {
            return Err(ClientError::TooLarge(self.client.host, bytes_max));
        }
        Ok(Answer { status: self.status, headers: self.headers, body })
    }
}

impl Read for Streamed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.connection.read_body(&mut self.decoder, buf)
    }
}

#[cfg(test)]
mod tests;
