//! Which of an agent's notices are news: one whose heartbeat's answer got lost comes again, and is
//! no second one.
//!
//! It keeps a number, no notices. The manager asks it with each heartbeat.

use tucano_common::wire::worker::Notice;

/// How many notices of an agent's session were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticesTaken {
    session: u64,
    count: u64,
}

impl NoticesTaken {
    /// Those of a heartbeat that were not taken yet; they are from here on. `before`: how many of
    /// this session went before them; agents that do not say have all of theirs taken.
    pub fn take(&mut self, session: u64, before: Option<u64>, notices: Vec<Notice>) -> Vec<Notice> {
        let Some(before) = before else { return notices };
        let taken = usize::try_from(self.of(session).saturating_sub(before)).unwrap_or(usize::MAX);
        let sent = u64::try_from(notices.len()).unwrap_or(u64::MAX);
        *self = NoticesTaken { session, count: self.of(session).max(before.saturating_add(sent)) };
        notices.into_iter().skip(taken).collect()
    }

    /// How many of this session's are taken.
    pub fn of(&self, session: u64) -> u64 {
        if self.session == session { self.count } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use tucano_common::time::Wall;

    use super::*;

    fn numbered(numbers: std::ops::Range<u64>) -> Vec<Notice> {
        let notice = |number: u64| Notice {
            at: Wall(0),
            kind: "process_ended".to_owned(),
            message: number.to_string(),
            instance: None,
        };
        numbers.map(notice).collect()
    }

    #[test]
    fn whatever_is_sent_again_is_taken_once() {
        let mut taken = NoticesTaken::default();
        let mut all = Vec::new();
        // Answers got lost at 2 and 3; a heartbeat that was late says less than is known.
        for (before, end) in [(0, 2), (0, 3), (0, 3), (3, 3), (1, 2), (3, 5), (4, 6)] {
            all.extend(taken.take(7, Some(before), numbered(before..end)));
        }
        assert_eq!(all, numbered(0..6));
        assert_eq!((taken.of(7), taken.of(8)), (6, 0));
    }

    #[test]
    fn another_session_begins_anew_and_a_new_controller_in_the_middle() {
        let mut taken = NoticesTaken::default();
        assert_eq!(taken.take(1, Some(40), numbered(40..42)).len(), 2);
        assert_eq!(taken.of(1), 42);
        assert_eq!(taken.take(2, Some(0), numbered(0..1)).len(), 1);
        assert_eq!((taken.of(2), taken.of(1)), (1, 0));
    }

    #[test]
    fn an_agent_that_does_not_count_is_believed() {
        let mut taken = NoticesTaken::default();
        assert_eq!(taken.take(1, Some(0), numbered(0..2)).len(), 2);
        assert_eq!(taken.take(1, None, numbered(0..2)).len(), 2);
        assert_eq!(taken.of(1), 2);
    }
}
