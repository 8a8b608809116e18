"""Losses: each returns the mean loss and its gradient."""

import numpy as np

from rnnlib.checks import check_ids, check_shape


def _weights(owner, mask, shape):
    """1/n for every entry that counts, 0 for the others; n entries count."""
    if mask is None:
        return np.full(shape, 1 / np.prod(shape))
    mask = np.asarray(mask)
    check_shape(owner, "mask", mask, shape)
    mask = mask.astype(bool)
    if not mask.any():
        raise ValueError(f"{owner}: expected a mask with at least one True, got none")
    return mask / mask.sum()


def cross_entropy(logits, y, mask=None):
    """Mean of ``-log softmax(logits)[y]`` over all (unmasked) entries, in nats.

    Parameters
    ----------
    logits : ndarray of shape (B, V) or (B, T, V)
        Scores before the softmax.
    y : integer ndarray of shape (B,) or (B, T)
        Classes in [0, V). Entries under a false mask may hold anything.
    mask : ndarray of the shape of ``y``, optional
        True where an entry counts.

    Returns
    -------
    loss : float
        Nats per counted entry.
    dlogits : ndarray of the shape of ``logits``

    Raises
    ------
    TypeError
        If ``y`` does not hold integers.
    ValueError
        For shapes that do not fit, classes out of range, or a mask without a True.

    Examples
    --------
    >>> loss, dlogits = cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> round(loss, 6), dlogits
    (1.386294, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    expected = ("B", "V") if logits.ndim == 2 else ("B", "T", "V")
    check_shape("cross_entropy", "logits", logits, expected)
    V = logits.shape[-1]
    check_shape("cross_entropy", "y", y, logits.shape[:-1])
    weights = _weights("cross_entropy", mask, y.shape)
    if mask is not None:
        y = np.where(weights > 0, y, 0)
    check_ids("cross_entropy", y, 0, V, name="y")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=-1, keepdims=True)
    picked = np.take_along_axis(shifted, y[..., None], axis=-1)
    nats = (np.log(total) - picked)[..., 0]
    loss = float((weights * np.where(weights > 0, nats, 0)).sum())  # eq-cross-entropy
    dlogits = e / total  # the softmax …
    at = y[..., None]
    np.put_along_axis(
        dlogits, at, np.take_along_axis(dlogits, at, axis=-1) - 1, axis=-1
    )  # … minus the one-hot target: eq-softmax-gradient
    dlogits *= weights[..., None].astype(logits.dtype)
    dlogits[weights == 0] = 0
    return loss, dlogits


def mse(prediction, y, mask=None):
    """Mean of ``(prediction - y)²`` over all (unmasked) entries.

    Parameters
    ----------
    prediction : ndarray of shape (B, O) or (B, T, O)
    y : ndarray of the shape of ``prediction``
    mask : ndarray of shape (B,) or (B, T), optional
        True where the O numbers of an entry count.

    Returns
    -------
    loss : float
        In squared units of ``y``.
    dprediction : ndarray of the shape of ``prediction``

    Examples
    --------
    >>> mse(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    (2.0, array([[ 0., -2.]]))
    """
    expected = ("B", "O") if prediction.ndim == 2 else ("B", "T", "O")
    check_shape("mse", "prediction", prediction, expected)
    check_shape("mse", "y", y, prediction.shape)
    shape = prediction.shape[:-1]
    weights = _weights("mse", mask, shape)[..., None] / prediction.shape[-1]
    error = np.where(weights > 0, prediction - y, 0)
    loss = float((weights * error**2).sum())
    return loss, (2 * weights * error).astype(prediction.dtype)
