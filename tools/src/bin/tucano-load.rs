//! `tucano-load`: the load generator, and (`--upstream`) the misbehaving upstream that it is often
//! pointed at. The work is in `tucano_tools::load`; here are the flags.

#![deny(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tucano_common::http1::Method;
use tucano_net::config::{FlagError, Flags, parse};
use tucano_net::url::HttpUrl;
use tucano_tools::load::upstream::{Behaviour, Upstream};
use tucano_tools::load::{Plan, Stop, run};

const HELP: &str = "\
tucano-load: sends requests and checks every answer
  tucano-load [FLAGS] http://HOST:PORT/PATH
  tucano-load --upstream ADDRESS [--behave WHAT] [--body-bytes SIZE]

  --host NAME          the Host field (default: the URL's)
  --method METHOD      GET, HEAD, POST, PUT or DELETE (default GET)
  --body-bytes SIZE    of the request's body, or of the upstream's answers (default 0; upstream 100)
  --connections N      connections (default 16)
  --close              a new connection for each request
  --rate N             requests a second over all connections, due whether or not earlier ones were
                       answered (default: each connection sends as soon as it can)
  --duration DUR       begin no request after so long (default 10s)
  --requests N         begin so many at most
  --timeout DUR        an answer that takes longer is a failure (default 35s)
  --status N           the status that every answer must have (default: 200 to 299)
  --contains TEXT      what every body must contain
  --json               print the counts as JSON
  --upstream ADDRESS   answer requests there instead of sending any, until ended
  --behave WHAT        how: fine, slow=MS, drip=MS, status=N, reset, close, half, half-chunked,
                       garbage, close-idle, twice, hang (default fine); a request for /WHAT chooses
                       for itself
  --help, --version

Exit code: 0 every request succeeded, 1 some did not, 2 the flags are wrong.
";

fn main() -> ExitCode {
    let mut flags = Flags::of_process();
    let text = if flags.has("--help") {
        HELP.to_owned()
    } else if flags.has("--version") {
        format!("tucano-load {}\n", env!("CARGO_PKG_VERSION"))
    } else {
        return match go(flags) {
            Ok(code) => ExitCode::from(code),
            Err(Error::Flag(error)) => fail(&format!("{error}"), 2),
            Err(Error::Io(what, error)) => fail(&format!("{what}: {error}"), 1),
        };
    };
    print(&text)
}

enum Error {
    Flag(FlagError),
    Io(String, io::Error),
}

impl From<FlagError> for Error {
    fn from(error: FlagError) -> Error {
        Error::Flag(error)
    }
}

fn print(text: &str) -> ExitCode {
    let written = io::stdout().write_all(text.as_bytes());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(line: &str, code: u8) -> ExitCode {
    let _ = io::stderr().write_all(format!("tucano-load: {line}\n").as_bytes());
    ExitCode::from(code)
}

fn go(mut flags: Flags) -> Result<u8, Error> {
    let body_bytes = flags.value("--body-bytes", parse::size)?;
    let body_bytes = body_bytes.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if let Some(listen) = flags.value("--upstream", parse::addr)? {
        let default = flags.value_or("--behave", Behaviour::Fine, Behaviour::parse)?;
        flags.finish()?;
        let upstream = Upstream { default, body_bytes: body_bytes.unwrap_or(100) };
        let failed = |error| Error::Io(format!("cannot listen on {listen}"), error);
        let address = upstream.start(listen).map_err(failed)?;
        print(&format!("listening on {address}\n"));
        loop {
            std::thread::park();
        }
    }
    let as_json = flags.has("--json");
    let plan = plan(flags, body_bytes.unwrap_or(0))?;
    let failed = |error| Error::Io("the run ended early".to_owned(), error);
    let report = run(&plan, &Stop::default()).map_err(failed)?;
    print(&if as_json { format!("{:#}\n", report.to_json()) } else { report.to_string() });
    Ok(u8::from(report.failed() > 0))
}

fn plan(mut flags: Flags, body_bytes: usize) -> Result<Plan, Error> {
    let host = flags.value("--host", parse::text)?;
    let method = flags.value_or("--method", Method::Get, method)?;
    let connections = flags.value_or("--connections", 16, parse::number(1, 20_000))?;
    let close = flags.has("--close");
    let rate = flags.value("--rate", parse::number(1, 1_000_000))?;
    let duration = flags.value_or("--duration", Duration::from_secs(10), parse::duration)?;
    let requests = flags.value_or("--requests", u64::MAX, parse::number(1, u64::MAX))?;
    let timeout =
        flags.value_or("--timeout", Duration::from_secs(35), parse::duration_above_zero)?;
    let status = flags.value("--status", parse::number(100, 999))?;
    let contains = flags.value("--contains", parse::text)?;
    let mut rest = flags.rest()?.into_iter();
    let (Some(target), None) = (rest.next(), rest.next()) else {
        let reason = "write one, such as http://127.0.0.1:8080/".to_owned();
        let (name, value) = ("the URL".to_owned(), String::new());
        return Err(FlagError::Bad { name, value, reason }.into());
    };
    let (url, path) = split(&target)?;
    let addresses = url.resolve();
    let address = addresses.map_err(|error| Error::Io(url.authority(), error))?[0];
    let mut plan = Plan::new(address, host.as_deref().unwrap_or(&url.authority()));
    plan.method = method;
    plan.path = path;
    plan.body = vec![b'x'; body_bytes];
    plan.connections = usize::try_from(connections).unwrap_or(usize::MAX);
    plan.close = close;
    plan.rate = rate.and_then(|rate| u32::try_from(rate).ok());
    plan.duration = duration;
    plan.requests = requests;
    plan.timeout = timeout;
    plan.status = status.and_then(|status| u16::try_from(status).ok());
    plan.contains = contains;
    Ok(plan)
}

fn method(text: &str) -> Result<Method, &'static str> {
    let known = [Method::Get, Method::Head, Method::Post, Method::Put, Method::Delete];
    let found = known.into_iter().find(|method| method.text() == text);
    found.ok_or("write GET, HEAD, POST, PUT or DELETE")
}

/// A URL's server and its path, query included.
fn split(target: &str) -> Result<(HttpUrl, String), FlagError> {
    let start = target.find("://").map_or(0, |at| at + 3);
    let slash = target[start..].find('/').map_or(target.len(), |at| start + at);
    let (server, path) = target.split_at(slash);
    let url = parse::own::<HttpUrl>(server).map_err(|error| FlagError::Bad {
        name: "the URL".to_owned(),
        value: target.to_owned(),
        reason: error.to_string(),
    })?;
    Ok((url, if path.is_empty() { "/".to_owned() } else { path.to_owned() }))
}
