//! Events over a real connection: pages, following, slow readers.

use tucano_common::limits::EVENTS_PAGE_MAX;

use super::*;
use crate::msgs::{Block, EventsPage};

fn page(seqs: std::ops::RangeInclusive<u64>, newest: u64) -> EventsPage {
    let last = *seqs.end();
    let lines: String = seqs.map(|seq| format!("{{\"seq\":{seq}}}\n")).collect();
    EventsPage { lines: lines.into_bytes(), last, newest }
}

fn asked(rig: &Rig) -> (Ticket, u64, Option<Block>) {
    match rig.ask() {
        Ask::Query { ticket, query: Query::Events { after, limit }, block } => {
            assert_eq!(limit, EVENTS_PAGE_MAX);
            (ticket, after, block)
        }
        other => panic!("no question for events: {other:?}"),
    }
}

#[test]
fn history_comes_in_pages_up_to_the_newest() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events?after=2", &[], b"");
    for (after, seqs, newest) in [(2, 3..=4, 7), (4, 5..=6, 8), (6, 7..=8, 9)] {
        let (ticket, asked_after, block) = asked(&rig);
        assert_eq!((asked_after, block), (after, None));
        rig.answer(ticket, Reply::Events(page(seqs, newest)));
    }
    let got = client.answer();
    assert_eq!(got.field("x-tucano-index"), Some("7"));
    assert_eq!(got.field("content-type"), Some("application/x-ndjson"));
    let seqs: Vec<u64> =
        got.text().lines().map(|line| line[7..line.len() - 1].parse().expect("a seq")).collect();
    assert_eq!(seqs, [3, 4, 5, 6, 7, 8], "to the newest there was when it began, and no gap");
    client.send("GET", "/healthz", &[], b"");
    assert_eq!(client.answer().status, 200, "the connection goes on");
}

#[test]
fn an_empty_history_is_an_empty_answer() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events", &[], b"");
    let (ticket, after, _) = asked(&rig);
    rig.answer(ticket, Reply::Events(EventsPage { lines: Vec::new(), last: 0, newest: 0 }));
    let got = client.answer();
    assert_eq!((after, got.status, got.text().as_str()), (0, 200, ""));
}

#[test]
fn a_history_that_was_cut_meanwhile_ends() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events?after=5", &[], b"");
    let (ticket, _, _) = asked(&rig);
    rig.answer(ticket, Reply::Events(EventsPage { lines: Vec::new(), last: 5, newest: 9 }));
    assert_eq!(client.answer().text(), "");
}

#[test]
fn following_goes_on_from_the_last_one_until_the_reader_leaves() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events?after=0&follow=true", &[], b"");
    let (ticket, after, block) = asked(&rig);
    assert_eq!((after, block), (0, None));
    rig.answer(ticket, Reply::Events(page(1..=2, 2)));
    assert_eq!(client.head().status, 200);
    assert_eq!(client.lines(2), ["{\"seq\":1}", "{\"seq\":2}"]);
    for seq in 3..6 {
        let (ticket, after, block) = asked(&rig);
        assert_eq!((after, block.map(|block| block.index)), (seq - 1, Some(seq - 1)));
        rig.answer(ticket, Reply::Events(page(seq..=seq, seq)));
        assert_eq!(client.lines(1), [format!("{{\"seq\":{seq}}}")]);
    }
    let (ticket, _, _) = asked(&rig);
    drop(client);
    match rig.ask() {
        Ask::Cancel(cancelled) => assert_eq!(cancelled, ticket),
        other => panic!("not cancelled: {other:?}"),
    }
}

#[test]
fn a_wait_that_is_over_asks_again() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events?after=4&follow", &[], b"");
    for _ in 0..3 {
        let (ticket, after, _) = asked(&rig);
        assert_eq!(after, 4);
        rig.answer(ticket, Reply::Events(EventsPage { lines: Vec::new(), last: 4, newest: 4 }));
    }
    let (ticket, _, _) = asked(&rig);
    rig.answer(ticket, Reply::Events(page(5..=5, 5)));
    assert_eq!(client.head().status, 200);
    assert_eq!(client.lines(1), ["{\"seq\":5}"]);
}

#[test]
fn an_index_waits_for_what_is_past_it() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events?index=5&wait=3s", &[], b"");
    let (ticket, after, block) = asked(&rig);
    let wait = std::time::Duration::from_secs(3);
    assert_eq!((after, block), (5, Some(Block { index: 5, wait })));
    rig.answer(ticket, Reply::Events(page(6..=6, 6)));
    assert_eq!(client.answer().text(), "{\"seq\":6}\n");
}

#[test]
fn a_reader_that_does_not_read_is_not_written_for() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events", &[], b"");
    let long = |seq: u64| {
        let lines = format!("{{\"seq\":{seq},\"x\":\"{}\"}}\n", "x".repeat(400_000)).into_bytes();
        EventsPage { lines, last: seq, newest: 1000 }
    };
    // Sockets' buffers take some; then the API stops asking, long before the thousandth page.
    let mut pages = 0;
    while let Ok(ask) = rig.asks.recv_timeout(std::time::Duration::from_millis(300)) {
        let Ask::Query { ticket, query: Query::Events { after, .. }, .. } = ask else {
            panic!("no question for events: {ask:?}");
        };
        pages += 1;
        assert_eq!(after + 1, pages);
        assert!(pages < 200, "it goes on without its reader");
        rig.answer(ticket, Reply::Events(long(pages)));
    }
    assert_eq!(client.head().status, 200);
    let mut read = 0;
    while read < 400_000 * pages as usize {
        read += client.chunk().expect("more of the body").len();
    }
    let (_, after, _) = asked(&rig);
    assert_eq!(after, pages, "it goes on once its reader does");
}

#[test]
fn a_refusal_before_the_answer_is_told_and_after_it_breaks_it() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/events", &[], b"");
    let (ticket, _, _) = asked(&rig);
    rig.refuse(ticket, 503);
    assert_eq!(client.answer().status, 503);
    client.send("GET", "/v1/events", &[], b"");
    let (ticket, _, _) = asked(&rig);
    rig.answer(ticket, Reply::Events(page(1..=1, 5)));
    let (ticket, _, _) = asked(&rig);
    rig.refuse(ticket, 503);
    assert_eq!(client.head().status, 200);
    while find(&client.rest, b"0\r\n\r\n").is_none() {
        if !client.more() {
            return;
        }
    }
    panic!("an answer that broke off looks whole");
}
