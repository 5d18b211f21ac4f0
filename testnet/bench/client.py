"""What the benchmarks share: a testnet of their own, and fast clients of the two APIs."""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("SKEIN_TESTNET", "bench")
os.environ.setdefault("SKEIN_PROFILE", "release")
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import testnet as net  # noqa: E402
from testnet import Api  # noqa: E402,F401

FOLDER = net.RUN / "n1"


def arguments(text, rounds=None, nodes=1):
    """Reads the command line: --nodes, and --rounds if there are any."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=nodes, help=f"how many hosts [default: {nodes}]")
    if rounds:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"how often [default: {rounds}]")
    return parser.parse_args()


def names(count):
    return [f"n{i}" for i in range(1, count + 1)]


def up(nodes=1, docker=True):
    """Makes the testnet with the release build, without the sample app; if so asked, without Docker engines."""
    net.testnet("up", "--nodes", str(nodes), "--bare", *([] if docker else ["--no-docker"]), timeout=3000)


def down():
    net.testnet("down")


class Docker(http.client.HTTPConnection):
    """The Docker API over an engine's socket; the first node's if none is given."""

    def __init__(self, path=FOLDER / "docker.sock"):
        super().__init__("docker", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))

    def ask(self, method, path, body=None):
        self.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text)
        return json.loads(text) if text else None


def summary(name, values, unit="ms"):
    values = sorted(values)
    p50, worst = statistics.median(values), values[-1]
    print(f"{name}: p50 {p50:.0f} {unit}, best {values[0]:.0f}, worst {worst:.0f} of {len(values)}")
    return p50


def image(name="web:1"):
    """Makes the sample image on all nodes."""
    folder = net.RUN / "images" / "web-1"
    net.sh(str(ROOT / "testnet/sample/build"), "1", str(folder))
    net.testnet("image", name, str(folder))


def row(what, target, measured, options=""):
    """Prints a line for the table of docs/benchmarks.md."""
    command = f"testnet/bench/{Path(sys.argv[0]).name}{' ' if options else ''}{options}"
    print(f"| {what} | {target} | {measured} | `{command}` |", flush=True)


def percentile(values, share):
    """The value that this share of the values does not exceed."""
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -(-int(share * len(values) * 1000) // 1000) - 1))]


def agent_pid(node="n1"):
    return int((net.RUN / node / "agent.pid").read_text())


def kill(node):
    """kill -9 of a node's agent, at once; returns when it happened, and its process id: see `gone`."""
    pid, moment = agent_pid(node), time.monotonic()
    os.kill(pid, signal.SIGKILL)
    (net.RUN / node / "agent.pid").unlink()
    return moment, pid


def gone(pid):
    """Waits until the kernel has taken down what a process leaves behind: a second or two for a network namespace."""
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.005)


def ready_everywhere(nodes, count=None):
    """Whether all of `count` nodes are Ready, asked at each of `nodes`."""
    try:
        for node in nodes:
            seen = Api(node).ask("GET", "/api/v1/nodes")["items"]
            if sum(map(net.is_ready, seen)) != (count or len(nodes)):
                return False
        return True
    except (OSError, AssertionError, KeyError):
        return False


def wait(what, probe, seconds=60, every=0.1):
    return net.eventually(what, probe, seconds, every)


def deployment(replicas):
    """Pods that do nothing, spread by the scheduler's own judgement."""
    labels = {"app": "idle"}
    container = {"name": "c", "image": "web:1", "command": ["/bin/sleep", "100000"],
                 "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels},
                                  "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}}}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
