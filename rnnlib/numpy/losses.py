"""Losses: each returns the mean loss and its gradient."""

import numpy as np

from rnnlib.checks import (
    check_dtype,
    check_floats,
    check_ids,
    check_shape,
    check_type,
)


def _check(owner, name, scores, last, y):
    """Raise unless both are arrays, and scores (B, last) or (B, T, last) of floats."""
    check_type(owner, name, scores, np.ndarray, "a NumPy array")
    check_type(owner, "y", y, np.ndarray, "a NumPy array")
    free = ("B",) if scores.ndim < 3 else ("B", "T")
    check_shape(owner, name, scores, (*free, last))
    check_floats(owner, name, scores)


def _mask(owner, mask, shape):
    """The mask as an array of ``shape``, all True when it is None."""
    if mask is None:
        return np.ones(shape, bool)
    mask = np.asarray(mask)
    check_shape(owner, "mask", mask, shape)
    check_dtype(owner, "mask", mask, "bool")
    if not mask.any():
        raise ValueError(f"{owner}: expected a mask with at least one True, got none")
    return mask


def cross_entropy(logits, y, mask=None):
    """Mean of ``-log softmax(logits)[y]`` over all (unmasked) entries, in nats.

    Parameters
    ----------
    logits : ndarray of shape (B, V) or (B, T, V)
        Scores before the softmax.
    y : integer ndarray of shape (B,) or (B, T)
        Classes in [0, V). Entries under a false mask may hold anything.
    mask : bool ndarray of the shape of ``y``, optional
        True where an entry counts.

    Returns
    -------
    loss : float
        Nats per counted entry.
    dlogits : ndarray of the shape of ``logits``

    Raises
    ------
    TypeError
        If ``logits`` do not hold floats, ``y`` integers and ``mask`` bools.
    ValueError
        For shapes that do not fit, classes out of range, or a mask without a True.

    Examples
    --------
    >>> loss, dlogits = cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> round(loss, 6), dlogits
    (1.386294, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    _check("cross_entropy", "logits", logits, "V", y)
    V = logits.shape[-1]
    check_shape("cross_entropy", "y", y, logits.shape[:-1])
    mask = _mask("cross_entropy", mask, y.shape)
    check_ids("cross_entropy", y[mask], 0, V, name="y")
    if not mask.all():  # whatever stands there, NaN too, becomes 0
        logits, y = np.where(mask[..., None], logits, 0), np.where(mask, y, 0)
    weights = mask / mask.sum()
    shifted = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=-1, keepdims=True)
    picked = np.take_along_axis(shifted, y[..., None], axis=-1)
    nats = (np.log(total) - picked)[..., 0]
    loss = float((weights * nats).sum())  # eq-cross-entropy
    dlogits = e / total  # the softmax …
    at = y[..., None]
    np.put_along_axis(
        dlogits, at, np.take_along_axis(dlogits, at, axis=-1) - 1, axis=-1
    )  # … minus the one-hot target
    dlogits *= weights[..., None].astype(logits.dtype)
    return loss, dlogits


def mse(prediction, y, mask=None):
    """Mean of ``(prediction - y)²`` over all (unmasked) entries.

    Parameters
    ----------
    prediction : ndarray of shape (B, O) or (B, T, O)
    y : ndarray of the shape of ``prediction``
        Targets. Entries under a false mask may hold anything.
    mask : bool ndarray of shape (B,) or (B, T), optional
        True where the O numbers of an entry count.

    Returns
    -------
    loss : float
        In squared units of ``y``.
    dprediction : ndarray of the shape of ``prediction``

    Raises
    ------
    TypeError
        If ``prediction`` and ``y`` do not hold floats and ``mask`` bools.
    ValueError
        For shapes that do not fit, or a mask without a True.

    Examples
    --------
    >>> mse(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    (2.0, array([[ 0., -2.]]))
    """
    _check("mse", "prediction", prediction, "O", y)
    check_shape("mse", "y", y, prediction.shape)
    check_floats("mse", "y", y)
    mask = _mask("mse", mask, prediction.shape[:-1])[..., None]
    error = np.where(mask, prediction, 0) - np.where(mask, y, 0)
    weights = mask / (mask.sum() * prediction.shape[-1])
    loss = float((weights * error**2).sum())
    return loss, (2 * weights * error).astype(prediction.dtype)
