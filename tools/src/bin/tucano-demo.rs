//! The demo service: a tiny HTTP server that says which instance answered, and that can be slow,
//! crash or exit on request. `make demo`, the end-to-end tests and first experiments deploy it.
//!
//! It is an ordinary service: it knows nothing of Tucano but the environment that every instance
//! gets. It is no HTTP server for anything else (a thread a connection, no chunked requests).

#![deny(unsafe_code)]

use std::env;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

const HELP: &str = "\
tucano-demo: a small HTTP service that says which instance answered

It takes no flags. It listens on $HOST:$PORT (127.0.0.1:8000 where they are not set) and answers
  GET /              service, instance, worker, revision, pid and the number of the request
  GET /healthz       200
  GET /slow?ms=N     the same as / after N milliseconds (60000 at most)
  GET /bytes?n=N     N bytes (64 MiB at most)
  GET /headers       the request's head as it arrived
  POST /echo         the request's body
  GET /crash         dies by SIGABRT without an answer
  GET /exit?code=N   exits with N without an answer
SIGTERM: finishes what is in flight (10 s at most) and exits 0.
";

const HEAD_BYTES: u64 = 64 * 1024;
const BODY_BYTES: u64 = 64 * 1024 * 1024;
const CONNECTIONS: usize = 256;
const SLOW: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);

/// What the connections' threads share.
struct Shared {
    /// What `/` says, all but the request's number.
    identity: String,
    served: AtomicU64,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    stopping: AtomicBool,
}

/// A request's head and body.
struct Request {
    method: String,
    target: String,
    head: String,
    body: Vec<u8>,
    keep_alive: bool,
}

fn main() -> ExitCode {
    if env::args().len() > 1 {
        let (text, code) = match env::args().nth(1).as_deref() {
            Some("--help" | "-h") => (HELP.to_owned(), 0),
            Some("--version") => (format!("tucano-demo {}\n", env!("CARGO_PKG_VERSION")), 0),
            _ => ("tucano-demo: takes no flags; see --help\n".to_owned(), 2),
        };
        let written = match code {
            0 => io::stdout().write_all(text.as_bytes()),
            _ => io::stderr().write_all(text.as_bytes()),
        };
        return if written.is_ok() { ExitCode::from(code) } else { ExitCode::FAILURE };
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    let host = env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = env::var("PORT").unwrap_or_else(|_| "8000".to_owned());
    let port = port.parse().map_err(|_| io::Error::other(format!("PORT={port} is no port")))?;
    let listener = TcpListener::bind((host.as_str(), port))
        .map_err(|error| io::Error::other(format!("cannot listen on {host}:{port}: {error}")))?;
    let shared = Arc::new(Shared {
        identity: identity(),
        served: AtomicU64::new(0),
        connections: AtomicUsize::new(0),
        in_flight: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
    });
    say(&format!("listening on {host}:{port}, {}", shared.identity));
    let for_accept = Arc::clone(&shared);
    thread::Builder::new().name("accept".into()).spawn(move || accept(&listener, &for_accept))?;
    let signal = ends.wait()?;
    shared.stopping.store(true, Ordering::SeqCst);
    say(&format!("{signal}: finishing {} in flight", shared.in_flight.load(Ordering::SeqCst)));
    let started = Instant::now();
    while shared.in_flight.load(Ordering::SeqCst) > 0 && started.elapsed() < GRACE {
        thread::sleep(Duration::from_millis(5));
    }
    say(&format!("bye after {} requests", shared.served.load(Ordering::SeqCst)));
    Ok(())
}

fn identity() -> String {
    let get = |name| env::var(name).unwrap_or_else(|_| "-".to_owned());
    format!(
        "service={} instance={} worker={} revision={} pid={}",
        get("TUCANO_SERVICE"),
        get("TUCANO_INSTANCE"),
        get("TUCANO_WORKER"),
        get("TUCANO_REVISION"),
        std::process::id()
    )
}

/// One line to stderr; a closed stderr is no reason to stop serving.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("tucano-demo: {line}\n").as_bytes());
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            thread::sleep(Duration::from_millis(10)); // out of descriptors: let some close
            continue;
        };
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let of_thread = Arc::clone(shared);
        let spawned = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            let _ = converse(&stream, &of_thread);
            of_thread.connections.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The requests of one connection, one after the other.
