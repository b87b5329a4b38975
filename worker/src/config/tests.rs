//! Flags: defaults, twins, and every refusal by the line that the operator reads.

use std::ffi::OsString;
use std::path::Path;

use super::*;

fn read(args: &[&str]) -> Result<Config, String> {
    read_with(args, &[], "pi-3.lan")
}

fn read_with(args: &[&str], env: &'static [(&str, &str)], host: &str) -> Result<Config, String> {
    let args = args.iter().map(OsString::from).collect();
    let flags = Flags::new(args, move |name| {
        env.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
    });
    match Config::read(flags, host) {
        Ok(Wanted::Run(config)) => Ok(*config),
        Ok(Wanted::Text(text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn defaults() {
    let config = read(&[]).unwrap();
    assert_eq!(config.controller.to_string(), CONTROLLER);
    assert_eq!(config.name.as_str(), "pi-3");
    assert_eq!(config.data_dir, Path::new("/var/lib/tucano/worker"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:7071");
    assert_eq!(Some(config.ports), PortRange::new(20_000, 29_999));
    assert_eq!(config.heartbeat, Duration::from_secs(1));
    assert!(config.advertise.is_none() && config.labels.is_empty() && config.run_as.is_none());
    assert!(config.join_token.is_none());
    assert_eq!((config.log_level, config.log_format), (LevelFilter::Info, Format::Text));
}

#[test]
fn flags_and_their_twins() {
    let config = read_with(
        &["--name", "a", "--label", "disk=ssd", "--label=zone=", "--heartbeat", "250ms"],
        &[
            ("TUCANO_NAME", "b"),
            ("TUCANO_PORT_RANGE", "1-2"),
            ("TUCANO_ADVERTISE", "192.0.2.7"),
            ("TUCANO_RUN_AS", "nobody"),
            ("TUCANO_DATA_DIR", "some/where"),
        ],
        "",
    )
    .unwrap();
    assert_eq!(config.name.as_str(), "a", "the flag wins");
    assert_eq!(config.labels["disk"], "ssd");
    assert_eq!(config.labels["zone"], "");
    assert_eq!(config.heartbeat, Duration::from_millis(250));
    assert_eq!(Some(config.ports), PortRange::new(1, 2));
    assert_eq!(config.advertise, Some(IpAddr::from([192, 0, 2, 7])));
    assert_eq!(config.run_as.as_deref(), Some("nobody"));
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("some/where"));
    let labels = read_with(&[], &[("TUCANO_LABEL", "a=1,b=2")], "host").unwrap().labels;
    assert_eq!(labels.len(), 2);
}

#[test]
fn every_refusal_is_one_line_that_names_its_flag() {
    let long = "x".repeat(64);
    let many: Vec<String> = (0..65).map(|n| format!("--label=k{n}=")).collect();
    for (args, part) in [
        (vec!["--contrller", "x"], "unknown flag \"--contrller\": did you mean --controller?"),
        (vec!["--name"], "--name needs a value"),
        (vec!["--name", "Pi"], "--name \"Pi\": 'P' is not allowed"),
        (vec!["--name", &long], "64 characters long"),
        (vec!["--controller", "https://a"], "--controller \"https://a\": write it as http://"),
        (vec!["--listen", "7071"], "--listen \"7071\": write an address and a port"),
        (vec!["--advertise", "pi.lan"], "--advertise \"pi.lan\": write an address"),
        (vec!["--advertise", "0.0.0.0"], "--advertise \"0.0.0.0\": write one address"),
        (vec!["--port-range", "30000-20000"], "--port-range \"30000-20000\": write two ports"),
        (vec!["--port-range", "0-9"], "--port-range \"0-9\""),
        (vec!["--heartbeat", "1"], "--heartbeat \"1\": not a duration"),
        (vec!["--heartbeat", "10ms"], "--heartbeat \"10ms\": it must be from 100ms to 1m"),
        (vec!["--label", "disk"], "--label \"disk\": write a label as KEY=VALUE"),
        (vec!["--label", "=x"], "--label \"=x\": a label's key"),
        (vec!["--label", "a b=x"], "--label \"a b=x\": a label's key"),
        (vec!["--label", "a=1", "--label", "a=2"], "--label: \"a\" is given more than once"),
        (many.iter().map(String::as_str).collect(), "--label: 65 labels"),
        (vec!["--join-token-file", "/nonexistent"], "--join-token-file \"/nonexistent\""),
        (vec!["--log-level", "loud"], "--log-level \"loud\""),
        (vec!["--service-uids", "0-9"], "--service-uids \"0-9\": write two numbers from 10000 on"),
        (vec!["--service-uids", "20000-20009", "--run-as", "me"], "leave one of them out"),
        (vec!["--run-as", ""], "--run-as \"\""),
        (vec!["run"], "unexpected argument \"run\""),
    ] {
        let refusal = read(&args).unwrap_err();
        assert!(refusal.contains(part), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    let refusal = read_with(&[], &[], "my_host.lan").unwrap_err();
    assert!(refusal.starts_with("--name is needed") && refusal.contains("my_host"), "{refusal}");
}

#[test]
fn the_agent_is_not_open_to_the_network_without_a_secret() {
    for address in ["0.0.0.0:7071", "[::]:7071", "192.0.2.1:7071"] {
        let refusal = read(&["--listen", address]).unwrap_err();
        assert!(refusal.contains("--listen") && refusal.contains("--join-token-file"));
    }
    for address in ["127.0.0.1:0", "127.0.0.2:7071", "[::1]:7071", "localhost:7071"] {
        assert!(read(&["--listen", address]).is_ok(), "{address}");
    }
    let path = std::env::temp_dir().join(format!("tucano-join-{}", std::process::id()));
    std::fs::write(&path, "hunter2hunter2hunter2\n").unwrap();
    let args = ["--listen", "0.0.0.0:7071", "--join-token-file", path.to_str().unwrap()];
    let config = read(&args).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(config.join_token.as_ref().unwrap().matches("hunter2hunter2hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn help_names_every_flag_and_version_the_version() {
    let help = read(&["--help"]).unwrap_err();
    for flag in [
        "--controller",
        "--name",
        "--data-dir",
        "--listen",
        "--advertise",
        "--port-range",
        "--heartbeat",
        "--label",
        "--run-as",
        "--service-uids",
        "--join-token-file",
        "--log-level",
        "--log-format",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    for standard in [CONTROLLER, DATA_DIR, LISTEN, PORT_RANGE] {
        assert!(help.contains(standard), "{standard}");
    }
    let version = read(&["-V"]).unwrap_err();
    assert_eq!(version, format!("tucano-worker {}\n", env!("CARGO_PKG_VERSION")));
}
