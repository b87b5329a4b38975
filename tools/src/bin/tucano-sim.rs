//! `tucano-sim`: histories of a whole cluster under faults, seed by seed (`tucano_tools::sim`);
//! fake workers for a real controller (`agents`), and what such a controller costs (`bench`,
//! `planner`). Here are the flags.

#![deny(unsafe_code)]

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tucano_net::config::{FlagError, Flags, parse};
use tucano_tools::agents::{self, Counts, Fleet};
use tucano_tools::control_bench::{self, BenchError, Options, Report};
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
tucano-sim agents: fake workers for a real controller, until it is ended
  --controller ADDR    (default 127.0.0.1:7070)
  --workers N          (default 1000)
  --first IP           the first one's address; each has one of its own (default 127.100.0.1)
  --heartbeat DUR      (default 1s)
tucano-sim bench: what a real controller costs with them, and the planner alone
  --controller PATH    its binary (default: the one beside this)
  --workers N          (default 1000)
  --services N         (default 200)
  --each N             instances of each service (default 100)
  --clients N          deploys on their way at the same time (default 32)
  --watch DUR          how long heartbeats are measured (default 20s)
tucano-sim planner: the planner alone, on 10, 100, 1000 and 5000 workers
Exit code: 0 all is well, 1 it is not (a history is named with its seed), 2 wrong flags.
";

fn main() -> ExitCode {
    let mut flags = Flags::of_process();
    if flags.has("--help") {
        say(HELP);
        return ExitCode::SUCCESS;
    }
    run(flags).unwrap_or_else(|error| {
        say(&format!("{error}\n"));
        ExitCode::from(2)
    })
}

fn run(mut flags: Flags) -> Result<ExitCode, FlagError> {
    match flags.subcommand()?.as_deref() {
        None => histories(flags),
        Some("agents") => fake_workers(flags),
        Some("bench") => bench(flags),
        Some("planner") => {
            flags.finish()?;
            Ok(shown(Ok(control_bench::planner(&[10, 100, 1000, 5000]))))
        }
        Some(other) => Err(FlagError::Stray(other.to_owned())),
    }
}

fn fake_workers(mut flags: Flags) -> Result<ExitCode, FlagError> {
    let controller = flags.value("--controller", parse::addr)?;
    let plan = agents::Plan {
        controller: controller.unwrap_or_else(|| ([127, 0, 0, 1], 7070).into()),
        workers: flags.value("--workers", parse::own::<usize>)?.unwrap_or(1000),
        first: flags
            .value("--first", parse::own::<Ipv4Addr>)?
            .unwrap_or(Ipv4Addr::new(127, 100, 0, 1)),
        port: 7071,
        heartbeat: flags
            .value("--heartbeat", parse::duration_above_zero)?
            .unwrap_or(Duration::from_secs(1)),
        start: Duration::from_millis(500),
    };
    flags.finish()?;
    let counts = Arc::new(Counts::default());
    let told = Arc::clone(&counts);
    let teller = std::thread::Builder::new().name("teller".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(5));
            let longest = told.take_longest().as_secs_f64() * 1000.0;
            say(&format!("{told}, the longest wait of a heartbeat {longest:.1} ms\n"));
        }
    });
    let run = || agents::raise_descriptor_limit().and_then(|()| Fleet::new(plan, counts)?.run());
    let Err(error) = teller.and_then(|_| run()) else { return Ok(ExitCode::SUCCESS) };
    say(&format!("{error}\n"));
    Ok(ExitCode::FAILURE)
}

fn bench(mut flags: Flags) -> Result<ExitCode, FlagError> {
    let beside = std::env::current_exe().unwrap_or_default().with_file_name("tucano-controller");
    let binary: PathBuf = flags.value("--controller", parse::path)?.unwrap_or(beside);
    let mut number = |name| flags.value(name, parse::own::<usize>);
    let options = Options {
        workers: number("--workers")?.unwrap_or(1000),
        services: number("--services")?.unwrap_or(200),
        each: number("--each")?.unwrap_or(100),
        clients: number("--clients")?.unwrap_or(32),
        watch: flags.value("--watch", parse::duration)?.unwrap_or(Duration::from_secs(20)),
    };
    flags.finish()?;
    Ok(shown(control_bench::run(binary, &options)))
}

fn shown(report: Result<Report, BenchError>) -> ExitCode {
    match report {
        Ok(Report { text, missed }) => {
            say(&text);
            if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            say(&format!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn histories(flags: Flags) -> Result<ExitCode, FlagError> {
    let settings = settings(flags)?;
    Ok(match settings.one {
        Some(seed) => one(seed, settings.trace),
        None => many(&settings),
    })
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
