//! One long-running process: its output in a file, signals by its pid, and never left behind.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ClusterError;
use crate::wait;

/// What a shell does between its start and the binary's.
const HAND_OVER: &str = "exec 3<&0 4<&1 0</dev/null 1>&2; \
    export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=balancer:api; exec \"$@\"";

/// A process that was started, running or ended.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `binary` in a process group of its own; what it prints is appended to `log`. Nothing
    /// of `TUCANO_…` in this environment reaches it.
    pub fn start(binary: PathBuf, flags: &[String], log: &Path) -> Result<Daemon, ClusterError> {
        Daemon::start_in(binary, &[], flags, &[], log)
    }

    /// The same behind the words of a command that becomes the binary, so that the process that is
    /// signalled is the right one; with more in its environment.
    pub fn start_in(
        binary: PathBuf,
        before: &[String],
        flags: &[String],
        env: &[(String, String)],
        log: &Path,
    ) -> Result<Daemon, ClusterError> {
        let mut command = match before {
            [] => Command::new(&binary),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(&binary);
                command
            }
        };
        command.args(flags).stdin(Stdio::null());
        Daemon::spawn(command, binary, env, log, None)
    }

    /// The same with two listening sockets handed over as systemd does (sd_listen_fds(3)). They
    /// come as the input and the output of a shell, which puts them in their places and becomes the
    /// binary.
    pub fn start_with(
        binary: PathBuf,
        [balancer, api]: &[TcpListener; 2],
        flags: &[String],
        env: &[(String, String)],
        log: &Path,
    ) -> Result<Daemon, ClusterError> {
        let failed = |error| ClusterError::Spawn(binary.clone(), error);
        let (balancer, api) = (balancer.try_clone(), api.try_clone());
        let (balancer, api) = (balancer.map_err(failed)?, api.map_err(failed)?);
        let mut command = Command::new("sh");
        command.args(["-c", HAND_OVER, "sh"]).arg(&binary).args(flags);
        command.stdin(OwnedFd::from(balancer));
        Daemon::spawn(command, binary, env, log, Some(api.into()))
    }

    fn spawn(
        mut command: Command,
        binary: PathBuf,
        env: &[(String, String)],
        log: &Path,
        output: Option<OwnedFd>,
    ) -> Result<Daemon, ClusterError> {
        let file_failed = |error| ClusterError::File(log.to_path_buf(), error);
        let err = File::options().create(true).append(true).open(log).map_err(file_failed)?;
        let out = output.map_or_else(|| err.try_clone().map(OwnedFd::from), Ok);
        command.stdout(out.map_err(file_failed)?).stderr(err).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TUCANO_") {
                command.env_remove(name);
            }
        }
        command.envs(env.iter().map(|(name, value)| (name, value)));
        let spawned = command.spawn().map_err(|error| ClusterError::Spawn(binary.clone(), error));
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Daemon { name, log: log.to_path_buf(), child: spawned? })
    }

    /// What it is called, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| format!("({}: {error})", self.log.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
    }

    /// Its exit status, once it ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        wait::until("its end", patience, || self.status()).ok()
    }

    /// `kill -9`, and waits for it: a crash, a power cut.
    pub fn kill(&mut self) {
        if self.status().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// SIGTERM, and SIGKILL where that was not enough; the exit status of the polite end.
    pub fn stop(&mut self, patience: Duration) -> Option<ExitStatus> {
        let _ = self.signal(Signal::SIGTERM);
        let status = self.wait(patience);
        self.kill();
        status
    }

    /// Waits until it listens there.
    pub fn wait_for_port(
        &mut self,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<(), ClusterError> {
        let what = format!("{} listening on {address}", self.name);
        let looked = wait::until(&what, patience, || match self.status() {
            Some(_) => Some(false),
            None => TcpStream::connect_timeout(&address, patience).ok().map(|_| true),
        });
        match looked {
            Ok(true) => Ok(()),
            Ok(false) => Err(ClusterError::Ended(self.name.clone(), self.log())),
            Err(late) => Err(ClusterError::NotReady(late, self.log())),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
