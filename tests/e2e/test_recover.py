"""Two of three voters are gone, and a human makes the third go on; then a witness joins. Agents without Docker."""

import json
import subprocess
import unittest

from testnet import ROOT, RUN, at, eventually, kubectl, leader, next_leader, on, said, sh, started, testnet

NODES = ("n1", "n2", "n3")


def setUpModule():
    testnet("down")
    # Not left to tearDownModule, which does not run if this fails.
    unittest.addModuleCleanup(testnet, "down")
    print(testnet("up", "--nodes", "3", "--no-docker", timeout=1500))


def recover(node, *flags):
    return said(str(ROOT / "testnet/on"), node, "agent", "recover", *flags)


class Story(unittest.TestCase):
    def test_1_while_most_voters_answer_it_is_refused(self):
        eventually("three voters", lambda: "answer (n1, n2, n3)" in recover("n2")[1])
        code, text = recover("n2")
        self.assertEqual(code, 1, text)
        self.assertIn("they elect a leader without help", text)
        self.assertEqual(leader("n2"), leader("n1"))

    def test_2_one_that_is_left_goes_on(self):
        testnet("kill", "n1")
        testnet("kill", "n3")
        eventually("nobody leads", lambda: leader("n2") == "")

        def recovered():
            code, text = recover("n2")
            return text if code == 0 else None

        # That the others do not answer is known a little later than that they do not lead.
        text = eventually("to go on without them", recovered, seconds=15)
        self.assertIn("node n2 leads generation 1 of the cluster", text)
        self.assertIn("n1, n3", text)
        self.assertEqual(leader("n2"), "n2")

    def test_3_who_comes_back_follows_and_votes_again(self):
        testnet("start", "n1")
        testnet("start", "n3")
        for node in ("n1", "n3"):
            eventually(f"{node} follows", lambda n=node: leader(n) == "n2")
        # All three vote again, so one may be lost.
        eventually("three voters", lambda: "answer (n1, n2, n3)" in recover("n1")[1])
        testnet("kill", "n2")
        self.assertIn(next_leader(("n1", "n3"), "n2"), ("n1", "n3"))
        testnet("start", "n2")

    def test_4_a_witness_joins_without_docker(self):
        token = on("n1", "agent", "token", "create").strip()
        sh("bash", "-c", f". {ROOT}/testnet/lib.sh; make_host x1 201")
        agent = sh("bash", "-c", f". {ROOT}/testnet/lib.sh; echo $agent").strip()
        witness = started("x1", agent, "join", token, "--witness", "--data", str(RUN / "x1" / "data"), "--node-name", "x1",
                          "--docker", "/nowhere/docker.sock", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def shown():
                node = json.loads(kubectl(*at("n1"), "get", "node", "x1", "-o", "json"))
                ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
                return ready and (node["spec"]["taints"], node["status"]["allocatable"]["pods"])

            taints, room = eventually("a witness that is Ready", shown)
            self.assertEqual((taints, room), ([{"key": "skein.dev/witness", "effect": "NoSchedule"}], "0"))
        finally:
            witness.terminate()
            witness.wait(20)


if __name__ == "__main__":
    unittest.main(verbosity=2, failfast=True)
