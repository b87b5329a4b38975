//! Workers: what the controller expects of them, their processes and their agents.

use std::time::Duration;

// --- Workers ------------------------------------------------------------------------------------

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
/// What a worker gets of the traffic at the least, in thousandths of an idle one's: between two
/// that are nearly full the last percent is noise, and 1 against 20 would be all to one of them.
pub const WORKER_WEIGHT_MIN: u16 = 100;

// --- A worker's processes -----------------------------------------------------------------------

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
/// A holder that let go of its lock has this long to be gone: the kernel needs microseconds, on a
/// machine that is overloaded a little more.
pub const HOLDER_EXIT_TIMEOUT: Duration = Duration::from_secs(1);
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

// --- The agent ----------------------------------------------------------------------------------

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
/// … and wholly within this, however it trickles: there is one request at a time, and heartbeats
/// have to get through more often than `--worker-timeout` (10 s) or the worker would count as dead.
pub const LINK_ANSWER_TIMEOUT: Duration = Duration::from_secs(7);
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
/// The supervisor is driven so often even where nothing came and nothing is due.
pub const DRIVE_INTERVAL: Duration = Duration::from_millis(900);
/// Answers to wrong tokens that wait on an agent; more are given at once.
pub const LATE_ANSWERS_MAX: usize = 64;
/// All of /proc is looked through for instances' processes at least every so many samples: it costs
/// as much as reading those of a hundred instances.
pub const SAMPLES_A_SCAN_MAX: u32 = 16;
/// An instance's throttling and pressure are looked at every so many samples: the kernel averages
/// the latter over ten seconds, and the four files cost as much as its processes do.
pub const SAMPLES_A_STALL: u32 = 10;
/// An instance that used no CPU since is looked at all the same every so many samples: it may wait
/// for a disk that does not answer.
pub const SAMPLES_A_STALL_IDLE: u32 = 60;
/// While nothing of any instance runs, their processes are read again every so many samples alone:
/// only the kernel could have taken memory of theirs meanwhile.
pub const SAMPLES_QUIET_MAX: u32 = 30;
/// How old a worker's pressure (PSI) may be: the kernel itself makes its averages anew so often.
pub const PRESSURE_INTERVAL: Duration = Duration::from_secs(2);
/// How old load, network, disk and heat of a worker may be: the kernel makes the load anew as
/// seldom, nothing is decided by the others within seconds, and all together take longer to read
/// than CPU and memory, which requests are shared out by.
pub const SLOW_FILES_INTERVAL: Duration = Duration::from_secs(5);
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

// --- A worker's disk ----------------------------------------------------------------------------

/// What a worker holds of its disk in builds, artifacts and outputs together is at most so much of
/// it, in percent: the rest is for what services write.
pub const HELD_DISK_PERCENT: u64 = 50;
/// See [`HELD_DISK_PERCENT`]; a large disk may be a large disk for another reason.
pub const HELD_DISK_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// A build leaves so much of the disk free, in percent, or is ended: services that can't write
/// fail.
pub const BUILD_DISK_FREE_PERCENT: u64 = 5;
/// See [`BUILD_DISK_FREE_PERCENT`].
pub const BUILD_DISK_FREE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// While something is built the disk is looked at so often …
pub const DISK_LOOK: Duration = Duration::from_secs(2);
/// … and no more often than this many times what a look takes: a large tree is long to walk.
pub const DISK_LOOK_SHARE: u32 = 20;
/// While nothing is, so often: services and their outputs grow slowly.
pub const DISK_LOOK_IDLE: Duration = Duration::from_secs(3600);
/// The first look comes so long after the agent's start: a machine that has just booted is busy.
pub const DISK_LOOK_FIRST: Duration = Duration::from_secs(60);
