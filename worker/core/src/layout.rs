//! Where everything lies in the data folder: names only, nothing is opened here.

use std::path::{Path, PathBuf};

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::spec::Digest;

use crate::job::{BuildKey, JobRun};

/// The data folder's places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of this data folder (an absolute path: services get it in their environment).
    pub fn new(root: impl Into<PathBuf>) -> Layout {
        Layout { root: root.into() }
    }

    /// The data folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Locked by the one agent that holds the folder.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// 0700; nothing in it can be read or written by services.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// What should run and runs.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("state/ledger.json")
    }

    /// The folders of jobs' own files: `running.json`, `exit.json`, the holder's lock.
    pub fn jobs(&self) -> PathBuf {
        self.root.join("state/jobs")
    }

    /// One job's.
    pub fn job(&self, job: &JobRun) -> PathBuf {
        self.jobs().join(job.to_string())
    }

    /// Downloaded artifacts.
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// One of them.
    pub fn artifact(&self, digest: &Digest) -> PathBuf {
        self.artifacts().join(format!("{}.tar.gz", digest.hex()))
    }

    /// All revisions' folders.
    pub fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// A revision's folder: the source, then the build's result; the scripts' working directory.
    pub fn build(&self, key: &BuildKey) -> PathBuf {
        self.build_beside(key, "")
    }

    /// HOME and TMPDIR of its build script.
    pub fn build_home(&self, key: &BuildKey) -> PathBuf {
        self.build_beside(key, ".home")
    }

    /// The output of its build script.
    pub fn build_logs(&self, key: &BuildKey) -> PathBuf {
        self.build_beside(key, ".logs")
    }

    /// Where its folder is made before it is put in place.
    pub fn build_partial(&self, key: &BuildKey) -> PathBuf {
        self.build_beside(key, ".partial")
    }

    fn build_beside(&self, key: &BuildKey, ending: &str) -> PathBuf {
        self.builds().join(format!("{key}{ending}"))
    }

    /// The build that an entry of [`Layout::builds`] belongs to; none for what is no build's.
    pub fn build_of(name: &str) -> Option<BuildKey> {
        let endings = [".home", ".logs", ".partial"];
        let plain = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        BuildKey::parse(plain)
    }

    /// Where an instance says that it is ready: in its own folder, so nobody else can.
    pub fn notify_socket(&self, id: InstanceId) -> PathBuf {
        self.instance(id).join("notify")
    }

    /// All instances' folders.
    pub fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// An instance's own folder: its HOME, TMPDIR and TUCANO_INSTANCE_DIR.
    pub fn instance(&self, id: InstanceId) -> PathBuf {
        self.instances().join(id.to_string())
    }

    /// All instances' output.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// An instance's output: `current.log`, `current.log.1` …
    pub fn instance_logs(&self, id: InstanceId) -> PathBuf {
        self.logs().join(id.to_string())
    }

    /// All services' own folders.
    pub fn all_data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// A service's own folder on this worker, which outlives its revisions: TUCANO_DATA_DIR.
    pub fn data(&self, service: &ServiceName) -> PathBuf {
        self.all_data().join(service.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Cluster;

    #[test]
    fn a_builds_folders_lie_beside_each_other_and_are_known_by_their_names() {
        let layout = Layout::new("/d");
        let cluster = Cluster::new("c-1").unwrap();
        let service = ServiceName::new("web").unwrap();
        let key = BuildKey { cluster, service, revision: 12 };
        let all = [
            (layout.build(&key), "/d/builds/c-1.web.12"),
            (layout.build_home(&key), "/d/builds/c-1.web.12.home"),
            (layout.build_logs(&key), "/d/builds/c-1.web.12.logs"),
            (layout.build_partial(&key), "/d/builds/c-1.web.12.partial"),
        ];
        for (path, expected) in all {
            assert_eq!(path, Path::new(expected));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(Layout::build_of(name), Some(key.clone()));
        }
        for name in ["", "web", "c.web", "c.web.x", "c.web.1.other", "c.web.1.home.home"] {
            assert_eq!(Layout::build_of(name), None, "{name}");
        }
    }
}
