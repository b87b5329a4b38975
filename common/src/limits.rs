//! Every bound in the system, in one place, each with its reason.
//!
//! Relations between them are checked at compile time at the end. Nothing else in the tree declares
//! a limit.

mod shown;

use std::time::Duration;

pub use self::shown::*;

// --- HTTP, both sides (RFC 9112; contract) -------------------------------------------------------

/// A head (start line and fields) may have so many bytes; more is 431. What nginx and HAProxy allow
/// by default, and two heads fit one 64 KiB socket read with room.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A head may have so many fields; more is 431.
pub const HEAD_FIELDS_MAX: usize = 100;
/// A request target may be so long; more is 414, so that the client learns which part was too long.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// A trailer section; a trailer line is held back until it is whole, so it must fit the smallest
/// buffer.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Slices that a rewritten head is written in; heads rarely need more than five, and what falls
/// into more is copied.
pub const HEAD_SLICES_MAX: usize = 12;
/// A host that is looked up (RFC 1035); a longer one has no route.
pub const HOST_BYTES_MAX: usize = 253;
/// All chunk extensions of a body together: nobody uses them but to make a parser work for nothing.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;

// --- The API -------------------------------------------------------------------------------------

/// A JSON body; more is 413. A spec with three scripts of 64 KiB and its `env` fits three times.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// An artifact's upload; more is 413.
pub const ARTIFACT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A blocking query waits at most so long (Consul: 10 min), and so long by default.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// What `?wait=` is where only `?index=` was given.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// A log route without `?tail=` shows so many lines: about two screens.
pub const LOG_TAIL_LINES_DEFAULT: usize = 100;
/// `?tail=` at most: more than all rotated files of an instance hold.
pub const LOG_TAIL_LINES_MAX: usize = 1_000_000;
/// Instances whose output is merged into one answer, the newest first; each is a connection.
pub const LOG_SOURCES_MAX: usize = 64;
/// What is held back of one instance's output while the others' lines of the same time are waited
/// for.
pub const LOG_SOURCE_BYTES_MAX: usize = 64 * 1024;
/// A line of output that is longer goes out in pieces; the agents' files have shorter ones.
pub const LOG_LINE_OUT_BYTES_MAX: usize = 32 * 1024;
/// A followed line waits so long for older ones of other instances: their agents look for new lines
/// every [`LOG_FOLLOW_INTERVAL`].
pub const LOG_MERGE_WINDOW: Duration = Duration::from_millis(350);
/// A followed instance that says nothing for so long is asked anew, in case its machine vanished
/// without a word.
pub const LOG_FOLLOW_IDLE: Duration = Duration::from_secs(3600);
/// A followed service is asked so often whether it has new instances.
pub const LOG_TARGETS_INTERVAL: Duration = Duration::from_secs(2);
/// Artifacts on their way in or out at a time; each has two pieces of [`ARTIFACT_PIECE_BYTES`].
pub const ARTIFACT_TRANSFERS_MAX: usize = 16;
/// What goes to or from an artifact's file at once: large enough that the disk's turn is worth it.
pub const ARTIFACT_PIECE_BYTES: usize = 256 * 1024;
/// Jobs for the disk's thread: each transfer has one at most, and its end.
pub const ARTIFACT_JOBS_QUEUED_MAX: usize = 4 * ARTIFACT_TRANSFERS_MAX;
/// Wrong tokens from one address that are answered at once; a typing error costs nobody time.
pub const AUTH_FAILURES_FREE: u32 = 5;
/// After that each answer to one waits, twice as long as the one before, from this …
pub const AUTH_DELAY_FIRST: Duration = Duration::from_millis(100);
/// … up to this, one after the other.
pub const AUTH_DELAY_MAX: Duration = Duration::from_secs(2);
/// With so much of such waiting ahead, requests from that address are refused unread (429).
pub const AUTH_BACKLOG_MAX: Duration = Duration::from_secs(20);
/// An address without a wrong token for so long starts anew; events say no more than once in it.
pub const AUTH_FORGET: Duration = Duration::from_secs(60);
/// Events about wrong tokens in that time, whatever the address: history is for other things too.
pub const AUTH_EVENTS_MAX: u32 = 10;
/// Addresses whose failures are remembered; the one that is quiet the longest makes room.
pub const AUTH_PEERS_MAX: usize = 1024;
/// A connection may be followed (events, logs) or parked (`?wait=`) without end only so often, so
/// that workers' heartbeats always find a place.
pub const PARKED_REQUESTS_MAX: usize = 768;

