//! The retry budget: tries beyond the first are a share of the traffic, so that retries can't
//! multiply the load of a service that is failing anyway.
//!
//! A bucket of tokens: each request pays a share in, a retry takes one out. A service with little
//! traffic has a small allowance by time. It decides nothing else about retries.

use tucano_common::limits::{RETRY_BUDGET_BURST, RETRY_BUDGET_PER_SECOND, RETRY_BUDGET_PERCENT};
use tucano_common::time::Mono;

/// Tokens are counted in hundredths.
const TOKEN: u64 = 100;
const FULL: u64 = RETRY_BUDGET_BURST * TOKEN;
/// What time alone fills up to.
const ALLOWANCE: u64 = RETRY_BUDGET_PER_SECOND * TOKEN;

/// One service's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    hundredths: u64,
    filled_at: Mono,
}

impl RetryBudget {
    /// With one second's allowance.
    pub fn new(now: Mono) -> RetryBudget {
        RetryBudget { hundredths: ALLOWANCE, filled_at: now }
    }

    /// A request came.
    pub fn pay_in(&mut self) {
        self.hundredths = (self.hundredths + RETRY_BUDGET_PERCENT).min(FULL);
    }

    /// Takes one retry out, if there is one.
    pub fn take(&mut self, now: Mono) -> bool {
        let passed = now.since(self.filled_at).as_millis().min(1000) as u64;
        if self.hundredths < ALLOWANCE {
            self.hundredths = (self.hundredths + passed * ALLOWANCE / 1000).min(ALLOWANCE);
        }
        self.filled_at = now;
        let paid = self.hundredths >= TOKEN;
        if paid {
            self.hundredths -= TOKEN;
        }
        paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_traffic() {
        let now = Mono(1_000_000);
        let mut budget = RetryBudget::new(now);
        while budget.take(now) {}
        let mut taken = 0;
        for _ in 0..1000 {
            budget.pay_in();
            taken += u64::from(budget.take(now));
        }
        assert_eq!(taken, 1000 * RETRY_BUDGET_PERCENT / 100);
    }

    #[test]
    fn a_burst_is_bounded() {
        let now = Mono(1_000_000);
        let mut budget = RetryBudget::new(now);
        for _ in 0..1_000_000 {
            budget.pay_in();
        }
        let burst = (0..1_000_000).take_while(|_| budget.take(now)).count();
        assert_eq!(burst as u64, RETRY_BUDGET_BURST);
    }

    #[test]
    fn little_traffic_has_its_allowance_back_after_a_second_and_no_more() {
        let mut budget = RetryBudget::new(Mono(0));
        while budget.take(Mono(0)) {}
        let later = Mono(3_600_000_000);
        let again = (0..1_000_000).take_while(|_| budget.take(later)).count();
        assert_eq!(again as u64, RETRY_BUDGET_PER_SECOND);
    }
}
