//! An agent in a folder of its own, and what it says of its instances.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::namespace;
use crate::processes::{eventually, is_alive, is_ours, numbers, parent_of, signal};

/// Nothing here takes so long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The one instance of these tests.
pub(crate) const ID: &str = "0000000000001";

/// A running agent. It tells its address anew where it became another one.
struct Agent {
    child: Child,
    address: Arc<Mutex<SocketAddr>>,
}

/// A worker: its folder, and its agent while there is one.
pub(crate) struct Worker {
    root: PathBuf,
    agent: Option<Agent>,
    generation: u64,
    controller: String,
    /// Runs as this user; none: as the tests do.
    user: Option<u32>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    pub(crate) fn new() -> Worker {
        Worker::of(None)
    }

    /// One whose agent may do nothing that is root's.
    pub(crate) fn unprivileged() -> Worker {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        let user = nobody.uid.as_raw();
        Worker::of(namespace::may_be(user).then_some(user))
    }

    /// One whose folder is not in the machine's `/tmp`, where its user may make one.
    pub(crate) fn outside_tmp() -> Worker {
        let root = nix::unistd::Uid::effective().is_root();
        let above = if root { PathBuf::from("/var/lib") } else { std::env::temp_dir() };
        Worker::in_folder(None, &above)
    }

    /// One that has a controller.
    pub(crate) fn of_controller(url: &str) -> Worker {
        Worker::made(None, &std::env::temp_dir(), url)
    }

    fn of(user: Option<u32>) -> Worker {
        Worker::in_folder(user, &std::env::temp_dir())
    }

    fn in_folder(user: Option<u32>, above: &Path) -> Worker {
        Worker::made(user, above, "http://127.0.0.1:1")
    }