fn converse(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream);
    loop {
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        shared.in_flight.fetch_add(1, Ordering::SeqCst);
        let kept = exchange(&mut reader, stream, shared);
        shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !kept? {
            return Ok(());
        }
    }
}

fn exchange(
    reader: &mut BufReader<&TcpStream>,
    mut stream: &TcpStream,
    shared: &Shared,
) -> io::Result<bool> {
    let Some(request) = read_request(reader, stream)? else {
        stream.write_all(&answer("400 Bad Request", false, b"cannot read this\n", true))?;
        return Ok(false);
    };
    let number = shared.served.fetch_add(1, Ordering::SeqCst) + 1;
    let (status, body) = act(&request, shared, number);
    let keep_alive = request.keep_alive && !shared.stopping.load(Ordering::SeqCst);
    stream.write_all(&answer(status, keep_alive, &body, request.method != "HEAD"))?;
    Ok(keep_alive)
}

fn answer(status: &str, keep_alive: bool, body: &[u8], with_body: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if with_body {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// What the target asks for.
fn act(request: &Request, shared: &Shared, number: u64) -> (&'static str, Vec<u8>) {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let number_in = |name: &str| {
        let found = query.split('&').filter_map(|pair| pair.split_once('='));
        found.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<u64>().ok())
    };
    match path {
        "/healthz" => ("200 OK", b"ok\n".to_vec()),
        "/crash" => std::process::abort(),
        "/exit" => {
            let code = number_in("code").unwrap_or(0);
            std::process::exit(i32::try_from(code & 0xff).unwrap_or(0));
        }
        "/bytes" => {
            let size = number_in("n").unwrap_or(0).min(BODY_BYTES);
            ("200 OK", vec![b'x'; usize::try_from(size).unwrap_or(0)])
        }
        "/headers" => ("200 OK", request.head.clone().into_bytes()),
        "/echo" => ("200 OK", request.body.clone()),
        "/slow" => {
            thread::sleep(Duration::from_millis(number_in("ms").unwrap_or(0)).min(SLOW));
            ("200 OK", greeting(shared, number))
        }
        "/" => ("200 OK", greeting(shared, number)),
        _ => ("404 Not Found", format!("{path:?}: see tucano-demo --help\n").into_bytes()),
    }
}

fn greeting(shared: &Shared, number: u64) -> Vec<u8> {
    let mut text = shared.identity.clone();
    let _ = writeln!(text, " request={number}");
    text.into_bytes()
}

/// Reads one request; `None` where it is not HTTP/1 with a length that this server takes.
fn read_request(
    reader: &mut BufReader<&TcpStream>,
    mut stream: &TcpStream,
) -> io::Result<Option<Request>> {
    let mut head = String::new();
    loop {
        let left = HEAD_BYTES.saturating_sub(head.len() as u64);
        let read = reader.by_ref().take(left).read_line(&mut head)?;
        if read == 0 || left == 0 {
            return Ok(None);
        }
        if head.ends_with("\r\n\r\n") || head.ends_with("\n\n") {
            break;
        }
    }
    let mut words = head.lines().next().unwrap_or("").split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let field = |name: &str| {
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).next()
    };
    let length = field("content-length").map_or(Some(0), |value| value.parse().ok());
    let Some(length) = length.filter(|length| *length <= BODY_BYTES) else { return Ok(None) };
    if field("transfer-encoding").is_some() {
        return Ok(None);
    }
    if field("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let closes = |text: &str| text.to_ascii_lowercase().contains("close");
    let keep_alive = version == "HTTP/1.1" && !field("connection").is_some_and(closes);
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut body = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut body)?;
    let whole = body.len() as u64 == length;
    Ok(whole.then_some(Request { method, target, head, body, keep_alive }))
}
