#!/usr/bin/env python3
"""make bench-supervisor: this worker's agent beside supervisord and pm2, in one run.

    tools/bench/supervisors.py --worker target/release/tucano-worker
        --controller target/release/tucano-controller [--supervisord PATH] [--pm2 PATH]
        [--kept 10] [--starts 30] [--seconds 20]

For each: memory and CPU while --kept programs that sleep are kept (the manager's own processes; the
programs themselves are left out), then the time from a start request, over a connection that is
open already, to the program's first act. A plain fork and exec of the same program stands beside
them. Starts alternate between the managers, so that a noisy machine hits all of them. Python's
standard library; pip install supervisor, npm install pm2. Exit code 0 if every bar is met.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import keepers
import machine

KEPT = 10
NEAR_PLAIN_MS = 5
AGENT_RSS_KIB = 4096
AGENT_CPU_PERMILLE = 2


def wait_for(path, what, seconds=20):
    """Until a file is there; its time. Looked at often: a start takes milliseconds."""
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {what} did not start its program in {seconds} s")
        time.sleep(0.0002)
    return time.monotonic()


def idle(keeper, seconds):
    """What the manager itself uses meanwhile."""
    pids = keeper.processes()
    before = sum(machine.own_cpu_ns(pid) for pid in pids)
    sampler = machine.thread_cpu_ns(pids[0], "sampler")
    began = time.monotonic()
    time.sleep(seconds)
    cpu = sum(machine.own_cpu_ns(pid) for pid in pids) - before
    sampler = machine.thread_cpu_ns(pids[0], "sampler") - sampler
    memory = [machine.own_memory_kib(pid) for pid in pids]
    return {
        "processes": len(pids),
        "rss_kib": sum(rss for rss, _ in memory),
        "pss_kib": sum(pss for _, pss in memory),
        "main_rss_kib": memory[0][0],
        "main_pss_kib": memory[0][1],
        "cpu_permille": cpu / (time.monotonic() - began) / 1e6,
        "sampler_ms": sampler / seconds / 1e6,
    }


def start_once(keeper, flag):
    """Milliseconds from the request to the program's first act."""
    if os.path.exists(flag):
        os.unlink(flag)
    began = time.monotonic()
    keeper.start_one()
    done = wait_for(flag, keeper.name)
    keeper.stop_one()
    return (done - began) * 1000


def report(idles, starts):
    """The table, and whether each bar is met."""
    print("| | processes | RSS MiB | PSS MiB | CPU, % of a core | start, ms: median (p90) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, times in starts.items():
        median, p90 = statistics.median(times), statistics.quantiles(times, n=10)[-1]
        kept = idles.get(name)
        figures = "– | – | – | –"
        if kept:
            rss, pss = kept["rss_kib"] / 1024, kept["pss_kib"] / 1024
            cpu = kept["cpu_permille"] / 10
            figures = f"{kept['processes']} | {rss:.1f} | {pss:.1f} | {cpu:.3f}"
        print(f"| {name} | {figures} | {median:.2f} ({p90:.2f}) |")
    return bars(idles, starts)


def bars(idles, starts):
    ours, peers = idles["tucano"], [kept for name, kept in idles.items() if name != "tucano"]
    median = {name: statistics.median(times) for name, times in starts.items()}
    others = [value for name, value in median.items() if name not in ("tucano", "fork and exec")]
    agent = ours["main_rss_kib"]
    rss, pss = (
        (ours[kind] - ours[f"main_{kind}"]) / max(ours["processes"] - 1, 1)
        for kind in ("rss_kib", "pss_kib")
    )
    print(f"\ntucano: agent {agent} KiB RSS, each holder {rss:.0f} KiB RSS, {pss:.0f} KiB PSS")
    print(f"tucano: a second of measuring takes {ours['sampler_ms']:.3f} ms of CPU")
    checks = [
        ("agent's RSS under 4 MiB", agent < AGENT_RSS_KIB),
        ("agent and holders under 0.2 % of a core", ours["cpu_permille"] < AGENT_CPU_PERMILLE),
        ("RSS, all of it: first", all(ours["rss_kib"] < peer["rss_kib"] for peer in peers)),
        ("PSS, all of it: first", all(ours["pss_kib"] < peer["pss_kib"] for peer in peers)),
        ("CPU: first", all(ours["cpu_permille"] < peer["cpu_permille"] for peer in peers)),
        ("start: first", all(median["tucano"] < other for other in others)),
        (
            f"start: within {NEAR_PLAIN_MS} ms of fork and exec",
            median["tucano"] - median["fork and exec"] < NEAR_PLAIN_MS,
        ),
    ]
    for what, met in checks:
        print(f"{'met' if met else 'NOT MET'}: {what}")
    return all(met for _, met in checks)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    args.add_argument("--worker", required=True)
    args.add_argument("--controller", required=True)
    args.add_argument("--supervisord", default="supervisord")
    args.add_argument("--pm2", default="pm2")
    args.add_argument("--kept", type=int, default=KEPT)
    args.add_argument("--starts", type=int, default=30)
    args.add_argument("--seconds", type=int, default=20)
    args = args.parse_args()
    args.supervisord = machine.peer(args.supervisord, "pip install supervisor")
    args.pm2 = machine.peer(args.pm2, "npm install pm2")
    folder = tempfile.mkdtemp(prefix="tucano-bench-")
    os.chmod(folder, 0o755)
    flag = os.path.join(folder, "flag")
    program = keepers.program(folder, flag)
    running, idles, starts = [], {}, {}
    try:
        for make in keepers.ALL:
            keeper = make(args, folder, flag, program)
            running.append(keeper)
            keeper.keep(args.kept)
        time.sleep(3)
        for keeper in running:
            if keeper.processes():
                idles[keeper.name] = idle(keeper, args.seconds)
                print(f"{keeper.name}: {idles[keeper.name]}", file=sys.stderr)
        for _ in range(args.starts):
            for keeper in running:
                starts.setdefault(keeper.name, []).append(start_once(keeper, flag))
        met = report(idles, starts)
    finally:
        for keeper in reversed(running):
            keeper.end()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
