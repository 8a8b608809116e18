"""What two processes that train together send, how long it takes, and what it gains.

    python -m benchmarks.scaling               # a minute; writes results/scaling.json
    python -m benchmarks.scaling --realtime    # on a busy machine, as its root
    python -m benchmarks.scaling --again       # writes results/scaling_again.json

The second file is the same, measured once more: what differs between the two is no
result.

Three measurements on one machine. The bytes of an all-reduce, on the interface, and
those that DistributedDataParallel adds up in an optimizer step, counted by a hook. The
time of an all-reduce against its size. The time of a training step with `fit`, in one
process with one thread, in one with two, and in two processes, in turn. A straight line
through the second and the computing time of the third predict the step of two
processes; the file says how well.

Without two GPUs the processes share the CPU and talk through gloo over the loopback
interface. That is no cluster: there is no network between them, but they share the
memory, the caches, and the cores with the threads that move the bytes. A machine that
does other things shows it first in the latency, which is then the time until a sleeping
process gets its turn again; with --realtime it gets it at once.
"""

import os

for pool in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from benchmarks.timing import machine, spread
from rnnlib import torch as rl
from rnnlib.torch.distributed import Shard, processes

RESULTS = Path(__file__).parent / "results" / "scaling.json"
WORLDS = (2, 3, 4)  # processes of the all-reduce
SIZES = tuple(4**k for k in range(5, 14))  # bytes: 1 KiB to 64 MiB
CASES = ((64, 16), (128, 16), (256, 16), (512, 16), (128, 128))  # hidden, rows
VOCABULARY, EMBEDDING, STEPS = 84, 64, 32
INTERFACES = Path("/proc/net/dev")


def build(hidden):
    """The text model of the book, in any width."""
    return rl.Sequential(
        rl.Embedding(VOCABULARY, EMBEDDING),
        rl.LSTM(EMBEDDING, hidden),
        rl.LSTM(hidden, hidden),
        rl.Dense(hidden, VOCABULARY),
        seed=0,
    )


def loopback():
    """Bytes that the loopback interface has carried so far, or None if unknown."""
    if not INTERFACES.exists():
        return None
    lines = (line.split() for line in INTERFACES.read_text().splitlines())
    return next((int(w[9]) for w in lines if w and w[0] == "lo:"), None)


def line(sizes, seconds):
    """Latency (s) and bandwidth (bytes/s) of T(n) = latency + n / bandwidth.

    Least squares of the relative errors, so that small messages count as large ones do.
    """
    n, t = np.array(sizes, float), np.array(seconds)
    columns = np.stack([1 / t, n / t], axis=1)
    latency, slope = np.linalg.lstsq(columns, np.ones(len(t)), rcond=None)[0]
    return float(latency), float(1 / slope)


def clock(device, work):
    """Seconds until the last process is done with work that all begin together."""
    distributed.barrier()
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = torch.tensor([time.perf_counter() - begin], device=device)
    distributed.all_reduce(seconds, distributed.ReduceOp.MAX)
    return float(seconds)


