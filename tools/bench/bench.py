#!/usr/bin/env python3
"""make bench: this balancer beside HAProxy and nginx, over the same upstreams, in one run.

    tools/bench/bench.py --controller target/release/tucano-controller --load target/release/tucano-load
        [--rounds 3] [--seconds 6] [--only TEXT]

Each proxy has one worker thread on a core of its own; origin and load share the other core. Rounds
alternate (A B C, A B C, ...), each with fresh processes, and the medians are printed with the ratio
to the better peer: on a shared machine only ratios within one run mean anything. Python's standard
library; wants nginx, haproxy and wrk from Debian. Exit code 0 if every bar is met, 1 if not.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cases
import machine
import proxies


class Context:
    """What a case needs to know."""

    def __init__(self, folder, seconds, load):
        self.folder, self.seconds, self.load = folder, seconds, load
        self.proxy_core, self.load_core = machine.cores()
        self.wrk = machine.tool("wrk", "wrk")
        self.json = json.loads

    def path(self, name):
        return os.path.join(self.folder, name)


def measure(context, starters, chosen, rounds):
    """{case: {proxy: {figure: [a value a round]}}}"""
    found = {}
    for turn in range(rounds):
        for title, run, _, _ in chosen:
            for name, start in starters.items():
                proxy = start()
                try:
                    proxies.check(proxy)
                    figures = run(context, proxy)
                finally:
                    proxy.stop()
                for figure, value in figures.items():
                    values = found.setdefault(title, {}).setdefault(name, {})
                    values.setdefault(figure, []).append(value)
                print(f"round {turn + 1}: {title}: {name}: {short(figures)}", file=sys.stderr)
    return found


def short(figures):
    return ", ".join(f"{value:.2f} {figure}" for figure, value in figures.items())


def report(found, chosen):
    """Prints the table; returns how many bars are missed."""
    missed = 0
    print("| case | figure | tucano | haproxy | nginx | ratio | bar |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for title, _, judged, bar in chosen:
        medians = {
            name: {figure: statistics.median(values) for figure, values in figures.items()}
            for name, figures in found[title].items()
        }
        for figure, ours in medians["tucano"].items():
            peers = [medians[name][figure] for name in ("haproxy", "nginx") if name in medians]
            row = [f"{medians[n][figure]:.2f}" if n in medians else "" for n in ("haproxy", "nginx")]
            ratio, wanted = "", ""
            if figure == judged and peers:
                share = ours / max(min(peers), 1e-9)
                ratio, wanted = f"{share:.2f}", f"<= {bar:.2f}"
                if share > bar:
                    missed += 1
                    wanted += " MISSED"
            print(f"| {title} | {figure} | {ours:.2f} | {' | '.join(row)} | {ratio} | {wanted} |")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--controller", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--only", default="")
    parser.add_argument("--peers", default="haproxy,nginx")
    given = parser.parse_args()
    machine.raise_nofile()
    folder = tempfile.mkdtemp(prefix="tucano-bench-")
    context = Context(folder, given.seconds, given.load)
    chosen = [case for case in cases.ALL if given.only in case[0]]
    origin, upstreams = proxies.origin(folder, context.load_core)
    core = context.proxy_core
    starters = {"tucano": lambda: proxies.tucano(folder, core, upstreams, given.controller)}
    for name in filter(None, given.peers.split(",")):
        starters[name] = lambda peer=getattr(proxies, name): peer(folder, core, upstreams)
    try:
        missed = report(measure(context, starters, chosen, given.rounds), chosen)
    finally:
        machine.stop(origin)
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
