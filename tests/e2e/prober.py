"""Opens a new HTTP connection every few milliseconds, whatever became of those before, until SIGTERM or the end of its
standard input; then prints what became of them as JSON.

    python3 prober.py INTERVAL_MS TIMEOUT_MS HOST:PORT...      (targets are taken in turn)
"""

import asyncio
import json
import sys
import time


async def attempt(host, port, timeout):
    """Returns the body of an answer; raises what went wrong."""

    async def talk():
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            raise ConnectionError(f"no answer: {head[:40]!r}")
        return body.decode().strip()

    return await asyncio.wait_for(talk(), timeout)


class Prober:
    def __init__(self, interval, timeout, targets):
        self.interval, self.timeout, self.targets = interval, timeout, targets
        self.begin = time.time()
        self.failed, self.slow, self.who, self.count = [], [], {}, 0

    async def once(self, target):
        self.count += 1
        at, start = time.time(), time.monotonic()
        try:
            body = await attempt(*target, self.timeout)
            self.who[body] = self.who.get(body, 0) + 1
            took = time.monotonic() - start
            if took > 0.1:
                self.slow.append(round(took * 1000))
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            self.failed.append([round(at - self.begin, 3), f"{target[0]}:{target[1]}", repr(error)])

    async def run(self, ended):
        running, next_at, n = set(), time.monotonic(), 0
        while not ended.is_set():
            task = asyncio.create_task(self.once(self.targets[n % len(self.targets)]))
            running.add(task)
            task.add_done_callback(running.discard)
            n += 1
            # An attempt that comes late because this machine is busy is not made up for.
            next_at = max(next_at + self.interval, time.monotonic())
            try:
                await asyncio.wait_for(ended.wait(), next_at - time.monotonic())
            except asyncio.TimeoutError:
                pass
        await asyncio.gather(*running)


async def main():
    interval, timeout = float(sys.argv[1]) / 1000, float(sys.argv[2]) / 1000
    targets = [(t.rsplit(":", 1)[0], int(t.rsplit(":", 1)[1])) for t in sys.argv[3:]]
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, ended.set)
    prober = Prober(interval, timeout, targets)
    print("ready", flush=True)
    await prober.run(ended)
    print(json.dumps({"attempts": prober.count, "failed": prober.failed, "slow": sorted(prober.slow), "who": prober.who,
                      "interval": interval}))


asyncio.run(main())
