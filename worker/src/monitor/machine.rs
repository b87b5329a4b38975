//! The machine: CPU, memory, load, pressure, disk, network, heat, uptime.
//!
//! What the kernel does not tell is left out; nothing here fails. The sampler calls it.

use std::path::{Path, PathBuf};

use procfs::net::InterfaceDeviceStatus;
use procfs::{
    CpuPressure, CpuTime, FromBufRead, FromBufReadSI, FromRead, IoPressure, KernelStats,
    LoadAverage, Meminfo, MemoryPressure, Uptime,
};
use tucano_common::time::Mono;
use tucano_common::wire::worker::{Capacity, Pressure, WorkerMetrics};
use tucano_worker_core::usage::{CpuTicks, rate_per_s};

use super::heat::Heat;
use super::proc_file::ProcFile;

/// The files, and what the last sample left for the next difference.
pub(super) struct Machine {
    stat: ProcFile,
    meminfo: ProcFile,
    loadavg: ProcFile,
    uptime: ProcFile,
    net_dev: ProcFile,
    pressure: [ProcFile; 3],
    heat: Heat,
    data_dir: PathBuf,
    buffer: Vec<u8>,
    earlier: Option<Earlier>,
}

struct Earlier {
    at: Mono,
    all: Option<CpuTicks>,
    each: Vec<CpuTicks>,
    network: Option<(u64, u64)>,
}

impl Machine {
    /// Of this machine; the disk is the one that holds `data_dir`.
    pub(super) fn new(data_dir: &Path) -> Machine {
        let pressure = ["cpu", "memory", "io"];
        Machine {
            stat: ProcFile::open("/proc/stat"),
            meminfo: ProcFile::open("/proc/meminfo"),
            loadavg: ProcFile::open("/proc/loadavg"),
            uptime: ProcFile::open("/proc/uptime"),
            net_dev: ProcFile::open("/proc/net/dev"),
            pressure: pressure.map(|kind| ProcFile::open(format!("/proc/pressure/{kind}"))),
            heat: Heat::find(Path::new("/sys")),
            data_dir: data_dir.to_owned(),
            buffer: Vec::new(),
            earlier: None,
        }
    }

    /// The machine now; shares and rates are of the time since the last call (the first has none).
    pub(super) fn sample(&mut self, now: Mono) -> WorkerMetrics {
        let mut metrics = WorkerMetrics::default();
        self.cpu_and_network(now, &mut metrics);
        self.memory(&mut metrics);
        if let Some(load) = self.loadavg.read(&mut self.buffer).and_then(parse::<LoadAverage>) {
            metrics.load = Some([load.one, load.five, load.fifteen]);
        }
        if let Some(uptime) = self.uptime.read(&mut self.buffer).and_then(parse::<Uptime>) {
            metrics.uptime_s = Some(uptime.uptime_duration().as_secs());
        }
        metrics.pressure = self.pressure();
        metrics.temperature_c = self.heat.temperature_c(&mut self.buffer);
        metrics.throttled = self.heat.throttled(&mut self.buffer);
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            metrics.disk_total_bytes = Some(disk.f_blocks.saturating_mul(disk.f_frsize));
            metrics.disk_free_bytes = Some(disk.f_bavail.saturating_mul(disk.f_frsize));
            metrics.inodes_total = Some(disk.f_files);
            metrics.inodes_free = Some(disk.f_favail);
        }
        metrics
    }

    fn cpu_and_network(&mut self, now: Mono, metrics: &mut WorkerMetrics) {
        let info = procfs::current_system_info();
        let stats = self.stat.read(&mut self.buffer);
        let stats = stats.and_then(|text| KernelStats::from_buf_read(text, info).ok());
        let all = stats.as_ref().map(|stats| ticks(&stats.total));
        let each: Vec<CpuTicks> =
            stats.iter().flat_map(|stats| &stats.cpu_time).map(ticks).collect();
        let text = self.net_dev.read(&mut self.buffer);
        let network = text.and_then(parse_buffered).map(|devices| traffic(&devices));
        if let Some(earlier) = &self.earlier {
            if let (Some(all), Some(before)) = (all, earlier.all) {
                let shares = all.shares_since(before);
                metrics.cpu_ratio = Some(shares.used);
                metrics.iowait_ratio = Some(shares.iowait);
                metrics.steal_ratio = Some(shares.steal);
            }
            // A CPU that went off or came on line moves the others' places: that sample has no
            // shares of each.
            if each.len() == earlier.each.len() {
                let pairs = each.iter().zip(&earlier.each);
                metrics.cpu_each = pairs.map(|(now, then)| now.shares_since(*then).used).collect();
            }
            let elapsed = now.since(earlier.at);
            if let (Some(network), Some(before)) = (network, earlier.network) {
                let rate = |before, now| Some(rate_per_s(before, now, elapsed));
                metrics.network_in_bytes_per_s = rate(before.0, network.0);
                metrics.network_out_bytes_per_s = rate(before.1, network.1);
            }
        }
        self.earlier = Some(Earlier { at: now, all, each, network });
    }

    fn memory(&mut self, metrics: &mut WorkerMetrics) {
        let meminfo = self.meminfo.read(&mut self.buffer);
        let Some(memory) = meminfo.and_then(parse_buffered::<Meminfo>) else { return };
        metrics.memory_total_bytes = Some(memory.mem_total);
        // Kernels before 3.14 do not tell; the sum is what they would have told at least.
        metrics.memory_available_bytes =
            Some(memory.mem_available.unwrap_or(memory.mem_free + memory.cached));
        metrics.swap_total_bytes = Some(memory.swap_total);
        metrics.swap_free_bytes = Some(memory.swap_free);
    }

    fn pressure(&mut self) -> Option<Pressure> {
        let [cpu, memory, io] = &self.pressure;
        let cpu: CpuPressure = cpu.read(&mut self.buffer).and_then(parse_buffered)?;
        let memory: MemoryPressure = memory.read(&mut self.buffer).and_then(parse_buffered)?;
        let io: IoPressure = io.read(&mut self.buffer).and_then(parse_buffered)?;
        let ratio = |percent: f32| percent / 100.0;
        Some(Pressure {
            cpu: ratio(cpu.some.avg10),
            memory: ratio(memory.some.avg10),
            io: ratio(io.some.avg10),
        })
    }
}

