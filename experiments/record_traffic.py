"""Record the traffic of a small web site, with faults that are known to the second.

    python -m experiments.record_traffic                  # eight sites, one hour
    python -m experiments.record_traffic --seconds 30     # a look; nothing is kept
    python -m experiments.record_traffic --smoke          # seconds, nothing kept

A real HTTP server answers real clients over the loopback interface. Visitors come and
go as on a day that lasts 15 minutes. Every second the server writes down what a
monitoring system would: requests, errors, bytes, connections, latencies. On the last
four sites faults are injected: four attacks by clients, two ailments of the server.

Server and clients are two processes on 127.0.0.1 and ports that the system chooses.
Both end after the given time, on Ctrl-C, and when the other one is gone.
"""

import argparse
import asyncio
import contextlib
import csv
import gzip
import io
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.timing import machine

ROOT = Path(__file__).parent.parent
FILE = ROOT / "rnnlib" / "data" / "traffic.csv.gz"
SITES, NORMAL, SECONDS, DAY = 8, 4, 3_600, 900
COUNTERS = (
    "requests",
    "errors_4xx",
    "errors_5xx",
    "posts",
    "bytes_in",
    "bytes_out",
    "new_connections",
    "open_connections",
    "paths",
    "visitors",
    "latency_mean_us",
    "latency_p95_us",
)
PATIENCE = 60.0  # seconds that the server waits for a request
ITEMS, FILES = 200, 20


@dataclass(frozen=True)
class Fault:
    """What is wrong with a site from second `start` until before second `stop`.

    `strength` is in the unit of the fault: requests or downloads per second,
    connections held, share of answers lost, factor of the service time at the end.
    """

    site: int
    kind: str
    start: int
    stop: int
    strength: float


# How long in seconds, how strong; both drawn uniformly. The weak end is hard to see.
FAULTS = {
    "scan": ((15, 60), (2, 12)),  # asks for pages that are not there
    "flood": ((15, 60), (10, 60)),  # asks for the front page without a pause
    "slow loris": ((30, 90), (8, 40)),  # opens connections and never finishes asking
    "exfiltration": ((30, 90), (0.5, 3)),  # one visitor downloads file after file
    "outage": ((15, 60), (0.1, 1.0)),  # the server answers 503
    "latency drift": ((60, 120), (2, 6)),  # the server gets slower and slower
}


