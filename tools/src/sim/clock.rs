//! One machine's clocks against the simulation's own time: they begin anywhere, drift, and the wall
//! clock steps.

use tucano_common::time::{Mono, Now, Wall};

/// The simulation's own time, in microseconds since its beginning.
pub(super) type Time = u64;

pub(super) const MS: Time = 1_000;
pub(super) const SECOND: Time = 1_000_000;

const WALL_AT_START: i64 = 1_800_000_000_000;

/// The clocks of one machine, as one process on it reads them.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// When the monotonic clock was `mono_first`.
    begun: Time,
    mono_first: u64,
    ppm: i64,
    /// How far the wall clock is off, in milliseconds.
    off_ms: i64,
}

impl Clock {
    pub(super) fn new(ppm: i64) -> Clock {
        Clock { begun: 0, mono_first: SECOND, ppm, off_ms: 0 }
    }

    /// Another process begins to count; the wall clock goes on.
    pub(super) fn begin(&mut self, at: Time, mono_first: u64) {
        (self.begun, self.mono_first) = (at, mono_first);
    }

    pub(super) fn step(&mut self, by_ms: i64) {
        self.off_ms += by_ms;
    }

    /// Right again.
    pub(super) fn mend(&mut self) {
        (self.off_ms, self.ppm) = (0, self.ppm);
    }

    pub(super) fn now(&self, at: Time) -> Now {
        let wall = WALL_AT_START + self.scaled(at) / 1_000 + self.off_ms;
        let passed = self.scaled(at).saturating_sub(self.scaled(self.begun));
        let mono = self.mono_first.saturating_add(u64::try_from(passed).unwrap_or(0));
        Now { mono: Mono(mono), wall: Wall(wall) }
    }

    /// When the monotonic clock shows this, or a little later; never before `now`.
    pub(super) fn when(&self, mono: Mono, now: Time) -> Time {
        let missing = mono.0.saturating_sub(self.now(now).mono.0);
        if missing == 0 {
            return now;
        }
        let missing = i128::from(missing);
        let real = missing * 1_000_000 / (1_000_000 + i128::from(self.ppm));
        now + u64::try_from(real).unwrap_or(0).max(1) + 1
    }

    fn scaled(&self, at: Time) -> i64 {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        at + at / 1_000_000 * self.ppm + at % 1_000_000 * self.ppm / 1_000_000
    }
}
