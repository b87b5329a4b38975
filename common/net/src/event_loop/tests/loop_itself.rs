//! The loop: its inbox, timers, descriptors, bounds on connections, and its end.

use std::sync::atomic::Ordering;

use super::*;

#[test]
fn messages_come_in_order_and_a_full_inbox_says_so() {
    let (mut http, sender) =
        HttpLoop::<u32>::new(HttpConfig { inbox_messages_max: 3, ..HttpConfig::default() })
            .expect("a loop");
    struct Listener(Vec<u32>);
    impl App for Listener {
        type Msg = u32;
        fn on_msg(&mut self, io: &mut Io, msg: u32) {
            self.0.push(msg);
            if msg == 3 {
                io.stop();
            }
        }
    }
    for i in 1..=3 {
        sender.try_send(i).expect("room");
    }
    assert!(matches!(sender.try_send(4), Err(SendError::Full(4))));
    let mut app = Listener(Vec::new());
    http.run(&mut app).expect("the loop");
    assert_eq!(app.0, [1, 2, 3]);
    drop(http);
    assert!(matches!(sender.try_send(5), Err(SendError::Closed(5))));
}

#[test]
fn no_message_is_lost_whoever_sends() {
    let server = Server::start(HttpConfig::default());
    let senders: Vec<_> = (0..4)
        .map(|i| {
            let sender = server.sender.clone();
            std::thread::spawn(move || {
                for j in 0..2000 {
                    while sender.try_send(Ask::Note(i * 10_000 + j)).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..8000 {
        let Heard::Msg(number) = server.hear() else { panic!("a message") };
        let (from, count) = ((number / 10_000) as usize, number % 10_000);
        assert_eq!(count, next[from], "each sender's are in order");
        next[from] += 1;
    }
    senders.into_iter().for_each(|thread| thread.join().expect("a sender"));
}

#[test]
fn an_idle_loop_takes_no_turns() {
    let server = Server::start(HttpConfig::default());
    let mut idle = server.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    read_answer(&mut idle);
    server.ask(Ask::Timer(Duration::from_millis(100)));
    assert_eq!(server.hear(), Heard::Timer);
    // Connecting, the request and the message took some turns, the timer one. A loop that turns
    // without need would have taken thousands.
    let turns = server.counters.turns.load(Ordering::Relaxed);
    assert!(turns < 20, "{turns} turns");
}

#[test]
fn timers_come_once_and_cancelled_ones_never() {
    let server = Server::start(HttpConfig::default());
    server.ask(Ask::CancelledTimer(Duration::ZERO));
    server.ask(Ask::Timer(Duration::from_millis(10)));
    assert_eq!(server.hear(), Heard::Timer);
    server.ask(Ask::Note(1));
    assert_eq!(server.hear(), Heard::Msg(1));
}

#[test]
fn descriptors_are_watched_also_where_they_are_readable_already() {
    let server = Server::start(HttpConfig::default());
    let (early, mut early_writer) = std::io::pipe().expect("a pipe");
    early_writer.write_all(b"x").expect("written");
    server.ask(Ask::Watch(early.into()));
    assert_eq!(server.hear(), Heard::Fd);
    let (late, late_writer) = std::io::pipe().expect("a pipe");
    server.ask(Ask::Watch(late.into()));
    server.ask(Ask::Note(1));
    assert_eq!(server.hear(), Heard::Msg(1));
    drop(late_writer);
    assert_eq!(server.hear(), Heard::Fd);
}

#[test]
fn connections_beyond_the_bound_wait_for_room() {
    let config = HttpConfig { connections_max: 4, accept_resume_free: 2, ..HttpConfig::default() };
    let server = Server::start(config);
    let mut streams: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    for stream in &mut streams[..4] {
        assert_eq!(read_answer(stream).1, "GET / []");
    }
    // The count is taken at the end of a turn; a message begins another.
    server.ask(Ask::Note(1));
    assert_eq!(server.hear(), Heard::Msg(1));
    assert_eq!(server.counters.connections.load(Ordering::Relaxed), 4);
    // One place is not enough to begin again, two are.
    let mut waiting = streams.split_off(4);
    drop(streams.pop());
    server.ask(Ask::Timer(Duration::from_millis(10)));
    assert_eq!(server.hear(), Heard::Timer);
    waiting[0].set_read_timeout(Some(Duration::from_millis(1))).expect("a read timeout");
    assert!(waiting[0].read(&mut [0]).is_err(), "still waiting");
    waiting[0].set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    drop(streams.pop());
    for stream in &mut waiting {
        assert_eq!(read_answer(stream).1, "GET / []");
    }
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    let config = HttpConfig {
        connections_max: 4,
        accept_resume_free: 2,
        evict_idle_after: Duration::from_millis(20),
        ..HttpConfig::default()
    };
    let server = Server::start(config);
    let mut busy = server.connect();
    busy.write_all(b"GET /park HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    let mut idle: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut idle {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        read_answer(stream);
    }
    let mut new = server.connect();
    new.write_all(b"GET /new HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(read_answer(&mut new).1, "GET /new []");
    // The two that were idle longest had to go; the one that waits for its answer did not.
    assert_eq!((read_all(&mut idle[0]), read_all(&mut idle[1])), (String::new(), String::new()));
    server.ask(Ask::Answer("kept"));
    assert_eq!(read_answer(&mut busy).1, "kept");
}

#[test]
fn a_drained_loop_answers_what_it_has_and_takes_nothing_new() {
    let server = Server::start(HttpConfig::default());
    let mut idle = server.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    read_answer(&mut idle);
    let mut busy = server.connect();
    busy.write_all(b"GET /park HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(server.hear(), Heard::Parked);
    server.ask(Ask::Drain);
    assert_eq!(read_all(&mut idle), "");
    assert!(TcpStream::connect(server.addr).is_err(), "nobody listens");
    server.ask(Ask::Answer("the last"));
    let (head, body) = read_answer(&mut busy);
    assert!(head.contains("Connection: close") && body == "the last", "{head}");
}
