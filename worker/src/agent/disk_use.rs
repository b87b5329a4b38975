//! What lies in the data folder: measured now and then, and what nobody needs removed where it is
//! too much.
//!
//! How much is too much is `worker_core::disk`'s to say; what to do about a build, the
//! supervisor's. Called by the `sweep` thread, which may wait for the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tucano_common::id::InstanceId;
use tucano_common::limits::{DISK_LOOK, DISK_LOOK_FIRST, DISK_LOOK_IDLE, DISK_LOOK_SHARE};
use tucano_common::time::Mono;
use tucano_worker_core::disk::DiskUse;
use tucano_worker_core::{BuildKey, Layout};

use crate::runner::folders;

/// `st_blocks` counts these, whatever the file system's own are.
const BLOCK_BYTES: u64 = 512;

/// What is to be looked at.
#[derive(Debug)]
pub(crate) struct Look {
    /// The revision that is being built: measured each time.
    pub(crate) building: Option<BuildKey>,
    /// The instances that are there: their outputs stay.
    pub(crate) live: BTreeSet<InstanceId>,
    /// What was measured before is measured anew: services write into their revision's folder.
    pub(crate) anew: bool,
}

/// When the loop has it looked at, and what it heard.
#[derive(Debug, Default)]
pub(crate) struct DiskLooks {
    phase: Phase,
    /// What was being built at the last look.
    building: Option<BuildKey>,
    held: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    /// Nobody has looked yet.
    #[default]
    Unseen,
    /// At this time it is looked at again.
    Due(Mono),
    /// It is being looked at, since then.
    Looking(Mono),
}

impl DiskLooks {
    /// Whether to look now; true in it: with everything measured anew.
    pub(crate) fn is_due(&mut self, building: Option<&BuildKey>, now: Mono) -> Option<bool> {
        let at = match self.phase {
            Phase::Unseen => now + DISK_LOOK_FIRST,
            Phase::Due(at) => at,
            Phase::Looking(_) => return None,
        };
        self.phase = Phase::Due(at);
        // A build begins, or its folder is whole.
        let is_other = building != self.building.as_ref();
        if !is_other && now < at {
            return None;
        }
        self.building = building.cloned();
        self.phase = Phase::Looking(now);
        Some(!is_other && building.is_none())
    }

    /// It was looked at.
    pub(crate) fn seen(&mut self, seen: &DiskUse, now: Mono) {
        self.held = Some((seen.held(), seen.held_max()));
        let Phase::Looking(since) = self.phase else { return };
        let pause = match self.building {
            Some(_) => DISK_LOOK.max(now.since(since) * DISK_LOOK_SHARE),
            None => DISK_LOOK_IDLE,
        };
        self.phase = Phase::Due(now + pause);
    }

    /// When the loop has to ask again.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Due(at) => Some(at),
            Phase::Unseen | Phase::Looking(_) => None,
        }
    }

    /// What is held of the disk, and may be.
    pub(crate) fn held(&self) -> (Option<u64>, Option<u64>) {
        self.held.unzip()
    }
}

/// What is known from earlier looks.
#[derive(Default)]
pub(crate) struct Sizes {
    /// By the entry's name in the folder of builds.
    builds: BTreeMap<OsString, u64>,
}

/// Something that may go: when it was last of use, and what it takes.
type Spare = (SystemTime, u64, PathBuf);

impl Sizes {
    /// Measures, and removes the oldest of what nobody needs while there is too much.
    pub(crate) fn look(&mut self, layout: &Layout, look: &Look) -> DiskUse {
        let mut found = DiskUse::default();
        if let Ok(disk) = rustix::fs::statvfs(layout.root()) {
            found.total = disk.f_blocks.saturating_mul(disk.f_frsize);
            found.free = disk.f_bavail.saturating_mul(disk.f_frsize);
        }
        self.measure_builds(layout, look, &mut found);
        // Artifacts first: they come again from the controller.
        let mut spare = artifacts(&layout.artifacts(), &mut found);
        spare.extend(outputs(&layout.logs(), &look.live, &mut found));
        let mut surplus = found.surplus();
        for (_, bytes, path) in spare {
            if surplus == 0 {
                break;
            }
            if remove(&path) {
                log::info!("{}: removed for its room, {bytes} bytes", path.display());
                surplus = surplus.saturating_sub(bytes);
                let from = if path.starts_with(layout.artifacts()) {
                    &mut found.artifacts
                } else {
                    &mut found.logs
                };
                *from = from.saturating_sub(bytes);
                found.free = found.free.saturating_add(bytes);
            }
        }
        found
    }

    fn measure_builds(&mut self, layout: &Layout, look: &Look, found: &mut DiskUse) {
        let known = std::mem::take(&mut self.builds);
        let mut building = look.building.clone().map(|key| (key, 0));
        for entry in fs::read_dir(layout.builds()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let key = name.to_str().and_then(Layout::build_of);
            match &mut building {
                Some((building, bytes)) if key.as_ref() == Some(building) => {
                    *bytes += size(&entry.path());
                }
                Some(_) | None => {
                    let before = known.get(&name).filter(|_| !look.anew);
                    let bytes = before.copied().unwrap_or_else(|| size(&entry.path()));
                    found.builds += bytes;
                    self.builds.insert(name, bytes);
                }
            }
        }
        found.building = building;
    }
}