// --- The spec ------------------------------------------------------------------------------------

/// One script's text: more belongs in a file of the source.
pub const SCRIPT_BYTES_MAX: usize = 64 * 1024;
/// Instances of one service: far more than a handful of machines holds, small enough to plan in one
/// turn.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// Hosts of one service.
pub const HOSTS_MAX: usize = 64;
/// Variables in `env`.
pub const ENV_VARS_MAX: usize = 256;
/// All of `env`, names and values: it must fit beside the arguments in what execve takes (ARG_MAX).
pub const ENV_BYTES_MAX: usize = 64 * 1024;
/// Addresses of an external service.
pub const EXTERNAL_ADDRESSES_MAX: usize = 256;

// --- History (contract) --------------------------------------------------------------------------

/// Revisions kept of a service.
pub const REVISIONS_KEPT: usize = 50;
/// Events kept.
pub const EVENTS_KEPT: u64 = 100_000;
/// Events are kept for so long, where there are not too many of them anyway …
pub const EVENTS_KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// … and with this in all: failures carry the last lines of output ([`OUTPUT_TAIL_BYTES`]).
pub const EVENTS_KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// So many are kept however old they are: a clock that jumps ahead must not end history.
pub const EVENTS_KEPT_MIN: u64 = 1000;
/// A worker's metrics, one point a minute: a week.
pub const METRICS_POINTS_KEPT: u64 = 7 * 24 * 60;
/// Ended instances kept of a service, and ended deployments: a week of a service that is deployed
/// every 20 min.
pub const ENDED_KEPT: usize = 500;
/// Events in one answer: at 300 bytes each they fit a streamed answer's buffer.
pub const EVENTS_PAGE_MAX: usize = 500;
/// What of a failed script's output goes into reasons and events.
pub const OUTPUT_TAIL_BYTES: usize = 8 * 1024;

// --- The balancer --------------------------------------------------------------------------------

/// Requests of a service that wait for an instance on its way; more are 503 at once.
pub const HELD_REQUESTS_MAX: usize = 256;
/// Those who waited go on so many at a time, with [`HELD_RELEASE_PAUSE`] between: 256 at once would
/// overflow the listen queue of a service that has just started (5 in Python, 128 and 511
/// elsewhere).
pub const HELD_RELEASED_AT_ONCE: u32 = 32;
/// See [`HELD_RELEASED_AT_ONCE`].
pub const HELD_RELEASE_PAUSE: Duration = Duration::from_millis(5);
/// Instances one request is tried on.
pub const TRIES_MAX: u32 = 3;
/// A request whose body is longer is sent once (contract).
pub const REPEATABLE_BODY_BYTES_MAX: usize = 64 * 1024;
/// A buffer of a balancer's loop: a request that may be sent again, what bodies stream through.
pub const BODY_BUFFER_BYTES: usize = HEAD_BYTES_MAX + REPEATABLE_BODY_BYTES_MAX;
/// A chunk of the balancer's own making: with the longest head before it, it fits what may wait for
/// a slow receiver.
pub const OWN_CHUNK_BYTES_MAX: usize = 32 * 1024;
/// What has to be kept of a request while its answer is awaited usually fits this: a browser's
/// head.
pub const KEPT_BUFFER_BYTES: usize = 2 * 1024;
/// Large buffers that a loop keeps for the next bodies; more go back to the allocator.
pub const LARGE_BUFFERS_KEPT: usize = 16;
/// Clients of one loop; more wait in the listen queue. Each idle one costs half a KiB.
pub const LOOP_CLIENTS_MAX: usize = 16 * 1024;
/// Idle connections that a loop keeps to one instance.
pub const UPSTREAM_IDLE_MAX: usize = 256;
/// Making a connection to an instance takes at most so long (contract): a LAN's round trip is a
/// hundredth of it.
pub const UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// The head of an answer comes within this (contract).
pub const ANSWER_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A kept connection to an instance is closed after being idle so long (contract).
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A request that may not be sent twice takes a kept connection only if it was idle for less: the
/// service may be about to close an older one.
pub const UPSTREAM_FRESH: Duration = Duration::from_secs(1);
/// A new client's connection is not watched for so long while its request is being answered: most
/// answers come sooner, and one that is closed then has cost no call for it.
pub const CLIENT_UNSEEN: Duration = Duration::from_millis(64);
/// Messages that a loop of the balancer takes in one turn.
pub const LOOP_MESSAGES_PER_TURN: usize = 64;
/// What one poll of a loop of the balancer tells at once.
pub const EVENTS_PER_TURN: usize = 1024;
/// A tunnel (an upgraded connection) may be silent so long (contract).
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Where every instance of a service refuses its connection, requests wait so long for the table
/// that says what became of them: a crash is known here before the worker has told it.
pub const CRASH_GRACE: Duration = Duration::from_secs(2);
/// Meanwhile the instances are asked again so often: one started again in place is found by this.
pub const CRASH_RETRY: Duration = Duration::from_millis(100);

