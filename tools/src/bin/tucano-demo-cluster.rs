//! What `make demo` runs; see `tucano_tools::demo`.

#![deny(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use tucano_net::config::Flags;

const HELP: &str = "\
tucano-demo-cluster: a controller, three workers and a service on this machine, until Ctrl-C
  --once       end by itself after the show
  --help
";

fn main() -> ExitCode {
    let mut flags = Flags::of_process();
    if flags.has("--help") {
        let written = io::stdout().write_all(HELP.as_bytes());
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let once = flags.has("--once");
    let (code, text) = match flags.finish() {
        Err(error) => (2, error.to_string()),
        Ok(()) => match tucano_tools::demo::run(once) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (1, error.to_string()),
        },
    };
    let _ = io::stderr().write_all(format!("demo: {text}\n").as_bytes());
    ExitCode::from(code)
}