/// Packed artifacts, the oldest first. One that is on its way is counted, and stays.
fn artifacts(folder: &Path, found: &mut DiskUse) -> Vec<Spare> {
    let mut spare = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        let (bytes, path) = (about.blocks() * BLOCK_BYTES, entry.path());
        found.artifacts += bytes;
        if path.extension().is_none_or(|it| it != "part") {
            spare.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), bytes, path));
        }
    }
    spare.sort_unstable();
    spare
}

/// Outputs of instances that are gone, the oldest first; the others are counted.
fn outputs(folder: &Path, live: &BTreeSet<InstanceId>, found: &mut DiskUse) -> Vec<Spare> {
    let mut spare = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let bytes = size(&path);
        found.logs += bytes;
        let id = entry.file_name().to_str().and_then(InstanceId::parse);
        if id.is_some_and(|id| !live.contains(&id)) {
            let files = fs::read_dir(&path).into_iter().flatten().flatten();
            let files = files.filter_map(|file| file.metadata().ok()?.modified().ok());
            let folder = entry.metadata().and_then(|about| about.modified());
            let written = files.chain(folder).max().unwrap_or(SystemTime::UNIX_EPOCH);
            // One may have come since the list was made.
            if written.elapsed().is_ok_and(|age| age >= DISK_LOOK_FIRST) {
                spare.push((written, bytes, path));
            }
        }
    }
    spare.sort_unstable();
    spare
}

fn remove(path: &Path) -> bool {
    let removed = if path.is_dir() { folders::remove(path) } else { fs::remove_file(path) };
    if let Err(error) = &removed {
        log::warn!("{}: not removed: {error}; remove it by hand", path.display());
    }
    removed.is_ok()
}

/// What a tree takes of the disk; links are not followed, and what goes meanwhile is gone.
fn size(path: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = Vec::new();
    let mut count = |path: PathBuf, folders: &mut Vec<PathBuf>| {
        let Ok(about) = fs::symlink_metadata(&path) else { return };
        bytes += about.blocks() * BLOCK_BYTES;
        if about.is_dir() {
            folders.push(path);
        }
    };
    count(path.to_owned(), &mut folders);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            count(entry.path(), &mut folders);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KIB: u64 = 1024;

    fn write(path: PathBuf, kib: u64, age_s: u64) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![b'x'; (kib * KIB) as usize]).unwrap();
        let at = SystemTime::now() - Duration::from_secs(age_s);
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    }

    fn layout(name: &str) -> Layout {
        let root = std::env::temp_dir().join(format!("tucano-disk-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Layout::new(root)
    }

    #[test]
    fn a_tree_is_measured_and_links_are_not_followed() {
        let layout = layout("tree");
        let key = Layout::build_of("c.web.1").unwrap();
        write(layout.build(&key).join("deep/er/file"), 100, 0);
        write(layout.build_home(&key).join("file"), 50, 0);
        std::os::unix::fs::symlink("/usr", layout.build(&key).join("link")).unwrap();
        let mut sizes = Sizes::default();
        let mut look = Look { building: None, live: BTreeSet::new(), anew: false };
        let before = sizes.look(&layout, &look).builds;
        assert!((150 * KIB..300 * KIB).contains(&before), "{before}");
        // What is being built is measured each time, the rest when it is asked for.
        write(layout.build(&key).join("more"), 200, 0);
        assert_eq!(sizes.look(&layout, &look).builds, before);
        look.anew = true;
        assert!(sizes.look(&layout, &look).builds >= before + 200 * KIB);
        look.anew = false;
        look.building = Some(key.clone());
        let found = sizes.look(&layout, &look);
        assert!(found.builds == 0 && found.building.unwrap().1 >= before + 200 * KIB);
        assert!(found.total > 0);
        fs::remove_dir_all(layout.root()).unwrap();
    }

    #[test]
    fn the_oldest_of_what_nobody_needs_is_found_first() {
        let layout = layout("oldest");
        for (name, age_s) in [("b.tar.gz", 20), ("a.tar.gz", 10), ("c.part", 99)] {
            write(layout.artifacts().join(name), 10, age_s);
        }
        let (gone, lives, comes) = (InstanceId(7), InstanceId(8), InstanceId(9));
        let hour = Duration::from_secs(3600);
        for (id, age) in [(gone, hour), (lives, hour), (comes, Duration::ZERO)] {
            write(layout.instance_logs(id).join("current.log"), 10, age.as_secs());
            let folder = fs::File::open(layout.instance_logs(id)).unwrap();
            folder.set_modified(SystemTime::now() - age).unwrap();
        }
        let mut found = DiskUse::default();
        let names = |spare: Vec<Spare>| -> Vec<String> {
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            spare.into_iter().map(|(_, _, path)| name(path)).collect()
        };
        let spare = artifacts(&layout.artifacts(), &mut found);
        assert_eq!(names(spare), ["b.tar.gz", "a.tar.gz"]);
        let spare = outputs(&layout.logs(), &[lives].into(), &mut found);
        assert_eq!(names(spare), [gone.to_string()]);
        assert!(found.artifacts >= 30 * KIB && found.logs >= 30 * KIB, "{found:?}");
        fs::remove_dir_all(layout.root()).unwrap();
    }
}
