"""The loops over time, one Triton program for 16 rows of the batch.

All arrays are time-major and contiguous: gates (T, B, G·H), states (T + 1, B, H). The
forward loops read the input's share ``x W_xh + b`` from ``gates`` and put the gates in
its place; the backward loops put the gates' gradients there. The gradient of ``W_hh``
is not summed here: it is one product over all steps afterwards, in a fixed order.

``HP`` is H filled up to a power of two, ``ROWS`` the rows of a program. Columns past H
have zero weights, so whatever they hold reaches nothing.
"""

import triton
import triton.language as tl

# A kernel is compiled anew when an integer is 1, or divides by 16, and was not before.
# With H it pays: loads of 16 bytes. T and B change from batch to batch.
compiled = triton.jit(do_not_specialize=["T", "B"])


@triton.jit
def _narrow(x, PRECISION: tl.constexpr):
    """x as a product takes it; Triton's interpreter cannot multiply bfloat16."""
    if PRECISION == "bf16":
        y = x.to(tl.bfloat16)
    elif PRECISION == "bf16 by hand":
        y = x.to(tl.bfloat16).to(tl.float32)
    else:
        y = x
    return y


@triton.jit
def _dot(h, W, PRECISION: tl.constexpr):
    if PRECISION == "bf16" or PRECISION == "bf16 by hand":
        y = tl.dot(_narrow(h, PRECISION), W)
    else:
        y = tl.dot(h, W, input_precision=PRECISION)
    return y


@triton.jit
def _weights(W, gate, H, width, HP: tl.constexpr, PRECISION: tl.constexpr):
    """Block of W_hh (H, width) that belongs to a gate, (HP, HP)."""
    k = tl.arange(0, HP)[:, None]
    j = tl.arange(0, HP)[None, :]
    inside = (k < H) & (j < H)
    w = tl.load(W + k * width + gate * H + j, mask=inside, other=0.0)
    return _narrow(w, PRECISION)


@triton.jit
def _transposed(W, gate, H, width, HP: tl.constexpr, PRECISION: tl.constexpr):
    """The same block, transposed."""
    k = tl.arange(0, HP)[None, :]
    j = tl.arange(0, HP)[:, None]
    inside = (k < H) & (j < H)
    w = tl.load(W + k * width + gate * H + j, mask=inside, other=0.0)
    return _narrow(w, PRECISION)


@triton.jit
def _tanh(x):
    # (1 - e) / (1 + e) with e = exp(-2x) is inf / inf below -44.
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _act(x, ACT: tl.constexpr):
    if ACT == "tanh":
        y = _tanh(x)
    elif ACT == "sigmoid":
        y = tl.sigmoid(x)
    elif ACT == "relu":
        y = tl.maximum(x, 0.0)
    else:
        y = tl.maximum(x, 0.01 * x)
    return y


@triton.jit
def _slope(y, ACT: tl.constexpr):
    """Derivative of `_act` from its output."""
    if ACT == "tanh":
        slope = 1 - y * y
    elif ACT == "sigmoid":
        slope = y * (1 - y)
    elif ACT == "relu":
        slope = tl.where(y > 0, 1.0, 0.0)
    else:
        slope = tl.where(y > 0, 1.0, 0.01)
    return slope


