"""What the bench needs of the machine: cores, CPU time and memory of processes, free ports.

Linux only. CPU time is read in nanoseconds from schedstat of every thread (the kernel's own count of
time on a core, user and system), because ticks of 10 ms are too coarse for short rounds.
"""

import glob
import os
import resource
import shutil
import signal
import socket
import subprocess
import time


def cores():
    """(the core of the proxy under test, the core of everything else)."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("bench: two cores are needed, one for the proxy and one for the load")
    return usable[0], usable[-1]


def two_cores():
    """Cores for two loops; on a machine with two, the second is the load's as well."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1]


def raise_nofile():
    """Takes as many descriptors as the machine gives; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def tool(name, package):
    """The path of a program, or the command that installs it."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"
    found = shutil.which(name, path=places)
    if not found:
        raise SystemExit(f"bench: {name} is missing: apt-get install {package}")
    return found


def peer(name, how):
    """The path of a program that Debian does not have, or the command that installs it."""
    found = shutil.which(name)
    if not found:
        raise SystemExit(f"bench: {name} is missing: {how}, or say where it is (--help)")
    return found


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_port(port, process, seconds=15):
    """Waits until something listens there; fails if `process` ends first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"bench: {process.args[0]} ended with code {process.returncode}")
        with socket.socket() as sock:
            sock.settimeout(0.5)
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"bench: nothing listens on port {port} after {seconds} s")


def start(argv, core, log):
    """Starts a program on one core (or a set of cores), its output in a file."""
    with open(log, "ab") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    os.sched_setaffinity(process.pid, core if isinstance(core, set) else {core})
    return process


def stop(process):
    """Ends a program by its pid, kindly first."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def family(pid):
    """A process and its children, by pid."""
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as file:
                for child in file.read().split():
                    found += family(int(child))
        except OSError:
            pass
    return found


def own_cpu_ns(pid):
    """Nanoseconds on a core so far, of all threads of a process."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path) as file:
                total += int(file.read().split()[0])
        except OSError:
            pass
    return total


def thread_cpu_ns(pid, name):
    """Nanoseconds on a core so far, of the threads of a process that have this name."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*"):
        with open(f"{path}/comm") as comm, open(f"{path}/schedstat") as stat:
            if comm.read().strip() == name:
                total += int(stat.read().split()[0])
    return total


def own_memory_kib(pid):
    """(resident, its share of what is shared) memory of a process in KiB."""
    sums = {"Rss:": 0, "Pss:": 0}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            key = line.split()[0]
            if key in sums:
                sums[key] += int(line.split()[1])
    return sums["Rss:"], sums["Pss:"]


def cpu_ns(pid):
    """Nanoseconds on a core so far, of all threads of a process and its children."""
    return sum(own_cpu_ns(each) for each in family(pid))


def memory_kib(pid):
    """(resident, private and dirty) memory of a process and its children in KiB."""
    sums = {"Rss:": 0, "Private_Dirty:": 0}
    for each in family(pid):
        try:
            with open(f"/proc/{each}/smaps_rollup") as file:
                for line in file:
                    key = line.split()[0]
                    if key in sums:
                        sums[key] += int(line.split()[1])
        except OSError:
            pass
    return sums["Rss:"], sums["Private_Dirty:"]
