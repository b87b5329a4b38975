//! A body's pipe when the body is followed by a tunnel.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::*;

/// Both ends of a connection: one as a loop has it, watched under this token.
fn pair(poll: &Poll, token: Token) -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut near = Socket::new(mio::net::TcpStream::from_std(near));
    near.register(poll.registry(), token).unwrap();
    (near, far)
}

/// Writes until the far side takes nothing more; so many bytes.
fn fill(to: &mut Socket) -> usize {
    let mut filled = 0;
    while let Moved::Some(count) = to.write(&[IoSlice::new(&[b'x'; 64 * 1024])]) {
        filled += count;
    }
    filled
}

#[test]
fn what_is_in_a_pipe_when_a_tunnel_begins_goes_out_first_and_the_pipe_comes_back() {
    const BODY: &[u8] = b"the last of the body";
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
    let (mut from, mut client) = pair(&poll, Token(0));
    let (mut to, mut service) = pair(&poll, Token(1));
    let mut pipes = Pipes::new();
    let mut relay = Relay::new(Body::Length(BODY.len() as u64), Recoding::Same, 0);
    relay.pipe = pipes.take();
    assert!(relay.pipe.is_some());
    let mut filled = fill(&mut to);
    let mut wait = |from: &mut Socket, to: &mut Socket| {
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(!events.is_empty(), "nothing happened");
        for event in &events {
            if event.token() == Token(0) { from.note(event) } else { to.note(event) }
        }
    };
    client.write_all(BODY).unwrap();
    while !relay.is_whole() {
        if relay.pass(&mut from, &mut to, &mut pipes, usize::MAX) == Passed::Blocked {
            wait(&mut from, &mut to);
            // Nobody reads there, but the kernel may have found more room.
            filled += fill(&mut to);
        }
    }
    assert!(relay.waits_for_receiver() && !relay.is_over());
    relay.become_tunnel();
    assert!(!relay.is_whole() && relay.waits_for_receiver());
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; filled + BODY.len()];
        service.read_exact(&mut got).unwrap();
        (got.split_off(filled), service)
    });
    while relay.is_piped(&mut pipes) {
        match relay.pass(&mut from, &mut to, &mut pipes, usize::MAX) {
            Passed::Blocked => wait(&mut from, &mut to),
            passed => assert!(matches!(passed, Passed::Some { taken: 0, .. }), "{passed:?}"),
        }
    }
    assert_eq!(reader.join().unwrap().0, BODY);
    assert!(pipes.are_all_here(), "the pipe was not given back");
    // What comes now goes the tunnel's way, without a pipe.
    relay.advance(b"hello").unwrap();
    assert!(relay.has_ready() && !relay.is_over());
}
