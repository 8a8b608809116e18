"""The recorder of web traffic: what it counts, what it plans, how it ends."""

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
import pytest

from experiments import record_traffic as rt


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.record_traffic", *arguments],
        cwd=rt.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, which this may be one of, ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def gone(processes, seconds=20):
    """True once none of the processes is left."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def children(process, seconds=20):
    """The clients of a recorder, once they are there."""
    limit = time.monotonic() + seconds
    while not (found := psutil.Process(process.pid).children()):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)
    return found


def test_it_records_ends_and_leaves_nothing(tmp_path):
    before = {p: p.stat().st_mtime_ns for p in rt.FILE.parent.iterdir()}
    out = tmp_path / "traffic.csv.gz"
    process = start("--seconds", "8", "--out", str(out))
    clients = children(process)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stderr == "" and gone(clients)
    assert {p: p.stat().st_mtime_ns for p in rt.FILE.parent.iterdir()} == before
    head, *lines = gzip.decompress(out.read_bytes()).decode().splitlines()
    assert head.split(",") == ["site", "second", *rt.COUNTERS, "fault"]
    rows = [line.split(",") for line in lines]
    assert [(int(r[0]), int(r[1])) for r in rows] == [
        (site, second) for site in range(8) for second in range(8)
    ]
    values = np.array([r[2:-1] for r in rows], int)
    total = dict(zip(rt.COUNTERS, values.sum(0), strict=True))
    assert (values >= 0).all() and total["requests"] > 30
    assert total["bytes_out"] > 2_000 * total["requests"] / 4
    assert {r[-1] for r in rows if int(r[0]) < 4} == {""}
    assert {r[-1] for r in rows if int(r[0]) >= 4} > {""}


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_clients_end_with_the_server(kind):
    process = start("--seconds", "600")
    clients = children(process)
    os.kill(process.pid, kind)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert gone(clients)


def test_the_server_ends_with_the_clients():
    process = start("--seconds", "600")
    (client,) = children(process)
    time.sleep(2)
    client.kill()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0 and "the clients are gone" in stderr


def test_it_listens_on_the_loopback_interface_only():
    process = start("--seconds", "600")
    try:
        clients = children(process)
        server = psutil.Process(process.pid)
        listening = [c for c in server.net_connections() if c.status == "LISTEN"]
        assert len(listening) == rt.SITES
        ends = [c for p in (server, *clients) for c in p.net_connections("inet")]
        assert {c.laddr.ip for c in ends} == {"127.0.0.1"}
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_a_wrong_time_is_refused():
    process = start("--seconds", "0")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2 and "--seconds: expected 1 or more, got 0" in stderr


@pytest.mark.parametrize("seconds", [60, 3_600])
def test_faults_are_planned_apart_from_one_another(seconds):
    faults = rt.plan(seconds)
    assert faults == rt.plan(seconds)
    assert {f.site for f in faults} == {4, 5, 6, 7}
    for site in range(4, 8):
        own = [f for f in faults if f.site == site]
        assert all(0 < f.start < f.stop <= seconds for f in own)
        assert all(a.stop < b.start for a, b in zip(own, own[1:], strict=False))
    count = Counter(f.kind for f in faults)
    assert seconds < 3_600 or set(count) == set(rt.FAULTS)
    assert max(count.values()) - min(count.values()) <= 4
    names = rt.labels(faults, 8, seconds)
    assert (names != "").sum() == sum(f.stop - f.start for f in faults)
    assert 0.1 < (names[4:] != "").mean() < 0.75


def ask(site, request):
    """What a site answers to the bytes of some requests, and its counters after."""

    async def talk():
        server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            writer.write_eof()
            reply = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            await asyncio.sleep(0.05)
        return reply, dict(zip(rt.COUNTERS, site.row(), strict=True))

    return asyncio.run(talk())


def get(path, method="GET", body=""):
    size = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nCookie: me\r\n{size}\r\n{body}".encode()


@pytest.mark.parametrize(
    ("path", "status", "size"),
    [("/", 200, 2_000), ("/item/7", 200, 1_679), ("/file/3", 200, 90_000)]
    + [(path, 404, 8) for path in ("/item/200", "/item/x", "/a.php", "/old/1", "//")],
)
def test_the_site_answers_and_counts(path, status, size):
    reply, counts = ask(rt.Site(0, [], seed=0), get(path))
    head, body = reply.split(b"\r\n\r\n", 1)
    assert head.startswith(f"HTTP/1.1 {status} ".encode()) and len(body) == size
    assert counts["requests"] == counts["new_connections"] == counts["paths"] == 1
    assert counts["visitors"] == 1 and counts["open_connections"] == 0
    assert counts["errors_4xx"] == (status == 404) and counts["errors_5xx"] == 0
    assert (counts["bytes_in"], counts["bytes_out"]) == (len(get(path)), len(reply))
    assert counts["latency_mean_us"] == counts["latency_p95_us"] > 0


def test_one_connection_may_ask_again():
    requests = get("/login", "POST", "name=a") + get("/search/1") + get("/search/1")
    reply, counts = ask(rt.Site(0, [], seed=0), requests)
    assert reply.count(b"HTTP/1.1 ") == 3
    assert (counts["requests"], counts["posts"], counts["paths"]) == (3, 1, 2)


@pytest.mark.parametrize(
    "request_", [b"", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX: "]
)
def test_nonsense_does_not_stop_the_site(request_):
    reply, counts = ask(rt.Site(0, [], seed=0), request_)
    assert reply == b"" and counts["requests"] == 0 and counts["open_connections"] == 0


def test_an_outage_and_a_drift_are_the_servers():
    now = rt.Fault(0, "outage", 0, 100, 1.0)
    site = rt.Site(0, [now, rt.Fault(1, "latency drift", 0, 100, 5.0)], seed=0)
    assert site.strength("outage") is None  # not begun
    site.begin = time.time() - 50
    value, share = site.strength("outage")
    assert value == 1.0 and share == pytest.approx(0.5, abs=0.05)
    assert site.strength("latency drift") is None  # of another site
    reply, counts = ask(site, get("/"))
    assert reply.startswith(b"HTTP/1.1 503") and counts["errors_5xx"] == 1
