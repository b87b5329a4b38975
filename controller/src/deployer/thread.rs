//! The deployer's waiting: three channels and one deadline, and then a turn with what is there:
//! as much of it as keeps nobody waiting for long.

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select};
use tucano_common::limits::{COMMIT_INSTANCES_MAX, COMMIT_MESSAGES_MAX};
use tucano_controller_core::deployer::{Command, Fact};
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

    /// What is there, as much as one turn may do. Asks that are for later turns stay in `later`.
    fn take(&self, later: &mut VecDeque<Ask>) -> Arrived {
        later.extend(self.asks.try_iter().take(COMMIT_MESSAGES_MAX));
        Arrived {
            loops: self.loops.try_iter().take(COMMIT_MESSAGES_MAX).collect(),
            news: self.take_news(),
            asks: due(later),
        }
    }

    fn take_news(&self) -> Vec<News> {
        let mut news = Vec::new();
        let mut instances = 0;
        while instances < COMMIT_INSTANCES_MAX
            && news.len() < COMMIT_MESSAGES_MAX
            && let Ok(next) = self.news.try_recv()
        {
            instances += reported(&next);
            news.push(next);
        }
        news
    }

    fn stopped(&self) -> bool {
        matches!(self.stop.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }
}

/// Takes out what one turn may do: as many instances as are placed without keeping others waiting.
/// Questions go ahead of commands that have to wait: who asks for one is answered already.
fn due(later: &mut VecDeque<Ask>) -> Vec<Ask> {
    let (mut due, mut rest) = (Vec::new(), VecDeque::new());
    let mut instances = 0;
    for ask in later.drain(..) {
        let overtakes = matches!(ask, Ask::Query { .. });
        if overtakes || (rest.is_empty() && instances < COMMIT_INSTANCES_MAX) {
            instances += asked(&ask);
            due.push(ask);
        } else {
            rest.push_back(ask);
        }
    }
    *later = rest;
    due
}

/// So many instances a command may have to place.
fn asked(ask: &Ask) -> usize {
    let Ask::Command { command, .. } = ask else { return 0 };
    let concurrency = match command {
        Command::Deploy { spec } => spec.concurrency,
        Command::Scale { concurrency, .. } => *concurrency,
        _ => 1,
    };
    concurrency as usize
}

/// So many instances news are about.
fn reported(news: &News) -> usize {
    let of_fact = |fact: &Fact| match fact {
        Fact::Reports { instances, .. } => instances.len(),
        _ => 0,
    };
    match news {
        News::Facts(facts) => facts.iter().map(of_fact).sum(),
        News::Hello { introduction, .. } => introduction.instances.len(),
        News::Minutes(_) => 0,
    }
}

/// Turns until it is to stop; what came before that is stored.
pub(crate) fn run(mut shell: Shell, inbox: &Inbox) {
    let mut later = VecDeque::new();
    shell.start(Clock::now());
    loop {
        let now = Clock::mono();
        let wake = shell.next_wake(now).map(|at| at.since(now));
        inbox.wait(if later.is_empty() { wake } else { Some(Duration::ZERO) });
        let stopped = inbox.stopped();
        shell.turn(inbox.take(&mut later), Clock::now());
        if stopped && later.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgs::{Query, Ticket};
    use tucano_common::name::ServiceName;

    fn scale(ticket: u64, concurrency: u32) -> Ask {
        let service = ServiceName::new("web").expect("a name");
        let command = Command::Scale { service, concurrency };
        Ask::Command { ticket: Ticket(ticket), command, dry_run: false, wait: None }
    }

    fn tickets(asks: &[Ask]) -> Vec<u64> {
        let ticket = |ask: &Ask| match ask {
            Ask::Command { ticket, .. } | Ask::Query { ticket, .. } | Ask::Cancel(ticket) => {
                ticket.0
            }
            Ask::ArtifactStored { .. } | Ask::Note { .. } => 0,
        };
        asks.iter().map(ticket).collect()
    }

    #[test]
    fn a_storm_is_taken_in_parts_in_order_and_questions_go_ahead() {
        let half = u32::try_from(COMMIT_INSTANCES_MAX / 2).expect("small");
        let query = Ask::Query { ticket: Ticket(4), query: Query::Status, block: None };
        let mut later = VecDeque::from([
            scale(1, half),
            scale(2, half + 1),
            scale(3, 1),
            query,
            Ask::Cancel(Ticket(5)),
            scale(6, 10 * half),
        ]);
        assert_eq!(tickets(&due(&mut later)), [1, 2, 4]);
        assert_eq!(tickets(&due(&mut later)), [3, 5, 6], "a large one is taken whole");
        assert_eq!(tickets(&due(&mut later)), [0u64; 0]);
    }
}
