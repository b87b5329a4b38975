//! Each path through the stages of health, with its times.

use tucano_common::spec::HealthProbe;

use super::*;

fn check() -> HealthCheck {
    HealthCheck {
        probe: HealthProbe::Get("/healthz".to_owned()),
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        healthy_after: 2,
        unhealthy_after: 3,
        start_timeout: Duration::from_secs(30),
    }
}

const fn ms(ms: u64) -> Mono {
    Mono(ms * 1000)
}

fn failed() -> Result<(), String> {
    Err("connection refused".to_owned())
}

/// Sends a check and answers it, each at its time.
fn probe(health: &mut Health, result: Result<(), String>, at: Mono) -> Change {
    assert_eq!(health.verdict(&check(), at), Verdict::Probe, "at {at:?}");
    health.sent(&check(), at);
    assert_eq!(health.verdict(&check(), at), Verdict::Wait, "one check at a time");
    health.answered(&check(), result, at)
}

/// One that passed its checks at 20 ms and 50 ms.
fn well() -> Health {
    let mut health = Health::warming(ms(0), true);
    assert_eq!(probe(&mut health, Ok(()), ms(20)), Change::None);
    assert_eq!(probe(&mut health, Ok(()), ms(50)), Change::Ready);
    health
}

#[test]
fn the_first_check_comes_after_20_ms_and_the_gap_grows_to_200_ms() {
    let mut health = Health::warming(ms(1000), true);
    assert_eq!(health.verdict(&check(), ms(1019)), Verdict::Wait);
    let mut at = ms(1020);
    for gap_us in [30_000, 45_000, 67_500, 101_250, 151_875, 200_000, 200_000] {
        assert_eq!(health.deadline(&check()), Some(at));
        assert_eq!(probe(&mut health, failed(), at), Change::None);
        at = at + Duration::from_micros(gap_us);
    }
    assert!(!health.was_ready() && !health.is_well());
    assert_eq!(health.reason(), "connection refused");
}

#[test]
fn a_row_of_passes_makes_it_ready_and_a_failure_begins_it_anew() {
    let mut health = Health::warming(ms(0), true);
    assert_eq!(probe(&mut health, Ok(()), ms(20)), Change::None);
    assert_eq!(probe(&mut health, failed(), ms(50)), Change::None);
    assert_eq!(probe(&mut health, Ok(()), ms(95)), Change::None);
    assert_eq!(probe(&mut health, Ok(()), ms(200)), Change::Ready);
    assert!(health.is_well() && health.was_ready());
    assert_eq!(health.deadline(&check()), Some(ms(2200)), "then by the interval");
}

#[test]
fn a_start_that_takes_too_long_is_given_up_also_while_a_check_is_under_way() {
    let mut health = Health::warming(ms(0), true);
    probe(&mut health, failed(), ms(20));
    health.sent(&check(), ms(50));
    assert_eq!(health.verdict(&check(), ms(29_999)), Verdict::Wait);
    assert_eq!(
        health.verdict(&check(), ms(30_000)),
        Verdict::Unready("connection refused".to_owned())
    );
}

#[test]
fn three_failures_in_a_row_and_no_fewer_take_it_out() {
    let mut health = well();
    assert_eq!(probe(&mut health, failed(), ms(2050)), Change::None);
    assert_eq!(probe(&mut health, failed(), ms(4050)), Change::None);
    assert_eq!(probe(&mut health, Ok(()), ms(6050)), Change::None);
    assert_eq!(probe(&mut health, failed(), ms(8050)), Change::None);
    assert_eq!(probe(&mut health, failed(), ms(10_050)), Change::None);
    assert!(health.is_well());
    assert_eq!(probe(&mut health, failed(), ms(12_050)), Change::Fell);
    assert!(!health.is_well() && health.was_ready());
}

#[test]
fn unhealthy_for_30_s_it_has_to_be_replaced_and_recovers_before_that() {
    let mut health = well();
    for at in [2050, 4050, 6050] {
        probe(&mut health, failed(), ms(at));
    }
    let mut recovering = health.clone();
    assert_eq!(probe(&mut recovering, Ok(()), ms(8050)), Change::None);
    assert_eq!(probe(&mut recovering, Ok(()), ms(10_050)), Change::Recovered);
    assert_eq!(recovering.verdict(&check(), ms(11_000)), Verdict::Wait);

    for at in (8050..36_000).step_by(2000) {
        assert_eq!(probe(&mut health, failed(), ms(at)), Change::None);
    }
    assert_eq!(health.deadline(&check()), Some(ms(36_050)));
    let verdict = health.verdict(&check(), ms(36_050));
    assert_eq!(verdict, Verdict::Unhealthy("connection refused".to_owned()));
}

#[test]
fn without_a_port_it_is_ready_once_up_for_a_second_and_never_asked() {
    let mut health = Health::warming(ms(500), false);
    assert_eq!(health.deadline(&check()), Some(ms(1500)));
    assert_eq!(health.tick(&check(), ms(1499)), Change::None);
    assert_eq!(health.tick(&check(), ms(1500)), Change::Ready);
    assert_eq!(health.tick(&check(), ms(1501)), Change::None);
    assert_eq!(health.deadline(&check()), None);
    assert_eq!(health.verdict(&check(), ms(10_000_000)), Verdict::Wait);
}

#[test]
fn a_lost_answer_counts_as_a_failure() {
    let mut health = well();
    health.sent(&check(), ms(2050));
    assert_eq!(health.tick(&check(), ms(8049)), Change::None);
    assert_eq!(health.tick(&check(), ms(8050)), Change::None);
    assert_eq!(health.reason(), "no answer came");
    assert_eq!(health.verdict(&check(), ms(10_050)), Verdict::Probe);
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut health = Health::warming(ms(0), true);
    let before = health.clone();
    assert_eq!(health.answered(&check(), Ok(()), ms(5)), Change::None);
    assert_eq!(health, before);
}

#[test]
fn an_adopted_one_is_well_and_asked_at_once() {
    let health = Health::adopted(ms(7), true);
    assert!(health.is_well() && health.was_ready());
    assert_eq!(health.verdict(&check(), ms(7)), Verdict::Probe);
    assert_eq!(Health::adopted(ms(7), false).verdict(&check(), ms(7)), Verdict::Wait);
}

#[test]
fn a_check_that_could_not_be_sent_says_nothing_about_the_instance() {
    let mut health = well();
    for at in (2050..60_000).step_by(2000) {
        assert_eq!(health.verdict(&check(), ms(at)), Verdict::Probe);
        health.sent(&check(), ms(at));
        health.not_asked(&check(), "no descriptors".to_owned(), ms(at));
        assert!(health.is_well());
    }
    let before = health.clone();
    health.not_asked(&check(), "nobody waits for it".to_owned(), ms(60_000));
    assert_eq!(health, before);

    // A start has no more time for it, and says what was missing.
    let mut starting = Health::warming(ms(0), true);
    starting.sent(&check(), ms(20));
    starting.not_asked(&check(), "no descriptors".to_owned(), ms(21));
    let verdict = starting.verdict(&check(), ms(0) + check().start_timeout);
    assert_eq!(verdict, Verdict::Unready("no descriptors".to_owned()));
}
