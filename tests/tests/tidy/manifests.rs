//! Who may depend on whom, read from the manifests and from the paths that the code names.
//!
//! The architecture is these edges: a new one is a decision, made here in the open and explained in
//! ARCHITECTURE.md.

use crate::source::{File, Rust};

/// What a crate may name in `[dependencies]`: everything else is a new edge.
const ALLOWED: &[(&str, &[&str])] = &[
    ("common", &["serde", "serde_json", "httparse"]),
    (
        "common/net",
        &[
            "tucano-common",
            "serde",
            "serde_json",
            "mio",
            "nix",
            "log",
            "crossbeam-channel",
            "pico-args",
            "sha2",
        ],
    ),
    ("controller/core", &["tucano-common", "serde", "serde_json"]),
    ("worker/core", &["tucano-common", "serde", "serde_json"]),
    (
        "controller",
        &[
            "tucano-common",
            "tucano-net",
            "tucano-controller-core",
            "mio",
            "serde",
            "serde_json",
            "rusqlite",
            "crossbeam-channel",
            "log",
            "pico-args",
            "nix",
            "sha2",
        ],
    ),
    (
        "worker",
        &[
            "tucano-common",
            "tucano-net",
            "tucano-worker-core",
            "mio",
            "serde",
            "serde_json",
            "procfs",
            "crossbeam-channel",
            "log",
            "pico-args",
            "nix",
            "rustix",
            "sha2",
            "tar",
            "flate2",
        ],
    ),
    (
        "tools",
        &[
            "tucano-common",
            "tucano-net",
            "tucano-controller-core",
            "tucano-worker-core",
            "serde",
            "serde_json",
            "pico-args",
            "mio",
            "crossbeam-channel",
            "log",
            "nix",
        ],
    ),
    ("tests", &["tucano-common", "tucano-net", "tucano-tools", "serde", "serde_json", "nix"]),
];

/// Every dependency outside [`ALLOWED`], and every package of the workspace that it does not know.
pub(crate) fn unknown_dependencies(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut packages = 0;
    for file in files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        let package = file.path.trim_end_matches("/Cargo.toml");
        if package.ends_with("fuzz") {
            continue; // outside the workspace: it has libfuzzer and nothing depends on it
        }
        packages += 1;
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package) else {
            faults.push(format!("{}: a package that tidy does not know", file.path));
            continue;
        };
        for name in dependencies(&file.text) {
            if !allowed.contains(&name) {
                faults.push(format!("{}: depends on {name}, a new edge", file.path));
            }
        }
    }
    assert_eq!(packages, ALLOWED.len(), "packages in the tree and packages known to tidy");
    faults
}

/// The names under `[dependencies]` (what tests and builds use beside them is not part of the
/// architecture).
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && let Some((left, _)) = line.split_once('=') {
            names.push(left.split('.').next().unwrap_or(left).trim());
        }
    }
    names
}

/// Paths that a part of the tree must not name: the start of a file's path, exceptions to it, the
/// words, the reason.
struct Ban {
    under: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    reason: &'static str,
}

const PURE: &[&str] = &["common/src/", "controller/core/src/", "worker/core/src/"];

const BANS: &[Ban] = &[
    Ban {
        under: PURE,
        except: &[],
        words: &[
            "std::fs",
            "std::env",
            "std::thread",
            "std::process",
            "std::os",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "Instant",
            "SystemTime",
            "HashMap",
            "HashSet",
            "Mutex",
            "RwLock",
            "Condvar",
            "thread_local!",
            "println!",
            "eprintln!",
            "mio::",
            "nix::",
            "log::",
            "rand::",
        ],
        reason: "a pure crate has no clock, randomness, file, socket, thread, lock or log",
    },
    Ban {
        under: &["controller/", "worker/", "tests/", "tools/"],
        except: &[
            "controller/src/balancer/",
            "controller/src/msgs.rs",
            "tools/src/agents/",
            "tools/src/load/",
        ],
        words: &["mio::"],
        reason: "mio is common/net's, and the data plane's (with its waker in msgs.rs)",
    },
    Ban {
        under: &["controller/src/balancer/"],
        except: &[],
        words: &[
            "crate::deployer",
            "crate::discovery",
            "crate::http",
            "crate::worker_mgr",
            "rusqlite",
        ],
        reason: "the data plane eats routing tables and could run as a process of its own",
    },
    Ban {
        under: &["controller/"],
        except: &["controller/src/discovery/"],
        words: &["rusqlite::"],
        reason: "SQLite is discovery's",
    },
    Ban {
        under: &["controller/core/src/"],
        except: &[],
        words: &["wire::views"],
        reason: "a core does not know how the API prints things",
    },
    Ban {
        under: &["controller/", "worker/", "common/", "tools/"],
        except: &[],
        words: &["unbounded(", "mpsc::channel("],
        reason: "every channel is bounded",
    },
];

/// Every place where product code names what its part of the tree must not.
pub(crate) fn banned_paths(files: &[Rust]) -> Vec<String> {
    let mut faults = Vec::new();
    for ban in BANS {
        let starts = |path: &str, list: &[&str]| list.iter().any(|start| path.starts_with(start));
        let inside =
            |file: &&Rust| starts(&file.path, ban.under) && !starts(&file.path, ban.except);
        for file in files.iter().filter(inside) {
            for (number, line) in file.product.lines().enumerate() {
                for word in ban.words.iter().filter(|word| names(line, word)) {
                    let place = format!("{}:{}", file.path, number + 1);
                    faults.push(format!("{place}: {word}: {}", ban.reason));
                }
            }
        }
    }
    faults
}

/// Whether a line of code has `word` as a word of its own.
fn names(line: &str, word: &str) -> bool {
    let joined = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open_end = !word.ends_with(|c: char| joined(c));
        !before.is_some_and(joined) && (open_end || !after.is_some_and(joined))
    })
}
