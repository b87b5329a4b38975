//! The controller's binary: arguments, then configuration, then the threads of `wiring.rs`, then
//! the exit code.
#![deny(unsafe_code)]

mod balancer;
mod config;
mod deployer;
mod discovery;
mod given;
mod http;
mod keeper;
mod msgs;
mod outbox;
mod views;
mod wiring;
mod worker_mgr;

use std::io::Write;
use std::path::Path;
use std::process::{ExitCode, exit};

use nix::sys::signal::SigSet;
use tucano_net::clock::Clock;
use tucano_net::config::Flags;
use tucano_net::error_chain::Chain;
use tucano_net::logger;
use tucano_net::signals::{Signal, Signals};
use tucano_net::threads::{self, Stack};

use balancer::AccessLog;
use config::{Config, Wanted};
use discovery::DataDir;
use wiring::Sockets;

/// A flag is wrong.
const USAGE: u8 = 2;
/// What the flags name can't be used.
const UNUSABLE: u8 = 1;

const SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

fn main() -> ExitCode {
    let config = match Config::read(Flags::of_process()) {
        Ok(Wanted::Run(config)) => *config,
        Ok(Wanted::Text(text)) => {
            // A reader that went away has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(USAGE, &error),
    };
    // Before any thread is there, and before anything else is opened.
    let given = match given::take() {
        Ok(given) => given,
        Err(error) => return refuse(USAGE, &error),
    };
    logger::init(config.log_level, config.log_format);
    threads::end_process_on_panic();
    let tokens = match config.read_tokens() {
        Ok(tokens) => tokens,
        Err(error) => return refuse(USAGE, &error),
    };
    if let Some(file) = &config.restore {
        return restore(&config, file);
    }
    let sockets = match Sockets::sort(given, config.api_listen) {
        Ok(sockets) => sockets,
        Err(error) => return refuse(USAGE, &error),
    };
    if let Some(address) = sockets.api_address()
        && let Err(error) = config.guard_api(address)
    {
        return refuse(USAGE, &error);
    }
    // Before any thread is there: they inherit the mask, and only this one waits for signals.
    let signals = match Signals::block(&SIGNALS) {
        Ok(signals) => signals,
        Err(error) => return refuse(UNUSABLE, &error),
    };
    drop(signals);
    match wiring::start(&config, tokens, sockets) {
        Ok(running) => wait_for_the_end(running),
        Err(error) => refuse(UNUSABLE, &Chain(&error)),
    }
}

/// `--restore FILE`: says what was done, and ends.
fn restore(config: &Config, file: &Path) -> ExitCode {
    let dir = match DataDir::open(&config.data_dir) {
        Ok(dir) => dir,
        Err(error) => return refuse(UNUSABLE, &Chain(&error)),
    };
    let restored = match discovery::restore(&dir, file, Clock::wall()) {
        Ok(restored) => restored,
        Err(error) => return refuse(UNUSABLE, &Chain(&error)),
    };
    let mut text = format!(
        "restored {} into {}: cluster {}, with the events up to {}\n",
        file.display(),
        dir.path().display(),
        restored.cluster,
        restored.last_event
    );
    if let Some(aside) = restored.aside {
        text.push_str(&format!("the database of before is {}\n", aside.display()));
    }
    for digest in restored.missing_artifacts {
        text.push_str(&format!("artifact {digest} is not there: upload it again\n"));
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// One line, without the log's time in front: it is for whoever typed the command.
fn refuse(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let line = format!("tucano-controller: {error}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    ExitCode::from(code)
}

/// The first signal ends everything in order, a second one at once.
fn wait_for_the_end(running: wiring::Running) -> ExitCode {
    let access_log = running.access_log();
    let name = next_signal(access_log.as_ref());
    log::info!("{name}: stopping; requests in flight are finished, a second signal ends at once");
    let finish = move || {
        running.stop();
        log::info!("stopped");
        exit(0);
    };
    if let Err(error) = threads::spawn("stop", Stack::Helper, finish) {
        return refuse(UNUSABLE, &error);
    }
    let name = next_signal(access_log.as_ref());
    log::warn!("{name} again: ending at once");
    ExitCode::from(UNUSABLE)
}

/// SIGHUP: the access log was renamed. It is also what a terminal that closes sends, and what some
/// scripts mean by "reload": it ends no controller.
fn next_signal(access_log: Option<&AccessLog>) -> Signal {
    let waited: SigSet = SIGNALS.into_iter().collect();
    loop {
        match waited.wait() {
            Ok(Signal::SIGHUP) => match access_log {
                Some(log) => log.reopen(),
                None => log::info!("SIGHUP: there is no access log to reopen"),
            },
            Ok(signal) => return signal,
            Err(error) => log::warn!("waiting for signals: {error}"),
        }
    }
}
