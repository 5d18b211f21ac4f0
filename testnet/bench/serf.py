"""Serf agents on the hosts of a testnet, and a client of their RPC, which speaks msgpack."""

import socket
import struct
import subprocess
import time

import client
from client import net

RPC = 7373


def pack(value):
    """The msgpack form of what requests are made of."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xce" + struct.pack(">I", value)
    if isinstance(value, (str, bytes)):
        # The old form of the format, which Serf speaks, has one type for both.
        raw = value.encode() if isinstance(value, str) else value
        return b"\xda" + struct.pack(">H", len(raw)) + raw
    return bytes([0x80 | len(value)]) + b"".join(pack(k) + pack(v) for k, v in value.items())


class Short(Exception):
    """More bytes are needed."""


def unpack(data, at=0):
    """Reads one msgpack value; returns it and where it ends."""
    def take(count):
        if at + count > len(data):
            raise Short
        return data[at:at + count], at + count

    def several(count, at):
        values = []
        for _ in range(count):
            value, at = unpack(data, at)
            values.append(value)
        return values, at

    def mapping(count, at):
        values, at = several(2 * count, at)
        return dict(zip(values[::2], values[1::2])), at

    (kind,), at = take(1)
    if kind < 0x80 or kind >= 0xe0:
        return kind - (256 if kind >= 0xe0 else 0), at
    if kind < 0x90:
        return mapping(kind & 15, at)
    if kind < 0xa0:
        return several(kind & 15, at)
    if kind < 0xc0:
        return take(kind & 31)
    if kind in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[kind], at
    form = {0xcc: ">B", 0xcd: ">H", 0xce: ">I", 0xcf: ">Q", 0xd0: ">b", 0xd1: ">h", 0xd2: ">i", 0xd3: ">q", 0xc4: ">B",
            0xc5: ">H", 0xd9: ">B", 0xda: ">H", 0xdb: ">I", 0xdc: ">H", 0xde: ">H"}[kind]
    raw, at = take(struct.calcsize(form))
    number, = struct.unpack(form, raw)
    if kind in (0xc4, 0xc5, 0xd9, 0xda, 0xdb):
        return take(number)
    if kind == 0xdc:
        return several(number, at)
    return mapping(number, at) if kind == 0xde else (number, at)


class Serf:
    """A cluster of Serf agents, one a host."""

    def __init__(self, nodes, profile):
        self.address = {n: net.sh("bash", "-c", f". {client.ROOT}/testnet/lib.sh; address {n}").strip() for n in nodes}
        first = self.address[nodes[0]]
        self.agents = []
        for node in nodes:
            log = open(net.RUN / node / "serf.log", "w")
            own = self.address[node]
            self.agents.append(net.started(
                node, "serf", "agent", f"-node={node}", f"-bind={own}", f"-rpc-addr={own}:{RPC}", f"-profile={profile}",
                f"-retry-join={first}", "-retry-interval=1s", "-log-level=warn", stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        client.wait("the Serf agents to know each other", lambda: all(self.members(n) == len(nodes) for n in nodes))

    def members(self, node):
        text = net.sh("serf", "members", f"-rpc-addr={self.address[node]}:{RPC}", "-status=alive", check=False)
        return len(text.splitlines())

    def connect(self, node):
        return Rpc((self.address[node], RPC))

    def end(self):
        for agent in self.agents:
            agent.terminate()
        for agent in self.agents:
            agent.wait(timeout=30)


class Rpc:
    """One connection to an agent."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self.rest = b""
        self.ask("handshake", {"Version": 1})

    def ask(self, command, body):
        """Asks and waits for the answer's head; returns when it came."""
        self.number += 1
        self.socket.sendall(pack({"Command": command, "Seq": self.number}) + pack(body))
        while True:
            self.rest += self.socket.recv(65536)
            came = time.monotonic()
            try:
                head, at = unpack(self.rest)
            except Short:
                continue
            self.rest = self.rest[at:]
            assert not head[b"Error"], (command, head)
            return came

    def event(self, name, payload):
        """Tells everybody something."""
        return self.ask("event", {"Name": name, "Payload": payload, "Coalesce": False})

    def listen(self):
        """Has all user events sent to this connection from now on."""
        self.ask("stream", {"Type": "user"})
