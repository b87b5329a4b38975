//! Passive ejection: which instance is out of the rotation for its errors, and until when.
//!
//! It judges one instance by its results. Whether the others can spare it (never the last one,
//! never more than half) the caller knows: [`Outlier::wants_out`] asks, [`Outlier::eject`] does.

use std::time::Duration;

use tucano_common::limits::{
    EJECTION_BAD_ANSWERS, EJECTION_BASE, EJECTION_BROKEN_TRIES, EJECTION_MAX,
};
use tucano_common::time::Mono;

/// What a try on an instance says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered, and well.
    Good,
    /// It answered 502, 503 or 504.
    Bad,
    /// The connection could not be made, or broke before the answer.
    Broken,
    /// Nothing: the client left, or a kept connection had been closed meanwhile.
    Nothing,
}

/// One instance's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlier {
    broken_in_a_row: u32,
    bad_in_a_row: u32,
    ejections: u32,
    out_until: Option<Mono>,
    /// Ejections are forgotten by this time: one good term after coming back.
    good_since: Option<Mono>,
}

impl Outlier {
    /// Takes a result. True: by its record the instance should go out now.
    pub fn wants_out(&mut self, sign: Sign, now: Mono) -> bool {
        match sign {
            Sign::Nothing => return false,
            Sign::Good => {
                self.broken_in_a_row = 0;
                self.bad_in_a_row = 0;
                let since = *self.good_since.get_or_insert(now);
                if self.ejections > 0 && now.since(since) >= EJECTION_MAX {
                    self.ejections = 0;
                }
            }
            Sign::Bad => {
                self.broken_in_a_row = 0;
                self.bad_in_a_row += 1;
            }
            Sign::Broken => self.broken_in_a_row += 1,
        }
        if sign != Sign::Good {
            self.good_since = None;
        }
        self.out_until.is_none()
            && (self.broken_in_a_row >= EJECTION_BROKEN_TRIES
                || self.bad_in_a_row >= EJECTION_BAD_ANSWERS)
    }

    /// Takes it out; returns for how long: 5 s, 10 s, 20 s … 60 s.
    pub fn eject(&mut self, now: Mono) -> Duration {
        let growth = 1u32 << self.ejections.min(8);
        let out_for = EJECTION_BASE.saturating_mul(growth).min(EJECTION_MAX);
        self.ejections = self.ejections.saturating_add(1);
        self.out_until = Some(now + out_for);
        self.broken_in_a_row = 0;
        self.bad_in_a_row = 0;
        self.good_since = None;
        out_for
    }

    /// What it did does not count any more. Where it is out it is back from now on;
    /// [`Outlier::returns`] tells.
    pub fn pardon(&mut self) {
        let was_out = self.out_until.is_some();
        *self = Outlier { out_until: was_out.then_some(Mono(0)), ..Outlier::default() };
    }

    /// Whether it is out now.
    pub fn is_out(&self, now: Mono) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    /// Until when it is out, as long as its return was not told.
    pub fn out_until(&self) -> Option<Mono> {
        self.out_until
    }

    /// Whether its time is over, said once.
    pub fn returns(&mut self, now: Mono) -> bool {
        let over = self.out_until.is_some_and(|until| now >= until);
        if over {
            self.out_until = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    #[test]
    fn rows_of_errors_and_nothing_less_take_it_out() {
        let told = |signs: &[Sign]| {
            let mut record = Outlier::default();
            signs.iter().map(|&sign| record.wants_out(sign, at(1))).collect::<Vec<_>>()
        };
        use Sign::{Bad, Broken, Good, Nothing};
        assert_eq!(told(&[Broken, Broken, Broken]), [false, false, true]);
        assert_eq!(told(&[Broken, Broken, Good, Broken, Broken]), [false; 5]);
        assert_eq!(told(&[Broken, Nothing, Broken, Nothing]), [false; 4]);
        assert_eq!(told(&[Bad, Bad, Bad, Bad, Bad]), [false, false, false, false, true]);
        assert_eq!(told(&[Bad, Bad, Bad, Bad, Good, Bad]), [false; 6]);
        assert_eq!(told(&[Broken, Broken, Bad, Broken, Broken]), [false; 5], "an answer came");
    }

    #[test]
    fn terms_grow_to_a_minute_and_are_forgotten_after_a_good_one() {
        let mut record = Outlier::default();
        let mut now = at(1);
        for seconds in [5, 10, 20, 40, 60, 60, 60] {
            assert_eq!(record.eject(now), Duration::from_secs(seconds));
            assert!(record.is_out(now) && !record.returns(now));
            now = now + Duration::from_secs(seconds);
            assert!(!record.is_out(now));
            assert!(record.returns(now) && !record.returns(now));
        }
        record.wants_out(Sign::Good, now);
        record.wants_out(Sign::Good, now + EJECTION_MAX);
        assert_eq!(record.eject(now + EJECTION_MAX), Duration::from_secs(5));
    }

    #[test]
    fn an_instance_that_is_out_does_not_want_out_again() {
        let mut record = Outlier::default();
        record.eject(at(1));
        for _ in 0..10 {
            assert!(!record.wants_out(Sign::Broken, at(2)));
        }
        assert!(record.returns(at(6)));
        assert!(record.wants_out(Sign::Broken, at(6)), "it came back as broken as it went");
    }
}
