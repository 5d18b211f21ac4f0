"""What a damaged or full disk does to real agents. Without Docker: objects are enough to see it.

SKEIN_DAMAGE: how many bytes are flipped with three agents (default 3; the long run takes 20).
"""

import base64
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or
              Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skein/target")
PROFILE = os.environ.get("SKEIN_PROFILE", "dev")
AGENT = TARGET / ("debug" if PROFILE == "dev" else PROFILE) / "agent"
COUNT = int(os.environ.get("SKEIN_DAMAGE", "3"))
NAME = f"skein-damage-{os.getpid()}"
MAPS = "/api/v1/namespaces/default/configmaps"


def sh(*command, check=True, timeout=60):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def eventually(what, probe, seconds=30, every=0.1):
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            last = probe()
            if last:
                return last
        except (AssertionError, KeyError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"waited {seconds} s in vain: {what}; last seen: {last}")


class Network:
    """A switch in a namespace of its own."""

    def __init__(self):
        self.name = f"{NAME}-sw"
        sh("ip", "netns", "add", self.name)
        sh("ip", "-n", self.name, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", self.name, "addr", "add", "10.201.0.254/24", "dev", "br0")
        sh("ip", "-n", self.name, "link", "set", "br0", "up")

    def end(self):
        sh("ip", "netns", "del", self.name, check=False)


class Host:
    """A host with an agent, or without one."""

    def __init__(self, network, number):
        self.name, self.space, self.process = f"n{number}", f"{NAME}-n{number}", None
        self.address = f"10.201.0.{number}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
        self.data, self.log = self.folder / "data", self.folder / "agent.log"
        sh("ip", "netns", "add", self.space)
        sh("ip", "-n", self.space, "link", "set", "lo", "up")
        sh("ip", "-n", self.space, "link", "add", "eth0", "type", "veth", "peer", f"p{number}", "netns", network.name)
        sh("ip", "-n", network.name, "link", "set", f"p{number}", "master", "br0", "up")
        sh("ip", "-n", self.space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        sh("ip", "-n", self.space, "link", "set", "eth0", "up")
        sh("ip", "-n", self.space, "route", "add", "default", "via", "10.201.0.254")

    def on(self, *command, **options):
        return sh("ip", "netns", "exec", self.space, *command, **options)

    def start(self, token=None):
        deed = ["join", token] if token else ["up"]
        command = ["ip", "netns", "exec", self.space, AGENT, *deed, "--data", self.data, "--node-name", self.name,
                   "--docker", self.folder / "no-docker.sock"]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        eventually(f"the API of {self.name}", lambda: self.ask("GET", "/version")[0] == 200, seconds=30)

    def kill(self, how=signal.SIGKILL):
        if self.process:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None

    def ask(self, method, path, body=None, patience=8):
        """Returns the status code and the answer; code 0: none came."""
        config = (self.data / "kubeconfig").read_text()
        for key in ("certificate-authority-data", "client-certificate-data", "client-key-data"):
            text = base64.b64decode(re.search(rf"{key}: *[\"']?([A-Za-z0-9+/=]+)", config)[1])
            (self.folder / key).write_bytes(text)
        command = ["curl", "-sS", "-m", patience, "-w", "\n%{http_code}", "-X", method,
                   "--cacert", self.folder / "certificate-authority-data", "--cert", self.folder / "client-certificate-data",
                   "--key", self.folder / "client-key-data", f"https://{self.address}:6443{path}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        answer, _, code = self.on(*command, check=False, timeout=patience + 5).rpartition("\n")
        return int(code or 0), json.loads(answer) if answer.strip() else {}

    def maps(self):
        code, found = self.ask("GET", MAPS)
        assert code == 200, found
        return {m["metadata"]["name"]: (m["metadata"]["uid"], m.get("data")) for m in found["items"]
                if m["metadata"]["name"].startswith("m-")}

    def write(self, name, size=300):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": "y" * size}}
        return self.ask("POST", MAPS, body)

    def disk(self):
        """What `agent status` says of this node's disk."""
        text = self.on(AGENT, "status", "-o", "json", "--data", self.data, check=False)
        return next(node["disk"] for node in json.loads(text)["nodes"] if node["name"] == self.name)

    def flip(self, random_source):
        """Flips a byte of the log; says where."""
        segments = [path for path in sorted((self.data / "log").glob("*.log")) if path.stat().st_size]
        sizes = [path.stat().st_size for path in segments]
        path = random_source.choices(segments, sizes)[0]
        offset = random_source.randrange(path.stat().st_size)
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 0xff]))
        return f"{path.name} at {offset}"

    def logged(self, since=0):
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text()[since:])

    def end(self):
        self.kill()
        sh("umount", self.data / "log", check=False)
        sh("umount", self.data, check=False)
        sh("ip", "netns", "del", self.space, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Story(unittest.TestCase):
    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.end)

    def host(self, number):
        host = Host(self.network, number)
        self.addCleanup(host.end)
        return host

    def test_1_alone_a_flipped_byte_costs_an_object_and_is_named(self):
        n1 = self.host(1)
        n1.start()
        for n in range(20):
            eventually("a write", lambda n=n: n1.write(f"m-{n}")[0] in (201, 409))
        before = n1.maps()
        n1.kill()
        where = n1.flip(random.Random(4))
        n1.start()
        after = n1.maps()
        self.assertLessEqual(len(before) - len(after), 1, where)
        self.assertEqual({**before, **after}, before)
        self.assertIn("the log is damaged", n1.logged(), where)
        self.assertTrue(eventually("the status to name it", n1.disk), where)
        (n1.data / "damage").unlink()
        eventually("what is lost to be given up", lambda: not n1.disk(), seconds=15)
        size = len(n1.logged())
        n1.kill()
        n1.start()
        self.assertNotIn("damaged", n1.logged(size))
        self.assertEqual(n1.maps(), after)

    def test_2_a_full_disk_refuses_writes_and_recovers(self):
        n1 = self.host(1)
        n1.start()
        eventually("a write", lambda: n1.write("m-first")[0] in (201, 409))
        n1.kill(signal.SIGTERM)
        log = n1.data / "log"
        shutil.copytree(log, n1.folder / "kept")
        sh("mount", "-t", "tmpfs", "-o", "size=256k", "none", log)
        shutil.copytree(n1.folder / "kept", log, dirs_exist_ok=True)
        n1.start()
        eventually("a write", lambda: n1.write("m-second")[0] in (201, 409))
        filler = open(log / "filler", "wb", buffering=0)
        self.addCleanup(filler.close)
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
        codes, n = [], 0
        while len(codes) < 3 and n < 50:
            code, answer = n1.write(f"m-{n}", 3000)
            n += 1
            if code != 201:
                codes.append((code, answer.get("reason"), answer.get("message", "")))
        self.assertTrue(all(c[:2] == (503, "ServiceUnavailable") and "No space left" in c[2] for c in codes), codes)
        print(f"      {codes[-1][2]}")
        acknowledged = n1.maps()
        self.assertIn("m-second", acknowledged)
        self.assertIn("No space left", eventually("the status to say so", n1.disk)[0])
        conditions = n1.ask("GET", "/api/v1/nodes/n1")[1]["status"]["conditions"]
        self.assertEqual([c["status"] for c in conditions if c["type"] == "DiskPressure"], ["True"])
        self.assertEqual(n1.logged().count("going on from memory"), 1)
        self.recovers(n1, lambda: filler.truncate(0))

    def recovers(self, n1, relieve):
        """Relieves the disk of its trouble, and sees that writes are taken and kept."""
        relieve()
        eventually("writes to be taken again", lambda: n1.write("m-last")[0] in (201, 409), seconds=15)
        eventually("the status to be quiet", lambda: not n1.disk(), seconds=15)
        acknowledged = n1.maps()
        n1.kill()
        n1.start()
        self.assertEqual(n1.maps(), acknowledged)

    def stopped_on_a_small_disk(self):
        """A node that has something, stopped, on a file system of its own; and what it has."""
        n1 = self.host(1)
        n1.start()
        eventually("a write", lambda: n1.write("m-first")[0] in (201, 409))
        before = n1.maps()
        n1.kill(signal.SIGTERM)
        shutil.copytree(n1.data, n1.folder / "kept")
        sh("mount", "-t", "tmpfs", "-o", "size=4m", "none", n1.data)
        shutil.copytree(n1.folder / "kept", n1.data, dirs_exist_ok=True)
        return n1, before

    def starts_from_memory(self, n1, before):
        size = len(n1.logged())
        n1.start()
        self.assertEqual(n1.maps(), before)
        self.assertIn("the data folder cannot be written", n1.logged(size))
        code, answer = n1.write("m-refused")
        self.assertEqual((code, answer["reason"]), (503, "ServiceUnavailable"), answer)
        self.assertIn("takes no writes", answer["message"])
        print(f"      {answer['message']}")

    def test_4_a_start_on_a_full_disk_runs_from_memory_and_recovers(self):
        n1, before = self.stopped_on_a_small_disk()
        filler = open(n1.data / "filler", "wb", buffering=0)
        self.addCleanup(filler.close)
        for size in (4096, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                pass
        self.starts_from_memory(n1, before)
        self.recovers(n1, lambda: filler.truncate(0))

    def test_5_a_start_on_a_read_only_disk_runs_from_memory_and_recovers(self):
        n1, before = self.stopped_on_a_small_disk()
        sh("mount", "-o", "remount,ro", n1.data)
        self.starts_from_memory(n1, before)

        def writable():
            # `ip netns exec` gave the agent mounts of its own, copied when this one was read-only.
            for where in ((), ("nsenter", "--mount", "--target", n1.process.pid)):
                sh(*where, "mount", "-o", "remount,rw", n1.data)

        self.recovers(n1, writable)

    def test_3_what_is_damaged_comes_back_from_a_peer(self):
        hosts = [self.host(n) for n in (1, 2, 3)]
        n1, _, n3 = hosts
        n1.start()
        for host in hosts[1:]:
            token = eventually("a token", lambda: n1.on(AGENT, "token", "create", "--data", n1.data).strip())
            host.start(token.split()[-1])
        for n in range(30):
            eventually("a write", lambda n=n: hosts[n % 3].write(f"m-{n}")[0] in (201, 409))
        before = n1.maps()
        eventually("all to be everywhere", lambda: all(host.maps() == before for host in hosts))
        time.sleep(3)
        source = random.Random(20)
        for _ in range(COUNT):
            n3.kill()
            where, size = n3.flip(source), len(n3.logged())
            began = time.monotonic()
            n3.start()
            up = time.monotonic()
            eventually(f"n3 to have all, {where}", lambda: n3.maps() == before, seconds=5)
            took = time.monotonic() - up
            self.assertIn("the log is damaged", n3.logged(size), where)
            eventually("nothing to be lacking any more", lambda: not n3.disk(), seconds=20)
            print(f"      {where}: up after {up - began:.1f} s, all served {took:.1f} s later")


if __name__ == "__main__":
    unittest.main(verbosity=2)
