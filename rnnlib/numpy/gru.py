"""The GRU, in both of its forms, and its backpropagation through time.

Time-major arrays and ``active`` rows as in `rnnlib.numpy.rnn`. The forms differ in one
place, the candidate n: ``reset_after`` multiplies the reset gate into
``h W_hn + b_hn``, the original form multiplies it into ``h`` before the product. As in
the LSTM, halved weights let one ``tanh`` serve the sigmoid gates.
"""

import numpy as np

from rnnlib.numpy.workspace import fresh


def gru_forward(x, h0, W_xh, W_hh, b_h, b_hn=None, active=None, empty=fresh):
    """Run the GRU over all steps.

    Parameters
    ----------
    x : ndarray of shape (T, B, I)
    h0 : ndarray of shape (B, H)
    W_xh, W_hh, b_h : ndarrays of shapes (I, 3H), (H, 3H), (3H,)
        Gate order r z n.
    b_hn : ndarray of shape (H,), optional
        The candidate's recurrent bias; its presence selects ``reset_after``.
    active : sequence of T int, optional
        Rows that run at each step, never growing; all B when absent.
    empty : callable, default=fresh
        Where large arrays come from; a layer gives its `Workspace`.

    Returns
    -------
    hs : ndarray of shape (T + 1, B, H)
        States before the first and after every step; 0 where a row is over.
    cache : tuple
        For `gru_backward`, which uses it up.

    References
    ----------
    Cho et al., 2014.
    """
    T, B, _ = x.shape
    H = W_hh.shape[0]
    active = [B] * T if active is None else active
    half = np.repeat(np.array([0.5, 0.5, 1], x.dtype), H)  # r z n
    V_hh = W_hh * half
    V_rz, V_n = (np.ascontiguousarray(V) for V in np.split(V_hh, [2 * H], axis=1))

    gates = empty("gates", (T, B, 3 * H), x.dtype)
    np.matmul(x.reshape(T * B, -1), W_xh * half, out=gates.reshape(T * B, 3 * H))
    gates += b_h * half
    hs = empty("hs", (T + 1, B, H), x.dtype)
    hs[0] = h0
    # What n's product sees or gives: h W_hn + b_hn (reset_after), else r h.
    inner = empty("inner", (T, B, H), x.dtype)
    z_all = np.empty((B, 3 * H), x.dtype)
    z_rz = np.empty((B, 2 * H), x.dtype)
    z_n = np.empty((B, H), x.dtype)
    for t in range(T):
        m = active[t]
        h, a, q = hs[t, :m], gates[t, :m], inner[t, :m]
        s, n = a[:, : 2 * H], a[:, 2 * H :]
        r, z = a[:, :H], a[:, H : 2 * H]
        if b_hn is None:
            s += np.matmul(h, V_rz, out=z_rz[:m])
        else:
            hW = np.matmul(h, V_hh, out=z_all[:m])
            s += hW[:, : 2 * H]
        np.tanh(s, out=s)
        s *= 0.5
        s += 0.5
        if b_hn is None:
            np.multiply(r, h, out=q)
            n += np.matmul(q, V_n, out=z_n[:m])  # the candidate sees r h
        else:
            np.add(hW[:, 2 * H :], b_hn, out=q)
            n += np.multiply(r, q, out=z_n[:m])  # the candidate sees r (h W_hn + b_hn)
        np.tanh(n, out=n)
        new = np.subtract(h, n, out=hs[t + 1, :m])
        new *= z
        new += n  # n + z (h - n) = (1 - z) n + z h
        if m < B:
            gates[t, m:] = inner[t, m:] = hs[t + 1, m:] = 0
    return hs, (x, hs, inner, gates, W_xh, W_hh, b_hn is not None, active, empty)


