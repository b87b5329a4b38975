//! The few numbers that are wanted of `/proc`'s texts.
//!
//! `procfs` makes owned values and tables of all there is in them, which costs more than what the
//! kernel does to write them. What is damaged or missing is skipped. `machine` calls it.

use tucano_worker_core::usage::CpuTicks;

/// What follows the lines of CPUs.
const AFTER_CPUS: &[u8] = b"\nintr";

/// All CPUs together, and each, of `/proc/stat`; its other lines are not looked at.
pub(super) fn cpus(text: &[u8], each: &mut Vec<CpuTicks>) -> Option<CpuTicks> {
    each.clear();
    let mut all = None;
    for line in text.split(|byte| *byte == b'\n') {
        let Some(rest) = line.strip_prefix(b"cpu") else { break };
        let Some(ticks) = ticks(rest) else { continue };
        match rest.starts_with(b" ") {
            true => all = Some(ticks),
            false => each.push(ticks),
        }
    }
    all
}

/// Whether all lines of CPUs are in a text that may be cut off.
pub(super) fn has_all_cpus(text: &[u8]) -> bool {
    text.windows(AFTER_CPUS.len()).any(|part| part == AFTER_CPUS)
}

/// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal. A guest's time is in user's
/// already.
fn ticks(line: &[u8]) -> Option<CpuTicks> {
    let number_ends = line.iter().position(|byte| *byte == b' ')?;
    let mut rest = line.get(number_ends..)?;
    let mut must = || {
        rest = rest.trim_ascii_start();
        let len = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(len);
        rest = after;
        let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
    };
    let (user, nice, system, idle) = (must()?, must()?, must()?, must()?);
    let mut may = || must().unwrap_or(0);
    let (iowait, irq, softirq, steal) = (may(), may(), may(), may());
    Some(CpuTicks { busy: user + nice + system + irq + softirq, idle, iowait, steal })
}

/// What is wanted of `/proc/meminfo`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) available: u64,
    pub(super) swap_total: u64,
    pub(super) swap_free: u64,
}

/// None where not even the total is told.
pub(super) fn memory(text: &[u8]) -> Option<Memory> {
    let (mut total, mut available) = (None, None);
    let (mut free, mut cached) = (0, 0);
    let mut memory = Memory::default();
    for line in lines(text) {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib = || rest.trim().split(' ').next()?.parse::<u64>().ok();
        let bytes = || kib().map(|kib| kib.saturating_mul(1024));
        match name {
            "MemTotal" => total = bytes(),
            "MemAvailable" => available = bytes(),
            "MemFree" => free = bytes().unwrap_or(0),
            "Cached" => cached = bytes().unwrap_or(0),
            "SwapTotal" => memory.swap_total = bytes().unwrap_or(0),
            "SwapFree" => {
                memory.swap_free = bytes().unwrap_or(0);
                // Nothing that is wanted comes after it.
                break;
            }
            _ => {}
        }
    }
    memory.total = total?;
    // Kernels before 3.14 do not tell; the sum is what they would have told at least.
    memory.available = available.unwrap_or(free + cached);
    Some(memory)
}

/// Bytes in and out of all interfaces but loopback, of `/proc/net/dev`.
pub(super) fn traffic(text: &[u8]) -> (u64, u64) {
    // Two lines of headings.
    let devices = lines(text).skip(2).filter_map(|line| line.split_once(':'));
    devices.filter(|(name, _)| name.trim() != "lo").fold((0, 0), |(received, sent), (_, rest)| {
        let mut fields = rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0));
        (received + fields.next().unwrap_or(0), sent + fields.nth(7).unwrap_or(0_u64))
    })
}

/// The three averages of `/proc/loadavg`.
pub(super) fn load(text: &[u8]) -> Option<[f32; 3]> {
    let mut fields = lines(text).next()?.split(' ').map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}

/// Whole seconds since boot, of `/proc/uptime`.
pub(super) fn uptime_s(text: &[u8]) -> Option<u64> {
    lines(text).next()?.split('.').next()?.parse().ok()
}

/// `some avg10` of a file of `/proc/pressure`, 0 to 1.
pub(super) fn pressure(text: &[u8]) -> Option<f32> {
    let line = lines(text).find(|line| line.starts_with("some "))?;
    let (_, average) = line.split_once("avg10=")?;
    let percent: f32 = average.split(' ').next()?.parse().ok()?;
    Some(percent / 100.0)
}

