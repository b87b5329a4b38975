//! The end of the process: what is in flight is answered, what waits is sent away.

use super::*;
use crate::msgs::EventsPage;

#[test]
fn what_is_in_flight_is_answered_and_what_waits_is_sent_away() {
    let mut rig = Rig::new();
    let mut working = rig.client();
    working.send("DELETE", "/v1/services/web", &[], b"");
    let Ask::Command { ticket: work, .. } = rig.ask() else {
        panic!("not a command");
    };
    let mut parked = rig.client();
    parked.send("GET", "/v1/services?index=1&wait=10m", &[], b"");
    let (parked_ticket, _) = rig.query();
    let mut follower = rig.client();
    follower.send("GET", "/v1/events?follow", &[], b"");
    let (ticket, _) = rig.query();
    let lines = b"{\"seq\":1}\n".to_vec();
    rig.answer(ticket, Reply::Events(EventsPage { lines, last: 1, newest: 1 }));
    assert_eq!(follower.head().status, 200);
    let (follow_ticket, _) = rig.query();

    let deadline = tucano_net::clock::Clock::now().mono + PATIENCE;
    rig.send(ToApi::Stop { deadline });
    let got = parked.answer();
    assert_eq!((got.status, got.field("retry-after")), (503, Some("1")));
    assert_eq!(follower.lines(1), ["{\"seq\":1}"]);
    assert_eq!(follower.chunk(), None, "a followed answer ends well");
    let mut cancelled = Vec::new();
    for _ in 0..2 {
        match rig.ask() {
            Ask::Cancel(ticket) => cancelled.push(ticket),
            other => panic!("not cancelled: {other:?}"),
        }
    }
    cancelled.sort();
    assert_eq!(cancelled, [parked_ticket, follow_ticket]);

    rig.answer(work, document(202, "{}"));
    assert_eq!(working.answer().status, 202);
    assert!(working.is_closed() && parked.is_closed() && follower.is_closed());
    rig.api.take().expect("running").join().expect("it ends by itself");
}

#[test]
fn what_is_never_answered_is_cut_at_the_deadline() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.send("GET", "/v1/services", &[], b"");
    rig.query();
    let deadline = tucano_net::clock::Clock::now().mono;
    rig.send(ToApi::Stop { deadline });
    assert!(client.is_closed());
    rig.api.take().expect("running").join().expect("it ends by itself");
}
