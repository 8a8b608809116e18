"""MinGRU, MinLSTM and the state-space layer for torch; the scan is `rnnlib.numpy.scan`.

``impl="loop"`` runs one step after another under autograd. ``impl="chunked"`` runs
stretches of steps side by side, with the gradient written out: a scan from the end.
``impl="fused"`` is the same in one launch on a GPU, `rnnlib.torch.kernels.scan`.
"""

import torch

from rnnlib import specs
from rnnlib.torch import kernels
from rnnlib.torch.recurrent import Recurrent


def scan(a, b, h0, way=None):
    """Run ``h_t = a_t h_{t-1} + b_t`` over all steps.

    Parameters
    ----------
    a, b : tensors of shape (B, T, …)
        Factor and addend of each step.
    h0 : tensor of shape (B, …)
    way : int or "fused", optional
        Steps in a stretch, as in `rnnlib.numpy.scan.scan`, or our kernel; without it
        one step after another.

    Returns
    -------
    tensor of shape (B, T, …)
        The state after each step.
    """
    if way is not None:
        return _Scan.apply(a, b, h0, way)
    h, hs = h0, []
    # unbind, because the gradient of a[:, t] would be as large as a, at every step
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t  # eq-scan-step
        hs.append(h)
    return torch.stack(hs, dim=1)


def _chunked(a, b, h0, chunk):
    """`scan` without autograd, about chunk + T / chunk operations long."""
    B, T, *rest = a.shape
    C, K = min(chunk, T), -(-T // min(chunk, T))
    factor = a.new_ones(B, K * C, *rest)
    local = a.new_zeros(B, K * C, *rest)
    factor[:, :T], local[:, :T] = a, b
    factor, local = factor.view(B, K, C, *rest), local.view(B, K, C, *rest)
    for c in range(1, C):  # all stretches at once, each from zero
        local[:, :, c] += factor[:, :, c] * local[:, :, c - 1]
        factor[:, :, c] *= factor[:, :, c - 1]  # product of the a up to here
    h = h0
    for k in range(K):  # join them
        local[:, k] += factor[:, k] * h[:, None]  # eq-scan-stretch
        h = local[:, k, -1]
    return local.view(B, K * C, *rest)[:, :T]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, h0, way):
        if way == "fused":
            from rnnlib.torch.kernels import scan as kernel  # needs Triton

            hs = kernel.scan(a, b, h0)
        else:
            hs = _chunked(a, b, h0, way)
        ctx.save_for_backward(a, h0, hs)
        ctx.way = way
        return hs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dhs):
        a, h0, hs = ctx.saved_tensors
        zero = torch.zeros_like(h0)
        if ctx.way == "fused":
            from rnnlib.torch.kernels import scan as kernel

            db = kernel.scan(a, dhs, zero, back=True)  # eq-scan-bptt
        else:
            later = torch.zeros_like(a)  # a of the next step, from the end
            later[:, 1:] = a.flip(1)[:, :-1]
            db = _chunked(later, dhs.flip(1), zero, ctx.way).flip(1)  # eq-scan-bptt
        past = torch.cat([h0[:, None], hs[:, :-1]], dim=1)
        return db * past, db, a[:, 0] * db[:, 0], None


def softplus(x):
    """``log(1 + exp(x))``; torch's own is not exact from 20 on."""
    return torch.logaddexp(x, torch.zeros_like(x))


class Scan(Recurrent):
    """A layer computed by a scan; it says what the scan's terms are."""

    impls = ("auto", "loop", "chunked", "fused")

    def _choose(self, x):
        if self.impl == "fused" and (gap := kernels.gap(x)):
            raise ValueError(f"{self}: impl='fused' is not possible: {gap}")
        return "chunked" if self.impl == "auto" else self.impl

    def _loop(self, x, state, lengths):
        return self._scan(x, state, lengths, None)

    def _chunked(self, x, state, lengths):
        return self._scan(x, state, lengths, self._stretch(x.shape[1]))

    def _fused(self, x, state, lengths):
        return self._scan(x, state, lengths, "fused")

    def _scan(self, x, state, lengths, way):
        B, T, _ = x.shape
        valid = None
        if lengths is not None:
            valid = (torch.arange(T) < lengths[:, None]).to(x.device)  # (B, T)
            x = torch.where(valid[..., None], x, 0)
        a, b, read = self._terms(x)
        if valid is not None:
            over = ~valid.view(B, T, *(1,) * (a.ndim - 2))
            a, b = a.masked_fill(over, 0), b.masked_fill(over, 0)
        hs = scan(a, b, state[0].view_as(a[:, 0]), way)
        y = read(hs)
        last = hs[:, -1]
        if valid is not None:
            y = y.masked_fill(~valid[..., None], 0)
            row = torch.arange(B, device=x.device)
            last = hs[row, lengths.to(x.device) - 1]
        return y, (last.reshape(B, -1),)


class MinGRU(specs.MinGRUSpec, Scan):
    __doc__ = specs.MinGRUSpec.__doc__

    def _terms(self, x):
        z, n = (x @ self.W_xh + self.b_h).chunk(2, dim=-1)
        z = torch.sigmoid(z)  # eq-mingru-gate
        return z, (1 - z) * n, lambda hs: hs


class MinLSTM(specs.MinLSTMSpec, Scan):
    __doc__ = specs.MinLSTMSpec.__doc__

    def _terms(self, x):
        i, f, g = (x @ self.W_xh + self.b_h).chunk(3, dim=-1)
        share = torch.sigmoid(softplus(-i) - softplus(-f))  # eq-minlstm-share
        return share, (1 - share) * g, lambda hs: hs


class StateSpace(specs.StateSpaceSpec, Scan):
    __doc__ = specs.StateSpaceSpec.__doc__

    def _terms(self, x):
        u = x @ self.W_xh + self.b_h  # (B, T, H)
        dt = softplus(u @ self.W_dt + self.b_dt)  # eq-ssm-step-size
        a = torch.exp(-dt[..., None] * self.A_log.exp())  # eq-ssm-decay  (B, T, H, N)
        b = (dt * u)[..., None] * (u @ self.W_B)[:, :, None]  # eq-ssm-write
        Cs = (u @ self.W_C)[:, :, None]
        return a, b, lambda hs: (hs * Cs).sum(dim=-1) + self.D * u  # eq-ssm-read
