"""Drives a testnet from tests: real agents, real Docker, real kubectl."""

import base64
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = os.environ.get("SKEIN_TESTNET", "e2e")
os.environ["SKEIN_TESTNET"] = NAME
RUN = ROOT / "testnet" / (".run" if NAME == "skein" else f".run-{NAME}")


def sh(*command, check=True, timeout=180, stdin=None):
    """Runs a command; returns its standard output, or on failure raises with all that it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, input=stdin)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def said(*command, timeout=60, stdin=None):
    """Runs a command that may fail; returns its exit code and all that it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, input=stdin)
    return done.returncode, done.stdout + done.stderr


def testnet(command, *args, **options):
    return sh(str(ROOT / "testnet" / command), *args, **options)


def on(node, *command, **options):
    return testnet("on", node, *command, **options)


def started(node, *command, **options):
    """Starts a command on a host's network; it is its own process, without a shell before it."""
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{NAME}-{node}", *command], text=True, **options)


def docker(*args, node="n1", **options):
    return on(node, "docker", *args, **options)


def at(node):
    """kubectl's arguments to ask the API of one node."""
    return "--context", node


def kubectl(*args, **options):
    return sh(str(RUN / "bin" / "kubectl"), "--kubeconfig", str(RUN / "kubeconfig"), *args, **options)


def kubectl_said(*args, **options):
    return said(str(RUN / "bin" / "kubectl"), "--kubeconfig", str(RUN / "kubeconfig"), *args, **options)


def create(**fields):
    """Makes an object of a manifest."""
    return kubectl("create", "-f", "-", stdin=json.dumps(fields))


def config_map(name, **data):
    return create(apiVersion="v1", kind="ConfigMap", metadata={"name": name}, data=data)


def get(*args):
    return json.loads(kubectl("get", *args, "-o", "json"))


def pods(selector="app=web", namespace="default", node="n1"):
    """The pods that are not on their way out, by name, as one node shows them."""
    items = get(*at(node), "pods", "-n", namespace, "-l", selector)["items"]
    return {p["metadata"]["name"]: p for p in items if "deletionTimestamp" not in p["metadata"]}


def container_of(pod):
    return pod["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def restarts(pod):
    return sum(c["restartCount"] for c in pod["status"].get("containerStatuses", []))


def eventually(what, probe, seconds=30, every=0.2):
    """Calls `probe` until it returns something true, which is returned."""
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            last = probe()
            if last:
                return last
        except (AssertionError, KeyError, subprocess.TimeoutExpired) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"waited {seconds} s in vain: {what}; last seen: {last}")


def settled(count=3, selector="app=web", node="n1"):
    """Waits until exactly `count` pods are there, all ready; returns them."""

    def look():
        found = pods(selector, node=node)
        return found if len(found) == count and all(is_ready(p) for p in found.values()) else None

    return eventually(f"{count} ready pods of {selector}", look, seconds=60)


def identity(found):
    """What must not change when an agent or engine restarts."""
    return {
        name: (
            p["metadata"]["uid"],
            p["spec"]["nodeName"],
            p["status"]["podIP"],
            p["status"]["startTime"],
            restarts(p),
            [c["state"]["running"]["startedAt"] for c in p["status"]["containerStatuses"]],
        )
        for name, p in found.items()
    }


def ready_nodes(node, own=False):
    """The names of the nodes that are Ready as one node sees it; `own`: asked on that host, which may be cut off."""
    text = on(node, "kubectl", "get", "nodes", "-o", "json") if own else kubectl(*at(node), "get", "nodes", "-o", "json")
    return {n["metadata"]["name"] for n in json.loads(text)["items"] if is_ready(n)}


def status(node):
    """What `agent status` of a node says. It fails if a node is not ready, and says the same all the same."""
    done = subprocess.run([str(ROOT / "testnet/on"), node, "agent", "status", "-o", "json"], capture_output=True, text=True,
                          timeout=15)
    return json.loads(done.stdout) if done.stdout.strip() else {}


def leader(node):
    """Who leads as a node sees it; empty: nobody."""
    return status(node).get("leader") or ""


def next_leader(nodes, former, seconds=20):
    """Waits until one of the nodes sees another leader than the former; returns who."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for node in nodes:
            found = leader(node)
            if found and found != former:
                return found
    raise AssertionError(f"no leader after {former} within {seconds} s")


class Prober:
    """Opens new connections from a host every few milliseconds while it lives; see prober.py."""

    def __init__(self, node, targets, interval=10, timeout=1000):
        self.node = node
        program = [sys.executable, str(Path(__file__).with_name("prober.py")), str(interval), str(timeout), *targets]
        self.process = started(node, *program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        """Ends it; returns its report, with `failing`: the seconds for which new connections failed."""
        out, _ = self.process.communicate(timeout=30)
        report = json.loads(out)
        report["failing"] = len(report["failed"]) * report["interval"]
        return report

    def __str__(self):
        return f"prober on {self.node}"


def credentials(node):
    """Where a node's API is, and what proves to it that the administrator asks. Takes kubectl a moment."""
    config = json.loads(sh(str(RUN / "bin/kubectl"), "--kubeconfig", str(RUN / node / "data/kubeconfig"), "config", "view",
                           "--raw", "--minify", "--context", node, "-o", "json"))
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
    """One connection to the Kubernetes API of a node."""

    def __init__(self, node="n1", proven=None):
        host, port, context = proven or credentials(node)
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