/// A number that a counter's line says, such as `usage_usec 7`.
pub(super) fn counter(text: &[u8], name: &str) -> Option<u64> {
    lines(text).find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|byte| *byte == b'\n').map(|line| std::str::from_utf8(line).unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use procfs::{Current, CurrentSI, FromBufRead};

    use super::*;

    const STAT: &str = "cpu  10 2 3 400 50 6 7 8 9 0\ncpu0 1 0 0 100 0 0 0 0 0 0\n\
                        cpu3 9 2 3 300 50 6 7 8 9 0\nintr 99 1 2\ncpu7 1 1 1 1\n";

    #[test]
    fn cpus_are_read_by_name_and_nothing_after_them() {
        let mut each = Vec::new();
        let all = cpus(STAT.as_bytes(), &mut each).unwrap();
        assert_eq!(all, CpuTicks { busy: 10 + 2 + 3 + 6 + 7, idle: 400, iowait: 50, steal: 8 });
        assert_eq!(each.iter().map(|it| it.idle).collect::<Vec<_>>(), [100, 300]);
        // Kernels before 2.6 told four.
        let all = cpus(b"cpu 1 2 3 4\n", &mut each).unwrap();
        assert_eq!((all, each.len()), (CpuTicks { busy: 6, idle: 4, iowait: 0, steal: 0 }, 0));
        assert_eq!(cpus(b"", &mut each), None);
        assert_eq!(cpus(b"cpu x\n", &mut each), None);
        let first_other = STAT.find("intr").unwrap();
        for length in 0..STAT.len() {
            let whole = has_all_cpus(&STAT.as_bytes()[..length]);
            assert_eq!(whole, length >= first_other + 4, "{length}");
        }
    }

    #[test]
    fn memory_is_read_as_procfs_reads_it() {
        let text = std::fs::read("/proc/meminfo").unwrap();
        let theirs = procfs::Meminfo::from_buf_read(&text[..]).unwrap();
        let expected = Memory {
            total: theirs.mem_total,
            available: theirs.mem_available.unwrap(),
            swap_total: theirs.swap_total,
            swap_free: theirs.swap_free,
        };
        assert_eq!(memory(&text), Some(expected));
        let old = b"MemTotal: 100 kB\nMemFree: 7 kB\nCached: 3 kB\nSwapTotal: x\n";
        let expected = Memory { total: 102_400, available: 10_240, ..Memory::default() };
        assert_eq!(memory(old), Some(expected));
        assert_eq!(memory(b"MemFree: 7 kB\n"), None);
    }

    #[test]
    fn this_machines_cpus_are_as_many_as_procfs_counts() {
        let text = std::fs::read("/proc/stat").unwrap();
        let mut each = Vec::new();
        assert!(cpus(&text, &mut each).unwrap().idle > 0 && has_all_cpus(&text));
        assert_eq!(each.len(), procfs::KernelStats::current().unwrap().cpu_time.len());
        let uptime = uptime_s(&std::fs::read("/proc/uptime").unwrap()).unwrap();
        let theirs = procfs::Uptime::current().unwrap().uptime_duration().as_secs();
        assert!((uptime..uptime + 60).contains(&theirs), "{uptime} {theirs}");
    }

    #[test]
    fn all_interfaces_but_loopback_count() {
        let text = b"Inter-|   Receive         |  Transmit\n face |bytes packets|bytes packets\n\
            lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0\n\
            eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n\
            wlan0:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (105, 27));
        assert_eq!(traffic(b""), (0, 0));
        assert_eq!(traffic(b"a\nb\neth0: x\nnonsense\n"), (0, 0));
    }

    #[test]
    fn short_texts_and_their_damage() {
        assert_eq!(load(b"8.53 5.27 3.28 7/231 14527\n"), Some([8.53, 5.27, 3.28]));
        assert_eq!(load(b"8.53 5.27"), None);
        assert_eq!(uptime_s(b"28671.12 27117.13\n"), Some(28_671));
        assert_eq!(uptime_s(b"\n"), None);
        let some = b"some avg10=93.50 avg60=9.00 avg300=0.0 total=1\nfull avg10=1.00 avg60=0 \n";
        assert_eq!(pressure(some), Some(0.935));
        assert_eq!(pressure(b"full avg10=1.00\n"), None);
        assert_eq!(counter(b"usage_usec 7\nuser_usec 3\n", "user_usec"), Some(3));
        assert_eq!(counter(b"usage_usec 7\nuser_usec 3\n", "usage"), None);
        assert_eq!(counter(b"\xff\nusage_usec x\n", "usage_usec"), None);
    }
}
