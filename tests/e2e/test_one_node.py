"""One node that is a whole cluster: the story of a user, told with real tools."""

import collections
import copy
import json
import os
import re
import subprocess
import time
import unittest

from testnet import (ROOT, RUN, config_map, container_of, create, docker, eventually, get, identity, is_ready, kubectl,
                     kubectl_said, on, pods, restarts, said, settled, sh, testnet)

NODE_PORT = 30080
MANIFEST = str(ROOT / "testnet/sample/web.yaml")


def setUpModule():
    testnet("down")
    # Not left to tearDownModule, which does not run if this fails.
    unittest.addModuleCleanup(testnet, "down")
    print(testnet("up", "--nodes", "1", timeout=1500))


def address():
    return get("node", "n1")["status"]["addresses"][0]["address"]


def fetch(url, timeout=3):
    """Asks from the host; returns (exit code of curl, body)."""
    return said(str(ROOT / "testnet/on"), "n1", "curl", "-sS", "-m", str(timeout), url)


def start_docker(*flags):
    """Starts the node's engine again with other flags than the testnet's."""
    folder = RUN / "n1"
    (folder / "docker.pid").unlink(missing_ok=True)
    # In a session of its own, a child of init: a zombie of ours would look alive.
    command = ["setsid", "--fork", "nsenter", f"--net=/run/netns/{os.environ['SKEIN_TESTNET']}-n1", "dockerd",
               "--config-file", f"{folder}/docker.json", "--data-root", f"{folder}/docker",
               "--exec-root", f"{folder}/docker-exec", "--pidfile", f"{folder}/docker.pid",
               "-H", f"unix://{folder}/docker.sock", "--userland-proxy=false", *flags]
    with open(folder / "docker.log", "a") as log:
        subprocess.run(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=True)
    eventually("the engine to answer", lambda: docker("version"), seconds=30)


def stop_docker(signal):
    pid = int((RUN / "n1/docker.pid").read_text())
    os.kill(pid, signal)
    eventually("the engine to end", lambda: not os.path.exists(f"/proc/{pid}"), seconds=60)


