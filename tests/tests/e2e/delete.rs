//! A DELETE leaves no process, no port and no file behind.

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use tucano_net::Method;
use tucano_tests::{Lab, SOON, specs};

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn nothing_is_left_of_a_deleted_service() {
    let lab = Lab::start(2);
    let mut spec = specs::python("gone", 4);
    spec["scripts"]["build-script"] = serde_json::json!("echo page > index.html; mkdir -p deep/er");
    spec["scripts"]["teardown_script"] = serde_json::json!("echo bye");
    // A port of its own, to see it close.
    spec["network"]["expose_port"] = serde_json::json!(8123);
    lab.deploy(&spec);
    let instances = lab.wait_healthy("gone", 4);
    let addresses: Vec<_> = instances.iter().filter_map(|instance| instance.address).collect();
    assert_eq!(addresses.len(), 4);
    let exposed = (lab.balancer().ip(), 8123);
    assert!(TcpStream::connect(exposed).is_ok(), "the balancer listens on the service's port");

    lab.remove("gone");
    lab.assert_no_process();
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "{address} is still open");
    }
    lab.until("the exposed port's end", SOON, || {
        TcpStream::connect(exposed).is_err().then_some(())
    });
    // An ended instance's output and a service's own data are kept for a while, on purpose.
    let kept = |path: &Path, worker: &Path| {
        ["logs", "data"].iter().any(|folder| path.starts_with(worker.join(folder)))
    };
    let left_of = |worker: &str| {
        let worker = lab.folder().join(worker);
        let named = |path: &PathBuf| {
            if kept(path, &worker) {
                return false;
            }
            let text = path.to_string_lossy();
            let mine = instances.iter().any(|i| text.contains(&i.id.to_string()));
            mine || text.contains("gone") || text.contains("index.html")
        };
        files(&worker).into_iter().filter(named).collect::<Vec<_>>()
    };
    for worker in ["w1", "w2"] {
        let cleared = tucano_tools::wait::until("empty folders", SOON, || {
            left_of(worker).is_empty().then_some(())
        });
        assert!(cleared.is_ok(), "left on {worker}: {:?}", left_of(worker));
    }
    assert_eq!(lab.fetch("gone", "/").status, 404);
}

#[test]
fn deleting_twice_is_harmless_and_what_is_not_there_is_404() {
    let lab = Lab::start(1);
    assert_eq!(lab.ask(Method::Delete, "/v1/services/nothing", None).status, 404);
    lab.deploy(&specs::shell("once", 1));
    let first = lab.ask(Method::Delete, "/v1/services/once", None);
    let second = lab.ask(Method::Delete, "/v1/services/once", None);
    assert_eq!(first.status, 202, "{}", first.text());
    assert!(matches!(second.status, 202 | 404), "{}", second.text());
    lab.until("its end", SOON, || {
        (lab.ask(Method::Get, "/v1/services/once", None).status == 404).then_some(())
    });
    // The name is free again, and revisions begin anew or go on; both serve.
    lab.deploy(&specs::shell("once", 1));
    lab.wait_healthy("once", 1);
}

#[test]
fn a_delete_during_a_deploy_ends_both() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("hasty", 2);
    spec["scripts"]["build-script"] = serde_json::json!("sleep 30");
    let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
    assert_eq!(answer.status, 202, "{}", answer.text());
    lab.until("the build", SOON, || (!lab.cluster.strays().is_empty()).then_some(()));
    lab.remove("hasty");
    lab.assert_no_process();
}
