//! A panic in any thread is one line on stderr and the end of the process.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use tucano_net::threads::{Stack, end_process_on_panic, spawn};

const CHILD: &str = "TUCANO_NET_TEST_PANICS";

#[test]
fn a_panic_ends_the_process_with_one_line() {
    if std::env::var_os(CHILD).is_some() {
        tucano_net::logger::init(log::LevelFilter::Info, tucano_net::logger::Format::Text);
        end_process_on_panic();
        let thread = spawn("worker", Stack::Helper, || panic!("a\nb")).expect("a thread");
        // Never seen: the process has ended.
        assert!(thread.join().is_ok());
        return;
    }
    let this = std::env::current_exe().expect("this test");
    let name = "a_panic_ends_the_process_with_one_line";
    let child = Command::new(this)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the child");
    assert_eq!(child.status.signal(), Some(6), "aborted");
    let stderr = String::from_utf8_lossy(&child.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].contains("thread worker at "), "{stderr}");
    assert!(lines[0].ends_with(": a\\nb"), "{stderr}");
}
