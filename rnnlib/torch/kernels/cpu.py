"""On a CPU: the loops of the NumPy engine under autograd.

torch has a fused CPU kernel for the LSTM only; its RNN and GRU, and everything with
lengths, take a handful of operations a step, each recorded for the backward pass. Ours
take fewer, in memory that is written once, and rows that are over cost nothing. Tensors
and arrays share their memory, so nothing is copied on the way.
"""

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


def gap(x, parameters):
    """Why the NumPy loops cannot compute a layer, or None if they can."""
    if x.device.type != "cpu":
        return f"NumPy computes on the CPU, x is on the device {str(x.device)!r}"
    if torch.is_autocast_enabled("cpu"):
        return "NumPy has no half precision, and torch.autocast is on"
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
    def forward(ctx, kind, lengths, options, names, parts, x, *rest):
        arrays = [t.detach().numpy() for t in (x, *rest)]
        x, state, values = arrays[0], arrays[1 : 1 + parts], arrays[1 + parts :]
        B, T, I = x.shape  # noqa: E741
        lengths = None if lengths is None else lengths.numpy()
        tm = TimeMajor(B, T, lengths, reverse=False)
        *sequences, cache = FUNCTIONS[kind][0](
            tm(x, out=fresh("x", (T, B, I), x.dtype)),
            *map(tm.rows, state),
            **dict(zip(names, values, strict=True)),
            **options,
            active=tm.active,
        )
        ctx.kind, ctx.names, ctx.tm, ctx.cache = kind, names, tm, cache
        y = tm.undo(sequences[0][1:])
        return tuple(map(torch.from_numpy, (y, *map(tm.last, sequences))))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy, *dstate):
        if ctx.cache is None:
            raise RuntimeError(
                "impl='numpy': expected one backward pass for each forward pass; the "
                "first one has put gradients in the place of the gates"
            )
        cache, ctx.cache = ctx.cache, None
        tm, dy = ctx.tm, dy.numpy()
        B, T, H = dy.shape
        dhs = tm(dy, out=fresh("dhs", (T, B, H), dy.dtype))
        dstate = [tm.rows(d.numpy()) for d in dstate]
        dx, *before, grads = FUNCTIONS[ctx.kind][1](dhs, *dstate, cache)
        found = [tm.undo(dx), *map(tm.undo_rows, before)]
        found += [grads[name] for name in ctx.names]
        return None, None, None, None, None, *map(torch.from_numpy, found)
