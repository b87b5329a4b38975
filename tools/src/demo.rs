//! `make demo`: a controller and three workers on this machine, a service on them, an instance that
//! is killed, and everything gone after Ctrl-C.
//!
//! It does by hand what a reader could: each step is shown as the command that does the same. It
//! needs nothing but the binaries beside it.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tucano_common::wire::views::{InstanceView, ServiceView, WorkerState, WorkerView};
use tucano_net::blocking::Client;
use tucano_net::url::HttpUrl;
use tucano_net::{Method, OutRequest};

use crate::api::{Api, ApiError};
use crate::cluster::{Cluster, ClusterError, Folder, Layout, Options};
use crate::wait::{self, TooLate};

const SERVICE: &str = "web";
const WORKERS: u8 = 3;

/// Why the demo ended early.
#[derive(Debug)]
pub enum DemoError {
    /// A part of the cluster did not start.
    Cluster(ClusterError),
    /// The controller said no.
    Api(ApiError),
    /// Something did not happen.
    Late(TooLate),
    /// A file, a signal, the terminal.
    Io(io::Error),
    /// A step went wrong.
    Step(String),
    /// Ctrl-C before the end.
    Interrupted,
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::Cluster(error) => write!(f, "{error}"),
            DemoError::Api(error) => write!(f, "{}", tucano_net::error_chain::Chain(error)),
            DemoError::Late(error) => write!(f, "{error}"),
            DemoError::Io(error) => write!(f, "{error}"),
            DemoError::Step(text) => f.write_str(text),
            DemoError::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for DemoError {}

macro_rules! from {
    ($($source:ty => $variant:ident),+) => {$(
        impl From<$source> for DemoError {
            fn from(error: $source) -> DemoError { DemoError::$variant(error) }
        }
    )+};
}
from!(ClusterError => Cluster, ApiError => Api, TooLate => Late, io::Error => Io);

/// How often Ctrl-C was pressed: once ends the demo, twice ends it without manners.
#[derive(Clone, Default)]
struct Interrupts(Arc<AtomicU32>);

impl Interrupts {
    /// Blocks the signals that end a program, here and in every thread from now on, and counts
    /// them.
    fn catch() -> io::Result<Interrupts> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let interrupts = Interrupts::default();
        let counted = interrupts.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            while signals.wait().is_ok() {
                counted.0.fetch_add(1, Ordering::SeqCst);
            }
        })?;
        Ok(interrupts)
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits for something, unless Ctrl-C comes first.
    fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, DemoError> {
        let found = wait::until(what, patience, || match self.count() {
            0 => look().map(Some),
            _ => Some(None),
        })?;
        found.ok_or(DemoError::Interrupted)
    }
}

fn say(text: &str) {
    let _ = io::stdout().lock().write_all(format!("{text}\n").as_bytes());
}

/// Runs the demo; with `once` it ends by itself where it would wait for Ctrl-C.
pub fn run(once: bool) -> Result<(), DemoError> {
    let interrupts = Interrupts::catch()?;
    let layout = Layout::familiar(WORKERS)?;
    let port = layout.balancer.port();
    layout.moved.iter().for_each(|moved| say(&format!("({moved})")));
    let mut options = Options::default();
    options.controller_flags.extend(["--map-port".to_owned(), format!("80:{port}")]);
    let cluster = Cluster::new(Folder::new("demo")?, layout, options)?;
    let url = format!("http://{}", cluster.layout.api);
    let parsed = url.parse::<HttpUrl>().map_err(|error| DemoError::Step(error.to_string()))?;
    let mut demo = Demo { api: Api::new(parsed, None), url, cluster, interrupts };
    let shown = demo.show();
    if shown.is_ok() && !once {
        demo.explain();
        let forever = Duration::from_secs(u64::MAX);
        let _ = demo.interrupts.until::<()>("Ctrl-C", forever, || None);
    }
    let interrupted = matches!(shown, Err(DemoError::Interrupted));
    let tidied = demo.end();
    if interrupted { tidied } else { shown.and(tidied) }
}