/// A host that sends nothing for so long, acknowledges nothing, and has requests unanswered is
/// taken for dead: longer than a kernel's first retransmission (200 ms), short beside a user's
/// patience.
pub const SILENCE_AFTER: Duration = Duration::from_millis(350);
/// Hosts with requests unanswered are looked at so often.
pub const SILENCE_CHECK: Duration = Duration::from_millis(100);
/// A host found silent is used last for so long; by then its heartbeats are missed too.
pub const SILENCE_TERM: Duration = Duration::from_secs(3);
/// What can't be sent elsewhere from a silent host is given up by the kernel after so long (s).
pub const SILENCE_GIVE_UP_S: u32 = 5;
/// Idle time after which the kernel asks a host that acknowledged all it was sent (s): its least.
pub const SILENCE_ASK_S: u32 = 1;
/// A connection made anew tells within this whether a service has died.
pub const DEATH_LOOK: Duration = Duration::from_millis(50);
/// A request that was in flight at so many deaths is not sent again.
pub const DEATHS_MAX: usize = 2;

// --- The balancer: choices and retries (contract) ------------------------------------------------

/// Connect errors or resets in a row that take an instance out of the rotation.
pub const EJECTION_BROKEN_TRIES: u32 = 3;
/// Answers 502, 503 or 504 in a row that do.
pub const EJECTION_BAD_ANSWERS: u32 = 5;
/// The first term out of the rotation; each further one is twice as long.
pub const EJECTION_BASE: Duration = Duration::from_secs(5);
/// The longest term, and how long an instance must do well for its terms to be forgotten.
pub const EJECTION_MAX: Duration = Duration::from_secs(60);
/// Retries are at most so much of the traffic.
pub const RETRY_BUDGET_PERCENT: u64 = 20;
/// Retries that a service may save up: one sweep over what was in flight on a lost worker.
pub const RETRY_BUDGET_BURST: u64 = 100;
/// Retries a second that a service with little traffic has in any case.
pub const RETRY_BUDGET_PER_SECOND: u64 = 10;
/// An instance that turned ready gets its full share of requests after so long.
pub const SLOW_START: Duration = Duration::from_secs(10);

// --- Workers -------------------------------------------------------------------------------------

