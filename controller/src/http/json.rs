//! JSON bodies: whether there is one, whether it is JSON, and the few small objects that are no
//! spec and no agent's message.
//!
//! Faults come with their pointers, all at once, as the spec's do. Called by the resources.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tucano_common::name::WorkerName;
use tucano_common::spec::suggest;
use tucano_common::wire::problem::ProblemItem;

use super::problems::Refused;

/// The body as JSON.
pub(crate) fn value(body: &[u8], wanted: &'static str) -> Result<Value, Refused> {
    if is_blank(body) {
        return Err(Refused::MissingBody { wanted });
    }
    serde_json::from_slice(body).map_err(|error| Refused::NotJson(error.to_string()))
}

/// The body as what an agent says.
pub(crate) fn shape<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    if is_blank(body) {
        return Err(Refused::MissingBody { wanted: "what the agent has to say, as JSON" });
    }
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Refused::Shape(error.to_string())
        } else {
            Refused::NotJson(error.to_string())
        }
    })
}

/// Nothing, or an empty object: some clients can't send a POST without one.
pub(crate) fn nothing(body: &[u8]) -> Result<(), Refused> {
    if is_blank(body) || matches!(value(body, ""), Ok(Value::Object(map)) if map.is_empty()) {
        return Ok(());
    }
    Err(Refused::UnwantedBody)
}

