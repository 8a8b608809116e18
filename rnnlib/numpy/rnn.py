"""The plain recurrence and its backpropagation through time, as two pure functions.

Arrays are time-major here, (T, B, ·), so that one step is one contiguous block.
``active[t]`` says how many rows are still running at step t: rows are sorted by length,
longest first, so a ragged batch costs what it contains and needs no mask.
"""

import numpy as np

from rnnlib.numpy.activations import ACTIVATIONS
from rnnlib.numpy.workspace import fresh


def rnn_forward(x, h0, W_xh, W_hh, b_h, activation="tanh", active=None, empty=fresh):
    """Run the recurrence over all steps.

    Parameters
    ----------
    x : ndarray of shape (T, B, I)
    h0 : ndarray of shape (B, H)
    W_xh, W_hh, b_h : ndarrays of shapes (I, H), (H, H), (H,)
    activation : {"tanh", "relu", "leaky_relu", "sigmoid"}, default="tanh"
    active : sequence of T int, optional
        Rows that run at each step, never growing; all B when absent.
    empty : callable, default=fresh
        Where large arrays come from; a layer gives its `Workspace`.

    Returns
    -------
    hs : ndarray of shape (T + 1, B, H)
        ``hs[0]`` is h0, ``hs[t + 1]`` the state after step t; 0 where a row is over.
    cache : tuple
        For `rnn_backward`.

    References
    ----------
    Elman, 1990.
    """
    T, B, _ = x.shape
    H = W_hh.shape[0]
    active = [B] * T if active is None else active
    act, _ = ACTIVATIONS[activation]

    hs = empty("hs", (T + 1, B, H), x.dtype)
    hs[0] = h0
    # The input's share of every step, in one product: (T·B, I) @ (I, H).
    np.matmul(x.reshape(T * B, -1), W_xh, out=hs[1:].reshape(T * B, H))
    hs[1:] += b_h
    z = np.empty((B, H), x.dtype)
    for t in range(T):
        n = active[t]
        h = hs[t + 1, :n]  # holds x_t W_xh + b_h
        h += np.matmul(hs[t, :n], W_hh, out=z[:n])  # eq-rnn-preactivation
        act(h, out=h)  # eq-rnn-state
        if n < B:
            hs[t + 1, n:] = 0
    return hs, (x, hs, W_xh, W_hh, activation, active, empty)


def rnn_backward(dhs, dh_T, cache):
    """Backpropagation through time for `rnn_forward`.

    Parameters
    ----------
    dhs : ndarray of shape (T, B, H)
        Gradient that reaches each state from outside the recurrence.
    dh_T : ndarray of shape (B, H)
        Gradient that reaches each row's last state in addition.
    cache : tuple
        What `rnn_forward` returned.

    Returns
    -------
    dx : ndarray of shape (T, B, I)
    dh0 : ndarray of shape (B, H)
    grads : dict
        ``W_xh``, ``W_hh``, ``b_h``.

    References
    ----------
    Werbos, 1990.
    """
    x, hs, W_xh, W_hh, activation, active, empty = cache
    T, B, H = dhs.shape
    _, derivative = ACTIVATIONS[activation]

    # act'(a_t), turned into the gradient of a_t in place.
    da = derivative(hs[1:], out=empty("da", dhs.shape, x.dtype))
    W_hh_T = np.ascontiguousarray(W_hh.T)
    dh = np.array(dh_T)
    for t in reversed(range(T)):
        n = active[t]
        dh[:n] += dhs[t, :n]
        d = da[t, :n]
        d *= dh[:n]
        np.matmul(d, W_hh_T, out=dh[:n])  # to the state one step earlier
        if n < B:
            da[t, n:] = 0

    # Every step uses the same weights: their gradients are one product over all steps.
    flat = da.reshape(T * B, H)
    grads = {
        "W_xh": x.reshape(T * B, -1).T @ flat,
        "W_hh": hs[:-1].reshape(T * B, H).T @ flat,
        "b_h": flat.sum(axis=0),
    }
    dx = np.matmul(flat, W_xh.T, out=empty("dx", (T * B, x.shape[2]), x.dtype))
    return dx.reshape(x.shape), dh, grads
