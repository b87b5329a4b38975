//! What a process used of the CPUs, by thread, as /proc says.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::time::Duration;

/// A thread's name and its time on a CPU; `schedstat` has nanoseconds where `stat` has ticks.
#[derive(Clone, Debug, Default)]
pub(super) struct CpuTimes {
    threads: BTreeMap<(String, u64), Duration>,
}

impl CpuTimes {
    /// As of now.
    pub(super) fn of(pid: u32) -> io::Result<CpuTimes> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path();
            let name = fs::read_to_string(path.join("comm"))?.trim().to_owned();
            let text = fs::read_to_string(path.join("schedstat"))?;
            let nanos = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let id = path.file_name().and_then(|id| id.to_str()?.parse().ok()).unwrap_or(0);
            threads.insert((name, id), Duration::from_nanos(nanos));
        }
        Ok(CpuTimes { threads })
    }

    /// What was used since an earlier look.
    pub(super) fn since(&self, before: &CpuTimes) -> CpuTimes {
        let used = |(key, time): (&(String, u64), &Duration)| {
            let before = before.threads.get(key).copied().unwrap_or_default();
            (key.clone(), time.saturating_sub(before))
        };
        CpuTimes { threads: self.threads.iter().map(used).collect() }
    }

    /// All threads together.
    pub(super) fn all(&self) -> Duration {
        self.threads.values().sum()
    }

    /// One thread's.
    pub(super) fn of_thread(&self, name: &str) -> Duration {
        self.threads.iter().filter(|((own, _), _)| own == name).map(|(_, time)| *time).sum()
    }
}

impl fmt::Display for CpuTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s of CPU:", self.all().as_secs_f64())?;
        let worth = self.threads.iter().filter(|(_, time)| **time >= Duration::from_millis(5));
        for (at, ((name, _), time)) in worth.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma} {name} {:.3}", time.as_secs_f64())?;
        }
        Ok(())
    }
}

/// What a process has in memory.
pub(super) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}