/// Reports of instances in one heartbeat.
pub const WORKER_INSTANCES_MAX: usize = 1000;
/// A port is not used again for so long: connections of its old owner's clients may still be about.
pub const PORT_QUARANTINE: Duration = Duration::from_secs(60);
/// What the host keeps of its memory for itself, whichever is more: a ratio in percent, and a
/// floor.
pub const HOST_MEMORY_KEPT_PERCENT: u64 = 10;
/// See [`HOST_MEMORY_KEPT_PERCENT`].
pub const HOST_MEMORY_KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// Workers may differ by so much before instances are moved by themselves, in percent of the
/// fullest one's instances: less is what spreading a few over a few workers leaves anyway.
pub const IMBALANCE_PERCENT_MAX: u64 = 30;
/// An imbalance is acted upon once it has lasted so long: a worker that only restarts is back
/// before.
pub const BALANCE_LASTS: Duration = Duration::from_secs(60);
/// While there is an imbalance it is looked at so often: a move takes seconds.
pub const BALANCE_LOOK: Duration = Duration::from_secs(5);
/// An imbalance is let be where no service has been at rest for so long.
pub const BALANCE_BUSY_MAX: Duration = Duration::from_secs(600);
/// So many services of a worker are looked at for one that can be moved: each costs a look at every
/// worker.
pub const BALANCE_SERVICES_MAX: usize = 16;
/// A drained worker's instances move within this, or are stopped all the same (Nomad: 1 h; a person
/// who waits for a reboot: 5 min).
pub const WORKER_DRAIN: Duration = Duration::from_secs(300);
/// Failed starts in a row that end a deployment.
pub const DEPLOYMENT_START_ATTEMPTS: u32 = 5;
/// A worker's measured CPU or memory above this takes no new instances, in percent.
pub const WORKER_LOAD_PERCENT_MAX: u32 = 90;
/// An overloaded CPU makes a worker the last choice only where another worker's has so much less
/// load: less apart is noise.
pub const WORKER_LOAD_PERCENT_APART: u32 = 20;

// --- A worker's processes ------------------------------------------------------------------------

/// A process that was up for so long begins with a clean slate: the next backoff is the first
/// again.
pub const RESTART_RESET_AFTER: Duration = Duration::from_secs(60);
/// The teardown script; it must not keep a stop from ending.
pub const TEARDOWN_TIMEOUT: Duration = Duration::from_secs(60);
/// The first check of a process comes so long after its start, and between the next ones the gap
/// grows from this up to [`PROBE_GAP_MAX`]: readiness is seen at once, and a slow start costs
/// little.
pub const PROBE_GAP_FIRST: Duration = Duration::from_millis(20);
/// See [`PROBE_GAP_FIRST`].
pub const PROBE_GAP_MAX: Duration = Duration::from_millis(200);
/// A process without a port is ready once it was up for so long (contract).
pub const READY_UPTIME: Duration = Duration::from_secs(1);
/// An instance that is unhealthy for so long is started again.
pub const UNHEALTHY_RESTART_AFTER: Duration = Duration::from_secs(30);
/// A process that SIGKILL did not end hangs in the kernel: it is sent again so often.
pub const KILL_REPEAT: Duration = Duration::from_secs(10);
/// A ledger that could not be written is tried again after this.
pub const LEDGER_RETRY: Duration = Duration::from_secs(1);
/// A holder that has not said what it started is asked again after this.
pub const ADOPT_RETRY: Duration = Duration::from_millis(20);
/// Processes and threads of a job whose spec does not say: more than servers have, and few enough
/// that a fork bomb leaves the machine to the others.
pub const SERVICE_PROCESSES_MAX: u64 = 1024;
/// The share of all instances together (a plain program's is 100): they are what a worker is for.
pub const CPU_WEIGHT_ALL: u64 = 1000;
/// Descriptors of a service: what busy servers ask for first.
pub const SERVICE_DESCRIPTORS: u64 = 65_536;
/// A line of output; a longer one is kept in parts (CRI's 16 KiB).
pub const OUTPUT_LINE_BYTES_MAX: usize = 16 * 1024;
/// One file of an instance's output.
pub const OUTPUT_FILE_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// Files of an instance's output, the current one counted.
pub const OUTPUT_FILES_KEPT: u32 = 4;
/// Output that is taken without pause; then [`OUTPUT_BYTES_PER_S`] holds, and the writer waits.
pub const OUTPUT_BURST_BYTES: u64 = 8 * 1024 * 1024;
/// See [`OUTPUT_BURST_BYTES`]; a card of a small machine writes about 10 MiB/s.
pub const OUTPUT_BYTES_PER_S: u64 = 4 * 1024 * 1024;
/// The output of an instance that is gone.
pub const OUTPUT_KEPT: Duration = Duration::from_secs(24 * 3600);
/// All output of instances that are gone; the oldest goes first.
pub const OUTPUT_KEPT_BYTES: u64 = 256 * 1024 * 1024;

