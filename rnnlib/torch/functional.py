"""Activations and losses under the same names as in `rnnlib.numpy`."""

import torch

from rnnlib.checks import check_ids, check_shape

LEAKY_SLOPE = 0.01


def sigmoid(x):
    """``1 / (1 + exp(-x))``, elementwise; tensor in, tensor of the same shape out."""
    return torch.sigmoid(x)


def tanh(x):
    """Hyperbolic tangent, elementwise; tensor in, tensor of the same shape out."""
    return torch.tanh(x)


def relu(x):
    """``max(x, 0)``, elementwise; tensor in, tensor of the same shape out."""
    return torch.relu(x)


def leaky_relu(x):
    """``x`` above zero, ``0.01 x`` below; tensor in, tensor of the same shape out."""
    return torch.nn.functional.leaky_relu(x, LEAKY_SLOPE)


def softmax(x, axis=-1):
    """``exp(x) / sum(exp(x))`` along ``axis``; tensor of the same shape out."""
    return torch.softmax(x, dim=axis)


ACTIVATIONS = {
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "softmax": softmax,
}


def _mask(owner, mask, shape, device):
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    mask = torch.as_tensor(mask, dtype=torch.bool, device=device)
    check_shape(owner, "mask", mask, shape)
    if not mask.any():
        raise ValueError(f"{owner}: expected a mask with at least one True, got none")
    return mask


def cross_entropy(logits, y, mask=None):
    """Mean of ``-log softmax(logits)[y]`` over all (unmasked) entries, in nats.

    Parameters
    ----------
    logits : tensor of shape (B, V) or (B, T, V)
        Scores before the softmax.
    y : integer tensor of shape (B,) or (B, T)
        Classes in [0, V). Entries under a false mask may hold anything.
    mask : tensor or array of the shape of ``y``, optional
        True where an entry counts.

    Returns
    -------
    tensor
        A scalar, in nats per counted entry.

    Raises
    ------
    TypeError
        If ``y`` does not hold integers.
    ValueError
        For shapes that do not fit, classes out of range, or a mask without a True.
    """
    expected = ("B", "V") if logits.ndim == 2 else ("B", "T", "V")
    check_shape("cross_entropy", "logits", logits, expected)
    V = logits.shape[-1]
    check_shape("cross_entropy", "y", y, tuple(logits.shape[:-1]))
    mask = _mask("cross_entropy", mask, tuple(y.shape), logits.device)
    logits, y = logits[mask], y[mask]
    check_ids("cross_entropy", y, 0, V, name="y")
    return torch.nn.functional.cross_entropy(logits, y.long())


def mse(prediction, y, mask=None):
    """Mean of ``(prediction - y)²`` over all (unmasked) entries.

    Parameters
    ----------
    prediction : tensor of shape (B, O) or (B, T, O)
    y : tensor of the shape of ``prediction``
    mask : tensor or array of shape (B,) or (B, T), optional
        True where the O numbers of an entry count.

    Returns
    -------
    tensor
        A scalar, in squared units of ``y``.
    """
    expected = ("B", "O") if prediction.ndim == 2 else ("B", "T", "O")
    check_shape("mse", "prediction", prediction, expected)
    check_shape("mse", "y", y, tuple(prediction.shape))
    mask = _mask("mse", mask, tuple(prediction.shape[:-1]), prediction.device)
    return ((prediction - y)[mask] ** 2).mean()
