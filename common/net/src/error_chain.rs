//! The one printer of errors with what caused them.
//!
//! An error's own `Display` never prints its source, so nothing is said twice.

use std::error::Error;
use std::fmt;

/// Prints an error and its sources: `could not connect: connection refused`.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::CallError;

    #[test]
    fn sources_follow_their_error() {
        let refused = std::io::Error::other("refused");
        assert_eq!(Chain(&CallError::Connect(refused)).to_string(), "could not connect: refused");
        assert_eq!(
            Chain(&CallError::BadAnswer("x")).to_string(),
            CallError::BadAnswer("x").to_string()
        );
    }
}