struct Demo {
    api: Api,
    url: String,
    cluster: Cluster,
    interrupts: Interrupts,
}

impl Demo {
    fn show(&mut self) -> Result<(), DemoError> {
        self.start()?;
        self.deploy()?;
        say("\nRequests go by their Host, each to an instance of the balancer's choice:");
        for _ in 0..6 {
            self.curl(true)?;
        }
        self.kill_one()
    }

    fn start(&mut self) -> Result<(), DemoError> {
        let layout = self.cluster.layout.clone();
        say("One controller and three workers, each with a folder of its own below");
        say(&format!("  {}", self.cluster.folder.path().display()));
        self.cluster.start_controller()?;
        say(&format!(
            "  controller  API http://{}, balancer http://{}",
            layout.api, layout.balancer
        ));
        for (index, site) in layout.workers.iter().enumerate() {
            self.cluster.start_worker(index)?;
            say(&format!("  worker {}   on {}", site.name, site.agent.ip()));
        }
        let api = self.api.clone();
        self.interrupts.until("three ready workers", Duration::from_secs(20), || {
            let workers: Vec<WorkerView> = api.get("/v1/workers").ok()?;
            let ready = workers.iter().filter(|worker| worker.state == WorkerState::Ready).count();
            (ready == usize::from(WORKERS)).then_some(())
        })
    }

    /// The document's own example: its keys, its port, three instances.
    fn deploy(&mut self) -> Result<(), DemoError> {
        let folder = self.cluster.folder.path().to_path_buf();
        let app = folder.join("app");
        fs::create_dir(&app)?;
        // Copied: the services' user may not be able to read this checkout.
        fs::copy(self.cluster.binary("tucano-demo")?, app.join("tucano-demo"))?;
        let spec = json!({
            "name": SERVICE,
            "network": { "expose_port": 80, "health_check": { "path": "/healthz" } },
            "scripts": {
                "build-script": "./tucano-demo --version | tee version.txt",
                "runtime-script": "exec ./tucano-demo",
                "teardown_script": "echo \"$TUCANO_INSTANCE has ended\"",
            },
            "concurrency": 3,
            "source": { "path": app },
        });
        let file = folder.join("web.json");
        fs::write(&file, format!("{spec:#}\n"))?;
        say(&format!("\n{}:\n{spec:#}", file.display()));
        say(&format!("\n$ tucano deploy {} --wait", file.display()));
        let mut command = Command::new(self.cluster.binary("tucano")?);
        command.args(["--controller", &self.url, "deploy", "--wait"]).arg(&file);
        let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let patience = Duration::from_secs(120);
        let ended = self.interrupts.until("the deployment", patience, || child.try_wait().ok()?);
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(DemoError::Step("the deployment failed".to_owned())),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// One request through the balancer, by curl where there is one.
    fn curl(&self, shown: bool) -> Result<(), DemoError> {
        if self.interrupts.count() > 0 {
            return Err(DemoError::Interrupted);
        }
        let balancer = self.cluster.layout.balancer;
        if shown {
            say(&format!("$ curl -s -H 'Host: {SERVICE}' http://{balancer}/"));
        }
        let host = format!("Host: {SERVICE}");
        let url = format!("http://{balancer}/");
        let curl = Command::new("curl").args(["-sS", "--fail", "-H", &host, &url]).output();
        match curl {
            Ok(output) if output.status.success() => {
                io::stdout().lock().write_all(&output.stdout)?;
                Ok(())
            }
            Ok(output) => {
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(DemoError::Step(format!("the balancer did not answer: {error}")))
            }
            Err(_) => self.get(),
        }
    }

    /// The same without curl.
    fn get(&self) -> Result<(), DemoError> {
        let request = OutRequest::new(Method::Get, "/");
        let answer = Client::new(vec![self.cluster.layout.balancer], SERVICE).send(&request);
        match answer {
            Ok(answer) if answer.is_success() => {
                say(answer.text().trim_end());
                Ok(())
            }
            Ok(answer) => Err(DemoError::Step(format!("the balancer answered {}", answer.status))),
            Err(error) => {
                let text = tucano_net::error_chain::Chain(&error).to_string();
                Err(DemoError::Step(text))
            }
        }
    }

    fn service(&self) -> Result<ServiceView, DemoError> {
        Ok(self.api.get(&format!("/v1/services/{SERVICE}"))?)
    }

    /// The next requests are answered by the others; the killed one comes back.
    fn kill_one(&mut self) -> Result<(), DemoError> {
        let with_process = |instance: &InstanceView| Some((instance.id, instance.pid?));
        let service = self.service()?;
        let (id, pid) = service
            .instances
            .iter()
            .find_map(with_process)
            .ok_or_else(|| DemoError::Step("no instance has a process".to_owned()))?;
        say(&format!("\nOne instance dies ({id}); the next requests are answered all the same:"));
        say(&format!("$ kill -9 {pid}"));
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(io::Error::from)?;
        say(&format!(
            "$ curl -s -H 'Host: {SERVICE}' http://{}/   # six times",
            self.cluster.layout.balancer
        ));
        for _ in 0..6 {
            self.curl(false)?;
        }
        let back =
            self.interrupts.until("the instance's return", Duration::from_secs(30), || {
                let service = self.service().ok()?;
                let killed = service.instances.iter().find(|instance| instance.id == id)?;
                (killed.restarts > 0 && killed.healthy).then(|| killed.clone())
            })?;
        say(&format!(
            "{id} runs again: restarts {}, pid {}",
            back.restarts,
            back.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())
        ));
        Ok(())
    }

