//! Bounds of how long a host may say nothing before it counts as dead.
//!
//! Read by the balancer and by the worker manager, which asks agents for it.

use std::time::Duration;

/// A host that sends nothing for so long, acknowledges nothing, and has requests unanswered is
/// taken for dead: longer than a kernel's first retransmission (200 ms), short beside a user's
/// patience.
pub const SILENCE_AFTER: Duration = Duration::from_millis(350);
/// Its agent is asked sooner, where something sent to it is not acknowledged for so long.
pub const SILENCE_DOUBT: Duration = Duration::from_millis(150);
/// An agent that does not take a connection within this, twice, is not there.
pub const SILENCE_AGENT_TIMEOUT: Duration = Duration::from_millis(200);
/// Tries of one question, where the worker manager itself was held up in some of them.
pub const SILENCE_AGENT_TRIES_MAX: u32 = 6;
/// One that took it is asked again after so long, where requests still wait.
pub const SILENCE_AGENT_AGAIN: Duration = Duration::from_millis(500);
/// For so long an agent's word counts for more than a connection on which nothing arrives.
pub const SILENCE_AGENT_COUNTS: Duration = Duration::from_secs(1);
/// Hosts with requests unanswered are looked at so often.
pub const SILENCE_CHECK: Duration = Duration::from_millis(100);
/// A host found silent is used last for so long; by then its heartbeats are missed too.
pub const SILENCE_TERM: Duration = Duration::from_secs(3);
/// What can't be sent elsewhere from a silent host is given up by the kernel after so long (s).
pub const SILENCE_GIVE_UP_S: u32 = 5;
/// Idle time after which the kernel asks a host that acknowledged all it was sent (s): its least.
pub const SILENCE_ASK_S: u32 = 1;

const _: () = assert!(SILENCE_DOUBT.as_millis() < SILENCE_AFTER.as_millis());
// The agent is asked in time: what it says is known when a silence is judged.
const _: () = assert!(
    SILENCE_DOUBT.as_millis() + SILENCE_AGENT_TIMEOUT.as_millis() <= SILENCE_AFTER.as_millis()
);
// A word counts until the next one is there: two tries, and a look at the hosts between.
const _: () = assert!(
    SILENCE_AGENT_AGAIN.as_millis() + 2 * SILENCE_AGENT_TIMEOUT.as_millis()
        <= SILENCE_AGENT_COUNTS.as_millis()
);
