//! Query strings, read strictly: a parameter that the route does not take, one that comes twice and
//! a value that is none are refused, because a misspelt `?dry-run=true` must not deploy.
//!
//! Called by `app` with what the route takes ([`super::router::Action::params`]).

use std::fmt;
use std::time::Duration;

use tucano_common::limits::{LOG_TAIL_LINES_MAX, WAIT_DEFAULT, WAIT_MAX};
use tucano_common::spec::suggest;
use tucano_common::units::{format_duration, parse_duration};
use tucano_net::url::percent_decode;

use crate::msgs::Block;

/// A parameter that some route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// `index=N`: wait for news past N.
    Index,
    /// `wait=30s`: how long, for news or for a deployment's end.
    Wait,
    /// `after=N`: events past N.
    After,
    /// `follow=true`: go on as more comes.
    Follow,
    /// `tail=100`: the last so many lines.
    Tail,
    /// `since=1h`: from so long ago on.
    Since,
    /// `dry_run=true`: only say what would happen.
    DryRun,
    /// `format=prometheus`.
    Format,
    /// `session=N`: an agent's.
    Session,
    /// `deadline=5m`: of a worker's drain.
    Deadline,
}

impl Param {
    /// As it stands in the query.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Param::Index => "index",
            Param::Wait => "wait",
            Param::After => "after",
            Param::Follow => "follow",
            Param::Tail => "tail",
            Param::Since => "since",
            Param::DryRun => "dry_run",
            Param::Format => "format",
            Param::Session => "session",
            Param::Deadline => "deadline",
        }
    }
}

/// How `GET /v1/discovery` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Our own JSON.
    #[default]
    Tucano,
    /// Prometheus' `http_sd`.
    Prometheus,
}

/// The values of a query; what was not there is none or false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) index: Option<u64>,
    pub(crate) wait: Option<Duration>,
    pub(crate) after: Option<u64>,
    pub(crate) follow: bool,
    pub(crate) tail: Option<usize>,
    pub(crate) since: Option<Duration>,
    pub(crate) dry_run: bool,
    pub(crate) format: Format,
    pub(crate) session: Option<u64>,
    pub(crate) deadline: Option<Duration>,
}

impl Params {
    /// What a blocking query waits for; `wait` alone means nothing without an index.
    pub(crate) fn block(&self) -> Option<Block> {
        let wait = self.wait.unwrap_or(WAIT_DEFAULT);
        self.index.map(|index| Block { index, wait })
    }
}

/// Why a query is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueryError {
    /// Not a parameter of this route.
    Unknown {
        /// As it was sent.
        name: String,
        /// What the route takes.
        known: Vec<&'static str>,
    },
    /// The same parameter again.
    Twice(&'static str),
    /// A value that is none.
    Value {
        /// Of which parameter.
        name: &'static str,
        /// What would be right.
        expected: String,
    },
    /// An escape that is none.
    Encoding,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::Unknown { name, known } => {
                write!(f, "{name:?} is no parameter of this route")?;
                match (suggest::nearest(name, known.iter().copied()), known.is_empty()) {
                    (Some(meant), _) => write!(f, "; did you mean {meant:?}?"),
                    (None, true) => f.write_str("; it takes none"),
                    (None, false) => write!(f, "; it takes {}", known.join(", ")),
                }
            }
            QueryError::Twice(name) => write!(f, "{name:?} is there twice; give it once"),
            QueryError::Value { name, expected } => write!(f, "{name:?} must be {expected}"),
            QueryError::Encoding => {
                f.write_str("the query has a % that is no escape; write % itself as %25")
            }
        }
    }
}

/// Reads what stood after `?`.
pub(crate) fn parse(query: Option<&str>, known: &[Param]) -> Result<Params, QueryError> {
    let mut params = Params::default();
    let mut seen: Vec<Param> = Vec::new();
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        let Some(param) = known.iter().copied().find(|param| param.name() == name) else {
            let known = known.iter().map(|param| param.name()).collect();
            return Err(QueryError::Unknown { name, known });
        };
        if seen.contains(&param) {
            return Err(QueryError::Twice(param.name()));
        }
        seen.push(param);
        set(&mut params, param, &value)?;
    }
    Ok(params)
}

