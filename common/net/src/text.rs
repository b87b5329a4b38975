//! What comes from outside, made safe for a terminal, a log or a page: control characters are
//! shown, not sent.

use std::fmt::{self, Write};

/// Prints a text with its control characters, and the invisible ones that reorder a line, escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain_from = 0;
        for (at, c) in self.0.char_indices().filter(|(_, c)| is_dangerous(*c)) {
            f.write_str(&self.0[plain_from..at])?;
            write!(f, "{}", c.escape_default())?;
            plain_from = at + c.len_utf8();
        }
        f.write_str(&self.0[plain_from..])
    }
}

/// Escapes what is written through it.
pub struct EscapingWriter<'a>(pub &'a mut String);

impl Write for EscapingWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", Escaped(text))
    }
}

/// Controls (C0, DEL, C1), line separators, and marks that change the direction of what follows.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_shown() {
        for (text, shown) in [
            ("plain ünï \u{1f980}", "plain ünï \u{1f980}"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred\u{7f}\u{9b}", "\\u{1b}[31mred\\u{7f}\\u{9b}"),
            ("\u{202e}txt.exe\u{2028}", "\\u{202e}txt.exe\\u{2028}"),
            ("", ""),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
            let mut out = String::new();
            EscapingWriter(&mut out).write_str(text).expect("a String takes everything");
            assert_eq!(out, shown);
        }
    }
}
