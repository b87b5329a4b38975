//! Folders of instances: made for the services' user, closed to everybody else.
//!
//! What lies above them is the agent's and only passed through (0711), so nobody but the agent can
//! put a link in their place. Filling a revision's folder is `artifact`'s.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use tucano_common::id::InstanceId;
use tucano_worker_core::{Folder, Layout};

use super::user::RunAs;

/// Passed through by services, listed by nobody.
const PASSAGE: u32 = 0o711;
/// For one user.
const PRIVATE: u32 = 0o700;

/// The agent's own folder.
pub(super) fn make_own(path: &Path) -> io::Result<()> {
    make_parents(path)?;
    make(path).map(|_| ())
}

/// A folder of the services' user. One that is there keeps its owner: it is the same user's.
pub(super) fn make_for(path: &Path, user: Option<&RunAs>) -> io::Result<()> {
    make_parents(path)?;
    if make(path)?
        && let Some(user) = user
    {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// Whether a folder is the user's that its service has now: with `--service-uids` given or changed
/// on a worker that has services already, it may be an earlier one's.
pub(super) fn is_owned(path: &Path, user: &RunAs) -> Result<(), String> {
    let owner = fs::symlink_metadata(path).map(|about| about.uid());
    match owner {
        Ok(owner) if owner != user.uid => Err(format!(
            "{} belongs to user {owner}, and its service runs as {uid} on this worker now; give it \
             over: chown -R {uid}:{gid} {0}",
            path.display(),
            uid = user.uid,
            gid = user.gid,
        )),
        // One that is not there is told by who needs it.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn make_parents(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => DirBuilder::new().recursive(true).mode(PASSAGE).create(parent),
        None => Ok(()),
    }
}

/// Whether it was not there before.
fn make(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() { Ok(false) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

/// Removes a folder with all that is in it; one that isn't there is no error. Links are removed,
/// not followed, also while somebody changes the tree (std walks by descriptors).
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// At the agent's start: removes the folders of instances and revisions that nobody knows any more.
pub(super) fn remove_strangers(layout: &Layout, known: &BTreeSet<Folder>) {
    let instance = |name: &str| Some(Folder::Instance(InstanceId::parse(name)?));
    let build = |name: &str| Some(Folder::Build(Layout::build_of(name)?));
    let mut found = entries(&layout.instances(), instance);
    found.extend(entries(&layout.builds(), build));
    for (path, folder) in found {
        if !known.contains(&folder)
            && let Err(error) = remove(&path)
        {
            log::warn!("{}: not removed: {error}; remove it by hand", path.display());
        }
    }
}

fn entries(
    folder: &Path,
    of: impl Fn(&str) -> Option<Folder>,
) -> Vec<(std::path::PathBuf, Folder)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let known = entries.flatten().filter_map(|entry| {
        let folder = of(entry.file_name().to_str()?)?;
        Some((entry.path(), folder))
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_private_and_its_parents_are_passages() {
        let root = std::env::temp_dir().join(format!("tucano-folders-{}", std::process::id()));
        let folder = root.join("a/b");
        make_for(&folder, None).unwrap();
        make_own(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The umask may take from the passage, never from the owner.
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&root.join("a")) & 0o700, 0o700);
        std::os::unix::fs::symlink("/tmp", root.join("link")).unwrap();
        assert!(make_own(&root.join("link")).is_err(), "a link is no folder");
        remove(&root).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists() && Path::new("/tmp").exists());
    }

    #[test]
    fn an_earlier_users_folder_is_told_with_what_to_do() {
        let folder = std::env::temp_dir().join(format!("tucano-owned-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let owner = fs::metadata(&folder).unwrap().uid();
        let user = |uid| RunAs { name: String::new(), uid, gid: uid, groups: vec![uid] };
        assert_eq!(is_owned(&folder, &user(owner)), Ok(()));
        let told = is_owned(&folder, &user(77_777)).unwrap_err();
        assert!(told.contains("chown -R 77777:77777 /"), "{told}");
        assert_eq!(is_owned(&folder.join("none"), &user(77_777)), Ok(()));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn folders_that_nobody_knows_go_and_foreign_files_stay() {
        let root = std::env::temp_dir().join(format!("tucano-strangers-{}", std::process::id()));
        let layout = Layout::new(&root);
        let (known, stranger) = (InstanceId(1), InstanceId(2));
        let build = Layout::build_of("c.web.1").unwrap();
        let other = Layout::build_of("c.web.2").unwrap();
        let stays = [layout.instance(known), layout.build(&build), layout.builds().join("mine")];
        let goes = [layout.instance(stranger), layout.build(&other), layout.build_partial(&other)];
        for path in stays.iter().chain(&goes) {
            fs::create_dir_all(path.join("deep")).unwrap();
        }
        let known = [Folder::Instance(known), Folder::Build(build)].into_iter().collect();
        remove_strangers(&layout, &known);
        assert!(stays.iter().all(|path| path.exists()));
        assert!(!goes.iter().any(|path| path.exists()));
        remove(&root).unwrap();
    }
}
