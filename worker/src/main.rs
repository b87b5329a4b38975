//! The worker's binary: the agent, and the small programs that it starts beside itself.
//!
//! Those come first and cost nothing of the rest: `hold` stays beside a service and
//! starts its script, `place-source` fills a revision's folder.
#![deny(unsafe_code)]

mod agent;
mod config;
mod data_folder;
mod monitor;
mod runner;
mod wiring;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use tucano_net::config::Flags;
use tucano_net::error_chain::Chain;
use tucano_net::text::Escaped;
use tucano_net::{logger, threads};

use config::{Config, Wanted};
use runner::{artifact_child, hold};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if let Some(first) = args.next()
        && let Some(program) = first.to_str().and_then(inner_program)
    {
        return program(&args.collect::<Vec<OsString>>());
    }
    agent()
}

/// The programs that only the agent starts.
fn inner_program(name: &str) -> Option<fn(&[OsString]) -> ExitCode> {
    match name {
        hold::SUBCOMMAND => Some(hold::main),
        artifact_child::SUBCOMMAND => Some(artifact_child::main),
        _ => None,
    }
}

fn agent() -> ExitCode {
    let config = match Config::read(Flags::of_process(), &wiring::host_name()) {
        Ok(Wanted::Text(text)) => {
            let printed = std::io::stdout().lock().write_all(text.as_bytes());
            return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Ok(Wanted::Run(config)) => *config,
        Err(error) => return refuse(&error.to_string(), 2),
    };
    logger::init(config.log_level, config.log_format);
    threads::end_process_on_panic();
    match wiring::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&Chain(&error).to_string(), error.exit_code()),
    }
}

/// One line, and why in the exit code.
fn refuse(reason: &str, code: u8) -> ExitCode {
    let line = format!("tucano-worker: {}\n", Escaped(reason));
    let _nobody_can_be_told = std::io::stderr().lock().write_all(line.as_bytes());
    ExitCode::from(code)
}
