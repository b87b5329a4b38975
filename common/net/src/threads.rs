//! Named threads with small stacks, and the end of the process where one panics.
//!
//! A thread of ours never ends early on purpose; one that panics would leave the others talking to
//! nobody. So the whole process ends, and systemd starts it again.

use std::io;
use std::panic::PanicHookInfo;
use std::thread::{Builder, JoinHandle};

use tucano_common::limits::{HELPER_STACK_BYTES, LOOP_STACK_BYTES};

use crate::text::Escaped;

/// How much a thread needs of its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// For a thread that runs a loop, or SQLite.
    Loop,
    /// For a helper that does one thing.
    Helper,
}

/// Starts a thread; the name (at most 15 characters are seen in `ps` and `top`) is in every panic's
/// line.
pub fn spawn<T, F>(name: &str, stack: Stack, body: F) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let stack_bytes = match stack {
        Stack::Loop => LOOP_STACK_BYTES,
        Stack::Helper => HELPER_STACK_BYTES,
    };
    Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(body)
}

/// Makes a panic in any thread one clear line in the log and the end of the process. For `main`,
/// once.
pub fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let line = panic_line(std::thread::current().name(), info);
        if log::max_level() >= log::LevelFilter::Error {
            log::error!("{line}");
        } else {
            // Whatever was asked for, this is said.
            eprintln!("{}", Escaped(&line));
        }
        std::process::abort();
    }));
}

fn panic_line(thread: Option<&str>, info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
    let thread = thread.unwrap_or("unnamed");
    format!("a defect ends this process: thread {thread}{}: {message}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_named_and_return_values() {
        let name = || std::thread::current().name().map(str::to_owned);
        for stack in [Stack::Loop, Stack::Helper] {
            let handle = spawn("net-test", stack, name).expect("a thread");
            assert_eq!(handle.join().expect("its value").as_deref(), Some("net-test"));
        }
    }
}
