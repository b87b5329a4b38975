//! Tokens from files. What such a file holds is never printed, whatever is wrong with it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tucano_common::limits::{TOKEN_BYTES_MAX, TOKEN_CHARS_MIN};

use super::FlagError;
use crate::text::Escaped;
use crate::token::Token;

/// Reads the token in the file that `flag` names: its text without the white space around it.
/// Warns where others may read the file, or the token is short enough to be guessed.
pub fn read_token(flag: &'static str, path: &Path) -> Result<Token, FlagError> {
    let shown = path.display().to_string();
    let refuse = |reason: String| FlagError::File { flag, path: shown.clone(), reason };
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| refuse(error.to_string()))?;
    if metadata.is_dir() {
        return Err(refuse("it is a folder; the token stands in a file".to_owned()));
    }
    let mut text = String::new();
    file.take(TOKEN_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| {
        // The error of a file that is no UTF-8 names no byte of it.
        refuse(error.to_string())
    })?;
    let token = check(&text).map_err(|reason| refuse(reason.to_owned()))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        log::warn!("{flag} {}: others may read this file; chmod 600 it", Escaped(&shown));
    }
    if token.len() < TOKEN_CHARS_MIN {
        log::warn!("{flag} {}: a token this short can be guessed", Escaped(&shown));
    }
    Ok(Token::new(token))
}

fn check(text: &str) -> Result<&str, &'static str> {
    let token = text.trim();
    if text.len() > TOKEN_BYTES_MAX {
        Err("the file is too large for a token")
    } else if token.is_empty() {
        Err("the file is empty; put a token there, for example by `openssl rand -hex 32`")
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("a token is one line of visible ASCII characters without spaces")
    } else {
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_file_may_hold() {
        assert_eq!(check("  0123456789abcdef\n"), Ok("0123456789abcdef"));
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        for text in ["", " \n", "a b", "a\nb", "ü", "a\0b", &long] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_that_are_not_there_name_the_flag() {
        for path in ["/nonexistent/token", "/"] {
            let error = read_token("--join-token-file", Path::new(path)).expect_err(path);
            assert!(error.to_string().starts_with("--join-token-file \"/"), "{error}");
        }
    }
}
