//! Hostile archives, made here byte by byte.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use super::*;

/// A folder of its own, gone with the test. What archives must never touch stands beside `inside`.
pub(in crate::runner) struct Fresh {
    pub(in crate::runner) base: PathBuf,
}

impl Fresh {
    pub(in crate::runner) fn new(name: &str) -> Fresh {
        let base = std::env::temp_dir().join(format!("tucano-{name}-{}", std::process::id()));
        let _left_by_an_earlier_run = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("inside")).unwrap();
        fs::write(base.join("outside.txt"), "untouched").unwrap();
        Fresh { base }
    }

    pub(in crate::runner) fn inside(&self) -> PathBuf {
        self.base.join("inside")
    }

    fn unpack(&self, archive: &[u8], bounds: &Bounds) -> Result<[u8; 32], UnpackError> {
        let top = fs::File::open(self.inside()).unwrap();
        unpack(archive, top.as_fd(), bounds)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

/// One member as the archive's maker writes it, valid or not.
struct Raw<'a> {
    kind: EntryType,
    path: &'a str,
    link: &'a str,
    mode: u32,
    content: &'a [u8],
}

fn file<'a>(path: &'a str, content: &'a [u8]) -> Raw<'a> {
    Raw { kind: EntryType::Regular, path, link: "", mode: 0o644, content }
}

fn folder(path: &str) -> Raw<'_> {
    Raw { kind: EntryType::Directory, path, link: "", mode: 0o755, content: b"" }
}

fn symlink<'a>(path: &'a str, link: &'a str) -> Raw<'a> {
    Raw { kind: EntryType::Symlink, path, link, mode: 0o777, content: b"" }
}

fn hardlink<'a>(path: &'a str, link: &'a str) -> Raw<'a> {
    Raw { kind: EntryType::Link, path, link, mode: 0o644, content: b"" }
}

fn special(kind: EntryType, path: &str) -> Raw<'_> {
    Raw { kind, path, link: "", mode: 0o666, content: b"" }
}

