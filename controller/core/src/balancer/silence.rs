//! Whether a host that answers nothing is dead or only slow, by what this kernel knows of one
//! connection to it and by whether its agent takes connections.
//!
//! A worker that loses power sends no reset: its connections take a request and never answer. A
//! service that is slow has a kernel that acknowledges the request at once; that one is left alone,
//! however long it takes. A host that acknowledged everything and says nothing more may be either:
//! its agent is asked, whose kernel answers where the host is there. It watches and asks nothing
//! itself: `controller/src/balancer` does, ten times a second while requests wait, and
//! `controller/src/worker_mgr` asks the agents.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tucano_common::limits::{
    SILENCE_AFTER, SILENCE_AGENT_AGAIN, SILENCE_AGENT_COUNTS, SILENCE_ASK_S, SILENCE_DOUBT,
    SILENCE_TERM,
};
use tucano_common::time::Mono;

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

/// What is to be done about a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is there, or may be.
    Wait,
    /// To have its agent asked.
    AskAgent,
    /// To have the kernel ask it on that connection; its agent too, where it says so.
    Ask {
        /// Whether the agent is to be asked.
        agent: bool,
    },
    /// It is there no more.
    Leave,
}

/// A host whose agent was asked.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    asked_at: Mono,
    said: Said,
}

/// What its agent said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Nothing, and it may never say anything: not every host has an agent that can be reached.
    Nothing,
    /// It was there then.
    There(Mono),
    /// It was not there then.
    Gone(Mono),
}

/// Hosts whose agents were asked lately, and the judgement.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    doubts: BTreeMap<IpAddr, Doubt>,
}

impl Doubts {
    /// Judges a host by a connection whose request was sent `waited` ago. Where an agent is to be
    /// asked it counts as asked.
    pub fn consider(
        &mut self,
        host: IpAddr,
        (waited, evidence): (Duration, &Evidence),
        now: Mono,
    ) -> Step {
        // Before its request a connection was idle: that is no silence.
        let silent_for = match waited {
            waited if waited < SILENCE_AFTER => evidence.unacknowledged_for.min(waited),
            _ => evidence.unacknowledged_for,
        };
        let patience = SILENCE_AFTER.max(evidence.round_trip.saturating_mul(3));
        let said = self.doubts.get(&host).map_or(Said::Nothing, |doubt| doubt.said);
        if evidence.has_unacknowledged {
            let was_there = matches!(said, Said::There(at) if now.since(at) < patience);
            let shield = if was_there { SILENCE_AGENT_COUNTS.max(patience) } else { patience };
            return match silent_for {
                silent if silent < SILENCE_DOUBT => Step::Wait,
                silent if silent < shield => self.ask_agent(host, SILENCE_DOUBT, now),
                _ => Step::Leave,
            };
        }
        if silent_for < patience {
            return Step::Wait;
        }
        let asked_for = Duration::from_secs(SILENCE_ASK_S.into()) + patience;
        let is_unheard = evidence.questions > 0 && evidence.unacknowledged_for >= asked_for;
        match said {
            // Unless its kernel was heard since.
            Said::Gone(at) if now.since(at) <= evidence.unacknowledged_for => Step::Leave,
            Said::There(at) if now.since(at) < SILENCE_AGENT_COUNTS => {
                self.ask_agent(host, SILENCE_AGENT_AGAIN, now)
            }
            Said::Nothing | Said::There(_) | Said::Gone(_) if is_unheard => Step::Leave,
            Said::Nothing | Said::There(_) | Said::Gone(_) => {
                let agent = self.ask_agent(host, SILENCE_AGENT_AGAIN, now) == Step::AskAgent;
                Step::Ask { agent }
            }
        }
    }

    /// What came of asking a host's agent.
    pub fn heard(&mut self, host: IpAddr, is_there: bool, now: Mono) {
        let said = if is_there { Said::There(now) } else { Said::Gone(now) };
        let asked_at = self.doubts.get(&host).map_or(now, |doubt| doubt.asked_at);
        self.doubts.insert(host, Doubt { asked_at, said });
    }

    /// Forgets what is too old to mean anything.
    pub fn forget(&mut self, now: Mono) {
        self.doubts.retain(|_, doubt| now.since(doubt.asked_at) < SILENCE_TERM);
    }

    /// Has it asked, unless that was less than `pause` ago.
    fn ask_agent(&mut self, host: IpAddr, pause: Duration, now: Mono) -> Step {
        let doubt = self.doubts.get(&host);
        let is_early = doubt.is_some_and(|doubt| {
            let pause = if doubt.said == Said::Nothing { SILENCE_AGENT_COUNTS } else { pause };
            now.since(doubt.asked_at) < pause
        });
        if is_early {
            return Step::Wait;
        }
        let said = doubt.map_or(Said::Nothing, |doubt| doubt.said);
        self.doubts.insert(host, Doubt { asked_at: now, said });
        Step::AskAgent
    }
}

#[cfg(test)]
#[path = "silence_tests.rs"]
mod tests;