def _slopes(hs, inner, gates, reset_after, empty):
    """How each step's result changes with each gate's pre-activation, for all steps.

    The gates are overwritten: z and n by ``dh/da``; r by ``dn/da_r`` before the tanh
    (reset_after) or by ``d(r h)/da_r``. Returns copies of r and z, (T, B, H).
    """
    T, B, H = inner.shape
    r, z, n = (gates[:, :, k * H : (k + 1) * H] for k in range(3))
    rs, zs, k = empty("rszs", (3, T, B, H), gates.dtype)
    rs[...], zs[...] = r, z
    past = hs[:-1]
    np.subtract(1, r, out=k)
    r *= k
    r *= inner if reset_after else past
    np.subtract(1, z, out=z)  # 1 - z
    np.subtract(past, n, out=k)
    k *= zs
    n *= n
    np.subtract(1, n, out=n)
    n *= z  # (1 - z) (1 - n²)
    z *= k  # (h - n) z (1 - z)
    return rs, zs


def gru_backward(dhs, dh_T, cache):
    """Backpropagation through time for `gru_forward`.

    Parameters
    ----------
    dhs : ndarray of shape (T, B, H)
        Gradient that reaches each state from outside the recurrence.
    dh_T : ndarray of shape (B, H)
        Gradient that reaches each row's last state in addition.
    cache : tuple
        What `gru_forward` returned; its gates are overwritten by their gradients.

    Returns
    -------
    dx : ndarray of shape (T, B, I)
    dh0 : ndarray of shape (B, H)
    grads : dict
        ``W_xh``, ``W_hh``, ``b_h`` and, with reset_after, ``b_hn``.
    """
    x, hs, inner, gates, W_xh, W_hh, reset_after, active, empty = cache
    T, B, H = dhs.shape
    W_hh_T = np.ascontiguousarray(W_hh.T)
    W_rz_T, W_n_T = W_hh_T[: 2 * H], W_hh_T[2 * H :]
    rs, zs = _slopes(hs, inner, gates, reset_after, empty)
    dh, k = np.array(dh_T), np.empty((B, H), x.dtype)
    # What the recurrent product's r z n receive; the input's differ only in n.
    recurrent = np.empty((B, 3 * H), x.dtype)
    for t in reversed(range(T)):
        m = active[t]
        u, a, q, v = dh[:m], gates[t, :m], inner[t, :m], k[:m]
        u += dhs[t, :m]
        zn = a.reshape(m, 3, H)[:, 1:]
        zn *= u[:, None]  # z and n act on h
        n = a[:, 2 * H :]
        u *= zs[t, :m]  # the direct path, z h
        if reset_after:
            a[:, :H] *= n  # r acts on n
            np.multiply(n, rs[t, :m], out=q)  # what h W_hn + b_hn receives
            e = recurrent[:m]
            e[:, : 2 * H] = a[:, : 2 * H]
            e[:, 2 * H :] = q
            u += np.matmul(e, W_hh_T, out=v)
        else:
            np.matmul(n, W_n_T, out=v)  # what r h receives
            a[:, :H] *= v  # r acts on r h
            v *= rs[t, :m]
            u += v
            u += np.matmul(a[:, : 2 * H], W_rz_T, out=v)
        if m < B:
            gates[t, m:] = 0

    flat = gates.reshape(T * B, 3 * H)
    rz, n = flat[:, : 2 * H], flat[:, 2 * H :]
    past = hs[:-1].reshape(T * B, H)
    q = inner.reshape(T * B, H)
    grads = {"W_xh": x.reshape(T * B, -1).T @ flat, "b_h": flat.sum(axis=0)}
    W_n = past.T @ q if reset_after else q.T @ n
    grads["W_hh"] = np.hstack([past.T @ rz, W_n])
    if reset_after:
        grads["b_hn"] = q.sum(axis=0)
    dx = np.matmul(flat, W_xh.T, out=empty("dx", (T * B, x.shape[2]), x.dtype))
    return dx.reshape(x.shape), dh, grads
