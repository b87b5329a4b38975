//! The lines of a script, each as a step: the words and what may follow them. It knows nothing of
//! what they do; `run` does them.

use std::time::Duration;

use tucano_common::units::parse_duration;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A machine joins.
    Worker {
        name: String,
        options: Vec<(String, String)>,
    },
    /// What is measured of it from now on.
    Load {
        name: String,
        options: Vec<(String, String)>,
    },
    /// A service, or a new revision of one.
    Deploy {
        name: String,
        count: u32,
        options: Vec<(String, String)>,
    },
    Scale {
        name: String,
        count: u32,
    },
    Restart {
        name: String,
    },
    Rollback {
        name: String,
    },
    Delete {
        name: String,
    },
    Pause {
        name: String,
    },
    Resume {
        name: String,
    },
    /// The power goes: nothing runs there any more.
    Lose {
        name: String,
    },
    /// The network goes: what runs there runs on.
    Cut {
        name: String,
    },
    /// Either comes back.
    Return {
        name: String,
    },
    Drain {
        name: String,
    },
    Activate {
        name: String,
    },
    /// The processes of a service on a worker die.
    Kill {
        service: String,
        worker: String,
    },
    Wait {
        time: Duration,
    },
    /// Until nothing moves.
    Settle,
    Always {
        name: String,
        rule: Rule,
    },
    Expect {
        what: Expected,
        lines: Vec<String>,
    },
}

/// What must hold from then on, at every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// So many healthy ones at least.
    HealthyAtLeast(usize),
    /// So many that stay at most.
    InstancesAtMost(usize),
}

/// What is compared with the lines below.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    /// Where everything is.
    Plan,
    /// The verdicts for one more instance of a service.
    Why { service: String },
    /// Who would move where.
    Losing { worker: String },
    /// What became of a service's last deployment.
    Deployment { service: String },
    /// How many events of a kind there were.
    Events { kind: String, count: usize },
}

/// A step and the number of its line.
pub(crate) type Line = (usize, Step);

/// Reads a script; the error names the line.
pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<Line>, String> {
    let mut steps: Vec<Line> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let fail = |what: String| Err(format!("{name}:{number}: {what}"));
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            let Some((_, Step::Expect { lines, .. })) = steps.last_mut() else {
                return fail("an indented line belongs under an `expect`".to_owned());
            };
            lines.push(line.trim().to_owned());
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match step(&words) {
            Ok(step) => steps.push((number, step)),
            Err(what) => return fail(what),
        }
    }
    let says = |(_, step): &Line| matches!(step, Step::Expect { .. });
    if steps.iter().any(says) {
        Ok(steps)
    } else {
        Err(format!("{name}: says nothing: give it an `expect`"))
    }
}

fn step(words: &[&str]) -> Result<Step, String> {
    let own = |text: &&str| (*text).to_owned();
    Ok(match words {
        ["worker", name, rest @ ..] => Step::Worker { name: own(name), options: options(rest)? },
        ["load", name, rest @ ..] => Step::Load { name: own(name), options: options(rest)? },
        ["deploy", name, count, rest @ ..] => {
            Step::Deploy { name: own(name), count: number(count)?, options: options(rest)? }
        }
        ["scale", name, count] => Step::Scale { name: own(name), count: number(count)? },
        ["restart", name] => Step::Restart { name: own(name) },
        ["rollback", name] => Step::Rollback { name: own(name) },
        ["delete", name] => Step::Delete { name: own(name) },
        ["pause", name] => Step::Pause { name: own(name) },
        ["resume", name] => Step::Resume { name: own(name) },
        ["lose", name] => Step::Lose { name: own(name) },
        ["cut", name] => Step::Cut { name: own(name) },
        ["return", name] => Step::Return { name: own(name) },
        ["drain", name] => Step::Drain { name: own(name) },
        ["activate", name] => Step::Activate { name: own(name) },
        ["kill", service, "on", worker] => {
            Step::Kill { service: own(service), worker: own(worker) }
        }
        ["wait", time] => Step::Wait {
            time: parse_duration(time).map_err(|_| format!("`{time}` is no time: 30s, 2m"))?,
        },
        ["settle"] => Step::Settle,
        ["always", name, "healthy", ">=", count] => {
            Step::Always { name: own(name), rule: Rule::HealthyAtLeast(number(count)?) }
        }
        ["always", name, "instances", "<=", count] => {
            Step::Always { name: own(name), rule: Rule::InstancesAtMost(number(count)?) }
        }
        ["expect", rest @ ..] => Step::Expect { what: expected(rest)?, lines: Vec::new() },
        [word, ..] => return Err(format!("`{word}` is no word here; see tests/plans/README.md")),
        [] => return Err("nothing".to_owned()),
    })
}

fn expected(words: &[&str]) -> Result<Expected, String> {
    let own = |text: &&str| (*text).to_owned();
    Ok(match words {
        [] => Expected::Plan,
        ["why", service] => Expected::Why { service: own(service) },
        ["losing", worker] => Expected::Losing { worker: own(worker) },
        ["deployment", service] => Expected::Deployment { service: own(service) },
        ["events", kind, count] => Expected::Events { kind: own(kind), count: number(count)? },
        [word, ..] => return Err(format!("nothing of `{word}` can be expected")),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn options(words: &[&str]) -> Result<Vec<(String, String)>, String> {
    let pair = |word: &&str| match word.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(format!("`{word}`: expected NAME=VALUE")),
    };
    words.iter().map(pair).collect()
}
