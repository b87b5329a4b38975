//! The controller's threads.

use std::time::Duration;

/// The balancer's loops: more than any small machine has cores.
pub const BALANCER_THREADS_MAX: usize = 256;
/// No heartbeat for so long: the worker is used last (contract's default).
pub const WORKER_SUSPECT: Duration = Duration::from_secs(3);
/// No heartbeat for so long: the worker is dead, its instances are replaced (contract's default).
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(10);
/// On SIGTERM requests in flight are finished at most so long (contract).
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// On SIGTERM who is connected may still ask for so long: a request may be on its way.
pub const STOP_LINGER: Duration = Duration::from_millis(500);
/// Listening sockets that systemd may hand over; one loop may get them all in its inbox.
pub const GIVEN_SOCKETS_MAX: usize = LOOP_MESSAGES_QUEUED_MAX / 2;
/// Questions and commands on their way to the deployer: each connection of the API has one at most,
/// and cancels its own.
pub const ASKS_QUEUED_MAX: usize = 2048;
/// Workers' news on their way to the deployer: each message has all workers of one turn of the
/// manager.
pub const NEWS_QUEUED_MAX: usize = 256;
/// Reports of all loops of the balancer on their way to the deployer; a loop keeps what does not
/// fit for its next turn.
pub const LOOP_REPORTS_QUEUED_MAX: usize = 1024;
/// Tables, weights and ports on their way to one loop of the balancer; an unread table is
/// superseded by the next.
pub const LOOP_MESSAGES_QUEUED_MAX: usize = 256;
/// Pushes to one agent that wait; a plan that changes more is fetched with the next heartbeat.
pub const PUSHES_QUEUED_MAX: usize = 64;
/// Pushes to all agents together that may be sent at once, and how many more each second. A push
/// saves an instance half a second on average; a storm of them would take the time that placing the
/// rest of the storm needs. What is beyond them is fetched with the next heartbeat.
pub const PUSHES_BURST: u32 = 512;
/// See [`PUSHES_BURST`]: as much work as the heartbeats of the largest cluster.
pub const PUSHES_PER_S: u32 = 1000;
/// An agent takes a push within this, or fetches it with its next heartbeat.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Weights go to the balancer's loops at most so often.
pub const WEIGHTS_INTERVAL: Duration = Duration::from_secs(1);
/// Weights (1 to 1000) that moved by less than this are no news.
pub const WEIGHT_STEP: u16 = 20;
/// After the controller's own start no worker is dead before this: they have to find it again
/// first.
pub const START_GRACE: Duration = Duration::from_secs(30);
/// Messages that the deployer puts into one transaction: what came while the last one was being
/// written.
pub const COMMIT_MESSAGES_MAX: usize = 256;
/// Instances that one transaction is asked to place, or is told of, before it leaves the rest to
/// the next: at 40,000 a second it keeps the API waiting for 25 ms.
pub const COMMIT_INSTANCES_MAX: usize = 1000;
/// Rows that the deployer keeps in memory while the database takes no writes; with more it begins
/// anew from what is stored, and workers tell their part again.
pub const UNSAVED_CHANGES_MAX: usize = 10_000;
/// A snapshot is taken of the database so often, as long as nobody says otherwise (contract).
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Snapshots more often than so wear out a card for nothing.
pub const SNAPSHOT_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// After a start nothing but starting is done for so long; then a snapshot that is due is taken.
pub const SNAPSHOT_AFTER_START: Duration = Duration::from_secs(60);
/// A snapshot that failed is tried again after so long, or after the interval if that is shorter.
pub const SNAPSHOT_RETRY: Duration = Duration::from_secs(600);
/// Snapshots kept: two days of them (contract).
pub const SNAPSHOTS_KEPT: usize = 8;
/// Where the disk has no room for one more, so many are kept in any case.
pub const SNAPSHOTS_KEPT_SCARCE: usize = 2;
/// Copies of the database that are asked for and not begun; more are told to come again.
pub const COPIES_QUEUED_MAX: usize = 4;
/// Pages that are copied between two looks at whether to go on: a MiB.
pub const COPY_PAGES_AT_ONCE: i32 = 256;
/// A copy leaves so much of the disk free for what the cluster writes meanwhile.
pub const COPY_SPARE_BYTES: u64 = 8 * 1024 * 1024;
/// After a restore into a folder whose own database can't be read, events go on so many numbers
/// later: more than any cluster has between two snapshots.
pub const RESTORED_SEQ_SKIP: u64 = 1_000_000;
/// The check of the database at a start takes at most so long: what an SD card that reads 50 MiB a
/// second gets through in it is ten times what a busy cluster keeps.
pub const CHECK_TIME_MAX: Duration = Duration::from_secs(20);
/// Ended instances of a service whose output is merged into the service's: the last ones, that one
/// looks for.
pub const LOG_TARGETS_ENDED_MAX: usize = 10;
/// Questions that wait for news in the deployer; more are answered at once, as if their time was
/// over.
pub const WAITERS_MAX: usize = 1024;

// --- Requests in flight at an instance's death ---------------------------------------------------

/// Connections that broke so long before the worker's word of the death are counted to it: an agent
/// tells it at once, and is heard at its second try.
pub const CUT_BEFORE_WORD: Duration = Duration::from_secs(5);
/// Those that the loops tell of so long after it are counted to it as well: more than two of their
/// turns, and less than the first backoff of a restart.
pub const CUT_AFTER_WORD: Duration = Duration::from_secs(1);
/// Deaths and breaks remembered at a time; beyond it the oldest is forgotten.
pub const CUTS_KEPT: usize = 1024;