/// What this machine has: for hello.
pub(crate) fn capacity() -> Capacity {
    let mut buffer = Vec::new();
    let stats = ProcFile::open("/proc/stat");
    let info = procfs::current_system_info();
    let stats =
        stats.read(&mut buffer).and_then(|text| KernelStats::from_buf_read(text, info).ok());
    // Where /proc is silent, what the kernel says by itself.
    let cpus = stats.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        |stats| stats.cpu_time.len().max(1),
    );
    let meminfo = ProcFile::open("/proc/meminfo");
    let memory = meminfo.read(&mut buffer).and_then(parse_buffered::<Meminfo>);
    Capacity {
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: memory.map_or_else(memory_by_itself, |memory| memory.mem_total),
    }
}

fn memory_by_itself() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(0, |told| told.ram_total())
}

fn parse<T: FromRead>(text: &[u8]) -> Option<T> {
    T::from_read(text).ok()
}

fn parse_buffered<T: FromBufRead>(text: &[u8]) -> Option<T> {
    T::from_buf_read(text).ok()
}

fn ticks(time: &CpuTime) -> CpuTicks {
    CpuTicks {
        // A guest's time is in user's already (proc(5)).
        busy: time.user
            + time.nice
            + time.system
            + time.irq.unwrap_or(0)
            + time.softirq.unwrap_or(0),
        idle: time.idle,
        iowait: time.iowait.unwrap_or(0),
        steal: time.steal.unwrap_or(0),
    }
}

/// Bytes in and out of all interfaces but loopback.
fn traffic(devices: &InterfaceDeviceStatus) -> (u64, u64) {
    let real = devices.0.values().filter(|device| device.name != "lo");
    real.fold((0, 0), |(received, sent), device| {
        (received + device.recv_bytes, sent + device.sent_bytes)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn this_machine_has_plausible_values() {
        let mut machine = Machine::new(Path::new("/"));
        let first = machine.sample(Mono(1_000_000));
        let rates = (first.cpu_ratio, first.network_in_bytes_per_s);
        assert_eq!(rates, (None, None), "nothing to compare");
        let second = machine.sample(Mono(1_000_000) + Duration::from_secs(1));
        assert!(second.cpu_ratio.is_some_and(|it| (0.0..=1.0).contains(&it)), "{second:?}");
        assert!(second.network_in_bytes_per_s.is_some());
        assert_eq!(second.cpu_each.len(), capacity().cpus as usize);
        assert!(second.memory_available_bytes <= second.memory_total_bytes);
        assert_eq!(second.memory_total_bytes, Some(capacity().memory_bytes));
        assert!(second.memory_total_bytes > Some(0) && second.uptime_s > Some(0));
        assert!(
            second.disk_free_bytes <= second.disk_total_bytes && second.disk_total_bytes > Some(0)
        );
        assert!(second.inodes_free <= second.inodes_total);
    }

    #[test]
    fn a_machine_that_tells_nothing_gives_defaults() {
        let mut machine = Machine::new(Path::new("/nowhere"));
        let nothing = || ProcFile::open("/nowhere");
        machine.stat = nothing();
        machine.meminfo = nothing();
        machine.loadavg = nothing();
        machine.uptime = nothing();
        machine.net_dev = nothing();
        machine.pressure = [nothing(), nothing(), nothing()];
        machine.heat = Heat::find(Path::new("/nowhere"));
        for at in [1, 2] {
            assert_eq!(machine.sample(Mono(at)), WorkerMetrics::default());
        }
    }

    #[test]
    fn loopback_does_not_count() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs \
            drop fifo colls carrier compressed\n    \
            lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n  \
            eth0: 100 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n wlan0: 20 1 0 0 0 0 0 0 3 1 0 0 0 0 0 0\n";
        let devices = parse_buffered::<InterfaceDeviceStatus>(text.as_bytes()).unwrap();
        assert_eq!(traffic(&devices), (120, 10));
    }
}
