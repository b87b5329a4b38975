//! What the controller's answers mean for the link.
//!
//! It sends nothing. Called by `link` for each answer that came whole.

use tucano_common::time::Now;
use tucano_common::wire::worker::{Assignments, HeartbeatAnswer, HelloAnswer, Holding, Notice};
use tucano_net::Answer;
use tucano_net::text::Escaped;
use tucano_worker_core::Supervisor;

use super::super::link_state::{Ask, Outcome};
use super::super::link_text::refusal;
use super::Link;

impl Link {
    pub(super) fn read(
        &mut self,
        ask: Ask,
        answer: &Answer,
        supervisor: &mut Supervisor,
        now: Now,
    ) -> (Outcome, String) {
        match answer.status {
            200..=299 => self.read_good(ask, answer, supervisor, now).unwrap_or_else(|error| {
                (Outcome::Failed, format!("its answer can't be read: {error}"))
            }),
            404 => (Outcome::Unknown, String::new()),
            500.. => (Outcome::Failed, format!("it answers {}", answer.status)),
            status => (Outcome::Refused, refusal(status, answer)),
        }
    }

    fn read_good(
        &mut self,
        ask: Ask,
        answer: &Answer,
        supervisor: &mut Supervisor,
        now: Now,
    ) -> Result<(Outcome, String), serde_json::Error> {
        let wanted = |cluster, generation| Outcome::Wanted(Holding { cluster, generation });
        let outcome = match ask {
            Ask::Hello => {
                let hello: HelloAnswer = answer.json()?;
                if !self.greeted {
                    self.greeted = true;
                    let url = &self.intro.controller;
                    let cluster = Escaped(&hello.cluster);
                    log::info!(
                        "joined cluster {cluster} at {url}, generation {}",
                        hello.generation
                    );
                }
                self.clock.answered(hello.at, now.wall);
                supervisor.set_balancer_url(hello.balancer_url);
                wanted(hello.cluster, hello.generation)
            }
            Ask::Heartbeat => {
                let answer: HeartbeatAnswer = answer.json()?;
                self.clock.answered(answer.at, now.wall);
                self.notices_taken(answer.notices_taken);
                wanted(answer.cluster, answer.generation)
            }
            Ask::Assignments => {
                let set: Assignments = match answer.json() {
                    Ok(set) => set,
                    Err(error) => return Ok(self.unreadable(&error, now)),
                };
                match supervisor.assign(set, now) {
                    Ok(_) => {
                        self.not_taken = None;
                        Outcome::Taken
                    }
                    Err(refused) => self.not_taken(refused.to_string()),
                }
            }
        };
        Ok((outcome, String::new()))
    }

    /// The controller has so many of this session's notices; where it does not say, all that were
    /// sent.
    fn notices_taken(&mut self, count: Option<u64>) {
        let sent = self.notices_sent.min(self.notices.len());
        let taken = count.map_or(sent, |count| {
            let more = count.saturating_sub(self.notices_gone);
            usize::try_from(more).unwrap_or(sent).min(sent)
        });
        self.notices.drain(..taken);
        self.notices_gone += taken as u64;
    }

    /// A newer controller may know specs that this agent does not: said to both sides, and
    /// everything goes on as it is.
    fn unreadable(&mut self, error: &serde_json::Error, now: Now) -> (Outcome, String) {
        let message = format!("this worker can't read its assignments ({error}); is it too old?");
        let outcome = self.not_taken(message.clone());
        let kind = "assignments_unreadable".to_owned();
        self.notice(Notice { at: now.wall, kind, message, instance: None }, now.mono);
        (outcome, String::new())
    }

    fn not_taken(&mut self, reason: String) -> Outcome {
        if self.not_taken.as_ref() != Some(&reason) {
            log::error!("the controller's assignments are not taken: {}", Escaped(&reason));
            self.not_taken = Some(reason);
        }
        Outcome::NotTaken
    }
}
