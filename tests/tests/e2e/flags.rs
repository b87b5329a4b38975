//! The command lines: help, versions, and every refusal with its exit code.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use tucano_tests::Lab;
use tucano_tools::cluster::{Cluster, Folder, Layout, Options};

fn binaries() -> (Cluster, [PathBuf; 3]) {
    let folder = Folder::new("test").expect("a folder");
    let layout = Layout::private(0).expect("addresses");
    let cluster = Cluster::new(folder, layout, Options::default()).expect("a cluster");
    let names = ["tucano-controller", "tucano-worker", "tucano"];
    let paths = names.map(|name| cluster.binary(name).expect("it is built"));
    (cluster, paths)
}

fn run(binary: &PathBuf, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TUCANO_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("it runs")
}

/// One line on stderr that has `word`, and this exit code.
fn assert_refused(output: &Output, code: i32, word: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(word), "{word} is not in: {text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
}

#[test]
fn help_and_version_exit_0() {
    let (_cluster, binaries) = binaries();
    for binary in &binaries {
        let help = run(binary, &["--help"]);
        assert_eq!(help.status.code(), Some(0));
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(text.contains("--version"), "{text}");
        let version = run(binary, &["--version"]);
        assert_eq!(version.status.code(), Some(0));
        let text = String::from_utf8_lossy(&version.stdout).into_owned();
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}

#[test]
fn the_help_names_every_flag_of_the_contract() {
    let (_cluster, [controller, worker, _]) = binaries();
    let of_controller = [
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
    ];
    let of_worker = [
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
    ];
    for (binary, flags) in [(controller, &of_controller[..]), (worker, &of_worker[..])] {
        let text = String::from_utf8_lossy(&run(&binary, &["--help"]).stdout).into_owned();
        for flag in flags {
            assert!(text.contains(flag), "{flag} is not in: {text}");
        }
    }
}

#[test]
fn wrong_flags_exit_2_and_name_the_flag() {
    let (cluster, [controller, worker, _]) = binaries();
    let data = cluster.folder.path().join("data").display().to_string();
    for (binary, arguments, word) in [
        (&controller, vec!["--frobnicate"], "--frobnicate"),
        (&controller, vec!["--api-listen", "nonsense"], "--api-listen"),
        (&controller, vec!["--worker-timeout", "10"], "--worker-timeout"),
        (&controller, vec!["--worker-suspect", "20s"], "--worker-"),
        (&controller, vec!["--map-port", "80"], "--map-port"),
        (&controller, vec!["--balancer-threads", "0"], "--balancer-threads"),
        (&controller, vec!["--trusted-proxies", "10.0.0.0/40"], "--trusted-proxies"),
        (&controller, vec!["--admin-token-file", "/nonexistent/token"], "--admin-token-file"),
        (&controller, vec!["--access-log-sample", "10"], "--access-log"),
        (&controller, vec!["--log-level", "loud"], "--log-level"),
        (&controller, vec!["stray"], "stray"),
        (&worker, vec!["--frobnicate"], "--frobnicate"),
        (&worker, vec!["--controller", "https://a"], "--controller"),
        (&worker, vec!["--name", "No.Name"], "--name"),
        (&worker, vec!["--port-range", "9-1"], "--port-range"),
        (&worker, vec!["--label", "noequals"], "--label"),
        (&worker, vec!["--run-as", "nobody-of-that-name"], "--run-as"),
        (&worker, vec!["--service-uids", "0-9"], "--service-uids"),
        (&worker, vec!["--heartbeat", "0s"], "--heartbeat"),
    ] {
        let arguments = [vec!["--data-dir", &data], arguments].concat();
        assert_refused(&run(binary, &arguments), 2, word);
    }
}

#[test]
fn the_environment_stands_in_for_flags_and_the_flag_wins() {
    let (cluster, [controller, _, _]) = binaries();
    let data = cluster.folder.path().join("data").display().to_string();
    let mut command = Command::new(&controller);
    command.args(["--data-dir", &data]).env("TUCANO_API_LISTEN", "nonsense");
    assert_refused(&command.output().expect("it runs"), 2, "TUCANO_API_LISTEN");
    let mut command = Command::new(&controller);
    command.args(["--data-dir", &data, "--log-level", "loud"]).env("TUCANO_LOG_LEVEL", "info");
    assert_refused(&command.output().expect("it runs"), 2, "--log-level");
}

#[test]
fn an_access_log_that_cannot_be_opened_exits_1_and_names_it() {
    let (cluster, [controller, ..]) = binaries();
    let data = cluster.folder.path().join("data").display().to_string();
    let file = cluster.folder.path().join("nowhere/access.log").display().to_string();
    let free = ["--api-listen", "127.0.0.1:0", "--balancer-listen", "127.0.0.1:0"];
    let arguments = [&["--data-dir", &data, "--access-log", &file], &free[..]].concat();
    let refused = run(&controller, &arguments);
    assert_refused(&refused, 1, &file);
    assert_refused(&refused, 1, "--access-log");
}

#[test]
fn a_port_that_is_taken_exits_1_and_names_it() {
    let (cluster, [controller, worker, _]) = binaries();
    let data = cluster.folder.path().join("data").display().to_string();
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("its number").to_string();
    let free = "127.0.0.1:0";
    for arguments in [
        ["--api-listen", &address, "--balancer-listen", free],
        ["--api-listen", free, "--balancer-listen", &address],
    ] {
        let arguments = [vec!["--data-dir", &data], arguments.to_vec()].concat();
        assert_refused(&run(&controller, &arguments), 1, &address);
    }
    let mut arguments = vec!["--data-dir", &data, "--listen", &address];
    if nix::unistd::geteuid().is_root() {
        arguments.extend(["--run-as", "nobody"]);
    }
    assert_refused(&run(&worker, &arguments), 1, &address);
}

#[test]
fn a_data_folder_that_can_not_be_written_or_is_held_exits_1() {
    let lab = Lab::start(1);
    let [controller, worker] = ["tucano-controller", "tucano-worker"]
        .map(|name| lab.cluster.binary(name).expect("it is built"));
    let file = lab.folder().join("a-file");
    fs::write(&file, "in the way").expect("a file");
    let below = file.join("data").display().to_string();
    let held = [lab.folder().join("controller"), lab.folder().join("w1")];
    let [held_controller, held_worker] = held.map(|path| path.display().to_string());
    let free = format!("{}:0", lab.balancer().ip());
    for data in [&below, &held_controller] {
        let arguments = ["--data-dir", data, "--api-listen", &free, "--balancer-listen", &free];
        assert_refused(&run(&controller, &arguments), 1, data);
    }
    for data in [&below, &held_worker] {
        let mut arguments = vec!["--data-dir", data, "--listen", &free, "--name", "other"];
        if nix::unistd::geteuid().is_root() {
            arguments.extend(["--run-as", "nobody"]);
        }
        assert_refused(&run(&worker, &arguments), 1, data);
    }
}
