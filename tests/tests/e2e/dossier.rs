//! What the controller keeps of an instance's death.

use std::thread;

use serde_json::json;
use tucano_common::wire::views::{InstanceView, ServiceView};
use tucano_net::{Method, OutRequest};
use tucano_tests::{Lab, SOON, specs};

/// It holds what is asked of `/hold`, and dies by `/die` once five are held.
const HOLDER: &str = "exec python3 -c \"
import http.server as h, os, socketserver as s, threading as t, time
room = t.Condition()
held = 0
class H(h.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    log_message = lambda *_: None
    def do_POST(self):
        global held
        with room:
            if self.path == '/die':
                room.wait_for(lambda: held == 5)
                print('five are held', flush=True)
                os._exit(3)
            held += 1
            room.notify_all()
        time.sleep(600)
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()
class S(s.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128
S(('$HOST', $PORT), H).serve_forever()\"";

#[test]
fn the_requests_in_flight_at_a_death_are_counted() {
    let mut lab = Lab::start(1);
    let mut spec = specs::python("web", 1);
    spec["scripts"]["runtime-script"] = json!(HOLDER);
    spec["network"]["health_check"] = json!({ "path": "/" });
    // Who died stays dead for as long as this test looks.
    spec["restart"] = json!({ "backoff": "30s", "backoff_max": "60s" });
    lab.deploy(&spec);
    assert_eq!(lab.fetch("web", "/").status, 200);
    thread::scope(|scope| {
        let ask = |path: &'static str| {
            let lab = &lab;
            // Posts are not sent again.
            scope.spawn(move || lab.try_request("web", &OutRequest::new(Method::Post, path)))
        };
        let asked: Vec<_> = ["/hold"; 5].into_iter().chain(["/die"]).map(ask).collect();
        for answer in asked {
            let answer = answer.join().expect("a request").expect("an answer");
            assert_eq!(answer.status, 502, "{}", answer.text());
        }
    });
    let dossier = |lab: &Lab| {
        let service: ServiceView = lab.service("web");
        let instance: InstanceView = lab.get(&format!("/v1/instances/{}", service.instances[0].id));
        instance.failure.filter(|failure| failure.run.is_some())
    };
    let failure = lab.until("all six in the failure's record", SOON, || {
        let failure = dossier(&lab)?;
        (failure.run?.requests_in_flight == Some(6)).then_some(failure)
    });
    assert!(failure.output_tail.contains("five are held"), "{failure:?}");
    // It is the controller's: stored, and not lost by what the worker says later.
    lab.cluster.controller().expect("a controller").kill();
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    lab.wait_heard();
    assert_eq!(dossier(&lab), Some(failure));
}

#[test]
fn a_death_in_silence_took_no_request_along() {
    let lab = Lab::start(1);
    let mut spec = lab.demo("web", 1);
    spec["restart"] = json!({ "backoff": "30s", "backoff_max": "60s" });
    lab.deploy(&spec);
    assert_eq!(lab.fetch("web", "/").status, 200);
    let instance = lab.service("web").instances.remove(0);
    lab.kill_instance(&instance);
    lab.until("the failure's record", SOON, || {
        let instance: InstanceView = lab.get(&format!("/v1/instances/{}", instance.id));
        let run = instance.failure?.run?;
        assert_eq!(run.requests_in_flight, Some(0));
        Some(())
    });
}
