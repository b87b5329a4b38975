//! Runs the scripts of `tests/plans/*.txt` over the real planner, deployer and leases: what goes
//! where, step by step, as a newcomer reads it. What the words mean stands in
//! `tests/plans/README.md`. No process, no socket and no clock is involved: machines here are
//! states and times.

mod machine;
mod run;
mod script;
mod show;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "txt")).collect();
    found.sort();
    found
}

#[test]
fn every_script_is_what_comes_of_it() {
    let scripts = scripts();
    assert!(scripts.len() >= 12, "only {} scripts", scripts.len());
    let mut faults = Vec::new();
    for path in &scripts {
        let name = format!("tests/plans/{}", path.file_name().unwrap().to_string_lossy());
        let text = fs::read_to_string(path).unwrap();
        faults.extend(run::run(&name, &text).err());
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
}

fn fault(text: &str) -> String {
    run::run("it", text).unwrap_err()
}

#[test]
fn a_script_that_says_nothing_or_something_unknown_fails() {
    let none = "it: says nothing: give it an `expect`";
    assert_eq!(fault(""), none);
    assert_eq!(fault("# only a comment\nworker w1\n"), none);
    let text = "worker w1\ndeplay web 1\nexpect\n  w1: nothing\n";
    assert_eq!(fault(text), "it:2: `deplay` is no word here; see tests/plans/README.md");
    let text = "worker w1 colour=blue\nexpect\n  w1: nothing\n";
    assert_eq!(fault(text), "it:1: a worker has no `colour`");
    let text = "worker w1\ndeploy web 1 require.disk\n";
    assert_eq!(fault(text), "it:2: `require.disk`: expected NAME=VALUE");
    let text = "worker w1\nlose w2\nexpect\n  w1: nothing\n";
    assert_eq!(fault(text), "it:2: there is no worker w2");
    let text = "worker w1\ndeploy Web! 1\nexpect\n  w1: nothing\n";
    assert!(fault(text).starts_with("it:2: the spec is refused: "), "{}", fault(text));
    let text = "  w1: nothing\n";
    assert_eq!(fault(text), "it:1: an indented line belongs under an `expect`");
}

#[test]
fn a_plan_that_differs_is_shown_line_by_line() {
    let text = "worker w1\nworker w2\ndeploy web 1\nsettle\nexpect\n  w1: nothing\n  w2: nothing\n";
    let wanted = "it:5: the plan is another one (- expected, + found):\n\
                  \x20 - w1: nothing\n\
                  \x20 + w1: web.1 r1 running\n\
                  \x20   w2: nothing";
    assert_eq!(fault(text), wanted);
    let text = "worker w1\ndeploy web 1\nsettle\nalways web healthy >= 1\nscale web 0\nsettle\n\
                expect\n  w1: nothing\n";
    assert_eq!(fault(text), "it:5: web has 0 healthy instances, always >= 1 (it:4)");
}
