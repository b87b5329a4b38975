//! How much of something is left after so many half-lives: `2^-n` without libm, which would cost
//! each process half a megabyte of memory for this one function.
//!
//! Good to three digits, which is more than a smoothed latency or load means; no substitute for
//! `exp2` where figures are added up. Called by the balancer's choice and the workers' load.

/// `2^-half_lives`, at most 0.4 % beside it; what is below 0 or no number counts as 0.
pub fn remaining(half_lives: f64) -> f64 {
    let counts = half_lives > 0.0; // No number is not.
    let half_lives = if counts { half_lives.min(HALF_LIVES_COUNTED) } else { 0.0 };
    let whole = half_lives as u32; // Rounds down, and fits.
    let part = half_lives - f64::from(whole);
    // The parabola through 2^-0, 2^-0.5 and 2^-1: continuous and falling from one to the next.
    let between = 1.0 - (CURVE + 0.5) * part + CURVE * part * part;
    between / (1u64 << whole) as f64
}

/// After so many there is nothing left that a sum would show.
const HALF_LIVES_COUNTED: f64 = 62.0;

/// 3 - 2 √2: bends the parabola through `2^-0.5`.
const CURVE: f64 = 3.0 - 2.0 * std::f64::consts::SQRT_2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_power_of_two_within_four_thousandths() {
        let mut last = 1.0;
        for step in 0..6200u32 {
            let half_lives = f64::from(step) / 100.0;
            let (ours, exact) = (remaining(half_lives), (-half_lives).exp2());
            assert!((ours / exact - 1.0).abs() < 0.004, "{half_lives}: {ours}, {exact}");
            assert!(ours <= last, "it never grows: {half_lives}");
            last = ours;
        }
    }

    #[test]
    fn odd_numbers_are_harmless() {
        assert_eq!(remaining(0.0), 1.0);
        assert_eq!(remaining(-3.0), 1.0);
        assert_eq!(remaining(f64::NAN), 1.0);
        assert!(remaining(f64::INFINITY) < 1e-18);
    }
}
