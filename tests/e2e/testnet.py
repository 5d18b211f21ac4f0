"""Drives a testnet from tests: real agents, real Docker, real kubectl."""

import json
import os
import subprocess
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


def pods(selector="app=web", namespace="default"):
    """The pods that are not on their way out, by name."""
    items = get("pods", "-n", namespace, "-l", selector)["items"]
    return {p["metadata"]["name"]: p for p in items if "deletionTimestamp" not in p["metadata"]}


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


def settled(count=3, selector="app=web"):
    """Waits until exactly `count` pods are there, all ready; returns them."""

    def look():
        found = pods(selector)
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
