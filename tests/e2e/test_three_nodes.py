"""Three agents, one cluster, and one of them falls: the story of a user, told with real tools and real faults."""

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from testnet import (NAME, ROOT, RUN, Prober, at, container_of, create, docker, eventually, get, identity, is_ready, kubectl,
                     kubectl_said, leader, next_leader, on, pods, ready_nodes, restarts, said, settled, sh, started, testnet)

NODES = ("n1", "n2", "n3")
NODE_PORT = 30080
# Seconds from the cut to the replicas running elsewhere: 2 until unreachable, 5 more until lost, and a start.
REPLACED = 12.0


def setUpModule():
    testnet("down")
    # Not left to tearDownModule, which does not run if this fails.
    unittest.addModuleCleanup(testnet, "down")
    print(testnet("up", "--nodes", "3", timeout=1500))


def say(text):
    print(f"      {text}", flush=True)


def address(name="n1", node="n1"):
    return get(*at(node), "node", name)["status"]["addresses"][0]["address"]


def vip():
    return get("service", "web")["spec"]["clusterIP"]


def fetch(node, url, timeout=3):
    """Asks from a host; returns (exit code of curl, body)."""
    return said(str(ROOT / "testnet/on"), node, "curl", "-sS", "-m", str(timeout), url)


KUBECTL = (str(RUN / "bin" / "kubectl"), f"--kubeconfig={RUN}/kubeconfig")


