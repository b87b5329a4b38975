#!/usr/bin/env python3
"""make bench-build: what a build costs the service beside it on the same worker.

    tools/bench/build_beside.py --worker target/release/tucano-worker
        --controller target/release/tucano-controller --load target/release/tucano-load
        --demo target/release/tucano-demo [--rounds 7] [--seconds 8] [--rate 200]

One controller, one worker, one service with a steady load through the balancer. Rounds without and
with a build alternate; the build is a new revision of another service whose build script keeps twice
as many processes busy as there are cores. Exit code 0 if the median of the p99 with a build is at
most 20 % above the one without. Root, because control groups are wanted; Python's standard library.
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
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine

WORSE_PERCENT = 20


class Cluster:
    def __init__(self, args, folder):
        self.api, self.balancer, agent = (machine.free_port() for _ in range(3))
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        self.log = f"{folder}/log"
        self.processes = []
        self.run(
            [args.controller, f"--data-dir={folder}/c", f"--api-listen=127.0.0.1:{self.api}"]
            + [f"--balancer-listen=127.0.0.1:{self.balancer}", f"--map-port=80:{self.balancer}"],
            self.api,
        )
        self.run(
            [args.worker, "--name=w", f"--controller=http://127.0.0.1:{self.api}"]
            + [f"--data-dir={folder}/w", f"--listen=127.0.0.1:{agent}", f"--run-as={user}"],
            agent,
        )

    def run(self, argv, port):
        with open(self.log, "ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        machine.wait_port(port, process)

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        url = f"http://127.0.0.1:{self.api}{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")

    def instances(self, name):
        return self.ask("GET", f"/v1/services/{name}")["instances"]

    def remove(self, name):
        self.ask("DELETE", f"/v1/services/{name}")
        deadline = time.monotonic() + 30
        while any(service["name"] == name for service in self.ask("GET", "/v1/services")):
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {name} is still there")
            time.sleep(0.05)

    def end(self, names):
        for name in names:
            try:
                self.remove(name)
            except OSError:
                pass
        for process in reversed(self.processes):
            machine.stop(process)


def begin_build(cluster, seconds):
    """A build that keeps the machine busy for longer than a round; returns once it runs."""
    busy = "while :; do :; done"
    count = 2 * len(os.sched_getaffinity(0))
    script = f"for n in $(seq {count}); do timeout {seconds} sh -c '{busy}' & done; wait; true"
    scripts = {"build-script": script, "runtime-script": "exec sleep 1000"}
    cluster.ask("POST", "/v1/services", {"name": "built", "scripts": scripts})
    deadline = time.monotonic() + 20
    while not any(it["state"] == "building" for it in cluster.instances("built")):
        if time.monotonic() > deadline:
            raise SystemExit("bench: the build did not begin")
        time.sleep(0.02)


def measure(args, cluster):
    argv = [args.load, "--json", "--host=web", f"--rate={args.rate}", "--connections=8"]
    argv += [f"--duration={args.seconds}s", f"http://127.0.0.1:{cluster.balancer}/"]
    done = subprocess.run(argv, capture_output=True, text=True)
    counts = json.loads(done.stdout)
    if counts["failed"]:
        raise SystemExit(f"bench: requests failed: {counts}")
    return counts["latency_ms"]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("worker", "controller", "load", "demo"):
        args.add_argument(f"--{name}", required=True)
    args.add_argument("--rounds", type=int, default=7)
    args.add_argument("--seconds", type=int, default=8)
    args.add_argument("--rate", type=int, default=200)
    args = args.parse_args()
    folder = tempfile.mkdtemp(prefix="tucano-bench-")
    os.chmod(folder, 0o755)
    cluster, found = None, {"without": [], "with": []}
    try:
        cluster = Cluster(args, folder)
        source = os.path.join(folder, "source")
        os.mkdir(source)
        shutil.copy(args.demo, os.path.join(source, "tucano-demo"))
        spec = {
            "name": "web",
            "network": {"expose_port": 80, "health_check": {"path": "/healthz"}},
            "scripts": {"runtime-script": "exec ./tucano-demo"},
            "concurrency": 2,
            "source": {"path": source},
        }
        cluster.ask("POST", "/v1/services?wait=60s", spec)
        measure(args, cluster)
        for _ in range(args.rounds):
            found["without"].append(measure(args, cluster))
            begin_build(cluster, args.seconds + 5)
            found["with"].append(measure(args, cluster))
            if not any(it["state"] == "building" for it in cluster.instances("built")):
                raise SystemExit("bench: the build ended before its round")
            cluster.remove("built")
    finally:
        if cluster:
            cluster.end(["built", "web"])
        shutil.rmtree(folder, ignore_errors=True)
    return report(args, found)


def report(args, found):
    print(f"{args.rate} requests a second, {args.rounds} rounds of {args.seconds} s each, ms:\n")
    print("| | p50 | p99: median (least to most) | p99.9 |")
    print("| --- | --- | --- | --- |")
    for name, rounds in found.items():
        middle = {key: statistics.median(it[key] for it in rounds) for key in ("p50", "p99", "p999")}
        all_p99 = [it["p99"] for it in rounds]
        spread = f"{min(all_p99):.2f} to {max(all_p99):.2f}"
        print(
            f"| {name} a build | {middle['p50']:.2f} | {middle['p99']:.2f} ({spread}) "
            f"| {middle['p999']:.2f} |"
        )
    p99 = {name: statistics.median(it["p99"] for it in rounds) for name, rounds in found.items()}
    worse = (p99["with"] / p99["without"] - 1) * 100
    met = worse <= WORSE_PERCENT
    print(f"\n{'met' if met else 'NOT MET'}: p99 {worse:+.0f} %, at most {WORSE_PERCENT} % worse")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
