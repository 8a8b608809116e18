"""Kernels of our own: for GPUs in Triton, a whole recurrence in one launch.

A small recurrent step is over before the GPU has heard of the next one: launching its
few kernels takes longer than running them. Here one program takes 16 rows of the batch
through all of their steps. It keeps the state in registers and ``W_hh`` on the chip,
and stops at its own longest row, so a ragged batch costs what it contains.

`cells` holds the loops, `function` what autograd needs around them, `scan` the linear
recurrences, whose steps can be joined in a tree; `offline` compiles the loops for a GPU
that is not there and says what they take of it. None of the four is imported before
``impl="fused"`` is asked for: Triton is an optional dependency. `cpu` needs none; it
runs the loops of the NumPy engine.

``impl="auto"`` never takes the GPU kernels: whether they beat cuDNN is not measured.
`benchmarks.gpu` measures it, and proposes up to which H they should be taken.
"""

import contextlib

import torch

PRECISIONS = ("ieee", "tf32x3", "tf32", "bf16")
# H whose W_hh stays in the 227 KiB of shared memory that a program has on an H100.
LARGEST = {"ieee": 64, "tf32x3": 64, "tf32": 64, "bf16": 128}

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


def shared_memory(hidden_size, precision):
    """Bytes of shared memory that the largest kernel, the LSTM's, takes at the most.

    Four blocks of ``W_hh``, H filled up to a power of two, in the format of the product
    (tf32x3 keeps two halves of each number); and twelve arrays of 16 rows in float32 on
    their way in and out, which is what Triton 3.6 and 3.9 were seen to need.
    """
    HP = max(16, 1 << (hidden_size - 1).bit_length())
    size = {"ieee": 4, "tf32x3": 8, "tf32": 4, "bf16": 2}[precision]
    return 4 * HP * HP * size + 12 * 16 * HP * 4  # eq-gpu-on-chip


def gap(x, hidden_size=1):
    """Why there is no fused kernel for an input and a layer's size, or None."""
    try:
        import triton
    except ImportError:
        return "Triton is not installed"
    if x.device.type != "cuda" and not triton.knobs.runtime.interpret:
        return f"Triton needs a GPU, x is on the device {str(x.device)!r}"
    narrow = torch.is_autocast_enabled(x.device.type) and x.is_floating_point()
    if x.dtype != torch.float32 and (x.dtype == torch.float64 or not narrow):
        return f"the kernels compute in float32, x is {str(x.dtype)[6:]}"
    now = precision_now(x.device)
    most = LARGEST[now]
    if hidden_size > most:
        return f"W_hh stays on the chip up to H={most} in {now}, here H={hidden_size}"
    if x.device.type == "cuda":
        chip = torch.cuda.get_device_properties(x.device)
        need, has = shared_memory(hidden_size, now), chip.shared_memory_per_block_optin
        if need > has:
            return (
                f"H={hidden_size} in {now} may take {need} bytes of shared memory, "
                f"{chip.name} has {has}"
            )
    return None
