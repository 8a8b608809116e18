"""`fit` and `evaluate` for NumPy models: one step spelled out, the loop shared."""

import math

import numpy as np

from rnnlib import training
from rnnlib.checks import check_state_dict, check_type
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
    if getattr(optimizer, "model", None) is not model:
        raise ValueError("fit: expected an optimizer built from this model")
    if stateful:
        model.check_forwards("stateful=True")

    @np.errstate(over="ignore", invalid="ignore")  # what overflows is an error below
    def step(batch, state):
        value, dlogits, weight, state = _measure(model, batch, loss, state, stateful)
        check_type("fit", "gradient of the loss", dlogits, np.ndarray, "a NumPy array")
        model.backward(dlogits)
        norm = clip_grad_norm(model, math.inf if clip is None else clip)
        if math.isfinite(value) and math.isfinite(norm):
            optimizer.step()
        return value, norm, weight, state

    engine = training.Engine(
        name=f"rnnlib.numpy with {type(optimizer).__name__}",
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


fit.__doc__ = training.FIT


def evaluate(model, batches, *, loss=cross_entropy, stateful=False):
    if stateful:
        model.check_forwards("stateful=True")

    def measure(batch, state):
        value, _, weight, state = _measure(model, batch, loss, state, stateful)
        return value, weight, state

    before = model.training
    model.eval()
    try:
        return training.evaluate(measure, batches, stateful)
    finally:
        model.train(before)


evaluate.__doc__ = training.EVALUATE


def _measure(model, batch, loss, state, stateful):
    """Loss, gradient (None for a metric), number of entries and next state."""
    x, y, lengths = training.unpack(batch)
    logits, mask, state = training.forward(model, x, lengths, state, stateful)
    check_type("fit", "y", y, np.ndarray, "a NumPy array")
    result = loss(logits, y) if mask is None else loss(logits, y, mask=mask)
    value, dlogits = result if isinstance(result, tuple) else (result, None)
    return float(value), dlogits, training.count(y.shape, logits.ndim, mask), state


def _generators(layer):
    """Those of all Dropout layers inside, in order."""
    if isinstance(layer, Dropout):
        return [layer.rng]
    return [rng for part in layer._parts.values() for rng in _generators(part)]


def _save(model, optimizer):
    arrays = {f"model.{k}": v for k, v in model.state_dict().items()}
    arrays |= {f"optimizer.{k}": v for k, v in optimizer.state_dict().items()}
    return arrays, {"rng": [g.bit_generator.state for g in _generators(model)]}


def _load(model, optimizer, arrays, facts):
    parts = {"model": {}, "optimizer": {}}
    for name, array in arrays.items():
        part, key = name.split(".", 1)
        parts[part][key] = array
    expected = {k: p.shape for k, p in model.params.items()}
    check_state_dict(model, expected, parts["model"])
    generators = _generators(model)
    if len(facts["rng"]) != len(generators):
        raise ValueError(
            f"{model}: expected a checkpoint with {len(generators)} Dropout layers, "
            f"got {len(facts['rng'])}"
        )
    # Everything fits, so from here on nothing stops half way.
    optimizer.load_state_dict(parts["optimizer"])
    model.load_state_dict(parts["model"])
    for generator, state in zip(generators, facts["rng"], strict=True):
        generator.bit_generator.state = state
