"""The LSTM and its backpropagation through time, as two pure functions.

Time-major arrays and ``active`` rows as in `rnnlib.numpy.rnn`. Two rearrangements make
it fast, and neither changes a result:

* ``sigmoid(a) = 0.5 tanh(a / 2) + 0.5``. Halving the sigmoid gates' weights beforehand
  (exact in binary) leaves one ``tanh`` call for all four gates.
* Inside, the gates lie in the order o i f g: the three sigmoids o i f are neighbours in
  the forward pass, the three gradients that come from the cell, i f g, in the backward
  pass, so that each triple is one array operation. Outside, the order is i f g o.
"""

import numpy as np

from rnnlib.numpy.workspace import fresh

_TO_INSIDE = (3, 0, 1, 2)  # from i f g o to o i f g
_TO_OUTSIDE = (1, 2, 3, 0)  # and back


def _reorder(a, order):
    """Permute the four gate blocks of the last axis."""
    blocks = a.reshape(*a.shape[:-1], 4, -1)
    return blocks[..., order, :].reshape(a.shape)


def lstm_forward(x, h0, c0, W_xh, W_hh, b_h, active=None, empty=fresh):
    """Run the LSTM over all steps.

    Parameters
    ----------
    x : ndarray of shape (T, B, I)
    h0, c0 : ndarrays of shape (B, H)
    W_xh, W_hh, b_h : ndarrays of shapes (I, 4H), (H, 4H), (4H,)
        Gate order i f g o.
    active : sequence of T int, optional
        Rows that run at each step, never growing; all B when absent.
    empty : callable, default=fresh
        Where large arrays come from; a layer gives its `Workspace`.

    Returns
    -------
    hs, cs : ndarrays of shape (T + 1, B, H)
        States before the first and after every step; 0 where a row is over.
    cache : tuple
        For `lstm_backward`, which uses it up.

    References
    ----------
    Hochreiter and Schmidhuber, 1997; Gers, Schmidhuber and Cummins, 2000.
    """
    T, B, _ = x.shape
    H = W_hh.shape[0]
    active = [B] * T if active is None else active
    half = np.repeat(np.array([0.5, 0.5, 0.5, 1], x.dtype), H)  # o i f g
    V_xh, V_hh, v_h = (_reorder(W, _TO_INSIDE) * half for W in (W_xh, W_hh, b_h))

    gates = empty("gates", (T, B, 4 * H), x.dtype)
    np.matmul(x.reshape(T * B, -1), V_xh, out=gates.reshape(T * B, 4 * H))
    gates += v_h
    hs, cs = empty("states", (2, T + 1, B, H), x.dtype)
    hs[0], cs[0] = h0, c0
    tanh_cs = empty("tanh_cs", (T, B, H), x.dtype)
    z = np.empty((B, 4 * H), x.dtype)
    ig = np.empty((B, H), x.dtype)
    for t in range(T):
        n = active[t]
        a = gates[t, :n]
        a += np.matmul(hs[t, :n], V_hh, out=z[:n])
        np.tanh(a, out=a)
        s = a[:, : 3 * H]
        s *= 0.5
        s += 0.5
        o, i, f, g = (a[:, k * H : (k + 1) * H] for k in range(4))  # eq-lstm-gates
        c = np.multiply(f, cs[t, :n], out=cs[t + 1, :n])
        c += np.multiply(i, g, out=ig[:n])  # eq-lstm-cell
        np.tanh(c, out=tanh_cs[t, :n])
        np.multiply(o, tanh_cs[t, :n], out=hs[t + 1, :n])  # eq-lstm-state
        if n < B:
            gates[t, n:] = cs[t + 1, n:] = hs[t + 1, n:] = tanh_cs[t, n:] = 0
    return hs, cs, (x, hs, cs, tanh_cs, gates, W_xh, W_hh, active, empty)


def _slopes(cs, tanh_cs, gates, empty):
    """How h and c of each step change with each gate's pre-activation, for all steps.

    The gates are overwritten: o by ``dh/da_o``; i, f, g by ``dc/da``. Also returns a
    copy of the forget gates and ``dh/dc``, both (T, B, H).
    """
    T, B, H = tanh_cs.shape
    slopes = gates.reshape(T, B, 4, H)
    o, i, f, g = (slopes[:, :, k] for k in range(4))
    fs = empty("fs", (T, B, H), gates.dtype)
    fs[...] = f
    to_cell = np.multiply(
        tanh_cs, tanh_cs, out=empty("to_cell", (T, B, H), gates.dtype)
    )
    np.subtract(1, to_cell, out=to_cell)
    to_cell *= o  # o (1 - tanh(c)²)
    k = empty("k", (T, B, H), gates.dtype)
    np.subtract(1, o, out=k)
    o *= k
    o *= tanh_cs  # tanh(c) o (1 - o)
    np.multiply(g, g, out=k)
    np.subtract(1, k, out=k)
    k *= i  # i (1 - g²), for g, which i still needs
    g *= i
    np.subtract(1, i, out=i)
    i *= g  # g i (1 - i)
    g[...] = k
    np.subtract(1, f, out=k)
    f *= k
    f *= cs[:-1]  # c_{t-1} f (1 - f)
    return slopes, fs, to_cell


def lstm_backward(dhs, dh_T, dc_T, cache):
    """Backpropagation through time for `lstm_forward`.

    Parameters
    ----------
    dhs : ndarray of shape (T, B, H)
        Gradient that reaches each h from outside the recurrence.
    dh_T, dc_T : ndarrays of shape (B, H)
        Gradients that reach each row's last h and c in addition.
    cache : tuple
        What `lstm_forward` returned; its gates are overwritten by their gradients.

    Returns
    -------
    dx : ndarray of shape (T, B, I)
    dh0, dc0 : ndarrays of shape (B, H)
    grads : dict
        ``W_xh``, ``W_hh``, ``b_h``.
    """
    x, hs, cs, tanh_cs, gates, W_xh, W_hh, active, empty = cache
    T, B, H = dhs.shape
    V_xh, V_hh = _reorder(W_xh, _TO_INSIDE), _reorder(W_hh, _TO_INSIDE)
    V_hh_T = np.ascontiguousarray(V_hh.T)
    slopes, fs, to_cell = _slopes(cs, tanh_cs, gates, empty)
    dh, dc, k = np.array(dh_T), np.array(dc_T), np.empty((B, H), x.dtype)
    for t in reversed(range(T)):
        n = active[t]
        u, d, a = dh[:n], dc[:n], gates[t, :n]
        u += dhs[t, :n]
        d += np.multiply(u, to_cell[t, :n], out=k[:n])  # through h = o tanh(c)
        a[:, :H] *= u  # o acts on h,
        ifg = slopes[t, :n, 1:]
        ifg *= d[:, None]  # i, f and g act on c
        d *= fs[t, :n]  # the path to c one step earlier
        np.matmul(a, V_hh_T, out=u)  # the path to h one step earlier

    flat = gates.reshape(T * B, 4 * H)
    grads = {
        "W_xh": x.reshape(T * B, -1).T @ flat,
        "W_hh": hs[:-1].reshape(T * B, H).T @ flat,
        "b_h": flat.sum(axis=0),
    }
    grads = {name: _reorder(g, _TO_OUTSIDE) for name, g in grads.items()}
    dx = np.matmul(flat, V_xh.T, out=empty("dx", (T * B, x.shape[2]), x.dtype))
    return dx.reshape(x.shape), dh, dc, grads