def plan(seconds, seed=0, sites=SITES):
    """All faults, in order; none on the first half of the sites.

    Every kind is equally frequent, and between two faults there is a pause.
    """
    rng, faults = np.random.default_rng(seed), []
    for site in range(sites // 2, sites):
        kinds, second = [], float(rng.uniform(0.02, 0.04) * seconds)
        while True:
            kinds = kinds or list(rng.permutation(list(FAULTS)))
            kind = str(kinds.pop())
            length, strength = FAULTS[kind]
            length = min(int(rng.integers(*length)), max(2, seconds // 10))
            if second + length >= seconds:
                break
            start = int(second)
            value = round(float(rng.uniform(*strength)), 2)
            faults.append(Fault(site, kind, start, start + length, value))
            second += length + rng.uniform(0.02, 0.05) * seconds
    return faults


# ------------------------------------------------------------------ the server


class Site:
    """One web site: answers requests and counts what it does."""

    def __init__(self, number, faults, seed):
        self.faults = [f for f in faults if f.site == number]
        self.rng = np.random.default_rng([seed, 1, number])
        self.open, self.active, self.begin = 0, 0, math.inf
        self.clear()

    def clear(self):
        """Begin to count a new second."""
        self.counts = Counter()
        self.paths, self.visitors, self.latencies = set(), set(), []

    def row(self):
        """The counters of the second that is over, in the order of COUNTERS."""
        counts = self.counts
        counts["open_connections"] = self.open
        counts["paths"], counts["visitors"] = len(self.paths), len(self.visitors)
        if self.latencies:
            us = 1e6 * np.array(self.latencies)
            counts["latency_mean_us"] = int(us.mean())
            counts["latency_p95_us"] = int(np.percentile(us, 95))
        self.clear()
        return [counts[name] for name in COUNTERS]

    def strength(self, kind):
        """Strength of a fault that is on, and the share of its time that is over."""
        now = time.time() - self.begin
        for f in self.faults:
            if f.kind == kind and f.start <= now < f.stop:
                return f.strength, (now - f.start) / (f.stop - f.start)
        return None

    async def serve(self, reader, writer):
        """Answer one connection's requests until it closes."""
        self.counts["new_connections"] += 1
        self.open += 1
        try:
            while await self.answer(reader, writer):
                pass
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the visitor left, asked for nonsense, or fell asleep
        finally:
            self.open -= 1
            writer.close()

    async def answer(self, reader, writer):
        """Read one request and answer it; False at the end of the connection."""
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        begin = time.perf_counter()
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        size = int(fields.get("Content-Length", 0))
        await reader.readexactly(size)
        self.active += 1
        try:
            status, body = await self.respond(method, path)
        finally:
            self.active -= 1
        reply = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(reply.encode() + body)
        await writer.drain()
        self.counts["requests"] += 1
        self.counts["posts"] += method == "POST"
        self.counts["bytes_in"] += len(head) + size
        self.counts["bytes_out"] += len(reply) + len(body)
        self.counts["errors_4xx"] += 400 <= status < 500
        self.counts["errors_5xx"] += status >= 500
        self.paths.add(path)
        self.visitors.add(fields.get("Cookie"))
        self.latencies.append(time.perf_counter() - begin)
        return True

    async def respond(self, method, path):
        """Status and body; the pause stands for a data base that gets busy."""
        pause = self.rng.gamma(2.0, 0.002) * (1 + self.active / 20)
        if drift := self.strength("latency drift"):
            factor, share = drift
            pause *= 1 + (factor - 1) * share
        await asyncio.sleep(pause)
        if (outage := self.strength("outage")) and self.rng.random() < outage[0]:
            return 503, b"try later"
        kind, _, number = path[1:].partition("/")
        if path == "/":
            return 200, bytes(2_000)
        if kind == "search":
            return 200, bytes(500 * int(self.rng.integers(1, 12)))
        if kind == "login":
            return (401, b"no") if self.rng.random() < 0.1 else (200, bytes(300))
        if number.isdigit() and kind == "item" and int(number) < ITEMS:
            return 200, bytes(1_000 + 97 * int(number))
        if number.isdigit() and kind == "file" and int(number) < FILES:
            return 200, bytes(60_000 + 10_000 * int(number))
        return 404, b"not here"


async def record(seconds, faults, seed, sites=SITES):
    """Serve for a time; returns one row of counters for each second and site."""
    places = [Site(k, faults, seed) for k in range(sites)]
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for place in places:
            server = await asyncio.start_server(place.serve, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            ports.append(server.sockets[0].getsockname()[1])
        begin = time.time() + 1.5  # the clients have to start
        for place in places:
            place.begin = begin
        job = {
            "server": os.getpid(),
            "ports": ports,
            "begin": begin,
            "seconds": seconds,
            "seed": seed,
            "faults": [asdict(f) for f in faults],
        }
        clients = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "experiments.record_traffic", "--clients"),
            stdin=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            clients.stdin.write(json.dumps(job).encode() + b"\n")
            await clients.stdin.drain()
            await asyncio.sleep(begin - time.time())
            for place in places:
                place.clear()
            rows = []
            for second in range(seconds):
                await asyncio.sleep(begin + second + 1 - time.time())
                if clients.returncode is not None:
                    raise RuntimeError("record_traffic: the clients are gone")
                rows.append([place.row() for place in places])
        finally:
            if clients.returncode is None:
                clients.terminate()
            await clients.wait()
    return np.array(rows).swapaxes(0, 1)  # (sites, seconds, counters)


# ----------------------------------------------------------------- the clients


class Visitors:
    """Everybody who visits one site, the good and the bad."""

    def __init__(self, port, number, job):
        self.port, self.begin, self.seconds = port, job["begin"], job["seconds"]
        self.faults = [Fault(**f) for f in job["faults"] if f["site"] == number]
        self.rng = np.random.default_rng([job["seed"], 2, number])
        self.phase = self.rng.uniform(0, DAY)
        self.mood, self.number = 0.0, 0

    def now(self):
        return time.time() - self.begin

    def rate(self):
        """New visitors per second: a night, two busy times, a mood that wanders."""
        day = 2 * math.pi * ((self.now() + self.phase) % DAY) / DAY
        wave = 1 - 0.75 * math.cos(day) - 0.35 * math.cos(2 * day)
        self.mood = 0.98 * self.mood + 0.03 * self.rng.standard_normal()
        return 1.6 * max(0.15, wave) * math.exp(self.mood)

    async def come(self):
        """Let visitors come, and the bad ones at their times, until the time is up."""
        async with asyncio.TaskGroup() as group:
            for fault in self.faults:
                if attack := ATTACKS.get(fault.kind):
                    group.create_task(self.attack(fault, attack))
            while self.now() < self.seconds:
                await asyncio.sleep(self.rng.exponential(1 / self.rate()))
                group.create_task(self.visit())

    async def attack(self, fault, attack):
        await asyncio.sleep(max(0.0, fault.start - self.now()))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await attack(self, fault)

    async def visit(self):
        """Some requests on one connection, with pauses for reading."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with self.connect() as ask:
                await ask("/")
                while self.rng.random() < 0.86 and self.now() < self.seconds:
                    await asyncio.sleep(self.rng.exponential(1.5))
                    await self.click(ask)

    async def click(self, ask):
        chance = self.rng.random()
        if chance < 0.70:
            await ask(f"/item/{int(ITEMS * self.rng.power(0.6))}")
        elif chance < 0.88:
            await ask(f"/search/{int(self.rng.integers(10_000))}")
        elif chance < 0.94:
            await ask("/login", b"name=a&word=b")
        elif chance < 0.97:
            await ask(f"/file/{int(self.rng.integers(FILES))}")
        else:
            await ask(f"/old/{int(self.rng.integers(50))}")  # a dead link

    @contextlib.asynccontextmanager
    async def connect(self):
        """A connection as a function that asks for a path and reads the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.number += 1
        cookie = f"v{self.number}"

        async def ask(path, body=b""):
            method = "POST" if body else "GET"
            head = f"{method} {path} HTTP/1.1\r\nHost: site\r\nCookie: {cookie}\r\n"
            size = f"Content-Length: {len(body)}\r\n" if body else ""
            writer.write(f"{head}{size}\r\n".encode() + body)
            await writer.drain()
            reply = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(
                int(reply.split(b"Content-Length: ")[1].split()[0])
            )

        try:
            yield ask
        finally:
            writer.close()

    async def steadily(self, fault, path, connections=1):
        """Ask for ``path()`` at the fault's rate, on some connections at once."""

        async def one():
            async with self.connect() as ask:
                while self.now() < fault.stop:
                    pause = self.rng.exponential(connections / fault.strength)
                    await asyncio.sleep(min(pause, max(0, fault.stop - self.now())))
                    if self.now() < fault.stop:
                        await ask(path())

        await asyncio.gather(*(one() for _ in range(connections)))

    async def scan(self, fault):
        await self.steadily(fault, lambda: f"/{self.rng.integers(10**6):x}.php")

    async def flood(self, fault):
        await self.steadily(fault, lambda: "/", connections=8)

    async def exfiltrate(self, fault):
        await self.steadily(fault, lambda: f"/file/{int(self.rng.integers(FILES))}")

    async def hold(self, fault):
        """Keep connections open by sending a header that never ends."""
        held = []
        try:
            for _ in range(round(fault.strength)):
                pair = await asyncio.open_connection("127.0.0.1", self.port)
                pair[1].write(b"GET / HTTP/1.1\r\n")
                held.append(pair[1])
                await asyncio.sleep(0.2)
            while self.now() < fault.stop:
                for writer in held:
                    writer.write(b"X-a: b\r\n")
                await asyncio.sleep(min(5.0, max(0.05, fault.stop - self.now())))
        finally:
            for writer in held:
                writer.close()


ATTACKS = {
    "scan": Visitors.scan,
    "flood": Visitors.flood,
    "slow loris": Visitors.hold,
    "exfiltration": Visitors.exfiltrate,
}


async def visit_all(job):
    """Be everybody, until the time is up or the server's process is gone."""

    async def watch():
        while os.getppid() == job["server"] and time.time() < limit:
            await asyncio.sleep(0.5)

    limit = job["begin"] + job["seconds"] + 5
    crowd = [Visitors(p, k, job) for k, p in enumerate(job["ports"])]
    visits = asyncio.gather(*(c.come() for c in crowd))
    await asyncio.wait(
        [asyncio.ensure_future(visits), asyncio.ensure_future(watch())],
        return_when=asyncio.FIRST_COMPLETED,
    )
    visits.cancel()


# ---------------------------------------------------------------- the recording


def labels(faults, sites, seconds):
    """Name of the fault of each site and second, "" where there is none."""
    names = np.full((sites, seconds), "", dtype=object)
    for f in faults:
        names[f.site, f.start : f.stop] = f.kind
    return names


def write(path, rows, faults):
    """Write the recording as packed CSV: site, second, counters, fault."""
    sites, seconds, _ = rows.shape
    names = labels(faults, sites, seconds)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["site", "second", *COUNTERS, "fault"])
    for site in range(sites):
        for second in range(seconds):
            table.writerow([site, second, *rows[site, second], names[site, second]])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main():
    parser = argparse.ArgumentParser(
        prog="python -m experiments.record_traffic",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--seconds", type=int, default=SECONDS, help="3600 by default")
    parser.add_argument("--out", type=Path, help=f"default: {FILE} if an hour or more")
    parser.add_argument("--smoke", action="store_true", help="seconds, nothing kept")
    parser.add_argument("--clients", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.clients:
        with contextlib.suppress(KeyboardInterrupt):
            if job := sys.stdin.readline():  # none if the server is gone already
                asyncio.run(visit_all(json.loads(job)))
        return
    seconds = 6 if args.smoke else args.seconds
    if seconds < 1:
        parser.error(f"--seconds: expected 1 or more, got {seconds}")
    faults = plan(seconds)
    begin = time.perf_counter()
    try:
        rows = asyncio.run(record(seconds, faults, seed=0))
    except KeyboardInterrupt:
        sys.exit("record_traffic: interrupted, nothing is kept")
    took = time.perf_counter() - begin
    means = dict(zip(COUNTERS, rows.mean((0, 1)).round(1).tolist(), strict=True))
    print(json.dumps({"rows": rows.shape[0] * rows.shape[1], "mean": means}, indent=1))
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or (FILE if seconds >= SECONDS else Path(folder) / "look.csv.gz")
        write(out, rows, faults)
        print(f"{out}: {out.stat().st_size / 1e6:.2f} MB after {took:.0f} s")
    if out == FILE:
        facts = {
            "when": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "seconds": seconds,
            "day": DAY,
            "faults": [asdict(f) for f in faults],
        }
        file = ROOT / "experiments" / "results" / "record_traffic.json"
        file.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