@contextlib.contextmanager
def forwarded(asked, pod, port):
    """A port of a pod while `kubectl port-forward` runs; yields the port on this machine."""
    process = subprocess.Popen([*KUBECTL, *at(asked), "port-forward", pod, f":{port}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield int(re.search(r"127.0.0.1:(\d+)", line)[1])
    finally:
        process.kill()
        process.communicate()


def own(node, *args, **options):
    """kubectl run on the host itself, which may be cut off; returns the object."""
    return json.loads(on(node, "kubectl", *args, "-o", "json", **options))


def all_ready(nodes=NODES, seconds=30):
    for node in nodes:
        eventually(f"{len(NODES)} Ready nodes at {node}", lambda n=node: ready_nodes(n) == set(NODES), seconds)


def spread(found):
    return sorted(p["spec"]["nodeName"] for p in found.values())


def containers(node):
    """What runs of the app on a host: container ids."""
    return set(docker("ps", "-q", "--no-trunc", "--filter", "label=io.kubernetes.container.name=web", node=node).split())


def kill_agent(node):
    """kill -9, at once."""
    file = RUN / node / "agent.pid"
    pid = int(file.read_text())
    os.kill(pid, signal.SIGKILL)
    file.unlink()
    return pid


def gone(pid):
    eventually("the agent to end", lambda: not os.path.exists(f"/proc/{pid}"), seconds=5, every=0.01)


def config_maps(prefix, count):
    """A manifest of many small objects."""
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{prefix}-{n}"}, "data": {"from": prefix}}
             for n in range(count)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def names(node, *args):
    return {o["metadata"]["name"] for o in get(*at(node), *args)["items"]}


def holder(node):
    return get(*at(node), "lease", "operator")["spec"]["holderIdentity"]


def held(lease, by):
    """The Lease as it would be held by somebody, at the version that was read."""
    return json.dumps({**lease, "spec": {**lease["spec"], "holderIdentity": by}})


class Capture:
    """All that crosses the switch, in a file."""

    def __init__(self):
        self.file = RUN / "switch.pcap"
        self.process = started("lab", "tcpdump", "-U", "-i", "any", "-s", "0", "-B", "65536", "-Z", "root", "-w", str(self.file),
                               stderr=subprocess.PIPE)
        assert any("listening on" in line for line in iter(self.process.stderr.readline, ""))

    def end(self):
        """Returns what was seen, all of it."""
        time.sleep(0.5)
        self.process.send_signal(signal.SIGINT)
        _, text = self.process.communicate(timeout=10)
        assert re.search(r"(?m)^0 packets dropped by kernel", text), text
        return self.file.read_bytes()


class Story(unittest.TestCase):
    def test_01_any_node_shows_the_same_cluster(self):
        all_ready()
        found = settled()
        self.assertEqual(spread(found), list(NODES), "one replica on each")
        for name, pod in found.items():
            fetch(pod["spec"]["nodeName"], f"http://{pod['status']['podIP']}/")
            for node in NODES:
                seen = pods(node=node)[name]
                self.assertEqual(seen["metadata"]["uid"], pod["metadata"]["uid"])
                self.assertEqual(seen["status"]["podIP"], pod["status"]["podIP"])
                eventually(f"the log of {name} at {node}", lambda n=node: "GET /" in kubectl(*at(n), "logs", name), seconds=10)
        ranges = {get("node", n)["spec"]["podCIDR"] for n in NODES}
        self.assertEqual(len(ranges), 3, ranges)

    def test_02_the_service_answers_everywhere_and_is_spread(self):
        found = settled()
        ip = vip()
        for node in NODES:
            for other in NODES:
                self.assertIn("web version 1", fetch(node, f"http://{address(other)}:{NODE_PORT}/")[1], f"{node} -> {other}")
            script = f"for i in $(seq 150); do curl -sS -m 3 http://{ip}/; done"
            lines = on(node, "sh", "-c", script, timeout=60).splitlines()
            counts = {name: sum(name in line for line in lines) for name in found}
            self.assertEqual(sum(counts.values()), 150, lines)
            self.assertTrue(all(count >= 15 for count in counts.values()), f"{node}: {counts}")
            say(f"150 requests from {node}: {sorted(counts.values())}")
        for pod in found.values():
            node = pod["spec"]["nodeName"]
            for url in (f"http://{ip}/", "http://web/", "http://web.default.svc.cluster.local/"):
                bodies = [docker("exec", container_of(pod), "curl", "-sS", "-m", "5", url, node=node) for _ in range(4)]
                self.assertTrue(all("web version 1" in b for b in bodies), f"{node} {url}: {bodies}")

    def test_03_nobody_reads_along_on_the_switch(self):
        found = settled()
        secret, answer, plain = (f"canary-{what}-{random.randrange(10**12)}" for what in ("request", "answer", "plain"))
        for pod in found.values():
            docker("exec", container_of(pod), "sh", "-c", f"echo {answer} $(hostname) >/www/canary",
                   node=pod["spec"]["nodeName"])
        capture = Capture()
        script = f"for i in $(seq 50); do curl -sS -m 3 -X GET -d {secret} http://{vip()}/canary; done"
        lines = on("n1", "sh", "-c", script, timeout=60).splitlines()
        # What is not sent by the mesh is seen.
        server = started("n2", sys.executable, "-m", "http.server", "8099", stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, cwd="/proc/self/fdinfo")
        try:
            eventually("a plain server", lambda: fetch("n1", f"http://{address('n2')}:8099/{plain}")[0] == 0, seconds=5)
            eventually("its request in the capture", lambda: plain.encode() in capture.file.read_bytes(), seconds=5)
        finally:
            server.kill()
            server.wait()
        seen = capture.end()
        self.assertEqual(len(lines), 50)
        self.assertTrue(all(answer in line for line in lines), lines)
        self.assertEqual({line.split()[1] for line in lines}, set(found), "all three have answered")
        self.assertIn(plain.encode(), seen, "the capture works")
        self.assertNotIn(secret.encode(), seen)
        self.assertNotIn(answer.encode(), seen)
        say(f"{len(seen) / 1e6:.1f} MB seen on the switch, no canary in it")

    def test_04_an_agent_that_is_killed_disturbs_nobody(self):
        all_ready()
        before = identity(settled())
        running = {node: containers(node) for node in NODES}
        probers = [Prober(node, [f"{vip()}:80", f"{address(node)}:{NODE_PORT}"], interval=20) for node in ("n1", "n3")]
        time.sleep(0.5)
        began = time.monotonic()
        gone(kill_agent("n2"))
        testnet("start", "n2")
        took = time.monotonic() - began
        eventually("n2 to be there again", lambda: ready_nodes("n2") == set(NODES))
        back = time.monotonic() - began
        time.sleep(3)
        reports = [prober.end() for prober in probers]
        # One second and more of it is the kernel's, which takes down the dead agent's network namespace.
        self.assertLess(took, 3.0)
        for report in reports:
            self.assertEqual(report["failed"], [], "no new connection failed")
            self.assertGreater(report["attempts"], 50)
        say(f"started again after {took:.2f} s, all Ready there after {back:.1f} s; "
            f"{sum(r['attempts'] for r in reports)} new connections, slow ones (ms): {[r['slow'] for r in reports]}")
        self.assertEqual(identity(settled()), before)
        self.assertEqual({node: containers(node) for node in NODES}, running)

    def test_05_a_node_is_cut_off_and_comes_back(self):
        all_ready()
        originals = settled()
        self.assertEqual(spread(originals), list(NODES))
        victim = next(p for p in originals.values() if p["spec"]["nodeName"] == "n3")
        ip, home = vip(), address("n3")
        create(apiVersion="v1", kind="ConfigMap", metadata={"name": "shared"}, data={"zero": "0"})
        eventually("it on n3", lambda: "shared" in names("n3", "configmaps"), seconds=5)
        probers = [Prober(node, [f"{ip}:80", f"{address(node)}:{NODE_PORT}"]) for node in ("n1", "n2")]
        time.sleep(0.5)
        testnet("cut", "n3")
        try:
            self.cut_off(originals, victim, ip, home, probers)
        finally:
            testnet("heal")
        self.come_back(originals, victim)

    def cut_off(self, originals, victim, ip, home, probers):
        began = time.monotonic()
        for node in ("n1", "n2"):
            eventually(f"NotReady at {node}", lambda n=node: ready_nodes(n) == {"n1", "n2"}, seconds=10, every=0.05)
        noticed = time.monotonic() - began

        def elsewhere():
            found = [p for p in pods().values() if is_ready(p) and p["spec"]["nodeName"] != "n3"]
            return len(found) == 3

        eventually("the replicas elsewhere", elsewhere, seconds=30, every=0.1)
        replaced = time.monotonic() - began
        time.sleep(1)
        reports = [prober.end() for prober in probers]
        say(f"NotReady at both after {noticed:.1f} s, replaced after {replaced:.1f} s; new connections failed for "
            f"{[round(r['failing'] * 1000) for r in reports]} ms of {[r['attempts'] for r in reports]} attempts, "
            f"slow ones: {[len(r['slow']) for r in reports]}, worst {max(sum((r['slow'] for r in reports), [0]))} ms")
        for report in reports:
            self.assertLess(report["failing"], 0.5, report["failed"])
        self.assertLess(replaced, REPLACED)
        self.assertEqual(get("pod", victim["metadata"]["name"])["metadata"]["uid"], victim["metadata"]["uid"],
                         "a lost pod is not deleted")
        self.alone(victim, ip, home)

    def alone(self, victim, ip, home):
        """What goes on on the host that is cut off."""
        eventually("n3 to see that it is alone", lambda: ready_nodes("n3", own=True) == {"n3"}, seconds=10)
        name = victim["metadata"]["name"]
        for url in (f"http://{ip}/", f"http://{home}:{NODE_PORT}/"):
            bodies = [fetch("n3", url) for _ in range(5)]
            self.assertTrue(all(code == 0 and name in body for code, body in bodies), bodies)
        docker("kill", container_of(victim), node="n3")
        eventually("its container to be restarted", lambda: restarts(own("n3", "get", "pod", name)) == 1
                   and is_ready(own("n3", "get", "pod", name)), seconds=30)
        on("n3", "kubectl", "create", "-f", "-", stdin=config_maps("side-b", 50))
        kubectl("create", "-f", "-", stdin=config_maps("side-a", 50))
        patch = '{"data":{"%s":"1"}}'
        on("n3", "kubectl", "patch", "configmap", "shared", "--type=merge", "-p", patch % "b")
        kubectl("patch", "configmap", "shared", "--type=merge", "-p", patch % "a")
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lonely"},
               "spec": {"terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "c", "image": "web:1", "command": ["/bin/sleep", "1000"]}]}}
        on("n3", "kubectl", "create", "-f", "-", stdin=json.dumps(pod))
        eventually("n3 to run it as caretaker of its side", lambda: is_ready(own("n3", "get", "pod", "lonely")), seconds=20)
        self.lonely = identity({"lonely": own("n3", "get", "pod", "lonely")})
        self.assertEqual(own("n3", "get", "pod", "lonely")["spec"]["nodeName"], "n3")
        reasons = {e["reason"] for e in own("n3", "get", "events")["items"]}
        self.assertIn("CaretakerStarted", reasons)
        self.assertEqual(on("n3", "kubectl", "get", "lease", "-n", "kube-node-lease", "skein-caretaker", "-o",
                            "jsonpath={.spec.holderIdentity}"), "n3")

    def come_back(self, originals, victim):
        began = time.monotonic()
        all_ready()
        ready = time.monotonic() - began
        uids = {p["metadata"]["uid"] for p in originals.values()}

        def exact(node):
            found = get(*at(node), "pods", "-l", "app=web")["items"]
            return {p["metadata"]["uid"] for p in found} == uids and all(is_ready(p) for p in found)

        for node in NODES:
            eventually(f"the three originals, and they alone, at {node}", lambda n=node: exact(n), seconds=30)
        say(f"three Ready everywhere {ready:.1f} s after the heal, replicas exact after {time.monotonic() - began:.1f} s")
        after = identity(settled())
        for name, before in identity(originals).items():
            if name != victim["metadata"]["name"]:
                self.assertEqual(after[name], before)
        self.assertEqual(restarts(get("pod", victim["metadata"]["name"])), 1)
        for node in NODES:
            eventually(f"one container on {node}", lambda n=node: len(containers(n)) == 1, seconds=15)
            seen = names(node, "configmaps")
            wanted = {f"side-{side}-{n}" for side in "ab" for n in range(50)}
            self.assertEqual(wanted - seen, set(), f"acknowledged writes are lost at {node}")
            self.assertEqual(get(*at(node), "configmap", "shared")["data"], {"zero": "0", "a": "1", "b": "1"})
        self.assertEqual(identity({"lonely": get("pod", "lonely")}), self.lonely, "the pod made over there stays as it is")
        kubectl("delete", "pod", "lonely")
        kubectl("delete", "-f", "-", stdin=config_maps("side-a", 50), timeout=60)

    def test_06_leaders_are_killed_and_followed(self):
        settled()
        worst, replicas = 0.0, 3
        for n in range(5):
            all_ready()
            former = eventually("a leader", lambda: leader(NODES[n % 3]))
            others = [node for node in NODES if node != former]
            began = time.monotonic()
            pid = kill_agent(former)
            found = next_leader(others, former)
            took = time.monotonic() - began
            worst = max(worst, took)
            gone(pid)
            replicas += 1
            kubectl(*at(found), "scale", "deployment/web", f"--replicas={replicas}")
            # Those of the node that has just died count too, until it is lost.
            eventually(f"{replicas} replicas placed", lambda: len(
                [p for p in pods(node=found).values() if p["spec"].get("nodeName")]) >= replicas, seconds=15)
            say(f"{former} killed, {found} led after {took:.2f} s, {replicas} replicas placed after "
                f"{time.monotonic() - began:.1f} s")
            testnet("start", former)
            eventually("the one that was killed", lambda: ready_nodes(former) == set(NODES))
        self.assertLess(worst, 2.0)
        kubectl("scale", "deployment/web", "--replicas=3")
        settled()

    def test_07_all_agents_are_killed_after_an_answer(self):
        before = identity(settled())
        kubectl(*at("n2"), "apply", "-f", "-", stdin=config_maps("precious", 1))
        pids = [kill_agent(node) for node in NODES]
        for pid in pids:
            gone(pid)
        order = random.sample(NODES, 3)
        began = time.monotonic()
        for node in order:
            testnet("start", node)
        for node in NODES:
            eventually(f"the object at {node}", lambda n=node: "precious-0" in names(n, "configmaps"), seconds=30)
        all_ready()
        say(f"started in the order {' '.join(order)}: all Ready everywhere after {time.monotonic() - began:.1f} s")
        eventually("the same pods", lambda: identity(settled()) == before, seconds=30)
        for node in NODES:
            eventually("traffic", lambda n=node: fetch(n, f"http://{vip()}/")[0] == 0)

    def test_08_an_address_changes(self):
        before = settled()
        old = address("n2")
        began = time.monotonic()
        testnet("move", "n2")
        all_ready()
        for node in NODES:
            eventually(f"the new address at {node}", lambda n=node: address("n2", n) != old)
        new = address("n2")
        say(f"{old} -> {new}: all Ready everywhere after {time.monotonic() - began:.1f} s")
        kubeconfig = kubectl("config", "view", "-o", "json")
        self.assertIn(f"https://{new}:6443", kubeconfig)
        self.assertEqual(kubectl(*at("n2"), "get", "--raw", "/readyz"), "ok")
        after = settled()
        self.assertEqual({n: p["metadata"]["uid"] for n, p in after.items()},
                         {n: p["metadata"]["uid"] for n, p in before.items()})

        def spread_again(node):
            lines = [fetch(node, f"http://{vip()}/")[1] for _ in range(20)]
            return all(any(name in line for line in lines) for name in after)

        for node in NODES:
            eventually(f"traffic from {node} to all", lambda n=node: spread_again(n), seconds=15)
        self.assertIn("web version 1", fetch("n1", f"http://{new}:{NODE_PORT}/")[1])

    def test_09_a_lease_is_one_decision(self):
        all_ready()
        self.addCleanup(kubectl_said, "delete", "lease", "operator", "--ignore-not-found")
        kubectl(*at("n2"), "create", "-f", "-", stdin=json.dumps(
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "operator", "labels": {"app": "op"}},
             "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}))
        for node in NODES:
            eventually(f"the Lease at {node}", lambda n=node: holder(n) == "a", seconds=5)
        first = {node: get(*at(node), "lease", "operator") for node in NODES}
        kubectl(*at("n3"), "replace", "-f", "-", stdin=held(first["n3"], "b"))
        eventually("the new holder at n1", lambda: holder("n1") == "b", seconds=5)
        code, text = kubectl_said(*at("n1"), "replace", "-f", "-", stdin=held(first["n1"], "thief"))
        self.assertNotEqual(code, 0)
        self.assertIn("the object has been modified", text)
        former = eventually("a leader", lambda: leader("n1"))
        other = next(node for node in NODES if node != former)
        began = time.monotonic()
        pid = kill_agent(former)

        def renewed():
            kubectl(*at(other), "replace", "-f", "-", stdin=held(get(*at(other), "lease", "operator"), "c"))
            return True

        eventually(f"a renewal at {other}", renewed, seconds=20, every=0.05)
        say(f"{former} killed, which led: the Lease renewed at {other} after {time.monotonic() - began:.2f} s")
        gone(pid)
        testnet("start", former)
        all_ready()
        # A node shows what it has heard; one that was just started again may not have heard the last yet.
        eventually("the renewal at n3", lambda: holder("n3") == "c", seconds=5)
        testnet("cut", "n3")
        try:
            self.written_on_one_side()
        finally:
            testnet("heal")
        all_ready()
        for node in NODES:
            eventually(f"the one holder at {node}", lambda n=node: holder(n) == "d", seconds=10)
            seen = get(*at(node), "lease", "operator")["metadata"]
            self.assertEqual({k: seen[k] for k in ("uid", "creationTimestamp", "labels")},
                             {k: first[node]["metadata"][k] for k in ("uid", "creationTimestamp", "labels")})
        kubectl(*at("n1"), "delete", "lease", "operator")
        for node in NODES:
            eventually(f"none at {node}", lambda n=node: "operator" not in names(n, "leases"), seconds=5)

    def written_on_one_side(self):
        """n3 is cut off, and says so."""
        eventually("n3 to see that it is alone", lambda: ready_nodes("n3", own=True) == {"n3"}, seconds=10)
        lease = own("n3", "get", "lease", "operator")
        self.assertEqual(lease["spec"]["holderIdentity"], "c", "it is read there")
        code, text = said(str(ROOT / "testnet/on"), "n3", "kubectl", "replace", "-f", "-", stdin=held(lease, "thief"))
        self.assertNotEqual(code, 0)
        self.assertIn("ServiceUnavailable", text)
        self.assertIn("hears no leader", text)
        say(text.strip())
        kubectl(*at("n1"), "replace", "-f", "-", stdin=held(get("lease", "operator"), "d"))


    def test_09_what_must_never_run_twice_does_not(self):
        since = time.time()
        create(apiVersion="apps/v1", kind="Deployment",
               metadata={"name": "db", "annotations": {"skein.dev/partition": "hold"}},
               spec={"replicas": 1, "selector": {"matchLabels": {"app": "db"}}, "template": {
                   "metadata": {"labels": {"app": "db"}},
                   "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "db", "image": "web:1"}]}}})
        (name, pod), = settled(1, "app=db").items()
        home = pod["spec"]["nodeName"]
        other = next(node for node in NODES if node != home)
        # Restarted within seconds, it disturbs nothing.
        gone(kill_agent(home))
        testnet("start", home)
        eventually("it to be there again", lambda: ready_nodes(home) == set(NODES))
        self.assertEqual(identity(settled(1, "app=db")), identity({name: pod}))
        stalled, began = int((RUN / home / "agent.pid").read_text()), time.monotonic()
        os.kill(stalled, signal.SIGSTOP)
        try:
            eventually("it to run elsewhere", lambda: any(
                is_ready(p) and p["spec"]["nodeName"] != home for p in pods("app=db", node=other).values()), seconds=40)
            moved = time.monotonic() - began
        finally:
            os.kill(stalled, signal.SIGCONT)
        all_ready()
        settled(1, "app=db", node=other)
        time.sleep(2)
        runs = sorted(run for node in NODES for run in self.runs(node, since))
        self.assertGreaterEqual(len(runs), 2, runs)
        for (_, end), (begin, _) in zip(runs, runs[1:]):
            self.assertLess(end, begin, f"two ran at once: {runs}")
        say(f"the agent of {home} stalled: it ran elsewhere after {moved:.1f} s, {runs[1][0] - runs[0][1]:.1f} s after its end there")
        kubectl("delete", "deployment", "db")

    def runs(self, node, since):
        """From when to when containers of the Deployment ran on a host, as its Docker saw it."""
        lines = docker("events", "--since", f"{since:.0f}", "--until", f"{time.time():.0f}", "--filter", "event=start", "--filter",
                       "event=die", "--filter", "label=io.kubernetes.container.name=db", "--format", "{{json .}}", node=node)
        begun, runs = {}, []
        for event in map(json.loads, lines.splitlines()):
            at, which = event["timeNano"] / 1e9, event["Actor"]["ID"]
            if event["Action"] == "start":
                begun[which] = at
            elif which in begun:
                runs.append((begun.pop(which), at))
        return runs + [(at, time.time()) for at in begun.values()]


    def test_10_commands_and_ports_of_pods_anywhere(self):
        pod, there = next((name, p["spec"]["nodeName"]) for name, p in pods().items())
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "big"
            source.write_bytes(os.urandom(50_000_000))
            for asked in (there, next(node for node in NODES if node != there)):
                with self.subTest(there=there, asked=asked):
                    self.commands(asked, pod, source)
                    self.ports(asked, pod, source)
        self.terminals()

    def commands(self, asked, pod, source):
        ask = (*KUBECTL, *at(asked))
        code, text = said(*ask, "exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual(code, 3, text)
        self.assertIn("out\n", text)
        self.assertIn("err\n", text)
        begun = time.monotonic()
        echoed = subprocess.run([*ask, "exec", "-i", pod, "--", "cat"], input=source.read_bytes(), capture_output=True,
                                timeout=120)
        say(f"50 MB through cat in {pod}, asked at {asked}: {time.monotonic() - begun:.1f} s")
        self.assertEqual(hashlib.sha256(echoed.stdout).digest(), hashlib.sha256(source.read_bytes()).digest(), echoed.stderr)
        early = subprocess.run([*ask, "exec", "-i", pod, "--", "head", "-c", "3"], input=source.read_bytes(), capture_output=True,
                               timeout=120)
        self.assertEqual((early.returncode, early.stdout), (0, source.read_bytes()[:3]), early.stderr)
        sh(*ask, "cp", str(source), f"{pod}:/tmp/big")
        sh(*ask, "cp", f"{pod}:/tmp/big", f"{source}.back")
        self.assertEqual(Path(f"{source}.back").read_bytes(), source.read_bytes())
        text = sh("script", "-qec", f"{' '.join(ask)} exec -it {pod} -- sh -c 'stty rows 33; stty size; test -t 0 && echo terminal'",
                  "/dev/null")
        self.assertRegex(text, r"33 \d+\s+terminal")
        code, text = said(*ask, "exec", pod, "-c", "nope", "--", "ls")
        self.assertEqual((code, text.strip()), (1, f"Error from server (BadRequest): container nope is not valid for pod {pod}"))
        code, text = said(*ask, "exec", pod, "--", "no-such-command")
        self.assertEqual(code, 126, text)
        self.assertIn("executable file not found", text)

    def ports(self, asked, pod, source):
        """What listens on the pod's loopback interface is reached too, but by no Service."""
        name = f"{pod}.bytes"
        sh(*KUBECTL, "exec", pod, "--", "sh", "-c", "cp /tmp/big /www/big 2>/dev/null || cat /tmp/big > /www/big")
        with forwarded(asked, pod, 80) as port:
            got = [subprocess.Popen(["curl", "-sS", "-m", "60", "-o", f"{source}.{name}.{n}", f"http://127.0.0.1:{port}/big"])
                   for n in range(2)]
            self.assertEqual([one.wait(timeout=90) for one in got], [0, 0])
            for n in range(2):
                self.assertEqual(Path(f"{source}.{name}.{n}").read_bytes(), source.read_bytes())
        with forwarded(asked, pod, 9) as port:
            self.assertNotEqual(said("curl", "-sS", "-m", "5", f"http://127.0.0.1:{port}/")[0], 0)

    def terminals(self):
        """`kubectl run -i`, and attaching to what runs."""
        text = subprocess.run([*KUBECTL, "run", "asked", "-i", "--rm", "--image=web:1", "--restart=Never", "--quiet", "--",
                               "sh", "-c", "read line; echo got $line"], input="a word\n", capture_output=True, text=True,
                              timeout=60)
        self.assertIn("got a word", text.stdout, text.stderr)


class Strangers(unittest.TestCase):
    """A host that does not belong."""

    @classmethod
    def setUpClass(cls):
        sh("bash", "-c", f". {ROOT}/testnet/lib.sh; make_host x1 201")
        cls.folder = RUN / "x1"

    def agent(self, *args, seconds=20):
        return said(str(ROOT / "testnet/on"), "x1", "timeout", str(seconds), "agent", *args, "--docker", "/nowhere/docker.sock",
                    timeout=seconds + 10)

    def join(self, token, data="data", *flags):
        """`agent join` that is expected to be refused in one sentence; returns it."""
        code, text = self.agent("join", token, "--data", str(self.folder / data), "--node-name", "x1", *flags)
        self.assertEqual(code, 1, text)
        self.assertNotIn("panicked", text)
        self.assertNotIn(token, text, "a token is not repeated")
        return text.strip().splitlines()[-1]

    def token(self, *flags):
        return on("n1", "agent", "token", "create", *flags).strip()

    def started(self, *args):
        log = open(self.folder / "agent.log", "a")
        agent = sh("bash", "-c", f". {ROOT}/testnet/lib.sh; echo $agent").strip()
        return started("x1", agent, *args, "--docker", "/nowhere/docker.sock", stdout=log, stderr=log)

    def end(self, process):
        process.terminate()
        process.wait(timeout=15)

    def test_01_a_wrong_token_is_refused(self):
        self.assertIn("not a join token", self.join("potato"))
        token = self.token()
        middle = len(token) // 2
        other = "A" if token[middle] != "A" else "B"
        self.assertRegex(self.join(token[:middle] + other + token[middle + 1:]), "cut or mistyped|not a join token")
        self.assertRegex(self.join(token[:-4]), "cut or mistyped|not a join token")
        self.assertEqual(ready_nodes("n1"), set(NODES))

    def test_02_a_used_token_is_refused(self):
        token = (RUN / "n2/token").read_text().strip()
        text = self.join(token)
        self.assertIn("has been used by node n2", text)
        middle = len(token) // 2
        self.assertIn("has been used", self.join(f"{token[:middle]}\n  {token[middle:]}\n"), "a line break does no harm")

    def test_03_an_expired_token_is_refused(self):
        token = self.token("--ttl", "1s")
        time.sleep(1.5)
        self.assertIn("has expired", self.join(token))

    def test_04_a_folder_of_another_cluster_is_refused(self):
        process = self.started("up", "--data", str(self.folder / "own"), "--node-name", "x1")
        try:
            eventually("a cluster of its own", lambda: (self.folder / "own/kubeconfig").exists())
        finally:
            self.end(process)
        text = self.join(self.token(), "own")
        there = re.search(r'cluster="?([0-9a-f]{16})', (self.folder / "agent.log").read_text())[1]
        here = re.search(r'cluster="?([0-9a-f]{16})', (RUN / "n1/agent.log").read_text())[1]
        self.assertNotEqual(there, here)
        self.assertIn(there[:8], text)
        self.assertIn(here[:8], text)

    def test_05_a_strangers_connection_gets_nothing(self):
        script = (
            "import socket,sys,time\n"
            "s=socket.create_connection((sys.argv[1], 7443), 5); s.settimeout(20); begin=time.monotonic()\n"
            "s.sendall(bytes.fromhex(sys.argv[2])); got=b''\n"
            "try:\n"
            " while data := s.recv(4096): got+=data\n"
            "except ConnectionError: pass\n"
            "print(len(got), time.monotonic()-begin, got.hex())\n")
        for what, sent in (("nothing", b""), ("a request", b"GET / HTTP/1.0\r\n\r\n"), ("noise", random.randbytes(4096))):
            size, took, got = on("x1", sys.executable, "-c", script, address(), sent.hex()).split(" ")
            self.assertLess(int(size), 256, f"{what}: {bytes.fromhex(got)}")
            self.assertLess(float(took), 15, f"{what}: it is closed")
            say(f"a stranger who sends {what} gets {size} bytes, closed after {float(took):.1f} s")
        self.assertEqual(ready_nodes("n1"), set(NODES))

    def test_06_ranges_that_overlap_the_lan_are_refused(self):
        sh("ip", "-n", f"{NAME}-x1", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
        sh("ip", "-n", f"{NAME}-x1", "addr", "add", "10.241.7.1/24", "dev", "lan0")
        sh("ip", "-n", f"{NAME}-x1", "link", "set", "lan0", "up")
        try:
            text = self.join(self.token())
            self.assertIn("10.240.0.0/12 overlaps the route 10.241.7.0/24 of lan0", text)
        finally:
            sh("ip", "-n", f"{NAME}-x1", "link", "del", "lan0")

    def test_07_a_second_host_of_one_name_gets_another(self):
        token = self.token()
        middle = len(token) // 2
        # As pasted from a terminal that broke the line.
        process = self.started("join", f"{token[:middle]}\n{token[middle:]}", "--data", str(self.folder / "data"),
                               "--node-name", "n1")
        try:
            name = eventually("it in the list", lambda: next(
                (n for n in names("n2", "nodes") if n.startswith("n1-")), None), seconds=20)
            say(f"a second n1 is called {name}")
        finally:
            self.end(process)
        self.assertTrue(set(NODES) <= names("n1", "nodes"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
