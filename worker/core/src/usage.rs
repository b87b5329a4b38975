//! What a machine and its instances use, out of the kernel's counters of two samples.
//!
//! Counters only grow, but the kernel does not promise it (iowait may step back, proc(5)),
//! processes end between two samples, and interfaces go: every difference saturates at zero. Where
//! the counters come from is `worker/src/monitor`'s.

use std::time::Duration;

/// One CPU's time since boot, or that of all together, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// At work: user, system, interrupts.
    pub busy: u64,
    /// With nothing to do.
    pub idle: u64,
    /// With nothing to do while something waited for a disk.
    pub iowait: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
}

/// How a CPU's time was shared between two samples: each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuShares {
    /// Not to be had: at work, or taken by the hypervisor.
    pub used: f32,
    /// Waiting for disks.
    pub iowait: f32,
    /// Taken by the hypervisor.
    pub steal: f32,
}

impl CpuTicks {
    /// The shares of the time between an earlier sample and this one; zeros where no tick has
    /// passed.
    pub fn shares_since(self, earlier: CpuTicks) -> CpuShares {
        let busy = self.busy.saturating_sub(earlier.busy);
        let idle = self.idle.saturating_sub(earlier.idle);
        let iowait = self.iowait.saturating_sub(earlier.iowait);
        let steal = self.steal.saturating_sub(earlier.steal);
        let total = busy + idle + iowait + steal;
        let share = |part: u64| if total == 0 { 0.0 } else { part as f32 / total as f32 };
        CpuShares { used: share(busy + steal), iowait: share(iowait), steal: share(steal) }
    }
}

/// Bytes a second between two readings of a counter.
pub fn rate_per_s(earlier: u64, now: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    now.saturating_sub(earlier).saturating_mul(1000) / millis
}

/// The CPU of one instance's processes, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceCpu {
    total_ticks: Option<u64>,
}

impl InstanceCpu {
    /// Takes a sample and gives the cores in use since the last one.
    ///
    /// `total_ticks` is the time of all its processes *and of the children that they have waited
    /// for*: so a child's end moves its time from one to the other, and the sum stays.
    /// `newcomers_ticks` is the part of it that belongs to processes seen for the first time: when
    /// they used it is not known, so it does not count. The first sample, and one after an end that
    /// nobody waited for, give 0.
    pub fn cores_in_use(
        &mut self,
        total_ticks: u64,
        newcomers_ticks: u64,
        elapsed: Duration,
        ticks_per_second: u64,
    ) -> f32 {
        let earlier = self.total_ticks.replace(total_ticks);
        let Some(earlier) = earlier else { return 0.0 };
        let used = total_ticks.saturating_sub(newcomers_ticks).saturating_sub(earlier);
        let possible = elapsed.as_secs_f32() * ticks_per_second as f32;
        if possible > 0.0 { used as f32 / possible } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn shares_of_a_cpu() {
        let at = |busy, idle, iowait, steal| CpuTicks { busy, idle, iowait, steal };
        let earlier = at(100, 1000, 50, 10);
        for (now, (used, iowait, steal)) in [
            (at(150, 1050, 50, 10), (0.5, 0.0, 0.0)),
            (at(100, 1100, 50, 10), (0.0, 0.0, 0.0)),
            (at(125, 1025, 75, 35), (0.5, 0.25, 0.25)),
            // No tick has passed, and counters that step back.
            (earlier, (0.0, 0.0, 0.0)),
            (at(150, 1050, 40, 0), (0.5, 0.0, 0.0)),
            (at(0, 0, 0, 0), (0.0, 0.0, 0.0)),
        ] {
            let shares = now.shares_since(earlier);
            assert_eq!(shares, CpuShares { used, iowait, steal }, "{now:?}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate_per_s(1000, 3000, SECOND), 2000);
        assert_eq!(rate_per_s(1000, 3000, Duration::from_millis(500)), 4000);
        assert_eq!(rate_per_s(3000, 1000, SECOND), 0, "the interface went and came");
        assert_eq!(rate_per_s(0, 10, Duration::ZERO), 10_000);
        assert_eq!(rate_per_s(0, u64::MAX, SECOND), u64::MAX / 1000);
    }

    #[test]
    fn an_instance_counts_from_its_second_sample() {
        let mut cpu = InstanceCpu::default();
        assert_eq!(cpu.cores_in_use(500, 500, SECOND, 100), 0.0);
        assert_eq!(cpu.cores_in_use(550, 0, SECOND, 100), 0.5);
        assert_eq!(cpu.cores_in_use(550, 0, SECOND, 100), 0.0);
        // A child that was found only now brings 300 ticks of its past.
        assert_eq!(cpu.cores_in_use(950, 300, SECOND, 100), 1.0);
        // One went that nobody of the instance waited for.
        assert_eq!(cpu.cores_in_use(700, 0, SECOND, 100), 0.0);
        assert_eq!(cpu.cores_in_use(900, 0, Duration::from_secs(2), 100), 1.0);
        assert_eq!(cpu.cores_in_use(1000, 0, Duration::ZERO, 100), 0.0);
    }
}
