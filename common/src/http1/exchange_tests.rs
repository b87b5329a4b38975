//! The exchange: every fact in every state that facts can reach, and the histories the RFC tells
//! of.

use std::collections::BTreeSet;

use super::*;
use crate::http1::HeadScan;

const FACTS: &[Fact] = &[
    Fact::RequestWhole,
    Fact::RequestSent,
    Fact::RequestMalformed,
    Fact::ClientClosed,
    Fact::ClientGone,
    Fact::Interim,
    Fact::Switch,
    Fact::Final { keeps_alive: true },
    Fact::Final { keeps_alive: false },
    Fact::AnswerWhole,
    Fact::AnswerMalformed,
    Fact::AnswerExtra,
    Fact::UpstreamClosed,
    Fact::UpstreamGone,
    Fact::UpstreamLate,
    Fact::UpstreamDeaf,
];

fn exchange(head: &str) -> Exchange {
    let head = RequestHead::parse(head.as_bytes(), &mut HeadScan::default());
    Exchange::new(&head.unwrap().unwrap())
}

fn get() -> Exchange {
    exchange("GET / HTTP/1.1\r\nHost: w\r\n\r\n")
}

fn post() -> Exchange {
    exchange("POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\n\r\n")
}

fn upgrade() -> Exchange {
    exchange("GET / HTTP/1.1\r\nHost: w\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
}

fn old() -> Exchange {
    exchange("GET / HTTP/1.0\r\n\r\n")
}

fn told(mut exchange: Exchange, facts: &[Fact]) -> (Vec<Verdict>, Option<End>) {
    let verdicts = facts.iter().map(|&fact| exchange.on(fact)).collect();
    (verdicts, exchange.end())
}

const KEEP_BOTH: Option<End> = Some(End { client: Next::Keep, upstream: Next::Keep });
const FINAL: Fact = Fact::Final { keeps_alive: true };

#[test]
fn a_plain_exchange_keeps_both() {
    let (verdicts, end) = told(get(), &[Fact::RequestSent, FINAL, Fact::AnswerWhole]);
    assert_eq!(verdicts, [Verdict::GoOn, Verdict::Pass, Verdict::GoOn]);
    assert_eq!(end, KEEP_BOTH);
}

#[test]
fn expect_continue_goes_through() {
    let facts = [Fact::Interim, Fact::RequestWhole, Fact::RequestSent, FINAL, Fact::AnswerWhole];
    let (verdicts, end) = told(post(), &facts);
    assert_eq!(verdicts[0], Verdict::Pass);
    assert_eq!(end, KEEP_BOTH);
    assert_eq!(told(old(), &[Fact::Interim]).0, [Verdict::Swallow]);
}

#[test]
fn an_answer_before_the_bodys_end_closes_both() {
    let mut early = post();
    assert!(early.on(FINAL) == Verdict::Pass && early.tells_close());
    early.on(Fact::AnswerWhole);
    assert_eq!(early.end(), Some(End { client: Next::Close, upstream: Next::Close }));
    // Where the rest of the body comes in time, nothing is lost.
    let facts = [FINAL, Fact::RequestWhole, Fact::RequestSent, Fact::AnswerWhole];
    assert_eq!(told(post(), &facts).1, KEEP_BOTH);
    // Read, but not handed on: the client's connection is fine, the service's is not.
    let facts = [FINAL, Fact::RequestWhole, Fact::AnswerWhole];
    let end = Some(End { client: Next::Keep, upstream: Next::Close });
    assert_eq!(told(post(), &facts).1, end);
}

#[test]
fn breaks_after_the_head_are_seen_by_the_client() {
    for fact in
        [Fact::UpstreamClosed, Fact::UpstreamGone, Fact::UpstreamLate, Fact::AnswerMalformed]
    {
        let (verdicts, end) = told(get(), &[Fact::RequestSent, FINAL, fact]);
        assert_eq!(verdicts[2], Verdict::Cut, "{fact:?}");
        assert_eq!(end, Some(End { client: Next::Reset, upstream: Next::Close }), "{fact:?}");
    }
}

#[test]
fn failures_before_the_head_can_be_tried_again() {
    for (fact, failure) in [
        (Fact::UpstreamClosed, Failure::Closed),
        (Fact::UpstreamGone, Failure::Closed),
        (Fact::UpstreamLate, Failure::Late),
        (Fact::AnswerMalformed, Failure::Malformed),
        (Fact::AnswerExtra, Failure::Malformed),
        (Fact::Switch, Failure::Malformed),
    ] {
        let mut tried = get();
        tried.on(Fact::RequestSent);
        assert_eq!(tried.on(fact), Verdict::Fail(failure), "{fact:?}");
        assert_eq!(tried.end(), None, "{fact:?}");
        tried.try_again();
        let facts = [Fact::RequestSent, FINAL, Fact::AnswerWhole];
        assert_eq!(told(tried, &facts).1, KEEP_BOTH, "{fact:?}");
    }
}

#[test]
fn what_becomes_of_the_services_connection() {
    let close = |facts: &[Fact]| {
        let all = [&[Fact::RequestSent, FINAL, Fact::AnswerWhole], facts].concat();
        told(get(), &all).1
    };
    let kept_client = Some(End { client: Next::Keep, upstream: Next::Close });
    assert_eq!(close(&[Fact::AnswerExtra]), kept_client);
    assert_eq!(close(&[Fact::UpstreamClosed]), kept_client);
    assert_eq!(close(&[Fact::UpstreamGone]), kept_client);
    let facts = [Fact::RequestSent, Fact::Final { keeps_alive: false }, Fact::AnswerWhole];
    assert_eq!(told(get(), &facts).1, kept_client);
}

#[test]
fn half_closed_clients_get_their_answer_and_gone_ones_end_all() {
    let facts = [Fact::RequestSent, Fact::ClientClosed, FINAL, Fact::AnswerWhole];
    let end = Some(End { client: Next::Close, upstream: Next::Keep });
    assert_eq!(told(get(), &facts).1, end);
    let (verdicts, end) = told(post(), &[Fact::ClientClosed]);
    assert_eq!(verdicts, [Verdict::Drop]);
    assert_eq!(end, Some(End { client: Next::Reset, upstream: Next::Close }));
    assert_eq!(told(get(), &[Fact::ClientGone]).0, [Verdict::Drop]);
}

#[test]
fn tunnels_end_when_both_sides_closed() {
    let facts = [Fact::RequestSent, Fact::Switch, Fact::ClientClosed];
    let (verdicts, end) = told(upgrade(), &facts);
    assert_eq!((verdicts[1], end), (Verdict::Tunnel, None));
    let facts = [Fact::RequestSent, Fact::Switch, Fact::ClientClosed, Fact::UpstreamClosed];
    let close = Some(End { client: Next::Close, upstream: Next::Close });
    assert_eq!(told(upgrade(), &facts).1, close);
    let facts = [Fact::RequestSent, Fact::Switch, Fact::UpstreamGone];
    assert_eq!(told(upgrade(), &facts).0[2], Verdict::Cut);
    // Asked for and not granted: an answer like any other.
    let facts = [Fact::RequestSent, FINAL, Fact::AnswerWhole];
    assert_eq!(told(upgrade(), &facts).1, KEEP_BOTH);
}

#[test]
fn http10_is_kept_only_where_asked() {
    let facts = [Fact::RequestSent, FINAL, Fact::AnswerWhole];
    assert_eq!(told(old(), &facts).1.map(|end| end.client), Some(Next::Close));
    let kept = exchange("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(told(kept, &facts).1, KEEP_BOTH);
}

#[test]
fn malformed_requests_are_refused_or_cut() {
    assert_eq!(told(post(), &[Fact::RequestMalformed]).0, [Verdict::Refuse]);
    assert_eq!(told(post(), &[FINAL, Fact::RequestMalformed]).0[1], Verdict::Cut);
    let mut refused = post();
    refused.on(Fact::RequestMalformed);
    refused.answer_ourselves();
    assert_eq!(refused.end(), Some(End { client: Next::Close, upstream: Next::Close }));
}

/// Every state that any history reaches, and in each every fact.
#[test]
fn every_fact_in_every_state_keeps_the_promises() {
    for start in [get(), post(), upgrade(), old()] {
        let mut seen = BTreeSet::new();
        let mut queue = vec![start];
        while let Some(state) = queue.pop() {
            if !seen.insert(format!("{state:?}")) {
                continue;
            }
            for &fact in FACTS {
                let mut next = state;
                let verdict = next.on(fact);
                holds(&state, fact, &next, verdict);
                queue.push(next);
            }
            for change in [Exchange::try_again, Exchange::answer_ourselves, Exchange::answer_closes]
            {
                let mut next = state;
                change(&mut next);
                queue.push(next);
            }
        }
        assert!(seen.len() > 10, "the walk went somewhere: {}", seen.len());
    }
}

fn holds(before: &Exchange, fact: Fact, after: &Exchange, verdict: Verdict) {
    let context = format!("{before:?} {fact:?} -> {after:?} {verdict:?}");
    if let Some(end) = after.end() {
        let kept = end.client == Next::Keep;
        assert!(!kept || after.request_is_whole(), "a kept client has no unread body: {context}");
        assert!(!kept || after.answer == AnswerState::Whole, "nor a broken answer: {context}");
        let kept = end.upstream == Next::Keep;
        assert!(!kept || after.request == RequestState::Sent, "no half request: {context}");
        assert!(!kept || after.answer == AnswerState::Whole, "no half answer: {context}");
    }
    if before.end().is_some() {
        assert!(after.end().is_some(), "what is over stays over: {context}");
    }
    match verdict {
        Verdict::Fail(_) | Verdict::Refuse => {
            assert!(before.awaits_answer() && after.awaits_answer(), "{context}");
        }
        Verdict::Cut => {
            assert!(!before.awaits_answer(), "{context}");
            assert_eq!(after.end().map(|end| end.client), Some(Next::Reset), "{context}");
        }
        Verdict::Drop => assert_eq!(after.answer, AnswerState::Broken, "{context}"),
        Verdict::Tunnel => assert!(before.asks_upgrade && after.is_tunnel(), "{context}"),
        Verdict::Pass => assert!(before.awaits_answer(), "{context}"),
        Verdict::Swallow => assert_eq!(before.client_version, Version::Http10, "{context}"),
        Verdict::GoOn | Verdict::Ignore => {}
    }
}
