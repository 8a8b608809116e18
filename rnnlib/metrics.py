"""Turn what a model returns into numbers that people compare.

They take NumPy arrays and torch tensors alike, and never import torch.
"""

import math

import numpy as np

from rnnlib.checks import check_ids, check_shape


def accuracy(logits, y, mask=None):
    """Share of the targets that got the highest logit.

    Parameters
    ----------
    logits : array of shape (..., V)
        One score per class; the first of equal scores wins.
    y : array of int, of shape (...)
        Targets in 0..V-1.
    mask : array of shape (...), optional
        True or 1 where a target counts. Default: all count.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError
        If the targets are not integers.
    ValueError
        If the shapes do not fit, or nothing counts.

    Examples
    --------
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    logits, y = _array(logits), _array(y)
    if logits.ndim == 0:
        raise ValueError("accuracy: expected logits of shape (..., V), got ()")
    check_shape("accuracy", "y", y, logits.shape[:-1])
    counts = np.ones(y.shape, bool) if mask is None else _array(mask).astype(bool)
    check_shape("accuracy", "mask", counts, y.shape)
    if not counts.any():
        raise ValueError("accuracy: expected at least one target that counts, got none")
    check_ids("accuracy", y[counts], 0, logits.shape[-1], name="y")
    return float((logits.argmax(-1) == y)[counts].mean())


def nats_to_bits(nats):
    """Convert a cross-entropy from nats to bits.

    Parameters
    ----------
    nats : float or array of any shape
        Natural-logarithm units, as `cross_entropy` gives them.

    Returns
    -------
    float or array of the same shape
        Bits: ``nats / ln 2``.

    Examples
    --------
    >>> nats_to_bits(math.log(8))
    3.0
    """
    return nats / math.log(2)


def perplexity(nats):
    """Number of equally likely choices that would be as uncertain.

    Parameters
    ----------
    nats : float
        Mean cross-entropy per token, in nats.

    Returns
    -------
    float
        ``exp(nats)``, 1 or more.

    Raises
    ------
    ValueError
        If the cross-entropy is negative or not a number.

    Examples
    --------
    >>> round(perplexity(math.log(50)), 9)
    50.0
    """
    nats = float(nats)
    if not nats >= 0:
        raise ValueError(f"perplexity: expected a cross-entropy >= 0 nats, got {nats}")
    return math.exp(nats) if nats < 709 else math.inf  # exp(710) overflows


def _array(values):
    """A NumPy array, also of a tensor that is on a GPU or has a gradient."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values)
