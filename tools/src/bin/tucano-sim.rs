//! `tucano-sim`: histories of a whole cluster under faults, seed by seed; see
//! `tucano_tools::sim`. Here are the flags.

#![deny(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use tucano_net::config::{FlagError, Flags, parse};
use tucano_tools::sim;

const HELP: &str = "\
tucano-sim: runs a whole cluster in one process, with faults, and checks it at every step
  --seeds N    so many histories (default 256)
  --from S     the first of their seeds (default 0)
  --seed X     this one history
  --trace      print what happens in it
  --first      end with the first history that is not well
  --jobs N     at the same time (default: the machine's cores)
  --help
Exit code: 0 every history was well, 1 some were not (each is named with its seed), 2 wrong flags.
";

fn main() -> ExitCode {
    let mut flags = Flags::of_process();
    if flags.has("--help") {
        say(HELP);
        return ExitCode::SUCCESS;
    }
    match settings(flags) {
        Err(error) => {
            say(&format!("{error}\n"));
            ExitCode::from(2)
        }
        Ok(Settings { one: Some(seed), trace, .. }) => one(seed, trace),
        Ok(settings) => many(&settings),
    }
}

struct Settings {
    one: Option<u64>,
    trace: bool,
    first: bool,
    from: u64,
    seeds: u64,
    jobs: usize,
}

fn settings(mut flags: Flags) -> Result<Settings, FlagError> {
    let settings = Settings {
        one: flags.value("--seed", parse::own::<u64>)?,
        trace: flags.has("--trace"),
        first: flags.has("--first"),
        from: flags.value("--from", parse::own::<u64>)?.unwrap_or(0),
        seeds: flags.value("--seeds", parse::own::<u64>)?.unwrap_or(256),
        jobs: flags.value("--jobs", parse::own::<usize>)?.unwrap_or_else(cores),
    };
    flags.finish()?;
    Ok(settings)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn one(seed: u64, trace: bool) -> ExitCode {
    let mut tell = |line: &str| say(&format!("{line}\n"));
    let result = if trace { sim::run_traced(seed, &mut tell) } else { sim::run(seed) };
    match result {
        Ok(summary) => {
            say(&format!("{summary:?}\n"));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&format!("{failure}\n"));
            ExitCode::FAILURE
        }
    }
}

fn many(settings: &Settings) -> ExitCode {
    let next = AtomicU64::new(settings.from);
    let end = settings.from + settings.seeds;
    let (failed, steps, seconds) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let enough = settings.first && failed.load(Ordering::Relaxed) > 0;
                    if seed >= end || enough {
                        return;
                    }
                    match sim::run(seed) {
                        Ok(summary) => {
                            steps.fetch_add(summary.steps, Ordering::Relaxed);
                            seconds.fetch_add(summary.seconds, Ordering::Relaxed);
                        }
                        Err(failure) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            say(&format!("{failure}\n"));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    say(&format!(
        "{} histories, {failed} failed; {} steps, {} simulated seconds\n",
        settings.seeds,
        steps.into_inner(),
        seconds.into_inner(),
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// To standard output; a reader that is gone is no fault.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