// --- tucano-net: the loop of the API, the agent and worker_mgr -----------------------------------

/// Connections a loop accepts; more wait in the listen queue. The sysadmin, their scripts and 1,000
/// workers' heartbeats fit together with long polls.
pub const CONNECTIONS_MAX: usize = 2048;
/// Accepting begins again once so many places are free, so that it does not flap at the bound.
pub const ACCEPT_RESUME_FREE: usize = CONNECTIONS_MAX / 8;
/// Connections accepted in one turn; the others wait for the next, after the requests that are
/// there.
pub const ACCEPTS_PER_TURN: usize = 64;
/// With no room left, the connection idle longest is closed for a new one, if it was so for so
/// long.
pub const EVICT_IDLE_AFTER: Duration = Duration::from_secs(1);
/// Requests of one connection that are begun in a turn, however many were pipelined.
pub const REQUESTS_PER_TURN: usize = 32;
/// The queue of connections that the kernel completed and the loop did not accept yet.
pub const LISTEN_BACKLOG: i32 = 1024;
/// Without descriptors left, accepting pauses so long: others must close some first.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A request's head has to come within this (contract).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A body of which nothing comes for so long is given up (contract).
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A client's connection may be idle between two requests so long (contract).
pub const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(75);
/// A client that takes nothing of its answer for so long is given up.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that closed its sending side may still want its answer (`nc -N`), or be gone: a FIN
/// does not say which.
pub const HALF_CLOSE_GRACE: Duration = Duration::from_secs(2);
/// After a refusal the rest of the body is read and dropped so long and so far, or the client would
/// see a reset in place of the answer.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// See [`LINGER_TIMEOUT`].
pub const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A peer that is silent for so long is asked by the kernel whether it is still there…
pub const TCP_KEEPALIVE_IDLE_SECONDS: u32 = 30;
/// … so often …
pub const TCP_KEEPALIVE_INTERVAL_SECONDS: u32 = 10;
/// … and so many times before the connection counts as broken: a minute in all.
pub const TCP_KEEPALIVE_PROBES: u32 = 3;
/// The rest of a body that was answered early is read and dropped up to this, to keep the
/// connection; beyond it, closing costs less.
pub const SKIP_BYTES_MAX: u64 = 64 * 1024;
/// Room made for a body before any of it came, whatever its head promises.
pub const BODY_RESERVE_BYTES_MAX: usize = 64 * 1024;
/// What waits to be written is put together into pieces up to this; larger bodies are not copied.
pub const WRITE_PIECE_BYTES_MAX: usize = 16 * 1024;
/// One read of a loop; a head fits with room, and a loop needs one or two such buffers at a time.
pub const READ_BUFFER_BYTES: usize = 32 * 1024;
/// Read buffers a loop keeps for the next reads; more go back to the allocator.
pub const READ_BUFFERS_KEPT: usize = 2;
/// What one connection may read or write in a turn before the others have theirs.
pub const TURN_BYTES_MAX: usize = 256 * 1024;
/// A streamed answer's buffer: a piece that would take it beyond this is not taken.
pub const STREAM_BUFFER_BYTES_MAX: usize = 512 * 1024;
/// A streamed answer asks for more once its buffer is below this.
pub const STREAM_LOW_WATER_BYTES: usize = 64 * 1024;
/// What one poll tells at once; more comes with the next.
pub const EVENTS_PER_POLL: usize = 256;
/// Messages that wait for a loop; a sender that finds it full is told.
pub const INBOX_MESSAGES_MAX: usize = 4096;
/// Messages a loop takes in one turn.
pub const INBOX_PER_TURN: usize = 256;
/// An `X-Request-Id` of a client is kept up to this (contract).
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Calls a loop has in progress: a push to each of 1,000 agents and some to spare.
pub const CALLS_MAX: usize = 2048;
/// Idle connections kept to one address, and to all of them together.
pub const POOL_IDLE_PER_ADDRESS: usize = 4;
/// See [`POOL_IDLE_PER_ADDRESS`].
pub const POOL_IDLE_MAX: usize = 1024;
/// An idle connection is closed by us before a server would do it ([`KEEP_ALIVE_IDLE`]).
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection to a controller, an agent or an instance in the same network comes about within
/// this.
pub const CALL_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The head of an answer comes within this.
pub const CALL_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Interim (1xx) answers that are skipped before the final one.
pub const INTERIM_ANSWERS_MAX: u32 = 8;
/// Stack of a thread that runs a loop; only touched pages cost memory.
pub const LOOP_STACK_BYTES: usize = 512 * 1024;
/// Stack of a helper thread.
pub const HELPER_STACK_BYTES: usize = 256 * 1024;
/// A token file: more is not a token.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// A token: fewer characters could be guessed.
pub const TOKEN_CHARS_MIN: usize = 16;
/// Lines a call site may log within [`LOG_LIMIT_WINDOW`] where a client can trigger it; the others
/// are counted.
pub const LOG_LIMIT_LINES: u32 = 5;
/// See [`LOG_LIMIT_LINES`].
pub const LOG_LIMIT_WINDOW: Duration = Duration::from_secs(10);
/// One line of the log; the rest is cut.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

