"""Kernels of our own: for GPUs in Triton, a whole recurrence in one launch.

A small recurrent step is over before the GPU has heard of the next one: launching its
few kernels takes longer than running them. Here one program takes 16 rows of the batch
through all of their steps. It keeps the state in registers and ``W_hh`` on the chip,
and stops at its own longest row, so a ragged batch costs what it contains.

`cells` holds the loops, `function` what autograd needs around them, `scan` the linear
recurrences, whose steps can be joined in a tree. None of the three is imported before
``impl="fused"`` is asked for: Triton is an optional dependency. `cpu` needs none; it
runs the loops of the NumPy engine.
"""

import contextlib

import torch

PRECISIONS = ("ieee", "tf32x3", "tf32", "bf16")
LARGEST = {"ieee": 64, "tf32x3": 64, "tf32": 64, "bf16": 128}  # H whose W_hh fits

_chosen = None


@contextlib.contextmanager
def precision(name):
    """Choose how the products ``h W_hh`` of the fused kernels are computed.

    Parameters
    ----------
    name : {"ieee", "tf32x3", "tf32", "bf16"}
        Float32; three TF32 products that together are nearly float32; one TF32 product
        (10 bits of mantissa); bfloat16 (7 bits). Sums, gates and states are float32 in
        all of them. Default outside this context: bf16 under ``torch.autocast``, else
        ieee or tf32 as `torch.set_float32_matmul_precision` says.

    Raises
    ------
    ValueError
        If there is no such precision.
    """
    global _chosen
    if name not in PRECISIONS:
        raise ValueError(f"precision: expected one of {PRECISIONS}, got {name!r}")
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


def precision_now(device):
    """The precision that a kernel called now will use."""
    if _chosen is not None:
        return _chosen
    if torch.is_autocast_enabled(device.type):
        return "bf16"
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def gap(x, hidden_size=1):
    """Why there is no fused kernel for an input and a layer's size, or None."""
    try:
        import triton
    except ImportError:
        return "Triton is not installed"
    if x.device.type != "cuda" and not triton.knobs.runtime.interpret:
        return f"Triton needs a GPU, x is on the device {str(x.device)!r}"
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f"the kernels compute in float32, x is {str(x.dtype)[6:]}"
    most = LARGEST[precision_now(x.device)]
    if hidden_size > most:
        now = precision_now(x.device)
        return f"W_hh stays on the chip up to H={most} in {now}, here H={hidden_size}"
    return None
