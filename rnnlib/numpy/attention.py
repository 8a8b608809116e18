"""Attention, forwards and backwards, as pure functions; the layer is a thin one.

First each query is scored against each key, in one of two ways; then `attend` turns
the scores into weights and takes the weighted mean of the keys. Backwards the keys get
two gradients, one from the mean and one from the scores.
"""

import numpy as np

from rnnlib import specs
from rnnlib.numpy.activations import d_softmax, d_tanh, softmax
from rnnlib.numpy.layers import Leaf


def dot_forward(query, keys, scale=1.0):
    """Score by the dot product, ``scale · q · k``.

    Parameters
    ----------
    query : ndarray of shape (B, U, K)
    keys : ndarray of shape (B, T, K)
    scale : float, default=1.0
        ``1 / sqrt(K)`` for the scaled form.

    Returns
    -------
    scores : ndarray of shape (B, U, T)
    cache : tuple
        For `dot_backward`.

    References
    ----------
    Luong, Pham and Manning, 2015; Vaswani et al., 2017, for the scale.
    """
    query = query * query.dtype.type(scale)
    return query @ keys.transpose(0, 2, 1), (query, keys, scale)


def dot_backward(dscores, cache):
    """Gradients of `dot_forward`.

    Parameters
    ----------
    dscores : ndarray of shape (B, U, T)
    cache : tuple

    Returns
    -------
    dquery : ndarray of shape (B, U, K)
    dkeys : ndarray of shape (B, T, K)
    grads : dict
        Empty: there are no parameters.
    """
    query, keys, scale = cache  # the query is scaled
    dquery = dscores @ keys * keys.dtype.type(scale)
    return dquery, dscores.transpose(0, 2, 1) @ query, {}


def additive_forward(query, keys, W_q, W_k, b, v):
    """Score with one hidden layer, ``tanh(q W_q + k W_k + b) · v``.

    Parameters
    ----------
    query : ndarray of shape (B, U, Q)
    keys : ndarray of shape (B, T, K)
    W_q, W_k, b, v : ndarrays of shapes (Q, A), (K, A), (A,), (A,)

    Returns
    -------
    scores : ndarray of shape (B, U, T)
    cache : tuple
        For `additive_backward`.

    References
    ----------
    Bahdanau, Cho and Bengio, 2015.
    """
    q, k = query @ W_q + b, keys @ W_k
    hidden = np.tanh(q[:, :, None] + k[:, None])  # (B, U, T, A)
    return hidden @ v, (query, keys, hidden, W_q, W_k, v)


def additive_backward(dscores, cache):
    """Gradients of `additive_forward`.

    Parameters
    ----------
    dscores : ndarray of shape (B, U, T)
    cache : tuple

    Returns
    -------
    dquery : ndarray of shape (B, U, Q)
    dkeys : ndarray of shape (B, T, K)
    grads : dict of str to ndarray
        Under the names of the parameters, of their shapes.
    """
    query, keys, hidden, W_q, W_k, v = cache
    da = dscores[..., None] * v * d_tanh(hidden)  # (B, U, T, A)
    dq, dk = da.sum(axis=2), da.sum(axis=1)  # a query met every key, and each key it
    grads = {
        "W_q": _rows(query).T @ _rows(dq),
        "W_k": _rows(keys).T @ _rows(dk),
        "b": _rows(dq).sum(axis=0),
        "v": dscores.ravel() @ _rows(hidden),
    }
    return dq @ W_q.T, dk @ W_k.T, grads


def _rows(a):
    """(…, n) -> (rows, n)."""
    return a.reshape(-1, a.shape[-1])


def attend_forward(scores, keys, valid=None):
    """Mean of the keys, weighted by the softmax of the scores.

    Parameters
    ----------
    scores : ndarray of shape (B, U, T)
    keys : ndarray of shape (B, T, K)
    valid : bool ndarray of shape (B, T), optional
        False where a key is padding: its weight is exactly 0.

    Returns
    -------
    context : ndarray of shape (B, U, K)
    weights : ndarray of shape (B, U, T)
        Not negative, summing to 1 over T.
    """
    if valid is not None:
        scores = np.where(valid[:, None], scores, scores.dtype.type(-np.inf))
    weights = softmax(scores)
    return weights @ keys, weights


def attend_backward(dcontext, dweights, keys, weights):
    """Gradients of `attend_forward`.

    Parameters
    ----------
    dcontext : ndarray of shape (B, U, K)
    dweights : ndarray of shape (B, U, T), or None
        What reaches the returned weights.
    keys : ndarray of shape (B, T, K)
    weights : ndarray of shape (B, U, T)

    Returns
    -------
    dscores : ndarray of shape (B, U, T)
        0 where the weight is 0.
    dkeys : ndarray of shape (B, T, K)
        The share that came by the mean.
    """
    dw = dcontext @ keys.transpose(0, 2, 1)
    if dweights is not None:
        dw += dweights
    return d_softmax(weights, dw), weights.transpose(0, 2, 1) @ dcontext


class Attention(specs.AttentionSpec, Leaf):
    __doc__ = specs.AttentionSpec.__doc__

    def __call__(self, query, keys, lengths=None):
        valid = self._check_inputs(query, keys, lengths)
        if valid is not None:  # 0 times NaN is NaN
            keys = np.where(valid[..., None], keys, keys.dtype.type(0))
        if self.kind == "additive":
            scores, cache = additive_forward(query, keys, **self.params)
        else:
            scores, cache = dot_forward(query, keys, self._scale)
        context, weights = attend_forward(scores, keys, valid)
        self._cache = keys, weights, cache
        return context, weights

    def backward(self, dcontext, dweights=None):
        """Gradients of the query and of the keys; fills ``grads``.

        Parameters
        ----------
        dcontext : ndarray of the shape of the context
        dweights : ndarray of the shape of the weights, optional
            Gradient that reaches the returned weights.

        Returns
        -------
        dquery : ndarray of shape (B, U, Q)
        dkeys : ndarray of shape (B, T, K)
            0 past each length.
        """
        keys, weights, cache = self._take_cache()
        self._check("dcontext", dcontext, (*weights.shape[:2], self.key_size))
        if dweights is not None:
            self._check("dweights", dweights, weights.shape)
        dscores, dkeys = attend_backward(dcontext, dweights, keys, weights)
        additive = self.kind == "additive"
        score_backward = additive_backward if additive else dot_backward
        dquery, dkeys_scored, self.grads = score_backward(dscores, cache)
        return dquery, dkeys + dkeys_scored
