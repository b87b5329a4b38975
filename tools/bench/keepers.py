"""The managers of make bench-supervisor, each with programs that sleep and one to start and stop.

Each is asked over a connection that is open already: an HTTP request to the agent, XML-RPC to
supervisord, pm2's own client library to its daemon. None of them is tuned.
"""

import http.client
import json
import os
import socket
import subprocess
import time
import urllib.request
import xmlrpc.client

import machine


def write(path, text, mode=0o644):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def program(folder, flag):
    """What is started: it makes a file as its first act."""
    return write(f"{folder}/program", f"#!/bin/sh\n: > {flag}\nexec sleep 1000\n", 0o755)


class Plain:
    """No manager: fork and exec."""

    name = "fork and exec"

    def __init__(self, args, folder, flag, program):
        self.program, self.running = program, None

    def keep(self, count):
        pass

    def processes(self):
        return []

    def start_one(self):
        self.running = subprocess.Popen([self.program])

    def stop_one(self):
        self.running.kill()
        self.running.wait()

    def end(self):
        pass


class Tucano:
    """An agent with its controller for what is kept (heartbeats included), and one that is asked by
    its own API for the starts: a new instance each time, its ledger on disk before."""

    name = "tucano"

    def __init__(self, args, folder, flag, program):
        api, balancer = machine.free_port(), machine.free_port()
        self.folder, self.flag, self.serial = folder, flag, 0
        listen = [f"--api-listen=127.0.0.1:{api}", f"--balancer-listen=127.0.0.1:{balancer}"]
        self.controller = self.spawn([args.controller, f"--data-dir={folder}/c", *listen])
        machine.wait_port(api, self.controller)
        self.api = f"http://127.0.0.1:{api}"
        self.agents = []
        self.main, _ = self.agent(args, "kept", self.api)
        self.join("asked")
        _, port = self.agent(args, "asked", "http://127.0.0.1:1")
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def agent(self, args, name, controller):
        port = machine.free_port()
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        argv = [args.worker, f"--name={name}", f"--controller={controller}", f"--run-as={user}"]
        argv += [f"--data-dir={self.folder}/{name}", f"--listen=127.0.0.1:{port}"]
        process = self.spawn(argv)
        self.agents.append(process)
        machine.wait_port(port, process)
        return process, port

    def join(self, name):
        """Has an agent know its cluster: before its hello was answered it takes no pushes."""
        state = f"{self.folder}/{name}/state"
        os.makedirs(state)
        ledger = {"version": 1, "holds": {"cluster": "bench", "generation": 0}, "balancer_url": ""}
        ledger |= {"instances": [], "builds": [], "quarantine": []}
        write(f"{state}/ledger.json", json.dumps(ledger))

    def spawn(self, argv):
        with open(f"{self.folder}/tucano.log", "ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def keep(self, count):
        scripts = {"runtime-script": "exec sleep 1000"}
        spec = {"name": "kept", "scripts": scripts, "concurrency": count}
        request = urllib.request.Request(
            f"{self.api}/v1/services?wait=60s",
            json.dumps(spec).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).read()
        # The first start of the other one places its source, which is no part of a start.
        self.start_one()
        deadline = time.monotonic() + 20
        while not os.path.exists(self.flag) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop_one()

    def processes(self):
        """The agent, then its holders: its children."""
        with open(f"/proc/{self.main.pid}/task/{self.main.pid}/children") as file:
            return [self.main.pid] + [int(child) for child in file.read().split()]

    def ask(self, desired):
        ident = f"{self.serial:013x}"
        self.generation = getattr(self, "generation", 0) + 1
        script = f": > {self.flag}\nexec sleep 1000"
        scripts = {"runtime-script": script}
        assignment = {
            "id": ident,
            "generation": self.generation,
            "service": "asked",
            "revision": 1,
            "desired": desired,
            "spec": {"name": "asked", "scripts": scripts, "stop": {"signal": "SIGKILL"}},
        }
        push = {
            "cluster": "bench",
            "generation": self.generation,
            "previous_generation": self.generation - 1,
            "assignment": assignment,
        }
        headers = {"Content-Type": "application/json"}
        self.connection.request("PUT", f"/v1/instances/{ident}", json.dumps(push), headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"bench: the agent answers {answer.status}: {body.decode()}")

    def start_one(self):
        self.serial += 1
        self.ask("run")

    def stop_one(self):
        self.ask("stop")
        while True:
            self.connection.request("GET", "/v1/instances")
            reports = json.loads(self.connection.getresponse().read())
            if all(report["state"] == "stopped" for report in reports):
                return
            time.sleep(0.01)

    def end(self):
        children = []
        for agent in self.agents:
            with open(f"/proc/{agent.pid}/task/{agent.pid}/children") as file:
                children += [int(child) for child in file.read().split()]
            machine.stop(agent)
        for holder in children:
            # Ends everything below it, then itself.
            os.kill(holder, 10)
        machine.stop(self.controller)


class UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket, one connection for all requests."""

    def __init__(self, path):
        super().__init__()
        self.path, self.kept = path, None

    def make_connection(self, host):
        if self.kept is None:
            self.kept = http.client.HTTPConnection("localhost")
            self.kept.sock = socket.socket(socket.AF_UNIX)
            self.kept.sock.connect(self.path)
        return self.kept

    def close(self):
        self.kept = None


class Supervisord:
    """supervisord without its web interface."""

    name = "supervisord"

    def __init__(self, args, folder, flag, program):
        self.args, self.folder, self.program = args, folder, program

    def keep(self, count):
        kept = "".join(f"[program:kept{n}]\ncommand=sleep 1000\n" for n in range(count))
        conf = write(
            f"{self.folder}/supervisord.conf",
            f"""[supervisord]
nodaemon=true
logfile={self.folder}/supervisord.log
pidfile={self.folder}/supervisord.pid
childlogdir={self.folder}
[unix_http_server]
file={self.folder}/supervisord.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
{kept}[program:asked]
command={self.program}
autostart=false
startsecs=0
stopsignal=KILL
""",
        )
        with open(f"{self.folder}/supervisord.out", "ab") as out:
            argv = [self.args.supervisord, "-n", "-c", conf]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        deadline = time.monotonic() + 20
        while not os.path.exists(f"{self.folder}/supervisord.sock"):
            if time.monotonic() > deadline:
                raise SystemExit("bench: supervisord does not start")
            time.sleep(0.05)
        transport = UnixTransport(f"{self.folder}/supervisord.sock")
        self.rpc = xmlrpc.client.ServerProxy("http://localhost", transport=transport).supervisor

    def processes(self):
        return [self.process.pid]

    def start_one(self):
        self.rpc.startProcess("asked", False)

    def stop_one(self):
        self.rpc.stopProcess("asked")

    def end(self):
        machine.stop(self.process)


CLIENT = """
const pm2 = require(process.argv[2]);
const answer = (error) => console.log(error ? 'error: ' + error : 'ok');
const doing = {
  keep: (n) => pm2.start({ script: 'sleep', args: '1000', name: 'kept' + n, interpreter: 'none' }, answer),
  make: (path) => pm2.start({ script: path, name: 'asked', interpreter: 'none' }, answer),
  start: () => pm2.restart('asked', answer),
  stop: () => pm2.stop('asked', answer),
  kill: () => pm2.killDaemon(answer),
};
pm2.connect((error) => {
  answer(error);
  require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [what, argument] = line.split(' ');
    doing[what](argument);
  });
});
"""


class Pm2:
    """pm2's daemon, asked by its own client library in a process that stays connected."""

    name = "pm2"

    def __init__(self, args, folder, flag, program):
        library = os.path.dirname(os.path.dirname(os.path.realpath(args.pm2)))
        client = write(f"{folder}/client.js", CLIENT)
        self.folder, self.program = folder, program
        self.client = subprocess.Popen(
            ["node", client, library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PM2_HOME": f"{folder}/pm2", "PM2_DISCRETE_MODE": "true"},
        )
        self.answer()

    def answer(self):
        for line in self.client.stdout:
            if line.startswith("error"):
                raise SystemExit(f"bench: pm2: {line}")
            if line == "ok\n":
                return

    def say(self, line):
        self.client.stdin.write(line + "\n")
        self.client.stdin.flush()

    def keep(self, count):
        for number in range(count):
            self.say(f"keep {number}")
            self.answer()
        self.say(f"make {self.program}")
        self.answer()
        self.stop_now()

    def processes(self):
        with open(f"{self.folder}/pm2/pm2.pid") as file:
            return [int(file.read())]

    def start_one(self):
        self.say("start")

    def stop_one(self):
        self.answer()
        self.stop_now()

    def stop_now(self):
        self.say("stop")
        self.answer()

    def end(self):
        self.say("kill")
        self.answer()
        machine.stop(self.client)


ALL = [Plain, Tucano, Supervisord, Pm2]
