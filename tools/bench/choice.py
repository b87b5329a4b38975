#!/usr/bin/env python3
"""make bench-choice: the choice of an instance against round robin, with one worker under stress.

    tools/bench/choice.py --worker target/release/tucano-worker
        --controller target/release/tucano-controller --load target/release/tucano-load
        [--rounds 3] [--seconds 8] [--rate 400] [--percent 4]

One controller, three workers, one instance of a service on each, whose answers cost CPU time. The
third instance's control group gets a few percent of a core: its own worker is busy with other things.
The same three instances are asked through this balancer and, by turns, through HAProxy and nginx, in
alternating rounds at the same steady rate. Exit code 0 if the median p99 of this balancer is at most
half of the better peer's. Root, because control groups are wanted; Python's standard library.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import build_beside
import machine
import proxies

SHARE_OF_PEERS = 0.5
WORKERS = 3
PERIOD_US = 100_000
SERVICE = r"""
import http.server as h, os, socketserver as s
class H(h.BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = 'HTTP/1.1', True
    def do_GET(self):
        total = sum(range(10000))
        self.send_response(200)
        self.send_header('Content-Length', str(len(str(total))))
        self.end_headers()
        self.wfile.write(str(total).encode())
    def log_message(self, *_):
        pass
class S(s.ThreadingMixIn, s.TCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128
S((os.environ['HOST'], int(os.environ['PORT'])), H).serve_forever()
"""


class Cluster(build_beside.Cluster):
    """The one of the build's bench, with more workers."""

    def __init__(self, args, folder):
        super().__init__(args, folder)
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        for number in range(2, WORKERS + 1):
            port = machine.free_port()
            first = 20000 + 1000 * number
            self.run(
                [args.worker, f"--name=w{number}", f"--controller=http://127.0.0.1:{self.api}"]
                + [f"--data-dir={folder}/w{number}", f"--listen=127.0.0.1:{port}"]
                + [f"--port-range={first}-{first + 99}", f"--run-as={user}"],
                port,
            )
        deadline = time.monotonic() + 20
        while sum(it["state"] == "ready" for it in self.ask("GET", "/v1/workers")) < WORKERS:
            if time.monotonic() > deadline:
                raise SystemExit("bench: the workers do not come")
            time.sleep(0.05)


def stress(pid, percent):
    """So much of a core, and no more, for the control group that the worker made for a process."""
    with open(f"/proc/{pid}/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    quota = PERIOD_US * percent // 100
    for _, controllers, path in lines:
        if "cpu" in controllers.split(","):
            write(f"/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us", str(quota))
            return
    path = next(path for _, controllers, path in lines if not controllers)
    write(f"/sys/fs/cgroup{path}/cpu.max", f"{quota} {PERIOD_US}")


def write(path, text):
    if "tucano" not in path:
        raise SystemExit(f"bench: the worker has no control groups of its own here: {path}")
    with open(path, "w") as file:
        file.write(text)


def measure(args, port):
    argv = [args.load, "--json", f"--host={proxies.HOST}", f"--rate={args.rate}"]
    argv += ["--connections=64", f"--duration={args.seconds}s", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(argv, capture_output=True, text=True)
    counts = json.loads(done.stdout)
    if counts["failed"]:
        raise SystemExit(f"bench: requests failed: {counts}")
    return counts["latency_ms"]


def rounds(args, cluster, folder):
    """{proxy: [its latencies, a round each]}"""
    spec = {
        "name": "web",
        "network": {"expose_port": 80, "hosts": [proxies.HOST]},
        "scripts": {"runtime-script": f"exec python3 -c \"{SERVICE}\""},
        "concurrency": WORKERS,
        "placement": {"max_per_worker": 1},
        "resources": {"cpu": 0.1, "memory": "64MiB"},
    }
    cluster.ask("POST", "/v1/services?wait=60s", spec)
    instances = sorted(cluster.instances("web"), key=lambda it: it["worker"])
    stress(instances[-1]["pid"], args.percent)
    ports = [int(it["address"].rsplit(":", 1)[1]) for it in instances]
    free = set(os.sched_getaffinity(0))
    peers = [proxies.haproxy(folder, free, ports), proxies.nginx(folder, min(free), ports)]
    found = {"tucano": [], "haproxy": [], "nginx": []}
    try:
        targets = [("tucano", cluster.balancer)] + [(it.name, it.port) for it in peers]
        # A slow start is no part of it.
        time.sleep(11)
        for turn in range(args.rounds):
            shift = turn % len(targets)
            for name, port in targets[shift:] + targets[:shift]:
                found[name].append(measure(args, port))
                print(f"round {turn + 1}: {name}: {found[name][-1]}", file=sys.stderr)
    finally:
        for peer in peers:
            peer.stop()
    return found


def report(args, found):
    print(
        f"{args.rate} requests a second, {args.rounds} rounds of {args.seconds} s each, one of "
        f"{WORKERS} instances with {args.percent} % of a core, ms:\n"
    )
    print("| | p50 | p99: median (least to most) | p99.9 |")
    print("| --- | --- | --- | --- |")
    middles = {}
    for name, each in found.items():
        middle = {key: statistics.median(it[key] for it in each) for key in ("p50", "p99", "p999")}
        all_p99 = [it["p99"] for it in each]
        print(
            f"| {name} | {middle['p50']:.2f} | {middle['p99']:.2f} "
            f"({min(all_p99):.2f} to {max(all_p99):.2f}) | {middle['p999']:.2f} |"
        )
        middles[name] = middle["p99"]
    share = middles["tucano"] / min(middles["haproxy"], middles["nginx"])
    met = share <= SHARE_OF_PEERS
    print(f"\n{'met' if met else 'NOT MET'}: p99 {share:.2f} of the better, at most {SHARE_OF_PEERS}")
    return 0 if met else 1


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("worker", "controller", "load"):
        args.add_argument(f"--{name}", required=True)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--seconds", type=int, default=8)
    args.add_argument("--rate", type=int, default=400)
    args.add_argument("--percent", type=int, default=4)
    args = args.parse_args()
    folder = tempfile.mkdtemp(prefix="tucano-bench-")
    os.chmod(folder, 0o755)
    cluster = None
    try:
        cluster = Cluster(args, folder)
        found = rounds(args, cluster, folder)
    finally:
        if cluster:
            cluster.end(["web"])
        shutil.rmtree(folder, ignore_errors=True)
    return report(args, found)


if __name__ == "__main__":
    sys.exit(main())
