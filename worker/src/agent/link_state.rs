//! What to ask the controller next, and when: the agent's side of hello, heartbeat and assignments.
//!
//! ```text
//!            404, 409                  Hello answered
//!   Joined ───────────► Stranger ─────────────────────► Joined
//! ```
//!
//! One request is in flight at a time. A failed one is followed by a growing pause, in which what
//! there is to say only gathers. Pure: time and jitter come in, requests are `link`'s matter, and
//! what assignments mean the supervisor's.

use std::time::Duration;

use tucano_common::limits::{
    LINK_BACKOFF_FIRST, LINK_BACKOFF_MAX, LINK_REFUSED_RETRY, REPORT_COALESCE,
};
use tucano_common::prng::Prng;
use tucano_common::time::Mono;
use tucano_common::wire::worker::Holding;

/// A second hello within this of the last one means that the controller forgets us at once: no
/// hurry then.
const HELLO_GAP: Duration = Duration::from_secs(1);

/// Measurements that may fail to come before a heartbeat goes out with the last one.
const SILENT_MEASUREMENTS: u32 = 2;

/// A request to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// `POST /v1/workers`
    Hello,
    /// `GET /v1/workers/{name}/assignments`
    Assignments,
    /// `POST /v1/workers/{name}/heartbeat`
    Heartbeat,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Hello or heartbeat was taken; this is what the worker should hold.
    Wanted(Holding),
    /// Assignments came, and were taken.
    Taken,
    /// Assignments came, and were refused here.
    NotTaken,
    /// 404: the controller does not know this session.
    Unknown,
    /// It said no: another agent has the name, the token is wrong. Trying again soon would not
    /// help.
    Refused,
    /// No answer, or one that means nothing.
    Failed,
}

/// What changed for a person who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The controller stopped answering.
    Away,
    /// It answers again, after so long.
    Back(Duration),
}

/// How it stands with the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Hello is to be said.
    Stranger,
    /// The controller knows this session.
    Joined,
}

/// The agent's side of the conversation.
#[derive(Debug)]
pub(super) struct LinkState {
    /// A heartbeat is sent after so long without anything to say: the sampler may hang, and the
    /// worker is well.
    silence_max: Duration,
    standing: Standing,
    in_flight: Option<(Ask, Mono)>,
    /// Nothing is asked before this.
    not_before: Mono,
    /// In a row, for the pause.
    failures: u32,
    /// Since when it does not answer, once that was told.
    away_since: Option<Mono>,
    /// What the controller's last answer named, until it is fetched.
    wanted: Option<Holding>,
    /// Assignments that were refused here are not asked for again before this.
    assignments_not_before: Mono,
    /// A heartbeat is to be sent then.
    report_at: Option<Mono>,
    last_heartbeat: Mono,
    last_hello: Option<Mono>,
}

impl LinkState {
    /// A stranger. `every`: how often a measurement is expected.
    pub(super) fn new(every: Duration) -> LinkState {
        LinkState {
            silence_max: every * SILENT_MEASUREMENTS,
            standing: Standing::Stranger,
            in_flight: None,
            not_before: Mono(0),
            failures: 0,
            away_since: None,
            wanted: None,
            assignments_not_before: Mono(0),
            report_at: None,
            last_heartbeat: Mono(0),
            last_hello: None,
        }
    }

