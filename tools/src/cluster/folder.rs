//! The folder that a cluster lives in: made fresh, removed when it is dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::ClusterError;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder below the system's temporary one.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes one; its name begins with `tucano-` and `purpose`.
    pub fn new(purpose: &str) -> Result<Folder, ClusterError> {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("tucano-{purpose}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let failed = |error| ClusterError::File(path.clone(), error);
        fs::create_dir(&path).map_err(failed)?;
        // Services run as another user where this is root's: they must get through to their own.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(Folder { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
