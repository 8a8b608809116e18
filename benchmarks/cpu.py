"""RNN, GRU and LSTM on one CPU thread: ours, torch.nn, a Python loop, and Keras.

    python -m benchmarks.cpu            # prints the tables, writes results/cpu.json

All are called as a user calls them: batch-major input, forward, then the gradients of
the input and of all parameters, so the products with the input are in every number. The
contestants of a row run in turn. The error is the largest difference from the same
layer in float64, relative to the largest entry. Keras 3, on its torch backend, takes
part where it is installed (``pip install keras``).
"""

import os

# Before NumPy and torch start their thread pools. With the last one, where it is set,
# OpenBLAS computes as on some older CPU: NumPy may take twice as long, torch does not.
for pool in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{pool}_NUM_THREADS"] = "1"
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ["KERAS_BACKEND"] = "torch"

import argparse
import importlib.util
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.timing import geometric_mean, in_turn, machine
from rnnlib import numpy as rn
from rnnlib import torch as rt
from rnnlib import weights

KINDS = ("RNN", "GRU", "LSTM")
GRID = (  # T, B, I = H; the means are over these
    (64, 16, 64),
    (64, 32, 128),
    (128, 32, 128),
    (35, 20, 200),
    (100, 64, 256),
    (512, 16, 64),
    (128, 1, 128),
    (64, 32, 512),
)
SHORT = ((1, 1, 256), (4, 8, 256), (16, 8, 256), (32, 16, 128))
RAGGED = (GRID[0], GRID[1], GRID[4], GRID[5], GRID[7])
RESULTS = Path(__file__).parent / "results" / "cpu.json"


def seeded(kind, H):
    """torch's own layer, always with the same weights."""
    torch.manual_seed(0)
    return getattr(torch.nn, kind)(H, H, batch_first=True)


def contestants(kind, H, lengths=None):
    """Functions ``(forward, both)`` of (x, dy) by name; all have the same weights."""
    theirs = seeded(kind, H)
    state = weights.from_torch(theirs)

    def of_torch(layer, run):
        def forward(x, dy):
            with torch.no_grad():
                return run(x)

        def both(x, dy):
            layer.zero_grad(set_to_none=True)
            x.grad = None
            y = run(x)
            y.backward(dy)
            return y, x.grad

        return forward, both

    def ours(impl):
        layer = getattr(rt, kind)(H, H, impl=impl)
        layer.load_state_dict(state)
        return of_torch(layer, lambda x: layer(x, lengths=lengths)[0])

    if lengths is not None:

        def packed(x):
            packed = pack_padded_sequence(
                x, lengths, batch_first=True, enforce_sorted=False
            )
            y, _ = theirs(packed)
            return pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0]

        return {"torch.nn, packed": of_torch(theirs, packed)} | {
            f"torch {impl}": ours(impl) for impl in ("numpy", "native", "auto")
        }

    layer = getattr(rn, kind)(H, H)
    layer.load_state_dict(state)

    def numpy_both(x, dy):
        y, _ = layer(x)
        return y, layer.backward(dy)

    found = {
        "numpy": (lambda x, dy: layer(x), numpy_both),
        "torch.nn": of_torch(theirs, lambda x: theirs(x)[0]),
    }
    found |= {f"torch {impl}": ours(impl) for impl in ("numpy", "native", "loop")}
    if importlib.util.find_spec("keras"):
        import keras

        name = "SimpleRNN" if kind == "RNN" else kind
        peer = getattr(keras.layers, name)(H, return_sequences=True)
        found["keras"] = of_torch(peer, peer)  # its own weights: the same work
    return found


def exact(kind, H, x, dy, lengths):
    """The same layer in float64: y and dx."""
    layer = getattr(rn, kind)(H, H, dtype="float64")
    layer.load_state_dict(weights.from_torch(seeded(kind, H)))
    return layer(x.astype(float), lengths=lengths)[0], layer.backward(dy.astype(float))


