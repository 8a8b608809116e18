"""`fit`, `evaluate` and optimizers for torch models; the loop is the shared one."""

import json

import numpy as np
import torch

from rnnlib import training
from rnnlib.checks import check_lengths
from rnnlib.numpy.train import fit as _described
from rnnlib.torch.functional import cross_entropy


def SGD(model, lr, momentum=0.0):
    """``torch.optim.SGD`` on the model's parameters; as `rnnlib.numpy.SGD`."""
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def Adam(model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    """``torch.optim.Adam`` on the model's parameters; as `rnnlib.numpy.Adam`."""
    return torch.optim.Adam(model.parameters(), lr=lr, betas=betas, eps=eps)


def clip_grad_norm(model, max_norm):
    """Scale all gradients so that their joint 2-norm is at most ``max_norm``.

    Parameters
    ----------
    model : nn.Module
        After ``backward``.
    max_norm : float
        Above 0; infinity measures without clipping.

    Returns
    -------
    float
        The norm before clipping.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: expected max_norm > 0, got {max_norm!r}")
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm))


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
    device = _device(model)

    def step(batch, state):
        optimizer.zero_grad(set_to_none=True)
        value, weight, state = _measure(model, batch, loss, state, device)
        value.backward()
        norm = clip_grad_norm(model, clip) if clip is not None else None
        number = float(value.detach())
        if np.isfinite(number) and (norm is None or np.isfinite(norm)):
            optimizer.step()
        return number, norm, weight, _cut(state)

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


fit.__doc__ = _described.__doc__


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
    device = _device(model)
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            state, total, weights = None, 0.0, 0
            for batch in batches:
                value, weight, state = _measure(model, batch, loss, state, device)
                total, weights = total + float(value) * weight, weights + weight
                state = state if stateful else None
    finally:
        model.train(before)
    if not weights:
        raise ValueError("evaluate: expected at least one batch, got none")
    return total / weights


def _device(model):
    return next(model.parameters()).device


def _measure(model, batch, loss, state, device):
    """Loss, number of entries and next state of one batch of arrays or tensors."""
    x, y, lengths = training.unpack(batch)
    x, y = (torch.as_tensor(a, device=device) for a in (x, y))
    logits, state = model(x, lengths=lengths, state=state, return_state=True)
    mask, kwargs = None, {}
    if lengths is not None and logits.ndim == 3:
        B, T = logits.shape[:2]
        mask = np.arange(T) < check_lengths("fit", lengths, B, T)[:, None]
        kwargs = {"mask": mask}
    value = loss(logits, y, **kwargs)
    return value, training.count(y.shape, logits.ndim, mask), state


def _cut(state):
    """The same state without its history: no gradient flows into the batch before."""
    if isinstance(state, torch.Tensor):
        return state.detach()
    if isinstance(state, tuple | list):
        return type(state)(_cut(s) for s in state)
    return state


def _save(model, optimizer):
    arrays = {f"model.{k}": v for k, v in model.state_dict().items()}
    stored = optimizer.state_dict()
    for index, slots in stored["state"].items():
        for name, value in slots.items():
            arrays[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    arrays["rng.cpu"] = torch.get_rng_state()
    if _device(model).type == "cuda":
        arrays["rng.cuda"] = torch.cuda.get_rng_state()
    return arrays, {"groups": json.dumps(stored["param_groups"])}


def _load(model, optimizer, arrays, facts):
    weights, slots = {}, {}
    for name, array in arrays.items():
        part, key = name.split(".", 1)
        if part == "model":
            weights[key] = array
        elif part == "optimizer":
            index, slot = key.split(".", 1)
            slots.setdefault(int(index), {})[slot] = torch.from_numpy(array)
    model.load_state_dict(weights)
    optimizer.load_state_dict(
        {"state": slots, "param_groups": json.loads(facts["groups"])}
    )
    torch.set_rng_state(torch.from_numpy(arrays["rng.cpu"]))
    if "rng.cuda" in arrays and _device(model).type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(arrays["rng.cuda"]))
