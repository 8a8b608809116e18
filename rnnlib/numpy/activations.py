"""The five activation functions and their derivatives.

Each derivative is written in terms of the output ``y``, because that is what a layer
has kept when the backward pass arrives. All are safe at ±1000 in float32.
"""

import numpy as np

LEAKY_SLOPE = 0.01


def sigmoid(x, out=None):
    """``1 / (1 + exp(-x))``, elementwise, without overflow.

    Parameters
    ----------
    x : ndarray of any shape
    out : ndarray of the shape of ``x``, optional
        Where to write the result; may be ``x`` itself.

    Returns
    -------
    ndarray of the shape of ``x``, in [0, 1]

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    # exp only ever sees a number <= 0; below zero, 1 - sigmoid(-x) without the minus.
    e = np.exp(-np.abs(x))
    return np.divide(np.where(x >= 0, 1, e), 1 + e, out=out)


def d_sigmoid(y, out=None):
    """Derivative of `sigmoid` from its output: ``y (1 - y)``."""
    d = np.subtract(1, y, out=out)
    return np.multiply(d, y, out=d)


def tanh(x, out=None):
    """Hyperbolic tangent, elementwise.

    Parameters
    ----------
    x : ndarray of any shape
    out : ndarray of the shape of ``x``, optional
        Where to write the result; may be ``x`` itself.

    Returns
    -------
    ndarray of the shape of ``x``, in [-1, 1]

    Examples
    --------
    >>> tanh(np.array([-1000.0, 0.0, 1000.0]))
    array([-1.,  0.,  1.])
    """
    return np.tanh(x, out=out)


def d_tanh(y, out=None):
    """Derivative of `tanh` from its output: ``1 - y²``."""
    d = np.multiply(y, y, out=out)
    return np.subtract(1, d, out=d)


def softplus(x):
    """``log(1 + exp(x))``, elementwise, without overflow; its slope is `sigmoid`.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    ndarray of the shape of ``x``, above 0

    Examples
    --------
    >>> softplus(np.array([-1000.0, 0.0, 1000.0]))
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])
    """
    return np.logaddexp(0, x, dtype=x.dtype)


def relu(x, out=None):
    """``max(x, 0)``, elementwise.

    Parameters
    ----------
    x : ndarray of any shape
    out : ndarray of the shape of ``x``, optional
        Where to write the result; may be ``x`` itself.

    Returns
    -------
    ndarray of the shape of ``x``

    Examples
    --------
    >>> relu(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """
    return np.maximum(x, 0, out=out)


def d_relu(y, out=None):
    """Derivative of `relu` from its output: 1 where ``y > 0``, else 0."""
    return np.greater(y, 0, out=np.empty_like(y) if out is None else out)


def leaky_relu(x, out=None):
    """``x`` above zero, ``0.01 x`` below, elementwise.

    Parameters
    ----------
    x : ndarray of any shape
    out : ndarray of the shape of ``x``, optional
        Where to write the result; may be ``x`` itself.

    Returns
    -------
    ndarray of the shape of ``x``

    Examples
    --------
    >>> leaky_relu(np.array([-2.0, 0.0, 3.0]))
    array([-0.02,  0.  ,  3.  ])
    """
    return np.maximum(x, LEAKY_SLOPE * x, out=out)


def d_leaky_relu(y, out=None):
    """Derivative of `leaky_relu` from its output: 1 where ``y > 0``, else 0.01."""
    return np.maximum(d_relu(y, out), LEAKY_SLOPE, out=out)


def softmax(x, axis=-1):
    """``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Parameters
    ----------
    x : ndarray of any shape
    axis : int, default=-1

    Returns
    -------
    ndarray of the shape of ``x``
        Non-negative, summing to 1 along ``axis``.

    Examples
    --------
    >>> softmax(np.array([1000.0, 1000.0, -1000.0]))
    array([0.5, 0.5, 0. ])
    """
    # Subtracting the largest entry changes nothing but keeps exp below 1.
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def d_softmax(y, dy):
    """Gradient of `softmax` along the last axis, from its output and ``dy``.

    The Jacobian is ``diag(y) - y yᵀ``; this is its product with ``dy``.
    """
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


# What a recurrence or a Dense layer looks up by name: the function and its derivative.
ACTIVATIONS = {
    "tanh": (tanh, d_tanh),
    "relu": (relu, d_relu),
    "leaky_relu": (leaky_relu, d_leaky_relu),
    "sigmoid": (sigmoid, d_sigmoid),
}
