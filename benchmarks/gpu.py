"""Our fused kernels against cuDNN and the eager loop on one GPU, in turn, in one run.

    python -m benchmarks.gpu                  # needs CUDA; writes results/gpu.json
    python -m benchmarks.gpu --minutes 9 --resume   # goes on where a run stopped

The most telling sizes come first and the file is written as it goes, so that a machine
lent for ten minutes is enough for a result. Every cell is called as a user calls it:
batch-major input on the device, forward, then the gradients of the input and of all
parameters; the product with the input is part of both sides. Times are wall clock with
a `synchronize` after each call. The error is the largest difference from the same layer
in float64, relative to the largest entry of each array.

cuDNN gets what suits it best: float32 with and without TF32, and for bf16 a module and
an input that are bfloat16 to begin with. Ours is called in float32 and narrows inside;
the eager loop computes in float32, with TF32 products where ours are tf32 or bf16.
"""

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.timing import geometric_mean, in_turn
from rnnlib import torch as rl
from rnnlib import weights
from rnnlib.torch import kernels

HS = (32, 64, 96, 128, 160, 192, 256, 512, 768)
BS = (1, 8, 16, 48, 64, 128, 512)
TS = (64, 256, 1024)
KINDS = {  # name: class, options
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {}),
    "RNN": ("RNN", {}),
    "GRU reset before": ("GRU", {"reset_after": False}),
    "RNN leaky": ("RNN", {"activation": "leaky_relu"}),
}
WITH_CUDNN = ("LSTM", "GRU", "RNN")
TARGETS = {"ragged": 5.0, "loop": 20.0, "training": 1.3}
RESULTS = Path(__file__).parent / "results" / "gpu.json"


# ---------------------------------------------------------------- what is measured


def grid():
    """All cells as tuples (what, kind, T, B, H, precision), the most useful first.

    ``what`` is "full" (against cuDNN), "ragged" (against a PackedSequence, and against
    cuDNN on the padded batch) or "loop" (against the eager loop, where cuDNN has none).
    """
    cells = []
    for T in TS:
        for B in BS:
            for H in HS:
                for precision in kernels.PRECISIONS:
                    size = (T, B, H, precision)
                    cells += [("full", kind, *size) for kind in WITH_CUDNN]
                    if H <= kernels.LARGEST[precision]:
                        cells += [("ragged", kind, *size) for kind in WITH_CUDNN]
                        others = [kind for kind in KINDS if kind not in WITH_CUDNN]
                        cells += [("loop", kind, *size) for kind in others]
    return sorted(cells, key=_rank)


def _rank(cell):
    what, kind, T, B, H, precision = cell
    far = (0, 2, 1)[(256, 1024, 64).index(T)]
    far += {64: 0, 16: 1, 1: 2, 128: 2, 512: 3, 48: 3, 8: 4}[B]
    far += {128: 0, 64: 0, 32: 1, 96: 2, 160: 2, 192: 2, 256: 2, 512: 3, 768: 4}[H]
    far += {"bf16": 0, "ieee": 0, "tf32": 1, "tf32x3": 2}[precision]
    if H > kernels.LARGEST[precision]:
        far += 4  # cuDNN alone
    return far, ("full", "ragged", "loop").index(what), list(KINDS).index(kind), cell


def settings(precision):
    """Tell torch, hence cuDNN and both sides' products with the input."""
    narrow = precision in ("tf32", "bf16")
    torch.set_float32_matmul_precision("high" if narrow else "highest")
    torch.backends.cudnn.allow_tf32 = narrow


