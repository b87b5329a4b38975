//! The data folder: made with the right modes, locked by one agent at a time, and reachable for
//! services.
//!
//! What lies where is `worker_core::Layout`'s. `wiring` calls this at the start, once.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tucano_common::name::ServiceName;
use tucano_worker_core::{FoundFolder, Layout};

use crate::runner::user::Identity;

/// Between two tries to have the lock.
const LOCK_ROUND: Duration = Duration::from_millis(50);
/// So many: half a second, for a machine that is busy.
const LOCK_ROUNDS: u32 = 10;

/// Why the folder can't be used.
#[derive(Debug)]
pub(crate) enum FolderError {
    /// It, or something in it, can't be made or written.
    Unwritable(PathBuf, io::Error),
    /// Another agent has it.
    Locked(PathBuf, Option<u32>),
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::Unwritable(path, _) => {
                write!(f, "{path:?} can't be written; give a folder that this user may write")
            }
            FolderError::Locked(path, holder) => {
                write!(f, "{path:?} is in use by another agent")?;
                if let Some(pid) = holder {
                    write!(f, " (pid {pid})")?;
                }
                f.write_str("; stop it, or give each agent a folder of its own")
            }
        }
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FolderError::Unwritable(_, error) => Some(error),
            FolderError::Locked(..) => None,
        }
    }
}

/// Makes the data folder. Where services run as another user, they pass through it to their own
/// folders and see nothing else of it.
pub(crate) fn make(layout: &Layout, identity: &Identity) -> Result<(), FolderError> {
    let passed = if identity.passes_through() { 0o711 } else { 0o700 };
    let root = layout.root().to_owned();
    if let Some(parent) = root.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.map_err(|error| FolderError::Unwritable(root.clone(), error))?;
    }
    let closed = [layout.state(), layout.jobs(), layout.artifacts(), layout.logs()];
    let open = [root, layout.builds(), layout.instances(), layout.all_data()];
    let all = open.map(|path| (path, passed)).into_iter().chain(closed.map(|path| (path, 0o700)));
    for (path, mode) in all {
        let made = match DirBuilder::new().mode(mode).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        made.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .map_err(|error| FolderError::Unwritable(path, error))?;
    }
    Ok(())
}

/// One agent holds a data folder: its lock goes with the process, however that ends.
pub(crate) fn lock(path: &Path) -> Result<File, FolderError> {
    let failed = |error| FolderError::Unwritable(path.to_owned(), error);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path).map_err(failed)?;
    match lock_soon(&file) {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _only_for_the_message = (&mut file).take(20).read_to_string(&mut holder);
            let folder = path.parent().unwrap_or(path).to_owned();
            return Err(FolderError::Locked(folder, holder.trim().parse().ok()));
        }
        Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// What an agent that was killed had just forked has its lock too, until it executes.
fn lock_soon(file: &File) -> Result<(), fs::TryLockError> {
    for _ in 0..LOCK_ROUNDS {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_ROUND),
            locked => return locked,
        }
    }
    file.try_lock()
}

/// The folders of services, and whose they are.
pub(crate) fn owned_folders(layout: &Layout) -> Vec<FoundFolder> {
    let all = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let found = |entry: fs::DirEntry, service: Option<ServiceName>, is_data| {
        let about = entry.metadata().ok().filter(fs::Metadata::is_dir)?;
        Some(FoundFolder { service: service?, owner: about.uid(), is_data })
    };
    let data = all(layout.all_data()).filter_map(|entry| {
        let service = ServiceName::new(entry.file_name().to_str()?).ok();
        found(entry, service, true)
    });
    let builds = all(layout.builds()).filter_map(|entry| {
        let build = Layout::build_of(entry.file_name().to_str()?);
        found(entry, build.map(|build| build.service), false)
    });
    data.chain(builds).collect()
}

/// Services find their folders by absolute paths: each folder above must let their user through.
pub(crate) fn warn_if_unreachable(data_dir: &Path, identity: &Identity) {
    let Some(user) = identity.any().filter(|user| user.uid != 0) else { return };
    for folder in data_dir.ancestors().skip(1) {
        let Ok(about) = fs::metadata(folder) else { continue };
        let class = if about.uid() == user.uid {
            0o100
        } else if about.gid() == user.gid || user.groups.contains(&about.gid()) {
            0o010
        } else {
            0o001
        };
        if about.permissions().mode() & class == 0 {
            log::warn!(
                "--data-dir {}: user {} can't pass through {}, so services will not find their \
                 folders; chmod o+x it, or choose another data folder",
                data_dir.display(),
                user.name,
                folder.display(),
            );
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fresh(PathBuf);

    impl Fresh {
        fn new(name: &str) -> Fresh {
            let path = std::env::temp_dir().join(format!("tucano-{name}-{}", std::process::id()));
            let _left_by_an_earlier_run = fs::remove_dir_all(&path);
            Fresh(path)
        }
    }

    impl Drop for Fresh {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn somebody() -> Identity {
        Identity::Each(tucano_worker_core::UserRange::parse("12345-12345").unwrap())
    }

    #[test]
    fn only_what_services_need_to_pass_is_open() {
        for (user, passed) in [(Identity::Agents, 0o700), (somebody(), 0o711)] {
            let fresh = Fresh::new(&format!("folders-{passed:o}"));
            let layout = Layout::new(fresh.0.join("deep/data"));
            for _ in ["made", "there already"] {
                make(&layout, &user).unwrap();
            }
            for path in [layout.root(), &layout.builds(), &layout.instances()] {
                assert_eq!(mode(path), passed, "{path:?}");
            }
            for path in [layout.state(), layout.jobs(), layout.artifacts(), layout.logs()] {
                assert_eq!(mode(&path), 0o700, "{path:?}");
            }
        }
    }

    #[test]
    fn a_folder_that_can_not_be_is_refused_in_one_line() {
        let fresh = Fresh::new("no-folder");
        fs::create_dir_all(&fresh.0).unwrap();
        let file = fresh.0.join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = make(&Layout::new(&path), &Identity::Agents).unwrap_err();
            assert!(error.to_string().contains("can't be written"), "{error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn services_folders_are_found_with_their_owners() {
        let fresh = Fresh::new("owned");
        let layout = Layout::new(&fresh.0);
        make(&layout, &Identity::Agents).unwrap();
        let build = Layout::build_of("c.web.1").unwrap();
        for path in [layout.data(&build.service), layout.build(&build)] {
            fs::create_dir(path).unwrap();
        }
        fs::create_dir(layout.all_data().join("No Service")).unwrap();
        fs::write(layout.all_data().join("file"), "").unwrap();
        let owner = fs::metadata(&fresh.0).unwrap().uid();
        let of = |is_data| FoundFolder { service: build.service.clone(), owner, is_data };
        assert_eq!(owned_folders(&layout), [of(true), of(false)]);
        assert!(owned_folders(&Layout::new("/no/such")).is_empty());
    }

    #[test]
    fn a_folder_has_one_agent_at_a_time() {
        let fresh = Fresh::new("lock");
        fs::create_dir_all(&fresh.0).unwrap();
        let path = fresh.0.join("lock");
        let first = lock(&path).unwrap();
        let said = lock(&path).unwrap_err().to_string();
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
        drop(first);
        lock(&path).unwrap();
    }
}
