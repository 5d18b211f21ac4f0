"""Clients other than kubectl against a real testnet: the Python client, kube-rs with a controller that lives through the
death of a leader, and Helm 3 and 4 with a chart."""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import rude  # noqa: E402
from testnet import (RUN, Api, at, eventually, is_ready, kubectl, kubectl_said, leader, next_leader, ready_nodes, said, sh,  # noqa: E402
                     testnet)

NODES = ("n1", "n2", "n3")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skein"
TARGET = os.environ.get("CARGO_TARGET_DIR", str(CACHE / "target"))
PYTHON_CLIENT = CACHE / "python" / "kubernetes-37.0.2"
SHOP = HERE.parent / "kubectl/fixtures/shop.yaml"
WIDGETS = HERE.parent / "kubectl/fixtures/widgets.yaml"


def setUpModule():
    testnet("down")
    # Not left to tearDownModule, which does not run if this fails.
    unittest.addModuleCleanup(testnet, "down")
    if not PYTHON_CLIENT.exists():
        sh(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location", "--target",
           f"{PYTHON_CLIENT}.new", "kubernetes==37.0.2", timeout=300)
        Path(f"{PYTHON_CLIENT}.new").rename(PYTHON_CLIENT)
    sh("cargo", "build", "--quiet", "--manifest-path", str(HERE / "operator/Cargo.toml"), timeout=900)
    print(testnet("up", "--nodes", "3", timeout=1500))
    testnet("tools", "--all")


def namespace(name):
    """Makes a namespace that every node shows, with its account."""
    kubectl("create", "namespace", name)
    for node in NODES:
        eventually(f"the account of {name} at {node}",
                   lambda n=node: kubectl(*at(n), "-n", name, "get", "serviceaccount", "default"))