def lengths_of(B, T):
    """Lengths from 1 to T, evenly drawn, unsorted, the longest T."""
    draw = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, T + 1, (B,), generator=draw)
    lengths[B // 2] = T
    return lengths


def need(kind, T, B, H):
    """Bytes that a cell takes at most, roughly: the float64 reference with its tape."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[KINDS[kind][0]]
    per_step = 40 if kind not in WITH_CUDNN else 6 * gates + 16
    return 8 * T * B * H * per_step


class Nn:
    """torch.nn as a peer: cuDNN on a GPU, with a packed batch if there are lengths."""

    def __init__(self, module, dtype, x, lengths=None):
        self.module = module.to(dtype)
        self.x = x.detach().to(dtype).requires_grad_()
        self.lengths = lengths

    def forward(self):
        if self.lengths is None:
            return self.module(self.x)[0]
        packed = pack_padded_sequence(
            self.x, self.lengths, batch_first=True, enforce_sorted=False
        )
        T = self.x.shape[1]
        return pad_packed_sequence(
            self.module(packed)[0], batch_first=True, total_length=T
        )[0]

    def grads(self):
        return [
            self.x.grad,
            self.module.weight_ih_l0.grad.T,
            self.module.weight_hh_l0.grad.T,
        ]

    def zero(self):
        self.module.zero_grad(set_to_none=True)
        self.x.grad = None


class Ours:
    """A layer of ours, computed in one of its ways."""

    def __init__(self, layer, x, lengths=None, precision=None):
        self.layer, self.lengths, self.precision = layer, lengths, precision
        self.x = x.detach().clone().requires_grad_()

    def forward(self):
        if self.precision is None:
            return self.layer(self.x, lengths=self.lengths)[0]
        with kernels.precision(self.precision):
            return self.layer(self.x, lengths=self.lengths)[0]

    def grads(self):
        return [self.x.grad, self.layer.W_xh.grad, self.layer.W_hh.grad]

    def zero(self):
        self.layer.zero_grad(set_to_none=True)
        self.x.grad = None


def build(kind, H, state, device, impl, dtype="float32"):
    name, options = KINDS[kind]
    layer = getattr(rl, name)(H, H, impl=impl, dtype=dtype, **options)
    layer.load_state_dict(state)
    return layer.to(device)


def cell(what, kind, T, B, H, precision, seconds=0.15, device="cuda"):
    """Measure one cell; returns a row of the table.

    Parameters
    ----------
    what, kind, T, B, H, precision
        As in `grid`; the input is as wide as the state.
    seconds : float, default=0.15
        For each of the two measurements.
    device : str, default="cuda"
        "cpu" runs the same code in Triton's interpreter, for the tests.

    Returns
    -------
    dict
        ``forward_ms`` and ``both_ms`` hold for each way the median and half the range
        between the quartiles; ``ratio`` how many times faster "fused" is than the peer
        named in ``peer``, forward and both. ``error`` is against float64. Where there
        is no fused kernel, ``not_possible`` says why.
    """
    row = dict(what=what, layer=kind, T=T, B=B, H=H, precision=precision)
    settings(precision)
    cuda = device == "cuda"
    if cuda:
        most = need(kind, T, B, H)
        if most > 0.9 * torch.cuda.mem_get_info()[0]:
            return row | {"skipped": f"needs about {most / 2**30:.0f} GiB"}
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(B, T, H, generator=draw).to(device)
    dy = torch.randn(B, T, H, generator=draw).to(device)
    name, options = KINDS[kind]
    lengths = lengths_of(B, T) if what == "ragged" else None
    torch.manual_seed(0)
    module = None
    if kind in WITH_CUDNN:
        module = getattr(torch.nn, name)(H, H, batch_first=True).to(device)
        state = weights.from_torch(module)
    else:
        state = getattr(rl, name)(H, H, seed=0, **options).state_dict()
    ours = partial(build, kind, H, state, device)

    peers = {}
    with kernels.precision(precision):
        gap = kernels.gap(x, H)
    if gap:
        row["not_possible"] = gap
    else:
        peers["fused"] = Ours(ours("fused"), x, lengths, precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if module is None:
        peers["loop"] = Ours(ours("loop"), x, lengths)
    elif lengths is None:
        peers["cudnn"] = Nn(module, dtype, x)
    else:
        peers["packed"] = Nn(module, dtype, x, lengths)
        twin = getattr(torch.nn, name)(H, H, batch_first=True).to(device)
        twin.load_state_dict(module.state_dict())
        peers["padded"] = Nn(twin, dtype, x)  # computes the padding, too
    row["peer"] = [key for key in peers if key != "fused"][0]

    def forward(p):
        with torch.no_grad():
            y = p.forward()
        if cuda:
            torch.cuda.synchronize()
        return y

    def both(p):
        p.zero()
        y = p.forward()
        y.backward(dy.to(y.dtype))
        if cuda:
            torch.cuda.synchronize()
        return y

    impl = "loop" if module is None else "native"
    exact = Ours(ours(impl, "float64"), x.double(), lengths)
    y64 = both(exact).detach()
    reference = [y64, *exact.grads()]
    row["error"] = {}
    for key, p in peers.items():
        if key == "padded":
            continue  # another function
        found = [both(p).detach(), *p.grads()]
        row["error"][key] = max(
            float((f.double() - e).abs().max() / e.abs().max())
            for f, e in zip(found, reference, strict=True)
        )
        p.zero()
    del exact, reference, y64, found
    for part, run in (("forward", forward), ("both", both)):
        times = in_turn({k: partial(run, p) for k, p in peers.items()}, seconds)
        row[f"{part}_ms"] = {k: [1e3 * v for v in t] for k, t in times.items()}
    if "fused" in peers:
        row["ran"] = peers["fused"].layer.last_impl
        row["ratio"] = {
            part: row[f"{part}_ms"][row["peer"]][0] / row[f"{part}_ms"]["fused"][0]
            for part in ("forward", "both")
        }
    return row


def _nothing(x):
    pass


def launch(device="cuda", count=1000, seconds=0.3):
    """What a launch costs: a tiny operation and an empty kernel, many in a row."""
    import triton

    nothing = triton.jit(_nothing)
    x = torch.zeros(1, device=device)

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def many(f):
        for _ in range(count):
            f()
        wait()

    def single(f):
        f()
        wait()

    ways = {
        "torch operation": lambda: x.add_(1),
        "empty Triton kernel": lambda: nothing[(1,)](x),
    }
    row = {"what": "launch", "count": count, "triton": triton.__version__}
    times = in_turn({k: partial(many, f) for k, f in ways.items()}, seconds)
    row["microseconds"] = {
        k: [1e6 * v / count for v in t] for k, t in times.items()
    }  # one after another, waiting once
    times = in_turn({k: partial(single, f) for k, f in ways.items()}, seconds)
    row["microseconds_waited"] = {k: [1e6 * v for v in t] for k, t in times.items()}
    return row


# ---------------------------------------------------------------- what it says


def verdict(row, part="both"):
    """ "win", "loss" or, where the spreads touch, "tie"; None without a comparison."""
    if "ratio" not in row:
        return None
    ours, spread = row[f"{part}_ms"]["fused"]
    peer, width = row[f"{part}_ms"][row["peer"]]
    if abs(ours - peer) <= spread + width:
        return "tie"
    return "win" if ours < peer else "loss"


def summary(rows):
    """Geometric means against the targets, and the cells that lose.

    Parameters
    ----------
    rows : list of dict
        From `cell`.

    Returns
    -------
    dict
        ``means``: for each group (what, layer, precision) with H ≤ 128 the geometric
        means of the ratios, the number of cells, and the worst cell's ratio;
        ``targets``: for "ragged" (LSTM and GRU), "loop" and "training" (full, LSTM and
        GRU) the target, the mean of forward + backward and whether it is met, None
        without a cell; ``losing``: cells slower than the peer by more than the spreads.
    """
    compared = [row for row in rows if "ratio" in row]
    small = [row for row in compared if row["H"] <= 128]
    groups = {}
    for row in small:
        key = f"{row['what']}, {row['layer']}, {row['precision']}"
        groups.setdefault(key, []).append(row)
    means = {
        key: {
            "cells": len(group),
            "worst": min(row["ratio"]["both"] for row in group),
            **{
                part: geometric_mean([row["ratio"][part] for row in group])
                for part in ("forward", "both")
            },
        }
        for key, group in groups.items()
    }
    targets = {}
    for name, target in TARGETS.items():
        what = "full" if name == "training" else name
        chosen = [
            row["ratio"]["both"]
            for row in small
            if row["what"] == what and row["layer"] != "RNN"
        ]
        mean = geometric_mean(chosen) if chosen else None
        targets[name] = {
            "target": target,
            "cells": len(chosen),
            "mean": mean,
            "met": None if mean is None else mean >= target,
        }
    losing = [
        {key: row[key] for key in ("what", "layer", "T", "B", "H", "precision")}
        | {"part": part, "ratio": row["ratio"][part]}
        for row in compared
        for part in ("forward", "both")
        if verdict(row, part) == "loss"
    ]
    return {"means": means, "targets": targets, "losing": losing}


def auto_table(rows):
    """Up to which H ``impl="auto"`` should take the fused kernel.

    The fused kernel is taken for a layer and a precision up to the largest measured H
    with this property: at it, and at each smaller measured H, the geometric mean over
    all measured B and T of forward + backward is above one.

    Parameters
    ----------
    rows : list of dict
        From `cell`.

    Returns
    -------
    dict
        ``table[what][layer][precision]``, an int; a layer that never wins is not in it.
    """
    ratios = {}
    for row in rows:
        if "ratio" in row:
            key = row["what"], row["layer"], row["precision"]
            ratios.setdefault(key, {}).setdefault(row["H"], []).append(
                row["ratio"]["both"]
            )
    table = {}
    for (what, layer, precision), by_size in ratios.items():
        for H in sorted(by_size):
            if geometric_mean(by_size[H]) <= 1:
                break
            table.setdefault(what, {}).setdefault(layer, {})[precision] = H
    return table


# ---------------------------------------------------------------- running it


def device_now():
    """What the numbers are measured on."""
    import triton

    chip = torch.cuda.get_device_properties(0)
    return {
        "gpu": chip.name,
        "multiprocessors": chip.multi_processor_count,
        "memory_gib": round(chip.total_memory / 2**30, 1),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": triton.__version__,
    }


def key_of(row):
    return tuple(row.get(k) for k in ("what", "layer", "T", "B", "H", "precision"))


def save(path, device, rows, left):
    """Write what there is so far, whole or not at all."""
    result = {
        "measured": True,
        "when": time.strftime("%Y-%m-%d"),
        "command": "python -m benchmarks.gpu",
        "device": device,
        "dtype": "float32 in and out; precision is that of the products",
        "cells_left": left,
        **summary(rows),
        "auto": auto_table(rows),
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(draft, path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="stop after these")
    parser.add_argument("--seconds", type=float, default=0.15, help="per measurement")
    parser.add_argument("--quick", action="store_true", help="the first 60 cells only")
    parser.add_argument("--resume", action="store_true", help="keep what is measured")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(
            f"benchmarks.gpu: no CUDA device (torch {torch.__version__}); nothing is "
            f"measured and {args.out} stays as it is",
            file=sys.stderr,
        )
        return 2
    begin, device = time.monotonic(), device_now()
    print(json.dumps(device))
    rows = []
    if args.resume and args.out.exists():
        before = json.loads(args.out.read_text())
        if before.get("device") == device:
            rows = [row for row in before["rows"] if "failed" not in row]
    cells = grid()[: 60 if args.quick else None]
    done = {key_of(row) for row in rows}
    cells = [c for c in cells if c not in done]
    if not any(row["what"] == "launch" for row in rows):
        rows.append(launch())
        print(rows[-1])
    saved = begin
    while cells and time.monotonic() - begin < 60 * args.minutes:
        now = cells.pop(0)
        try:
            row = cell(*now, seconds=args.seconds)
        except Exception as error:  # one cell; the file says which, and why
            names = ("what", "layer", "T", "B", "H", "precision")
            row = dict(zip(names, now, strict=True))
            row["failed"] = f"{type(error).__name__}: {error}"[:300]
        torch.cuda.empty_cache()
        rows.append(row)
        said = row.get("ratio") or row.get("failed") or row.get("skipped")
        print(*now, said or row.get("not_possible"), row.get("error", ""), flush=True)
        if time.monotonic() - saved > 20:
            save(args.out, device, rows, len(cells))
            saved = time.monotonic()
    save(args.out, device, rows, len(cells))
    print(json.dumps(summary(rows)["targets"], indent=1))
    print(f"written: {args.out}; {len(rows)} rows, {len(cells)} cells left")
    return 1 if any("failed" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
