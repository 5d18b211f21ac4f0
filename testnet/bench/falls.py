"""A node falls, and its replicas are started elsewhere: the same for Skein and for Docker Swarm, on the same hosts."""

import contextlib
import subprocess
import time
from urllib.parse import quote

import client
from client import net


def replicas(nodes):
    """As many on each node, 12 in all at most."""
    return 12 // len(nodes) * len(nodes)


def once(system, node):
    """Cuts a node off; returns the seconds until all replicas run elsewhere. All is as before afterwards."""
    system.whole()
    other = next(n for n in system.nodes if n != node)
    start = time.monotonic()
    net.testnet("cut", node)
    try:
        client.wait("the replicas to run elsewhere", lambda: system.elsewhere(other, node) >= system.replicas, seconds=120,
                    every=0.05)
        return time.monotonic() - start
    finally:
        net.testnet("heal")


class Skein:
    """A Deployment."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.replicas = replicas(nodes)
        self.shares = self.replicas // len(nodes)
        client.Api().ask("POST", "/apis/apps/v1/namespaces/default/deployments", client.deployment(self.replicas))

    def running(self, node):
        pods = client.Api(node).ask("GET", "/api/v1/namespaces/default/pods?labelSelector=app%3Didle")["items"]
        return [p["spec"].get("nodeName") for p in pods if net.is_ready(p) and "deletionTimestamp" not in p["metadata"]], len(pods)

    def whole(self):
        """Waits until every node holds its share, and nothing is left over."""

        def look():
            places, count = self.running(self.nodes[0])
            return count == self.replicas and all(places.count(n) == self.shares for n in self.nodes)

        client.wait("the nodes", lambda: client.ready_everywhere(self.nodes))
        client.wait("every node to hold its share", look)

    def elsewhere(self, asked, fallen):
        places, _ = self.running(asked)
        return sum(p != fallen for p in places)


class Swarm:
    """A service of Docker Swarm with all hosts as managers, on engines beside those of Skein: Swarm does not go with
    live-restore."""

    def __init__(self, nodes):
        self.nodes, self.engines = nodes, []
        self.replicas = replicas(nodes)
        self.shares = self.replicas // len(nodes)
        # Not through the testnet's run folder of a node: `down` must find nothing unexpected there.
        self.folder = net.RUN / "swarm"
        for node in nodes:
            self.start(node)
        address = {n: net.sh("bash", "-c", f". {client.ROOT}/testnet/lib.sh; address {n}").strip() for n in nodes}
        self.docker(nodes[0], "swarm", "init", "--advertise-addr", address[nodes[0]])
        token = self.docker(nodes[0], "swarm", "join-token", "-q", "manager").strip()
        for node in nodes[1:]:
            self.docker(node, "swarm", "join", "--token", token, "--advertise-addr", address[node], f"{address[nodes[0]]}:2377")
        self.ids = {n: self.ask(n, "/info")["Swarm"]["NodeID"] for n in nodes}
        self.docker(nodes[0], "service", "create", "--detach", "--name", "idle", "--network", "host", "--no-resolve-image",
                    "--replicas", str(self.replicas), "--restart-delay", "0s", "--stop-grace-period", "0s", "web:1",
                    "/bin/sleep", "100000")

    def start(self, node):
        folder = self.folder / node
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "docker.json").write_text("{}")
        with open(folder / "log", "a") as log:
            self.engines.append(net.started(
                node, "dockerd", "--config-file", f"{folder}/docker.json", "--data-root", f"{folder}/docker", "--exec-root",
                f"{folder}/exec", "--pidfile", f"{folder}/pid", "-H", f"unix://{folder}/docker.sock", "--bridge=none",
                "--iptables=false", stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        client.wait(f"Swarm's engine on {node}", lambda: self.docker(node, "version"))
        image = subprocess.Popen(["docker", "-H", f"unix://{net.RUN}/{node}/docker.sock", "save", "web:1"], stdout=subprocess.PIPE)
        subprocess.run(["docker", "-H", f"unix://{folder}/docker.sock", "load", "-q"], stdin=image.stdout, check=True,
                       stdout=subprocess.DEVNULL)
        image.wait()

    def docker(self, node, *args):
        return net.sh("nsenter", f"--net=/run/netns/{net.NAME}-{node}", "docker", "-H", f"unix://{self.folder}/{node}/docker.sock",
                      *args, timeout=60)

    def ask(self, node, path):
        return client.Docker(self.folder / node / "docker.sock").ask("GET", path)

    def tasks(self, node):
        """Where tasks run, as one manager sees it."""
        tasks = self.ask(node, "/tasks?filters=" + quote('{"desired-state":["running"]}'))
        return [t["NodeID"] for t in tasks if t["Status"]["State"] == "running"]

    def whole(self):
        """Waits until every node holds its share; Swarm has to be told to spread again."""
        first = self.nodes[0]
        client.wait("Swarm's nodes", lambda: self.docker(first, "node", "ls", "--format", "{{.Status}}").split()
                    == ["Ready"] * len(self.nodes), seconds=90)

        def spread():
            places = self.tasks(first)
            return len(places) == self.replicas and all(places.count(i) == self.shares for i in self.ids.values())

        client.wait("Swarm's tasks", lambda: len(self.tasks(first)) == self.replicas, seconds=90)
        for _ in range(5):
            if spread():
                return
            self.docker(first, "service", "update", "--detach", "--force", "--update-parallelism", "0", "idle")
            with contextlib.suppress(AssertionError):
                client.wait("Swarm's tasks to be spread", spread, seconds=60)
        client.wait("Swarm's tasks to be spread", spread, seconds=60)

    def elsewhere(self, asked, fallen):
        return sum(place != self.ids[fallen] for place in self.tasks(asked))

    def end(self):
        for node in self.nodes:
            subprocess.run(["docker", "-H", f"unix://{self.folder}/{node}/docker.sock", "swarm", "leave", "--force"],
                           capture_output=True, timeout=60)
        for engine in self.engines:
            engine.terminate()
        for engine in self.engines:
            engine.wait(timeout=60)
