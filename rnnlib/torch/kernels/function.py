"""What autograd needs around the loops: the products before and after them."""

import torch
import triton

from rnnlib.torch.kernels import cells

ROWS = 16  # rows of the batch in a program: the least that a tensor core takes


def shape(H):
    """What a kernel is compiled for: sizes of its tile, threads, loads in flight.

    With 4 warps of 32 threads the largest kernels need more registers than there are
    and spill; with 3 stages the LSTM's backward loop needs more shared memory than an
    H100 has. `rnnlib.torch.kernels.offline` shows both.
    """
    HP = max(16, triton.next_power_of_2(H))
    return {
        "HP": HP,
        "ROWS": ROWS,
        "num_warps": 4 if HP < 64 else 8,
        "num_stages": 2,
    }


def fused(kind, x, W_xh, b_h, W_hh, b_hn, state, lengths, options):
    """Run a layer in one launch.

    Parameters
    ----------
    kind : {"RNN", "LSTM", "GRU"}
    x : tensor of shape (B, T, I)
    W_xh, b_h, W_hh : tensors
        The layer's parameters, in float32.
    b_hn : tensor or None
        Of a GRU with ``reset_after``.
    state : tuple of tensors of shape (B, H)
    lengths : int tensor of shape (B,) or None
    options : dict
        ``PRECISION``, and ``ACT`` of an RNN.

    Returns
    -------
    y : tensor of shape (B, T, H)
    state : tuple of tensors of shape (B, H)
    """
    B, T, _ = x.shape
    if lengths is None:
        lengths = torch.full((B,), T, dtype=torch.int32, device=x.device)
    lengths = lengths.to(device=x.device, dtype=torch.int32)
    h0, c0 = (*(s.float() for s in state), None)[:2]
    x = x.transpose(0, 1).float()
    # Triton launches on the current device; autocast would narrow the gates as well.
    with torch.cuda.device_of(x), torch.autocast(x.device.type, enabled=False):
        y, *after = _Fused.apply(
            x, W_xh, b_h, W_hh, b_hn, h0, c0, lengths, kind, options
        )
    return y.transpose(0, 1), tuple(after[: len(state)])


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W_xh, b_h, W_hh, b_hn, h0, c0, lengths, kind, options):
        T, B, I = x.shape  # noqa: E741
        H = W_hh.shape[0]
        x, W_hh = x.contiguous(), W_hh.contiguous()
        gates = torch.addmm(b_h, x.view(T * B, I), W_xh).view(T, B, -1)
        hs = x.new_empty(T + 1, B, H)
        hs[0] = h0
        last = torch.empty_like(hs[0])
        ctx.kind, ctx.done = kind, False
        if options["PRECISION"] == "bf16" and triton.knobs.runtime.interpret:
            options = options | {"PRECISION": "bf16 by hand"}
        options = options | shape(H)
        ctx.options, grid = options, (triton.cdiv(B, ROWS),)
        sizes = lengths, T, B, H
        extra, outputs = (), (last,)
        if kind == "LSTM":
            cs, last_c = torch.empty_like(hs), torch.empty_like(last)
            cs[0] = c0
            cells.lstm_forward[grid](
                gates, W_hh, hs, cs, last, last_c, *sizes, **options
            )
            extra, outputs = (cs,), (last, last_c)
        elif kind == "GRU":
            inner = x.new_empty(T, B, H)
            after = {"AFTER": b_hn is not None}
            ctx.options = options | after
            bias = W_hh if b_hn is None else b_hn  # without a bias it is not read
            cells.gru_forward[grid](
                gates, W_hh, bias, inner, hs, last, *sizes, **ctx.options
            )
            extra = (inner,)
        else:
            cells.rnn_forward[grid](gates, W_hh, hs, last, *sizes, **options)
        ctx.save_for_backward(x, W_xh, W_hh, gates, hs, lengths, *extra)
        return hs[1:], *outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dhs, *dlast):
        if ctx.done:
            raise RuntimeError(
                "impl='fused': expected one backward pass for each forward pass; the "
                "first one has put gradients in the place of the gates"
            )
        ctx.done = True
        with torch.autocast(dhs.device.type, enabled=False):
            return _backward(ctx, dhs, dlast)


def _backward(ctx, dhs, dlast):
    x, W_xh, W_hh, gates, hs, lengths, *extra = ctx.saved_tensors
    T, B, I = x.shape  # noqa: E741
    H = W_hh.shape[0]
    grid, sizes = (triton.cdiv(B, ROWS),), (lengths, T, B, H)
    dhs = dhs.contiguous()
    dlast = [d.contiguous() for d in dlast]
    dh0, dc0 = torch.empty_like(hs[0]), None
    flat = gates.view(T * B, -1)
    past = hs[:-1].view(T * B, H)
    db_hn = None
    if ctx.kind == "LSTM":
        dc0 = torch.empty_like(dh0)
        cells.lstm_backward[grid](
            gates, W_hh, *extra, dhs, *dlast, dh0, dc0, *sizes, **ctx.options
        )
        dW_hh = past.T @ flat
    elif ctx.kind == "GRU":
        (inner,) = extra
        cells.gru_backward[grid](
            gates, W_hh, inner, hs, dhs, *dlast, dh0, *sizes, **ctx.options
        )
        q = inner.view(T * B, H)
        after = ctx.options["AFTER"]
        dW_n = past.T @ q if after else q.T @ flat[:, 2 * H :]
        dW_hh = torch.cat([past.T @ flat[:, : 2 * H], dW_n], dim=1)
        db_hn = q.sum(dim=0) if after else None
    else:
        cells.rnn_backward[grid](
            gates, W_hh, hs, dhs, *dlast, dh0, *sizes, **ctx.options
        )
        dW_hh = past.T @ flat
    dx = (flat @ W_xh.T).view(T, B, I)
    dW_xh, db_h = x.view(T * B, I).T @ flat, flat.sum(dim=0)
    return dx, dW_xh, db_h, dW_hh, db_hn, dh0, dc0, None, None, None
