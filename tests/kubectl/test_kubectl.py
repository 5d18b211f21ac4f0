"""Every command of kubectl against a real testnet, by two versions of it: each check asks another node and looks at what
came of it, and at what was printed."""

import contextlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from testnet import ROOT, RUN, at, eventually, is_ready, said, sh, testnet  # noqa: E402

NODES = ("n1", "n2", "n3")
FIXTURES = Path(__file__).with_name("fixtures")
GROUP = "widgets.example.com"


def setUpModule():
    testnet("down")
    # Not left to tearDownModule, which does not run if this fails.
    unittest.addModuleCleanup(testnet, "down")
    print(testnet("up", "--nodes", "3", timeout=1500))
    testnet("tools", "--all")


class Kubectl:
    """What kubectl does. `binary` and `namespace` say which, and where."""

    binary = namespace = ""

    @classmethod
    def setUpClass(cls):
        cls.turn = itertools.cycle(NODES)
        cls.base = [str(RUN / "bin" / cls.binary), "--kubeconfig", str(RUN / "kubeconfig")]
        sh(*cls.base, "create", "namespace", cls.namespace)
        for node in NODES:
            eventually(f"the namespace at {node}", lambda n=node: sh(*cls.base, *at(n), "get", "namespace", cls.namespace))
        eventually("its account", lambda: sh(*cls.base, "-n", cls.namespace, "get", "serviceaccount", "default"))
        sh(*cls.base, "-n", cls.namespace, "apply", "-f", str(FIXTURES / "shop.yaml"))
        sh(*cls.base, "-n", cls.namespace, "rollout", "status", "deployment/shop", "--timeout=90s", timeout=100)

    @classmethod
    def tearDownClass(cls):
        sh(*cls.base, "delete", "namespace", cls.namespace, timeout=90)

    # How the checks ask.

    def command(self, *args, node=None):
        """The whole command line; asked at the next node in turn, if none is named."""
        return [*self.base, *at(node or next(self.turn)), "-n", self.namespace, *args]

    def run_(self, *args, node=None, **options):
        return sh(*self.command(*args, node=node), **options)

    def said(self, *args, node=None, **options):
        return said(*self.command(*args, node=node), **options)

    def get(self, *args, node="n1"):
        return json.loads(self.run_("get", *args, "-o", "json", node=node))

    def prints(self, wanted, *args, **options):
        """A command that prints just this."""
        self.assertEqual(self.run_(*args, **options).strip(), wanted)

    def shows(self, pattern, *args, **options):
        """A command in whose output the pattern is found; what lies where, the padding is not looked at."""
        text = self.run_(*args, **options)
        self.assertRegex(text, re.compile(pattern, re.MULTILINE))
        return text

    def refused(self, wanted, *args, code=1, **options):
        """A command that fails with these words."""
        got, text = self.said(*args, **options)
        self.assertEqual(got, code, text)
        self.assertIn(wanted, text)

    @contextlib.contextmanager
    def made(self, *args, stdin=None):
        """An object for the time of a check: the arguments of `create`, the kind and the name first."""
        kind, name = args[0], args[2] if args[0] in ("secret", "service") else args[1]
        kind = "resourcequota" if kind == "quota" else kind
        self.run_("create", *args, stdin=stdin, node="n1")
        try:
            yield name
        finally:
            self.said("delete", kind, name, "--wait=false", node="n1")

    @contextlib.contextmanager
    def config_of(self, user):
        """The command line by which somebody asks n2 who is not the administrator."""
        clusters = json.loads(sh(*self.base, "config", "view", "--raw", "--minify", *at("n2"), "-o", "json"))["clusters"]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": clusters, "current-context": "user",
                                   "contexts": [{"name": "user", "context": {"cluster": clusters[0]["name"], "user": "user"}}],
                                   "users": [{"name": "user", "user": user}]}))
            file.flush()
            yield [str(RUN / "bin" / self.binary), "--kubeconfig", file.name, "-n", self.namespace]

    def everywhere(self, *args):
        """Waits until every node shows the object; a watch need not have begun at the node that was written to."""
        for node in NODES:
            eventually(f"{' '.join(args)} at {node}", lambda n=node: self.run_("get", *args, node=n), seconds=10)

    def shop(self):
        return next(p["metadata"]["name"] for p in self.get("pods", "-l", "app=shop")["items"]
                    if is_ready(p) and "deletionTimestamp" not in p["metadata"])

    # Basic commands.

    def test_get(self):
        eventually("two pods and no more", lambda: len(self.get("pods", "-l", "app=shop")["items"]) == 2)
        self.shows(r"^NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE$", "get", "pods")
        self.shows(r"^shop-\S+\s+1/1\s+Running\s+0\s", "get", "pods")
        self.shows(r"NOMINATED NODE\s+READINESS GATES", "get", "pods", "-o", "wide")
        self.shows(r"^deployment.apps/shop\s+2/2\s+2\s+2", "get", "all")
        self.prints("deployment.apps/shop", "get", "deployments", "-o", "name")
        self.prints("2", "get", "deployment", "shop", "-o", "jsonpath={.spec.replicas}")
        self.prints("shop 2", "get", "deployment", "shop", "-o", "go-template={{.metadata.name}} {{.spec.replicas}}")
        self.shows(r"^WHO\s+IMAGE\nshop\s+web:1$", "get", "deployments", "-o",
                   "custom-columns=WHO:.metadata.name,IMAGE:.spec.template.spec.containers[0].image")
        self.shows(r"^apiVersion: apps/v1\nkind: Deployment$", "get", "deployment", "shop", "-o", "yaml")
        self.shows(r"(?s)^shop .* app=shop$", "get", "deployments", "--show-labels", "--no-headers")
        self.shows(r"^shop-\S+ .*\sshop$", "get", "pods", "-L", "app", "--no-headers")
        self.assertEqual(len(self.run_("get", "pods", "-l", "app in (shop),tier!=x", "-o", "name").split()), 2)
        self.assertEqual(len(self.run_("get", "pods", "-l", "app=shop", "--field-selector", "status.phase=Running", "-o", "name").split()), 2)
        self.refused("field label not supported: spec.potato", "get", "pods", "--field-selector", "spec.potato=1")
        names = self.run_("get", "pods", "--sort-by=.metadata.name", "--no-headers", "-o", "name").split()
        self.assertEqual(names, sorted(names))
        self.shows(rf"^{self.namespace}\s+shop-", "get", "pods", "-A")
        self.assertEqual(len(self.run_("get", "pods", "-l", "app=shop", "--chunk-size=1", "-o", "name").split()), 2)
        self.refused('deployments.apps "nothing" not found', "get", "deployment", "nothing")
        self.refused("the server doesn't have a resource type", "get", "potatoes")
        self.prints("", "get", "deployment", "nothing", "--ignore-not-found")
        self.shows(r'"kind":\s*"DeploymentList"|"kind": ?"List"', "get", "--raw", f"/apis/apps/v1/namespaces/{self.namespace}/deployments")

    def test_get_watch(self):
        watching = subprocess.Popen(self.command("get", "configmaps", "-w", "--output-watch-events", node="n3"),
                                    stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(1)
            with self.made("configmap", "watched", "--from-literal=a=1"):
                self.run_("label", "configmap", "watched", "seen=1", node="n1")
            seen = []
            for line in watching.stdout:
                seen += [line.split()[0]] if "watched" in line else []
                if "DELETED" in seen:
                    break
            self.assertEqual((seen[0], seen[-1], set(seen)), ("ADDED", "DELETED", {"ADDED", "MODIFIED", "DELETED"}))
        finally:
            watching.kill()
            watching.communicate()

    def test_create(self):
        for what in (("configmap", "c1", "--from-literal=a=1"), ("secret", "generic", "c2", "--from-literal=a=1"),
                     ("serviceaccount", "c3"), ("service", "clusterip", "c4", "--tcp=80:80"),
                     ("deployment", "c5", "--image=web:1", "--replicas=0"), ("role", "c6", "--verb=get", "--resource=pods"),
                     ("rolebinding", "c7", "--role=c6", "--user=jane"), ("quota", "c8", "--hard=pods=100"),
                     ("job", "c9", "--image=web:1", "--", "true"), ("service", "nodeport", "c10", "--tcp=80"),
                     ("cronjob", "c11", "--image=web:1", "--schedule=0 0 1 1 *"),
                     ("ingress", "c12", "--rule=a.example/=shop:80"), ("poddisruptionbudget", "c13", "--selector=app=none", "--min-available=1"),
                     ("secret", "tls", "c14", f"--cert={RUN / 'tls.crt'}", f"--key={RUN / 'tls.key'}")):
            if "tls" in what:
                sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=c14", "-keyout", str(RUN / "tls.key"),
                   "-out", str(RUN / "tls.crt"))
            with self.subTest(what=what[:2]), self.made(*what) as name:
                kind = "resourcequota" if what[0] == "quota" else what[0]
                self.everywhere(kind, name)
        self.refused("already exists", "create", "-f", str(FIXTURES / "shop.yaml"))
        self.prints("configmap/dry created (server dry run)", "create", "configmap", "dry", "--dry-run=server")
        self.refused("not found", "get", "configmap", "dry")
        self.refused('namespaces "nowhere" not found', "create", "configmap", "x", "-n", "nowhere")
        self.refused("unknown field \"spec.replicaz\"", "create", "-f", "-", stdin=json.dumps(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replicaz": 1}}))
        name = self.run_("create", "-f", "-", "-o", "name", stdin=json.dumps(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}})).strip()
        self.assertRegex(name, r"^configmap/made-[a-z0-9]{5}$")
        self.run_("delete", name, node="n1")

    def test_create_cluster_wide(self):
        name = f"wide-{self.namespace}"
        for what in (("clusterrole", name, "--verb=get", "--resource=pods"),
                     ("clusterrolebinding", name, f"--clusterrole={name}", "--user=jane"),
                     ("priorityclass", name, "--value=5"), ("namespace", name)):
            with self.subTest(what=what[0]), self.made(*what):
                self.everywhere(what[0], name)

    def test_expose(self):
        self.prints("service/exposed exposed", "expose", "deployment", "shop", "--name=exposed", "--port=81", "--target-port=80")
        try:
            port, = self.get("service", "exposed")["spec"]["ports"]
            self.assertEqual((port["port"], port["targetPort"], port["protocol"]), (81, 80, "TCP"))
        finally:
            self.run_("delete", "service", "exposed", node="n1")

    def test_run(self):
        self.prints("pod/single created", "run", "single", "--image=web:1", "--labels=app=single", "--env=A=b", "--port=80")
        try:
            self.shows("condition met", "wait", "pod/single", "--for=condition=Ready", "--timeout=30s", node="n1")
            pod = self.get("pod", "single")
            self.assertEqual(pod["metadata"]["labels"], {"app": "single"})
            self.assertEqual(pod["spec"]["containers"][0]["env"], [{"name": "A", "value": "b"}])
        finally:
            self.run_("delete", "pod", "single", "--now", node="n1")
        text = self.run_("run", "asked", "-i", "--rm", "--restart=Never", "--image=web:1", "--quiet", "--", "echo", "hello")
        self.assertIn("hello", text)

    def test_set(self):
        with self.made("deployment", "settled", "--image=web:1", "--replicas=0"):
            self.everywhere("deployment", "settled")
            target = "deployment/settled"
            self.prints("deployment.apps/settled image updated", "set", "image", target, "web=web:2", node="n1")
            self.prints("deployment.apps/settled env updated", "set", "env", target, "COLOR=red", node="n1")
            self.prints("# Deployment settled, container web\nCOLOR=red", "set", "env", target, "--list", node="n1")
            self.prints("deployment.apps/settled resource requirements updated", "set", "resources", target, "--limits=memory=64Mi", node="n1")
            self.prints("deployment.apps/settled serviceaccount updated", "set", "serviceaccount", target, "default", node="n1")
            spec = self.get("deployment", "settled")["spec"]["template"]["spec"]
            self.assertEqual((spec["containers"][0]["image"], spec["serviceAccountName"]), ("web:2", "default"))
        with self.made("service", "clusterip", "chosen", "--tcp=80"):
            self.run_("set", "selector", "service", "chosen", "app=other", node="n1")
            self.assertEqual(self.get("service", "chosen")["spec"]["selector"], {"app": "other"})
        with self.made("rolebinding", "subjects", "--clusterrole=view", "--user=a"):
            self.run_("set", "subject", "rolebinding", "subjects", "--user=b", node="n1")
            self.assertEqual([s["name"] for s in self.get("rolebinding", "subjects")["subjects"]], ["a", "b"])

    def test_explain(self):
        self.shows(r"^FIELDS?:[\s\S]*maxSurge", "explain", "deployment.spec.strategy.rollingUpdate")
        self.shows(r"replicas\s+<integer>", "explain", "deployments.spec")
        self.shows(r"VERSION:\s+v1", "explain", "pods")
        self.shows("ownerReferences", "explain", "pod", "--recursive")
        self.refused('field "potato" does not exist', "explain", "pods.potato")

    def test_edit(self):
        with self.made("configmap", "edited", "--from-literal=color=red"):
            self.everywhere("configmap", "edited")
            editor = "KUBE_EDITOR=sed -i s/red/blue/"
            self.assertEqual(sh("env", editor, *self.command("edit", "configmap", "edited", node="n1")), "configmap/edited edited\n")
            self.assertEqual(self.get("configmap", "edited")["data"], {"color": "blue"})

    def test_delete(self):
        for name in ("d1", "d2", "d3", "d4"):
            self.run_("create", "configmap", name, node="n1")
            self.run_("label", "configmap", name, "gone=soon", node="n1")
        self.prints('configmap "d1" deleted' + self.in_namespace(), "delete", "configmap", "d1", node="n1")
        self.refused('configmaps "d1" not found', "delete", "configmap", "d1", node="n1")
        self.prints("", "delete", "configmap", "d1", "--ignore-not-found", node="n1")
        self.prints("configmap/d2", "delete", "configmap", "d2", "-o", "name", node="n1")
        self.shows(r"d3.*deleted.* \(server dry run\)", "delete", "configmap", "d3", "--dry-run=server", node="n1")
        self.run_("delete", "configmaps", "-l", "gone=soon", node="n1")
        self.prints("", "get", "configmaps", "-l", "gone=soon", "--ignore-not-found", "-o", "name", node="n1")

    def in_namespace(self):
        """What newer ones add to what is deleted."""
        return "" if self.binary == "kubectl" else f' from {self.namespace} namespace'

    def test_delete_leaves_or_takes_dependants(self):
        for cascade, left in (("orphan", 1), ("background", 0), ("foreground", 0)):
            with self.subTest(cascade=cascade):
                self.run_("create", "deployment", "parent", "--image=web:1", "--replicas=0", node="n1")
                try:
                    find = lambda: self.run_("get", "replicasets", "-l", "app=parent", "-o", "name", node="n1").split()
                    eventually("its set", lambda: find())
                    self.run_("delete", "deployment", "parent", f"--cascade={cascade}", node="n1")
                    if left:
                        time.sleep(1)
                        self.assertEqual(len(find()), left)
                    else:
                        eventually("its set to go", lambda: not find())
                finally:
                    self.said("delete", "deployment,replicaset", "-l", "app=parent", node="n1")

    # Deploying.

    def test_rollout(self):
        self.run_("create", "deployment", "rolled", "--image=web:1", node="n1")
        try:
            target = "deployment/rolled"
            self.shows("successfully rolled out", "rollout", "status", target, "--timeout=60s", node="n1", timeout=70)
            self.run_("set", "image", target, "web=web:2", node="n1")
            self.run_("annotate", target, "kubernetes.io/change-cause=two", node="n1")
            self.shows("successfully rolled out", "rollout", "status", target, "--timeout=60s", node="n2", timeout=70)
            self.shows(r"^2\s+two$", "rollout", "history", target, node="n1")
            self.shows(r"web:1", "rollout", "history", target, "--revision=1", node="n1")
            self.prints("deployment.apps/rolled paused", "rollout", "pause", target, node="n1")
            self.refused("cannot rollback a paused deployment", "rollout", "undo", target, node="n1")
            self.prints("deployment.apps/rolled resumed", "rollout", "resume", target, node="n1")
            self.prints("deployment.apps/rolled rolled back", "rollout", "undo", target, "--to-revision=1", node="n1")
            self.prints("deployment.apps/rolled restarted", "rollout", "restart", target, node="n1")
            self.shows("successfully rolled out", "rollout", "status", target, "--timeout=60s", node="n1", timeout=70)
            template = self.get("deployment", "rolled")["spec"]["template"]
            self.assertEqual(template["spec"]["containers"][0]["image"], "web:1")
            self.assertIn("kubectl.kubernetes.io/restartedAt", template["metadata"]["annotations"])
        finally:
            self.run_("delete", "deployment", "rolled", node="n1")

    def test_scale(self):
        with self.made("deployment", "scaled", "--image=web:1", "--replicas=0"):
            self.prints("deployment.apps/scaled scaled", "scale", "deployment/scaled", "--replicas=1", node="n1")
            self.refused("Expected replicas to be 7, was 1", "scale", "deployment/scaled", "--current-replicas=7", "--replicas=2", node="n1")
            self.prints("deployment.apps/scaled scaled", "scale", "deployment/scaled", "--current-replicas=1", "--replicas=0", node="n1")
            self.assertEqual(self.get("deployment", "scaled")["spec"]["replicas"], 0)

    def test_autoscale(self):
        self.prints("horizontalpodautoscaler.autoscaling/shop autoscaled", "autoscale", "deployment", "shop", "--min=1", "--max=3",
                    "--cpu-percent=80" if self.binary == "kubectl" else "--cpu=80%", node="n1")
        try:
            self.shows(r"^shop\s+Deployment/shop\s", "get", "hpa", node="n1")
            self.assertEqual(self.get("horizontalpodautoscalers.v1.autoscaling", "shop")["spec"]["targetCPUUtilizationPercentage"], 80)
            self.assertEqual(self.get("horizontalpodautoscalers.v2.autoscaling", "shop")["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80)
        finally:
            self.run_("delete", "hpa", "shop", node="n1")

    # The cluster.

    def test_certificate(self):
        name, folder = f"jane-{self.namespace}", Path(tempfile.mkdtemp())
        sh("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=jane/O=cooks", "-keyout", str(folder / "key"), "-out",
           str(folder / "csr"))
        request = sh("base64", "-w0", str(folder / "csr"))
        manifest = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}, "spec": {
            "request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}
        self.run_("create", "-f", "-", stdin=json.dumps(manifest), node="n1")
        try:
            self.shows(rf"^{name}\s.*Pending", "get", "csr", node="n1")
            self.shows("approved", "certificate", "approve", name, node="n1")
            certificate = eventually("the certificate", lambda: self.get("csr", name)["status"].get("certificate"), seconds=10)
            (folder / "crt").write_text(sh("base64", "-d", stdin=certificate))
            user = {"client-certificate": f"{folder}/crt", "client-key": f"{folder}/key"}
            with self.config_of(user) as ask:
                text = sh(*ask, "auth", "whoami")
                self.assertIn("jane", text)
                self.assertIn("cooks", text)
                self.assertIn('User "jane" cannot list resource "pods"', said(*ask, "get", "pods")[1])
        finally:
            self.run_("delete", "csr", name, node="n1")

    def test_cluster_info(self):
        self.shows("is running at", "cluster-info")
        self.assertIn('"kind": "NodeList"', self.run_("cluster-info", "dump", "--namespaces", self.namespace, timeout=60))

    def test_top(self):
        eventually("the measured nodes", lambda: len(self.run_("top", "nodes", "--no-headers").splitlines()) == 3, seconds=60)
        self.shows(r"^n1\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%\s*$", "top", "nodes")
        eventually("the measured pods", lambda: self.run_("top", "pods", "-l", "app=shop", "--no-headers").count("shop-") == 2, seconds=60)
        self.shows(r"^shop-\S+\s+web\s+\d+m\s+\d+Mi\s*$", "top", "pods", "--containers", "-l", "app=shop")

    def test_cordon_drain_uncordon(self):
        self.shows("node/n3 cordoned", "cordon", "n3", node="n1")
        try:
            self.shows(r"^n3\s+Ready,SchedulingDisabled", "get", "nodes", node="n1")
            pods = [p["metadata"]["name"] for p in self.get("pods", "-A", "--field-selector=spec.nodeName=n3")["items"]]
            text = self.run_("drain", "n3", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s", node="n2", timeout=70)
            self.assertIn("node/n3 drained", text)
            for name in pods:
                self.assertIn(f"pod/{name} evicted", text)
            self.assertEqual(self.get("pods", "-A", "--field-selector=spec.nodeName=n3")["items"], [])
        finally:
            self.shows("node/n3 uncordoned", "uncordon", "n3", node="n1")
        self.run_("rollout", "status", "deployment/shop", "--timeout=60s", node="n1", timeout=70)

    def test_drain_minds_the_budget(self):
        with self.made("poddisruptionbudget", "shop", "--selector=app=shop", "--min-available=2"):
            eventually("its status", lambda: self.get("pdb", "shop")["status"]["currentHealthy"] == 2)
            pod = self.shop()
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self.namespace}}
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                file.write(json.dumps(eviction))
                file.flush()
                path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
                self.refused("Cannot evict pod as it would violate the pod's disruption budget.", "create", "--raw", path, "-f", file.name)
            self.assertTrue(is_ready(self.get("pod", pod)))

    def test_taint(self):
        self.prints("node/n2 tainted", "taint", "node", "n2", "color=red:NoSchedule", node="n1")
        try:
            self.assertIn({"key": "color", "value": "red", "effect": "NoSchedule"}, self.get("node", "n2")["spec"]["taints"])
            self.refused("already has color taint", "taint", "node", "n2", "color=blue:NoSchedule", node="n1")
        finally:
            self.prints("node/n2 untainted", "taint", "node", "n2", "color-", node="n1")

    # Troubleshooting.

    def test_describe(self):
        pod = self.shop()
        text = self.shows(r"Normal\s+Scheduled", "describe", "pod", pod)
        for reason in ("Pulled", "Created", "Started"):
            self.assertRegex(text, rf"Normal\s+{reason}")
        self.shows(r"ScalingReplicaSet", "describe", "deployment", "shop")
        self.shows(r"Endpoints:\s+10\.", "describe", "service", "shop")
        self.shows(r"HolderIdentity:\s+n1", "describe", "node", "n1")
        self.shows(r"Non-terminated Pods:", "describe", "node", "n1")
        self.shows(r"No resource quota", "describe", "namespace", self.namespace)
        for kind in ("configmap", "serviceaccount", "replicaset", "endpointslices", "events"):
            self.run_("describe", kind)

    def test_logs(self):
        pod = self.shop()
        self.shows("GET /healthy", "logs", pod)
        self.assertEqual(len(self.run_("logs", pod, "--tail=2").splitlines()), 2)
        self.assertRegex(self.run_("logs", pod, "--tail=1", "--timestamps"), r"^20\d\d-\d\d-\d\dT")
        self.shows("GET /healthy", "logs", "deployment/shop", "--since=1m")
        self.shows(r"\[pod/shop-\S+/web\]", "logs", "-l", "app=shop", "--prefix", "--tail=1")
        self.refused("not valid for pod", "logs", pod, "-c", "nope")
        self.refused("previous terminated container", "logs", pod, "--previous")
        following = subprocess.Popen(self.command("logs", "-f", "--tail=0", pod), stdout=subprocess.PIPE, text=True)
        try:
            self.assertIn("GET", following.stdout.readline())
        finally:
            following.kill()
            following.communicate()

    def test_attach(self):
        self.run_("run", "attached", "--image=web:1", "-i", "--restart=Never", "--attach=false", "--",
                  "sh", "-c", "read line; echo got $line", node="n1")
        try:
            self.run_("wait", "pod/attached", "--for=jsonpath={.status.phase}=Running", "--timeout=30s", node="n1")
            self.everywhere("pod", "attached")
            text = self.run_("attach", "-i", "attached", "--quiet", stdin="a word\n")
            self.assertIn("got a word", text)
        finally:
            self.run_("delete", "pod", "attached", "--now", node="n1")

    def test_exec(self):
        pod = self.shop()
        for node in NODES:
            code, text = self.said("exec", pod, "--", "sh", "-c", "echo out; exit 3", node=node)
            self.assertEqual((code, text.splitlines()[0]), (3, "out"))
        self.prints("in", "exec", "-i", pod, "--", "cat", stdin="in")
        self.prints("1", "exec", "deployment/shop", "--", "cat", "/etc/version")

    def test_port_forward(self):
        for what, remote in ((f"pod/{self.shop()}", 80), ("service/shop", 80), ("deployment/shop", 80)):
            with self.subTest(what=what):
                process = subprocess.Popen(self.command("port-forward", what, f":{remote}"), stdout=subprocess.PIPE, text=True)
                try:
                    port = re.search(r"127.0.0.1:(\d+)", process.stdout.readline())[1]
                    self.assertIn("web version 1", sh("curl", "-sS", "-m", "5", f"http://127.0.0.1:{port}/"))
                finally:
                    process.kill()
                    process.communicate()

    def test_proxy(self):
        process = subprocess.Popen(self.command("proxy", "--port=0"), stdout=subprocess.PIPE, text=True)
        try:
            port = re.search(r"127.0.0.1:(\d+)", process.stdout.readline())[1]
            root = f"http://127.0.0.1:{port}/api/v1/namespaces/{self.namespace}"
            self.assertIn('"kind":"Pod"', sh("curl", "-sS", "-m", "5", f"{root}/pods/{self.shop()}"))
            for path in (f"pods/{self.shop()}:80", "services/shop:80", "services/shop:http"):
                self.assertIn("web version 1", sh("curl", "-sS", "-m", "5", f"{root}/{path}/proxy/"), path)
        finally:
            process.kill()
            process.communicate()

    def test_cp(self):
        pod = self.shop()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "there"
            source.write_text("and back\n")
            self.run_("cp", str(source), f"{pod}:/tmp/there")
            self.run_("cp", f"{pod}:/tmp/there", f"{folder}/back")
            self.assertEqual((Path(folder) / "back").read_text(), "and back\n")

    def test_auth(self):
        self.shows(r"Username\s+\S+", "auth", "whoami")
        self.prints("yes", "auth", "can-i", "delete", "pods")
        self.shows(r"^\*\.\*\s+\[\]\s+\[\]\s+\[\*\]", "auth", "can-i", "--list")
        code, text = self.said("auth", "can-i", "delete", "pods", "--as", "jane")
        self.assertEqual((code, text.splitlines()[-1][:2]), (1, "no"))
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "readers", "namespace": self.namespace},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]}
        self.shows("role.rbac.authorization.k8s.io/readers reconciled", "auth", "reconcile", "-f", "-", stdin=json.dumps(role), node="n1")
        try:
            with self.made("rolebinding", "readers", "--role=readers", "--user=jane"):
                self.prints("yes", "auth", "can-i", "list", "pods", "--as", "jane", node="n1")
                self.shows("^shop-", "get", "pods", "--as", "jane", node="n1")
                self.refused('secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace '
                             f'"{self.namespace}"', "get", "secrets", "--as", "jane", node="n1")
                self.refused('cannot create resource "pods/exec"', "exec", self.shop(), "--as", "jane", "--", "true", node="n1")
        finally:
            self.run_("delete", "role", "readers", node="n1")

    def test_tokens(self):
        self.run_("create", "serviceaccount", "robot", node="n1")
        try:
            token = self.run_("create", "token", "robot", "--duration=10m", node="n1").strip()
            with self.config_of({"token": token}) as ask:
                self.assertIn(f"system:serviceaccount:{self.namespace}:robot", sh(*ask, "auth", "whoami"))
                self.assertIn("forbidden", said(*ask, "get", "pods")[1])
                with self.made("rolebinding", "robot", "--clusterrole=view", f"--serviceaccount={self.namespace}:robot"):
                    eventually("the right to look", lambda: "shop-" in sh(*ask, "get", "pods"), seconds=10)
                    self.assertIn("forbidden", said(*ask, "get", "secrets")[1])
                self.run_("delete", "serviceaccount", "robot", node="n2")
                eventually("the token to be worth nothing", lambda: "Unauthorized" in said(*ask, "get", "pods")[1]
                           or "must be logged in" in said(*ask, "get", "pods")[1], seconds=10)
        finally:
            self.said("delete", "serviceaccount", "robot", node="n1")

    def test_debug(self):
        pod = self.shop()
        self.run_("debug", pod, "--image=web:1", "--target=web", "--container=look", "--profile=general", "--",
                  "sleep", "1000", node="n1")
        eventually("the debugging container", lambda: self.get("pod", pod)["status"]["ephemeralContainerStatuses"][0]["state"]["running"])
        self.prints("seen", "exec", pod, "-c", "look", "--", "echo", "seen")
        self.shows("nginx", "exec", pod, "-c", "look", "--", "ps")
        self.run_("debug", pod, "--image=web:2", "--copy-to=copied", "--same-node", "--container=look", "--profile=general", "--",
                  "sleep", "1000", node="n1")
        try:
            self.assertEqual(len(self.get("pod", "copied")["spec"]["containers"]), 2)
        finally:
            self.run_("delete", "pod", "copied", "--now", node="n1")
            self.run_("delete", "pod", pod, node="n1")
        self.run_("rollout", "status", "deployment/shop", "--timeout=60s", node="n1", timeout=70)

    def test_events(self):
        with self.made("deployment", "noisy", "--image=web:1"):
            eventually("its events", lambda: re.search(r"Normal\s+ScalingReplicaSet\s+Deployment/noisy\s+Scaled up",
                                                       self.run_("events", "--for", "deployment/noisy")), seconds=10)
            self.shows("SuccessfulCreate", "events", "--types=Normal", node="n1")
            self.shows("ScalingReplicaSet", "get", "events", "--field-selector", "involvedObject.name=noisy", node="n1")
            self.shows("noisy", "get", "events.v1.events.k8s.io", node="n1")

    # Advanced commands.

    def test_apply(self):
        manifest = str(FIXTURES / "shop.yaml")
        self.shows("deployment.apps/shop unchanged", "apply", "-f", manifest)
        self.shows("(?s)last-applied|apiVersion", "apply", "view-last-applied", "deployment/shop")
        with tempfile.TemporaryDirectory() as folder:
            for name in ("p1", "p2"):
                (Path(folder) / f"{name}.yaml").write_text(
                    f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels: {{set: pruned}}\n")
            self.run_("apply", "-f", folder, node="n1")
            (Path(folder) / "p2.yaml").unlink()
            self.shows("configmap/p2 pruned", "apply", "-f", folder, "--prune", "-l", "set=pruned",
                       "--prune-allowlist=core/v1/ConfigMap", node="n1")
            self.run_("delete", "-f", folder, node="n1")

    def test_apply_server_side(self):
        config = lambda **data: json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": data})
        self.prints("configmap/owned serverside-applied", "apply", "--server-side", "--field-manager=a", "-f", "-", stdin=config(k="1", a="1"), node="n1")
        try:
            self.refused('conflict with "a": .data.k', "apply", "--server-side", "--field-manager=b", "-f", "-", stdin=config(k="2"), node="n1")
            self.run_("apply", "--server-side", "--field-manager=b", "--force-conflicts", "-f", "-", stdin=config(k="2"), node="n1")
            self.run_("apply", "--server-side", "--field-manager=a", "-f", "-", stdin=config(), node="n1")
            self.assertEqual(self.get("configmap", "owned")["data"], {"k": "2"})
        finally:
            self.run_("delete", "configmap", "owned", node="n1")

    def test_diff(self):
        manifest = (FIXTURES / "shop.yaml").read_text()
        self.prints("", "diff", "-f", "-", stdin=manifest)
        code, text = self.said("diff", "-f", "-", stdin=manifest.replace("replicas: 2", "replicas: 3"))
        self.assertEqual(code, 1, text)
        self.assertRegex(text, r"(?m)^-\s+replicas: 2\n\+\s+replicas: 3$")

    def test_patch(self):
        with self.made("configmap", "patched", "--from-literal=a=1"):
            for kind, patch in (("strategic", '{"data":{"b":"2"}}'), ("merge", '{"data":{"a":null}}'),
                                ("json", '[{"op":"add","path":"/data/c","value":"3"}]')):
                self.prints("configmap/patched patched", "patch", "configmap", "patched", f"--type={kind}", "-p", patch, node="n1")
            self.prints("configmap/patched patched (no change)", "patch", "configmap", "patched", "-p", '{"data":{"c":"3"}}', node="n1")
            self.assertEqual(self.get("configmap", "patched")["data"], {"b": "2", "c": "3"})
        self.run_("patch", "deployment", "shop", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":2}}', node="n1")
        self.refused("is invalid", "patch", "deployment", "shop", "-p", '{"spec":{"replicas":-1}}', node="n1")

    def test_replace(self):
        with self.made("configmap", "replaced", "--from-literal=a=1"):
            old = self.get("configmap", "replaced")
            self.prints("configmap/replaced replaced", "replace", "-f", "-", stdin=json.dumps({**old, "data": {"b": "2"}}), node="n1")
            self.refused("the object has been modified", "replace", "-f", "-", stdin=json.dumps({**old, "data": {"c": "3"}}), node="n1")
            del old["metadata"]["resourceVersion"], old["metadata"]["uid"]
            self.shows("replaced", "replace", "--force", "-f", "-", stdin=json.dumps(old), node="n1")
            self.assertEqual(self.get("configmap", "replaced")["data"], {"a": "1"})

    def test_wait(self):
        self.shows("condition met", "wait", "deployment/shop", "--for=condition=Available", "--timeout=10s")
        self.shows("condition met", "wait", "deployment/shop", "--for=jsonpath={.spec.replicas}=2", "--timeout=10s")
        self.refused("timed out waiting for the condition", "wait", "deployment/shop", "--for=condition=Progressing=False", "--timeout=1s")
        self.run_("create", "configmap", "awaited", node="n1")
        self.everywhere("configmap", "awaited")
        waiting = subprocess.Popen(self.command("wait", "configmap/awaited", "--for=delete", "--timeout=20s", node="n2"),
                                   stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.run_("delete", "configmap", "awaited", node="n1")
        self.assertIn("condition met", waiting.communicate(timeout=25)[0])
        self.assertEqual(waiting.returncode, 0)

    def test_kustomize(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "kustomization.yaml").write_text(
                "namePrefix: kind-\nconfigMapGenerator:\n- name: made\n  literals: [a=1]\ngeneratorOptions: {disableNameSuffixHash: true}\n")
            self.prints("configmap/kind-made created", "apply", "-k", folder, node="n1")
            self.prints('configmap "kind-made" deleted' + self.in_namespace(), "delete", "-k", folder, node="n1")

    # Settings and the rest.

    def test_label_and_annotate(self):
        with self.made("configmap", "labelled"):
            self.prints("configmap/labelled labeled", "label", "configmap", "labelled", "a=1", node="n1")
            self.refused("already has a value (1), and --overwrite is false", "label", "configmap", "labelled", "a=2", node="n1")
            self.prints("configmap/labelled labeled", "label", "configmap", "labelled", "a=2", "--overwrite", node="n1")
            self.prints("configmap/labelled unlabeled", "label", "configmap", "labelled", "a-", node="n1")
            self.prints("configmap/labelled annotated", "annotate", "configmap", "labelled", "b=some text", node="n1")
            self.assertEqual(self.get("configmap", "labelled")["metadata"]["annotations"], {"b": "some text"})
            self.refused("a valid label must be", "label", "configmap", "labelled", "a=not valid!", node="n1")

    def test_api_resources_versions_and_version(self):
        for line in (r"^pods\s+po\s+v1\s+true\s+Pod$", r"^jobs\s+batch/v1\s+true\s+Job$", r"^namespaces\s+ns\s+v1\s+false\s+Namespace$",
                     r"^horizontalpodautoscalers\s+hpa\s+autoscaling/v2\s+true"):
            self.shows(line, "api-resources")
        names = self.run_("api-resources", "--namespaced=true", "--verbs=list", "-o", "name").split()
        self.assertIn("deployments.apps", names)
        versions = self.run_("api-versions").split()
        for wanted in ("apps/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1", "v1", "metrics.k8s.io/v1beta1", "apiextensions.k8s.io/v1"):
            self.assertIn(wanted, versions)
        self.shows(r"Server Version: v1\.33", "version")

    def test_every_listable_kind_can_be_listed_and_described(self):
        kinds = self.run_("api-resources", "--verbs=list,get", "-o", "name").split()
        self.assertGreater(len(kinds), 40)
        for kind in kinds:
            with self.subTest(kind=kind):
                self.run_("get", kind)
                self.run_("get", kind, "-o", "yaml")
                self.run_("describe", kind)

    def test_a_job_runs_to_its_end(self):
        with self.made("job", "once", "--image=web:1", "--", "echo", "done it"):
            self.shows("condition met", "wait", "job/once", "--for=condition=complete", "--timeout=30s", node="n1", timeout=40)
            self.assertIn("done it", self.run_("logs", "job/once", node="n1"))
            self.shows(r"^once\s+Complete\s+1/1\s", "get", "jobs", node="n1")
            self.shows(r"Normal\s+Completed", "describe", "job", "once", node="n1")

    def test_custom_resources(self):
        crd = (FIXTURES / "widgets.yaml").read_text().replace(GROUP, f"{self.namespace}.example.com")
        group = f"{self.namespace}.example.com"
        self.run_("apply", "-f", "-", stdin=crd, node="n1")
        try:
            self.shows("condition met", "wait", f"crd/widgets.{group}", "--for=condition=Established", "--timeout=10s", node="n1")
            widget = lambda **spec: json.dumps({"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
            eventually("the kind", lambda: "created" in self.run_("apply", "-f", "-", stdin=widget(size=3), node="n1"))
            for node in NODES:
                eventually("it everywhere", lambda n=node: re.search(r"(?m)^w\s+3\s+red\s", self.run_("get", f"widgets.{group}", node=n)))
            self.refused("spec.size in body must be of type integer", "apply", "-f", "-", stdin=widget(size="big"), node="n1")
            self.refused('unknown field "spec.sise"', "apply", "-f", "-", stdin=widget(sise=1), node="n1")
            self.shows("size\\s+<integer>", "explain", f"widgets.{group}.spec", node="n1")
            self.shows("patched", "patch", f"widgets.{group}", "w", "--type=merge", "-p", '{"spec":{"size":4}}', node="n1")
            self.shows("scaled", "scale", f"widgets.{group}/w", "--replicas=5", node="n1")
            self.assertEqual(self.get(f"widgets.{group}", "w")["spec"]["replicas"], 5)
        finally:
            self.run_("delete", "crd", f"widgets.{group}", node="n1")
        self.refused("the server doesn't have a resource type", "get", f"widgets.{group}", node="n1")


class Kubectl133(Kubectl, unittest.TestCase):
    binary, namespace = "kubectl", "old"


class Kubectl137(Kubectl, unittest.TestCase):
    """It lists by watching."""

    binary, namespace = "kubectl-37", "new"


if __name__ == "__main__":
    unittest.main(verbosity=2)
