"""What the trainings of the applications share, so that each file is its own model.

`main` reads the arguments, runs the seeds that are not done yet, and writes the JSON.
The rest is what a training on one CPU is made of: half the precision, a learning rate
that falls, and weights small enough to ship. A training may be shared by several
processes, which `torchrun` starts; the first of them measures and writes.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.timing import machine
from rnnlib import checkpoint
from rnnlib.torch.distributed import Shard, processes

HERE = Path(__file__).parent
RESULTS, WEIGHTS, RUNNING = HERE / "results", HERE / "weights", HERE / "running"
SEEDS = (0, 1, 2)
PATIENCE = 12 * 3600  # seconds to wait for the process that measures


def main(name, doc, train, report, together=False):
    """Run an experiment from the command line.

    Parameters
    ----------
    name : str
        Of the experiment: ``results/NAME.json``, ``weights/NAME-seedK.safetensors``.
    doc : str
        The docstring of the experiment's file; its first line is the description.
    train : callable
        ``train(seed, folder, smoke) -> (record, arrays)``. It keeps what it needs to go
        on after an interruption in ``folder``, in files that begin with ``seedK``. The
        record holds ``train_seconds`` and every measured value; the arrays are the
        weights to ship, or None if this seed's are not shipped. With ``smoke`` the
        whole path is run on next to nothing.
    report : callable
        ``report(records) -> dict``: what the JSON says beside the seeds; see `summary`.
    together : bool, default=False
        Whether several processes may train a seed together, started by ``torchrun``.
        `train` then calls `share`, and what it returns matters in the first process
        alone: that one writes. All need to see the same folder.
    """
    if not together:
        alone(name)
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=doc.splitlines()[0]
    )
    parser.add_argument("--smoke", action="store_true", help="seconds, nothing kept")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=SEEDS,
        metavar="K",
        help="only these seeds; the JSON is written once all are done",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    with processes(PATIENCE) as (rank, world):
        if args.smoke:
            _smoke(train, report, rank)
        else:
            _seeds(name, train, args.seeds, rank, world)
    if rank == 0 and not args.smoke:
        _write(name, report)


def _smoke(train, report, rank):
    with tempfile.TemporaryDirectory() as folder:
        record, arrays = train(0, Path(_agreed(folder)), True) or (None, None)
        if rank == 0:
            checkpoint.save(Path(folder) / "smoke.safetensors", shipped(arrays))
            print(json.dumps(report([{"seed": 0} | record] * 2), indent=1))


def _seeds(name, train, seeds, rank, world):
    running = RUNNING / name
    for folder in (RESULTS, WEIGHTS, running):
        folder.mkdir(parents=True, exist_ok=True)
    done = {seed: running / f"record{seed}.json" for seed in seeds}
    for seed in _agreed([seed for seed, file in done.items() if not file.exists()]):
        result = train(seed, running, False)
        if rank:
            continue
        record, arrays = result
        if arrays is not None:
            file = WEIGHTS / f"{name}-seed{seed}.safetensors"
            checkpoint.save(file, shipped(arrays))
        record = {"seed": seed, "when": time.strftime("%Y-%m-%d")} | record
        where = machine() | {"processes": world}
        done[seed].write_text(json.dumps(record | {"machine": where}))
        print(json.dumps(record), flush=True)


def _write(name, report):
    running = RUNNING / name
    records = [running / f"record{seed}.json" for seed in SEEDS]
    if missing := [r.stem for r in records if not r.exists()]:
        print(f"not done yet: {', '.join(missing)}")
        return
    records = [json.loads(r.read_text()) for r in records]
    where = [r.pop("machine") for r in records][0]
    result = {"when": records[-1]["when"], "machine": where} | report(records)
    text = json.dumps(result | {"seeds": records}, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    for file in running.glob("seed*"):  # checkpoints; the records may be used again
        file.unlink()


def _agreed(value):
    """What the first process says, in all of them."""
    box = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(box)
    return box[0]


def alone(name):
    """Stop with a message if ``torchrun`` has started several of this experiment."""
    if distributed.is_torchelastic_launched():
        raise SystemExit(
            f"experiments.{name} trains in one process; start it without torchrun"
        )


def share(model, batches):
    """Model and batches as `fit` takes them, for one process or for one of several.

    Returns
    -------
    model : nn.Module
        In several processes, within DistributedDataParallel.
    batches : re-iterable
        Of them, the rows of this process.
    rank : int
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return model, batches, 0
    rank, world = distributed.get_rank(), distributed.get_world_size()
    return DistributedDataParallel(model), Shard(batches, rank, world), rank


def summary(records, key):
    """Mean and standard deviation over seeds of one measured value, as a dict."""
    values = [r[key] for r in records]
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}


def mixed():
    """Multiply in bfloat16, keep weights, states and sums in float32.

    On a CPU with AVX512-BF16 an LSTM trains about twice as fast. Without the cache:
    it would hand out yesterday's weights as long as the context is open.
    """
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


def falling(optimizer, steps, warmup=0, last=0.01):
    """Make the learning rate rise for `warmup` steps, then fall along a half cosine.

    The step is read from the optimizer, so a resumed training goes on where it was.
    It ends at ``last`` times the rate that the optimizer was made with.
    """
    peak = [group["lr"] for group in optimizer.param_groups]

    def share(k):
        rise = min(1.0, (k + 1) / (warmup + 1))
        angle = math.pi * min(1.0, k / steps)
        return rise * (last + (1 - last) * (0.5 + 0.5 * math.cos(angle)))

    def before(optimizer, *_):
        slots = next(iter(optimizer.state.values()), {"step": 0})
        for group, lr in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = lr * share(int(slots["step"]))

    optimizer.register_step_pre_hook(before)
    return optimizer


def shipped(arrays):
    """Weights as they are shipped: floats of half the width."""
    arrays = {k: np.asarray(v) for k, v in arrays.items()}
    return {
        k: v.astype(np.float16) if v.dtype.kind == "f" else v for k, v in arrays.items()
    }


def as_shipped(model):
    """Round a model's weights to what is shipped, so that just that is measured."""
    arrays = shipped(model.state_dict())
    model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    return model
