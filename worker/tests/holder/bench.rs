//! Starts a holder as the agent does, in a folder of its own, and looks at what becomes of it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use serde_json::Value;

/// Nothing here takes so long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What is to be run.
pub(crate) struct Job {
    pub(crate) script: String,
    pub(crate) signal: Signal,
    pub(crate) grace: Duration,
    /// `UID GID GROUP…`; none: as the tests run.
    pub(crate) user: Option<&'static str>,
    pub(crate) variables: Vec<String>,
    pub(crate) low_priority: bool,
    pub(crate) folder_exists: bool,
    /// What the agent wrote of how it is kept apart; none: nothing.
    pub(crate) confinement: Option<&'static str>,
}

impl Job {
    pub(crate) fn new(script: &str) -> Job {
        Job {
            script: script.to_owned(),
            signal: Signal::SIGTERM,
            grace: Duration::from_secs(30),
            user: None,
            variables: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            low_priority: false,
            folder_exists: true,
            confinement: Some("{}"),
        }
    }

    pub(crate) fn start(self) -> Held {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tucano-holder-{}-{number}", std::process::id());
        self.start_in(std::env::temp_dir().join(name))
    }

    /// In the folder of an earlier one.
    pub(crate) fn start_in(self, root: PathBuf) -> Held {
        for folder in ["job", "logs", "work"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (folder, mode) in [("", 0o711), ("work", 0o777)] {
            fs::set_permissions(root.join(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
        for record in ["running.json", "exit.json"] {
            fs::write(root.join("job").join(record), [b' '; 512]).unwrap();
        }
        if let Some(confinement) = self.confinement {
            fs::write(root.join("job/confinement.json"), confinement).unwrap();
        }
        let (status, status_end) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let lock = root.join("job/holder.log");
        let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(lock).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tucano-worker"))
            .arg("hold")
            .arg(root.join("job"))
            .arg(root.join("logs"))
            .arg((self.signal as i32).to_string())
            .arg(self.grace.as_millis().to_string())
            .env("LEAK", "from the agent")
            .stdin(Stdio::from(self.orders(&root)))
            .stdout(status_end)
            .stderr(lock)
            .spawn()
            .unwrap();
        Held { child, root, status, ended: false }
    }

    fn orders(&self, root: &Path) -> File {
        let folder = if self.folder_exists { root.join("work") } else { root.join("nowhere") };
        let priority = if self.low_priority { "low" } else { "normal" };
        let mark = format!("MARK={}", root.display());
        let mut orders = Vec::new();
        let head = [self.user.unwrap_or("-"), priority, folder.to_str().unwrap(), &self.script];
        let variables = self.variables.iter().map(String::as_str).chain([mark.as_str()]);
        for text in head.into_iter().chain(variables) {
            orders.extend_from_slice(text.as_bytes());
            orders.push(0);
        }
        let path = root.join("orders");
        let options = |options: &mut OpenOptions| options.read(true).write(true).open(&path);
        let mut file = options(OpenOptions::new().create(true).truncate(true).mode(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all(&orders).unwrap();
        file.rewind().unwrap();
        file
    }
}

/// A holder that was started.
pub(crate) struct Held {
    child: Child,
    root: PathBuf,
    status: OwnedFd,
    ended: bool,
}

impl Held {
    /// What it says of the start.
    pub(crate) fn status(&self) -> Value {
        let mut set = [PollFd::new(self.status.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(PATIENCE.as_millis()).unwrap();
        assert_eq!(poll(&mut set, timeout), Ok(1), "no word of the start");
        let mut bytes = [0; 2048];
        let n = nix::unistd::read(&self.status, &mut bytes).unwrap();
        serde_json::from_slice(&bytes[..n]).unwrap()
    }

    /// The number of the script's shell, once it runs.
    pub(crate) fn main(&self) -> u32 {
        let status = self.status();
        number(&status["started"]["main"]["pid"])
    }

    pub(crate) fn holder(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the holder's end; its record.
    pub(crate) fn end(&mut self) -> Value {
        self.wait();
        let bytes = fs::read(self.root.join("job/exit.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    }

    fn wait(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the holder does not end: {}", self.log());
            pause();
        }
        self.ended = true;
    }

    /// The files of its output, the oldest first.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let names = ["current.log.3", "current.log.2", "current.log.1", "current.log"];
        let paths = names.iter().map(|name| self.root.join("logs").join(name));
        paths.filter(|path| path.exists()).collect()
    }

    /// Its records: stream, tag, text.
    pub(crate) fn records(&self) -> Vec<(String, String, Vec<u8>)> {
        let bytes: Vec<u8> = self.files().iter().flat_map(|path| fs::read(path).unwrap()).collect();
        let records = bytes.split(|byte| *byte == b'\n').filter(|record| !record.is_empty());
        records.map(split).collect()
    }

    /// The texts of its whole lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        self.records().into_iter().map(|(_, _, bytes)| text(bytes)).collect()
    }

    pub(crate) fn log(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for a line.
    pub(crate) fn wait_for_line(&self, line: &str) {
        eventually(line, || self.lines().iter().any(|it| it == line));
    }

    /// The processes that the script or anything of it started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = format!("MARK={}", self.root.display());
        let marked = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|it| it == mark.as_bytes())
        };
        numbers("/proc").into_iter().filter(marked).collect()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.ended {
            let _gone_already = self.child.kill();
            let _reaped = self.child.wait();
        }
        for pid in self.processes() {
            let _gone_already = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        let _left_to_be_looked_at = fs::remove_dir_all(&self.root);
    }
}

fn split(record: &[u8]) -> (String, String, Vec<u8>) {
    let parts: Vec<&[u8]> = record.splitn(4, |byte| *byte == b' ').collect();
    let [stamp, stream, tag, text] = parts.as_slice() else { panic!("{record:?}") };
    assert!(stamp.len() == 30 && stamp.ends_with(b"Z"), "{stamp:?}");
    let word = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (word(stream), word(tag), text.to_vec())
}

/// Entries of a folder that are numbers, in order.
pub(crate) fn numbers(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: fs::DirEntry| -> OsString { entry.file_name() };
    let names = entries.flatten().map(name);
    let mut numbers: Vec<u32> =
        names.filter_map(|name| name.to_str().and_then(|it| it.parse().ok())).collect();
    numbers.sort_unstable();
    numbers
}

pub(crate) fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        pause();
    }
}

fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

/// A file that is not closed when something is started.
pub(crate) fn leak_a_descriptor() -> File {
    let file = File::open("/dev/null").unwrap();
    let inherited = nix::fcntl::FdFlag::empty();
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(inherited)).unwrap();
    let mut byte = [0; 1];
    assert_eq!(file.read_at(&mut byte, 0).unwrap(), 0);
    file
}