def all_reduces(sizes, device, rounds):
    """Seconds and bytes of an all-reduce of each size, all sizes in turn."""
    world = distributed.get_world_size()
    arrays = {n: torch.zeros(n // 4, device=device) for n in sizes}
    times = {n: [] for n in sizes}
    for turn in range(rounds + 2):
        for n, array in arrays.items():
            repeats = max(1, min(8, 2**22 // n))

            def work(array=array, repeats=repeats):
                for _ in range(repeats):
                    distributed.all_reduce(array)

            seconds = clock(device, work) / repeats
            if turn >= 2:
                times[n].append(seconds)
    rows = [{"bytes": n, "seconds": spread(times[n])} for n in sizes]
    for row in rows:
        row["sent"] = sent(arrays[row["bytes"]], world)
    return rows


def sent(array, world, repeats=8):
    """Bytes that a process sends for one all-reduce, as the interface counts them.

    With the packets' headers and acknowledgements, without what the interface carries
    at that time anyway. None if the array is small against that, or on a GPU.
    """
    if array.device.type == "cuda" or array.nbytes < 2**20 or loopback() is None:
        return None
    distributed.barrier()
    begin, before = time.perf_counter(), loopback()
    for _ in range(repeats):
        distributed.all_reduce(array)
    distributed.barrier()
    seconds, after = time.perf_counter() - begin, loopback()
    time.sleep(max(seconds, 0.1))
    idle = (loopback() - after) / max(seconds, 0.1)
    return (after - before - idle * seconds) / repeats / world


def training(hidden, B, device, rounds):
    """Seconds of a step of `fit` on B rows, alone and together, and the bytes sent."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (B, STEPS + 1))
    batch = ids[:, :-1], ids[:, 1:]
    half = tuple(a[: B // world] for a in batch)
    repeats = 6 if B * hidden <= 2048 else 2
    buckets = []

    def count(state, bucket):
        buckets.append(bucket.buffer().nbytes)
        return default_hooks.allreduce_hook(state, bucket)

    def send_nothing(state, bucket):
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    def fit(wrap=lambda model: model, hook=None):
        """A function that trains a new model on some batches."""
        model = build(hidden).to(device)
        optimizer, wrapped = rl.Adam(model), wrap(model)
        if hook:
            wrapped.register_comm_hook(None, hook)
        return lambda batches: rl.fit(
            wrapped,
            batches,
            loss=rl.cross_entropy,
            optimizer=optimizer,
            epochs=1,
            progress=False,
        )

    part = list(Shard([batch] * repeats, rank, world))
    counted = fit(DistributedDataParallel, count)
    counted(part)
    del buckets[:]  # those of the first step may be cut in another way
    counted(part)
    alone, threads, side_by_side = fit(), fit(), fit()
    silent = fit(DistributedDataParallel, send_nothing)
    together = fit(DistributedDataParallel)

    def with_threads():
        torch.set_num_threads(world)
        threads([batch] * repeats)
        torch.set_num_threads(1)

    works = {  # in an order in which threads that still spin have a core to do so
        "alone": lambda: rank == 0 and alone([batch] * repeats),
        "two_threads": lambda: rank == 0 and with_threads(),
        "alone_half": lambda: rank == 0 and alone([half] * repeats),
        "side_by_side": lambda: side_by_side(part),  # each for itself
        "silent": lambda: silent(part),  # all but the messages
        "together": lambda: together(part),
    }
    times = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            seconds = clock(device, work) / repeats
            if turn:
                times[name].append(seconds)
    return {
        "hidden": hidden,
        "batch": B,
        "parameters": sum(p.numel() for p in build(hidden).parameters()),
        "buckets": buckets[-(len(buckets) // repeats) :],
        "bytes_per_step": sum(buckets) / repeats,
        "seconds": {name: spread(values) for name, values in times.items()},
    }


def worker(file, rounds, realtime, smoke):
    """What each process runs; the first writes what it has measured."""
    torch.set_num_threads(1)
    sizes, cases = (SIZES[:6], CASES[:1]) if smoke else (SIZES, CASES)
    if realtime:  # before the threads of gloo begin, which inherit it
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with processes() as (rank, world):
        device = torch.device("cpu")
        if torch.cuda.device_count() >= world:
            device = torch.device("cuda", rank)
            torch.cuda.set_device(device)
        found = {"all_reduce": all_reduces(sizes, device, rounds)}
        if world == 2:
            found["training"] = [training(*case, device, rounds) for case in cases]
        if rank == 0:
            file.write_text(json.dumps(found))


def start(world, args):
    """Run `worker` in so many processes; returns what the first has found."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={world}", "-m", "benchmarks.scaling"]
        command += ["--worker", str(file), "--rounds", str(args.rounds)]
        command += ["--realtime"] * args.realtime + ["--smoke"] * args.smoke
        subprocess.run(command, check=True, timeout=600)
        return json.loads(file.read_text())


def predicted(row, latency, bandwidth):
    """Bounds of a shared step: messages hidden behind the rest of it, or after it."""
    rest = row["seconds"]["silent"][0]
    messages = sum(latency + n / bandwidth for n in row["buckets"])
    return {
        "communication": messages,
        "full_overlap": max(rest, messages),
        "no_overlap": rest + messages,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="of each measurement")
    parser.add_argument("--no-save", action="store_true", help="print only")
    parser.add_argument("--again", action="store_true", help="to the second file")
    parser.add_argument("--smoke", action="store_true", help="seconds, nothing kept")
    parser.add_argument("--realtime", action="store_true", help="before all others")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker, args.rounds, args.realtime, args.smoke)
    torch.set_num_threads(1)
    gpus = torch.cuda.device_count()
    where = "one GPU each, nccl" if gpus >= 2 else "one CPU, gloo over loopback"
    print(f"{where}; {gpus} GPUs, two are needed to use them")
    found = {}
    for world in WORLDS[:1] if args.smoke else WORLDS:
        if gpus < 2 or gpus >= world:
            found[world] = start(world, args)
    fits = {}
    for world, result in found.items():
        rows = result["all_reduce"]
        n = [row["bytes"] for row in rows]
        latency, bandwidth = line(n, [row["seconds"][0] for row in rows])
        fits[world] = {"latency": latency, "bandwidth": bandwidth}
        print(
            f"{world} processes: latency {1e6 * latency:.0f} us, "
            f"{bandwidth / 1e9:.2f} GB/s"
        )
        for row in rows:
            row["line"] = latency + row["bytes"] / bandwidth
            median, half = row["seconds"]
            share = row["sent"] and row["sent"] / row["bytes"]
            print(
                f"{row['bytes']:10} bytes {1e3 * median:8.3f} ± {1e3 * half:.3f} ms, "
                f"line {1e3 * row['line']:8.3f}, sent by each: "
                + (f"{share:.3f} of the array" if share else "not counted")
            )
    for row in found[2]["training"]:
        row["predicted"] = predicted(row, **fits[2])
        low, high = row["predicted"]["full_overlap"], row["predicted"]["no_overlap"]
        t = {name: 1e3 * v[0] for name, v in row["seconds"].items()}
        print(
            f"H {row['hidden']:3}, {row['batch']:3} rows: "
            f"{row['bytes_per_step'] / row['parameters']:.2f} "
            f"bytes a parameter in {len(row['buckets'])} messages; ms a step: alone "
            f"{t['alone']:.1f}, 2 threads {t['two_threads']:.1f}, half "
            f"{t['alone_half']:.1f}, side by side "
            f"{t['side_by_side']:.1f}, without messages {t['silent']:.1f}, "
            f"together {t['together']:.1f}, "
            f"predicted {1e3 * low:.1f} to {1e3 * high:.1f}"
        )
    result = {
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "where": where,
        "gpus": gpus,
        "dtype": "float32",
        "rounds": args.rounds,
        "realtime": args.realtime,
        "load": os.getloadavg(),  # of the last 1, 5 and 15 minutes, our 2 included
        "steps": STEPS,
        "fits": fits,
        "all_reduce": {world: r["all_reduce"] for world, r in found.items()},
        "training": found[2]["training"],
    }
    if not (args.no_save or args.smoke):
        file = RESULTS.with_stem("scaling_again") if args.again else RESULTS
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {file}")


if __name__ == "__main__":
    main()
