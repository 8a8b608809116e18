"""Layers that are computed by a scan against torch's GRU, which goes step by step.

    python -m benchmarks.scan     # CPU, one thread: writes results/scan.json
                                  # and, where CUDA is, results/scan_gpu.json

Both engines, one step after another (loop) and in stretches (chunked), and our own GRU;
on a GPU our kernel (fused), torch's stretches and cuDNN. As a user calls them: batch-
major input, its matrix product included, forward, then the gradients of the input and
of all parameters. All ways take turns. The error is the largest difference of the
outputs and of the input's gradient from the same layer in float64, relative to the
largest entry.
"""

import os

# Before NumPy and torch start their thread pools; see benchmarks.cpu.
for pool in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{pool}_NUM_THREADS"] = "1"
os.environ.pop("OPENBLAS_CORETYPE", None)

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import rnnlib.numpy
import rnnlib.torch
from benchmarks.timing import in_turn, machine, stopwatch
from rnnlib import weights

H = 64  # units, and inputs
STATES = 16  # of each unit of the state-space layer
KINDS = ("MinGRU", "MinLSTM", "StateSpace")
CPU_WAYS = tuple((e, i) for e in ("numpy", "torch") for i in ("loop", "chunked"))
GPU_WAYS = (("torch", "chunked"), ("torch", "fused"))
CPU_SIZES = ((1, 1024), (1, 4096), (1, 16384), (1, 65536), (8, 1024), (8, 4096))
GPU_SIZES = tuple((B, T) for B in (1, 8, 64) for T in (1024, 4096, 16384, 65536))
CPU_MOST, GPU_MOST = 2**24, 2**28  # numbers in one array of states


def inputs(B, T):
    """Input and the gradient that arrives at the output, (B, T, H) each."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, B, T, H), dtype=np.float32)


def exact(kind, x, dy, device):
    """Output and input gradient of the seeded layer in float64."""
    if kind == "GRU":
        layer = seeded_gru().double()
    else:
        layer = getattr(rnnlib.torch, kind)(H, H, seed=0, dtype="float64")
    x, dy = (torch.from_numpy(v).double().to(device) for v in (x, dy))
    return torch_both(layer.to(device), x, dy)


def seeded_gru():
    """torch's own GRU, always with the same weights."""
    torch.manual_seed(0)
    return torch.nn.GRU(H, H, batch_first=True)


def torch_both(layer, x, dy):
    """Output and input gradient as arrays; the parameters get theirs."""
    x = x.detach().requires_grad_()
    layer.zero_grad(set_to_none=True)
    y = layer(x)[0]
    y.backward(dy)
    return y.detach().cpu().numpy(), x.grad.cpu().numpy()


def functions(kind, way, x, dy, device):
    """Forward, forward and backward (one call each), and what the latter gives."""
    engine, impl = way
    if engine == "numpy":
        if kind == "GRU":
            layer = rnnlib.numpy.GRU(H, H)
            layer.load_state_dict(weights.from_torch(seeded_gru()))
        else:
            layer = getattr(rnnlib.numpy, kind)(H, H, impl=impl, seed=0)

        def both():
            y, _ = layer(x)
            return y, layer.backward(dy)

        return lambda: layer(x), both, both
    x, dy = (torch.from_numpy(v).to(device) for v in (x, dy))
    if kind == "GRU":
        layer = seeded_gru().to(device)
    else:
        layer = getattr(rnnlib.torch, kind)(H, H, impl=impl, seed=0).to(device)
    leaf = x.clone().requires_grad_()

    def forward():
        with torch.no_grad():
            return layer(x)

    def both():
        layer.zero_grad(set_to_none=True)
        leaf.grad = None
        layer(leaf)[0].backward(dy)

    return forward, both, lambda: torch_both(layer, x, dy)


def gpu_stopwatch(f):
    """Seconds that a call takes on the GPU's own clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    f()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def case(B, T, ways, most, device, watch, seconds):
    """All layers in all ways at one size: rows of the table."""
    x, dy = inputs(B, T)
    todo = {"GRU torch.nn": ("GRU", ("torch", "torch.nn"))}
    if device == "cpu":
        todo |= {"GRU numpy": ("GRU", ("numpy", "loop"))}
    for kind in KINDS:
        if B * T * H * (STATES if kind == "StateSpace" else 1) <= most:
            todo |= {f"{kind} {e} {i}": (kind, (e, i)) for e, i in ways}
    errors, forward, both, expected = {}, {}, {}, {}
    for name, (kind, way) in todo.items():
        forward[name], both[name], values = functions(kind, way, x, dy, device)
        if kind not in expected:
            expected = {kind: exact(kind, x, dy, device)}  # of one kind at a time
        errors[name] = max(
            float(np.abs(found - right).max() / np.abs(right).max())
            for found, right in zip(values(), expected[kind], strict=True)
        )
    del expected
    # The call for the errors was the first warm one.
    forward = in_turn(forward, seconds, least=3, warm=1, watch=watch)
    both = in_turn(both, seconds, least=3, warm=0, watch=watch)
    return [
        {
            "layer": kind,
            "engine": engine,
            "impl": impl,
            "B": B,
            "T": T,
            "H": H,
            "dtype": "float32",
            "forward_ms": [1e3 * v for v in forward[name]],
            "both_ms": [1e3 * v for v in both[name]],
            "error": errors[name],
        }
        for name, (kind, (engine, impl)) in todo.items()
    ]


def table(sizes, ways, most, device, watch, seconds):
    """Rows of all sizes, printed as they come."""
    rows = []
    print("ms: median of rounds in turn and half the range between the quartiles")
    print(f"{'layer':22} {'B':>3} {'T':>6} {'forward':>17} {'both':>17}  error")
    for B, T in sizes:
        rows += case(B, T, ways, most, device, watch, seconds)
        for row in rows:
            if (row["B"], row["T"]) == (B, T):
                name = f"{row['layer']} {row['engine']} {row['impl']}"
                (f, f_spread), (b, b_spread) = row["forward_ms"], row["both_ms"]
                print(
                    f"{name:22} {B:3} {T:6} {f:9.2f} ±{f_spread:6.2f} "
                    f"{b:9.2f} ±{b_spread:6.2f}  {row['error']:.0e}",
                    flush=True,
                )
    return rows


def save(result, path):
    """Write a result beside the others."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="per measurement")
    parser.add_argument("--longest", type=int, default=65536, help="steps at most")
    parser.add_argument("--no-save", action="store_true", help="print only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = Path(__file__).parent / "results"
    where = {"when": time.strftime("%Y-%m-%d"), "machine": machine()}
    sizes = dict.fromkeys((B, min(T, args.longest)) for B, T in CPU_SIZES)
    rows = table(sizes, CPU_WAYS, CPU_MOST, "cpu", stopwatch, args.seconds)
    if not args.no_save:
        save(where | {"state_size": STATES, "rows": rows}, results / "scan.json")
    if not torch.cuda.is_available():
        return
    where |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    where |= {"cudnn": torch.backends.cudnn.version(), "measured": True}
    sizes = dict.fromkeys((B, min(T, args.longest)) for B, T in GPU_SIZES)
    rows = table(sizes, GPU_WAYS, GPU_MOST, "cuda", gpu_stopwatch, args.seconds)
    if not args.no_save:
        save(where | {"state_size": STATES, "rows": rows}, results / "scan_gpu.json")


if __name__ == "__main__":
    main()
