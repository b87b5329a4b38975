//! The machine, as often as anybody could see a difference: CPU, memory, pressure.
//!
//! What the kernel does not tell is left out; nothing here fails or waits, and the agent's
//! loop calls it. What changes slowly, or could hang, is `slow`'s.

use tucano_common::limits::PRESSURE_INTERVAL;
use tucano_common::time::Mono;
use tucano_common::wire::worker::{Capacity, Pressure, WorkerMetrics};
use tucano_worker_core::usage::CpuTicks;

use super::proc_file::ProcFile;
use super::proc_text as text;

/// The files, and what the last sample left for the next difference.
pub(super) struct Machine {
    stat: ProcFile,
    meminfo: ProcFile,
    pressure: [ProcFile; 3],
    buffer: Vec<u8>,
    cpus: Option<Cpus>,
    pressed: Option<(Mono, Option<Pressure>)>,
}

/// The CPUs' times of a sample.
#[derive(Default)]
struct Cpus {
    all: Option<CpuTicks>,
    each: Vec<CpuTicks>,
}

impl Machine {
    /// Of this machine.
    pub(super) fn new() -> Machine {
        let pressure = ["cpu", "memory", "io"];
        Machine {
            stat: ProcFile::open("/proc/stat"),
            meminfo: ProcFile::open("/proc/meminfo"),
            pressure: pressure.map(|kind| ProcFile::open(format!("/proc/pressure/{kind}"))),
            buffer: Vec::new(),
            cpus: None,
            pressed: None,
        }
    }

    /// Puts the machine of now into `metrics`; shares are of the time since the last call (the
    /// first has none). Pressure is as old as [`PRESSURE_INTERVAL`] at most.
    pub(super) fn sample(&mut self, now: Mono, metrics: &mut WorkerMetrics) {
        self.cpu(metrics);
        let memory = self.meminfo.read(&mut self.buffer).and_then(text::memory);
        metrics.memory_total_bytes = memory.map(|memory| memory.total);
        metrics.memory_available_bytes = memory.map(|memory| memory.available);
        metrics.swap_total_bytes = memory.map(|memory| memory.swap_total);
        metrics.swap_free_bytes = memory.map(|memory| memory.swap_free);
        metrics.pressure = match self.pressed {
            Some((at, pressure)) if now.since(at) < PRESSURE_INTERVAL => pressure,
            Some(_) | None => {
                let pressure = self.pressure();
                self.pressed = Some((now, pressure));
                pressure
            }
        };
    }

    fn cpu(&mut self, metrics: &mut WorkerMetrics) {
        let mut now = Cpus::default();
        let stat = self.stat.read_until(&mut self.buffer, text::has_all_cpus);
        now.all = stat.and_then(|stat| text::cpus(stat, &mut now.each));
        let before = self.cpus.as_ref().and_then(|earlier| earlier.all);
        let shares = now.all.zip(before).map(|(all, before)| all.shares_since(before));
        metrics.cpu_ratio = shares.map(|shares| shares.used);
        metrics.iowait_ratio = shares.map(|shares| shares.iowait);
        metrics.steal_ratio = shares.map(|shares| shares.steal);
        metrics.cpu_each.clear();
        if let Some(earlier) = &self.cpus {
            // A CPU that went off or came on line moves the others' places: that sample has no
            // shares of each.
            if now.each.len() == earlier.each.len() {
                let pairs = now.each.iter().zip(&earlier.each);
                metrics.cpu_each.extend(pairs.map(|(now, then)| now.shares_since(*then).used));
            }
        }
        self.cpus = Some(now);
    }

    fn pressure(&mut self) -> Option<Pressure> {
        let [cpu, memory, io] = &self.pressure;
        let mut read = |file: &ProcFile| text::pressure(file.read(&mut self.buffer)?);
        Some(Pressure { cpu: read(cpu)?, memory: read(memory)?, io: read(io)? })
    }
}

/// What this machine has: for hello.
pub(crate) fn capacity() -> Capacity {
    let mut buffer = Vec::new();
    let mut each = Vec::new();
    let stat = ProcFile::open("/proc/stat");
    stat.read_until(&mut buffer, text::has_all_cpus).and_then(|stat| text::cpus(stat, &mut each));
    // Where /proc is silent, what the kernel says by itself.
    let cpus = match each.len() {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        cpus => cpus,
    };
    let memory = ProcFile::open("/proc/meminfo").read(&mut buffer).and_then(text::memory);
    Capacity {
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: memory.map_or_else(memory_by_itself, |memory| memory.total),
    }
}

fn memory_by_itself() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(0, |told| told.ram_total())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn this_machine_has_plausible_values() {
        let mut machine = Machine::new();
        let start = Mono(1_000_000);
        let mut metrics = WorkerMetrics::default();
        machine.sample(start, &mut metrics);
        assert_eq!((metrics.cpu_ratio, metrics.cpu_each.len()), (None, 0), "nothing to compare");
        machine.pressed = Some((start, Some(Pressure { cpu: 7.0, ..Pressure::default() })));
        for (after, is_old) in [(1, true), (2, false)] {
            machine.sample(start + Duration::from_secs(after), &mut metrics);
            assert!(metrics.cpu_ratio.is_some_and(|it| (0.0..=1.0).contains(&it)), "{metrics:?}");
            assert_eq!(metrics.cpu_each.len(), capacity().cpus as usize);
            let cpu = metrics.pressure.map(|it| it.cpu);
            assert_eq!(cpu == Some(7.0), is_old, "{cpu:?}");
        }
        assert!(metrics.memory_available_bytes <= metrics.memory_total_bytes);
        assert_eq!(metrics.memory_total_bytes, Some(capacity().memory_bytes));
        assert!(metrics.memory_total_bytes > Some(0));
    }

    #[test]
    fn a_machine_that_tells_nothing_gives_defaults() {
        let nothing = || ProcFile::open("/nowhere");
        let mut machine = Machine::new();
        machine.stat = nothing();
        machine.meminfo = nothing();
        machine.pressure = [nothing(), nothing(), nothing()];
        let mut metrics = WorkerMetrics::default();
        for at in [1, 2] {
            machine.sample(Mono(at), &mut metrics);
            assert_eq!(metrics, WorkerMetrics::default());
        }
    }
}