/// Whether there is no body to speak of.
pub(crate) fn is_blank(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

/// The whole number of an object that has this one field; none where it is absent.
pub(crate) fn only_number(
    body: &Value,
    field: &'static str,
    range: (u64, u64),
) -> Result<Option<u64>, Refused> {
    let example = format!("{{\"{field}\": {}}}", range.0.max(1));
    let Value::Object(object) = body else {
        return Err(Refused::Faults(vec![item("", format!("an object is wanted: {example}"))]));
    };
    let mut faults = unknown_fields(object, field);
    let number = object.get(field).and_then(|value| {
        let number = value.as_u64().filter(|number| (range.0..=range.1).contains(number));
        if number.is_none() {
            let detail = format!("a whole number from {} to {} is wanted", range.0, range.1);
            faults.push(item(field, detail));
        }
        number
    });
    if faults.is_empty() { Ok(number) } else { Err(Refused::Faults(faults)) }
}

/// The workers' names of an object that has this one field, a list with at least one, in order and
/// each once.
pub(crate) fn only_names(
    body: &Value,
    field: &'static str,
    example: &str,
) -> Result<Vec<WorkerName>, Refused> {
    let Value::Object(object) = body else {
        return Err(Refused::Faults(vec![item("", format!("an object is wanted: {example}"))]));
    };
    let mut faults = unknown_fields(object, field);
    let mut names = BTreeSet::new();
    match object.get(field) {
        None => faults.push(item(field, format!("is required, as in {example}"))),
        Some(Value::Array(list)) if !list.is_empty() => {
            for (at, value) in list.iter().enumerate() {
                let name = value.as_str().map(WorkerName::new);
                let detail = match name {
                    Some(Ok(name)) => {
                        names.insert(name);
                        continue;
                    }
                    Some(Err(error)) => error.to_string(),
                    None => "a worker's name is wanted".to_owned(),
                };
                faults.push(ProblemItem { pointer: format!("/{field}/{at}"), detail });
            }
        }
        Some(_) => faults.push(item(field, format!("a list of names is wanted: {example}"))),
    }
    if faults.is_empty() { Ok(names.into_iter().collect()) } else { Err(Refused::Faults(faults)) }
}

/// A field that is not there.
pub(crate) fn missing(field: &'static str, example: &str) -> Refused {
    Refused::Faults(vec![item(field, format!("is required, as in {example}"))])
}

fn unknown_fields(object: &Map<String, Value>, known: &'static str) -> Vec<ProblemItem> {
    let unknown = object.keys().filter(|key| key.as_str() != known);
    unknown
        .map(|key| {
            let detail = match suggest::nearest(key, [known]) {
                Some(meant) => format!("is not a field here; did you mean {meant:?}?"),
                None => format!("is not a field here; {known:?} is"),
            };
            item(key, detail)
        })
        .collect()
}

fn item(field: &str, detail: String) -> ProblemItem {
    let pointer = match field {
        "" => String::new(),
        field => format!("/{}", field.replace('~', "~0").replace('/', "~1")),
    };
    ProblemItem { pointer, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_json_says_where() {
        for (body, status) in [
            (&b""[..], 400),
            (b" \r\n", 400),
            (b"{", 400),
            (b"{\"name\": \"web\",}", 400),
            (b"name=web", 400),
            (b"\xff\xfe", 400),
            (b"{} {}", 400),
        ] {
            let refused = value(body, "a spec").expect_err("refused");
            assert_eq!(refused.status(), status, "{refused}");
        }
        assert_eq!(value(b" {} ", "a spec"), Ok(Value::Object(Map::new())));
        let deep = "[".repeat(10_000);
        assert!(matches!(value(deep.as_bytes(), ""), Err(Refused::NotJson(_))));
    }

    #[test]
    fn one_number() {
        let read = |body: &str| {
            let body = value(body.as_bytes(), "").expect("JSON");
            only_number(&body, "concurrency", (0, 10))
        };
        assert_eq!(read("{\"concurrency\": 5}"), Ok(Some(5)));
        assert_eq!(read("{\"concurrency\": 0}"), Ok(Some(0)));
        assert_eq!(read("{}"), Ok(None));
        for (body, pointers) in [
            ("[]", vec![""]),
            ("5", vec![""]),
            ("{\"concurrency\": -1}", vec!["/concurrency"]),
            ("{\"concurrency\": 11}", vec!["/concurrency"]),
            ("{\"concurrency\": 1.5}", vec!["/concurrency"]),
            ("{\"concurrency\": \"5\"}", vec!["/concurrency"]),
            ("{\"concurrency\": null}", vec!["/concurrency"]),
            ("{\"concurency\": 5}", vec!["/concurency"]),
            ("{\"a/b~c\": 5, \"concurrency\": true}", vec!["/a~1b~0c", "/concurrency"]),
        ] {
            let Err(Refused::Faults(faults)) = read(body) else {
                panic!("{body} passes");
            };
            let found: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{body}");
        }
        let Err(Refused::Faults(faults)) = read("{\"concurency\": 5}") else {
            panic!("a misspelt field passes");
        };
        assert!(faults[0].detail.contains("did you mean \"concurrency\""), "{faults:?}");
    }

    #[test]
    fn a_list_of_names() {
        let read = |body: &str| {
            let body = value(body.as_bytes(), "").expect("JSON");
            only_names(&body, "lose", "{}")
        };
        let names = read("{\"lose\": [\"w2\", \"w1\", \"w2\"]}").expect("names");
        assert_eq!(names.iter().map(WorkerName::as_str).collect::<Vec<_>>(), ["w1", "w2"]);
        for (body, pointers) in [
            ("[]", vec![""]),
            ("{}", vec!["/lose"]),
            ("{\"lose\": []}", vec!["/lose"]),
            ("{\"lose\": \"w1\"}", vec!["/lose"]),
            ("{\"lose\": [\"w1\", 2, \"W\"]}", vec!["/lose/1", "/lose/2"]),
            ("{\"loose\": [\"w1\"]}", vec!["/loose", "/lose"]),
        ] {
            let Err(Refused::Faults(faults)) = read(body) else { panic!("{body} passes") };
            let found: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{body}");
        }
    }

    #[test]
    fn where_no_body_is_wanted_an_empty_object_passes() {
        for body in [&b""[..], b"\n", b"{}", b" { } "] {
            assert_eq!(nothing(body), Ok(()));
        }
        for body in [&b"[]"[..], b"{\"a\": 1}", b"x", b"null"] {
            assert_eq!(nothing(body), Err(Refused::UnwantedBody));
        }
    }
}
