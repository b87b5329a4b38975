//! Replays the fuzzers' corpus: every input under `common/fuzz/corpus` through its target.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test reads its corpus, and fails where it can't"
)]

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "public for the fuzz targets, which are programs of their own")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Runs every input of a target's folder, and each of its beginnings.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let input = fs::read(&path).expect("an input");
        // The test's output names what failed.
        eprintln!("{}", path.display());
        run(&input);
        (0..input.len().min(200)).for_each(|len| run(&input[..len]));
        inputs += 1;
    }
    assert!(inputs >= 5, "{target} has a corpus: {inputs}");
}

#[test]
fn request_heads() {
    replay("request_head", targets::request_head);
}

#[test]
fn response_heads() {
    replay("response_head", targets::response_head);
}

#[test]
fn framings() {
    replay("framing", targets::framing);
}

#[test]
fn chunked_bodies() {
    replay("chunked", targets::chunked);
}

#[test]
fn exchanges() {
    replay("exchange", targets::exchange);
}
