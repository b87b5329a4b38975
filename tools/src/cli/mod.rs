//! `tucano`, the command-line client: a table of commands over the API, output for people (aligned,
//! escaped) or, with `--json`, the API's own.
//!
//! It holds no state and decides nothing: whatever it can do, curl can. Exit codes are honest:
//! a deployment that was waited for and failed is 1, however politely it was reported.

mod deploy;
mod explain;
mod show;
mod snapshot;
mod stream;
mod worker;

use std::env;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use tucano_net::Answer;
use tucano_net::config::{FlagError, Flags, parse, read_token};
use tucano_net::error_chain::Chain;
use tucano_net::url::HttpUrl;

use crate::api::{Api, ApiError};

/// One command.
struct Command {
    name: &'static str,
    /// Its arguments, as `--help` shows them.
    arguments: &'static str,
    help: &'static str,
    run: fn(&Session, Flags) -> Result<(), CliError>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "deploy",
        arguments: "FILE [--wait] [--timeout DUR] [--artifact TGZ] [--dry-run]",
        help: "deploy the spec in FILE (- is standard input); --wait shows it happen and fails \
               if it does; --artifact uploads a .tar.gz first and makes it the source",
        run: deploy::deploy,
    },
    Command {
        name: "status",
        arguments: "",
        help: "the cluster in a few lines",
        run: show::status,
    },
    Command { name: "services", arguments: "", help: "all services", run: show::services },
    Command {
        name: "service",
        arguments: "NAME",
        help: "one service and its instances",
        run: show::service,
    },
    Command {
        name: "instances",
        arguments: "[--service NAME]",
        help: "all instances, or a service's",
        run: show::instances,
    },
    Command {
        name: "instance",
        arguments: "ID",
        help: "one instance, and why it is where it is",
        run: show::instance,
    },
    Command {
        name: "deployments",
        arguments: "",
        help: "what was deployed, the newest last",
        run: show::deployments,
    },
    Command {
        name: "deployment",
        arguments: "ID",
        help: "one deployment, and why it ended so",
        run: show::deployment,
    },
    Command {
        name: "revisions",
        arguments: "NAME",
        help: "a service's revisions",
        run: show::revisions,
    },
    Command {
        name: "why",
        arguments: "NAME",
        help: "why a service's instances are where they are, and where one more would go: every \
               worker's verdict and what would change it",
        run: explain::why,
    },
    Command {
        name: "logs",
        arguments: "NAME|ID [-f] [--tail N]",
        help: "the output of a service's instances, or of one; -f goes on as more comes",
        run: stream::logs,
    },
    Command {
        name: "events",
        arguments: "[-f] [--after SEQ] [--service NAME]",
        help: "what happened (the last 50 without --after); -f goes on",
        run: stream::events,
    },
    Command {
        name: "scale",
        arguments: "NAME COUNT [--wait] [--timeout DUR]",
        help: "run so many instances",
        run: deploy::scale,
    },
    Command {
        name: "restart",
        arguments: "NAME [--wait] [--timeout DUR]",
        help: "start every instance anew, one after the other",
        run: deploy::restart,
    },
    Command {
        name: "rollback",
        arguments: "NAME [--revision N] [--wait] [--timeout DUR]",
        help: "back to a revision; without one, to the last that was healthy",
        run: deploy::rollback,
    },
    Command {
        name: "pause",
        arguments: "NAME|ID",
        help: "hold a deployment (a service's, or by its id) where it is; its times stand still",
        run: deploy::pause,
    },
    Command {
        name: "resume",
        arguments: "NAME|ID",
        help: "let a paused deployment go on",
        run: deploy::resume,
    },
    Command {
        name: "rm",
        arguments: "NAME [--wait] [--timeout DUR]",
        help: "end a service: drain, stop, teardown",
        run: deploy::remove,
    },
    Command { name: "workers", arguments: "", help: "all workers", run: worker::workers },
    Command { name: "worker", arguments: "NAME", help: "one worker", run: worker::worker },
    Command {
        name: "drain",
        arguments: "NAME",
        help: "move a worker's instances to the others, and give it no more",
        run: worker::drain,
    },
    Command {
        name: "activate",
        arguments: "NAME",
        help: "take a drained worker back",
        run: worker::activate,
    },
    Command {
        name: "forget",
        arguments: "NAME",
        help: "forget a worker that is dead or empty",
        run: worker::forget,
    },
    Command {
        name: "snapshot",
        arguments: "FILE",
        help: "a copy of the controller's database as of now, into FILE",
        run: snapshot::snapshot,
    },
    Command {
        name: "simulate",
        arguments: "WORKER...",
        help: "what would happen if these workers were lost: who would go where, and what would \
               not fit; changes nothing",
        run: explain::simulate,
    },
    Command {
        name: "artifact",
        arguments: "TGZ",
        help: "upload a .tar.gz; prints what a spec names as its source",
        run: deploy::artifact,
    },
];

const FLAGS_HELP: &str = "\
  --controller URL     where the controller is [http://127.0.0.1:7070]  (TUCANO_CONTROLLER)
  --token-file FILE    the admin token, where the controller wants one  (TUCANO_ADMIN_TOKEN_FILE)
  --json               print what the API answers, for programs
  --help, --version

Exit codes: 0 done; 1 it failed, or the controller refused it; 2 the command line is wrong;
3 the controller could not be reached.
";

