//! Copies of real folders.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::artifact_unpack::tests::Fresh;
use super::*;

fn copy_into(from: &Path, into: &Path) -> Result<(), CopyError> {
    let top = fs::File::open(into).unwrap();
    copy(from, top.as_fd())
}

#[test]
fn files_folders_links_modes_and_times_are_copied() {
    let fresh = Fresh::new("copy");
    let from = fresh.base.join("from");
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::write(from.join("a/b/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(from.join("a/b/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("/somewhere/else", from.join("link")).unwrap();
    nix::unistd::mkfifo(&from.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let into = fresh.inside();
    copy_into(&from, &into).unwrap();
    let mode = |path| fs::metadata(into.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(fs::read(into.join("a/b/run")).unwrap(), b"#!/bin/sh\n");
    assert_eq!((mode("a/b/run"), mode("a")), (0o755, 0o755));
    assert_eq!(fs::read_link(into.join("link")).unwrap(), Path::new("/somewhere/else"));
    assert!(!into.join("fifo").exists());
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&into.join("a/b/run")), modified(&from.join("a/b/run")));
}

#[test]
fn a_folder_that_holds_its_own_copy_ends() {
    let fresh = Fresh::new("copy-self");
    copy_into(&fresh.base, &fresh.inside()).unwrap();
    assert_eq!(fs::read(fresh.inside().join("outside.txt")).unwrap(), b"untouched");
    assert!(!fresh.inside().join("inside").exists());
}

#[test]
fn a_folder_that_is_not_there_says_what_to_do() {
    let fresh = Fresh::new("copy-missing");
    for missing in ["nothing", "outside.txt"] {
        let error = copy_into(&fresh.base.join(missing), &fresh.inside()).unwrap_err();
        assert!(error.to_string().contains("make it there"), "{error}");
    }
}

#[test]
fn a_link_as_the_source_is_followed_and_links_inside_are_not() {
    let fresh = Fresh::new("copy-link");
    let from = fresh.base.join("from");
    fs::create_dir(&from).unwrap();
    symlink("..", from.join("up")).unwrap();
    symlink("from", fresh.base.join("current")).unwrap();
    copy_into(&fresh.base.join("current"), &fresh.inside()).unwrap();
    assert_eq!(fs::read_link(fresh.inside().join("up")).unwrap(), Path::new(".."));
}
