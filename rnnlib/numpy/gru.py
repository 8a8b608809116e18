"""The GRU, in both of its forms, and its backpropagation through time.

Time-major arrays and ``active`` rows as in `rnnlib.numpy.rnn`. The forms differ in one
place, the candidate n: ``reset_after`` multiplies the reset gate into
``h W_hn + b_hn``, the original form multiplies it into ``h`` before the product. As in
the LSTM, halved weights let one ``tanh`` serve the sigmoid gates.
"""

import numpy as np


def gru_forward(x, h0, W_xh, W_hh, b_h, b_hn=None, active=None):
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

    gates = np.matmul(x.reshape(T * B, -1), W_xh * half).reshape(T, B, 3 * H)
    gates += b_h * half
    hs = np.empty((T + 1, B, H), x.dtype)
    hs[0] = h0
    # What n's product sees or gives: h W_hn + b_hn (reset_after), else r h.
    inner = np.empty((T, B, H), x.dtype)
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
        s += 0.5  # eq-gru-gates
        if b_hn is None:
            np.multiply(r, h, out=q)
            n += np.matmul(q, V_n, out=z_n[:m])  # eq-gru-candidate-before
        else:
            np.add(hW[:, 2 * H :], b_hn, out=q)
            n += np.multiply(r, q, out=z_n[:m])  # eq-gru-candidate-after
        np.tanh(n, out=n)
        new = np.subtract(h, n, out=hs[t + 1, :m])
        new *= z
        new += n  # eq-gru-state: (1 - z) n + z h
        if m < B:
            gates[t, m:] = inner[t, m:] = hs[t + 1, m:] = 0
    return hs, (x, hs, inner, gates, W_xh, W_hh, b_hn is not None, active)


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
    x, hs, inner, gates, W_xh, W_hh, reset_after, active = cache
    T, B, H = dhs.shape
    W_hh_T = np.ascontiguousarray(W_hh.T)
    W_rz_T, W_n_T = W_hh_T[: 2 * H], W_hh_T[2 * H :]
    dh = np.array(dh_T)
    k1, k2 = np.empty((2, B, H), x.dtype)
    # What the recurrent product's r z n receive; the input's differ only in n.
    recurrent = np.empty((B, 3 * H), x.dtype)
    for t in reversed(range(T)):
        m = active[t]
        h, a, q, u = hs[t, :m], gates[t, :m], inner[t, :m], dh[:m]
        s, n = a[:, : 2 * H], a[:, 2 * H :]
        r, z = a[:, :H], a[:, H : 2 * H]
        v, w = k1[:m], k2[:m]
        u += dhs[t, :m]
        np.subtract(h, n, out=w)
        w *= u  # gradient of z itself
        n *= n
        np.subtract(1, n, out=n)
        n *= u
        u *= z  # the direct path, z h
        np.subtract(1, z, out=v)
        n *= v  # n is now the gradient before its tanh
        e = recurrent[:m]
        d = np.subtract(1, s, out=e[:, : 2 * H])
        d *= s
        d[:, H:] *= w
        if reset_after:
            d[:, :H] *= q
            d[:, :H] *= n
            np.multiply(n, r, out=q)  # what h W_hn + b_hn receives, kept for W_hn
            e[:, 2 * H :] = q
            u += np.matmul(e, W_hh_T, out=v)
        else:
            np.matmul(n, W_n_T, out=v)  # what r h receives
            d[:, :H] *= h
            d[:, :H] *= v
            v *= r
            u += v
            u += np.matmul(d, W_rz_T, out=v)
        s[:] = d

    flat = gates.reshape(T * B, 3 * H)
    rz, n = flat[:, : 2 * H], flat[:, 2 * H :]
    past = hs[:-1].reshape(T * B, H)
    q = inner.reshape(T * B, H)
    grads = {"W_xh": x.reshape(T * B, -1).T @ flat, "b_h": flat.sum(axis=0)}
    W_n = past.T @ q if reset_after else q.T @ n
    grads["W_hh"] = np.hstack([past.T @ rz, W_n])
    if reset_after:
        grads["b_hn"] = q.sum(axis=0)
    return (flat @ W_xh.T).reshape(x.shape), dh, grads
