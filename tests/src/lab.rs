//! A cluster of the real binaries, and the questions that tests ask of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};
use serde_json::Value;
use tucano_common::wire::views::{
    DeploymentView, EventView, InstanceView, ServiceView, WorkerState, WorkerView,
};
use tucano_net::blocking::{Client, Timeouts};
use tucano_net::token::Token;
use tucano_net::url::HttpUrl;
use tucano_net::{Answer, Method, OutRequest};
use tucano_tools::api::{self, Api};
use tucano_tools::cluster::{Cluster, Folder, Layout, Options};
use tucano_tools::wait;

use crate::specs;

/// For what takes a moment on an idle machine, and longer on one that builds something beside.
pub const SOON: Duration = Duration::from_secs(20);
/// For what waits for timeouts of the system itself.
pub const MINUTE: Duration = Duration::from_secs(60);

/// A running cluster; dropped, nothing of it is left.
pub struct Lab {
    /// Its processes, folder and addresses.
    pub cluster: Cluster,
    /// Its API.
    pub api: Api,
}

impl Lab {
    /// A controller with `--map-port 80:8080` and so many workers, all ready.
    pub fn start(workers: u32) -> Lab {
        Lab::with(workers, &[], &[])
    }

    /// The same with further flags for the controller and for every worker.
    pub fn with(workers: u32, controller_flags: &[&str], worker_flags: &[&str]) -> Lab {
        let owned = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
        let options = Options {
            controller_flags: owned(controller_flags),
            worker_flags: owned(worker_flags),
            ..Options::default()
        };
        Lab::assemble(Folder::new("test").expect("a folder"), workers, options, None)
    }

    /// The same in a folder that holds files which the flags name; the token opens the API.
    pub fn assemble(folder: Folder, workers: u32, options: Options, token: Option<Token>) -> Lab {
        let layout = Layout::private(workers).expect("addresses for the test");
        Lab::laid_out(folder, layout, options, token)
    }

    /// The same at these addresses.
    pub fn laid_out(
        folder: Folder,
        layout: Layout,
        mut options: Options,
        token: Option<Token>,
    ) -> Lab {
        options.controller_flags.extend(["--map-port".to_owned(), "80:8080".to_owned()]);
        let workers = layout.workers.len();
        let url: HttpUrl = format!("http://{}", layout.api).parse().expect("a URL");
        let cluster = Cluster::new(folder, layout, options).expect("the binaries' folder");
        let mut lab = Lab { cluster, api: Api::new(url, token) };
        lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
        for index in 0..lab.cluster.layout.workers.len() {
            lab.cluster.start_worker(index).unwrap_or_else(|error| panic!("{error}"));
        }
        lab.wait_ready(workers);
        lab
    }

    /// Waits for a value; a test fails where it does not come.
    pub fn until<T>(&self, what: &str, patience: Duration, look: impl FnMut() -> Option<T>) -> T {
        wait::until(what, patience, look).unwrap_or_else(|late| panic!("{late}"))
    }

    /// Waits until so many workers are ready.
    pub fn wait_ready(&self, count: usize) {
        self.until("ready workers", SOON, || {
            let workers: Vec<WorkerView> = self.api.get("/v1/workers").ok()?;
            let ready = workers.iter().filter(|worker| worker.state == WorkerState::Ready).count();
            (ready == count).then_some(())
        });
    }

    /// Waits until every worker is heard, drained or not.
    pub fn wait_heard(&self) {
        self.until("workers that are heard", SOON, || {
            let workers: Vec<WorkerView> = self.api.get("/v1/workers").ok()?;
            let heard = |state| matches!(state, WorkerState::Ready | WorkerState::Draining);
            let all = workers.iter().all(|worker| heard(worker.state));
            (all && workers.len() == self.cluster.layout.workers.len()).then_some(())
        });
    }

    /// Reads a resource that has to be there.
    pub fn get<T: serde::de::DeserializeOwned>(&self, target: &str) -> T {
        self.api.get(target).unwrap_or_else(|error| panic!("GET {target}: {error}"))
    }

