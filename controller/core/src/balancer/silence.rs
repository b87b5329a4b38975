//! Whether a host that answers nothing is dead or only slow, by what this kernel knows of one
//! connection to it.
//!
//! A worker that loses power sends no reset: its connections take a request and never answer. A
//! service that is slow has a kernel that acknowledges the request at once; that one is left alone,
//! however long it takes. It watches nothing itself; `controller/src/balancer` asks.

use std::time::Duration;

use tucano_common::limits::{SILENCE_AFTER, SILENCE_ASK_S};

/// What the kernel says of a connection on which a request waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Something that was sent is not acknowledged.
    pub has_unacknowledged: bool,
    /// Since the last acknowledgement.
    pub unacknowledged_for: Duration,
    /// Its round trip.
    pub round_trip: Duration,
    /// Questions (keep-alive probes) that are not answered.
    pub questions: u8,
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The host was heard.
    Alive,
    /// It has acknowledged everything: it has to be asked.
    Unknown,
    /// It is there no more.
    Silent,
}

/// Judges a connection whose request was sent [`SILENCE_AFTER`] ago or longer.
pub fn judge(evidence: &Evidence) -> Finding {
    let patience = SILENCE_AFTER.max(evidence.round_trip.saturating_mul(3));
    let asked = Duration::from_secs(SILENCE_ASK_S.into()) + patience;
    match (evidence.has_unacknowledged, evidence.questions) {
        _ if evidence.unacknowledged_for < patience => Finding::Alive,
        (true, _) => Finding::Silent,
        (false, 0) => Finding::Unknown,
        (false, _) if evidence.unacknowledged_for >= asked => Finding::Silent,
        (false, _) => Finding::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(has_unacknowledged: bool, ms: u64, questions: u8) -> Evidence {
        Evidence {
            has_unacknowledged,
            unacknowledged_for: Duration::from_millis(ms),
            round_trip: Duration::from_millis(1),
            questions,
        }
    }

    #[test]
    fn only_a_kernel_that_acknowledges_nothing_is_dead() {
        assert_eq!(judge(&evidence(true, 349, 0)), Finding::Alive);
        assert_eq!(judge(&evidence(true, 350, 0)), Finding::Silent);
        assert_eq!(judge(&evidence(false, 10, 0)), Finding::Alive);
        assert_eq!(judge(&evidence(false, 50_000, 0)), Finding::Unknown, "slow, not asked");
        assert_eq!(judge(&evidence(false, 1_010, 1)), Finding::Unknown, "asked a moment ago");
        assert_eq!(judge(&evidence(false, 1_350, 1)), Finding::Silent, "asked, and no answer");
    }

    #[test]
    fn a_far_host_has_more_time() {
        let far = Evidence { round_trip: Duration::from_millis(300), ..evidence(true, 800, 0) };
        assert_eq!(judge(&far), Finding::Alive);
        let longer = Evidence { unacknowledged_for: Duration::from_millis(900), ..far };
        assert_eq!(judge(&longer), Finding::Silent);
    }
}