    /// There is something to say: a new measurement, an instance's state.
    pub(super) fn report(&mut self, now: Mono) {
        let at = now.max(self.last_heartbeat + REPORT_COALESCE);
        self.report_at = Some(self.report_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// What to ask now, if anything; it counts as asked from here on.
    pub(super) fn next(&mut self, now: Mono, held: Option<&Holding>) -> Option<Ask> {
        let (ask, at) = self.due(held)?;
        if now < at {
            return None;
        }
        self.in_flight = Some((ask, now));
        match ask {
            Ask::Hello => self.last_hello = Some(now),
            Ask::Assignments => {}
            Ask::Heartbeat => {
                self.report_at = None;
                self.last_heartbeat = now;
            }
        }
        Some(ask)
    }

    /// When [`LinkState::next`] will have something, as things stand.
    pub(super) fn deadline(&self, held: Option<&Holding>) -> Option<Mono> {
        self.due(held).map(|(_, at)| at)
    }

    fn due(&self, held: Option<&Holding>) -> Option<(Ask, Mono)> {
        if self.in_flight.is_some() {
            return None;
        }
        let at = match self.standing {
            Standing::Stranger => return Some((Ask::Hello, self.not_before)),
            Standing::Joined => self.not_before,
        };
        let silent_until = self.last_heartbeat + self.silence_max;
        let report_at =
            self.report_at.map_or(silent_until, |report_at| report_at.min(silent_until));
        let heartbeat = (Ask::Heartbeat, report_at.max(at));
        if !self.wanted.as_ref().is_some_and(|wanted| is_news(wanted, held)) {
            return Some(heartbeat);
        }
        let fetch = (Ask::Assignments, self.assignments_not_before.max(at));
        Some(if heartbeat.1 < fetch.1 { heartbeat } else { fetch })
    }

    /// The request in flight came to an end.
    pub(super) fn ended(&mut self, outcome: Outcome, now: Mono, prng: &mut Prng) -> Option<Change> {
        let (ask, asked_at) = self.in_flight.take()?;
        match outcome {
            Outcome::Wanted(wanted) => {
                self.standing = Standing::Joined;
                self.wanted = Some(wanted);
                if ask == Ask::Hello {
                    // Hello brings no measurements.
                    self.report(now);
                }
            }
            Outcome::Taken => self.wanted = None,
            Outcome::NotTaken => self.assignments_not_before = now + LINK_REFUSED_RETRY,
            Outcome::Unknown => {
                self.standing = Standing::Stranger;
                let recent = self.last_hello.is_some_and(|last| now.since(last) < HELLO_GAP);
                self.not_before = if recent { now + HELLO_GAP } else { now };
            }
            Outcome::Refused => {
                self.standing = Standing::Stranger;
                self.not_before = now + LINK_REFUSED_RETRY;
            }
            Outcome::Failed => return self.failed((ask, asked_at), now, prng),
        }
        self.failures = 0;
        self.away_since.take().map(|since| Change::Back(now.since(since)))
    }

    /// The pause is one between requests: a controller that let us wait for as long is asked again
    /// at once. It may be slow and hear us all the same, and would call us dead.
    fn failed(
        &mut self,
        (ask, asked_at): (Ask, Mono),
        now: Mono,
        prng: &mut Prng,
    ) -> Option<Change> {
        if ask == Ask::Heartbeat {
            self.report(now);
        }
        let doubled = LINK_BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16));
        let pause = u64::try_from(doubled.min(LINK_BACKOFF_MAX).as_millis()).unwrap_or(u64::MAX);
        self.not_before = now.max(asked_at + Duration::from_millis(prng.jitter(pause, 0.2)));
        self.failures = self.failures.saturating_add(1);
        if self.away_since.is_some() {
            return None;
        }
        self.away_since = Some(now);
        Some(Change::Away)
    }
}

