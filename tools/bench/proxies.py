"""The proxies under test and their origin, each started afresh with an equal job: one worker thread
on the core it is given, kept-alive upstream connections, X-Forwarded-For, no access log."""

import json
import os
import time
import urllib.error
import urllib.request

import machine

HOST = "bench.lan"
ORIGINS = 3
FILES = {"1k": 1024, "1m": 1 << 20, "64m": 64 << 20}


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def origin(folder, core):
    """nginx with one worker as three upstreams; answers are the same from all three."""
    ports = [machine.free_port() for _ in range(ORIGINS)]
    www = os.path.join(folder, "www")
    os.makedirs(www)
    for name, size in FILES.items():
        with open(os.path.join(www, name), "wb") as file:
            file.truncate(size)
    servers = "".join(
        f"""
  server {{ listen 127.0.0.1:{port} backlog=8192 reuseport; root {www};
    location = /small {{ default_type text/plain; return 200 "ok"; }}
    location = /seen {{ default_type text/plain;
      return 200 "{number} $http_host $http_x_forwarded_for"; }}
    location = /post {{ proxy_pass http://127.0.0.1:{port}/small; proxy_method GET;
      proxy_pass_request_body off; proxy_set_header Content-Length ""; }} }}"""
        for number, port in enumerate(ports)
    )
    conf = write(
        os.path.join(folder, "origin.conf"),
        nginx_frame(folder, "origin", f"sendfile on; {servers}"),
    )
    process = machine.start(
        [machine.tool("nginx", "nginx-light"), "-c", conf, "-p", folder],
        core,
        os.path.join(folder, "origin.log"),
    )
    for port in ports:
        machine.wait_port(port, process)
    return process, ports


def nginx_frame(folder, name, http):
    temps = "".join(
        f"{kind}_temp_path {folder}/{name}-{kind};\n  "
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
{user} worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.err crit;
events {{ worker_connections 19000; }}
http {{
  access_log off; keepalive_timeout 300s; keepalive_requests 1000000000;
  client_max_body_size 0; client_body_buffer_size 128k;
  {temps}
  {http}
}}
"""


class Proxy:
    """One running proxy: its process, the pid to measure, its port."""

    def __init__(self, name, process, port):
        self.name, self.process, self.pid, self.port = name, process, process.pid, port

    def stop(self):
        machine.stop(self.process)


def nginx(folder, core, upstreams):
    port = machine.free_port()
    servers = "".join(f"server 127.0.0.1:{each};" for each in upstreams)
    conf = write(
        os.path.join(folder, "nginx.conf"),
        nginx_frame(
            folder,
            "nginx",
            f"""proxy_max_temp_file_size 0;
  upstream up {{ {servers} keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096 default_server; return 404; }}
  server {{ listen 127.0.0.1:{port}; server_name {HOST};
    location / {{ proxy_pass http://up; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; }} }}""",
        ),
    )
    argv = [machine.tool("nginx", "nginx-light"), "-c", conf, "-p", folder]
    process = machine.start(argv, core, os.path.join(folder, "nginx.log"))
    machine.wait_port(port, process)
    for each in machine.family(process.pid):
        os.sched_setaffinity(each, {core})
    return Proxy("nginx", process, port)


def haproxy(folder, core, upstreams):
    port = machine.free_port()
    servers = "\n  ".join(f"server s{i} 127.0.0.1:{each}" for i, each in enumerate(upstreams))
    conf = write(
        os.path.join(folder, "haproxy.cfg"),
        f"""
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  option forwardfor
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096
  acl known hdr(host),host_only -i {HOST}
  http-request return status 404 unless known
  use_backend up if known
backend up
  balance roundrobin
  {servers}
""",
    )
    argv = [machine.tool("haproxy", "haproxy"), "-db", "-f", conf]
    process = machine.start(argv, core, os.path.join(folder, "haproxy.log"))
    machine.wait_port(port, process)
    return Proxy("haproxy", process, port)


def tucano(folder, core, upstreams, binary, threads=1):
    """The controller with so many loops; `core` may be a set of cores."""
    port, api = machine.free_port(), machine.free_port()
    data = os.path.join(folder, f"tucano-{port}")
    argv = [
        binary,
        f"--data-dir={data}",
        f"--api-listen=127.0.0.1:{api}",
        f"--balancer-listen=127.0.0.1:{port}",
        f"--balancer-threads={threads}",
        f"--map-port=80:{port}",
        "--log-level=warn",
    ]
    process = machine.start(argv, core, os.path.join(folder, "tucano.log"))
    machine.wait_port(api, process)
    spec = {
        "name": "bench",
        "network": {"expose_port": 80, "hosts": [HOST]},
        "external": {"addresses": [f"127.0.0.1:{each}" for each in upstreams]},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{api}/v1/services?wait=20s",
        json.dumps(spec).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).read()
    return Proxy("tucano", process, port)


def check(proxy):
    """Every proxy has to route by Host, reach every origin and say who asked, or it is not measured."""
    seen = set()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and len(seen) < ORIGINS:
        request = urllib.request.Request(f"http://127.0.0.1:{proxy.port}/seen")
        request.add_header("Host", HOST)
        number, host, client = urllib.request.urlopen(request, timeout=5).read().decode().split()
        if host.split(":")[0] != HOST or client != "127.0.0.1":
            raise SystemExit(f"bench: {proxy.name} passed Host {host}, X-Forwarded-For {client}")
        seen.add(number)
    if len(seen) < ORIGINS:
        raise SystemExit(f"bench: {proxy.name} reached {len(seen)} of {ORIGINS} origins only")
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{proxy.port}/seen")
        request.add_header("Host", "other.lan")
        urllib.request.urlopen(request, timeout=5)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return
    raise SystemExit(f"bench: {proxy.name} does not answer 404 for an unknown Host")
