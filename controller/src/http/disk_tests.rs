//! Uploads and downloads against a real folder.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of this test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("tucano-disk-test-{}-{number}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder is there");
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const A: TransferId = TransferId(1);
const B: TransferId = TransferId(2);

const GZIP: &[u8] = b"\x1f\x8b\x08 not really, but it begins like one";

fn upload(disk: &mut Disk, id: TransferId, pieces: &[&[u8]]) -> Done {
    for piece in pieces {
        let done = disk.carry_out(Job::Write { id, bytes: piece.to_vec() }).done;
        if !matches!(done, Done::Written) {
            return done;
        }
    }
    disk.carry_out(Job::Store(id)).done
}

#[test]
fn an_upload_is_in_place_under_its_digest() {
    let folder = Folder::new();
    let mut disk = Disk::new(folder.0.clone()).expect("a folder");
    let Done::Stored { digest, bytes, known } = upload(&mut disk, A, &[&GZIP[..1], &GZIP[1..]])
    else {
        panic!("not stored");
    };
    let expected = Digest::from_bytes(&Sha256::digest(GZIP).into());
    assert_eq!((&digest, bytes, known), (&expected, GZIP.len() as u64, false));
    assert_eq!(folder.files(), [format!("{}.tar.gz", digest.hex())]);
    let path = Disk::path(&folder.0, &digest);
    assert_eq!(fs::read(&path).expect("the file"), GZIP);
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&folder.0)), (0o600, 0o700));
    let again = upload(&mut disk, B, &[GZIP]);
    assert!(matches!(again, Done::Stored { known: true, .. }), "{again:?}");
    assert_eq!(folder.files().len(), 1);
}

#[test]
fn two_uploads_at_a_time_do_not_meet() {
    let folder = Folder::new();
    let mut disk = Disk::new(folder.0.clone()).expect("a folder");
    for (id, byte) in [(A, b'a'), (B, b'b'), (A, b'a'), (B, b'b')] {
        let bytes = [GZIP, &[byte; 1000]].concat();
        assert!(matches!(disk.carry_out(Job::Write { id, bytes }).done, Done::Written));
    }
    for (id, byte) in [(A, b'a'), (B, b'b')] {
        let whole = [GZIP, &[byte; 1000], GZIP, &[byte; 1000]].concat();
        let expected = Digest::from_bytes(&Sha256::digest(&whole).into());
        let done = disk.carry_out(Job::Store(id)).done;
        assert!(matches!(&done, Done::Stored { digest, .. } if *digest == expected), "{done:?}");
    }
}

#[test]
fn what_is_no_gzip_leaves_nothing_behind() {
    let folder = Folder::new();
    let mut disk = Disk::new(folder.0.clone()).expect("a folder");
    for pieces in [&[&b"PK\x03\x04"[..]][..], &[b"\x1f", b"x"], &[b"\x1f"]] {
        let done = upload(&mut disk, A, pieces);
        assert!(matches!(done, Done::Failed(Refused::NotGzip)), "{done:?}");
        assert_eq!(folder.files(), Vec::<String>::new());
    }
    let done = upload(&mut disk, A, &[]);
    assert!(matches!(done, Done::Failed(Refused::MissingBody { .. })), "{done:?}");
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing_behind() {
    let folder = Folder::new();
    let mut disk = Disk::new(folder.0.clone()).expect("a folder");
    disk.carry_out(Job::Write { id: A, bytes: GZIP.to_vec() });
    assert_eq!(folder.files().len(), 1);
    assert!(matches!(disk.carry_out(Job::Close(A)).done, Done::Closed));
    assert_eq!(folder.files(), Vec::<String>::new());
    assert!(matches!(disk.carry_out(Job::Close(A)).done, Done::Closed), "again is harmless");
}

#[test]
fn what_a_crash_left_is_removed_at_the_start_and_artifacts_are_kept() {
    let folder = Folder::new();
    let mut disk = Disk::new(folder.0.clone()).expect("a folder");
    upload(&mut disk, A, &[GZIP]);
    disk.carry_out(Job::Write { id: A, bytes: GZIP.to_vec() });
    drop(disk);
    assert_eq!(folder.files().len(), 2);
    Disk::new(folder.0.clone()).expect("a folder");
    assert_eq!(folder.files().len(), 1);
    assert!(folder.files()[0].ends_with(".tar.gz"));
}

#[test]
fn a_download_gives_back_what_was_uploaded() {
    let folder = Folder::new();
    let mut disk = Disk::new(folder.0.clone()).expect("a folder");
    let noise = (0..2 * ARTIFACT_PIECE_BYTES + 17).map(|n| (n % 251) as u8);
    let whole: Vec<u8> = GZIP.iter().copied().chain(noise).collect();
    let Done::Stored { digest, .. } = upload(&mut disk, A, &[&whole]) else {
        panic!("not stored");
    };
    let done = disk.carry_out(Job::Open { id: A, digest }).done;
    assert!(matches!(done, Done::Opened(bytes) if bytes == whole.len() as u64), "{done:?}");
    let mut got = Vec::new();
    loop {
        match disk.carry_out(Job::Read(A)).done {
            Done::Piece(piece) if piece.is_empty() => break,
            Done::Piece(piece) => {
                assert!(piece.len() <= ARTIFACT_PIECE_BYTES);
                got.extend_from_slice(&piece);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, whole);
    assert!(disk.open.is_empty(), "the end of a download closes it");
    let missing = Digest::from_bytes(&[7; 32]);
    let done = disk.carry_out(Job::Open { id: B, digest: missing }).done;
    assert!(matches!(done, Done::Failed(Refused::NoArtifact(_))), "{done:?}");
}

#[test]
fn a_job_for_nothing_is_refused() {
    let folder = Folder::new();
    let mut disk = Disk::new(folder.0.clone()).expect("a folder");
    assert!(matches!(disk.carry_out(Job::Read(A)).done, Done::Failed(Refused::Defect(_))));
    fs::remove_dir_all(&folder.0).expect("removed");
    let done = disk.carry_out(Job::Write { id: A, bytes: GZIP.to_vec() }).done;
    assert!(matches!(done, Done::Failed(Refused::Disk(_))), "{done:?}");
}
