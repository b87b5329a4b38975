//! How far this worker's clock is from the controller's, out of each answer.
//!
//! Told in the metrics, and used for nothing here: what is compared with the controller's times is
//! the controller's to correct. The link asks.

use tucano_common::time::Wall;

/// The offset, as of the last answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockOffset {
    asked_at: Option<Wall>,
    millis: Option<i64>,
}

impl ClockOffset {
    /// A question was sent.
    pub(super) fn asked(&mut self, now: Wall) {
        self.asked_at = Some(now);
    }

    /// Its answer came, with the controller's time in it: of about the middle between the two.
    pub(super) fn answered(&mut self, theirs: Wall, now: Wall) {
        if let Some(asked_at) = self.asked_at.take() {
            self.millis = Some(asked_at.0.midpoint(now.0).saturating_sub(theirs.0));
        }
    }

    /// This clock less the controller's; good to half a round trip.
    pub(super) fn millis(&self) -> Option<i64> {
        self.millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_round_trip_is_compared() {
        let mut offset = ClockOffset::default();
        offset.answered(Wall(5), Wall(9));
        assert_eq!(offset.millis(), None, "nothing was asked");
        for (asked, theirs, now, millis) in
            [(1000, 1050, 1100, 0), (1000, 50, 1100, 1000), (1000, 9050, 1100, -8000)]
        {
            offset.asked(Wall(asked));
            offset.answered(Wall(theirs), Wall(now));
            assert_eq!(offset.millis(), Some(millis));
        }
        // The clock was set back between question and answer.
        offset.asked(Wall(i64::MAX));
        offset.answered(Wall(i64::MIN), Wall(i64::MAX));
        assert_eq!(offset.millis(), Some(i64::MAX));
    }
}
