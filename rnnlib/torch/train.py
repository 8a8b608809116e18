"""`fit`, `evaluate` and optimizers for torch models; the loop is the shared one.

A model in DistributedDataParallel is trained by all of its processes together.
"""

import math

import numpy as np
import torch

from rnnlib import training
from rnnlib.checks import check_type
from rnnlib.torch import distributed
from rnnlib.torch.functional import cross_entropy
from rnnlib.torch.layers import as_tensor


def SGD(model, lr, momentum=0.0):
    """Make a ``torch.optim.SGD`` of the model's parameters, as `rnnlib.numpy.SGD`.

    Parameters
    ----------
    model : nn.Module
    lr : float
        Learning rate, above 0.
    momentum : float, default=0.0
        In [0, 1).

    Returns
    -------
    torch.optim.SGD

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number, or out of range.
    """
    check_type("SGD", "model", model, torch.nn.Module, "a torch.nn.Module")
    training.check_settings("SGD", lr, momentum=momentum)
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def Adam(model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    """Make a ``torch.optim.Adam`` of the model's parameters, as `rnnlib.numpy.Adam`.

    Parameters
    ----------
    model : nn.Module
    lr : float, default=1e-3
        Learning rate, above 0.
    betas : pair of float, default=(0.9, 0.999)
        Decay of the first and the second moment, each in [0, 1).
    eps : float, default=1e-8
        Above 0; keeps the division from one by zero.

    Returns
    -------
    torch.optim.Adam

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number, or out of range.

    References
    ----------
    Kingma and Ba, 2015, algorithm 1.
    """
    check_type("Adam", "model", model, torch.nn.Module, "a torch.nn.Module")
    training.check_settings("Adam", lr, betas=betas, eps=eps)
    return torch.optim.Adam(model.parameters(), lr=lr, betas=tuple(betas), eps=eps)


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

    Raises
    ------
    TypeError, ValueError
        If ``max_norm`` is not a number, or not above 0.

    References
    ----------
    Pascanu, Mikolov and Bengio, 2013, algorithm 1.
    """
    training.check_max_norm(max_norm)
    if max_norm == math.inf:  # leave out the product by 1
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(grads))
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
    _check_optimizer(optimizer, model)
    if stateful:
        distributed.bare(model).check_forwards("stateful=True")
    device, group = _device(model), distributed.group_of(model)
    rank, world = (0, 1) if group is None else (group.rank(), group.size())

    def step(batch, state):
        optimizer.zero_grad(set_to_none=True)
        value, weight, state = _measure(model, batch, loss, state, stateful, device)
        check_type("fit", "the loss", value, torch.Tensor, "a scalar torch.Tensor")
        number = float(value.detach())
        if group is not None:  # gradients will be averaged: weigh them by entries
            own = weight
            number, weight = distributed.shared_mean(group, number, own, device)
            value = value * (own * world / weight)
        value.backward()
        norm = clip_grad_norm(model, math.inf if clip is None else clip)
        if math.isfinite(number) and math.isfinite(norm):
            optimizer.step()
        return number, norm, weight, _cut(state)

    engine = training.Engine(
        name=f"rnnlib.torch with {type(optimizer).__name__}"
        + (f" in {world} processes" if world > 1 else ""),
        step=step,
        evaluate=lambda data: evaluate(model, data, loss=loss, stateful=stateful),
        save=lambda: _save(distributed.bare(model), optimizer, group),
        load=lambda arrays, facts: _load(
            distributed.bare(model), optimizer, arrays, rank
        ),
        first=rank == 0,
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
        distributed.bare(model).check_forwards("stateful=True")
    device = _device(model)
    model = distributed.bare(model)  # nothing to add up: each process measures its own

    def measure(batch, state):
        value, weight, state = _measure(model, batch, loss, state, stateful, device)
        return float(value), weight, state

    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            return training.evaluate(measure, batches, stateful)
    finally:
        model.train(before)


evaluate.__doc__ = training.EVALUATE


def _check_optimizer(optimizer, model):
    kind = torch.optim.Optimizer
    check_type("fit", "optimizer", optimizer, kind, "a torch.optim.Optimizer")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for g in optimizer.param_groups for p in g["params"]):
        raise ValueError("fit: expected an optimizer built from this model")


def _device(model):
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _measure(model, batch, loss, state, stateful, device):
    """Loss, number of entries and next state of one batch of arrays or tensors."""
    x, y, lengths = training.unpack(batch)
    x, y = _placed("x", x, device), _placed("y", y, device)
    logits, mask, state = training.forward(model, x, lengths, state, stateful)
    value = loss(logits, y) if mask is None else loss(logits, y, mask=mask)
    return value, training.count(y.shape, logits.ndim, mask), state


def _placed(name, array, device):
    """A tensor on the device, of a tensor or array; for a tuple, one of each."""
    if isinstance(array, tuple):
        return tuple(_placed(name, a, device) for a in array)
    kinds = torch.Tensor | np.ndarray
    check_type("fit", name, array, kinds, "a torch.Tensor or a NumPy array")
    return as_tensor(array, device)


def _cut(state):
    """The same state without its history: no gradient flows into the batch before."""
    if isinstance(state, torch.Tensor):
        return state.detach()
    if isinstance(state, tuple | list):
        return type(state)(_cut(s) for s in state)
    return state


def _save(model, optimizer, group):
    arrays = {f"model.{k}": v for k, v in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            if value is not None:
                arrays[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    device = _device(model)
    random = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state()
    for name, state in random.items():  # (world, bytes)
        alone = group is None
        arrays[f"rng.{name}"] = (
            state[None] if alone else distributed.gathered(group, state, device)
        )
    return arrays, {}


def _load(model, optimizer, arrays, rank):
    weights, slots = {}, {}
    for name, array in arrays.items():
        part, key = name.split(".", 1)
        if part == "model":
            weights[key] = as_tensor(array)  # a plain nn.Module takes tensors only
        elif part == "optimizer":
            index, slot = key.split(".", 1)
            slots.setdefault(int(index), {})[slot] = as_tensor(array)
    model.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    torch.set_rng_state(as_tensor(arrays["rng.cpu"][rank]))
    if "rng.cuda" in arrays and _device(model).type == "cuda":
        torch.cuda.set_rng_state(as_tensor(arrays["rng.cuda"][rank]))
