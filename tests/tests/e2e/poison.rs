//! A request that instances die of.

use tucano_common::wire::views::ServiceView;
use tucano_net::{Method, OutRequest};
use tucano_tests::Lab;

#[test]
fn one_bad_request_kills_two_instances_at_most() {
    let lab = Lab::start(2);
    let mut spec = lab.demo("web", 4);
    // Who died stays dead for as long as this test looks.
    spec["restart"] = serde_json::json!({ "backoff": "30s", "backoff_max": "60s" });
    lab.deploy(&spec);
    lab.answering("web", 4);
    let before: ServiceView = lab.service("web");
    let request = OutRequest::new(Method::Get, "/crash?token=hush");
    let answer = lab.try_request("web", &request).expect("an answer");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.headers.get("X-Tucano-Error"), Some("poison"), "{}", answer.text());
    let dead = || {
        let gone = before.instances.iter().filter(|instance| {
            let pid = instance.pid.expect("a process");
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        });
        gone.count()
    };
    // The second one may still be on its way out when the answer is here.
    lab.until("two deaths", tucano_tests::SOON, || (dead() >= 2).then_some(()));
    let told = lab.until("the event", tucano_tests::SOON, || {
        lab.events().into_iter().find(|event| event.kind == "request_poison")
    });
    assert!(told.message.contains("GET web/crash (id "), "{}", told.message);
    assert!(!told.message.contains("hush"), "{}", told.message);
    assert_eq!(lab.fetch("web", "/").status, 200, "the others live");
    assert_eq!(dead(), 2, "and no third one");
}
