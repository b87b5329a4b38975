//! A small seeded generator (xoshiro256++, seeded by SplitMix64; Blackman and Vigna, public
//! domain).
//!
//! For choices that must replay from a seed: the balancer's two candidates, jitter, the simulator.
//! Never for secrets.

/// A generator whose whole future is fixed by its seed.
#[derive(Clone, Debug)]
pub struct Prng {
    state: [u64; 4],
}

impl Prng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Prng {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Prng { state: [next(), next(), next(), next()] }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`; 0 where `bound` is 0. Lemire's multiplication without its rejection:
    /// the bias is below 2^-32 for the small bounds used here.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(bound) * (self.next_u64() >> 32)) >> 32) as u32
    }

    /// True with the probability `of` (0.0 never, 1.0 always).
    pub fn chance(&mut self, of: f64) -> bool {
        ((self.next_u64() >> 11) as f64) < of * (1u64 << 53) as f64
    }

    /// `value` moved by up to `ratio` of itself in either direction, evenly (0.2: ±20 %).
    pub fn jitter(&mut self, value: u64, ratio: f64) -> u64 {
        let span = (value as f64 * ratio * 2.0) as u64;
        let offset = if span == 0 { 0 } else { self.next_u64() % (span + 1) };
        (value + offset).saturating_sub(span / 2)
    }

    /// A generator of its own for another actor, derived from this one.
    pub fn fork(&mut self) -> Prng {
        Prng::new(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_future() {
        let (mut a, mut b, mut c) = (Prng::new(7), Prng::new(7), Prng::new(8));
        let first: Vec<u64> = (0..8).map(|_| a.next_u64()).collect();
        assert_eq!(first, (0..8).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(first, (0..8).map(|_| c.next_u64()).collect::<Vec<_>>());
    }

    #[test]
    fn below_covers_its_range_and_nothing_else() {
        let mut prng = Prng::new(1);
        let mut seen = [0u32; 5];
        for _ in 0..5000 {
            seen[prng.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(prng.below(0), 0);
    }

    #[test]
    fn jitter_stays_within_its_ratio() {
        let mut prng = Prng::new(2);
        for _ in 0..1000 {
            assert!((800..=1200).contains(&prng.jitter(1000, 0.2)));
        }
        assert_eq!(prng.jitter(0, 0.2), 0);
    }
}
