"""Recurrences that are linear in the state, and so need not be run step by step.

Where ``h_t = a_t h_{t-1} + b_t``, elementwise, and neither a nor b looks at h, any
stretch of steps is again of this form: multiply by the product of its a, add what it
gives from zero. So stretches can be run side by side and joined afterwards. `scan`
does that; MinGRU, MinLSTM and the state-space layer are a few lines on top of it.

Time-major arrays as in `rnnlib.numpy.rnn`. A row that is over has a = b = 0 from then
on, so its state is 0, and no gradient comes back from there.
"""

import numpy as np

from rnnlib.numpy.activations import sigmoid, softplus


def scan(a, b, h0, chunk=None):
    """Run ``h_t = a_t h_{t-1} + b_t`` over all steps.

    Parameters
    ----------
    a, b : ndarrays of shape (T, …)
        Factor and addend of each step.
    h0 : ndarray of shape (…)
    chunk : int, optional
        Steps in a stretch C: about ``C + T / C`` operations follow one another instead
        of T. Default: one after the other, ``chunk=T``.

    Returns
    -------
    hs : ndarray of shape (T + 1, …)
        ``hs[0]`` is h0, ``hs[t + 1]`` the state after step t.

    References
    ----------
    Blelloch, "Prefix sums and their applications", 1990; Martin and Cundy, 2018.
    """
    T = len(a)
    hs = np.empty((T + 1, *a.shape[1:]), a.dtype)
    hs[0] = h0
    if chunk is None or chunk >= T:
        for t in range(T):
            np.multiply(a[t], hs[t], out=hs[t + 1])  # eq-scan-step
            hs[t + 1] += b[t]
        return hs
    C, K = chunk, -(-T // chunk)  # K stretches; the last one is filled up
    factor = np.ones((K * C, *a.shape[1:]), a.dtype)
    local = np.zeros_like(factor)
    factor[:T], local[:T] = a, b
    factor = factor.reshape(K, C, *a.shape[1:])
    local = local.reshape(factor.shape)
    for c in range(1, C):  # all stretches at once, each from zero
        local[:, c] += factor[:, c] * local[:, c - 1]
        factor[:, c] *= factor[:, c - 1]  # product of the a up to here
    h = hs[0]
    for k in range(K):  # join them
        local[k] += factor[k] * h  # eq-scan-stretch
        h = local[k, -1]
    hs[1:] = local.reshape(K * C, *a.shape[1:])[:T]
    return hs


def scan_backward(dhs, a, hs, chunk=None):
    """Backpropagation through `scan`, which is a scan from the other end.

    Parameters
    ----------
    dhs : ndarray of shape (T, …)
        Gradient that reaches each ``hs[1:]`` from outside.
    a : ndarray of shape (T, …)
    hs : ndarray of shape (T + 1, …)
        What `scan` returned.
    chunk : int, optional
        As in `scan`.

    Returns
    -------
    da, db : ndarrays of shape (T, …)
    dh0 : ndarray of shape (…)
    """
    later = np.zeros_like(a)  # a of the next step, from the last step to the first
    later[1:] = a[:0:-1]
    db = scan(later, dhs[::-1], np.zeros_like(hs[0]), chunk)[:0:-1]  # eq-scan-bptt
    return db * hs[:-1], db, a[0] * db[0]


def lengths_of(active, B):
    """Steps of each row, (B,), from the rows that run at each step."""
    return (np.arange(B) < np.asarray(active)[:, None]).sum(axis=0)


def _stop(active, *arrays):
    """Set arrays (T, B, …) to 0 where a row is over."""
    for t, n in enumerate(active or ()):
        for array in arrays:
            array[t, n:] = 0


def _last(dhs, dh_T, active):
    """dhs (T, B, …) plus what reaches each row's last state, (B, …)."""
    dhs = dhs.copy()
    B = dhs.shape[1]
    if active is None:
        dhs[-1] += dh_T
    else:
        dhs[lengths_of(active, B) - 1, np.arange(B)] += dh_T
    return dhs


def _project(x, W_xh, b_h):
    T, B, I = x.shape  # noqa: E741
    return (x.reshape(T * B, I) @ W_xh + b_h).reshape(T, B, -1)


def _unproject(da, x, W_xh):
    """Gradients of what `_project` took: dx, and those of W_xh and b_h."""
    T, B, I = x.shape  # noqa: E741
    flat = da.reshape(T * B, -1)
    grads = {"W_xh": x.reshape(T * B, I).T @ flat, "b_h": flat.sum(axis=0)}
    return (flat @ W_xh.T).reshape(x.shape), grads


def mingru_forward(x, h0, W_xh, b_h, active=None, chunk=None, **_):
    """Run the MinGRU over all steps.

    Parameters
    ----------
    x : ndarray of shape (T, B, I)
    h0 : ndarray of shape (B, H)
    W_xh, b_h : ndarrays of shapes (I, 2H), (2H,)
        Gate order z n.
    active : sequence of T int, optional
        Rows that run at each step, never growing; all B when absent.
    chunk : int, optional
        As in `scan`.

    Returns
    -------
    hs : ndarray of shape (T + 1, B, H)
    cache : tuple
        For `mingru_backward`.

    References
    ----------
    Feng et al., "Were RNNs all we needed?", 2024.
    """
    z, n = np.split(_project(x, W_xh, b_h), 2, axis=2)
    z = sigmoid(z)  # eq-mingru-gate
    a, b = z.copy(), (1 - z) * n  # eq-mingru-state
    _stop(active, a, b)
    hs = scan(a, b, h0, chunk)
    return hs, (x, hs, a, z, n, W_xh, active, chunk)


def mingru_backward(dhs, dh_T, cache):
    """Backpropagation through time for `mingru_forward`; as `rnn_backward`."""
    x, hs, a, z, n, W_xh, active, chunk = cache
    da, db, dh0 = scan_backward(_last(dhs, dh_T, active), a, hs, chunk)
    _stop(active, da, db)
    dz = (da - db * n) * z * (1 - z)
    dx, grads = _unproject(np.concatenate([dz, db * (1 - z)], axis=2), x, W_xh)
    return dx, dh0, grads


def minlstm_forward(x, h0, W_xh, b_h, active=None, chunk=None, **_):
    """Run the MinLSTM over all steps.

    Parameters
    ----------
    x : ndarray of shape (T, B, I)
    h0 : ndarray of shape (B, H)
    W_xh, b_h : ndarrays of shapes (I, 3H), (3H,)
        Gate order i f g.
    active, chunk
        As in `mingru_forward`.

    Returns
    -------
    hs : ndarray of shape (T + 1, B, H)
    cache : tuple
        For `minlstm_backward`.

    References
    ----------
    Feng et al., "Were RNNs all we needed?", 2024.
    """
    i, f, g = np.split(_project(x, W_xh, b_h), 3, axis=2)
    # f / (f + i) of the two sigmoids, without 0 / 0
    share = sigmoid(softplus(-i) - softplus(-f))  # eq-minlstm-share
    a, b = share.copy(), (1 - share) * g  # eq-minlstm-state
    _stop(active, a, b)
    hs = scan(a, b, h0, chunk)
    return hs, (x, hs, a, share, i, f, g, W_xh, active, chunk)


def minlstm_backward(dhs, dh_T, cache):
    """Backpropagation through time for `minlstm_forward`; as `rnn_backward`."""
    x, hs, a, share, i, f, g, W_xh, active, chunk = cache
    da, db, dh0 = scan_backward(_last(dhs, dh_T, active), a, hs, chunk)
    _stop(active, da, db)
    d = (da - db * g) * share * (1 - share)
    parts = [-d * sigmoid(-i), d * sigmoid(-f), db * (1 - share)]
    dx, grads = _unproject(np.concatenate(parts, axis=2), x, W_xh)
    return dx, dh0, grads


def state_space_forward(
    x, h0, W_xh, b_h, W_dt, b_dt, W_B, W_C, A_log, D, active=None, chunk=None, **_
):
    """Run the selective diagonal state-space layer over all steps.

    Each of the H channels has N states of its own, which decay at N rates. How fast
    its time goes (dt), what is written (B) and what is read (C) depend on the input.

    Parameters
    ----------
    x : ndarray of shape (T, B, I)
    h0 : ndarray of shape (B, H·N)
    W_xh, b_h : ndarrays of shapes (I, H), (H,)
        The channels u = x W_xh + b_h.
    W_dt, b_dt : ndarrays of shapes (H, H), (H,)
        dt = softplus(u W_dt + b_dt).
    W_B, W_C : ndarrays of shape (H, N)
    A_log : ndarray of shape (H, N)
        Rates of decay are exp(A_log).
    D : ndarray of shape (H,)
        Way past the state.
    active, chunk
        As in `mingru_forward`.

    Returns
    -------
    ys : ndarray of shape (T + 1, B, H)
        Outputs after a first row of zeros, so that it has the steps of the states.
    hs : ndarray of shape (T + 1, B, H·N)
    cache : tuple
        For `state_space_backward`.

    References
    ----------
    Gu and Dao, "Mamba", 2023, algorithm 2; the state's factor is discretised exactly,
    the written value as dt B u, as there.
    """
    T, B, _ = x.shape
    u = _project(x, W_xh, b_h)  # (T, B, H)
    pre = _project(u, W_dt, b_dt)
    dt = softplus(pre)  # eq-ssm-step-size
    Bs, Cs = u @ W_B, u @ W_C  # (T, B, N)
    A = -np.exp(A_log)  # (H, N)
    a = np.exp(dt[..., None] * A)  # eq-ssm-decay  (T, B, H, N)
    b = (dt * u)[..., None] * Bs[:, :, None]  # eq-ssm-write
    _stop(active, a, b)
    h = scan(a, b, h0.reshape(B, *A.shape), chunk)  # eq-ssm-state
    ys = np.zeros((T + 1, *u.shape[1:]), x.dtype)
    ys[1:] = (h[1:] * Cs[:, :, None]).sum(axis=3) + D * u  # eq-ssm-read
    _stop(active, ys[1:])
    weights = W_xh, W_dt, W_B, W_C, A, D
    cache = x, u, h, a, pre, dt, Bs, Cs, weights, active, chunk
    return ys, h.reshape(T + 1, B, -1), cache


def state_space_backward(dys, dh_T, cache):
    """Backpropagation through time for `state_space_forward`.

    Parameters
    ----------
    dys : ndarray of shape (T, B, H)
        Gradient that reaches each output.
    dh_T : ndarray of shape (B, H·N)
        Gradient that reaches each row's last state.
    cache : tuple
        What `state_space_forward` returned.

    Returns
    -------
    dx : ndarray of shape (T, B, I)
    dh0 : ndarray of shape (B, H·N)
    grads : dict
        By the names of the parameters.
    """
    x, u, h, a, pre, dt, Bs, Cs, (W_xh, W_dt, W_B, W_C, A, D), active, chunk = cache
    T, B, H = u.shape
    dys = dys.copy()
    _stop(active, dys)
    dh = _last(dys[..., None] * Cs[:, :, None], dh_T.reshape(h[0].shape), active)
    da, db, dh0 = scan_backward(dh, a, h, chunk)
    _stop(active, da, db)
    da *= a  # of the exponent
    wrote = (db * Bs[:, :, None]).sum(axis=3)
    ddt = ((da * A).sum(axis=3) + wrote * u) * sigmoid(pre)
    dB = (db * (dt * u)[..., None]).sum(axis=2)
    dC = (dys[..., None] * h[1:]).sum(axis=2)
    du, of_dt = _unproject(ddt, u, W_dt)
    du += dys * D + wrote * dt + dB @ W_B.T + dC @ W_C.T
    dx, grads = _unproject(du, x, W_xh)
    flat = u.reshape(T * B, H).T
    grads |= {
        "W_dt": of_dt["W_xh"],
        "b_dt": of_dt["b_h"],
        "W_B": flat @ dB.reshape(T * B, -1),
        "W_C": flat @ dC.reshape(T * B, -1),
        "A_log": (da * dt[..., None]).sum(axis=(0, 1)) * A,
        "D": (dys * u).sum(axis=(0, 1)),
    }
    return dx, dh0.reshape(B, -1), grads
