"""Histories, a change put back, and a cluster that comes back from a file."""

import json
import os
import shutil
import stat
import unittest

from testnet import RUN, create, docker, eventually, get, kubectl, on, pods, said, settled, testnet

DATA = RUN / "n1/data"
FILE = RUN / "cluster.backup"


def setUpModule():
    testnet("down")
    # Not left to tearDownModule, which does not run if this fails.
    unittest.addModuleCleanup(testnet, "down")
    print(testnet("up", "--nodes", "1", timeout=1500))


def agent(*args, **options):
    return on("n1", "agent", *args, **options)


def refused(*args):
    """What the agent says when it does not do something."""
    code, text = said(str(RUN.parent / "on"), "n1", "agent", *args)
    assert code == 1, f"exit code {code}: {text}"
    return text


def history(name):
    return json.loads(agent("history", name, "-o", "json"))["changes"]


def changes_of(name, field):
    return [(c, f) for c in history(name) for f in c["fields"] if f["field"] == field and not c["created"]]


class Story(unittest.TestCase):
    def test_1_a_history_tells_who_did_what_and_a_change_is_put_back(self):
        settled(3)
        kubectl("set", "image", "deployment/web", "web=web:2")
        kubectl("scale", "deployment/web", "--replicas=2")
        (scaled, field), = changes_of("deployment/web", "spec.replicas")
        self.assertEqual((field["old"], field["new"], scaled["node"]), (3, 2, "n1"))
        self.assertRegex(scaled["time"], r"^20\d\d-\d\d-\d\dT")
        self.assertTrue(scaled["user"])
        image = "spec.template.spec.containers[web].image"
        (rolled, _), = changes_of("deploy/web", image)
        table = agent("history", "deployment/web")
        self.assertRegex(table, rf"(?m)^CHANGE +WHEN +WHO +NODE +FIELD +OLD +NEW\n[0-9a-f]{{8}} .*\(created\)")
        self.assertRegex(table, rf"(?m)^{rolled['change']} .* n1 .*image +web:1 +web:2$")

        self.assertIn("is undone", agent("undo", "deployment/web", rolled["change"]))
        spec = get("deployment", "web")["spec"]
        self.assertEqual((spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]), (2, "web:1"))
        self.assertIn("nothing is left of change", refused("undo", "deployment/web", rolled["change"]))
        kubectl("scale", "deployment/web", "--replicas=4")
        self.assertIn("has touched spec.replicas since", refused("undo", "deployment/web", scaled["change"]))
        agent("undo", "--force", "deployment/web", scaled["change"])
        self.assertEqual(get("deployment", "web")["spec"]["replicas"], 3)
        self.assertIn("services/default/nothing is not there", refused("history", "svc/nothing"))

    def test_2_values_of_secrets_are_not_told(self):
        create(apiVersion="v1", kind="Secret", metadata={"name": "password"}, data={"word": "c2VzYW1l"})
        for form in ("text", "json"):
            text = agent("history", "secret/password", "-o", form)
            self.assertNotIn("c2VzYW1l", text)
        self.assertIn("data.word", text)

    def test_3_a_backup_is_made_while_the_agent_runs(self):
        create(apiVersion="v1", kind="Pod", metadata={"name": "bare", "labels": {"app": "bare"}}, spec={"containers": [
            {"name": "c", "image": "web:1"}]})
        settled(1, "app=bare")
        self.assertRegex(agent("status"), r"(?m)^Level +5$")
        self.assertIn("objects of cluster", agent("backup", str(FILE)))
        self.assertEqual(stat.S_IMODE(os.stat(FILE).st_mode), 0o600)
        kubectl("delete", "deployment", "web", "--wait=false")
        damaged = RUN / "damaged.backup"
        damaged.write_bytes(FILE.read_bytes()[:-100])
        text = refused("restore", str(damaged), "--data", str(RUN / "nowhere"))
        self.assertRegex(text, r"^agent: the backup .* is refused: it is cut short: it ends within record \d+ of \d+\n$")
        self.assertFalse((RUN / "nowhere").exists())
        self.assertIn("is not empty", refused("restore", str(FILE), "--data", str(DATA)))

    def test_4_a_fresh_machine_goes_on_where_the_backup_was(self):
        before = {kind: get(kind, name)["metadata"]["uid"] for kind, name in (("service", "web"), ("secret", "password"))}
        address = get("service", "web")["spec"]["clusterIP"]
        testnet("kill", "n1")
        # As fresh as a machine gets without another one: no containers, no bridge, no data.
        containers = docker("ps", "-aq").split()
        if containers:
            docker("rm", "-f", *containers)
        for link in json.loads(on("n1", "ip", "-j", "link")):
            if link["ifname"].startswith("skb"):
                on("n1", "ip", "link", "del", link["ifname"])
        shutil.rmtree(DATA)
        text = agent("restore", str(FILE), "--data", str(DATA), "--node-name", "n1")
        for line in (r"Cluster +[0-9a-f]{16} \(a new one\)", r"Left out 1 nodes: ", r"Left out \d pods: its controller"):
            self.assertRegex(text, line)
        testnet("start", "n1")
        eventually("the agent's kubeconfig", lambda: (DATA / "kubeconfig").exists())
        testnet("kubeconfig")
        settled(3)
        settled(1, "app=bare")
        self.assertTrue(all(p["spec"]["nodeName"] == "n1" for p in pods().values()))
        for kind, name in (("service", "web"), ("secret", "password")):
            self.assertEqual(get(kind, name)["metadata"]["uid"], before[kind])
        self.assertEqual(get("service", "web")["spec"]["clusterIP"], address)
        self.assertEqual(get("secret", "password")["data"]["word"], "c2VzYW1l")
        self.assertEqual({n["metadata"]["name"] for n in get("nodes")["items"]}, {"n1"})
        users = {c["node"] for c in history("deployment/web")}
        self.assertEqual(users, {"n1"})
        kubectl("scale", "deployment/web", "--replicas=1")
        settled(1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