def config_of(node, namespace):
    """A file by which clients ask one node, in one namespace."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", *at(node), "-o", "json"))
    config["contexts"][0]["context"]["namespace"] = namespace
    file = RUN / f"client-{node}-{namespace}.json"
    file.write_text(json.dumps(config))
    return str(file)


def fields(answer):
    """What a client was answered: some answers it gives as they came."""
    return answer if isinstance(answer, dict) else answer.to_dict()


class Python(unittest.TestCase):
    """The Python client validates what it is answered, field by field."""

    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, str(PYTHON_CLIENT))
        import kubernetes  # noqa: PLC0415
        cls.k = kubernetes
        namespace("python")
        kubectl("-n", "python", "apply", "-f", str(SHOP))
        kubectl("-n", "python", "rollout", "status", "deployment/shop", "--timeout=60s", timeout=70)
        cls.client = cls.at("n2")

    @classmethod
    def at(cls, node):
        cls.k.config.load_kube_config(config_file=config_of(node, "python"))
        return cls.k.client.ApiClient()

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", "python", timeout=60)

    def core(self):
        return self.k.client.CoreV1Api(self.client)

    def map(self, name, **data):
        return self.k.client.V1ConfigMap(metadata=self.k.client.V1ObjectMeta(name=name, labels={"of": "python"}), data=data)

    def test_objects(self):
        core = self.core()
        made = core.create_namespaced_config_map("python", self.map("objects", a="1"))
        with self.assertRaises(self.k.client.ApiException) as again:
            core.create_namespaced_config_map("python", self.map("objects"))
        self.assertEqual((again.exception.status, json.loads(again.exception.body)["reason"]), (409, "AlreadyExists"))
        patched = core.patch_namespaced_config_map("objects", "python", {"data": {"b": "2"}})
        self.assertEqual(patched.data, {"a": "1", "b": "2"})
        made.data = {"c": "3"}
        with self.assertRaises(self.k.client.ApiException) as stale:
            core.replace_namespaced_config_map("objects", "python", made)
        self.assertEqual(stale.exception.status, 409)
        gone = core.delete_namespaced_config_map("objects", "python")
        self.assertEqual((fields(gone)["status"], fields(gone)["details"]["name"]), ("Success", "objects"))
        with self.assertRaises(self.k.client.ApiException) as missing:
            core.read_namespaced_config_map("objects", "python")
        self.assertEqual(missing.exception.status, 404)

    def test_every_kind_can_be_read(self):
        c, k = self.client, self.k.client
        for api, calls in ((k.CoreV1Api(c), ("node", "pod_for_all_namespaces", "service_for_all_namespaces", "secret_for_all_namespaces",
                                             "event_for_all_namespaces", "namespace", "persistent_volume", "service_account_for_all_namespaces",
                                             "endpoints_for_all_namespaces", "replication_controller_for_all_namespaces")),
                           (k.AppsV1Api(c), ("deployment_for_all_namespaces", "replica_set_for_all_namespaces", "daemon_set_for_all_namespaces",
                                             "stateful_set_for_all_namespaces", "controller_revision_for_all_namespaces")),
                           (k.BatchV1Api(c), ("job_for_all_namespaces", "cron_job_for_all_namespaces")),
                           (k.NetworkingV1Api(c), ("ingress_for_all_namespaces", "network_policy_for_all_namespaces", "ingress_class")),
                           (k.RbacAuthorizationV1Api(c), ("cluster_role", "cluster_role_binding", "role_for_all_namespaces")),
                           (k.StorageV1Api(c), ("storage_class", "csi_driver", "csi_node", "volume_attachment")),
                           (k.AutoscalingV2Api(c), ("horizontal_pod_autoscaler_for_all_namespaces",)),
                           (k.PolicyV1Api(c), ("pod_disruption_budget_for_all_namespaces",)),
                           (k.DiscoveryV1Api(c), ("endpoint_slice_for_all_namespaces",)),
                           (k.CoordinationV1Api(c), ("lease_for_all_namespaces",)),
                           (k.EventsV1Api(c), ("event_for_all_namespaces",)),
                           (k.CertificatesV1Api(c), ("certificate_signing_request",)),
                           (k.AdmissionregistrationV1Api(c), ("validating_webhook_configuration", "mutating_webhook_configuration")),
                           (k.ApiextensionsV1Api(c), ("custom_resource_definition",)),
                           (k.SchedulingV1Api(c), ("priority_class",)), (k.NodeV1Api(c), ("runtime_class",))):
            for call in calls:
                with self.subTest(call=call):
                    getattr(api, f"list_{call}")()
        self.assertGreater(len(k.CoreV1Api(c).list_node().items), 2)
        self.assertIn("v1.33", k.VersionApi(c).get_code().git_version)

    def test_what_is_made_has_all_that_is_required(self):
        """The client refuses answers that lack what upstream's schema requires."""
        k, name = self.k.client, {"name": "typed"}
        pod = {"metadata": {"labels": {"app": "typed"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
        selector = {"matchLabels": {"app": "typed"}}
        apps = k.AppsV1Api(self.client)
        apps.create_namespaced_daemon_set("python", {"metadata": name, "spec": {"selector": selector, "template": pod}})
        apps.create_namespaced_stateful_set("python", {"metadata": name, "spec": {
            "serviceName": "typed", "replicas": 0, "selector": selector, "template": pod}})
        apps.create_namespaced_replica_set("python", {"metadata": name, "spec": {"replicas": 0, "selector": selector, "template": pod}})
        batch = k.BatchV1Api(self.client)
        job = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "web:1", "command": ["sh", "-c", "exit 0"]}]}}}
        batch.create_namespaced_job("python", {"metadata": name, "spec": job})
        batch.create_namespaced_cron_job("python", {"metadata": name, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}})
        eventually("the Job", lambda: batch.read_namespaced_job("typed", "python").status.succeeded == 1)
        for delete in (apps.delete_namespaced_daemon_set, apps.delete_namespaced_stateful_set, apps.delete_namespaced_replica_set,
                       batch.delete_namespaced_job, batch.delete_namespaced_cron_job):
            self.assertEqual(fields(delete("typed", "python", propagation_policy="Background"))["status"], "Success")
        core = self.core()
        made = core.create_namespaced_service("python", {"metadata": name, "spec": {"ports": [{"port": 80}]}})
        gone = fields(core.delete_namespaced_service("typed", "python"))
        self.assertEqual(gone["metadata"]["uid"], made.metadata.uid, "the object itself")

    def test_watches(self):
        core, seen = self.core(), []
        start = core.list_namespaced_config_map("python").metadata.resource_version
        core.create_namespaced_config_map("python", self.map("watched"))
        core.patch_namespaced_config_map("watched", "python", {"data": {"a": "1"}})
        core.delete_namespaced_config_map("watched", "python")
        for event in self.k.watch.Watch().stream(core.list_namespaced_config_map, "python", resource_version=start, timeout_seconds=10):
            if event["object"].metadata.name == "watched":
                seen.append(event["type"])
            if "DELETED" in seen:
                break
        self.assertEqual(seen, ["ADDED", "MODIFIED", "DELETED"])
        began = time.monotonic()
        self.assertEqual(list(self.k.watch.Watch().stream(core.list_namespaced_config_map, "python", timeout_seconds=2,
                                                          label_selector="none=here")), [])
        self.assertLess(time.monotonic() - began, 5, "it ends by itself")
        with self.assertRaises(self.k.client.ApiException) as old:
            list(self.k.watch.Watch().stream(core.list_namespaced_config_map, "python", resource_version="1", timeout_seconds=5))
        self.assertEqual(old.exception.status, 410)

    def test_pages(self):
        core = self.core()
        for n in range(5):
            core.create_namespaced_config_map("python", self.map(f"page-{n}"))
        names, token = [], None
        while token != "":
            page = core.list_namespaced_config_map("python", label_selector="of=python", limit=2, _continue=token or None)
            names += [item.metadata.name for item in page.items]
            token = page.metadata._continue or ""
        self.assertEqual(names, [f"page-{n}" for n in range(5)])
        core.delete_collection_namespaced_config_map("python", label_selector="of=python")
        self.assertEqual(core.list_namespaced_config_map("python", label_selector="of=python").items, [])

    def pod(self):
        found = self.core().list_namespaced_pod("python", label_selector="app=shop", field_selector="status.phase=Running").items
        return next(p.metadata.name for p in found if p.metadata.deletion_timestamp is None)

    def test_streams(self):
        core, stream = self.core(), self.k.stream
        self.assertEqual(len(core.read_namespaced_pod_log(self.pod(), "python", tail_lines=2).splitlines()), 2)
        out = stream.stream(core.connect_get_namespaced_pod_exec, self.pod(), "python", command=["echo", "hello"], stdin=False,
                            stdout=True, stderr=True, tty=False)
        self.assertEqual(out, "hello\n")
        talk = stream.stream(core.connect_get_namespaced_pod_exec, self.pod(), "python", command=["sh"], stdin=True, stdout=True,
                             stderr=True, tty=False, _preload_content=False)
        talk.write_stdin("echo $((6 * 7)); exit 5\n")
        talk.run_forever(timeout=10)
        self.assertEqual((talk.read_stdout(), talk.returncode), ("42\n", 5))
        forward = stream.portforward(core.connect_get_namespaced_pod_portforward, self.pod(), "python", ports="80")
        socket = forward.socket(80)
        socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        page = b""
        while data := socket.recv(4096):
            page += data
        self.assertIn(b"web version", page)
        self.assertIsNone(forward.error(80))

    def test_the_dynamic_client(self):
        from kubernetes import dynamic  # noqa: PLC0415
        client = dynamic.DynamicClient(self.client)
        maps = client.resources.get(api_version="v1", kind="ConfigMap")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"a": "1"}}
        maps.server_side_apply(body, namespace="python", field_manager="python")
        self.assertEqual(maps.get(name="dynamic", namespace="python").data.to_dict(), {"a": "1"})
        maps.delete(name="dynamic", namespace="python")
        deployments = client.resources.get(api_version="apps/v1", kind="Deployment")
        self.assertEqual(deployments.scale.get(name="shop", namespace="python").spec.replicas, 2)
        metrics = self.k.client.CustomObjectsApi(self.client).list_cluster_custom_object("metrics.k8s.io", "v1beta1", "nodes")
        self.assertEqual(len(metrics["items"]), 3)

    def test_leader_election(self):
        """Two candidates at two nodes: never two at once."""
        from kubernetes.leaderelection import electionconfig, leaderelection  # noqa: PLC0415
        from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock  # noqa: PLC0415
        led = []

        def candidate(name, node):
            self.k.config.load_kube_config(config_file=config_of(node, "python"))
            config = electionconfig.Config(LeaseLock("election", "python", name), lease_duration=5, renew_deadline=4, retry_period=1,
                                           onstarted_leading=lambda: led.append(name), onstopped_leading=lambda: None)
            with contextlib.suppress(Exception):  # It ends when the testnet does.
                leaderelection.LeaderElection(config).run()

        for name, node in (("a", "n1"), ("b", "n3")):
            threading.Thread(target=candidate, args=(name, node), daemon=True).start()
        eventually("one who leads", lambda: led, seconds=20)
        time.sleep(4)
        self.assertEqual(len(led), 1, led)
        holder = json.loads(kubectl("-n", "python", "get", "lease", "election", "-o", "json"))["spec"]["holderIdentity"]
        self.assertEqual(led, [holder])


