//! Header fields as owned text in one allocation, in the order they came.
//!
//! Field values that are no UTF-8 are kept with U+FFFD in place of what could not be read: a field
//! is never dropped, so a check such as "is there an Origin" can't be walked around by a bad byte.

use std::fmt;

/// Fields of a head: names compare without case, several of the same name are kept apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    text: String,
    /// End of each name and of each value in `text`; a field begins where the one before ended.
    ends: Vec<(u32, u32)>,
}

impl Headers {
    /// No fields yet.
    pub const fn new() -> Headers {
        Headers { text: String::new(), ends: Vec::new() }
    }

    /// Adds a field. Bytes that can't stand in a field (CR, LF, NUL and other controls) become
    /// spaces, so that no value that came from outside can add a field of its own.
    pub fn push(&mut self, name: &str, value: &str) {
        self.append(name, |c| if is_name_char(c) { c } else { '_' });
        let name_end = self.text.len() as u32;
        self.append(value.trim(), |c| if c.is_control() { ' ' } else { c });
        self.ends.push((name_end, self.text.len() as u32));
    }

    /// In one piece, as nearly all come, or with each character that must not be replaced.
    fn append(&mut self, text: &str, allowed: impl Fn(char) -> char) {
        if text.bytes().all(|byte| byte.is_ascii() && allowed(byte.into()) == char::from(byte)) {
            self.text.push_str(text);
        } else {
            self.text.extend(text.chars().map(allowed));
        }
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All fields of this name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.ends.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1].1 };
            let (name_end, end) = self.ends[i];
            let (start, name_end, end) = (start as usize, name_end as usize, end as usize);
            (&self.text[start..name_end], &self.text[name_end..end])
        })
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

fn is_name_char(c: char) -> bool {
    c == '-' || c.is_ascii_alphanumeric() || "!#$%&'*+.^_`|~".contains(c)
}

/// Names only: values may hold secrets.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(fields: I) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name, value);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_without_case_and_in_order() {
        let headers: Headers =
            [("Host", "a"), ("X-One", " 1 "), ("x-one", "2"), ("Empty", "")].into_iter().collect();
        assert_eq!(headers.get("host"), Some("a"));
        assert_eq!(headers.get_all("X-ONE").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.get("empty"), Some(""));
        assert_eq!(headers.get("missing"), None);
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn a_value_can_not_add_a_field() {
        let headers: Headers =
            [("X", "a\r\nSet-Cookie: b\0"), ("Y: Z\n", "c")].into_iter().collect();
        let fields: Vec<_> = headers.iter().collect();
        assert_eq!(fields, [("X", "a  Set-Cookie: b "), ("Y__Z_", "c")]);
    }

    #[test]
    fn debug_shows_no_value() {
        let headers: Headers = [("Authorization", "Bearer hunter2")].into_iter().collect();
        assert_eq!(format!("{headers:?}"), r#"["Authorization"]"#);
    }
}