// --- The controller's threads --------------------------------------------------------------------

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
/// What agents said, on its way to the worker manager: one a connection of the API.
pub const AGENT_MESSAGES_QUEUED_MAX: usize = 2048;
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

// --- Archives and sources, on the worker ---------------------------------------------------------

/// What an archive unpacks to, its headers counted: four times what may be uploaded, as sources
/// usually shrink.
pub const ARCHIVE_UNPACKED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Files, folders and links of one archive; a large node_modules has about 100,000.
pub const ARCHIVE_MEMBERS_MAX: u64 = 200_000;
/// Unpacked bytes to each packed one: sources reach 10, logs 50, bombs 1000.
pub const ARCHIVE_RATIO_MAX: u64 = 200;
/// The ratio counts from here: a small archive is mostly tar's padding.
pub const ARCHIVE_RATIO_FLOOR_BYTES: u64 = 16 * 1024 * 1024;
/// A member's path, or a link's target (Linux: PATH_MAX).
pub const ARCHIVE_PATH_BYTES_MAX: usize = 4096;
/// One name of a path (Linux: NAME_MAX).
pub const ARCHIVE_NAME_BYTES_MAX: usize = 255;
/// Folders in folders: each is a descriptor held while its content is written.
pub const ARCHIVE_DEPTH_MAX: usize = 100;
/// A pax header: two paths and some times.
pub const ARCHIVE_PAX_BYTES_MAX: u64 = 64 * 1024;
/// Packed artifacts that a worker keeps, newest first; the others come again from the controller.
pub const ARTIFACTS_KEPT: usize = 8;
/// See [`ARTIFACTS_KEPT`].
pub const ARTIFACTS_KEPT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

const _: () = assert!(PARKED_REQUESTS_MAX < CONNECTIONS_MAX, "parked requests leave places");
const _: () = assert!(WAITERS_MAX >= PARKED_REQUESTS_MAX, "each parked request can wait");
const _: () = assert!(ARTIFACT_PIECE_BYTES < STREAM_BUFFER_BYTES_MAX, "a piece fits an answer");
const _: () = assert!(
    LOG_FOLLOW_INTERVAL.as_millis() < LOG_MERGE_WINDOW.as_millis(),
    "an agent has looked once within the window"
);
const _: () = assert!(LOG_LINE_OUT_BYTES_MAX < LOG_SOURCE_BYTES_MAX, "a line fits its buffer");
// --- The agent -----------------------------------------------------------------------------------

