"""The cases: what is sent, how it is checked, and what is read off the proxy meanwhile.

Each case returns a dict of figures for one round. Answers are checked: a status other than 200, a
short body or a broken connection fails the whole run.
"""

import re
import signal
import socket
import subprocess
import threading
import time

import machine
import proxies

GIB = 1 << 30
POST_LUA = """
wrk.method = "POST"
wrk.body = string.rep("x", 65536)
"""
CHECK_LUA = """
local bad = 0
function setup(thread) thread:set("bad", 0) end
function response(status, headers, body)
  if status ~= 200 or #body ~= %d then bad = bad + 1 end
end
function done(summary, latency, requests)
  io.write(string.format("p50 %%d p99 %%d\\n", latency:percentile(50), latency:percentile(99)))
end
"""


def wrk(context, proxy, path, connections, body_bytes, extra=(), lua=""):
    """Runs wrk on the load's core and reads the proxy's CPU time around it."""
    script = proxies.write(
        context.path(f"wrk-{path.strip('/')}.lua"), lua + CHECK_LUA % body_bytes
    )
    argv = [
        context.wrk, "-t1", f"-c{connections}", f"-d{context.seconds}s", "-s", script,
        "-H", f"Host: {proxies.HOST}", *extra, f"http://127.0.0.1:{proxy.port}{path}",
    ]
    argv = ["taskset", "-c", str(context.load_core), *argv]
    before = machine.cpu_ns(proxy.pid)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=context.seconds + 60)
    spent = machine.cpu_ns(proxy.pid) - before
    out = done.stdout
    found = re.search(r"(\d+) requests in ([\d.]+)s", out)
    quantiles = re.search(r"p50 (\d+) p99 (\d+)", out)
    if done.returncode or not found or not quantiles:
        raise SystemExit(f"bench: wrk against {proxy.name} failed:\n{out}{done.stderr}")
    if "Non-2xx" in out or re.search(r"Socket errors: (?!connect 0, read 0, write 0, timeout 0)", out):
        # A server that closes (as asked for by `Connection: close`) is no read error to wrk.
        raise SystemExit(f"bench: {proxy.name} gave wrong answers:\n{out}")
    requests = int(found[1])
    return {
        "requests": requests,
        "requests/s": requests / float(found[2]),
        "p50 ms": int(quantiles[1]) / 1000,
        "p99 ms": int(quantiles[2]) / 1000,
        "CPU us/request": spent / 1000 / requests,
        "RSS MiB": machine.memory_kib(proxy.pid)[0] / 1024,
    }


def keep_alive(context, proxy):
    return wrk(context, proxy, "/small", 64, 2)


def kib(context, proxy):
    return wrk(context, proxy, "/1k", 512, 1024)


def close(context, proxy):
    return wrk(context, proxy, "/small", 64, 2, ["-H", "Connection: close"])


def post(context, proxy):
    return wrk(context, proxy, "/post", 32, 2, lua=POST_LUA)


def steady(context, proxy):
    """4,000 requests a second, due whether or not earlier ones were answered."""
    argv = [
        "taskset", "-c", str(context.load_core), context.load, "--host", proxies.HOST, "--rate",
        "4000", "--connections", "50", "--duration", f"{context.seconds}s", "--status", "200",
        "--json", f"http://127.0.0.1:{proxy.port}/1k",
    ]
    before = machine.cpu_ns(proxy.pid)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=context.seconds + 60)
    spent = machine.cpu_ns(proxy.pid) - before
    if done.returncode:
        raise SystemExit(f"bench: {proxy.name} failed at a steady rate:\n{done.stdout}{done.stderr}")
    report = context.json(done.stdout)
    return {
        "p50 ms": report["latency_ms"]["p50"],
        "p99 ms": report["latency_ms"]["p99"],
        "CPU us/request": spent / 1000 / report["succeeded"],
        "RSS MiB": machine.memory_kib(proxy.pid)[0] / 1024,
    }


