//! Which instances' output goes: that of instances that are gone, a day later, and before that the
//! oldest beyond the bound of all.
//!
//! The files of a living instance are bounded by its holder as it writes them. The agent asks about
//! once an hour.

use tucano_common::id::InstanceId;
use tucano_common::limits::{OUTPUT_KEPT, OUTPUT_KEPT_BYTES};
use tucano_common::time::Wall;

/// The output of an instance that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFolder {
    /// Whose.
    pub id: InstanceId,
    /// All its files together.
    pub bytes: u64,
    /// When it was written to last.
    pub last_write: Wall,
}

/// Those to be removed.
pub fn expired(mut folders: Vec<LogFolder>, now: Wall) -> Vec<InstanceId> {
    folders.sort_unstable_by_key(|folder| std::cmp::Reverse((folder.last_write, folder.id)));
    let mut bytes = 0;
    let mut gone = Vec::new();
    for folder in folders {
        bytes += folder.bytes;
        if bytes > OUTPUT_KEPT_BYTES || now.since(folder.last_write) >= OUTPUT_KEPT {
            gone.push(folder.id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(id: u64, bytes: u64, last_write: i64) -> LogFolder {
        LogFolder { id: InstanceId(id), bytes, last_write: Wall(last_write) }
    }

    #[test]
    fn a_day_and_a_bound() {
        let day = i64::try_from(OUTPUT_KEPT.as_millis()).unwrap();
        let mib = 1 << 20;
        let now = Wall(2 * day);
        let folders = vec![
            folder(1, 20 * mib, day),
            folder(2, 20 * mib, day + 1),
            folder(3, 200 * mib, day + 3),
            folder(4, 40 * mib, day + 2),
            folder(5, 0, 2 * day + 1000),
        ];
        assert_eq!(expired(folders, now), [InstanceId(2), InstanceId(1)]);
        assert_eq!(expired(Vec::new(), now), []);
    }
}