    fn explain(&self) {
        let tucano = self.cluster.binary("tucano").unwrap_or_default();
        let (url, tucano) = (&self.url, tucano.display());
        let balancer = self.cluster.layout.balancer;
        let spec = self.cluster.folder.path().join("web.json");
        say(&format!(
            "\nIt stays up until Ctrl-C. To try, in another terminal:
  curl -s -H 'Host: {SERVICE}' http://{balancer}/          the service, through the balancer
  curl -s {url}/v1/services/{SERVICE}            what runs where
  curl -s {url}/v1/services/{SERVICE}/logs       what it prints
  curl -s {url}/v1/events                 everything that happened, and why
  curl -s {url}/v1/services/{SERVICE}/scale -d '{{\"concurrency\": 5}}'
  curl -s {url}/v1/services -d @{}
  export TUCANO_CONTROLLER={url}
  {tucano} status | services | service {SERVICE} | workers | instances | logs {SERVICE} -f",
            spec.display()
        ));
    }

    /// Ends the services, then the workers, then the controller; says what is left, if anything.
    fn end(&mut self) -> Result<(), DemoError> {
        say("\nEnding the services, the workers and the controller");
        let seen = self.interrupts.count();
        let services: Vec<ServiceView> = self.api.get("/v1/services").unwrap_or_default();
        for service in &services {
            let target = format!("/v1/services/{}", service.name);
            let _ = self.api.send(Method::Delete, &target, None); // what is left is swept below
        }
        let _ = wait::until("the services' end", Duration::from_secs(15), || {
            let left: Result<Vec<ServiceView>, ApiError> = self.api.get("/v1/services");
            let hurried = self.interrupts.count() > seen;
            (hurried || left.map_or(true, |left| left.is_empty())).then_some(())
        });
        self.cluster.stop();
        let strays = self.cluster.strays();
        if strays.is_empty() {
            say("Nothing is left behind");
            return Ok(());
        }
        let list: Vec<String> =
            strays.iter().map(|stray| format!("{} {}", stray.pid, stray.command)).collect();
        Err(DemoError::Step(format!("still running: {}", list.join(", "))))
    }
}
