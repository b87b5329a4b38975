//! What is installed: the units by systemd's own judgement, `make install` into a folder, the demo.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tucano_tests::MINUTE;
use tucano_tools::cluster::{Cluster, Folder, Layout, Options};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn cluster() -> Cluster {
    let folder = Folder::new("test").expect("a folder");
    let layout = Layout::private(0).expect("addresses");
    Cluster::new(folder, layout, Options::default()).expect("a cluster")
}

/// The units, with the binaries of this build in the place of the installed ones.
fn units(cluster: &Cluster) -> Vec<String> {
    let mut paths = Vec::new();
    let names = ["tucano-controller.service", "tucano-controller.socket", "tucano-worker.service"];
    for name in names.into_iter().chain(["tucano.slice"]) {
        let unit = fs::read_to_string(root().join("systemd").join(name)).expect("a unit");
        let binary = cluster.binary("tucano-controller").expect("it is built");
        let folder = binary.parent().expect("a folder").display().to_string();
        let path = cluster.folder.path().join(name);
        fs::write(&path, unit.replace("/usr/local/bin", &folder)).expect("a file");
        paths.push(path.display().to_string());
    }
    paths
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    let cluster = cluster();
    let units = units(&cluster);
    let verified =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output();
    let verified = verified.expect("systemd-analyze runs (Debian: apt-get install systemd)");
    assert!(verified.status.success() && text(&verified).is_empty(), "{}", text(&verified));
    // 25 is an exposure of 2.5; above it the command fails.
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=25", &units[0]])
        .output()
        .expect("systemd-analyze runs");
    assert!(security.status.success(), "{}", text(&security));
}

#[test]
fn the_agents_unit_keeps_what_supervising_needs() {
    let unit = fs::read_to_string(root().join("systemd/tucano-worker.service")).expect("a unit");
    for line in ["KillMode=process", "Delegate=yes", "Restart=always", "OOMPolicy=continue"] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
    for surprise in ["PrivateTmp=yes", "ProtectHome=yes", "SystemCallFilter="] {
        assert!(!unit.lines().any(|own| own.starts_with(surprise)), "{surprise}");
    }
}

#[test]
fn an_installation_is_complete_and_goes_away_again() {
    let cluster = cluster();
    let dest = cluster.folder.path().join("dest");
    let built = cluster.binary("tucano").expect("it is built");
    let built = built.parent().expect("a folder").display().to_string();
    let dest_text = dest.display().to_string();
    let run = |action: &str| {
        let output = Command::new("sh")
            .current_dir(root())
            .args(["tools/install.sh", action, &dest_text, "/usr/bin", "/usr/share/doc/tucano"])
            .args(["/usr/lib/systemd/system", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", &built])
            .output()
            .expect("sh runs");
        assert!(output.status.success(), "{}", text(&output));
    };
    run("install");
    let wanted = [
        "usr/bin/tucano-controller",
        "usr/bin/tucano-worker",
        "usr/bin/tucano",
        "usr/lib/systemd/system/tucano-controller.service",
        "usr/lib/systemd/system/tucano-controller.socket",
        "usr/lib/systemd/system/tucano-worker.service",
        "usr/lib/systemd/system/tucano.slice",
        "usr/lib/sysusers.d/tucano.conf",
        "usr/lib/tmpfiles.d/tucano.conf",
        "etc/tucano/controller.env",
        "etc/tucano/worker.env",
        "usr/share/doc/tucano/README.md",
    ];
    for path in wanted {
        assert!(dest.join(path).is_file(), "{path}");
    }
    let unit = dest.join("usr/lib/systemd/system/tucano-controller.service");
    let unit = fs::read_to_string(unit).expect("a unit");
    assert!(unit.contains("ExecStart=/usr/bin/tucano-controller"), "{unit}");
    // Settings that somebody changed are kept.
    let settings = dest.join("etc/tucano/worker.env");
    fs::write(&settings, "TUCANO_NAME=mine\n").expect("a file");
    run("install");
    assert_eq!(fs::read_to_string(&settings).expect("a file"), "TUCANO_NAME=mine\n");
    run("uninstall");
    for path in wanted.iter().filter(|path| !path.starts_with("etc/")) {
        assert!(!dest.join(path).exists(), "{path}");
    }
    assert!(settings.is_file(), "settings stay");
}

#[test]
fn the_demo_shows_its_part_and_leaves_nothing() {
    let cluster = cluster();
    let log = cluster.folder.path().join("demo.log");
    let binary = cluster.binary("tucano-demo-cluster").expect("it is built");
    let started = tucano_tools::cluster::Daemon::start(binary, &["--once".to_owned()], &log);
    let mut demo = started.unwrap_or_else(|error| panic!("{error}"));
    let status = demo.wait(MINUTE * 3);
    let shown = demo.log();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{shown}");
    for part in ["web revision 1 is up: 3 of 3", "kill -9", "runs again", "Nothing is left behind"]
    {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
}