    fn made(user: Option<u32>, above: &Path, controller: &str) -> Worker {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tucano-agent-{}-{number}", std::process::id());
        let root = above.join(name);
        fs::create_dir_all(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let owner = user.map(nix::unistd::Uid::from_raw);
        nix::unistd::chown(&root, owner, None).unwrap();
        let controller = controller.to_owned();
        let said = Arc::default();
        let mut worker = Worker { root, agent: None, generation: 0, controller, user, said };
        worker.install();
        worker.join();
        worker.start();
        worker
    }

    /// Has it know its cluster, so that it takes pushes while its controller is away.
    fn join(&self) {
        let state = self.data().join("state");
        fs::create_dir_all(&state).unwrap();
        let ledger = state.join("ledger.json");
        let holds = json!({"cluster": "c", "generation": 0});
        let text = json!({
            "version": 1, "holds": holds, "balancer_url": "", "instances": [], "builds": [],
            "quarantine": [],
        });
        fs::write(&ledger, text.to_string()).unwrap();
        let owner = self.user.map(nix::unistd::Uid::from_raw);
        for path in [self.data(), state, ledger] {
            nix::unistd::chown(&path, owner, None).unwrap();
        }
    }

    /// Starts the agent.
    pub(crate) fn start(&mut self) {
        let own = self.user.map_or(nix::unistd::Uid::effective(), nix::unistd::Uid::from_raw);
        let own = nix::unistd::User::from_uid(own).unwrap().unwrap();
        let mut child = self
            .as_its_user(self.program())
            .args(["--controller", &self.controller, "--name", "w"])
            .args(["--listen", "127.0.0.1:0", "--run-as", &own.name])
            .arg("--data-dir")
            .arg(self.data())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let address = told_address(&line);
            before.push(line);
            address
        });
        let address = address.unwrap_or_else(|| panic!("it ended: {before:#?}"));
        let address = Arc::new(Mutex::new(address));
        let (told, said) = (Arc::clone(&address), Arc::clone(&self.said));
        // What it says further on is read, so that it never waits for it.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(address) = told_address(&line) {
                    *told.lock().unwrap() = address;
                }
                said.lock().unwrap().push(line);
            }
        });
        self.agent = Some(Agent { child, address });
    }

    /// A command with the rights of its agent.
    pub(crate) fn as_its_user(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// The binary that its agents are started from: a copy of its own, to be replaced.
    pub(crate) fn program(&self) -> PathBuf {
        self.root.join("tucano-worker")
    }

    /// Puts a new copy of the binary in the old one's place, as an upgrade does.
    pub(crate) fn install(&self) {
        let part = self.root.join("tucano-worker.part");
        // By a process of its own: written by this one, it would be open for writing in whatever
        // another test forks meanwhile, and could not be executed.
        let binary = env!("CARGO_BIN_EXE_tucano-worker");
        assert!(Command::new("cp").arg(binary).arg(&part).status().unwrap().success());
        fs::rename(part, self.program()).unwrap();
    }

    /// The agent's process.
    pub(crate) fn agent(&self) -> i32 {
        i32::try_from(self.agent.as_ref().unwrap().child.id()).unwrap()
    }

    /// Whether the agents said something in their logs.
    pub(crate) fn said(&self, text: &str) -> bool {
        self.said.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// In how many lines of their logs the agents said something.
    pub(crate) fn count_said(&self, text: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// SIGKILL to the agent.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap().child;
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Gives it the instance, or a change of it.
    pub(crate) fn push(&mut self, desired: &str, scripts: &Value) {
        self.push_spec(desired, &json!({"expose_port": 80}), scripts);
    }

    /// The same with a port that the service insists on.
    pub(crate) fn push_fixed(&mut self, port: u16, scripts: &Value) {
        self.push_spec("run", &json!({"expose_port": 80, "fixed_port": port}), scripts);
    }

    /// The same with a health check of its own, and no port.
    pub(crate) fn push_checked(&mut self, check: &Value, scripts: &Value) {
        self.push_spec("run", &json!({"health_check": check}), scripts);
    }

    /// The same with limits, and no port.
    pub(crate) fn push_limited(&mut self, resources: &Value, scripts: &Value) {
        self.push_all("run", &json!({}), resources, scripts);
    }

    fn push_spec(&mut self, desired: &str, network: &Value, scripts: &Value) {
        self.push_all(desired, network, &json!({}), scripts);
    }

    fn push_all(&mut self, desired: &str, network: &Value, resources: &Value, scripts: &Value) {
        self.generation += 1;
        let spec = json!({
            "name": "web", "network": network, "scripts": scripts, "resources": resources,
            "restart": {"backoff": "1s", "backoff_max": "1s"},
        });
        let assignment = json!({
            "id": ID, "generation": self.generation, "service": "web", "revision": 1,
            "desired": desired, "restart_nonce": 0, "spec": spec,
        });
        let push = json!({
            "cluster": "c", "generation": self.generation,
            "previous_generation": self.generation - 1, "assignment": assignment,
        });
        let (status, body) =
            self.request("PUT", &format!("/v1/instances/{ID}"), push.to_string().as_str());
        assert!(status < 300, "{status} {body}");
    }

    /// What it says of the instance; null where it has none.
    pub(crate) fn report(&self) -> Value {
        let (status, body) = self.request("GET", "/v1/instances", "");
        assert_eq!(status, 200, "{body}");
        let reports: Value = serde_json::from_str(&body).unwrap();
        reports[0].clone()
    }

    /// Waits for a report.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        eventually(what, || {
            last = self.report();
            holds(&last)
        });
        last
    }

    /// Waits until its script wrote a line.
    pub(crate) fn wait_for_line(&self, line: &str) {
        let log = self.data().join("logs").join(ID).join("current.log");
        eventually(line, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.lines().any(|it| it.ends_with(&format!(" F {line}")))
        });
    }

    /// What its script wrote, line by line.
    pub(crate) fn output(&self) -> Vec<String> {
        let log = self.data().join("logs").join(ID).join("current.log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(" F "));
        lines.map(|(_, line)| line.to_owned()).collect()
    }

    /// The processes of its instances: with the mark of this data folder.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = format!("TUCANO_INSTANCE_DIR={}", self.data().display());
        let marked = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|it| it.starts_with(mark.as_bytes()))
        };
        numbers("/proc").into_iter().filter(marked).collect()
    }

    /// Removes its ledger, and what of it is not on disk yet; where it was.
    pub(crate) fn forget_ledger(&self) -> PathBuf {
        let state = self.data().join("state");
        for name in self.names("state").into_iter().filter(|name| name.starts_with("ledger.")) {
            fs::remove_file(state.join(name)).unwrap();
        }
        state.join("ledger.json")
    }

    /// The file `words` in the folder that its scripts run in.
    pub(crate) fn words(&self) -> PathBuf {
        self.data().join("builds/c.web.1/words")
    }

    /// What is under a folder of its data folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.data().join(folder)).unwrap();
        entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// The holder of the instance's first run.
    pub(crate) fn holder(&self) -> i32 {
        let running = self.job().join("running.json");
        let read = || serde_json::from_slice::<Value>(&fs::read(&running).unwrap());
        // Blank until the holder writes it.
        eventually("its holder's record", || read().is_ok());
        let running = read().unwrap();
        i32::try_from(running["holder"]["pid"].as_i64().unwrap()).unwrap()
    }

    /// The files of the instance's current run.
    pub(crate) fn job(&self) -> PathBuf {
        let jobs = self.data().join("state/jobs");
        let names = self.names("state/jobs");
        jobs.join(names.iter().find(|name| name.starts_with("runtime.")).unwrap())
    }

    /// The folders of the instance's control group.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let text = fs::read(self.job().join("confinement.json")).unwrap();
        let all: Value = serde_json::from_slice(&text).unwrap();
        let places = all["group"].as_object().unwrap().values();
        let paths = places.filter_map(|place| place.as_object()?.values().next()?.as_str());
        paths.map(PathBuf::from).collect()
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let address = *self.agent.as_ref().unwrap().address.lock().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _gone_already = agent.child.kill();
            let _reaped = agent.child.wait();
        }
        // A holder ends all of its own and removes their groups.
        let parents = self.processes().into_iter().filter_map(parent_of);
        let holders: Vec<i32> = parents.filter(|pid| is_ours(*pid)).collect();
        for holder in &holders {
            signal(*holder, Signal::SIGUSR1);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while holders.iter().any(|pid| is_alive(*pid) && is_ours(*pid)) && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        for pid in self.processes().into_iter().filter(|pid| is_ours(*pid)) {
            signal(pid, Signal::SIGKILL);
        }
        let _left_to_be_looked_at = fs::remove_dir_all(&self.root);
    }
}

/// The address of its API, where this line tells it.
fn told_address(line: &str) -> Option<SocketAddr> {
    line.split_once("API on ")?.1.split_once(',')?.0.parse().ok()
}
