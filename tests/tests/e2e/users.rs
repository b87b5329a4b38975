//! A user for each service (`--service-uids`): what one can do to another, and how long it is its.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tucano_tests::{Lab, SOON, specs};
use tucano_tools::cluster::{Cluster, Folder, Layout, Options, has_nobody};

const FLAG: &str = "--service-uids";
const RANGE: &str = "310000-310001";

/// A service that notes who it is, each time it starts, and keeps a secret.
fn spec(name: &str) -> Value {
    let mut spec = specs::shell(name, 1);
    let script = "id -u >> $TUCANO_DATA_DIR/users; echo word > $TUCANO_DATA_DIR/secret
        echo mine > $HOME/file; echo built > here; chmod 666 here $HOME/file
        while :; do sleep 1; done";
    spec["scripts"]["runtime-script"] = json!(script);
    spec
}

/// One that leaves nothing, which would keep its number.
fn tidy_spec(name: &str) -> Value {
    let mut spec = spec(name);
    spec["scripts"]["teardown_script"] = json!("rm -f $TUCANO_DATA_DIR/*");
    spec
}

struct Service {
    user: u32,
    pid: u32,
    data: PathBuf,
}

fn deploy(lab: &Lab, spec: &Value) -> Service {
    lab.deploy(spec);
    let name = spec["name"].as_str().expect("a name");
    let data = lab.folder().join("w1/data").join(name);
    let instance = lab.wait_healthy(name, 1).remove(0);
    let pid = instance.pid.expect("a process");
    let owner = |path: &str| fs::metadata(path).map(|about| about.uid());
    let user = owner(&format!("/proc/{pid}")).expect("it runs");
    lab.until("its notes", SOON, || data.join("secret").exists().then_some(()));
    let told = fs::read_to_string(data.join("users")).expect("its notes");
    assert_eq!(told.lines().last(), Some(user.to_string().as_str()));
    Service { user, pid, data }
}

/// A command with a service's rights, outside of what hides folders from it.
fn as_user(user: u32, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).uid(user).gid(user);
    command.output().expect("it runs")
}

#[test]
fn services_can_not_touch_each_other_and_keep_their_numbers() {
    if !nix::unistd::geteuid().is_root() {
        // That it is refused there is the next test's.
        return;
    }
    if !has_nobody() {
        // In a user namespace of root alone.
        return are_refused();
    }
    let mut lab = Lab::with(1, &[], &[FLAG, RANGE]);
    let (one, two) = (deploy(&lab, &spec("one")), deploy(&lab, &tidy_spec("two")));
    assert_eq!((one.user, two.user), (310_000, 310_001));
    // Every folder of a service is closed, whatever is in it.
    let secret = two.data.join("secret").display().to_string();
    let of_build = lab.folder().join("w1/builds");
    assert!(as_user(two.user, "cat", &[&secret]).status.success());
    for (folder, user) in [
        (two.data.clone(), two.user),
        (one.data.clone(), one.user),
        (entry(&of_build, ".two.1"), two.user),
        (entry(&of_build, ".one.1"), one.user),
    ] {
        let about = fs::metadata(&folder).expect("a folder");
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o777), (user, user, 0o700));
        let other = if user == one.user { two.user } else { one.user };
        let listed = as_user(other, "ls", &[&folder.display().to_string()]);
        assert!(!listed.status.success(), "{folder:?}");
    }
    for entry in fs::read_dir(lab.folder().join("w1/instances")).expect("a folder").flatten() {
        let path = entry.path();
        let readers = [one.user, two.user].into_iter().filter(|user| {
            as_user(*user, "cat", &[&path.join("file").display().to_string()]).status.success()
        });
        assert_eq!(readers.count(), 1, "{path:?} is its own service's");
    }
    let pid = two.pid.to_string();
    let killed = as_user(one.user, "kill", &["-KILL", &pid]);
    assert!(!killed.status.success(), "{killed:?}");
    assert!(as_user(two.user, "kill", &["-0", &pid]).status.success());

    // A revision later, and with another agent, it is the same one with the same folder.
    lab.cluster.worker(0).expect("w1").kill();
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(1);
    let mut next = spec("one");
    next["env"] = json!({ "REVISION": "2" });
    let again = deploy(&lab, &next);
    assert_eq!(again.user, one.user);
    let told = fs::read_to_string(again.data.join("users")).expect("its notes");
    assert!(told.lines().all(|user| user == "310000"), "{told}");

    // There is no third one, until nothing is left of another.
    let refused = lab.try_deploy(&spec("three"));
    assert_eq!(refused.status, 424, "{}", refused.text());
    assert!(refused.text().contains("give a larger range"), "{}", refused.text());
    lab.remove("three");
    lab.remove("two");
    lab.until("its folder is gone", SOON, || (!two.data.exists()).then_some(()));
    assert_eq!(deploy(&lab, &spec("four")).user, two.user);
}

fn are_refused() {
    let folder = Folder::new("uids").expect("a folder");
    let data = folder.path().join("data");
    let layout = Layout::private(0).expect("addresses");
    let cluster = Cluster::new(folder, layout, Options::default()).expect("the binaries' folder");
    let mut command = Command::new(cluster.binary("tucano-worker").expect("it is built"));
    command.arg("--data-dir").arg(&data).args(["--listen", "127.0.0.1:0", FLAG, RANGE]);
    let refused = command.output().expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--service-uids") && said.contains("/etc/subuid"), "{said}");
}

/// The entry of a folder whose name ends so.
fn entry(folder: &Path, ending: &str) -> PathBuf {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names = entries.map(|entry| entry.path());
    let found = names.find(|path| path.display().to_string().ends_with(ending));
    found.unwrap_or_else(|| panic!("nothing of {ending} in {folder:?}"))
}

#[test]
fn both_flags_are_refused_and_so_is_an_agent_that_can_not_be_others() {
    let folder = Folder::new("uids").expect("a folder");
    let data = folder.path().join("data");
    let layout = Layout::private(0).expect("addresses");
    let cluster = Cluster::new(folder, layout, Options::default()).expect("the binaries' folder");
    let binary = cluster.binary("tucano-worker").expect("it is built");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("--data-dir").arg(&data).args(["--listen", "127.0.0.1:0"]).args(arguments);
        command.output().expect("it runs")
    };
    let both = run(&[FLAG, RANGE, "--run-as", "nobody"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&both.stderr).contains("leave one of them out"));
    if !nix::unistd::geteuid().is_root() {
        let refused = run(&[FLAG, RANGE]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--service-uids: only an agent"));
    }
}
