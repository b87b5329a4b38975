//! The documentation is checked against the code: its examples are valid, its flags, routes,
//! metrics and fields are there, and nothing that is there is missing.

#![deny(unsafe_code)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tucano_common::{metrics, spec};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The JSON blocks of a document.
fn json_blocks(text: &str) -> Vec<Value> {
    let blocks = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| serde_json::from_str(block).expect("valid JSON")).collect()
}

#[test]
fn the_specs_in_the_documentation_are_valid() {
    let mut count = 0;
    for path in ["docs/spec.md", "docs/api.md"] {
        for block in json_blocks(&read(path)).iter().filter(|block| block.get("name").is_some()) {
            let outcome = spec::parse(block);
            // An API answer has a name too; a spec is what has scripts or addresses.
            let is_spec = block.get("scripts").is_some() || block.get("external").is_some();
            assert!(!is_spec || outcome.is_ok(), "{path}: {block:#}\n{outcome:?}");
            count += usize::from(is_spec);
        }
    }
    let readme = read("README.md");
    let document = readme.split("<<'END'\n{").nth(1).and_then(|rest| rest.split("\nEND").next());
    let document = format!("{{{}", document.expect("the README's spec"));
    let value: Value = serde_json::from_str(&document).expect("valid JSON");
    assert!(spec::parse(&value).is_ok(), "{document}");
    assert!(count >= 2, "the documentation has {count} specs");
}

/// Every key of an object and of the objects in it.
fn keys(value: &Value, found: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        found.push(key.clone());
        keys(inner, found);
    }
}

#[test]
fn every_field_of_a_spec_is_documented() {
    let full = json!({
        "name": "web",
        "network": {
            "expose_port": 80, "hosts": ["a"], "hold": "1s", "max_in_flight": 1, "fixed_port": 9000,
            "health_check": { "path": "/" },
        },
        "scripts": { "build-script": "x", "runtime-script": "x", "teardown_script": "x" },
        "resources": { "cpu": 1, "memory": 1048576, "pids": 1 },
        "placement": { "max_per_worker": 1 },
    });
    let spec = spec::parse(&full).expect("a spec");
    let mut fields = Vec::new();
    keys(&serde_json::to_value(&spec).expect("JSON"), &mut fields);
    assert!(fields.len() > 35, "a printed spec has every default: {fields:?}");
    let text = read("docs/spec.md");
    for field in fields {
        assert!(text.contains(&format!("`{field}`")), "docs/spec.md does not explain {field}");
    }
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let text = read("docs/operations.md");
    for metric in metrics::ALL {
        assert!(text.contains(metric.name), "docs/operations.md does not name {}", metric.name);
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ends = ["_total", "_seconds", "_bytes", "_ratio"];
    for word in words.filter(|word| word.starts_with("tucano_")) {
        let is_metric = ends.iter().any(|end| word.ends_with(end));
        assert!(!is_metric || metrics::ALL.iter().any(|m| m.name == word), "{word} does not exist");
    }
}

#[test]
fn every_flag_is_documented() {
    let text = read("docs/operations.md");
    for path in ["controller/src/help.txt", "worker/src/config/help.txt"] {
        let help = read(path);
        let words = help.split(|c: char| c.is_whitespace() || c == ',');
        for flag in words.filter(|word| word.starts_with("--") && word.len() > 2) {
            let known = ["--some-name", "--help", "--version"].contains(&flag);
            assert!(known || text.contains(&format!("`{flag}")), "{flag} of {path} is missing");
        }
    }
}

#[test]
fn every_route_of_the_openapi_document_is_documented() {
    let openapi: Value = serde_json::from_str(&read("docs/openapi.json")).expect("valid JSON");
    let text = read("docs/api.md");
    for path in openapi["paths"].as_object().expect("paths").keys() {
        assert!(text.contains(path.as_str()), "docs/api.md does not name {path}");
    }
}