def downloads(context, proxy):
    """64 MiB answers on four connections, each read to its last byte."""
    size, count = proxies.FILES["64m"], 4 * max(2, context.seconds // 2)
    lock, left, faults = threading.Lock(), [count], []

    def fetch():
        buffer = memoryview(bytearray(1 << 20))
        while True:
            with lock:
                if left[0] == 0:
                    return
                left[0] -= 1
            with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
                request = f"GET /64m HTTP/1.1\r\nHost: {proxies.HOST}\r\nConnection: close\r\n\r\n"
                sock.sendall(request.encode())
                head, total = b"", 0
                while b"\r\n\r\n" not in head:
                    head += sock.recv(4096)
                total = len(head) - head.index(b"\r\n\r\n") - 4
                while got := sock.recv_into(buffer):
                    total += got
                if not head.startswith(b"HTTP/1.1 200") or total != size:
                    faults.append((head[:40], total))

    before, began = machine.cpu_ns(proxy.pid), time.monotonic()
    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    spent, took = machine.cpu_ns(proxy.pid) - before, time.monotonic() - began
    if faults:
        raise SystemExit(f"bench: {proxy.name} broke downloads: {faults[:3]}")
    gib = count * size / GIB
    rss = machine.memory_kib(proxy.pid)[0] / 1024
    return {"CPU ms/GiB": spent / 1e6 / gib, "GiB/s": gib / took, "RSS MiB": rss}


def calls(context, proxy, run):
    """System calls a request while `run` goes on, counted by strace; latencies mean nothing then.

    Calls before and after the load (strace attaches first, and leaves last) are a few a second and
    vanish among the thousands.
    """
    out = context.path("strace")
    pids = [word for pid in machine.family(proxy.pid) for word in ("-p", str(pid))]
    argv = [machine.tool("strace", "strace"), "-c", "-f", "-q", "-o", out, *pids]
    tracer = machine.start(argv, context.load_core, context.path("strace.log"))
    try:
        time.sleep(0.5)
        requests = run(context, proxy)["requests"]
    finally:
        # On this signal it lets go of the proxy and writes its table.
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    found = {}
    with open(out) as file:
        for line in file:
            words = line.split()
            if len(words) >= 5 and re.match(r"[\d.]+$", words[0]) and words[-1] != "total":
                found[words[-1]] = int(words[3]) / requests
    return found


def idle(context, proxy):
    """Memory of idle kept-alive client connections, each of which has had one answer."""
    count = 4000
    before, _ = machine.memory_kib(proxy.pid)
    request = f"GET /small HTTP/1.1\r\nHost: {proxies.HOST}\r\n\r\n".encode()
    held = []
    try:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", proxy.port))
            held.append(sock)
            sock.sendall(request)
            if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"bench: {proxy.name} refused a connection")
        time.sleep(1)
        after, _ = machine.memory_kib(proxy.pid)
    finally:
        for sock in held:
            sock.close()
    return {"KiB/idle connection": (after - before) / count, "RSS MiB": before / 1024}


# Name, function, the figure that the bar is on, the bar: this / the better of the peers.
ALL = [
    ("keep-alive, small, 64 connections", keep_alive, "CPU us/request", 0.85),
    ("steady 4,000 requests/s", steady, "p99 ms", 1.00),
    ("a new connection a request", close, "CPU us/request", 0.90),
    ("1 KiB, 512 connections", kib, "CPU us/request", 0.85),
    ("64 KiB POSTs", post, "CPU us/request", 0.90),
    ("64 MiB downloads", downloads, "CPU ms/GiB", 0.80),
    ("idle connections", idle, "KiB/idle connection", 1.00),
]

# Two loops against one, of this balancer alone: the figure, and the bar of two / one.
LOOPS = ("two loops against one", keep_alive, "CPU us/request", 1.05)

# Of which system calls are counted.
COUNTED = [
    ("keep-alive, small, 64 connections", keep_alive),
    ("a new connection a request", close),
]
