#!/usr/bin/env python3
"""make bench: this balancer beside HAProxy and nginx, over the same upstreams, in one run.

    tools/bench/bench.py --controller target/release/tucano-controller --load target/release/tucano-load
        [--rounds 3] [--seconds 6] [--only TEXT] [--peers haproxy,nginx]

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


def once(context, start, run):
    """Starts a proxy afresh, checks it, and runs one case against it."""
    proxy = start()
    try:
        proxies.check(proxy)
        return run(context, proxy)
    finally:
        proxy.stop()


def measure(context, starters, chosen, rounds):
    """{case: {proxy: {figure: [a value a round]}}}"""
    found = {}
    for turn in range(rounds):
        # A B C, then B C A: nobody always goes first.
        shift = turn % len(starters)
        names = list(starters)[shift:] + list(starters)[:shift]
        for title, run, *_ in chosen:
            for name in names:
                figures = once(context, starters[name], run)
                for figure, value in figures.items():
                    values = found.setdefault(title, {}).setdefault(name, {})
                    values.setdefault(figure, []).append(value)
                print(f"round {turn + 1}: {title}: {name}: {short(figures)}", file=sys.stderr)
    return found


def short(figures):
    return ", ".join(f"{value:.2f} {figure}" for figure, value in figures.items())


def medians(by_name):
    """{proxy: {figure: median}}, without what is only a means to others."""
    return {
        name: {
            figure: statistics.median(values)
            for figure, values in figures.items()
            if figure != "requests"
        }
        for name, figures in by_name.items()
    }


def verdict(share, bar):
    return f"{share:.2f} | <= {bar:.2f}" + ("" if share <= bar else " MISSED")


def report(found, chosen):
    """Prints the table; returns how many bars are missed."""
    missed = 0
    print("| case | figure | tucano | haproxy | nginx | ratio | bar |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for title, _, judged, bar in chosen:
        of = medians(found[title])
        for figure, ours in of["tucano"].items():
            peers = [of[name][figure] for name in ("haproxy", "nginx") if name in of]
            row = [f"{of[n][figure]:.2f}" if n in of else "" for n in ("haproxy", "nginx")]
            judgement = " | "
            if figure == judged and peers:
                share = ours / max(min(peers), 1e-9)
                judgement = verdict(share, bar)
                missed += share > bar
            print(f"| {title} | {figure} | {ours:.2f} | {' | '.join(row)} | {judgement} |")
    return missed


def report_loops(context, start, rounds):
    """Two loops beside one, alternating; returns 1 if the bar is missed."""
    title, run, judged, bar = cases.LOOPS
    one, two = {context.proxy_core}, set(machine.two_cores())
    starters = {"one": lambda: start(one, 1), "two": lambda: start(two, 2)}
    of = medians(measure(context, starters, [cases.LOOPS], rounds)[title])
    print("\n| case | figure | two loops | one loop | ratio | bar |")
    print("| --- | --- | --- | --- | --- | --- |")
    missed = 0
    for figure, two_loops in of["two"].items():
        judgement = " | "
        if figure == judged:
            share = two_loops / of["one"][figure]
            judgement = verdict(share, bar)
            missed += share > bar
        print(f"| {title} | {figure} | {two_loops:.2f} | {of['one'][figure]:.2f} | {judgement} |")
    return missed


def report_calls(context, starters, counted):
    """System calls a request of every proxy: counts, so one round will do."""
    print("\n| case | proxy | system calls a request | which |")
    print("| --- | --- | --- | --- |")
    for title, run in counted:
        for name, start in starters.items():
            found = once(context, start, lambda c, proxy, run=run: cases.calls(c, proxy, run))
            often = sorted(found.items(), key=lambda each: -each[1])
            which = ", ".join(f"{call} {count:.2f}" for call, count in often if count >= 0.03)
            print(f"| {title} | {name} | {sum(found.values()):.2f} | {which} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--controller", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--only", default="", help="cases whose title has this in it")
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
    counted = [case for case in cases.COUNTED if given.only in f"{case[0]} system calls"]

    def loops(cores, threads):
        return proxies.tucano(folder, cores, upstreams, given.controller, threads)

    missed = 0
    try:
        if chosen:
            missed += report(measure(context, starters, chosen, given.rounds), chosen)
        if given.only in cases.LOOPS[0]:
            missed += report_loops(context, loops, given.rounds)
        if counted:
            report_calls(context, starters, counted)
    finally:
        machine.stop(origin)
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
