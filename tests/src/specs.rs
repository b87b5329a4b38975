//! Services to deploy: programs that nobody here wrote, and the demo service.

use std::path::Path;

use serde_json::{Value, json};

/// The fields that make tests quick: nothing here is what a test is about.
fn quick(mut spec: Value) -> Value {
    spec["update"] = json!({ "min_healthy": "100ms" });
    spec["stop"] = json!({ "drain": "5s", "grace": "3s" });
    spec
}

/// Python's file server, on port 80 under the service's name.
pub fn python(name: &str, concurrency: u32) -> Value {
    quick(json!({
        "name": name,
        "network": { "expose_port": 80 },
        "scripts": {
            "build-script": "echo \"hello from $TUCANO_SERVICE\" > index.html",
            "runtime-script": "exec python3 -m http.server --bind \"$HOST\" \"$PORT\"",
        },
        "concurrency": concurrency,
    }))
}

/// Python's file server over kept connections, and nothing of Python's slow start of a listener
/// (it looks its own name up). It greets with `hello from NAME`.
pub fn python_kept(name: &str, concurrency: u32) -> Value {
    let mut spec = python(name, concurrency);
    spec["network"]["health_check"] = json!({ "path": "/", "interval": "500ms" });
    spec["scripts"]["runtime-script"] = json!(PYTHON_KEPT);
    spec
}

/// Its start; other scripts may have something before it.
pub const PYTHON_KEPT: &str = "exec python3 -c \"
import http.server as h, socketserver as s
class H(h.SimpleHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = 'HTTP/1.1', True
    log_message = lambda *_: None
class S(s.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128
S(('$HOST', $PORT), H).serve_forever()\"";

/// A node script that answers at once with what it is.
pub fn node(name: &str, concurrency: u32) -> Value {
    let script = "require('http').createServer((request, answer) => answer.end(
        process.env.TUCANO_INSTANCE + ' ' + request.headers['x-forwarded-for'] + '\\n'
    )).listen(process.env.PORT, process.env.HOST)";
    quick(json!({
        "name": name,
        "network": { "expose_port": 80 },
        "scripts": { "runtime-script": format!("exec node -e \"{script}\"") },
        "concurrency": concurrency,
    }))
}

/// A shell loop without a port: a worker of queues, say.
pub fn shell(name: &str, concurrency: u32) -> Value {
    quick(json!({
        "name": name,
        "scripts": { "runtime-script": "while true; do echo tick; sleep 0.2; done" },
        "concurrency": concurrency,
    }))
}

/// The demo service, whose binary lies in this folder.
pub fn demo(name: &str, concurrency: u32, folder: &Path) -> Value {
    quick(json!({
        "name": name,
        "network": { "expose_port": 80, "health_check": { "path": "/healthz" } },
        "scripts": { "runtime-script": "exec ./tucano-demo" },
        "concurrency": concurrency,
        "source": { "path": folder },
    }))
}