    /// Asks the API anything.
    pub fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        let body = body.as_deref().map(str::as_bytes);
        let answer = self.api.ask(method, target, body, MINUTE);
        answer.unwrap_or_else(|error| panic!("{} {target}: {error}", method.text()))
    }

    /// Deploys a spec and waits for the end, whatever it is.
    pub fn try_deploy(&self, spec: &Value) -> Answer {
        self.ask(Method::Post, "/v1/services?wait=60s", Some(spec))
    }

    /// Deploys a spec; it has to succeed.
    pub fn deploy(&self, spec: &Value) -> DeploymentView {
        let answer = self.try_deploy(spec);
        assert_eq!(answer.status, 200, "{}", answer.text());
        api::read("the deployment", &answer).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A service that has to be there.
    pub fn service(&self, name: &str) -> ServiceView {
        self.get(&format!("/v1/services/{name}"))
    }

    /// Its instances that receive requests.
    pub fn healthy(&self, name: &str) -> Vec<InstanceView> {
        let instances = self.service(name).instances;
        instances.into_iter().filter(|instance| instance.healthy).collect()
    }

    /// Waits until exactly so many of its instances, and no others, are healthy.
    pub fn wait_healthy(&self, name: &str, count: usize) -> Vec<InstanceView> {
        self.until(&format!("{count} healthy instances of {name}"), MINUTE, || {
            let service: ServiceView = self.api.get(&format!("/v1/services/{name}")).ok()?;
            let healthy = service.instances.iter().filter(|instance| instance.healthy).count();
            let settled = healthy == count && service.instances.len() == count;
            settled.then_some(service.instances)
        })
    }

    /// Every event so far.
    pub fn events(&self) -> Vec<EventView> {
        let answer = self.ask(Method::Get, "/v1/events?after=0", None);
        let text = answer.text().into_owned();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).expect("an event a line")).collect()
    }

    /// A request through the balancer's main port; `None` where nobody answered.
    pub fn try_request(&self, host: &str, request: &OutRequest) -> Option<Answer> {
        let timeouts = Timeouts { connect: SOON, head: MINUTE, idle: SOON };
        let client = Client::new(vec![self.cluster.layout.balancer], host).timeouts(timeouts);
        client.send(request).ok()
    }

    /// `GET path` of a host through the balancer; somebody has to answer.
    pub fn fetch(&self, host: &str, path: &str) -> Answer {
        let answer = self.try_request(host, &OutRequest::new(Method::Get, path));
        answer.unwrap_or_else(|| panic!("nobody answered GET {path} for {host}"))
    }

    /// Which instances answer for a host: asked until `count` different ones did.
    pub fn answering(&self, host: &str, count: usize) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        self.until(&format!("{count} instances answering for {host}"), SOON, || {
            let answer = self.fetch(host, "/");
            assert_eq!(answer.status, 200, "{}", answer.text());
            seen.extend(answer.headers.get("X-Tucano-Instance").map(str::to_owned));
            (seen.len() >= count).then_some(())
        });
        seen
    }

    /// Ends a service and waits until it is gone.
    pub fn remove(&self, name: &str) {
        let target = format!("/v1/services/{name}");
        let answer = self.ask(Method::Delete, &target, None);
        assert_eq!(answer.status, 202, "{}", answer.text());
        self.until(&format!("the end of {name}"), MINUTE, || {
            (self.ask(Method::Get, &target, None).status == 404).then_some(())
        });
    }

    /// `kill -9` of an instance's process.
    pub fn kill_instance(&self, instance: &InstanceView) {
        let pid = instance.pid.unwrap_or_else(|| panic!("{instance:?} has no process"));
        self.kill_process(pid);
    }

    /// `kill -9` of a process.
    pub fn kill_process(&self, pid: u32) {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
        kill(pid, Signal::SIGKILL).expect("a living process");
    }

    /// Runs the client against this cluster.
    pub fn tucano(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.cluster.binary("tucano").expect("tucano is built"));
        command.args(["--controller", &self.url()]).args(arguments);
        command.output().expect("the client runs")
    }

    /// The API's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.cluster.layout.api)
    }

    /// The balancer's main port.
    pub fn balancer(&self) -> SocketAddr {
        self.cluster.layout.balancer
    }

    /// Everything of this cluster lies below.
    pub fn folder(&self) -> &Path {
        self.cluster.folder.path()
    }

    /// A folder for a test's own files, open to the services' user.
    pub fn scratch(&self, name: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("its mode");
        path
    }

    /// A spec of the demo service, whose binary is put where the services' user can read it.
    pub fn demo(&self, name: &str, concurrency: u32) -> Value {
        let app = self.scratch("app");
        let binary = app.join("tucano-demo");
        if !binary.exists() {
            let built = self.cluster.binary("tucano-demo").expect("tucano-demo is built");
            std::fs::copy(built, &binary).expect("a copy");
        }
        specs::demo(name, concurrency, &app)
    }

    /// The processes of services' scripts that have this word in their command. Each leads a
    /// session of its own; a child that a shell has forked looks like it until it executes what it
    /// is for.
    pub fn scripts_with(&self, word: &str) -> Vec<u32> {
        let leads = |pid: i32| {
            let pid = Pid::from_raw(pid);
            getsid(Some(pid)).is_ok_and(|session| session == pid)
        };
        let strays = self.cluster.strays().into_iter();
        let scripts = strays.filter(|it| it.command.contains(word) && leads(it.pid));
        scripts.map(|it| it.pid.unsigned_abs()).collect()
    }

    /// Checks that no process of any service is left; waits for the last to go.
    pub fn assert_no_process(&self) {
        let gone = wait::until("the end of every instance's process", SOON, || {
            self.cluster.strays().is_empty().then_some(())
        });
        assert!(gone.is_ok(), "still running: {:?}", self.cluster.strays());
    }
}

impl Drop for Lab {
    /// A test that passed has left nothing; one that failed shows what its daemons said.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left = self.cluster.clear();
            assert!(left.is_empty(), "left behind: {left:#?}");
            return;
        }
        for daemon in self.cluster.daemons() {
            let log = daemon.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(60);
            eprintln!("--- {} (pid {})\n{}", daemon.name(), daemon.pid(), lines[from..].join("\n"));
        }
        if let Ok(answer) = self.api.send(Method::Get, "/v1/events?after=0", None) {
            let text = answer.text().into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(60);
            eprintln!("--- events\n{}", lines[from..].join("\n"));
        }
    }
}
