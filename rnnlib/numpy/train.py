"""`fit` and `evaluate` for NumPy models: one step spelled out, the loop shared."""

import numpy as np

from rnnlib import training
from rnnlib.checks import check_lengths, check_state_dict
from rnnlib.numpy.layers import Dropout
from rnnlib.numpy.losses import cross_entropy
from rnnlib.numpy.optim import clip_grad_norm


def fit(
    model,
    batches,
    *,
    loss,
    optimizer,
    epochs,
    clip=None,
    validate=None,
    stateful=False,
    progress=True,
    checkpoint=None,
    resume=False,
):
    """Train a model.

    Parameters
    ----------
    model : Sequential
    batches : re-iterable of (x, y) or (x, y, lengths)
        One run through it is an epoch. If it has ``set_epoch``, it is told which one.
    loss : callable
        `cross_entropy`, `mse` or any function ``(logits, y)``. NumPy: returns the loss
        and its gradient. torch: returns a scalar tensor. When a batch has lengths and
        the logits are (B, T, O), it is called as ``loss(logits, y, mask=mask)`` with
        the (B, T) mask of valid steps.
    optimizer : SGD or Adam
        Built from ``model``; in torch any ``torch.optim.Optimizer``.
    epochs : int
        In all: a resumed training runs those that are left.
    clip : float, optional
        Largest gradient norm.
    validate : re-iterable of batches, optional
        Evaluated after each epoch.
    stateful : bool, default=False
        Truncated BPTT: each batch starts from the state in which the one before ended,
        but no gradient flows back into it. Batches must be consecutive windows of the
        same sequences (`rnnlib.batches.StreamBatches`).
    progress : bool, default=True
        Draw a bar, if tqdm is installed.
    checkpoint : path, optional
        Written after each epoch: model, optimizer, random generators, history.
    resume : bool, default=False
        Go on from ``checkpoint`` if it exists; ends with the weights that an
        uninterrupted training would have had.

    Returns
    -------
    rnnlib.training.History

    Raises
    ------
    FloatingPointError
        When a loss or gradient norm is not finite, naming epoch and step.
    """
    if optimizer.model is not model:
        raise ValueError("fit: expected an optimizer built from this model")

    def step(batch, state):
        x, y, lengths = training.unpack(batch)
        logits, state = model(x, lengths=lengths, state=state, return_state=True)
        value, dlogits, weight = _measure(loss, logits, y, lengths)
        model.backward(dlogits)
        norm = clip_grad_norm(model, clip) if clip is not None else None
        if np.isfinite(value) and (norm is None or np.isfinite(norm)):
            optimizer.step()
        return value, norm, weight, state

    engine = training.Engine(
        step=step,
        evaluate=lambda data: evaluate(model, data, loss=loss, stateful=stateful),
        save=lambda: _save(model, optimizer),
        load=lambda arrays, facts: _load(model, optimizer, arrays, facts),
    )
    before = model.training
    model.train()
    try:
        return training.fit(
            engine,
            batches,
            epochs=epochs,
            validate=validate,
            stateful=stateful,
            progress=progress,
            checkpoint=checkpoint,
            resume=resume,
        )
    finally:
        model.train(before)


def evaluate(model, batches, *, loss=cross_entropy, stateful=False):
    """Mean of a loss or metric over all entries of all batches, without training.

    Parameters
    ----------
    model : Sequential
    batches : iterable of (x, y) or (x, y, lengths)
    loss : callable, default=cross_entropy
        Or a metric such as `rnnlib.metrics.accuracy`; called as in `fit`.
    stateful : bool, default=False
        Carry the state from batch to batch, as in `fit`.

    Returns
    -------
    float
        Each batch weighs as much as it has entries.
    """
    before = model.training
    model.eval()
    try:
        state, total, weights = None, 0.0, 0
        for batch in batches:
            x, y, lengths = training.unpack(batch)
            logits, state = model(x, lengths=lengths, state=state, return_state=True)
            value, _, weight = _measure(loss, logits, y, lengths)
            total, weights = total + value * weight, weights + weight
            state = state if stateful else None
    finally:
        model.train(before)
    if not weights:
        raise ValueError("evaluate: expected at least one batch, got none")
    return total / weights


def _measure(loss, logits, y, lengths):
    """Loss, gradient (None for a metric) and number of entries of one batch."""
    mask, kwargs = None, {}
    if lengths is not None and logits.ndim == 3:
        B, T = logits.shape[:2]
        mask = np.arange(T) < check_lengths("fit", lengths, B, T)[:, None]
        kwargs = {"mask": mask}
    result = loss(logits, y, **kwargs)
    value, dlogits = result if isinstance(result, tuple) else (result, None)
    return float(value), dlogits, training.count(y.shape, logits.ndim, mask)


def _generators(model):
    return [layer.rng for layer in model.layers if isinstance(layer, Dropout)]


def _save(model, optimizer):
    arrays = {f"model.{k}": v for k, v in model.state_dict().items()}
    arrays |= {f"optimizer.{k}": v for k, v in optimizer.state_dict().items()}
    return arrays, {"rng": [g.bit_generator.state for g in _generators(model)]}


def _load(model, optimizer, arrays, facts):
    parts = {"model": {}, "optimizer": {}}
    for name, array in arrays.items():
        part, key = name.split(".", 1)
        parts[part][key] = array
    model.load_state_dict(parts["model"])
    expected = {k: v.shape for k, v in optimizer.state_dict().items()}
    check_state_dict(type(optimizer).__name__, expected, parts["optimizer"])
    optimizer.load_state_dict(parts["optimizer"])
    for generator, state in zip(_generators(model), facts["rng"], strict=True):
        generator.bit_generator.state = state
