//! `tucano`: the command-line client. Everything is in `tucano_tools::cli`.

#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    tucano_tools::cli::main()
}
