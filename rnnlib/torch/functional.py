"""Activations and losses under the same names as in `rnnlib.numpy`."""

import torch

from rnnlib.checks import (
    check_dtype,
    check_floats,
    check_ids,
    check_shape,
    check_type,
)

LEAKY_SLOPE = 0.01


def sigmoid(x):
    """``1 / (1 + exp(-x))``, elementwise, without overflow.

    Parameters
    ----------
    x : tensor of any shape

    Returns
    -------
    tensor of the shape of ``x``, in [0, 1]
    """
    return torch.sigmoid(x)


def tanh(x):
    """Hyperbolic tangent, elementwise.

    Parameters
    ----------
    x : tensor of any shape

    Returns
    -------
    tensor of the shape of ``x``, in [-1, 1]
    """
    return torch.tanh(x)


def relu(x):
    """``max(x, 0)``, elementwise.

    Parameters
    ----------
    x : tensor of any shape

    Returns
    -------
    tensor of the shape of ``x``
    """
    return torch.relu(x)


def leaky_relu(x):
    """``x`` above zero, ``0.01 x`` below, elementwise.

    Parameters
    ----------
    x : tensor of any shape

    Returns
    -------
    tensor of the shape of ``x``
    """
    return torch.nn.functional.leaky_relu(x, LEAKY_SLOPE)


def softmax(x, axis=-1):
    """``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Parameters
    ----------
    x : tensor of any shape
    axis : int, default=-1

    Returns
    -------
    tensor of the shape of ``x``
        Non-negative, summing to 1 along ``axis``.
    """
    return torch.softmax(x, dim=axis)


ACTIVATIONS = {
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "softmax": softmax,
}


def _check(owner, name, scores, last, y):
    """Raise unless both are tensors, and scores (B, last) or (B, T, last) of floats."""
    check_type(owner, name, scores, torch.Tensor, "a torch.Tensor")
    check_type(owner, "y", y, torch.Tensor, "a torch.Tensor")
    free = ("B",) if scores.ndim < 3 else ("B", "T")
    check_shape(owner, name, scores, (*free, last))
    check_floats(owner, name, scores)


def _counted(owner, mask, shape, *tensors):
    """What each tensor of shape (*shape, …) holds where the mask is true, as (N, …)."""
    if mask is None:
        return (t.flatten(0, len(shape) - 1) for t in tensors)
    mask = torch.as_tensor(mask, device=tensors[0].device)
    check_shape(owner, "mask", mask, shape)
    check_dtype(owner, "mask", mask, "bool")
    if not mask.any():
        raise ValueError(f"{owner}: expected a mask with at least one True, got none")
    return (t[mask] for t in tensors)


def cross_entropy(logits, y, mask=None):
    """Mean of ``-log softmax(logits)[y]`` over all (unmasked) entries, in nats.

    Parameters
    ----------
    logits : tensor of shape (B, V) or (B, T, V)
        Scores before the softmax.
    y : integer tensor of shape (B,) or (B, T)
        Classes in [0, V). Entries under a false mask may hold anything.
    mask : bool tensor or array of the shape of ``y``, optional
        True where an entry counts.

    Returns
    -------
    tensor
        A scalar, in nats per counted entry.

    Raises
    ------
    TypeError
        If ``logits`` do not hold floats, ``y`` integers and ``mask`` bools.
    ValueError
        For shapes that do not fit, classes out of range, or a mask without a True.
    """
    _check("cross_entropy", "logits", logits, "V", y)
    *shape, V = logits.shape
    check_shape("cross_entropy", "y", y, tuple(shape))
    logits, y = _counted("cross_entropy", mask, tuple(shape), logits, y)
    check_ids("cross_entropy", y, 0, V, name="y")
    return torch.nn.functional.cross_entropy(logits, y.long())


def mse(prediction, y, mask=None):
    """Mean of ``(prediction - y)²`` over all (unmasked) entries.

    Parameters
    ----------
    prediction : tensor of shape (B, O) or (B, T, O)
    y : tensor of the shape of ``prediction``
        Targets. Entries under a false mask may hold anything.
    mask : bool tensor or array of shape (B,) or (B, T), optional
        True where the O numbers of an entry count.

    Returns
    -------
    tensor
        A scalar, in squared units of ``y``.

    Raises
    ------
    TypeError
        If ``prediction`` and ``y`` do not hold floats and ``mask`` bools.
    ValueError
        For shapes that do not fit, or a mask without a True.
    """
    _check("mse", "prediction", prediction, "O", y)
    check_shape("mse", "y", y, tuple(prediction.shape))
    check_floats("mse", "y", y)
    shape = tuple(prediction.shape[:-1])
    prediction, y = _counted("mse", mask, shape, prediction, y)
    return ((prediction - y) ** 2).mean()
