"""On a CPU: the loops of the NumPy engine under autograd.

torch has a fused CPU kernel for the LSTM only; its RNN and GRU take a handful of
operations a step, each recorded for the backward pass. Ours take fewer, in memory that
is written once, and rows that are over cost nothing. Tensors and arrays share their
memory, so nothing is copied on the way.
"""

import numpy as np
import torch

from rnnlib.numpy.gru import gru_backward, gru_forward
from rnnlib.numpy.lstm import lstm_backward, lstm_forward
from rnnlib.numpy.recurrent import TimeMajor
from rnnlib.numpy.rnn import rnn_backward, rnn_forward
from rnnlib.numpy.workspace import fresh

FUNCTIONS = {
    "RNN": (rnn_forward, rnn_backward),
    "LSTM": (lstm_forward, lstm_backward),
    "GRU": (gru_forward, gru_backward),
}


# From which (T, H) on the NumPy loops are faster than torch's kernels, on one thread:
# benchmarks/results/cpu.json. torch's LSTM is one fused call, which they never beat.
NUMPY_FROM = {
    ("RNN", "training"): (4, 1),
    ("RNN", "inference"): (4, 1),
    ("GRU", "training"): (16, 1),
    ("GRU", "inference"): (32, 128),
}


def fastest(kind, T, H, native):
    """The impl that was measured to be fastest, where all of them are possible.

    Parameters
    ----------
    kind : {"RNN", "LSTM", "GRU"}
    T, H : int
    native : bool
        Whether torch has a kernel for the layer.

    Returns
    -------
    {"loop", "native", "numpy"}
    """
    if T == 1:
        return "loop"  # the others rearrange all weights first
    if not native:
        return "numpy"
    work = "training" if torch.is_grad_enabled() else "inference"
    steps, units = NUMPY_FROM.get((kind, work), (T + 1, H))
    return "numpy" if T >= steps and H >= units else "native"


def gap(x, parameters):
    """Why the NumPy loops cannot compute a layer, or None if they can."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return "torch records operations, and NumPy's are not torch's"
    if torch._C._are_functorch_transforms_active():
        return "torch.func transforms operations, and NumPy's are not torch's"
    if x.device.type != "cpu":
        return f"NumPy computes on the CPU, x is on the device {str(x.device)!r}"
    if torch.is_autocast_enabled("cpu"):
        return "NumPy has no half precision, and torch.autocast is on"
    if x.dtype not in (torch.float32, torch.float64):
        return f"NumPy computes in float32 and float64, x is {str(x.dtype)[6:]}"
    if {p.dtype for p in parameters} != {x.dtype}:
        return "the parameters are not of the dtype of x"
    return None


def run(kind, x, state, lengths, params, options):
    """Run a layer over all steps, forwards.

    Parameters
    ----------
    kind : {"RNN", "LSTM", "GRU"}
    x : tensor of shape (B, T, I)
    state : tuple of tensors of shape (B, H)
    lengths : int tensor of shape (B,), or None
    params : dict of str to tensor
    options : dict
        ``activation`` of an RNN.

    Returns
    -------
    y : tensor of shape (B, T, H)
    state : tuple of tensors of shape (B, H)
    """
    y, *after = _Run.apply(kind, lengths, options, tuple(params), len(state), x, *state,
                           *params.values())  # fmt: skip
    return y, tuple(after)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kind, lengths, options, names, parts, *tensors):
        ctx.job = kind, lengths, options, names, parts
        ctx.save_for_backward(*tensors)
        sequences, ctx.tm, ctx.cache = _forward(*ctx.job, tensors)
        y = ctx.tm.undo(sequences[0][1:])
        return tuple(map(torch.from_numpy, (y, *map(ctx.tm.last, sequences))))

    @staticmethod
    def backward(ctx, dy, *dstate):
        kind, _, _, names, _ = ctx.job
        if torch.is_grad_enabled():  # what NumPy does would pass for a constant
            raise RuntimeError(
                f"{kind}: impl='numpy' knows the first derivative only, expected "
                "create_graph=False, got True; impl='loop' knows all"
            )
        if ctx.cache is None:  # gradients lie in the place of the gates
            _, _, ctx.cache = _forward(*ctx.job, ctx.saved_tensors)
        cache, ctx.cache = ctx.cache, None
        tm, dy = ctx.tm, dy.numpy()
        B, T, H = dy.shape
        dhs = tm(dy, out=fresh("dhs", (T, B, H), dy.dtype))
        dstate = [tm.rows(d.numpy()) for d in dstate]
        with np.errstate(all="ignore"):  # as everywhere in torch
            dx, *before, grads = FUNCTIONS[kind][1](dhs, *dstate, cache)
        found = [tm.undo(dx), *map(tm.undo_rows, before), *map(grads.get, names)]
        return None, None, None, None, None, *map(torch.from_numpy, found)


def _forward(kind, lengths, options, names, parts, tensors):
    """The states of all steps, the way to time-major arrays, what backward needs."""
    x, *rest = (t.detach().numpy() for t in tensors)
    B, T, I = x.shape  # noqa: E741
    tm = TimeMajor(B, T, None if lengths is None else lengths.numpy(), reverse=False)
    with np.errstate(all="ignore"):  # as everywhere in torch
        *sequences, cache = FUNCTIONS[kind][0](
            tm(x, out=fresh("x", (T, B, I), x.dtype)),
            *map(tm.rows, rest[:parts]),
            **dict(zip(names, rest[parts:], strict=True)),
            **options,
            active=tm.active,
        )
    return sequences, tm, cache
