"""What the benchmarks share: a testnet of their own, and fast clients of the two APIs."""

import http.client
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import base64
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("SKEIN_TESTNET", "bench")
os.environ.setdefault("SKEIN_PROFILE", "release")
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import testnet as net  # noqa: E402

FOLDER = net.RUN / "n1"


def up(nodes=1):
    """Makes the testnet with so many nodes and the release build, without the sample app."""
    net.testnet("up", "--nodes", str(nodes), "--bare", timeout=3000)


def down():
    net.testnet("down")


def kubeconfig():
    """Reads the node's kubeconfig: (host, port, ssl context)."""
    text = net.kubectl("config", "view", "--raw", "--minify", "-o", "json")
    config = json.loads(text)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile("wb") as pem:
        pem.write(base64.b64decode(user["client-certificate-data"]))
        pem.write(base64.b64decode(user["client-key-data"]))
        pem.flush()
        context.load_cert_chain(pem.name)
    host, port = cluster["server"].removeprefix("https://").split(":")
    return host, int(port), context


class Api:
    """One connection to the Kubernetes API."""

    def __init__(self):
        host, port, context = kubeconfig()
        self.connection = http.client.HTTPSConnection(host, port, context=context, timeout=60)

    def ask(self, method, path, body=None):
        data = json.dumps(body) if body is not None else None
        self.connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text)
        return json.loads(text)

    def stream(self, path):
        """Opens a watch; yields its events."""
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        assert answer.status == 200, answer.read()
        while line := answer.readline():
            yield json.loads(line)


class Docker(http.client.HTTPConnection):
    """The node's Docker API over its socket."""

    def __init__(self):
        super().__init__("docker", timeout=60)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(FOLDER / "docker.sock"))

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
    """Makes the sample image on the node."""
    folder = net.RUN / "images" / "web-1"
    net.sh(str(ROOT / "testnet/sample/build"), "1", str(folder))
    net.testnet("image", name, str(folder))


def agent_pid():
    return int((FOLDER / "agent.pid").read_text())


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