class Story(unittest.TestCase):
    def test_01_the_node_is_ready(self):
        line = kubectl("get", "nodes", "-o", "wide").splitlines()[1].split()
        self.assertEqual(line[:3], ["n1", "Ready", "member"])
        self.assertRegex(line[4], r"^v1\.33\.")
        self.assertEqual(line[5], address())
        self.assertRegex(" ".join(line), r"docker://\d+")
        self.assertIn("Linux", " ".join(line))
        text = on("n1", "agent", "status")
        self.assertIn("Ready", text)
        self.assertIn('"ready": true', on("n1", "agent", "status", "-o", "json"))

    def test_02_a_second_apply_changes_nothing(self):
        before = {k: get(k, "web")["metadata"]["resourceVersion"] for k in ("deployment", "service")}
        text = kubectl("apply", "-f", MANIFEST)
        self.assertEqual(text, "deployment.apps/web unchanged\nservice/web unchanged\n")
        after = {k: get(k, "web")["metadata"]["resourceVersion"] for k in ("deployment", "service")}
        self.assertEqual(before, after)

    def test_03_pods_can_be_looked_at(self):
        found = settled()
        wide = kubectl("get", "pods", "-o", "wide")
        for name, pod in found.items():
            self.assertRegex(wide, rf"{name}\s+1/1\s+Running\s+0\s+\S+\s+{pod['status']['podIP']}\s+n1")
        name = next(iter(found))
        text = kubectl("describe", "pod", name)
        for reason in ("Scheduled", "Pulled", "Created", "Started"):
            self.assertRegex(text, rf"Normal\s+{reason}")
        self.assertIn("kubelet", text)
        fetch(f"http://{found[name]['status']['podIP']}/")
        eventually("the request in the log", lambda: "GET /" in kubectl("logs", name))
        self.assertEqual(len(kubectl("logs", "--tail=2", name).splitlines()), 2)
        self.assertIn("NewReplicaSetAvailable", kubectl("describe", "deployment", "web"))

    def test_04_scale_roll_out_and_back(self):
        kubectl("scale", "deployment/web", "--replicas=5")
        settled(5)
        kubectl("scale", "deployment/web", "--replicas=3")
        settled(3)
        kubectl("set", "image", "deployment/web", "web=web:2")
        self.assertIn("successfully rolled out", kubectl("rollout", "status", "deployment/web", "--timeout=90s"))
        self.assertEqual(fetch(f"http://{address()}:{NODE_PORT}/")[1].split(" on ")[0], "web version 2")
        self.assertEqual({p["spec"]["containers"][0]["image"] for p in settled().values()}, {"web:2"})
        kubectl("rollout", "undo", "deployment/web")
        kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        self.assertIn("web version 1", fetch(f"http://{address()}:{NODE_PORT}/")[1])
        self.assertRegex(kubectl("rollout", "history", "deployment/web"), r"(?m)^3\s")

    def test_05_the_service_answers_everywhere(self):
        found = settled()
        vip = get("service", "web")["spec"]["clusterIP"]
        listeners = [subprocess.Popen(
            [str(ROOT / "testnet/on"), "n1", "python3", "-c",
             "import socket,time\n"
             f"s=socket.socket(socket.AF_INET, socket.{kind}); s.bind(('0.0.0.0', {port}))\n"
             f"{'s.listen()' if kind == 'SOCK_STREAM' else ''}\ntime.sleep(60)"])
            for kind, port in (("SOCK_STREAM", 80), ("SOCK_DGRAM", 53), ("SOCK_STREAM", 53))]
        try:
            time.sleep(1)
            self.assertTrue(all(p.poll() is None for p in listeners), "the host listens on its own 80 and 53")
            self.assertIn("web version 1", fetch(f"http://{vip}/")[1])
            for pod in found.values():
                for url in (f"http://{vip}/", "http://web/", "http://web.default.svc.cluster.local/"):
                    body = docker("exec", container_of(pod), "curl", "-sS", "-m", "5", url)
                    self.assertIn("web version 1", body, url)
            self.assertIn("web version 1", sh("curl", "-sS", "-m", "3", f"http://{address()}:{NODE_PORT}/"))
        finally:
            for listener in listeners:
                listener.terminate()
                listener.wait()
        code, text = said(str(ROOT / "testnet/on"), "n1", "curl", "-sS", "-m", "3", f"http://{vip}:81/")
        self.assertEqual(code, 7, f"an unused port is refused: {text}")

    def test_06_traffic_is_spread(self):
        settled()
        vip = get("service", "web")["spec"]["clusterIP"]
        script = f"for i in $(seq 600); do curl -sS -m 3 http://{vip}/; done"
        counts = collections.Counter(on("n1", "sh", "-c", script, timeout=120).splitlines())
        self.assertEqual(sum(counts.values()), 600)
        self.assertEqual(len(counts), 3, counts)
        for who, count in counts.items():
            self.assertTrue(150 <= count <= 252, f"{who}: {count} of 600")

    def test_07_without_endpoints_connections_are_refused_at_once(self):
        create(apiVersion="v1", kind="Service", metadata={"name": "empty"}, spec={"ports": [{"port": 80}]})
        try:
            vip = get("service", "empty")["spec"]["clusterIP"]
            start = time.monotonic()
            code, text = fetch(f"http://{vip}/")
            self.assertEqual(code, 7, text)
            self.assertLess(time.monotonic() - start, 1.0)
        finally:
            kubectl("delete", "service", "empty")

    def test_08_a_killed_container_is_restarted_and_counted(self):
        found = settled()
        name, pod = next(iter(found.items()))
        for expected in (1, 2):
            docker("kill", container_of(get("pod", name)))
            eventually(f"{expected} restarts", lambda: restarts(get("pod", name)) == expected
                       and is_ready(get("pod", name)), seconds=60)
        self.assertEqual(get("pod", name)["metadata"]["uid"], pod["metadata"]["uid"])
        self.assertIn("BackOff", kubectl("describe", "pod", name))
        self.assertIn("GET", kubectl("logs", "--previous", name))

    def test_09_a_deleted_pod_is_replaced_again_and_again(self):
        for _ in range(3):
            victim = next(iter(settled()))
            kubectl("delete", "pod", victim, timeout=60)
            self.assertNotIn(victim, settled())
        leftovers = docker("ps", "-aq", "--filter", f"label=io.kubernetes.pod.name={victim}").split()
        self.assertEqual(leftovers, [])

    def test_10_readiness_moves_traffic(self):
        found = settled()
        name, pod = next(iter(found.items()))
        docker("exec", container_of(pod), "rm", "/www/healthy")
        eventually("the pod to be unready", lambda: not is_ready(get("pod", name)))
        slices = get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
        ready = {e["targetRef"]["name"] for s in slices for e in s["endpoints"] if e["conditions"]["ready"]}
        self.assertEqual(ready, set(found) - {name})
        bodies = {fetch(f"http://{address()}:{NODE_PORT}/")[1].strip() for _ in range(40)}
        self.assertFalse(any(name in b for b in bodies), bodies)
        docker("exec", container_of(pod), "touch", "/www/healthy")
        settled()
        self.assertEqual(restarts(get("pod", name)), 0)
        eventually("traffic to come back", lambda: name in fetch(f"http://{address()}:{NODE_PORT}/")[1], seconds=10,
                   every=0)

    def test_11_an_agent_that_is_killed_disturbs_nobody(self):
        before = identity(settled())
        testnet("kill", "n1")
        self.assertIn("running", docker("ps", "--format", "{{.State}}"))
        testnet("start", "n1")
        eventually("the API", lambda: kubectl("get", "--raw", "/readyz"))
        eventually("the node to be ready", lambda: is_ready(get("node", "n1")))
        self.assertEqual(identity(settled()), before)
        time.sleep(3)
        self.assertEqual(identity(settled()), before)
        eventually("traffic", lambda: fetch(f"http://{address()}:{NODE_PORT}/")[0] == 0)

    def test_12_an_engine_killed_under_live_restore_disturbs_nobody(self):
        before = identity(settled())
        stop_docker(9)
        eventually("the node to say so", lambda: not is_ready(get("node", "n1")))
        self.assertIn("web version", fetch(f"http://{address()}:{NODE_PORT}/")[1], "traffic goes on")
        config_map("while-docker-is-away")
        kubectl("delete", "configmap", "while-docker-is-away")
        start_docker("--live-restore")
        eventually("the node to be ready", lambda: is_ready(get("node", "n1")))
        self.assertEqual(identity(settled()), before)

    def test_13_an_engine_restart_without_live_restore_is_repaired(self):
        before = settled()
        stop_docker(15)
        start_docker("--live-restore=false")
        stop_docker(15)
        start_docker("--live-restore=false")
        def repaired():
            after = settled()
            return set(after) == set(before) and all(restarts(after[n]) > restarts(before[n]) for n in after) and after

        after = eventually("the same pods, ready again, their restart counted", repaired, seconds=90)
        for name, pod in after.items():
            self.assertEqual(pod["metadata"]["uid"], before[name]["metadata"]["uid"])
        eventually("traffic", lambda: fetch(f"http://{address()}:{NODE_PORT}/")[0] == 0)
        stop_docker(15)
        start_docker("--live-restore")
        settled()

    def test_14_an_acknowledged_write_survives(self):
        for n in range(5):
            config_map(f"precious-{n}", a="b")
            testnet("kill", "n1")
            testnet("start", "n1")
            eventually("the API", lambda: kubectl("get", "--raw", "/readyz"))
            self.assertEqual(get("configmap", f"precious-{n}")["data"], {"a": "b"})
            kubectl("delete", "configmap", f"precious-{n}")
            self.assertEqual(kubectl_said("get", "configmap", f"precious-{n}")[0], 1)

    def test_15_everything_comes_back_in_any_order(self):
        settled()
        testnet("kill", "n1")
        stop_docker(15)
        # The agent first, then Docker.
        agent_only = ["bash", "-c", f". {ROOT}/testnet/lib.sh; start_agent n1"]
        sh(*agent_only)
        eventually("the API without Docker", lambda: kubectl("get", "--raw", "/readyz"))
        eventually("the node to say why", lambda: "Docker" in kubectl("describe", "node", "n1"))
        start_docker("--live-restore")
        settled()
        eventually("traffic", lambda: fetch(f"http://{address()}:{NODE_PORT}/")[0] == 0)
        # Docker first, then the agent.
        testnet("kill", "n1")
        stop_docker(15)
        start_docker("--live-restore")
        testnet("start", "n1")
        eventually("the API", lambda: kubectl("get", "--raw", "/readyz"))
        settled()
        eventually("traffic", lambda: fetch(f"http://{address()}:{NODE_PORT}/")[0] == 0)

    def test_16_bad_input_is_refused_and_nothing_is_stored(self):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"},
               "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
        def broken(change):
            other = copy.deepcopy(pod)
            change(other["spec"]["containers"][0])
            return json.dumps(other)

        cases = [
            (lambda c: c.update(imagee="x"), 'unknown field "spec.containers[0].imagee"'),
            (lambda c: c.update(command=7), "cannot unmarshal number into Go struct field"),
            (lambda c: c.update(resources={"limits": {"memory": "12Q"}}), "quantities must match the regular expression"),
            (lambda c: c.pop("image"), "spec.containers[0].image: Required value"),
            (lambda c: c.update(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
             'spec.containers[0].ports[1].name: Duplicate value: "a"'),
        ]
        for change, words in cases:
            code, text = kubectl_said("apply", "-f", "-", stdin=broken(change))
            self.assertEqual(code, 1)
            self.assertIn(words, text)
        self.assertEqual(kubectl_said("get", "pod", "bad")[0], 1)
        code, text = kubectl_said("patch", "deployment", "web", "--type=merge", "-p",
                                  '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}')
        self.assertEqual(code, 1)
        self.assertIn("field is immutable", text)

    def test_17_an_image_that_is_not_there_is_told(self):
        kubectl("run", "lost", "--image=nowhere/nothing:1", "--restart=Never")
        try:
            eventually("the reason", lambda: re.search(r"ErrImagePull|ImagePullBackOff", kubectl("get", "pod", "lost")),
                       seconds=60)
            self.assertIn("Failed to pull image", kubectl("describe", "pod", "lost"))
        finally:
            kubectl("delete", "pod", "lost", timeout=60)

    def test_18_starting_wrongly_is_a_sentence(self):
        def start(*flags):
            agent = [str(ROOT / "testnet/on"), "n1", "timeout", "10", "agent", "up", "--node-name", "other", *flags]
            return said("env", "SKEIN_DATA=", *agent)

        code, text = start("--data", "/proc/nowhere")
        self.assertEqual(code, 1)
        self.assertRegex(text, r"data folder /proc/nowhere cannot be written")
        code, text = start("--data", str(RUN / "other"))
        self.assertEqual(code, 1)
        self.assertRegex(text, r"port 6443 is taken")
        code, text = start("--data", str(RUN / "n1/data"))
        self.assertEqual(code, 1)
        self.assertRegex(text, r"in use by another agent")
        self.assertNotIn("panicked", text)

    def test_19_deleting_the_app_leaves_nothing(self):
        kubectl("delete", "-f", MANIFEST, timeout=60)
        eventually("all pods to go", lambda: not get("pods")["items"], seconds=60)
        self.assertEqual(get("replicasets")["items"], [])
        eventually("the containers to go", lambda: docker("ps", "-aq").split() == [], seconds=30)
        code, _ = said("curl", "-sS", "-m", "3", f"http://{address()}:{NODE_PORT}/")
        self.assertEqual(code, 7)
        kubectl("apply", "-f", MANIFEST)
        settled()


if __name__ == "__main__":
    unittest.main(verbosity=2)