class KubeRs(unittest.TestCase):
    """The Rust client, and a controller that is written with it."""

    @classmethod
    def setUpClass(cls):
        namespace("rust")
        kubectl("-n", "rust", "apply", "-f", str(SHOP))
        kubectl("-n", "rust", "rollout", "status", "deployment/shop", "--timeout=60s", timeout=70)

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", "rust", timeout=60)

    def operator(self, command, node, **options):
        env = {**os.environ, "KUBECONFIG": config_of(node, "rust"), "GROUP": "rust.example.com"}
        return subprocess.Popen([f"{TARGET}/debug/operator", command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, **options)

    def test_what_clients_do(self):
        for node in NODES:
            with self.subTest(node=node):
                process = self.operator("use", node)
                text, _ = process.communicate(timeout=120)
                self.assertEqual(process.returncode, 0, text)
                self.assertEqual(text.count(": ok"), 7, text)

    def test_a_controller_lives_through_the_death_of_a_leader(self):
        kubectl("apply", "-f", "-", stdin=WIDGETS.read_text().replace("widgets.example.com", "rust.example.com"))
        kubectl("wait", "crd/widgets.rust.example.com", "--for=condition=Established", "--timeout=10s")
        former = eventually("a leader", lambda: leader("n1"))
        asked, other = (node for node in NODES if node != former)
        for node in (asked, other):
            eventually("the kind there", lambda n=node: "No resources" in kubectl_said(*at(n), "get", "widgets.rust.example.com")[1])
        process = self.operator("control", asked)
        try:
            self.widget(other, "before", 3)
            eventually("its ConfigMap", lambda: self.size(other, "before") == "3", seconds=15)
            pid = int((RUN / former / "agent.pid").read_text())
            os.kill(pid, signal.SIGKILL)
            (RUN / former / "agent.pid").unlink()
            self.widget(other, "amid", 4)
            eventually("its ConfigMap", lambda: self.size(other, "amid") == "4", seconds=15)
            self.assertTrue(next_leader([asked, other], former))
            self.widget(other, "after", 5)
            self.widget(other, "before", 6)
            eventually("its ConfigMap", lambda: self.size(other, "after") == "5", seconds=15)
            eventually("the change", lambda: self.size(other, "before") == "6", seconds=15)
            eventually("the status", lambda: kubectl(*at(other), "-n", "rust", "get", "widgets.rust.example.com", "before", "-o",
                                                     "jsonpath={.status.replicas}") == "6", seconds=15)
            kubectl(*at(other), "-n", "rust", "delete", "widgets.rust.example.com", "amid", "--timeout=20s")
            self.assertIn("NotFound", kubectl_said(*at(other), "-n", "rust", "get", "configmap", "amid-config")[1])
            testnet("start", former)
            eventually("the former leader", lambda: ready_nodes(former) == set(NODES), seconds=30)
            eventually("all of it there", lambda: self.size(former, "after") == "5", seconds=15)
            kubectl("-n", "rust", "delete", "widgets.rust.example.com", "--all", "--timeout=20s")
        finally:
            process.kill()
            text, _ = process.communicate()
            print("\n".join(f"      {line}" for line in text.splitlines()[-5:]))
        kubectl("delete", "crd", "widgets.rust.example.com", timeout=30)

    def widget(self, node, name, size):
        kubectl(*at(node), "-n", "rust", "apply", "-f", "-", stdin=json.dumps(
            {"apiVersion": "rust.example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}}))

    def size(self, node, name):
        return kubectl(*at(node), "-n", "rust", "get", "configmap", f"{name}-config", "-o", "jsonpath={.data.size}")


def asked(node, method, path, body=None, media="application/json"):
    """Asks a node over a connection of its own; returns code and answer."""
    connection = Api(node).connection
    connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": media})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


class Consistency(unittest.TestCase):
    """The sentences of docs/consistency.md, by their numbers."""

    maps = "/api/v1/namespaces/consistency/configmaps"

    @classmethod
    def setUpClass(cls):
        namespace("consistency")

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", "consistency", timeout=60)

    def make(self, name, node="n1", **data):
        code, made = asked(node, "POST", self.maps, {"metadata": {"name": name}, "data": data})
        self.assertEqual(code, 201, made)
        return made

    def data(self, node, name):
        return asked(node, "GET", f"{self.maps}/{name}")[1].get("data")

    def put(self, node, held, **data):
        return asked(node, "PUT", f"{self.maps}/{held['metadata']['name']}", {**held, "data": data})

    def test_01_what_was_written_is_read(self):
        for n in range(30):
            self.make(f"own-{n}", "n2", n=str(n))
            self.assertEqual(self.data("n2", f"own-{n}"), {"n": str(n)})

    def test_02_a_list_and_its_watch_are_whole(self):
        version = asked("n1", "GET", self.maps)[1]["metadata"]["resourceVersion"]
        for n in range(20):
            self.make(f"watched-{n}")
        events = Api("n1").stream(f"{self.maps}?watch=true&resourceVersion={version}&timeoutSeconds=5")
        names = [e["object"]["metadata"]["name"] for e in events if e["object"]["metadata"]["name"].startswith("watched-")]
        self.assertEqual(names, [f"watched-{n}" for n in range(20)])

    def test_03_versions_grow(self):
        seen = [int(self.make(f"grows-{n}")["metadata"]["resourceVersion"]) for n in range(10)]
        self.assertEqual(seen, sorted(set(seen)))

    def test_04_old_versions_and_taken_names_are_refused(self):
        made = self.make("old")
        self.assertEqual(self.put("n1", made, a="1")[0], 200)
        code, text = self.put("n1", made, a="2")
        self.assertEqual((code, text["reason"]), (409, "Conflict"))
        self.assertEqual(asked("n1", "POST", self.maps, {"metadata": {"name": "old"}})[1]["reason"], "AlreadyExists")
        wrong = {"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}}
        self.assertEqual(asked("n1", "DELETE", f"{self.maps}/old", wrong)[0], 409)
        self.make("counter", n="0")

        def count():
            for _ in range(10):
                while True:
                    held = asked("n1", "GET", f"{self.maps}/counter")[1]
                    if self.put("n1", held, n=str(int(held["data"]["n"]) + 1))[0] == 200:
                        break

        threads = [threading.Thread(target=count) for _ in range(3)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(self.data("n1", "counter"), {"n": "30"})

    def test_05_pages_are_one_moment(self):
        for n in range(4):
            self.make(f"page-{n}")
        first = asked("n1", "GET", f"{self.maps}?limit=1")[1]
        asked("n1", "DELETE", f"{self.maps}/page-3")
        rest = asked("n1", "GET", f"{self.maps}?limit=500&continue={first['metadata']['continue']}")[1]
        self.assertIn("page-3", [i["metadata"]["name"] for i in rest["items"]])
        self.assertEqual(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"])

    def test_06_what_changes_nothing_keeps_the_version(self):
        made = self.make("same", a="1")
        code, after = asked("n1", "PATCH", f"{self.maps}/same", {"data": {"a": "1"}}, "application/merge-patch+json")
        self.assertEqual((code, after["metadata"]["resourceVersion"]), (200, made["metadata"]["resourceVersion"]))

    def test_07_others_show_it_soon(self):
        for n in range(10):
            self.make(f"soon-{n}", "n1")
            eventually("it elsewhere", lambda n=n: self.data("n3", f"soon-{n}") is not None or
                       asked("n3", "GET", f"{self.maps}/soon-{n}")[0] == 200, seconds=2, every=0.01)

    def test_08_all_come_to_the_same(self):
        self.make("alike", "n1", a="1")
        eventually("it at n2", lambda: asked("n2", "GET", f"{self.maps}/alike")[0] == 200)

        def all_alike():
            shown = [asked(node, "GET", f"{self.maps}/alike")[1] for node in NODES]
            versions = {o["metadata"].pop("resourceVersion") for o in shown}
            return len(versions) == 3 and shown[0] == shown[1] == shown[2]

        asked("n2", "PATCH", f"{self.maps}/alike", {"data": {"b": "2"}}, "application/merge-patch+json")
        eventually("the same at all", all_alike, seconds=5)

    def test_09_versions_of_others_are_not_guessed_at(self):
        made = self.make("foreign", "n1")
        eventually("it at n2", lambda: asked("n2", "GET", f"{self.maps}/foreign")[0] == 200)
        version = made["metadata"]["resourceVersion"]
        event, = Api("n2").stream(f"{self.maps}?watch=true&resourceVersion={version}&timeoutSeconds=2")
        self.assertEqual((event["type"], event["object"]["code"], event["object"]["reason"]), ("ERROR", 410, "Expired"))
        self.assertEqual(asked("n2", "GET", f"{self.maps}?resourceVersion={version}")[0], 410)
        self.assertEqual(self.put("n2", made, a="1")[0], 409)

    def test_11_a_lease_is_one_decision(self):
        path = "/apis/coordination.k8s.io/v1/namespaces/consistency/leases"
        self.assertEqual(asked("n1", "POST", path, {"metadata": {"name": "one"}, "spec": {"holderIdentity": "nobody"}})[0], 201)
        for node in NODES:
            eventually("it everywhere", lambda n=node: asked(n, "GET", f"{path}/one")[0] == 200)
        codes, held = {}, {node: asked(node, "GET", f"{path}/one")[1] for node in NODES}

        def take(node):
            codes[node] = asked(node, "PUT", f"{path}/one", {**held[node], "spec": {"holderIdentity": node}})[0]

        threads = [threading.Thread(target=take, args=(node,)) for node in NODES]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(sorted(codes.values()), [200, 409, 409])

    def test_12_evictions_are_counted_in_one_place(self):
        kubectl("-n", "consistency", "apply", "-f", str(SHOP))
        kubectl("-n", "consistency", "rollout", "status", "deployment/shop", "--timeout=60s", timeout=70)
        kubectl("-n", "consistency", "create", "poddisruptionbudget", "shop", "--selector=app=shop", "--min-available=1")
        for node in NODES:
            eventually("the budget", lambda n=node: json.loads(kubectl(*at(n), "-n", "consistency", "get", "pdb", "shop", "-o", "json"))
                       ["status"]["disruptionsAllowed"] == 1)
        pods = [p["metadata"]["name"] for p in json.loads(kubectl("-n", "consistency", "get", "pods", "-l", "app=shop", "-o", "json"))["items"]]
        codes = {}

        def evict(node, pod):
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
            codes[pod] = asked(node, "POST", f"/api/v1/namespaces/consistency/pods/{pod}/eviction", body)[0]

        threads = [threading.Thread(target=evict, args=pair) for pair in zip(NODES, pods)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(sorted(codes.values()), [201, 429], codes)
        kubectl("-n", "consistency", "delete", "-f", str(SHOP), timeout=60)

    def test_13_both_sides_of_a_cut_go_on_and_are_merged(self):
        """With 10, 14, 15 and 16: n3 on one side, the others on the other."""
        self.make("shared", "n1", zero="0")
        for node in NODES:
            eventually("it everywhere", lambda n=node: asked(n, "GET", f"{self.maps}/shared")[0] == 200)
        path = "/apis/coordination.k8s.io/v1/namespaces/consistency/leases"
        self.assertEqual(asked("n1", "POST", path, {"metadata": {"name": "lock"}, "spec": {"holderIdentity": "a"}})[0], 201)
        eventually("the Lease at n3", lambda: asked("n3", "GET", f"{path}/lock")[0] == 200)
        version = asked("n3", "GET", self.maps)[1]["metadata"]["resourceVersion"]
        # This machine reaches n3 still: only the hosts do not reach each other.
        testnet("cut", "n1,n2/n3")
        try:
            eventually("n3 to see that it is alone", lambda: ready_nodes("n3") == {"n3"}, seconds=15)
            # Only of a partition in which somebody was lost is told.
            time.sleep(8)
            merge = "application/merge-patch+json"
            for node, data in (("n1", {"a": "1", "zero": "from-a"}), ("n3", {"b": "1", "zero": "from-b"})):
                self.assertEqual(asked(node, "PATCH", f"{self.maps}/shared", {"data": data}, merge)[0], 200)
            older = self.make("twice", "n1", side="a")
            time.sleep(1.1)
            self.make("twice", "n3", side="b")
            lease = asked("n3", "GET", f"{path}/lock")[1]
            code, text = asked("n3", "PUT", f"{path}/lock", {**lease, "spec": {"holderIdentity": "thief"}})
            self.assertEqual((code, text["reason"]), (503, "ServiceUnavailable"))
        finally:
            testnet("heal")
        for node in NODES:
            eventually("three Ready", lambda n=node: ready_nodes(n) == set(NODES), seconds=30)

        def merged():
            found = [self.data(node, "shared") for node in NODES]
            return found[0] == found[1] == found[2] and found[0]["a"] == found[0]["b"] == "1" and found[0]["zero"] != "0"

        eventually("both sides' changes", merged)
        uids = [asked(node, "GET", f"{self.maps}/twice")[1]["metadata"]["uid"] for node in NODES]
        self.assertEqual(set(uids), {older["metadata"]["uid"]})
        events = Api("n3").stream(f"{self.maps}?watch=true&resourceVersion={version}&timeoutSeconds=3")
        seen = [(e["type"], e["object"]["data"]) for e in events if e["object"]["metadata"]["name"] == "shared"]
        self.assertEqual(seen[-1][1], self.data("n3", "shared"), "the watch goes on over the heal")
        reasons = eventually("the Events", lambda: {e["reason"] for e in asked("n1", "GET", "/api/v1/events")[1]["items"]}
                             >= {"MergeConflict", "PartitionHealed"}, seconds=45)
        self.assertTrue(reasons)


class RudeClients(unittest.TestCase):
    """What others notice of clients that no server likes."""

    def setUp(self):
        config = json.loads(kubectl("config", "view", "--raw", "--minify", *at("n2"), "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        pem = RUN / "rude.pem"
        pem.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        host, port = cluster["server"].removeprefix("https://").split(":")
        self.rude = rude.Rude(host, int(port), rude.contexts(authority, str(pem)))
        self.agent = (RUN / "n2/agent.pid").read_text().strip()

    def resident(self):
        """Megabytes."""
        status = Path(f"/proc/{self.agent}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def polite(self, seconds):
        """Asks as others do meanwhile; returns the worst of a hundred, in milliseconds."""
        api, took, end = Api("n2"), [], time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            api.ask("GET", "/api/v1/namespaces/default/services/kubernetes")
            took.append((time.monotonic() - began) * 1000)
            time.sleep(0.01)
        return sorted(took)[int(len(took) * 0.99)]

    def test_others_hardly_notice_and_memory_is_bounded(self):
        self.polite(1)
        for name in ("slow_heads", "unread_watches", "endless_bodies", "deep_bodies", "rapid_reset"):
            with self.subTest(name=name):
                self.rude.stop.clear()
                before, result = self.resident(), []
                thread = threading.Thread(target=lambda n=name, r=result: r.append(getattr(self.rude, n)()))
                thread.start()
                time.sleep(2)
                p99, grown = self.polite(5), self.resident() - before
                self.rude.stop.set()
                thread.join(timeout=30)
                print(f"      {name}: others' p99 {p99:.0f} ms, {grown:.1f} MB more", flush=True)
                self.assertEqual(len(result), 1, "it could go on to its end")
                self.assertLess(p99, 100)
                self.assertLess(grown, 50)
                if name == "deep_bodies":
                    self.assertEqual(set(result[0]), {400})
                if name == "endless_bodies":
                    self.assertLess(max(result[0]), 64 << 20, "a body is given up long before its end")
        self.assertEqual(ready_nodes("n2"), set(NODES))


class Helm:
    """A chart's life. `binary` and `node` say by what, and where."""

    binary = node = ""

    @classmethod
    def setUpClass(cls):
        cls.namespace = cls.binary
        namespace(cls.namespace)

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", cls.namespace, timeout=60)

    def helm(self, *args):
        env = ["env", f"HOME={RUN}", f"KUBECONFIG={config_of(self.node, self.namespace)}"]
        return sh(*env, str(RUN / "bin" / self.binary), *args, timeout=120)

    def get(self, *args):
        return json.loads(kubectl(*at(self.node), "-n", self.namespace, "get", *args, "-o", "json"))

    def test_a_chart_is_installed_upgraded_rolled_back_tested_and_removed(self):
        chart = str(HERE / "chart")
        self.helm("lint", chart)
        text = self.helm("install", "shop", chart, "--wait", "--timeout=90s")
        self.assertIn("STATUS: deployed", text)
        self.assertEqual(self.get("deployment", "shop")["status"]["readyReplicas"], 2)
        self.assertEqual(self.get("job", "shop-migrate")["status"]["succeeded"], 1, "the hook has run")
        self.assertIn("Phase:          Succeeded", self.helm("test", "shop", "--timeout=60s"))
        self.helm("upgrade", "shop", chart, "--set", "greeting=bye,replicas=1", "--wait", "--timeout=90s")
        self.assertEqual(self.get("configmap", "shop-config")["data"], {"greeting": "bye"})
        pods = [p for p in self.get("pods", "-l", "part=web")["items"] if "deletionTimestamp" not in p["metadata"]]
        self.assertEqual(len(pods), 1)
        self.assertTrue(is_ready(pods[0]))
        self.helm("rollback", "shop", "1", "--wait", "--timeout=90s")
        self.assertEqual(self.get("configmap", "shop-config")["data"], {"greeting": "hello"})
        self.assertEqual(self.get("deployment", "shop")["spec"]["replicas"], 2)
        history = json.loads(self.helm("history", "shop", "-o", "json"))
        self.assertEqual([(h["revision"], h["status"]) for h in history], [(1, "superseded"), (2, "superseded"), (3, "deployed")])
        self.assertRegex(self.helm("list"), r"shop\s+\S+\s+3\s")
        self.assertRegex(self.helm("get", "manifest", "shop"), r"kind: Deployment")
        self.helm("uninstall", "shop", "--wait", "--timeout=60s")
        self.assertEqual(self.get("deployments,services,configmaps", "-l", "app.kubernetes.io/instance=shop")["items"], [])


class Helm3(Helm, unittest.TestCase):
    binary, node = "helm3", "n3"


class Helm4(Helm, unittest.TestCase):
    binary, node = "helm", "n2"


if __name__ == "__main__":
    unittest.main(verbosity=2)
