//! The document against the routes: what one says, the other does.

use serde_json::Value;
use tucano_net::Method;

use super::super::router::{Access, Action, BodyKind, METHODS, route};
use super::DOCUMENT;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("the document is JSON")
}

/// A path of the document with real names in it.
fn example(path: &str) -> String {
    let digest = format!("sha256:{}", "0".repeat(64));
    path.replace("{name}", "web").replace("{id}", "0123456789abc").replace("{digest}", &digest)
}

/// What a `$ref` stands for.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value.get("$ref").and_then(Value::as_str) {
        None => value,
        Some(target) => {
            let pointer = target.strip_prefix('#').expect("a reference within the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{target} leads nowhere"))
        }
    }
}

/// Every operation of the document with its action.
fn operations(document: &Value) -> Vec<(Method, String, &Value, Action)> {
    let paths = document["paths"].as_object().expect("paths");
    let mut found = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            let operation = item.get(method.text().to_ascii_lowercase());
            let routed = route(method, &example(path));
            assert_eq!(operation.is_some(), routed.is_ok(), "{method:?} {path}: {routed:?}");
            if let (Some(operation), Ok(action)) = (operation, routed) {
                found.push((method, path.clone(), operation, action));
            }
        }
        assert!(item.as_object().is_some_and(|item| item.len() <= METHODS.len()), "{path}");
    }
    found
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let operations = operations(&document);
    let described: Vec<String> = operations.iter().map(|(_, path, ..)| example(path)).collect();
    for path in super::super::router::tests::paths() {
        let path = path.replace("/w1", "/web");
        assert!(described.contains(&path), "{path} is not described");
    }
}

#[test]
fn parameters_are_the_ones_that_are_taken() {
    let document = document();
    for (method, path, operation, action) in operations(&document) {
        let empty = Vec::new();
        let listed = operation["parameters"].as_array().unwrap_or(&empty);
        let listed: Vec<&Value> = listed.iter().map(|each| resolve(&document, each)).collect();
        let named = |place: &str| -> Vec<&str> {
            let placed = listed.iter().filter(|each| each["in"] == place);
            placed.filter_map(|each| each["name"].as_str()).collect()
        };
        let mut in_query = named("query");
        in_query.sort_unstable();
        let mut taken: Vec<&str> = action.params().iter().map(|param| param.name()).collect();
        taken.sort_unstable();
        assert_eq!(in_query, taken, "{method:?} {path}");
        let in_path: Vec<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(named("path"), in_path, "{method:?} {path}");
    }
}

#[test]
fn bodies_and_roles_are_the_ones_that_are_wanted() {
    let document = document();
    for (method, path, operation, action) in operations(&document) {
        let body = operation.get("requestBody");
        let content = |kind: &str| body.is_some_and(|body| body["content"].get(kind).is_some());
        let required = body.is_some_and(|body| body["required"] == true);
        let expected = match action.body() {
            BodyKind::None => body.is_none(),
            BodyKind::Json => required && content("application/json"),
            BodyKind::OptionalJson => !required && content("application/json"),
            BodyKind::Archive => required && content("application/gzip"),
        };
        assert!(expected, "the body of {method:?} {path}");
        let free = operation.get("security").is_some_and(|each| each == &Value::Array(vec![]));
        assert_eq!(free, action.access() == Access::Free, "{method:?} {path}");
    }
}

#[test]
fn references_lead_somewhere_and_ids_are_unique() {
    fn walk(document: &Value, value: &Value) {
        resolve(document, value);
        match value {
            Value::Object(map) => map.values().for_each(|each| walk(document, each)),
            Value::Array(list) => list.iter().for_each(|each| walk(document, each)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    walk(&document, &document);
    let operations = operations(&document);
    let mut ids: Vec<&str> =
        operations.iter().filter_map(|(_, _, each, _)| each["operationId"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), operations.len());
}