/// Metrics and states are pushed so often (contract: `--heartbeat`).
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(1);
/// More often would cost more than it tells.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// Less often, and the controller's shortest sensible timeout passes in between.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(60);
/// A label's key or value, as a DNS label.
pub const LABEL_BYTES_MAX: usize = 63;
/// Labels of one worker.
pub const LABELS_MAX: usize = 64;
/// Changes of states within so long go out in one heartbeat.
pub const REPORT_COALESCE: Duration = Duration::from_millis(3);
/// The controller is away: it is tried again after so long, doubling …
pub const LINK_BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// … up to this.
pub const LINK_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A request of the agent to its controller is answered within this, or counts as lost.
pub const LINK_TIMEOUT: Duration = Duration::from_secs(5);
/// Another agent has this one's name: it is tried again so seldom.
pub const LINK_REFUSED_RETRY: Duration = Duration::from_secs(10);
/// From a ledger's being written to its being brought onto the disk: a start takes less.
pub const LEDGER_SYNC_DELAY: Duration = Duration::from_millis(200);
/// The new binary of an upgrade in place says its version within this, also from a slow card.
pub const UPGRADE_CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// See [`UPGRADE_CHECK_TIMEOUT`]: a name and a number.
pub const VERSION_LINE_BYTES_MAX: u64 = 256;
/// One message to `NOTIFY_SOCKET`; sd_notify(3) sends a few lines.
pub const NOTIFY_MESSAGE_BYTES_MAX: usize = 4096;
/// What is kept of a script's `STATUS=`: it fits the room of its record, however it is escaped.
pub const NOTIFY_STATUS_CHARS_MAX: usize = 100;
/// A notice that comes later than this says when it happened; after a lost heartbeat it is not
/// late.
pub const NOTICE_LATE_AFTER: Duration = Duration::from_secs(3);
/// Notices that wait for the controller; the oldest go first.
pub const NOTICES_MAX: usize = 256;
/// All assignments of a worker in one answer: [`WORKER_INSTANCES_MAX`] large specs would not fit
/// the agent's memory anyway.
pub const ASSIGNMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What of a controller's refusal goes into the agent's log.
pub const REFUSAL_CHARS_MAX: usize = 300;
/// What of the complaint of a child that unpacks is read: it is one line.
pub const REFUSAL_BYTES_MAX: u64 = 1024;
/// Rounds of driving the supervisor in one turn; one that wants more is wrong, and the next turn
/// goes on.
pub const DRIVE_ROUNDS_MAX: usize = 100;
/// Answers to wrong tokens that wait on an agent; more are given at once.
pub const LATE_ANSWERS_MAX: usize = 64;
/// All of /proc is looked through for instances' processes at least every so many samples: it costs
/// as much as reading those of a hundred instances.
pub const SAMPLES_A_SCAN_MAX: u32 = 16;
/// Descriptors kept for reading processes again and again; the others are opened each time.
pub const STAT_FILES_OPEN_MAX: usize = 256;
/// A file of /proc that is read again and again: `/proc/stat` of hundreds of CPUs and interrupts.
pub const PROC_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Sensors of heat that are read; a server has a dozen.
pub const HEAT_SENSORS_MAX: usize = 16;
/// CPUs whose throttling is counted: those of one package mostly move together.
pub const HEAT_COUNTERS_MAX: usize = 16;
/// Logs followed at a time on one worker.
pub const LOG_FOLLOWERS_MAX: usize = 64;
/// How often a followed log is looked at.
pub const LOG_FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// Messages that wait for the agent's loop: answers of its helpers, which wait where it is full.
pub const AGENT_INBOX_MESSAGES_MAX: usize = 256;
/// An artifact's download that does not move for so long is given up.
pub const FETCH_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A fetch is tried so often where the controller can't be reached.
pub const FETCH_TRIES_MAX: u32 = 5;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX, "a long target is 414 before it is 431");
const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize, "spans into a head are 16 bits wide");
const _: () = assert!(TRAILER_BYTES_MAX <= HEAD_BYTES_MAX, "a trailer line fits a head's buffer");
const _: () = assert!(OWN_CHUNK_BYTES_MAX + 2 * HEAD_BYTES_MAX <= BODY_BUFFER_BYTES);
const _: () = assert!(CHUNK_EXTENSION_BYTES_MAX <= u16::MAX as usize, "counted in 16 bits");
const _: () =
    assert!(3 * SCRIPT_BYTES_MAX + ENV_BYTES_MAX < API_BODY_BYTES_MAX, "a full spec fits a body");
const _: () = assert!(HEAD_BYTES_MAX < READ_BUFFER_BYTES, "a head fits one read buffer");
const _: () = assert!(STREAM_LOW_WATER_BYTES < STREAM_BUFFER_BYTES_MAX);
const _: () = assert!(POOL_IDLE_TIMEOUT.as_millis() < KEEP_ALIVE_IDLE.as_millis());
