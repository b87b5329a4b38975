//! The deployer's waiting: three channels and one deadline, and then a turn with everything that is
//! there.

use std::time::Duration;

use crossbeam_channel::{Receiver, Select};
use tucano_common::limits::COMMIT_MESSAGES_MAX;
use tucano_net::clock::Clock;

use super::shell::{Arrived, Shell};
use crate::msgs::{Ask, FromLoop, News};

/// What the deployer hears. It ends when `stop` is closed.
pub(crate) struct Inbox {
    pub(crate) asks: Receiver<Ask>,
    pub(crate) news: Receiver<News>,
    pub(crate) loops: Receiver<FromLoop>,
    pub(crate) stop: Receiver<()>,
}

impl Inbox {
    /// Waits until something is there, or so long.
    fn wait(&self, at_most: Option<Duration>) {
        let mut select = Select::new();
        select.recv(&self.asks);
        select.recv(&self.news);
        select.recv(&self.loops);
        select.recv(&self.stop);
        match at_most {
            None => {
                select.ready();
            }
            Some(at_most) => {
                // Nothing came in time: there is a deadline to look at.
                let _ = select.ready_timeout(at_most);
            }
        }
    }

    fn take(&self) -> Arrived {
        Arrived {
            loops: self.loops.try_iter().take(COMMIT_MESSAGES_MAX).collect(),
            news: self.news.try_iter().take(COMMIT_MESSAGES_MAX).collect(),
            asks: self.asks.try_iter().take(COMMIT_MESSAGES_MAX).collect(),
        }
    }

    fn stopped(&self) -> bool {
        matches!(self.stop.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }
}

/// Turns until it is to stop; what came before that is stored.
pub(crate) fn run(mut shell: Shell, inbox: &Inbox) {
    shell.start(Clock::now());
    loop {
        let now = Clock::mono();
        inbox.wait(shell.next_wake(now).map(|at| at.since(now)));
        let stopped = inbox.stopped();
        shell.turn(inbox.take(), Clock::now());
        if stopped {
            return;
        }
    }
}