/// Why a command failed; each has its exit code.
#[derive(Debug)]
enum CliError {
    /// The command line.
    Flag(FlagError),
    /// The command line, in words.
    Usage(String),
    /// A file.
    File(String, io::Error),
    /// The API.
    Api(ApiError),
    /// What was asked for did not come about.
    Failed(String),
    /// Nobody reads the output any more.
    Output(io::Error),
}

impl From<FlagError> for CliError {
    fn from(error: FlagError) -> CliError {
        CliError::Flag(error)
    }
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> CliError {
        CliError::Api(error)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Flag(error) => write!(f, "{error}"),
            CliError::Usage(text) | CliError::Failed(text) => f.write_str(text),
            CliError::File(path, error) => write!(f, "{path}: {error}"),
            CliError::Api(error) => write!(f, "{}", Chain(error)),
            CliError::Output(_) => f.write_str("the output could not be written"),
        }
    }
}

impl Error for CliError {}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            CliError::Flag(_) | CliError::Usage(_) | CliError::File(..) => 2,
            CliError::Api(ApiError::Reach(..)) => 3,
            CliError::Api(_) | CliError::Failed(_) => 1,
            // `tucano events | head`: the reader has what it wanted.
            CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            CliError::Output(_) => 1,
        }
    }
}

/// What every command needs.
struct Session {
    api: Api,
    json: bool,
}

impl Session {
    /// Prints an answer as the API gave it.
    fn print_json(answer: &Answer) -> Result<(), CliError> {
        let mut text = answer.text().into_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        print(&text)
    }
}

/// Prints to standard output, at once.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Output)
}

/// Runs this process's command line.
pub fn main() -> ExitCode {
    let outcome = run(Flags::of_process(), env::var("TUCANO_ADMIN_TOKEN_FILE").ok());
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if error.code() != 0 {
        let _ = io::stderr().write_all(format!("tucano: {error}\n").as_bytes());
    }
    ExitCode::from(error.code())
}

fn run(mut flags: Flags, token_file: Option<String>) -> Result<(), CliError> {
    if flags.has("--version") {
        return print(&format!("tucano {}\n", env!("CARGO_PKG_VERSION")));
    }
    let wants_help = flags.has("--help") || flags.has("-h");
    let local = "http://127.0.0.1:7070".parse::<HttpUrl>();
    let local = local.map_err(|error| CliError::Usage(error.to_string()))?;
    let url = flags.value_or("--controller", local, parse::own::<HttpUrl>)?;
    let path = flags.value("--token-file", parse::text)?.or(token_file);
    let json = flags.has("--json");
    let name = flags.subcommand()?;
    let Some(name) = name.filter(|name| name != "help" && !wants_help) else {
        return print(&help());
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let name = crate::text::escape(&name);
        return Err(CliError::Usage(format!("no command {name}; see tucano --help")));
    };
    let token = path.map(|path| read_token("--token-file", Path::new(&path))).transpose()?;
    let session = Session { api: Api::new(url, token), json };
    (command.run)(&session, flags)
}

fn help() -> String {
    let mut text =
        "tucano: the command-line client\n\nUsage: tucano COMMAND [FLAGS]\n\n".to_owned();
    for command in COMMANDS {
        let usage = format!("{} {}", command.name, command.arguments);
        text.push_str(&format!("  {}\n{}", usage.trim_end(), wrapped(command.help)));
    }
    text.push('\n');
    text.push_str(FLAGS_HELP);
    text
}

/// A paragraph, set in.
fn wrapped(paragraph: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        if line.len() + word.len() > 80 {
            text.push_str(&format!("      {}\n", line.trim_end()));
            line.clear();
        }
        line.push_str(word);
        line.push(' ');
    }
    text.push_str(&format!("      {}\n", line.trim_end()));
    text
}

/// The arguments that a command takes: exactly these many.
fn arguments<const N: usize>(flags: Flags, names: [&str; N]) -> Result<[String; N], CliError> {
    let rest = flags.rest()?;
    let count = rest.len();
    <[String; N]>::try_from(rest).map_err(|_| {
        let wanted = if N == 0 { "no argument".to_owned() } else { names.join(" ") };
        CliError::Usage(format!("it takes {wanted}, and got {count} arguments; see tucano --help"))
    })
}

/// The same where it takes one.
fn argument(flags: Flags, name: &str) -> Result<String, CliError> {
    let [argument] = arguments(flags, [name])?;
    Ok(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> CliError {
        let args = line.split_whitespace().map(Into::into).collect();
        run(Flags::new(args, |_| None), None).expect_err("nothing to reach")
    }

    #[test]
    fn exit_codes_are_honest() {
        for (line, code) in [
            ("frobnicate", 2),
            ("services --frobnicate", 2),
            ("services extra", 2),
            ("service", 2),
            ("scale web", 2),
            ("scale web many", 2),
            ("deploy", 2),
            ("deploy /nonexistent/spec.json", 2),
            ("status --controller nonsense", 2),
            ("status --token-file /nonexistent/token", 2),
            ("status --controller http://127.0.0.1:1", 3),
        ] {
            let error = outcome(line);
            assert_eq!(error.code(), code, "{line}: {error}");
            assert!(!error.to_string().contains('\n'), "{line}: {error}");
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        let help = help();
        for command in COMMANDS {
            assert!(
                help.contains(&format!("\n  {} ", command.name)) || command.arguments.is_empty()
            );
            assert!(!command.help.is_empty());
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
