//! The rules of the house as tests: import directions, sizes, what every file has, what none has.
//!
//! What clippy can hold (functions' length, parameters, `unwrap`) is left to it. Run by `make
//! test`; each failure names the file, the line and the reason.

mod manifests;
mod source;

use source::{Rust, files, is_test_file, rust};

/// Lines of a file without its tests; 400 is the aim.
const FILE_LINES: usize = 600;
/// Lines of a file of tests.
const TEST_FILE_LINES: usize = 1000;
/// Characters of a line.
const LINE_CHARS: usize = 100;

fn none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}\n", faults.join("\n  "));
}

/// One fault for each line that `wrong` picks.
fn lines(file: &str, text: &str, wrong: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let numbered = text.lines().enumerate();
    numbered.filter_map(|(n, line)| Some(format!("{file}:{}: {}", n + 1, wrong(line)?))).collect()
}

fn every_rust_file(rule: impl Fn(&Rust) -> Vec<String>) -> Vec<String> {
    rust(&files()).iter().flat_map(rule).collect()
}

#[test]
fn manifests_have_no_new_edges() {
    none("new dependencies", &manifests::unknown_dependencies(&files()));
}

#[test]
fn imports_point_inwards() {
    none("forbidden imports", &manifests::banned_paths(&rust(&files())));
}

#[test]
fn files_and_lines_are_short() {
    let faults = every_rust_file(|file| {
        let (lines_now, lines_max) = if is_test_file(&file.path) {
            (file.text.lines().count(), TEST_FILE_LINES)
        } else {
            (file.text.lines().count() - test_lines(file), FILE_LINES)
        };
        let mut faults = lines(&file.path, &file.text, |line| {
            let chars = line.chars().count();
            (chars > LINE_CHARS).then(|| format!("{chars} characters, at most {LINE_CHARS}"))
        });
        if lines_now > lines_max {
            faults.push(format!("{}: {lines_now} lines, at most {lines_max}", file.path));
        }
        faults
    });
    none("too long", &faults);
}

/// The lines that are blank in `product` and not in `code`: the file's test modules.
fn test_lines(file: &Rust) -> usize {
    let pairs = file.code.lines().zip(file.product.lines());
    pairs.filter(|(code, product)| !code.trim().is_empty() && product.is_empty()).count()
}

#[test]
fn every_file_says_what_it_is() {
    let faults = every_rust_file(|file| {
        let silent = !file.text.starts_with("//!");
        silent.then(|| format!("{}: does not open with //!", file.path)).into_iter().collect()
    });
    none("files without a word on what they are", &faults);
}

#[test]
fn unsafe_code_is_refused() {
    let faults = every_rust_file(|file| {
        let root = file.path.ends_with("src/lib.rs")
            || file.path.ends_with("src/main.rs")
            || file.path.contains("/src/bin/")
                && !file.path.trim_end_matches(".rs").contains("/bin/mod");
        let pure = ["common/src/", "controller/core/", "worker/core/"];
        let wanted: &[&str] = match pure.iter().any(|start| file.path.starts_with(start)) {
            true => &["#![forbid(unsafe_code)]"],
            false => &["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"],
        };
        let missing = root && !wanted.iter().any(|attribute| file.text.contains(attribute));
        missing.then(|| format!("{}: {} is missing", file.path, wanted[0])).into_iter().collect()
    });
    none("crates that do not refuse unsafe code", &faults);
}

#[test]
fn unsafe_blocks_give_their_reason() {
    let faults = every_rust_file(|file| {
        let blocks = file.code.matches("unsafe {").count() + file.code.matches("unsafe fn").count();
        let reasons = file.text.matches("SAFETY:").count();
        let silent = blocks > reasons;
        let fault = || format!("{}: {blocks} unsafe, {reasons} reasons", file.path);
        silent.then(fault).into_iter().collect()
    });
    none("unsafe code without SAFETY:", &faults);
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled in halves, so that this file does not find itself.
    let marks = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")];
    let macros = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore")];
    let faults = every_rust_file(|file| {
        let mut faults = lines(&file.path, &file.code, |line| {
            let found = macros.iter().find(|word| line.contains(**word))?;
            Some(found.to_string())
        });
        faults.extend(lines(&file.path, &file.text, |line| {
            let found = marks.iter().find(|mark| line.contains(**mark))?;
            Some(format!("{found}: an issue is the place for it"))
        }));
        faults
    });
    none("left for later", &faults);
}

