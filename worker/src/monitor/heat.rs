//! How hot the machine is, and whether it is slowed down for it.
//!
//! Sensors are looked for once; a machine without them (most virtual ones) costs nothing further.
//! `machine` asks with every sample.

use std::path::Path;

use tucano_common::limits::{HEAT_COUNTERS_MAX, HEAT_SENSORS_MAX};

use super::proc_file::ProcFile;

/// A Raspberry Pi's firmware: too little voltage, frequency capped, throttled, soft limit; now.
const PI_NOW: u64 = 0xf;
/// What no sensor means: some say -273 or 127 where they have nothing to say.
const PLAUSIBLE_C: std::ops::RangeInclusive<f32> = -50.0..=125.0;

/// The files.
pub(super) struct Heat {
    sensors: Vec<ProcFile>,
    slowing: Slowing,
}

/// How the machine tells that it is slowed down.
enum Slowing {
    /// It does not.
    Untold,
    /// Counters of how often it was, one a CPU; and their sum, last time.
    Counted { files: Vec<ProcFile>, last: Option<u64> },
    /// The firmware's flags.
    Flags(ProcFile),
}

impl Heat {
    /// Those of this machine, below `/sys`.
    pub(super) fn find(sys: &Path) -> Heat {
        let zones = numbered(&sys.join("class/thermal"), "thermal_zone", "temp", HEAT_SENSORS_MAX);
        let counter = "thermal_throttle/core_throttle_count";
        let counters = numbered(&sys.join("devices/system/cpu"), "cpu", counter, HEAT_COUNTERS_MAX);
        let flags = sys.join("devices/platform/soc/soc:firmware/get_throttled");
        let slowing = if flags.exists() {
            Slowing::Flags(ProcFile::open(&flags))
        } else if counters.is_empty() {
            Slowing::Untold
        } else {
            Slowing::Counted { files: counters, last: None }
        };
        Heat { sensors: zones, slowing }
    }

    /// The hottest sensor.
    pub(super) fn temperature_c(&self, buffer: &mut Vec<u8>) -> Option<f32> {
        let read = |sensor: &ProcFile| {
            let millis: i32 = number(sensor.read(buffer)?)?.parse().ok()?;
            let celsius = millis as f32 / 1000.0;
            PLAUSIBLE_C.contains(&celsius).then_some(celsius)
        };
        self.sensors.iter().filter_map(read).reduce(f32::max)
    }

    /// Whether it was slowed down since the last call; none at the first where it counts.
    pub(super) fn throttled(&mut self, buffer: &mut Vec<u8>) -> Option<bool> {
        match &mut self.slowing {
            Slowing::Untold => None,
            Slowing::Flags(file) => {
                let text = number(file.read(buffer)?)?;
                let flags = u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
                Some(flags & PI_NOW != 0)
            }
            Slowing::Counted { files, last } => {
                let read = |file: &ProcFile| number(file.read(buffer)?)?.parse::<u64>().ok();
                let sum: u64 = files.iter().filter_map(read).sum();
                let before = last.replace(sum)?;
                Some(sum > before)
            }
        }
    }
}

fn number(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok().map(str::trim)
}

/// `FOLDER/NAME0/FILE`, `FOLDER/NAME1/FILE` and so on, as far as they are there.
fn numbered(folder: &Path, name: &str, file: &str, at_most: usize) -> Vec<ProcFile> {
    let paths = (0..at_most).map(|number| folder.join(format!("{name}{number}")).join(file));
    paths.take_while(|path| path.exists()).map(|path| ProcFile::open(&path)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Sys(PathBuf);

    impl Sys {
        fn new(name: &str) -> Sys {
            let path =
                std::env::temp_dir().join(format!("tucano-sys-{name}-{}", std::process::id()));
            let _left_by_an_earlier_run = fs::remove_dir_all(&path);
            Sys(path)
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Sys {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_hottest_plausible_sensor_counts() {
        let sys = Sys::new("heat");
        for (zone, text) in
            ["41500\n", "62000\n", "-273000\n", "nonsense", "127000"].iter().enumerate()
        {
            sys.write(&format!("class/thermal/thermal_zone{zone}/temp"), text);
        }
        let mut buffer = Vec::new();
        let mut heat = Heat::find(&sys.0);
        assert_eq!(heat.temperature_c(&mut buffer), Some(62.0));
        assert_eq!(heat.throttled(&mut buffer), None);
        assert_eq!(Heat::find(Path::new("/nowhere")).temperature_c(&mut buffer), None);
    }

    #[test]
    fn a_counter_that_grew_and_a_flag_of_now_mean_slowed_down() {
        let sys = Sys::new("slowed");
        let counter =
            |cpu| format!("devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count");
        sys.write(&counter(0), "7\n");
        sys.write(&counter(1), "1\n");
        let mut buffer = Vec::new();
        let mut heat = Heat::find(&sys.0);
        assert_eq!(heat.throttled(&mut buffer), None, "nothing to compare it with");
        assert_eq!(heat.throttled(&mut buffer), Some(false));
        sys.write(&counter(1), "2\n");
        assert_eq!(heat.throttled(&mut buffer), Some(true));
        assert_eq!(heat.throttled(&mut buffer), Some(false));
        for (flags, slowed) in
            [("0x0\n", false), ("0x50000\n", false), ("0x50005\n", true), ("2", true)]
        {
            sys.write("devices/platform/soc/soc:firmware/get_throttled", flags);
            assert_eq!(Heat::find(&sys.0).throttled(&mut buffer), Some(slowed), "{flags}");
        }
    }
}
