//! SIGHUP: the agent becomes the binary that stands where its own was started from, in place: the
//! same pid, the same children, the same arguments and environment.
//!
//! Before anything ends, that binary is asked for its version: one that does not run here (half
//! copied, of another machine's kind) is refused, and this agent goes on. What runs is taken up by
//! the new one as after any other end of an agent; this file touches none of it. The agent's loop
//! asks for the check, `wiring` does the execve once the loop has ended.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tucano_common::limits::{UPGRADE_CHECK_TIMEOUT, VERSION_LINE_BYTES_MAX};
use tucano_net::Io;
use tucano_net::text::Escaped;
use tucano_net::threads::{self, Stack};

use super::helpers::deliver;
use super::{Agent, Msg};
use crate::runner;

/// How this agent was started, for becoming its successor.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Restart {
    /// Of this process. Asked for at the start: once the binary is replaced on disk, the kernel
    /// names the old one.
    pub(crate) fn of_process() -> io::Result<Restart> {
        Ok(Restart { program: std::env::current_exe()?, args: std::env::args_os().collect() })
    }

    /// What the binary says of itself; waits for it, so not for a loop. `Err`: why it is none to
    /// become.
    pub(crate) fn check(&self) -> Result<String, String> {
        let shown = self.program.display();
        version_of(&self.program).map_err(|error| format!("{shown} does not run ({error})"))
    }

    /// Becomes it. Returns only where the kernel refuses.
    pub(crate) fn become_it(&self) -> io::Result<Infallible> {
        let mut command = Command::new(&self.program);
        if let Some((name, args)) = self.args.split_first() {
            command.arg0(name).args(args);
        }
        Err(command.exec())
    }
}

/// How far an upgrade is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// None was asked for.
    #[default]
    None,
    /// The binary is being asked.
    Checking,
    /// The loop ends, and this process becomes the binary.
    Due,
}

impl Agent {
    /// SIGHUP.
    pub(super) fn begin_upgrade(&mut self) {
        if self.state.upgrade != Upgrade::None {
            log::info!("SIGHUP: an upgrade is on its way already");
            return;
        }
        self.state.upgrade = Upgrade::Checking;
        let (restart, inbox) = (self.restart.clone(), self.inbox.clone());
        let ask = move || {
            deliver(&inbox, Msg::Checked(restart.check()));
        };
        if let Err(error) = threads::spawn("upgrade", Stack::Helper, ask) {
            log::error!("SIGHUP: not upgraded: a thread can't be started: {error}");
            self.state.upgrade = Upgrade::None;
        }
    }

    /// What the binary said.
    pub(super) fn checked(&mut self, io: &mut Io, said: Result<String, String>) {
        match said {
            Ok(version) => {
                let own = env!("CARGO_PKG_VERSION");
                let version = Escaped(&version);
                log::info!("SIGHUP: {own} becomes {version}; instances are left running");
                self.state.upgrade = Upgrade::Due;
                io.stop();
            }
            Err(reason) => {
                log::error!("SIGHUP: not upgraded: {}; going on as it is", Escaped(&reason));
                self.state.upgrade = Upgrade::None;
            }
        }
    }

    /// Once the loop has ended: the program to become, if it ended for that.
    pub(crate) fn successor(self) -> Option<Restart> {
        (self.state.upgrade == Upgrade::Due).then_some(self.restart)
    }
}

fn version_of(program: &Path) -> io::Result<String> {
    let mut asked = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let in_time = runner::ends_within(&asked, UPGRADE_CHECK_TIMEOUT);
    if !in_time {
        asked.kill()?;
    }
    let status = asked.wait()?;
    let mut said = String::new();
    if let Some(stdout) = asked.stdout.take()
        && in_time
    {
        stdout.take(VERSION_LINE_BYTES_MAX).read_to_string(&mut said)?;
    }
    match (in_time, status.success() && said.starts_with("tucano-worker")) {
        (true, true) => Ok(said.trim_end().to_owned()),
        (true, false) => {
            Err(io::Error::other(format!("asked for its version it ended by {status}")))
        }
        (false, _) => Err(io::Error::other("asked for its version it did not answer")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_runs_and_is_a_worker_is_taken() {
        let folder = std::env::temp_dir().join(format!("tucano-upgrade-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        let restart = Restart { program: program.clone(), args: Vec::new() };
        assert!(restart.check().unwrap_err().contains("does not run"), "it is not there");
        for (script, taken) in [
            ("#!/bin/sh\necho tucano-worker 9.9.9\n", true),
            ("#!/bin/sh\necho tucano-worker 9.9.9; exit 1\n", false),
            ("#!/bin/sh\necho something else\n", false),
            ("\u{7f}ELF, half of it", false),
        ] {
            // A file of its own each time: one that is open for writing anywhere is "busy".
            let _first = fs::remove_file(&program);
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            let mut said = restart.check();
            while said.as_ref().is_err_and(|error| error.contains("busy")) {
                said = restart.check();
            }
            assert_eq!(said.is_ok(), taken, "{script}: {said:?}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