fn set(params: &mut Params, param: Param, value: &str) -> Result<(), QueryError> {
    let wrong =
        |expected: &str| QueryError::Value { name: param.name(), expected: expected.to_owned() };
    let count = || digits(value).ok_or_else(|| wrong("a number"));
    let flag = || switch(value).ok_or_else(|| wrong("true or false"));
    let duration =
        || parse_duration(value).map_err(|_| wrong("a duration, such as 500ms, 30s or 10m"));
    match param {
        Param::Index => params.index = Some(count()?),
        Param::After => params.after = Some(count()?),
        Param::Session => params.session = Some(count()?),
        Param::Follow => params.follow = flag()?,
        Param::DryRun => params.dry_run = flag()?,
        Param::Since => params.since = Some(duration()?),
        Param::Deadline => params.deadline = Some(duration()?),
        Param::Wait => {
            params.wait = Some(duration()?);
            if params.wait > Some(WAIT_MAX) {
                let longest = format_duration(WAIT_MAX);
                return Err(wrong(&format!("{longest} at most; ask again after that")));
            }
        }
        Param::Tail => {
            let lines = count()?;
            let fits = usize::try_from(lines).ok().filter(|lines| *lines <= LOG_TAIL_LINES_MAX);
            let most = format!("a number of lines, {LOG_TAIL_LINES_MAX} at most");
            params.tail = Some(fits.ok_or_else(|| wrong(&most))?);
        }
        Param::Format => {
            params.format = match value {
                "tucano" => Format::Tucano,
                "prometheus" => Format::Prometheus,
                _ => return Err(wrong("tucano or prometheus")),
            }
        }
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, QueryError> {
    percent_decode(&text.replace('+', " ")).ok_or(QueryError::Encoding)
}

/// Digits only: Rust's own parser would take a sign.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A switch that stands alone (`?follow`) is on.
fn switch(text: &str) -> Option<bool> {
    match text {
        "" | "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: &[Param] = &[
        Param::Index,
        Param::Wait,
        Param::After,
        Param::Follow,
        Param::Tail,
        Param::Since,
        Param::DryRun,
        Param::Format,
        Param::Session,
        Param::Deadline,
    ];

    #[test]
    fn every_parameter_is_read() {
        let query = "index=7&wait=30s&after=3&follow=true&tail=100&since=1h&dry_run=1\
                     &format=prometheus&session=18446744073709551615&deadline=5m";
        let params = Params {
            index: Some(7),
            wait: Some(Duration::from_secs(30)),
            after: Some(3),
            follow: true,
            tail: Some(100),
            since: Some(Duration::from_secs(3600)),
            dry_run: true,
            format: Format::Prometheus,
            session: Some(u64::MAX),
            deadline: Some(Duration::from_secs(300)),
        };
        assert_eq!(parse(Some(query), EVERY), Ok(params));
        assert_eq!(parse(None, EVERY), Ok(Params::default()));
        assert_eq!(parse(Some(""), &[]), Ok(Params::default()));
    }

    #[test]
    fn a_switch_may_stand_alone() {
        for (query, on) in [
            ("follow", true),
            ("follow=", true),
            ("follow=true", true),
            ("follow=1", true),
            ("follow=false", false),
            ("follow=0", false),
            ("%66ollow=%31", true),
        ] {
            assert_eq!(parse(Some(query), EVERY).map(|params| params.follow), Ok(on), "{query}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        for (query, words) in [
            (
                "dry-run=true",
                "\"dry-run\" is no parameter of this route; did you mean \"dry_run\"?",
            ),
            ("waits=1s", "\"waits\" is no parameter of this route; did you mean \"wait\"?"),
            ("zebra", "\"zebra\" is no parameter of this route; it takes index, wait, after,"),
            ("index=1&index=1", "\"index\" is there twice"),
            ("index=+1", "\"index\" must be a number"),
            ("index=-1", "\"index\" must be a number"),
            ("index=", "\"index\" must be a number"),
            ("index=18446744073709551616", "\"index\" must be a number"),
            ("wait=5", "\"wait\" must be a duration"),
            ("wait=11m", "\"wait\" must be 10m at most"),
            ("follow=yes", "\"follow\" must be true or false"),
            ("tail=1000000000", "\"tail\" must be a number of lines, "),
            ("format=xml", "\"format\" must be tucano or prometheus"),
            ("index=%zz", "the query has a % that is no escape"),
            ("%", "the query has a % that is no escape"),
        ] {
            let error = parse(Some(query), EVERY).expect_err(query).to_string();
            assert!(error.starts_with(words), "{query}: {error}");
        }
        let error = parse(Some("x=1"), &[]).expect_err("unknown").to_string();
        assert!(error.ends_with("it takes none"), "{error}");
    }

    #[test]
    fn a_wait_alone_blocks_nothing() {
        let block = |query| parse(Some(query), EVERY).expect("a query").block();
        assert_eq!(block("wait=5s"), None);
        assert_eq!(block("index=5"), Some(Block { index: 5, wait: WAIT_DEFAULT }));
        let five_seconds = Duration::from_secs(5);
        assert_eq!(block("index=5&wait=5s"), Some(Block { index: 5, wait: five_seconds }));
    }
}
