"""The training loop that both engines share.

`fit` below knows nothing of arrays: an engine gives it four functions in an `Engine`.
`rnnlib.numpy.fit` and `rnnlib.torch.fit` wrap it, so that one description holds for both.
"""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rnnlib import checkpoint as files


@dataclass
class History:
    """What `fit` measured.

    Attributes
    ----------
    step_loss : list of float
        Loss of each step.
    grad_norm : list of float
        2-norm of all gradients of each step, before clipping; empty without ``clip``.
    loss, val_loss, seconds : list of float
        Of each epoch: mean training loss while it ran, loss on ``validate`` after it
        (empty without ``validate``), and how long it took.
    """

    step_loss: list = field(default_factory=list)
    grad_norm: list = field(default_factory=list)
    loss: list = field(default_factory=list)
    val_loss: list = field(default_factory=list)
    seconds: list = field(default_factory=list)


@dataclass
class Engine:
    """What a training loop needs from an engine.

    Attributes
    ----------
    step : callable
        ``(batch, state) -> (loss, gradient norm or None, weight, next state)``: one
        optimizer step; ``weight`` is the number of entries the loss is a mean over.
    evaluate : callable
        ``(batches) -> loss``.
    save : callable
        ``() -> (arrays, facts)`` of model, optimizer and random generators; arrays by
        name, facts a dict that JSON can hold.
    load : callable
        ``(arrays, facts)``: takes back what ``save`` gave.
    """

    step: callable
    evaluate: callable
    save: callable
    load: callable


def unpack(batch):
    """Split a batch into (x, y, lengths), lengths None if absent."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise TypeError(
            "fit: expected batches of (x, y) or (x, y, lengths), "
            f"got {type(batch).__name__}"
        )
    return (*batch, None)[:3]


def count(y_shape, logits_ndim, mask):
    """Entries that a mean loss is over: unmasked steps, or sequences."""
    if mask is not None:
        return int(mask.sum())
    return int(math.prod(y_shape[: logits_ndim - 1]))


def fit(
    engine,
    batches,
    *,
    epochs,
    validate=None,
    stateful=False,
    progress=True,
    checkpoint=None,
    resume=False,
):
    """Train; see `rnnlib.numpy.fit` for what the arguments mean."""
    if iter(batches) is batches:
        raise TypeError(
            "fit: expected batches that can be run through again in each epoch, such as "
            "a list or rnnlib.batches.Batches; got a one-way iterator"
        )
    if resume and checkpoint is None:
        raise ValueError("fit: resume=True needs checkpoint=PATH")
    history = History()
    if resume and Path(checkpoint).exists():
        arrays, meta = files.load(checkpoint)
        facts = json.loads(meta["fit"])
        engine.load(arrays, facts)
        history = History(**facts["history"])
    bar = _bar(batches, epochs, progress)
    for epoch in range(len(history.loss), epochs):
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(epoch)
        begin = time.perf_counter()
        _epoch(engine, batches, history, epoch, stateful, bar)
        history.seconds.append(time.perf_counter() - begin)
        if validate is not None:
            history.val_loss.append(engine.evaluate(validate))
        if checkpoint is not None:
            arrays, facts = engine.save()
            facts["history"] = asdict(history)
            files.save(checkpoint, arrays, {"fit": json.dumps(facts)})
    if bar is not None:
        bar.close()
    return history


def _epoch(engine, batches, history, epoch, stateful, bar):
    state, total, weights = None, 0.0, 0
    for k, batch in enumerate(batches):
        loss, norm, weight, state = engine.step(batch, state)
        bad = not math.isfinite(loss)
        if bad or (norm is not None and not math.isfinite(norm)):
            what = f"loss is {loss}" if bad else f"gradient norm is {norm}"
            raise FloatingPointError(
                f"fit: {what} at epoch {epoch + 1}, step {k + 1} "
                f"({len(history.step_loss)} good steps before it); look for NaN in that "
                "batch, lower the learning rate, or clip the gradient"
            )
        if not stateful:
            state = None
        history.step_loss.append(loss)
        if norm is not None:
            history.grad_norm.append(norm)
        total, weights = total + loss * weight, weights + weight
        if bar is not None:
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.4f}", refresh=False)
            bar.update()
    if not weights:
        raise ValueError("fit: expected at least one batch, got none")
    history.loss.append(total / weights)


def _bar(batches, epochs, progress):
    """A tqdm bar, or None where it is not wanted or tqdm is not installed."""
    if not progress:
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    total = epochs * len(batches) if hasattr(batches, "__len__") else None
    return tqdm(total=total, desc="fit", unit="step")
