"""rnnlib.numpy against torch.nn on one CPU thread, in turn, in one run.

    python -m benchmarks.cpu            # prints the table, writes results/cpu.json

Both sides are called as a user calls them: batch-major input, forward, then the
gradients of the input and of all parameters. The error is the largest difference from
the same layer in float64, relative to the largest entry.
"""

import os

# Before NumPy and torch start their thread pools. With the last one, where it is set,
# OpenBLAS computes as on some older CPU: NumPy may take twice as long, torch does not.
for pool in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{pool}_NUM_THREADS"] = "1"
os.environ.pop("OPENBLAS_CORETYPE", None)

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import geometric_mean, in_turn, machine
from rnnlib import numpy as rl
from rnnlib import weights

GRID = (  # T, B, I = H
    (64, 16, 64),
    (64, 32, 128),
    (128, 32, 128),
    (35, 20, 200),
    (100, 64, 256),
    (512, 16, 64),
)
RESULTS = Path(__file__).parent / "results" / "cpu.json"


def case(kind, T, B, H, seconds):
    """Measure one layer at one size; returns a row of the table."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((B, T, H), dtype=np.float32)
    dy = rng.standard_normal((B, T, H), dtype=np.float32)
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(H, H, batch_first=True)
    state = weights.from_torch(theirs)
    ours = getattr(rl, kind)(H, H)
    ours.load_state_dict(state)
    xt, dyt = torch.tensor(x, requires_grad=True), torch.tensor(dy)

    def torch_forward():
        with torch.no_grad():
            return theirs(xt)

    def torch_both():
        theirs.zero_grad(set_to_none=True)
        xt.grad = None
        theirs(xt)[0].backward(dyt)

    def numpy_both():
        ours(x)
        return ours.backward(dy)

    exact = getattr(rl, kind)(H, H, dtype="float64")
    exact.load_state_dict(state)
    y64, _ = exact(x.astype(float))
    dx64 = exact.backward(dy.astype(float))
    y, _ = ours(x)
    dx = ours.backward(dy)
    errors = [
        np.abs(a - b).max() / np.abs(b).max()
        for a, b in [(y, y64), (dx, dx64)]
        + [(ours.grads[k], exact.grads[k]) for k in ours.grads]
    ]
    forward = in_turn({"numpy": lambda: ours(x), "torch": torch_forward}, seconds)
    both = in_turn({"numpy": numpy_both, "torch": torch_both}, seconds)
    return {
        "layer": kind,
        "T": T,
        "B": B,
        "H": H,
        "dtype": "float32",
        "forward_ms": {k: [1e3 * v for v in t] for k, t in forward.items()},
        "both_ms": {k: [1e3 * v for v in t] for k, t in both.items()},
        "forward_ratio": forward["numpy"][0] / forward["torch"][0],
        "both_ratio": both["numpy"][0] / both["torch"][0],
        "error": float(max(errors)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--layers", nargs="+", default=["RNN", "GRU", "LSTM"])
    parser.add_argument("--no-save", action="store_true", help="print only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, means = [], {}
    print("ms: median of rounds in turn; ratio: numpy / torch, below 1 we are faster")
    print(
        f"{'layer':5} {'T':>4} {'B':>3} {'I=H':>4} | forward {'numpy':>8} {'torch':>8} "
        f"{'ratio':>5} | both {'numpy':>8} {'torch':>8} {'ratio':>5} | error"
    )
    for kind in args.layers:
        for T, B, H in GRID:
            row = case(kind, T, B, H, args.seconds)
            rows.append(row)
            f, b = row["forward_ms"], row["both_ms"]
            print(
                f"{kind:5} {T:4} {B:3} {H:4} |         {f['numpy'][0]:8.2f} "
                f"{f['torch'][0]:8.2f} {row['forward_ratio']:5.2f} |      "
                f"{b['numpy'][0]:8.2f} {b['torch'][0]:8.2f} {row['both_ratio']:5.2f} | "
                f"{row['error']:.0e}",
                flush=True,
            )
        means[kind] = {
            part: geometric_mean([r[part] for r in rows if r["layer"] == kind])
            for part in ("forward_ratio", "both_ratio")
        }
        print(
            f"{kind:5} geometric mean of the ratios: "
            f"forward {means[kind]['forward_ratio']:.2f}, "
            f"forward and backward {means[kind]['both_ratio']:.2f}",
            flush=True,
        )
    if not args.no_save:
        RESULTS.parent.mkdir(exist_ok=True)
        result = {
            "when": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "geometric_means": means,
            "rows": rows,
        }
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
