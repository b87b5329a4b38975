//! Keeping artifacts: whole and right, or not at all.

use std::sync::atomic::AtomicBool;

use super::super::artifact_unpack::tests::Fresh;
use super::*;

static RUN: AtomicBool = AtomicBool::new(false);

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(&Sha256::digest(bytes).into())
}

/// Gives its bytes, then fails.
struct Breaks<'a>(&'a [u8]);

impl Read for Breaks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.0.read(into)
    }
}

#[test]
fn only_the_bytes_that_the_digest_names_are_kept() {
    let fresh = Fresh::new("keep");
    let artifacts = Artifacts::open(fresh.inside().join("artifacts")).unwrap();
    let digest = digest_of(b"right");
    let keep = |body: &mut dyn Read| artifacts.keep(&digest, body, &RUN);
    assert!(matches!(keep(&mut &b"wrong"[..]), Err(ArtifactError::Digest)));
    assert!(matches!(keep(&mut Breaks(b"rig")), Err(ArtifactError::Read(_))));
    let stop = AtomicBool::new(true);
    let cancelled = artifacts.keep(&digest, &mut &b"right"[..], &stop);
    assert!(matches!(cancelled, Err(ArtifactError::Cancelled)));
    assert!(!artifacts.has(&digest));
    let left = || fs::read_dir(fresh.inside().join("artifacts")).unwrap().count();
    assert_eq!(left(), 0, "a part was left");
    keep(&mut &b"right"[..]).unwrap();
    assert!(artifacts.has(&digest));
    artifacts.forget(&digest);
    assert_eq!(left(), 0);
}

#[test]
fn half_written_parts_go_at_the_next_start() {
    let fresh = Fresh::new("parts");
    let folder = fresh.inside().join("artifacts");
    Artifacts::open(folder.clone()).unwrap();
    fs::write(folder.join("00.part"), "half").unwrap();
    fs::write(folder.join("00.tar.gz"), "whole").unwrap();
    Artifacts::open(folder.clone()).unwrap();
    assert!(!folder.join("00.part").exists() && folder.join("00.tar.gz").exists());
}

#[test]
fn the_ones_longest_unused_go_first() {
    let fresh = Fresh::new("prune");
    let artifacts = Artifacts::open(fresh.inside()).unwrap();
    let names: Vec<Digest> = (0..ARTIFACTS_KEPT as u8 + 3).map(|n| digest_of(&[n])).collect();
    for (age, digest) in names.iter().enumerate() {
        artifacts.keep(digest, &mut &[age as u8][..], &RUN).unwrap();
        let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64);
        File::options().write(true).open(artifacts.path(digest)).unwrap().set_modified(at).unwrap();
    }
    artifacts.prune();
    let kept: Vec<bool> = names.iter().map(|digest| artifacts.has(digest)).collect();
    assert_eq!(kept, [vec![false; 3], vec![true; ARTIFACTS_KEPT]].concat());
}

#[test]
fn an_empty_source_is_an_empty_folder_in_the_place_of_what_was_there() {
    let fresh = Fresh::new("empty");
    let artifacts = Artifacts::open(fresh.inside()).unwrap();
    let at = fresh.base.join("7");
    fs::create_dir_all(at.join("old")).unwrap();
    let partial = fresh.base.join("7.partial");
    fs::create_dir_all(partial.join("left over")).unwrap();
    let place = Place { at: &at, partial: &partial, owner: None };
    make_revision_folder(&Source::Empty, &place, &artifacts, &RUN).unwrap();
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
    assert!(!partial.exists());
}