fn tar_of(members: &[Raw<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut header = Header::new_gnu();
        header.set_entry_type(member.kind);
        header.set_mode(member.mode);
        header.set_mtime(1_700_000_000);
        header.set_size(member.content.len() as u64);
        let old = header.as_old_mut();
        old.name[..member.path.len()].copy_from_slice(member.path.as_bytes());
        old.linkname[..member.link.len()].copy_from_slice(member.link.as_bytes());
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(member.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_plain_archive_unpacks_with_modes_times_and_links() {
    let fresh = Fresh::new("plain");
    let members = [
        folder("./"),
        folder("./bin/"),
        Raw { mode: 0o755, ..file("./bin/run", b"#!/bin/sh\n") },
        file("deep/er/x.txt", b"text"),
        symlink("bin/x", "../deep/er/x.txt"),
        hardlink("same", "deep/er/x.txt"),
        Raw { mode: 0o6755, ..file("setuid", b"") },
        Raw { mode: 0o7000, ..folder("closed") },
        file("closed/inner", b"in"),
    ];
    let archive = gz(&tar_of(&members));
    let digest = fresh.unpack(&archive, &Bounds::STANDARD).unwrap();
    assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(&archive)));
    let inside = fresh.inside();
    assert_eq!(fs::read(inside.join("bin/x")).unwrap(), b"text");
    assert_eq!(fs::read(inside.join("closed/inner")).unwrap(), b"in");
    assert_eq!(mode_of(&inside.join("bin/run")), 0o755);
    assert_eq!(mode_of(&inside.join("setuid")), 0o755);
    assert_eq!(mode_of(&inside.join("closed")), 0o700);
    let about = fs::metadata(inside.join("same")).unwrap();
    assert_eq!((about.nlink(), about.mtime()), (2, 1_700_000_000));
}

#[test]
fn a_later_member_replaces_an_earlier_file_but_never_writes_through_it() {
    let fresh = Fresh::new("replace");
    let members = [
        file("a", b"first"),
        hardlink("b", "a"),
        file("a", b"second"),
        symlink("l", "b"),
        file("l", b"third"),
    ];
    fresh.unpack(&gz(&tar_of(&members)), &Bounds::STANDARD).unwrap();
    let inside = fresh.inside();
    assert_eq!(fs::read(inside.join("a")).unwrap(), b"second");
    assert_eq!(fs::read(inside.join("b")).unwrap(), b"first");
    assert_eq!(fs::read(inside.join("l")).unwrap(), b"third");
    assert!(fs::symlink_metadata(inside.join("l")).unwrap().is_file());
}

#[test]
fn members_that_lead_out_or_are_no_files_are_refused() {
    let cases: Vec<(&str, Vec<Raw<'_>>, &str)> = vec![
        ("absolute", vec![file("/tmp/evil", b"x")], "absolute path"),
        ("dotdot", vec![file("../outside.txt", b"x")], "leads out"),
        ("dotdot-inside", vec![file("a/../../outside.txt", b"x")], "leads out"),
        ("dotdot-folder", vec![folder("..")], "leads out"),
        ("link-absolute", vec![symlink("l", "/etc")], "leads out"),
        ("link-up", vec![symlink("l", "..")], "leads out"),
        ("link-up-deep", vec![symlink("a/b/l", "../../../outside.txt")], "leads out"),
        ("link-down-and-up", vec![symlink("l", "a/../../outside.txt")], "leads out"),
        // Each alone stays inside as text; followed one after the other they would not.
        (
            "link-chain",
            vec![symlink("a/up", ".."), symlink("out", "a/up/../outside.txt")],
            "leads out",
        ),
        ("link-empty", vec![symlink("l", "")], "leads out"),
        (
            "through-link",
            vec![symlink("l", "sub"), folder("sub"), file("l/x", b"x")],
            "through a link",
        ),
        ("through-file", vec![file("f", b""), file("f/x", b"x")], "through a link or a file"),
        ("over-folder", vec![file("d/x", b""), file("d", b"x")], "would replace a folder"),
        ("link-over-folder", vec![folder("d"), symlink("d", "e")], "would replace a folder"),
        ("hardlink-out", vec![hardlink("h", "../outside.txt")], "leads out"),
        ("hardlink-absolute", vec![hardlink("h", "/etc/passwd")], "absolute path"),
        ("hardlink-missing", vec![hardlink("h", "nothing")], "no file to link to"),
        ("hardlink-top", vec![hardlink("h", "./")], "no file to link to"),
        ("hardlink-to-link", vec![symlink("s", "x"), hardlink("h", "s")], "no file to link to"),
        (
            "hardlink-through-link",
            vec![folder("d"), file("d/x", b""), symlink("s", "d"), hardlink("h", "s/x")],
            "no file to link to",
        ),
        ("char-device", vec![special(EntryType::Char, "d")], "neither a file"),
        ("block-device", vec![special(EntryType::Block, "d")], "neither a file"),
        ("fifo", vec![special(EntryType::Fifo, "d")], "neither a file"),
        ("sparse", vec![special(EntryType::GNUSparse, "d")], "neither a file"),
        ("unknown", vec![special(EntryType::new(b'Z'), "d")], "neither a file"),
        ("no-name", vec![file("", b"x")], "without a name"),
        ("long-name-alone", vec![special(EntryType::GNULongName, "x")], "describes nothing"),
        (
            "folder-with-content",
            vec![Raw { content: b"x", ..folder("d") }],
            "content in something that is no file",
        ),
    ];
    for (name, members, message) in cases {
        let fresh = Fresh::new(name);
        let error = fresh.unpack(&gz(&tar_of(&members)), &Bounds::STANDARD).unwrap_err();
        assert!(error.to_string().contains(message), "{name}: {error}");
        assert_eq!(fs::read(fresh.base.join("outside.txt")).unwrap(), b"untouched", "{name}");
        assert_eq!(fs::read_dir(&fresh.base).unwrap().count(), 2, "{name}: something got out");
    }
}

fn pax(record: &str) -> Vec<u8> {
    // The length counts its own digits.
    let mut length = record.len() + 2;
    while length != record.len() + 2 + length.to_string().len() {
        length = record.len() + 2 + length.to_string().len();
    }
    format!("{length} {record}\n").into_bytes()
}

#[test]
fn extension_headers_are_read_strictly() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let x = |content| Raw { content, ..special(EntryType::XHeader, "pax") };
    let g = |content| Raw { content, ..special(EntryType::XGlobalHeader, "pax") };
    let long_name = |content| Raw { content, ..special(EntryType::GNULongName, "././@LongLink") };
    let long_path = pax(&format!("path={long}"));
    let binary = pax("SCHILY.xattr.user.x=a\nb=\n");
    let gnu = [long.as_bytes(), b"\0"].concat();
    let size = pax("size=5");
    let evil = pax("path=../../outside.txt");
    let mut malformed = pax("path=a");
    malformed[0] = b'8';
    let cases: Vec<(&str, Vec<Raw<'_>>, Result<&str, &str>)> = vec![
        ("pax-path", vec![x(&long_path), file("short", b"x")], Ok(&long)),
        ("gnu-path", vec![long_name(&gnu), file("short", b"x")], Ok(&long)),
        ("binary-xattr", vec![x(&binary), file("short", b"x")], Ok("short")),
        ("global-comment", vec![g(b"14 comment=ab\n"), file("short", b"x")], Ok("short")),
        ("same-size", vec![x(&size), file("short", b"12345")], Ok("short")),
        ("other-size", vec![x(&size), file("short", b"x")], Err("two different sizes")),
        ("out", vec![x(&evil), file("short", b"x")], Err("leads out")),
        ("malformed", vec![x(&malformed), file("short", b"x")], Err("pax record is malformed")),
        ("both", vec![x(&long_path), long_name(&gnu), file("s", b"")], Err("described twice")),
        ("global-path", vec![g(&long_path), file("s", b"")], Err("global header")),
        ("cut", vec![x(&long_path)], Err("describes nothing")),
    ];
    for (name, members, expected) in cases {
        let fresh = Fresh::new(&format!("pax-{name}"));
        let result = fresh.unpack(&gz(&tar_of(&members)), &Bounds::STANDARD);
        match (result, expected) {
            (Ok(_), Ok(path)) => assert!(fresh.inside().join(path).is_file(), "{name}"),
            (Err(error), Err(message)) => {
                assert!(error.to_string().contains(message), "{name}: {error}");
            }
            (Ok(_), Err(_)) => panic!("{name} was taken"),
            (Err(error), Ok(_)) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn an_extension_header_can_not_fill_the_memory() {
    let fresh = Fresh::new("big-header");
    let big = vec![b'a'; 100_000];
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let members = [Raw { content: &big, ..special(kind, "x") }, file("f", b"")];
        let error = fresh.unpack(&gz(&tar_of(&members)), &Bounds::STANDARD).unwrap_err();
        assert!(error.to_string().contains("too large"), "{kind:?}: {error}");
    }
}

#[test]
fn bounds_hold() {
    let small = Bounds {
        packed_bytes: 100_000,
        unpacked_bytes: 1_000_000,
        members: 10,
        ratio: 20,
        ratio_floor_bytes: 50_000,
    };
    let mut noise = vec![0; 200_000];
    let mut prng = tucano_common::prng::Prng::new(1);
    noise.fill_with(|| prng.below(256) as u8);
    let many: Vec<String> = (0..11).map(|n| format!("f{n}")).collect();
    let deep = "d/".repeat(11) + "f";
    let zeros = vec![0; 60_000];
    let steady = vec![b'a'; 40_000];
    let large: Vec<u8> = noise[..50_000].iter().copied().cycle().take(1_200_000).collect();
    let loose = Bounds { ratio: 1000, ..small };
    let cases: Vec<(&str, Vec<Raw<'_>>, Bounds, Option<Bound>)> = vec![
        ("fits", vec![file("f", &steady)], small, None),
        ("packed", vec![file("f", &noise)], small, Some(Bound::Packed)),
        ("ratio", vec![file("f", &zeros)], small, Some(Bound::Ratio)),
        ("unpacked", vec![file("f", &large)], loose, Some(Bound::Unpacked)),
        ("members", many.iter().map(|n| file(n, b"")).collect(), small, Some(Bound::Members)),
        ("folders", vec![file(&deep, b"")], small, Some(Bound::Members)),
    ];
    for (name, members, bounds, expected) in cases {
        let fresh = Fresh::new(&format!("bounds-{name}"));
        let packed = gz(&tar_of(&members));
        let bounds =
            if name == "unpacked" { Bounds { packed_bytes: u64::MAX, ..bounds } } else { bounds };
        match (fresh.unpack(&packed, &bounds), expected) {
            (Ok(_), None) => {}
            (Err(UnpackError::Bound(found)), Some(bound)) => assert_eq!(found, bound, "{name}"),
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn what_comes_behind_the_archive_counts_into_the_digest() {
    let fresh = Fresh::new("trailing");
    let mut archive = gz(&tar_of(&[file("f", b"x")]));
    archive.extend_from_slice(&[b'z'; 100_000]);
    let digest = fresh.unpack(&archive, &Bounds::STANDARD).unwrap();
    assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(&archive)));
}

#[test]
fn every_cut_and_a_flipped_bit_end_in_an_error_or_in_another_digest() {
    let members = [file("a/b", b"some text"), symlink("l", "a/b"), file("c", &[7; 3000])];
    let archive = gz(&tar_of(&members));
    let whole = <[u8; 32]>::from(Sha256::digest(&archive));
    let fresh = Fresh::new("cuts");
    for length in 0..archive.len() {
        let result = fresh.unpack(&archive[..length], &Bounds::STANDARD);
        assert!(result.is_err() || result.is_ok_and(|digest| digest != whole), "cut at {length}");
    }
    for at in 0..archive.len() {
        let mut flipped = archive.clone();
        flipped[at] ^= 0x10;
        let result = fresh.unpack(&flipped, &Bounds::STANDARD);
        assert!(result.is_err() || result.is_ok_and(|digest| digest != whole), "flip at {at}");
    }
}