#[test]
fn tests_wait_for_what_they_want() {
    let sleep = concat!("thread::", "sleep");
    let faults = every_rust_file(|file| {
        let product: Vec<&str> = file.product.lines().collect();
        let in_tests = file.code.lines().enumerate().filter(|(n, line)| {
            line.contains(sleep) && !product.get(*n).is_some_and(|line| line.contains(sleep))
        });
        in_tests.map(|(n, _)| format!("{}:{}: wait with a deadline", file.path, n + 1)).collect()
    });
    none("sleeps in tests", &faults);
}

#[test]
fn exceptions_from_lints_have_a_reason() {
    let faults = every_rust_file(|file| {
        let starts = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
        let mut faults = Vec::new();
        for (at, _) in starts.iter().flat_map(|start| file.code.match_indices(start)) {
            let end = file.code[at..].find(")]").map_or(file.code.len(), |n| at + n);
            if !file.code[at..end].contains("reason") {
                let line = file.code[..at].lines().count() + 1;
                faults.push(format!("{}:{line}: say why, with reason = \"…\"", file.path));
            }
        }
        faults
    });
    none("lints switched off in silence", &faults);
}

#[test]
fn limits_stand_in_one_place() {
    let faults = every_rust_file(|file| {
        let elsewhere = ["common/src/limits", "tests/", "tools/", "common/fuzz/"];
        if elsewhere.iter().any(|start| file.path.starts_with(start)) {
            return Vec::new();
        }
        lines(&file.path, &file.product, |line| {
            let name = line.trim().split_once("const ")?.1.split_once(':')?.0;
            let limit = name.ends_with("_MAX") || name.ends_with("_KEPT");
            limit.then(|| format!("{name} belongs into common/src/limits/"))
        })
    });
    none("limits outside limits/", &faults);
}

#[test]
fn no_path_of_a_developers_machine() {
    let homes = [
        concat!("/wo", "rk/"),
        concat!("/fa", "rm/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut faults = Vec::new();
    for file in files().iter().filter(|file| file.path != "Cargo.lock") {
        faults.extend(lines(&file.path, &file.text, |line| {
            let found = homes.iter().find(|home| is_path(line, home))?;
            Some(format!("{found}… is a path of one machine"))
        }));
    }
    none("machine paths", &faults);
}

/// Whether `home` begins a path in this line, rather than standing in the middle of one.
fn is_path(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + home.len()..].chars().next();
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')');
        !before.is_some_and(inside) && after.is_some_and(|c| c.is_ascii_lowercase() || c == '.')
    })
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = source::root();
    let mut faults = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in file.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or(target);
            let outside = target.is_empty() || target.contains("://") || target.contains(' ');
            if !outside && !root.join(folder).join(target).exists() {
                faults.push(format!("{}: ({target}) leads nowhere", file.path));
            }
        }
    }
    none("dead links", &faults);
}

#[test]
fn the_scanner_sees_code_only() {
    let text = concat!(
        "let a = \"// no { comment\"; // a {\n",
        "/* b { /* c */ d */ let e = '{'; let f: &'static str = r#\"zebra \" { \"#;\n",
        "#[cfg(test)]\nmod tests {\n    fn h() { if x { } }\n}\nfn i() {}\n",
    );
    let code = source::blank(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(code.matches('{').count(), 4, "{code}");
    assert!(code.contains("let e =") && code.contains("&'static str"), "{code}");
    assert!(!code.contains("comment") && !code.contains("zebra"), "{code}");
}
