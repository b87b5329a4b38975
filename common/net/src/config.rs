//! Flags with their environment twins: `--some-name` and `TUCANO_SOME_NAME`, the flag wins.
//!
//! It knows no flag of any program; each program asks for its own and then calls [`Flags::finish`],
//! which refuses what nobody asked for. Everything that is wrong is a [`FlagError`] of one line,
//! for exit code 2.

pub mod parse;
mod secret;

use std::ffi::OsString;
use std::fmt::{self, Display};

pub use secret::read_token;
use tucano_common::spec::suggest;

/// Why the command line, or the environment in its place, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagError {
    /// A flag that this program does not have, and one of its own that looks like it.
    Unknown(String, Option<&'static str>),
    /// An argument without a flag.
    Stray(String),
    /// A flag without its value.
    NoValue(&'static str),
    /// A flag that stands once only was given more than once.
    Twice(&'static str),
    /// A value that is not what the flag takes.
    Bad {
        /// The flag, or its twin where that was used.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A flag that this program can't do without.
    Missing(&'static str),
    /// A file that a flag names can't be used.
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlagError::Unknown(flag, Some(meant)) => {
                write!(f, "unknown flag {flag:?}: did you mean {meant}?")
            }
            FlagError::Unknown(flag, None) => write!(f, "unknown flag {flag:?}; see --help"),
            FlagError::Stray(text) => write!(f, "unexpected argument {text:?}; see --help"),
            FlagError::NoValue(flag) => write!(f, "{flag} needs a value"),
            FlagError::Twice(flag) => write!(f, "{flag} is given more than once"),
            FlagError::Bad { name, value, reason } => write!(f, "{name} {value:?}: {reason}"),
            FlagError::Missing(flag) => write!(f, "{flag} (or {}) is needed", twin(flag)),
            FlagError::File { flag, path, reason } => write!(f, "{flag} {path:?}: {reason}"),
        }
    }
}

impl std::error::Error for FlagError {}

/// The environment's name of a flag.
fn twin(flag: &str) -> String {
    let name = flag.trim_start_matches('-').replace('-', "_").to_ascii_uppercase();
    format!("TUCANO_{name}")
}

/// Where the twins come from: the process's environment, or a test's table.
type Env = Box<dyn Fn(&str) -> Option<OsString>>;

/// A command line that is being taken apart.
pub struct Flags {
    args: pico_args::Arguments,
    env: Env,
    asked: Vec<&'static str>,
}

impl Flags {
    /// This process's.
    pub fn of_process() -> Flags {
        Flags::new(std::env::args_os().skip(1).collect(), |name| std::env::var_os(name))
    }

    /// Of these arguments (without the program's name) and this environment.
    pub fn new(args: Vec<OsString>, env: impl Fn(&str) -> Option<OsString> + 'static) -> Flags {
        let args = pico_args::Arguments::from_vec(args);
        Flags { args, env: Box::new(env), asked: Vec::new() }
    }

    /// Takes the first argument where it is no flag: a subcommand.
    pub fn subcommand(&mut self) -> Result<Option<String>, FlagError> {
        self.args.subcommand().map_err(|_| FlagError::Stray("(not UTF-8)".to_owned()))
    }

    /// Whether a flag without value, such as `--help`, is there; it has no twin.
    pub fn has(&mut self, flag: &'static str) -> bool {
        self.asked.push(flag);
        self.args.contains(flag)
    }

    /// A flag that stands once at most. `parse` is one of [`parse`] or any other reader of a text.
    pub fn value<T, E: Display>(
        &mut self,
        flag: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, FlagError> {
        let mut given = self.given(flag)?;
        match (given.pop(), given.is_empty()) {
            (None, _) => self.read_twin(flag, |text| read(&twin(flag), text, &parse)),
            (Some(text), true) => read(flag, &text, &parse).map(Some),
            (Some(_), false) => Err(FlagError::Twice(flag)),
        }
    }

    /// The same with a value for where it is not given.
    pub fn value_or<T, E: Display>(
        &mut self,
        flag: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, FlagError> {
        Ok(self.value(flag, parse)?.unwrap_or(default))
    }

    /// A repeatable flag, in order; the twin has its values separated by commas.
    pub fn values<T, E: Display>(
        &mut self,
        flag: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, FlagError> {
        let given = self.given(flag)?;
        if !given.is_empty() {
            return given.iter().map(|text| read(flag, text, &parse)).collect();
        }
        let several = |text: &str| {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| read(&twin(flag), part, &parse)).collect()
        };
        Ok(self.read_twin(flag, several)?.unwrap_or_default())
    }

    /// What is left where a program takes arguments without flags.
    pub fn rest(self) -> Result<Vec<String>, FlagError> {
        let mut rest = Vec::new();
        for argument in self.args.finish() {
            let text = argument.to_string_lossy().into_owned();
            if text.starts_with('-') && text.len() > 1 {
                return Err(unknown(&text, &self.asked));
            }
            rest.push(text);
        }
        Ok(rest)
    }

    /// Refuses what is left: a flag that nobody asked for would be a setting that silently does
    /// nothing.
    pub fn finish(self) -> Result<(), FlagError> {
        match self.rest()?.into_iter().next() {
            None => Ok(()),
            Some(stray) => Err(FlagError::Stray(stray)),
        }
    }

    fn given(&mut self, flag: &'static str) -> Result<Vec<String>, FlagError> {
        self.asked.push(flag);
        let plain = |text: &str| Ok::<_, std::convert::Infallible>(text.to_owned());
        let given = self.args.values_from_fn(flag, plain).map_err(|error| match error {
            pico_args::Error::NonUtf8Argument => FlagError::Bad {
                name: flag.to_owned(),
                value: "…".to_owned(),
                reason: "not UTF-8".to_owned(),
            },
            _ => FlagError::NoValue(flag),
        })?;
        // `--data-dir --name x`: the next flag is not the value.
        let has_swallowed_a_flag = given.iter().any(|text| text.starts_with("--"));
        if has_swallowed_a_flag { Err(FlagError::NoValue(flag)) } else { Ok(given) }
    }

    /// An empty variable is as good as none: that is how an environment file leaves a setting out.
    fn read_twin<T>(
        &self,
        flag: &'static str,
        read: impl Fn(&str) -> Result<T, FlagError>,
    ) -> Result<Option<T>, FlagError> {
        let name = twin(flag);
        let Some(value) = (self.env)(&name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        match value.to_str() {
            Some(text) => read(text).map(Some),
            None => Err(FlagError::Bad {
                name,
                value: value.to_string_lossy().into_owned(),
                reason: "not UTF-8".to_owned(),
            }),
        }
    }
}

fn read<T, E: Display>(
    name: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, FlagError> {
    parse(text).map_err(|error| FlagError::Bad {
        name: name.to_owned(),
        value: text.to_owned(),
        reason: error.to_string(),
    })
}

fn unknown(text: &str, asked: &[&'static str]) -> FlagError {
    let flag = text.split('=').next().unwrap_or(text);
    if asked.contains(&flag) {
        // A repeated switch, or a flag whose value was taken for another's.
        return FlagError::Stray(text.to_owned());
    }
    FlagError::Unknown(flag.to_owned(), suggest::nearest(flag, asked.iter().copied()))
}

#[cfg(test)]
mod tests;
