//! How much of its disk a worker may hold with what it could make again: revisions' folders, packed
//! artifacts, outputs. One bound over all of them.
//!
//! What a service writes into its own folders is the service's, and not counted. Who measures and
//! who removes is the shell's `agent::disk_use`; the supervisor ends a build by this.

use tucano_common::limits::{
    BUILD_DISK_FREE_BYTES_MAX, BUILD_DISK_FREE_PERCENT, HELD_DISK_BYTES_MAX, HELD_DISK_PERCENT,
};

use crate::job::BuildKey;

/// What lies in a worker's data folder, in bytes as the disk has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Revisions' folders, the one that is being built left out.
    pub builds: u64,
    /// The one that is being built, and what it has.
    pub building: Option<(BuildKey, u64)>,
    /// Packed artifacts.
    pub artifacts: u64,
    /// Outputs of instances, of those that are gone too.
    pub logs: u64,
    /// The whole file system.
    pub total: u64,
    /// Free of it for the agent.
    pub free: u64,
}

/// Why a build is ended: it would leave too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overfull {
    /// More is held than a worker may hold.
    Held {
        /// So much.
        held: u64,
        /// Of it by the build.
        build: u64,
        /// So much may be.
        held_max: u64,
    },
    /// The disk is nearly full.
    Free {
        /// So much is free.
        free: u64,
        /// What the build has.
        build: u64,
        /// So much has to stay free.
        free_min: u64,
    },
}

impl DiskUse {
    /// All that is held.
    pub fn held(&self) -> u64 {
        let building = self.building.as_ref().map_or(0, |(_, bytes)| *bytes);
        [self.builds, building, self.artifacts, self.logs].into_iter().fold(0, u64::saturating_add)
    }

    /// All that may be held on this disk.
    pub fn held_max(&self) -> u64 {
        percent(self.total, HELD_DISK_PERCENT).min(HELD_DISK_BYTES_MAX)
    }

    /// How much has to go, of what nobody needs.
    pub fn surplus(&self) -> u64 {
        self.held().saturating_sub(self.held_max())
    }

    /// Why the running build has to end; none where it may go on. One that is not at fault goes on:
    /// where its end would not leave enough either.
    pub fn overfull(&self) -> Option<Overfull> {
        let (_, build) = self.building.as_ref()?;
        let (build, free) = (*build, self.free);
        if self.surplus() > 0 && build > 0 {
            return Some(Overfull::Held { held: self.held(), build, held_max: self.held_max() });
        }
        let free_min = percent(self.total, BUILD_DISK_FREE_PERCENT).min(BUILD_DISK_FREE_BYTES_MAX);
        let missing = free_min.saturating_sub(free);
        (missing > 0 && build >= missing).then_some(Overfull::Free { free, build, free_min })
    }
}

impl std::fmt::Display for Overfull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Overfull::Held { held, build, held_max } => write!(
                f,
                "builds, artifacts and logs on this worker came to {} of {} at most, {} of them by \
                 this build: build less, remove services from this worker, or give its data folder \
                 a larger disk",
                mib(*held),
                mib(*held_max),
                mib(*build),
            ),
            Overfull::Free { free, build, free_min } => write!(
                f,
                "the disk of this worker's data folder has {} left, less than the {} that builds \
                 leave free, and this build has taken {}: free some space, or build less",
                mib(*free),
                mib(*free_min),
                mib(*build),
            ),
        }
    }
}

/// Whole mebibytes say enough here.
fn mib(bytes: u64) -> String {
    format!("{}MiB", bytes / (1024 * 1024))
}

fn percent(whole: u64, percent: u64) -> u64 {
    whole.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
    use tucano_common::name::ServiceName;

    use super::*;
    use crate::job::Cluster;

    const MIB: u64 = 1024 * 1024;

    fn disk(building: Option<u64>, builds: u64, free: u64) -> DiskUse {
        let (cluster, service) = (Cluster::new("c").unwrap(), ServiceName::new("web").unwrap());
        let key = BuildKey { cluster, service, revision: 1 };
        DiskUse {
            builds: builds * MIB,
            building: building.map(|bytes| (key, bytes * MIB)),
            artifacts: 10 * MIB,
            logs: 10 * MIB,
            total: 1000 * MIB,
            free: free * MIB,
        }
    }

    #[test]
    fn half_of_the_disk_may_be_held() {
        assert_eq!(disk(None, 480, 500).held_max() / MIB, 500);
        assert_eq!(disk(None, 480, 500).surplus(), 0);
        assert_eq!(disk(Some(30), 480, 500).surplus() / MIB, 30);
        let large = DiskUse { total: 100 * HELD_DISK_BYTES_MAX, ..DiskUse::default() };
        assert_eq!(large.held_max(), HELD_DISK_BYTES_MAX);
    }

    #[test]
    fn a_build_that_takes_too_much_is_ended_and_told_what_to_do() {
        assert_eq!(disk(Some(400), 50, 500).overfull(), None);
        let over = disk(Some(470), 50, 500).overfull().expect("over");
        let text = over.to_string();
        assert!(text.contains("540MiB of 500MiB at most, 470MiB of them by this build"), "{text}");
        assert_eq!(disk(None, 900, 500).overfull(), None, "nothing is being built");
    }

    #[test]
    fn a_build_that_fills_the_disk_is_ended_and_one_beside_a_full_disk_is_not() {
        assert_eq!(disk(Some(100), 0, 50).overfull(), None);
        let over = disk(Some(100), 0, 20).overfull().expect("full");
        let text = over.to_string();
        assert!(text.contains("has 20MiB left") && text.contains("the 50MiB"), "{text}");
        assert_eq!(disk(Some(29), 0, 20).overfull(), None, "others filled it");
    }
}