@triton.jit
def _tile(lengths, B, H, HP: tl.constexpr, ROWS: tl.constexpr):
    """Rows, columns, what is inside, lengths, and the tile's longest length."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, HP)
    n = tl.load(lengths + rows, mask=rows < B, other=0)
    inside = (rows < B)[:, None] & (cols < H)[None, :]
    return rows[:, None], cols[None, :], inside, n[:, None], tl.max(n, axis=0)


@triton.jit
def _stride(B, H):
    """Numbers in a step of an array (T, B, H); a whole array may have over 2**31."""
    return tl.cast(B, tl.int64) * H


@triton.jit
def _wipe(at, inside, step, first, T, GATES: tl.constexpr, H):
    """Zeros in steps ``first`` to T - 1 of an array (T, B, GATES·H)."""
    for t in range(first, T):
        for g in tl.static_range(GATES):
            tl.store(at + t * step + g * H, 0.0, mask=inside)


# --------------------------------------------------------------------- plain RNN


@compiled
def rnn_forward(
    gates, W, hs, last, lengths, T, B, H,
    HP: tl.constexpr, ROWS: tl.constexpr, ACT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, cols, inside, n, longest = _tile(lengths, B, H, HP, ROWS)
    at = rows * H + cols
    step = _stride(B, H)
    W_h = _weights(W, 0, H, H, HP, PRECISION)
    h = tl.load(hs + at, mask=inside, other=0.0)
    a = tl.load(gates + at, mask=inside, other=0.0)
    for t in range(longest):
        ahead = inside & (t + 1 < n)
        following = tl.load(gates + (t + 1) * step + at, mask=ahead, other=0.0)
        new = _act(a + _dot(h, W_h, PRECISION), ACT)  # eq-rnn-state
        valid = t < n
        tl.store(hs + (t + 1) * step + at, tl.where(valid, new, 0.0), mask=inside)
        h = tl.where(valid, new, h)
        a = following
    _wipe(hs + step + at, inside, step, longest, T, 1, H)
    tl.store(last + at, h, mask=inside)


@compiled
def rnn_backward(
    gates, W, hs, dhs, dlast, dfirst, lengths, T, B, H,
    HP: tl.constexpr, ROWS: tl.constexpr, ACT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, cols, inside, n, longest = _tile(lengths, B, H, HP, ROWS)
    at = rows * H + cols
    step = _stride(B, H)
    W_h = _transposed(W, 0, H, H, HP, PRECISION)
    dh = tl.load(dlast + at, mask=inside, other=0.0)
    _wipe(gates + at, inside, step, longest, T, 1, H)
    for k in range(longest):
        t = longest - 1 - k
        valid = inside & (t < n)
        y = tl.load(hs + (t + 1) * step + at, mask=valid, other=0.0)
        dy = tl.load(dhs + t * step + at, mask=valid, other=0.0)
        da = tl.where(valid, (dh + dy) * _slope(y, ACT), 0.0)
        tl.store(gates + t * step + at, da, mask=inside)
        dh = tl.where(t < n, _dot(da, W_h, PRECISION), dh)
    tl.store(dfirst + at, dh, mask=inside)


# -------------------------------------------------------------------------- LSTM


@compiled
def lstm_forward(
    gates, W, hs, cs, last_h, last_c, lengths, T, B, H,
    HP: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, cols, inside, n, longest = _tile(lengths, B, H, HP, ROWS)
    at, wide = rows * H + cols, rows * 4 * H + cols
    step = _stride(B, H)
    W_i = _weights(W, 0, H, 4 * H, HP, PRECISION)
    W_f = _weights(W, 1, H, 4 * H, HP, PRECISION)
    W_g = _weights(W, 2, H, 4 * H, HP, PRECISION)
    W_o = _weights(W, 3, H, 4 * H, HP, PRECISION)
    h = tl.load(hs + at, mask=inside, other=0.0)
    c = tl.load(cs + at, mask=inside, other=0.0)
    ai = tl.load(gates + wide, mask=inside, other=0.0)
    af = tl.load(gates + wide + H, mask=inside, other=0.0)
    ag = tl.load(gates + wide + 2 * H, mask=inside, other=0.0)
    ao = tl.load(gates + wide + 3 * H, mask=inside, other=0.0)
    for t in range(longest):
        here = gates + t * step * 4 + wide
        there = here + step * 4
        ahead = inside & (t + 1 < n)  # asked for now, needed a step later
        bi = tl.load(there, mask=ahead, other=0.0)
        bf = tl.load(there + H, mask=ahead, other=0.0)
        bg = tl.load(there + 2 * H, mask=ahead, other=0.0)
        bo = tl.load(there + 3 * H, mask=ahead, other=0.0)
        i = tl.sigmoid(ai + _dot(h, W_i, PRECISION))
        f = tl.sigmoid(af + _dot(h, W_f, PRECISION))
        g = _tanh(ag + _dot(h, W_g, PRECISION))
        o = tl.sigmoid(ao + _dot(h, W_o, PRECISION))
        tl.store(here, i, mask=inside)
        tl.store(here + H, f, mask=inside)
        tl.store(here + 2 * H, g, mask=inside)
        tl.store(here + 3 * H, o, mask=inside)
        new_c = f * c + i * g
        new_h = o * _tanh(new_c)
        valid = t < n
        after = (t + 1) * step
        tl.store(hs + after + at, tl.where(valid, new_h, 0.0), mask=inside)
        tl.store(cs + after + at, tl.where(valid, new_c, 0.0), mask=inside)
        h = tl.where(valid, new_h, h)
        c = tl.where(valid, new_c, c)
        ai, af, ag, ao = bi, bf, bg, bo
    _wipe(hs + step + at, inside, step, longest, T, 1, H)
    tl.store(last_h + at, h, mask=inside)
    tl.store(last_c + at, c, mask=inside)


@compiled
def lstm_backward(
    gates, W, cs, dhs, dlast_h, dlast_c, dfirst_h, dfirst_c, lengths, T, B, H,
    HP: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, cols, inside, n, longest = _tile(lengths, B, H, HP, ROWS)
    at, wide = rows * H + cols, rows * 4 * H + cols
    step = _stride(B, H)
    W_i = _transposed(W, 0, H, 4 * H, HP, PRECISION)
    W_f = _transposed(W, 1, H, 4 * H, HP, PRECISION)
    W_g = _transposed(W, 2, H, 4 * H, HP, PRECISION)
    W_o = _transposed(W, 3, H, 4 * H, HP, PRECISION)
    dh = tl.load(dlast_h + at, mask=inside, other=0.0)
    dc = tl.load(dlast_c + at, mask=inside, other=0.0)
    _wipe(gates + wide, inside, step * 4, longest, T, 4, H)
    for k in range(longest):
        t = longest - 1 - k
        here = gates + t * step * 4 + wide
        valid = inside & (t < n)
        i = tl.load(here, mask=valid, other=0.0)
        f = tl.load(here + H, mask=valid, other=0.0)
        g = tl.load(here + 2 * H, mask=valid, other=0.0)
        o = tl.load(here + 3 * H, mask=valid, other=0.0)
        before = tl.load(cs + t * step + at, mask=valid, other=0.0)
        dy = tl.load(dhs + t * step + at, mask=valid, other=0.0)
        s = _tanh(f * before + i * g)  # tanh of the cell, again
        u = dh + dy
        v = dc + u * o * (1 - s * s)
        # Rows that are over loaded zeros; their gradients are made zero here.
        di = tl.where(valid, v * g * i * (1 - i), 0.0)
        df = tl.where(valid, v * before * f * (1 - f), 0.0)
        dg = tl.where(valid, v * i * (1 - g * g), 0.0)
        do = tl.where(valid, u * s * o * (1 - o), 0.0)
        tl.store(here, di, mask=inside)
        tl.store(here + H, df, mask=inside)
        tl.store(here + 2 * H, dg, mask=inside)
        tl.store(here + 3 * H, do, mask=inside)
        du = _dot(di, W_i, PRECISION) + _dot(df, W_f, PRECISION)
        du += _dot(dg, W_g, PRECISION) + _dot(do, W_o, PRECISION)
        dh = tl.where(t < n, du, dh)
        dc = tl.where(t < n, v * f, dc)
    tl.store(dfirst_h + at, dh, mask=inside)
    tl.store(dfirst_c + at, dc, mask=inside)


# --------------------------------------------------------------------------- GRU


@compiled
def gru_forward(
    gates, W, b_hn, inner, hs, last, lengths, T, B, H,
    HP: tl.constexpr, ROWS: tl.constexpr, AFTER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, cols, inside, n_steps, longest = _tile(lengths, B, H, HP, ROWS)
    at, wide = rows * H + cols, rows * 3 * H + cols
    step = _stride(B, H)
    W_r = _weights(W, 0, H, 3 * H, HP, PRECISION)
    W_z = _weights(W, 1, H, 3 * H, HP, PRECISION)
    W_n = _weights(W, 2, H, 3 * H, HP, PRECISION)
    if AFTER:
        bias = tl.load(b_hn + cols, mask=cols < H, other=0.0)
    h = tl.load(hs + at, mask=inside, other=0.0)
    ar = tl.load(gates + wide, mask=inside, other=0.0)
    az = tl.load(gates + wide + H, mask=inside, other=0.0)
    an = tl.load(gates + wide + 2 * H, mask=inside, other=0.0)
    for t in range(longest):
        here = gates + t * step * 3 + wide
        there = here + step * 3
        ahead = inside & (t + 1 < n_steps)
        br = tl.load(there, mask=ahead, other=0.0)
        bz = tl.load(there + H, mask=ahead, other=0.0)
        bn = tl.load(there + 2 * H, mask=ahead, other=0.0)
        r = tl.sigmoid(ar + _dot(h, W_r, PRECISION))
        z = tl.sigmoid(az + _dot(h, W_z, PRECISION))
        if AFTER:
            q = _dot(h, W_n, PRECISION) + bias  # what the reset gate multiplies
            n = _tanh(an + r * q)
        else:
            q = r * h  # what the candidate sees
            n = _tanh(an + _dot(q, W_n, PRECISION))
        tl.store(here, r, mask=inside)
        tl.store(here + H, z, mask=inside)
        tl.store(here + 2 * H, n, mask=inside)
        tl.store(inner + t * step + at, q, mask=inside)
        new = n + z * (h - n)
        valid = t < n_steps
        tl.store(hs + (t + 1) * step + at, tl.where(valid, new, 0.0), mask=inside)
        h = tl.where(valid, new, h)
        ar, az, an = br, bz, bn
    _wipe(hs + step + at, inside, step, longest, T, 1, H)
    _wipe(inner + at, inside, step, longest, T, 1, H)
    tl.store(last + at, h, mask=inside)


@compiled
def gru_backward(
    gates, W, inner, hs, dhs, dlast, dfirst, lengths, T, B, H,
    HP: tl.constexpr, ROWS: tl.constexpr, AFTER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, cols, inside, n_steps, longest = _tile(lengths, B, H, HP, ROWS)
    at, wide = rows * H + cols, rows * 3 * H + cols
    step = _stride(B, H)
    W_r = _transposed(W, 0, H, 3 * H, HP, PRECISION)
    W_z = _transposed(W, 1, H, 3 * H, HP, PRECISION)
    W_n = _transposed(W, 2, H, 3 * H, HP, PRECISION)
    dh = tl.load(dlast + at, mask=inside, other=0.0)
    _wipe(gates + wide, inside, step * 3, longest, T, 3, H)
    for k in range(longest):
        t = longest - 1 - k
        here = gates + t * step * 3 + wide
        valid = inside & (t < n_steps)
        r = tl.load(here, mask=valid, other=0.0)
        z = tl.load(here + H, mask=valid, other=0.0)
        n = tl.load(here + 2 * H, mask=valid, other=0.0)
        q = tl.load(inner + t * step + at, mask=valid, other=0.0)
        past = tl.load(hs + t * step + at, mask=valid, other=0.0)
        dy = tl.load(dhs + t * step + at, mask=valid, other=0.0)
        u = tl.where(valid, dh + dy, 0.0)
        dz = u * (past - n) * z * (1 - z)
        dn = u * (1 - z) * (1 - n * n)
        du = u * z + _dot(dz, W_z, PRECISION)
        if AFTER:
            dr = dn * q * r * (1 - r)
            dq = dn * r
            tl.store(inner + t * step + at, dq, mask=inside)
            du += _dot(dq, W_n, PRECISION)
        else:
            dq = _dot(dn, W_n, PRECISION)
            dr = dq * past * r * (1 - r)
            du += dq * r
        du += _dot(dr, W_r, PRECISION)
        tl.store(here, dr, mask=inside)
        tl.store(here + H, dz, mask=inside)
        tl.store(here + 2 * H, dn, mask=inside)
        dh = tl.where(t < n_steps, du, dh)
    tl.store(dfirst + at, dh, mask=inside)