def error(found, expected):
    """Largest difference, relative to the largest entry of each array."""
    found = [np.asarray(f.detach() if torch.is_tensor(f) else f) for f in found]
    return float(
        max(
            np.abs(f - e).max() / np.abs(e).max()
            for f, e in zip(found, expected, strict=True)
        )
    )


def case(kind, size, seconds, ragged=False):
    """Measure all contestants at one size; returns a row of the table."""
    T, B, H = size
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, B, T, H), dtype=np.float32)
    lengths = rng.integers(T // 8, T + 1, B) if ragged else None
    tensors = torch.tensor(x, requires_grad=True), torch.tensor(dy)
    runs = contestants(kind, H, lengths)

    def bound(k):
        return {
            name: (lambda f=pair[k], a=(x, dy) if name == "numpy" else tensors: f(*a))
            for name, pair in runs.items()
        }

    forward, both = bound(0), bound(1)
    row = {"part": "ragged" if ragged else "full", "layer": kind, "T": T, "B": B}
    row |= {"H": H, "dtype": "float32"}
    if ragged:
        row["filled"] = float(lengths.mean() / T)
    expected = exact(kind, H, x, dy, lengths)
    row["error"] = {k: error(f(), expected) for k, f in both.items() if k != "keras"}
    for key, functions in (("forward_ms", forward), ("both_ms", both)):
        times = in_turn(functions, seconds)
        row[key] = {k: [1e3 * v for v in t] for k, t in times.items()}
    return row


def ratios(rows, ours, theirs, part):
    """Median time of one contestant over that of another, row by row."""
    return [r[part][ours][0] / r[part][theirs][0] for r in rows]


def summary(rows):
    """Geometric means over the GRID: of numpy and the torch engine against torch.nn."""
    means = {}
    for kind in KINDS:
        full = [
            r
            for r in rows
            if (r["part"], r["layer"]) == ("full", kind)
            and (r["T"], r["B"], r["H"]) in GRID
        ]
        ragged = [r for r in rows if (r["part"], r["layer"]) == ("ragged", kind)]
        if not full:
            continue
        means[kind] = {
            f"{part}, {name} / torch.nn": geometric_mean(
                ratios(full, name, "torch.nn", f"{part}_ms")
            )
            for part in ("forward", "both")
            for name in full[0][f"{part}_ms"]
            if name != "torch.nn"
        }
        if ragged:
            means[kind]["both, packed / torch auto"] = geometric_mean(
                ratios(ragged, "torch.nn, packed", "torch auto", "both_ms")
            )
    return means


def show(row):
    """One line a part: milliseconds, median and half the interquartile range."""
    print(
        f"{row['part']:6} {row['layer']:4} T={row['T']:<4} B={row['B']:<3} "
        f"H={row['H']:<4}",
        *(
            f"| {part[:-3]:7} "
            + "  ".join(f"{k} {t[0]:.2f} ± {t[1]:.2f}" for k, t in row[part].items())
            for part in ("forward_ms", "both_ms")
        ),
        sep="\n    ",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--layers", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--no-save", action="store_true", help="print only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for kind in args.layers:
        for size in GRID + SHORT:
            rows.append(case(kind, size, args.seconds))
            show(rows[-1])
        for size in RAGGED:
            rows.append(case(kind, size, args.seconds, ragged=True))
            show(rows[-1])
    means = summary(rows)
    for kind, values in means.items():
        print(f"{kind}: geometric means")
        for name, value in values.items():
            print(f"    {name:32} {value:.2f}")
    if not args.no_save:
        RESULTS.parent.mkdir(exist_ok=True)
        where = machine()
        if importlib.util.find_spec("keras"):
            import keras

            where["keras"] = keras.__version__
        result = {
            "when": time.strftime("%Y-%m-%d"),
            "machine": where,
            "geometric_means": means,
            "rows": rows,
        }
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
