//! The child that fills a revision's folder, as the agent starts it: with the real binary.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest as _, Sha256};
use tucano_common::spec::Digest;

/// A user that owns nothing here (`nobody`, on most systems).
const STRANGER: u32 = 65_534;

struct Fresh(PathBuf);

impl Fresh {
    fn new(name: &str) -> Fresh {
        let path = std::env::temp_dir().join(format!("tucano-place-{name}-{}", std::process::id()));
        let _left_by_an_earlier_run = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("into")).unwrap();
        Fresh(path)
    }

    fn folder(&self) -> PathBuf {
        self.0.join("into")
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[path = "common/namespace.rs"]
mod namespace;

fn is_root() -> bool {
    namespace::may_be(STRANGER)
}

/// The rights that tests can take on: a stranger's as root, else their own.
fn rights() -> String {
    if is_root() { format!("{STRANGER}:{STRANGER}:{STRANGER}") } else { "-".to_owned() }
}

fn place(into: &Path, rights: &str, kind: &str, what: &str, stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tucano-worker"))
        .arg("place-source")
        .args([into.to_str().unwrap(), rights, kind, what])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn archive() -> (Vec<u8>, String) {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o755);
    header.set_cksum();
    builder.append_data(&mut header, "bin/run", &b"true"[..]).unwrap();
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    let digest = Digest::from_bytes(&Sha256::digest(&bytes).into());
    (bytes, digest.to_string())
}

#[test]
fn an_archive_is_unpacked_as_the_services_user() {
    let fresh = Fresh::new("archive");
    let (bytes, digest) = archive();
    if is_root() {
        chown(fresh.folder(), Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let output = place(&fresh.folder(), &rights(), "archive", &digest, &bytes);
    assert!(output.status.success(), "{output:?}");
    let about = fs::metadata(fresh.folder().join("bin/run")).unwrap();
    let owner = if is_root() { STRANGER } else { nix::unistd::Uid::effective().as_raw() };
    assert_eq!((about.uid(), about.permissions().mode() & 0o777), (owner, 0o755));
}

#[test]
fn other_bytes_than_the_digest_names_have_an_exit_code_of_their_own() {
    let fresh = Fresh::new("digest");
    let (bytes, _) = archive();
    let other = Digest::from_bytes(&[0; 32]).to_string();
    let output = place(&fresh.folder(), "-", "archive", &other, &bytes);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let output = place(&fresh.folder(), "-", "archive", &other, b"no archive");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_folder_is_read_with_the_services_rights_alone() {
    let fresh = Fresh::new("folder");
    let (open, closed) = (fresh.0.join("open"), fresh.0.join("closed"));
    for (folder, mode) in [(&open, 0o755), (&closed, 0o700)] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("secret"), "x").unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(&fresh.0, fs::Permissions::from_mode(0o755)).unwrap();
    if is_root() {
        chown(fresh.folder(), Some(STRANGER), Some(STRANGER)).unwrap();
        let closed = closed.to_str().unwrap();
        let output = place(&fresh.folder(), &rights(), "folder", closed, b"");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(fs::read_dir(fresh.folder()).unwrap().count(), 0);
    }
    let output = place(&fresh.folder(), &rights(), "folder", open.to_str().unwrap(), b"");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(fresh.folder().join("secret")).unwrap(), b"x");
}

#[test]
fn what_is_not_the_agents_call_is_refused() {
    let fresh = Fresh::new("usage");
    let into = fresh.folder();
    for (rights, kind, what) in
        [("-", "archive", "sha256:no"), ("-", "elsewhere", "x"), ("0:0", "folder", "/")]
    {
        let output = place(&into, rights, kind, what, b"");
        assert!(!output.status.success(), "{rights} {kind} {what}");
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
    }
}
