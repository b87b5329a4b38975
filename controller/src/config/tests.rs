//! Flags: defaults, twins, and every refusal by the line that the operator reads.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use super::*;

fn read(args: &[&str]) -> Result<Config, String> {
    read_with(args, &[])
}

fn read_with(args: &[&str], env: &'static [(&str, &str)]) -> Result<Config, String> {
    let args = args.iter().map(OsString::from).collect();
    let flags = Flags::new(args, move |name| {
        env.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
    });
    match Config::read(flags) {
        Ok(Wanted::Run(config)) => Ok(*config),
        Ok(Wanted::Text(text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn defaults() {
    let config = read(&[]).expect("no flag is needed");
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/tucano/controller"));
    assert_eq!(config.api_listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.balancer_listen.to_string(), "0.0.0.0:8080");
    assert!(config.balancer_threads >= 1);
    assert_eq!(config.worker_suspect, Duration::from_secs(3));
    assert_eq!(config.worker_timeout, Duration::from_secs(10));
    assert!(config.token_files.is_none() && config.map_ports.is_empty());
    assert!(config.trusted_proxies.is_empty() && config.access_log.is_none());
    assert_eq!(config.snapshot_interval, Duration::from_secs(6 * 3600));
    assert_eq!((config.log_level, config.log_format), (LevelFilter::Info, Format::Text));
}

#[test]
fn flags_and_their_twins() {
    let config = read_with(
        &["--map-port", "80:8080", "--map-port=443:8443", "--worker-timeout", "1m30s"],
        &[
            ("TUCANO_BALANCER_THREADS", "3"),
            ("TUCANO_WORKER_TIMEOUT", "20s"),
            ("TUCANO_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("TUCANO_LOG_FORMAT", "json"),
            ("TUCANO_ACCESS_LOG", "/var/log/tucano/access.log"),
        ],
    )
    .expect("all good");
    assert_eq!(config.map_ports, [(80, 8080), (443, 8443)]);
    assert_eq!(config.worker_timeout, Duration::from_secs(90));
    assert_eq!(config.balancer_threads, 3);
    assert_eq!(config.log_format, Format::Json);
    let path = PathBuf::from("/var/log/tucano/access.log");
    assert_eq!(config.access_log, Some(AccessLogFile { path, one_of: 1 }));
    let shown: Vec<_> =
        config.trusted_proxies.iter().map(|n| format!("{}/{}", n.address, n.prefix_bits)).collect();
    assert_eq!(shown, ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn every_refusal_names_its_flag() {
    for (args, part) in [
        (vec!["--data-dri", "/tmp"], "unknown flag \"--data-dri\": did you mean --data-dir?"),
        (vec!["--data-dir"], "--data-dir needs a value"),
        (vec!["--api-listen", "7070"], "--api-listen \"7070\": write an address and a port"),
        (vec!["--balancer-threads", "0"], "--balancer-threads \"0\": write a whole number from 1"),
        (vec!["--rebalance", "no"], "--rebalance \"no\": write on or off"),
        (vec!["--map-port", "80"], "--map-port \"80\": write two ports, such as 80:8080"),
        (vec!["--map-port", "0:8080"], "--map-port \"0:8080\""),
        (vec!["--map-port", "80:1", "--map-port", "80:2"], "port 80 is mapped more than once"),
        (vec!["--worker-suspect", "3"], "--worker-suspect \"3\": not a duration"),
        (vec!["--worker-suspect", "10s"], "--worker-timeout 10s must be longer"),
        (vec!["--access-log-sample", "0"], "--access-log-sample \"0\": write a whole number"),
        (vec!["--access-log-sample", "10"], "without --access-log FILE"),
        (vec!["--trusted-proxies", "10.0.0.0/33"], "--trusted-proxies \"10.0.0.0/33\""),
        (vec!["--log-level", "loud"], "--log-level \"loud\": write error, warn"),
        (vec!["--log-format", "xml"], "--log-format \"xml\": write text or json"),
        (vec!["--admin-token-file", "/nonexistent"], "--join-token-file is needed beside"),
        (vec!["--join-token-file", "/nonexistent"], "--admin-token-file is needed beside"),
        (vec!["start"], "unexpected argument \"start\""),
    ] {
        let refusal = read(&args).expect_err(part);
        assert!(refusal.contains(part), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    let both = ["--admin-token-file", "/nonexistent/a", "--join-token-file", "/nonexistent/b"];
    let config = read(&both).expect("the flags are good");
    let refusal = config.read_tokens().expect_err("no such file").to_string();
    assert!(refusal.starts_with("--admin-token-file \"/nonexistent/a\""), "{refusal}");
}

#[test]
fn the_api_is_not_open_to_the_network_without_secrets() {
    for address in ["0.0.0.0:7070", "[::]:7070", "192.0.2.1:7070"] {
        let refusal = read(&["--api-listen", address]).expect_err("open");
        assert!(refusal.contains("--api-listen") && refusal.contains("--admin-token-file"));
        assert!(refusal.contains("127.0.0.1") && refusal.lines().count() == 1, "{refusal}");
    }
    for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7070", "localhost:7070"] {
        assert!(read(&["--api-listen", address]).is_ok(), "{address}");
    }
}

#[test]
fn with_both_secrets_the_api_may_be_anywhere_and_nothing_prints_them() {
    let folder = std::env::temp_dir().join(format!("tucano-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, secret: &str| {
        let path = folder.join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("made");
        writeln!(file, "{secret}").expect("written");
        path.display().to_string()
    };
    let (admin, join) = (file("admin", "hunter2hunter2hunter2"), file("join", "joinjoinjoinjoin"));
    let args = ["--api-listen", "0.0.0.0:7070", "--admin-token-file", &admin];
    let config = read(&[&args[..], &["--join-token-file", &join]].concat()).expect("both given");
    let tokens = config.read_tokens().expect("readable").expect("both");
    let shown = format!("{config:?} {tokens:?}");
    assert!(tokens.admin.matches("hunter2hunter2hunter2"));
    assert!(tokens.join.matches("joinjoinjoinjoin"));
    assert!(!shown.contains("hunter2") && !shown.contains("joinjoin"), "{shown}");
    std::fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn help_names_every_flag_and_version_the_version() {
    let help = read(&["--help"]).expect_err("a text");
    for flag in [
        "--data-dir",
        "--api-listen",
        "--balancer-listen",
        "--balancer-threads",
        "--map-port",
        "--admin-token-file",
        "--join-token-file",
        "--worker-suspect",
        "--worker-timeout",
        "--rebalance",
        "--trusted-proxies",
        "--access-log",
        "--access-log-sample",
        "--log-level",
        "--log-format",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    let version = read(&["--version"]).expect_err("a text");
    assert_eq!(version, format!("tucano-controller {}\n", env!("CARGO_PKG_VERSION")));
}
