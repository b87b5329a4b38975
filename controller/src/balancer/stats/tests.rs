//! The ledger over loops, and series that come and go with services and revisions.

use std::time::Duration;

use tucano_common::http1::Method;
use tucano_common::limits::REVISIONS_COUNTED_OLD_MAX;
use tucano_common::metrics::TextWriter;

use super::*;

fn shown(stats: &Stats) -> String {
    let mut text = TextWriter::new();
    stats.write(&mut text);
    text.finish()
}

/// The value of a sample.
fn value(text: &str, sample: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

/// The answers of a service that are shown, by revision.
fn answers(text: &str) -> Vec<(u64, u64)> {
    let prefix = "tucano_http_request_duration_seconds_count{service=\"web\",revision=\"";
    let of = |line: &str| {
        let (revision, count) = line.strip_prefix(prefix)?.split_once("\"} ")?;
        Some((revision.parse().ok()?, count.parse().ok()?))
    };
    text.lines().filter_map(of).collect()
}

fn answer(tally: &mut Tally, revision: u64) {
    tally.accepted.inc();
    tally.end(Cause::Answered);
    tally.answer(revision, Method::Get, 200, Duration::from_millis(2));
}

#[test]
fn the_ledger_adds_up_over_loops() {
    let stats = Stats::new(2);
    for each in stats.loops() {
        let web = each.service("web", 1);
        (0..10).for_each(|_| web.accepted.inc());
        for cause in Cause::ALL {
            web.end(cause);
        }
    }
    let totals = stats.totals(&ServiceName::new("web").unwrap());
    assert_eq!((totals.accepted, totals.in_flight(), totals.lost()), (20, 4, 8));
    assert_eq!(totals.of(Cause::Answered), 2);
    let text = shown(&stats);
    assert_eq!(value(&text, "tucano_http_in_flight_requests{service=\"web\"}"), Some(4));
    let sample = "tucano_http_ended_total{service=\"web\",cause=\"answered_after_retry\"}";
    assert_eq!(value(&text, sample), Some(2));
}

#[test]
fn a_service_that_is_gone_leaves_no_series_and_asking_makes_none() {
    let stats = Stats::new(1);
    let each = &stats.loops()[0];
    each.service("", 0).accepted.inc();
    let web = each.service("web", 1);
    web.accepted.inc();
    let name = ServiceName::new("other").unwrap();
    assert_eq!(stats.totals(&name), Totals::default());
    each.keep(1, |name| name != "web");
    let text = shown(&stats);
    assert!(!text.contains("\"web\"") && !text.contains("\"other\""), "{text}");
    assert_eq!(value(&text, "tucano_http_accepted_total{service=\"\"}"), Some(1));
    // What is still in flight ends in its own counters; a service of that name begins anew.
    web.end(Cause::Answered);
    assert_eq!(each.service("web", 1).accepted.get(), 0);
}

#[test]
fn a_loop_that_lags_takes_nothing_away() {
    let stats = Stats::new(2);
    let [first, second] = stats.loops() else { panic!("two loops") };
    let mut lagging = second.service("web", 1);
    lagging.accepted.inc();
    // The first sees the service go and come back; the second only the last of it.
    first.keep(2, |_| false);
    let mut web = first.service("web", 3);
    web.list(3, [1].into_iter());
    answer(&mut web, 1);
    second.keep(2, |_| false);
    lagging.list(2, [9].into_iter());
    lagging.go_on_in(second.service("web", 3));
    lagging.end(Cause::Answered);
    let totals = stats.totals(&ServiceName::new("web").unwrap());
    assert_eq!((totals.accepted, totals.in_flight()), (2, 0), "what was in flight came along");
}

#[test]
fn causes_are_in_their_own_order() {
    assert!(Cause::ALL.into_iter().enumerate().all(|(n, cause)| cause as usize == n));
}

#[test]
fn hundreds_of_revisions_are_counted_rightly_in_bounded_room() {
    let stats = Stats::new(2);
    let mut loops: Vec<Tally> = stats.loops().iter().map(|each| each.service("web", 1)).collect();
    let mut before: Vec<(u64, u64)> = Vec::new();
    for revision in 1..=500 {
        // A rollout: both revisions have instances; the second loop hears of it later.
        let tables =
            [(2 * revision, vec![revision - 1, revision]), (2 * revision + 1, vec![revision])];
        for (version, listed) in tables {
            for place in 0..2 {
                loops[place].list(version, listed.iter().copied());
                for revision in &listed {
                    (0..=place).for_each(|_| answer(&mut loops[place], *revision));
                    if place == 0 {
                        // The other loop has not heard yet, and answers for what it knows.
                        answer(&mut loops[1], *revision);
                    }
                }
                let text = shown(&stats);
                let now = answers(&text);
                assert!(now.len() <= 2 + REVISIONS_COUNTED_OLD_MAX, "{now:?}");
                for (revision, count) in &before {
                    let after = now.iter().find(|(it, _)| it == revision);
                    assert!(after.is_none_or(|(_, after)| after >= count), "{revision} fell");
                }
                for (revision, count) in &now {
                    let sample = format!(
                        "tucano_http_requests_total{{service=\"web\",revision=\"{revision}\",\
                         method=\"GET\",code=\"200\"}}"
                    );
                    assert_eq!(value(&text, &sample), Some(*count));
                }
                before = now;
            }
        }
        // Two tables with it, in each of which one loop counted one and the other three, and the
        // next table that still has it brings four more; then it stays as it is.
        if revision > 3 {
            assert!(before.contains(&(revision - 1, 12)), "{revision}: {before:?}");
            assert!(before.contains(&(revision, 8)), "{revision}: {before:?}");
        }
    }
    let totals = stats.totals(&ServiceName::new("web").unwrap());
    assert_eq!(totals.accepted, 500 * 12, "the service's own count has all of them");
}
