//! Reading a JSON object field by field while collecting every fault with its pointer.
//!
//! A field that is missing and one that is faulty both read as `None`; the caller goes on with a
//! stand-in, so that one fault does not hide the next, and gives up at the end if any was found.

use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value};

use super::parse::Fault;
use super::suggest::nearest;
use crate::units::{format_duration, parse_duration, parse_size};

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, pointer: &str, detail: impl Display) {
        self.0.push(Fault { pointer: pointer.to_owned(), detail: detail.to_string() });
    }
}

/// One object of the document: its place and its fields.
pub(super) struct Object<'v> {
    pointer: String,
    fields: Option<&'v Map<String, Value>>,
}

impl<'v> Object<'v> {
    /// The document itself.
    pub(super) fn root(value: &'v Value, faults: &mut Faults) -> Object<'v> {
        Object::new(String::new(), Some(value), faults)
    }

    fn new(pointer: String, value: Option<&'v Value>, faults: &mut Faults) -> Object<'v> {
        let fields = match value {
            None => None,
            Some(Value::Object(fields)) => Some(fields),
            Some(other) => {
                faults.add(&pointer, format_args!("{}, but an object is wanted", found(other)));
                None
            }
        };
        Object { pointer, fields }
    }

    /// Refuses every field that is not among `known`.
    pub(super) fn only(&self, known: &[&'static str], faults: &mut Faults) {
        let unknown = self.fields.into_iter().flat_map(Map::keys);
        for key in unknown.filter(|key| !known.contains(&key.as_str())) {
            let detail = match nearest(key, known.iter().copied()) {
                Some(meant) => format!("unknown field; did you mean \"{meant}\"?"),
                None => format!("unknown field; known here: {}", known.join(", ")),
            };
            faults.add(&self.at(key), detail);
        }
    }

    /// The pointer of a field here.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn value(&self, key: &str) -> Option<&'v Value> {
        self.fields.and_then(|fields| fields.get(key))
    }

    /// An object inside this one; empty where it is missing.
    pub(super) fn object(&self, key: &str, faults: &mut Faults) -> Object<'v> {
        Object::new(self.at(key), self.value(key), faults)
    }

    /// All fields, each with its pointer.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'v str, &'v Value, String)> + '_ {
        let fields = self.fields.into_iter().flat_map(Map::iter);
        fields.map(|(key, value)| (key.as_str(), value, self.at(key)))
    }

    pub(super) fn text(&self, key: &str, faults: &mut Faults) -> Option<&'v str> {
        text(self.value(key)?, &self.at(key), faults)
    }

    pub(super) fn flag(&self, key: &str, default: bool, faults: &mut Faults) -> bool {
        match self.value(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                faults.add(
                    &self.at(key),
                    format_args!("{}, but true or false is wanted", found(other)),
                );
                default
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn whole(&self, key: &str, range: (u64, u64), faults: &mut Faults) -> Option<u64> {
        let value = self.value(key)?;
        let (least, most) = range;
        match value.as_u64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(number),
            None => {
                let detail = format!(
                    "{}, but a whole number from {least} to {most} is wanted",
                    found(value)
                );
                faults.add(&self.at(key), detail);
                None
            }
        }
    }

    /// The same for the fields whose numbers have 32 bits.
    pub(super) fn count(&self, key: &str, range: (u32, u32), faults: &mut Faults) -> Option<u32> {
        let number = self.whole(key, (u64::from(range.0), u64::from(range.1)), faults)?;
        u32::try_from(number).ok()
    }

    pub(super) fn port(&self, key: &str, faults: &mut Faults) -> Option<u16> {
        u16::try_from(self.whole(key, (1, 65_535), faults)?).ok()
    }

    /// A duration within `range`.
    pub(super) fn duration(
        &self,
        key: &str,
        range: (Duration, Duration),
        faults: &mut Faults,
    ) -> Option<Duration> {
        let value = self.value(key)?;
        let Some(text) = value.as_str() else {
            let wanted =
                "but a duration in quotes is wanted, such as \"500ms\", \"2s\" or \"1m30s\"";
            faults.add(&self.at(key), format_args!("{}, {wanted}", found(value)));
            return None;
        };
        match parse_duration(text) {
            Ok(duration) if duration >= range.0 && duration <= range.1 => Some(duration),
            Ok(_) => {
                let (least, most) = (format_duration(range.0), format_duration(range.1));
                faults
                    .add(&self.at(key), format_args!("{text:?} is not between {least} and {most}"));
                None
            }
            Err(error) => {
                faults.add(&self.at(key), format_args!("{text:?} is {error}"));
                None
            }
        }
    }

    /// A size in bytes within `range`.
    pub(super) fn size(&self, key: &str, range: (u64, u64), faults: &mut Faults) -> Option<u64> {
        let value = self.value(key)?;
        let bytes = match (value.as_u64(), value.as_str()) {
            (Some(bytes), _) => Ok(bytes),
            (None, Some(text)) => parse_size(text).map_err(|error| format!("{text:?} is {error}")),
            (None, None) => {
                Err(format!("{}, but a size is wanted, such as \"128MiB\"", found(value)))
            }
        };
        match bytes {
            Ok(bytes) if (range.0..=range.1).contains(&bytes) => Some(bytes),
            Ok(bytes) => {
                let (least, most) =
                    (crate::units::format_size(range.0), crate::units::format_size(range.1));
                faults.add(
                    &self.at(key),
                    format_args!("{bytes} bytes is not between {least} and {most}"),
                );
                None
            }
            Err(detail) => {
                faults.add(&self.at(key), detail);
                None
            }
        }
    }

    /// A list; empty where it is missing, each item with its pointer.
    pub(super) fn list(&self, key: &str, faults: &mut Faults) -> Vec<(&'v Value, String)> {
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let place = self.at(key);
                items.iter().enumerate().map(|(i, item)| (item, format!("{place}/{i}"))).collect()
            }
            Some(other) => {
                faults.add(&self.at(key), format_args!("{}, but a list is wanted", found(other)));
                Vec::new()
            }
        }
    }
}

/// A value that must be a text.
pub(super) fn text<'v>(value: &'v Value, pointer: &str, faults: &mut Faults) -> Option<&'v str> {
    let text = value.as_str();
    if text.is_none() {
        faults.add(pointer, format_args!("{}, but a text in quotes is wanted", found(value)));
    }
    text
}

/// What stands there, for the start of a fault's sentence. A text's content is not repeated: it may
/// be a secret.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "this is null".to_owned(),
        Value::Bool(flag) => format!("this is {flag}"),
        Value::Number(number) => format!("this is {number}"),
        Value::String(_) => "this is a text".to_owned(),
        Value::Array(_) => "this is a list".to_owned(),
        Value::Object(_) => "this is an object".to_owned(),
    }
}