/// Whether there is something to fetch. An older generation of the same cluster is none: a push was
/// faster than the answer, or the controller went back in time, and then its word is refused
/// anyway.
fn is_news(wanted: &Holding, held: Option<&Holding>) -> bool {
    held.is_none_or(|held| held.cluster != wanted.cluster || held.generation < wanted.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(cluster: &str, generation: u64) -> Holding {
        Holding { cluster: cluster.to_owned(), generation }
    }

    const EVERY: Duration = Duration::from_secs(1000);

    /// When a heartbeat goes out with nothing to say, after the last one.
    fn silence_after(heartbeat: Mono) -> Option<Mono> {
        Some(heartbeat + EVERY * SILENT_MEASUREMENTS)
    }

    fn at(millis: u64) -> Mono {
        Mono(1_000_000_000 + millis * 1000)
    }

    /// A state that has joined at 0, holds what it should, and has sent its first heartbeat.
    fn joined(held: &Holding) -> (LinkState, Prng) {
        let (mut state, mut prng) = (LinkState::new(EVERY), Prng::new(1));
        assert_eq!(state.next(at(0), Some(held)), Some(Ask::Hello));
        assert_eq!(state.ended(Outcome::Wanted(held.clone()), at(0), &mut prng), None);
        let first = at(0);
        assert_eq!(state.deadline(Some(held)), Some(first));
        assert_eq!(state.next(first, Some(held)), Some(Ask::Heartbeat));
        assert_eq!(state.ended(Outcome::Wanted(held.clone()), first, &mut prng), None);
        assert_eq!(state.deadline(Some(held)), silence_after(first), "nothing to say");
        (state, prng)
    }

    #[test]
    fn hello_assignments_heartbeat_in_that_order() {
        let (mut state, mut prng) = (LinkState::new(EVERY), Prng::new(1));
        assert_eq!(state.next(at(0), None), Some(Ask::Hello));
        assert_eq!(state.next(at(0), None), None, "one at a time");
        state.report(at(0));
        let wanted = holding("a", 7);
        state.ended(Outcome::Wanted(wanted.clone()), at(1), &mut prng);
        assert_eq!(state.next(at(1), None), Some(Ask::Assignments));
        state.ended(Outcome::Taken, at(2), &mut prng);
        assert_eq!(state.next(at(2), Some(&wanted)), Some(Ask::Heartbeat));
        assert_eq!(state.next(at(2), Some(&wanted)), None);
    }

    #[test]
    fn the_first_change_is_told_at_once_and_the_next_ones_together() {
        let held = holding("a", 1);
        let (mut state, mut prng) = joined(&held);
        state.report(at(100));
        assert_eq!(state.next(at(100), Some(&held)), Some(Ask::Heartbeat));
        state.report(at(100));
        state.report(at(101));
        assert_eq!(state.next(at(101), Some(&held)), None, "in flight");
        state.ended(Outcome::Wanted(held.clone()), at(101), &mut prng);
        let together = at(100) + REPORT_COALESCE;
        assert_eq!(state.deadline(Some(&held)), Some(together));
        assert_eq!(state.next(at(101), Some(&held)), None);
        assert_eq!(state.next(together, Some(&held)), Some(Ask::Heartbeat));
        state.ended(Outcome::Wanted(held.clone()), together, &mut prng);
        assert_eq!(state.deadline(Some(&held)), silence_after(together));
    }

    #[test]
    fn another_generation_or_cluster_is_fetched_before_the_next_heartbeat() {
        let held = holding("a", 1);
        for wanted in [holding("a", 2), holding("b", 1)] {
            let (mut state, mut prng) = joined(&held);
            state.report(at(1000));
            assert_eq!(state.next(at(1000), Some(&held)), Some(Ask::Heartbeat));
            state.report(at(1001));
            state.ended(Outcome::Wanted(wanted.clone()), at(1001), &mut prng);
            assert_eq!(state.next(at(1010), Some(&held)), Some(Ask::Assignments));
            state.ended(Outcome::Taken, at(1011), &mut prng);
            assert_eq!(state.next(at(1011), Some(&wanted)), Some(Ask::Heartbeat));
        }
    }

    #[test]
    fn an_older_generation_is_not_fetched_nor_one_that_a_push_has_overtaken() {
        let held = holding("a", 9);
        let (mut state, mut prng) = joined(&held);
        state.report(at(1000));
        state.next(at(1000), Some(&held));
        state.ended(Outcome::Wanted(holding("a", 8)), at(1001), &mut prng);
        assert_eq!(state.deadline(Some(&held)), silence_after(at(1000)));
        // The answer came after a fetch, while a push moved what is held even further.
        state.report(at(2000));
        state.next(at(2000), Some(&held));
        state.ended(Outcome::Wanted(holding("a", 10)), at(2001), &mut prng);
        assert_eq!(state.next(at(2001), Some(&held)), Some(Ask::Assignments));
        state.ended(Outcome::Taken, at(2002), &mut prng);
        for held in [10, 11] {
            let deadline = state.deadline(Some(&holding("a", held)));
            assert_eq!(deadline, silence_after(at(2000)));
        }
    }

    #[test]
    fn refused_assignments_do_not_stop_heartbeats_and_are_fetched_again_later() {
        let held = holding("a", 9);
        let wanted = holding("b", 5);
        let (mut state, mut prng) = joined(&held);
        state.report(at(1000));
        state.next(at(1000), Some(&held));
        state.ended(Outcome::Wanted(wanted.clone()), at(1001), &mut prng);
        assert_eq!(state.next(at(1001), Some(&held)), Some(Ask::Assignments));
        state.ended(Outcome::NotTaken, at(1002), &mut prng);
        state.report(at(2000));
        assert_eq!(state.next(at(2000), Some(&held)), Some(Ask::Heartbeat));
        state.ended(Outcome::Wanted(wanted), at(2001), &mut prng);
        assert_eq!(state.deadline(Some(&held)), Some(at(1002) + LINK_REFUSED_RETRY));
        let later = at(1002) + LINK_REFUSED_RETRY;
        assert_eq!(state.next(later, Some(&held)), Some(Ask::Assignments));
    }

    #[test]
    fn a_controller_that_forgot_us_is_greeted_at_once_but_not_in_a_circle() {
        let held = holding("a", 1);
        let (mut state, mut prng) = joined(&held);
        state.report(at(5000));
        state.next(at(5000), Some(&held));
        assert_eq!(state.ended(Outcome::Unknown, at(5001), &mut prng), None);
        assert_eq!(state.next(at(5001), Some(&held)), Some(Ask::Hello));
        state.ended(Outcome::Wanted(held.clone()), at(5002), &mut prng);
        let again = state.deadline(Some(&held)).unwrap();
        assert_eq!(state.next(again, Some(&held)), Some(Ask::Heartbeat));
        state.ended(Outcome::Unknown, at(5010), &mut prng);
        assert_eq!(state.deadline(Some(&held)), Some(at(5010) + HELLO_GAP));
    }

    #[test]
    fn a_refusal_is_tried_again_seldom() {
        for asked in [Ask::Hello, Ask::Heartbeat] {
            let held = holding("a", 1);
            let (mut state, mut prng) = match asked {
                Ask::Hello | Ask::Assignments => (LinkState::new(EVERY), Prng::new(1)),
                Ask::Heartbeat => joined(&held),
            };
            state.report(at(100));
            assert_eq!(state.next(at(100), Some(&held)), Some(asked));
            assert_eq!(state.ended(Outcome::Refused, at(101), &mut prng), None);
            assert_eq!(state.deadline(Some(&held)), Some(at(101) + LINK_REFUSED_RETRY));
            let later = at(101) + LINK_REFUSED_RETRY;
            assert_eq!(state.next(later, Some(&held)), Some(Ask::Hello));
        }
    }

    #[test]
    fn an_absent_controller_is_told_once_and_asked_ever_less() {
        let held = holding("a", 1);
        let (mut state, mut prng) = joined(&held);
        let gone = at(1000);
        let mut now = gone;
        let mut pauses = Vec::new();
        for attempt in 0..8 {
            state.report(now);
            now = state.deadline(Some(&held)).unwrap();
            assert_eq!(state.next(now, Some(&held)), Some(Ask::Heartbeat), "still joined");
            let change = state.ended(Outcome::Failed, now, &mut prng);
            assert_eq!(change, (attempt == 0).then_some(Change::Away));
            pauses.push(state.deadline(Some(&held)).unwrap().since(now).as_millis());
        }
        for (nth, pause) in pauses.into_iter().enumerate() {
            let middle = (200 << nth).min(5000);
            let range = middle * 8 / 10..=middle * 12 / 10;
            assert!(range.contains(&pause), "{nth}: {pause}");
        }
        now = state.deadline(Some(&held)).unwrap();
        state.next(now, Some(&held));
        let back = state.ended(Outcome::Wanted(held.clone()), now, &mut prng);
        assert_eq!(back, Some(Change::Back(now.since(gone))));
        state.report(now);
        assert!(state.deadline(Some(&held)).unwrap() <= now + REPORT_COALESCE, "no pause is left");
    }

    #[test]
    fn a_sampler_that_hangs_does_not_make_the_worker_look_dead() {
        let held = holding("a", 1);
        let (mut state, mut prng) = joined(&held);
        let mut now = at(0);
        for _ in 0..3 {
            let next = state.deadline(Some(&held));
            assert_eq!(next, silence_after(now));
            now = next.unwrap();
            assert_eq!(state.next(now, Some(&held)), Some(Ask::Heartbeat));
            state.ended(Outcome::Wanted(held.clone()), now, &mut prng);
        }
    }

    #[test]
    fn an_answer_that_nobody_waits_for_changes_nothing() {
        let held = holding("a", 1);
        let (mut state, mut prng) = joined(&held);
        for outcome in [Outcome::Unknown, Outcome::Failed, Outcome::Wanted(holding("b", 3))] {
            assert_eq!(state.ended(outcome, at(50), &mut prng), None);
            assert_eq!(state.deadline(Some(&held)), silence_after(at(0)));
        }
    }
}
