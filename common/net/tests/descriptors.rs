//! A loop whose process has no descriptors left refuses who can't be served, serves the others, and
//! recovers.
//!
//! A process of its own: the limit holds for all of one.
#![expect(clippy::expect_used, reason = "a test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tucano_net::{App, ConnId, HttpConfig, HttpLoop, Io, Request, Response};

struct Hello;

impl App for Hello {
    type Msg = ();

    fn on_request(&mut self, io: &mut Io, conn: ConnId, _request: Request) {
        io.respond(conn, Response::text(200, "hello"));
    }

    fn on_msg(&mut self, io: &mut Io, (): ()) {
        io.stop();
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a read timeout");
    stream
}

/// Whether the connection is answered; else it was closed without a word.
fn is_answered(mut stream: TcpStream) -> bool {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    match stream.write_all(request).and_then(|()| stream.read_to_string(&mut answer)) {
        Ok(_) => answer.ends_with("hello"),
        Err(error) => {
            let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(kinds.contains(&error.kind()), "closed, not hanging: {error}");
            false
        }
    }
}

#[test]
fn without_descriptors_some_are_refused_and_all_the_others_served() {
    let (mut http, sender) = HttpLoop::new(HttpConfig::default()).expect("a loop");
    let listener = tucano_net::listener::listen_on("127.0.0.1:0".parse().unwrap()).expect("bound");
    let addr = http.io().listen(listener).expect("listened on");
    // All of them wait in the kernel's queue before the loop begins.
    let waiting: Vec<_> = (0..20).map(|_| connect(addr)).collect();
    let highest = waiting.iter().map(|stream| stream.as_raw_fd()).max().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, highest as u64 + 6, hard).expect("a lower limit");

    let thread = std::thread::spawn(move || http.run(&mut Hello).expect("the loop"));
    let answered = waiting.into_iter().map(is_answered).filter(|answered| *answered).count();
    assert!((5..20).contains(&answered), "{answered} of 20");

    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the old limit");
    assert!(is_answered(connect(addr)), "it serves again");
    sender.try_send(()).expect("room");
    thread.join().expect("the loop's thread");
}
