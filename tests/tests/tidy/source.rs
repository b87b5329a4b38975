//! Reads the tree for the rules in `main.rs`: which files there are, and a Rust file's code without
//! its comments, strings and test modules.
//!
//! No parser: a scanner that knows comments, strings and braces is enough for the rules, and cannot
//! fall behind the language's grammar.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the tree.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// What stands in it.
    pub(crate) text: String,
}

/// A Rust file as the rules look at it.
pub(crate) struct Rust {
    /// Its path from the root.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// Comments and the insides of strings blanked, line for line.
    pub(crate) code: String,
    /// The same with the lines of its test modules blanked.
    pub(crate) product: String,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// Every text file, in a fixed order; what tools make (`target`, `.git`, editors' folders) is left
/// out.
pub(crate) fn files() -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "the walk found {} files: it is broken", found.len());
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree can be read") {
        let entry = entry.expect("a folder's entry can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() {
            let made = ["target", "fuzz-target", ".git", "node_modules", "corpus", "artifacts"];
            if !made.contains(&name.as_str()) {
                walk(&entry.path(), &path, found);
            }
        } else if kind.is_file()
            // In a worktree it is a file that names the repository's folder.
            && name != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(File { path, text });
        }
    }
}

/// The Rust files among them.
pub(crate) fn rust(files: &[File]) -> Vec<Rust> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.map(|file| {
        let code = blank(&file.text);
        let product =
            if is_test_file(&file.path) { String::new() } else { without_test_modules(&code) };
        Rust { path: file.path.clone(), text: file.text.clone(), code, product }
    })
    .collect()
}

/// Whether a file holds nothing but tests.
pub(crate) fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("_tests/")
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
        || name.ends_with("_test.rs")
}

/// Blanks comments and what stands in strings and character literals; lines stay where they are.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' if starts_raw(&chars, at) => raw_end(&chars, at),
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn starts_raw(chars: &[char], at: usize) -> bool {
    let joined = |c: &char| c.is_alphanumeric() || *c == '_';
    let own_word = at == 0 || !joined(&chars[at - 1]) || matches!(chars[at - 1], 'b' | 'c');
    let after_hashes = chars[at + 1..].iter().find(|c| **c != '#');
    own_word && after_hashes == Some(&'"')
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let mut i = at + 2 + hashes;
    while i < chars.len() {
        let closes = chars[i] == '"' && chars[i + 1..].iter().take(hashes).all(|c| *c == '#');
        if closes && i + hashes < chars.len() {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}

/// The end of a character literal; `at` itself where the quote begins a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => {
            let rest = &chars[at + 3..];
            rest.iter().position(|c| *c == '\'').map_or(at, |n| at + 3 + n + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Blanks the inline modules under `#[cfg(test)]`.
fn without_test_modules(code: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        out.push(line);
        let inline_module = |next: &&str| next.contains("mod ") && next.trim_end().ends_with('{');
        if line.trim() != "#[cfg(test)]" || !lines.peek().is_some_and(inline_module) {
            continue;
        }
        out.pop();
        out.push("");
        let mut depth = 0i32;
        for inner in lines.by_ref() {
            depth += i32::try_from(inner.matches('{').count()).unwrap_or(i32::MAX);
            depth -= i32::try_from(inner.matches('}').count()).unwrap_or(i32::MAX);
            out.push("");
            if depth <= 0 {
                break;
            }
        }
    }
    out.join("\n")
}
