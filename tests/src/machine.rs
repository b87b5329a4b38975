//! A machine of its own for a worker, as far as mounts go: its agent starts in a mount namespace
//! that a shell arranges first and then becomes the agent. Nothing of it shows outside, and it goes
//! with its last process.
//!
//! Root makes one; anybody else as root of a user namespace, where the kernel allows that.

use std::process::Command;

use tucano_tools::cluster::Options;

const AS_ROOT: &[&str] = &["unshare", "--mount"];
const AS_ANYBODY: &[&str] = &["unshare", "--user", "--map-root-user", "--mount"];

/// Options of a cluster whose workers' machines this shell script arranges; none where this machine
/// allows nobody's mounts. With its last words the script becomes what it is given: `exec "$@"`.
pub fn arranged(script: &str) -> Option<Options> {
    let is_root = nix::unistd::geteuid().is_root();
    let unshare = if is_root { AS_ROOT } else { AS_ANYBODY };
    let trial = Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
    if !trial.is_ok_and(|trial| trial.status.success()) {
        eprintln!("no mounts of its own for a worker here");
        return None;
    }
    let shell = ["sh", "-e", "-c", script, "sh"];
    let words = unshare.iter().chain(&shell);
    let flags = if is_root { &[][..] } else { &["--run-as", "root"] };
    Some(Options {
        worker_before: words.map(|word| (*word).to_owned()).collect(),
        worker_flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Options::default()
    })
}
