//! What may go wrong in a simulated cluster, each with its probability: one struct, no other place.
//!
//! A history draws its own: about half of the faults do not happen in it at all, the others more or
//! less often, so that rare combinations of few faults come up as well as everything at once. The
//! world and its actors ask; nothing here acts.

use tucano_common::prng::Prng;

/// How often what goes wrong; 0.0 never, 1.0 always. `_s`: for each (simulated) second.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// A message is lost.
    pub packet_lost: f64,
    /// A message arrives twice.
    pub packet_doubled: f64,
    /// A message is held up for seconds, and overtaken by later ones.
    pub packet_late: f64,
    /// A worker's link is cut for a while, both ways.
    pub partition_s: f64,
    /// The same in one direction only.
    pub partition_one_way_s: f64,
    /// A commit fails, and the next one may work.
    pub commit_fails: f64,
    /// The controller's disk is full for a while.
    pub disk_full_s: f64,
    /// The controller dies with a commit not begun.
    pub crash_before_commit: f64,
    /// The controller dies after a commit, before anybody heard of it.
    pub crash_after_commit: f64,
    /// The controller dies between two turns.
    pub controller_crash_s: f64,
    /// The controller stands still for seconds (a stopped process, a disk that hangs).
    pub controller_stall_s: f64,
    /// An agent dies between two turns.
    pub agent_crash_s: f64,
    /// An agent dies between two effects.
    pub agent_crash_midway: f64,
    /// A machine is started anew: its processes are gone, its disk is not.
    pub reboot_s: f64,
    /// A machine is replaced by an empty one of the same name.
    pub wipe_s: f64,
    /// A ledger can't be written.
    pub ledger_fails: f64,
    /// A source can't be had.
    pub source_fails: f64,
    /// A build or a teardown fails.
    pub script_fails: f64,
    /// A script can't be started.
    pub start_fails: f64,
    /// Another program listens on the port.
    pub port_taken: f64,
    /// A runtime ends by itself at once.
    pub dies_at_once: f64,
    /// A runtime ends by itself within half a minute.
    pub flaps: f64,
    /// A runtime takes seconds until it answers.
    pub slow_start: f64,
    /// A runtime ignores the stop signal.
    pub stubborn: f64,
    /// A process hangs in the kernel: SIGKILL takes seconds.
    pub unkillable: f64,
    /// A check fails though the process is well.
    pub probe_fails: f64,
    /// A folder can't be removed.
    pub remove_fails: f64,
    /// A wall clock steps, forwards or back.
    pub clock_step_s: f64,
    /// A machine's CPU is busy for a while: placement must leave it out.
    pub overload_s: f64,
    /// Every clock runs by up to so many millionths too fast or too slow.
    pub drift_ppm: f64,
    /// A machine's processes wait for CPU, memory or a disk for a while (pressure stall
    /// information): placement must leave it out.
    pub pressure_s: f64,
    /// A machine's memory is taken by something else for a while: placement must refuse it.
    pub memory_taken_s: f64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults {
        packet_lost: 0.0,
        packet_doubled: 0.0,
        packet_late: 0.0,
        partition_s: 0.0,
        partition_one_way_s: 0.0,
        commit_fails: 0.0,
        disk_full_s: 0.0,
        crash_before_commit: 0.0,
        crash_after_commit: 0.0,
        controller_crash_s: 0.0,
        controller_stall_s: 0.0,
        agent_crash_s: 0.0,
        agent_crash_midway: 0.0,
        reboot_s: 0.0,
        wipe_s: 0.0,
        ledger_fails: 0.0,
        source_fails: 0.0,
        script_fails: 0.0,
        start_fails: 0.0,
        port_taken: 0.0,
        dies_at_once: 0.0,
        flaps: 0.0,
        slow_start: 0.0,
        stubborn: 0.0,
        unkillable: 0.0,
        probe_fails: 0.0,
        remove_fails: 0.0,
        clock_step_s: 0.0,
        overload_s: 0.0,
        drift_ppm: 0.0,
        pressure_s: 0.0,
        memory_taken_s: 0.0,
    };

    /// What goes wrong in one history: nothing at all in one of eight.
    pub fn draw(prng: &mut Prng) -> Faults {
        if prng.chance(0.125) {
            return Faults::NONE;
        }
        // What was added later has a stream of its own: the histories of known seeds stay.
        let mut later = prng.clone().fork();
        let share = f64::from(20 + prng.below(70)) / 100.0;
        let some = |prng: &mut Prng, max: f64| {
            let strength = f64::from(1 + prng.below(100)) / 100.0;
            if prng.chance(share) { max * strength * strength } else { 0.0 }
        };
        let mut upto = |max: f64| some(prng, max);
        Faults {
            packet_lost: upto(0.3),
            packet_doubled: upto(0.3),
            packet_late: upto(0.2),
            partition_s: upto(0.03),
            partition_one_way_s: upto(0.03),
            commit_fails: upto(0.1),
            disk_full_s: upto(0.03),
            crash_before_commit: upto(0.02),
            crash_after_commit: upto(0.02),
            controller_crash_s: upto(0.03),
            controller_stall_s: upto(0.02),
            agent_crash_s: upto(0.05),
            agent_crash_midway: upto(0.01),
            reboot_s: upto(0.01),
            wipe_s: upto(0.005),
            ledger_fails: upto(0.2),
            source_fails: upto(0.1),
            script_fails: upto(0.2),
            start_fails: upto(0.1),
            port_taken: upto(0.1),
            dies_at_once: upto(0.2),
            flaps: upto(0.3),
            slow_start: upto(0.3),
            stubborn: upto(0.5),
            unkillable: upto(0.2),
            probe_fails: upto(0.1),
            remove_fails: upto(0.2),
            clock_step_s: upto(0.02),
            overload_s: upto(0.03),
            drift_ppm: upto(500.0),
            pressure_s: some(&mut later, 0.03),
            memory_taken_s: some(&mut later, 0.02),
        }
    }

    /// Whether anything can go wrong.
    pub fn any(&self) -> bool {
        *self != Faults::NONE
    }
}
