//! What of the machine is measured every few seconds only: load, uptime, network, disk, heat.
//!
//! The kernel makes the load anew as seldom, and nothing is decided by the others within seconds. A
//! file system may hang, which is why the `sampler` thread asks, not the agent's loop. What is not
//! told is left out.

use std::path::{Path, PathBuf};

use tucano_common::time::Mono;
use tucano_common::wire::worker::WorkerMetrics;
use tucano_worker_core::usage::rate_per_s;

use super::heat::Heat;
use super::proc_file::ProcFile;
use super::proc_text as text;

/// The files, and what the last reading left for the next difference.
pub(super) struct Slow {
    loadavg: ProcFile,
    uptime: ProcFile,
    net_dev: ProcFile,
    heat: Heat,
    data_dir: PathBuf,
    buffer: Vec<u8>,
    network: Option<(Mono, (u64, u64))>,
}

impl Slow {
    /// Of this machine; the disk is the one that holds `data_dir`.
    pub(super) fn new(data_dir: &Path) -> Slow {
        Slow {
            loadavg: ProcFile::open("/proc/loadavg"),
            uptime: ProcFile::open("/proc/uptime"),
            net_dev: ProcFile::open("/proc/net/dev"),
            heat: Heat::find(Path::new("/sys")),
            data_dir: data_dir.to_owned(),
            buffer: Vec::new(),
            network: None,
        }
    }

    /// All of it now; rates are of the time since the last call (the first has none). The other
    /// fields are left out.
    pub(super) fn read(&mut self, now: Mono) -> WorkerMetrics {
        let mut metrics = WorkerMetrics {
            load: self.loadavg.read(&mut self.buffer).and_then(text::load),
            uptime_s: self.uptime.read(&mut self.buffer).and_then(text::uptime_s),
            ..WorkerMetrics::default()
        };
        let traffic = self.net_dev.read(&mut self.buffer).map(text::traffic);
        let before = std::mem::replace(&mut self.network, traffic.map(|traffic| (now, traffic)));
        if let (Some((at, before)), Some(traffic)) = (before, traffic) {
            let rate = |before, traffic| Some(rate_per_s(before, traffic, now.since(at)));
            metrics.network_in_bytes_per_s = rate(before.0, traffic.0);
            metrics.network_out_bytes_per_s = rate(before.1, traffic.1);
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            metrics.disk_total_bytes = Some(disk.f_blocks.saturating_mul(disk.f_frsize));
            metrics.disk_free_bytes = Some(disk.f_bavail.saturating_mul(disk.f_frsize));
            metrics.inodes_total = Some(disk.f_files);
            metrics.inodes_free = Some(disk.f_favail);
        }
        metrics.temperature_c = self.heat.temperature_c(&mut self.buffer);
        metrics.throttled = self.heat.throttled(&mut self.buffer);
        metrics
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn this_machine_has_plausible_values() {
        let mut slow = Slow::new(Path::new("/"));
        let first = slow.read(Mono(1_000_000));
        assert_eq!(first.network_in_bytes_per_s, None, "nothing to compare it with");
        assert!(first.uptime_s > Some(0) && first.memory_total_bytes.is_none());
        assert!(
            first.disk_free_bytes <= first.disk_total_bytes && first.disk_total_bytes > Some(0)
        );
        assert!(first.inodes_free <= first.inodes_total);
        let (at, (received, sent)) = slow.network.unwrap();
        slow.network = Some((at, (received.saturating_sub(5000), sent)));
        let second = slow.read(Mono(1_000_000) + Duration::from_secs(5));
        assert!(second.network_in_bytes_per_s >= Some(received.min(5000) / 5), "{second:?}");
    }

    #[test]
    fn a_machine_that_tells_nothing_gives_defaults() {
        let nothing = || ProcFile::open("/nowhere");
        let mut slow = Slow::new(Path::new("/nowhere"));
        (slow.loadavg, slow.uptime, slow.net_dev) = (nothing(), nothing(), nothing());
        slow.heat = Heat::find(Path::new("/nowhere"));
        for at in [1, 2] {
            assert_eq!(slow.read(Mono(at)), WorkerMetrics::default());
        }
    }
}
