"""The training loop that both engines share.

`fit` below knows nothing of arrays: an engine gives it four functions in an `Engine`.
`rnnlib.numpy.fit` and `rnnlib.torch.fit` wrap it, and `FIT` and `EVALUATE` describe
them, so that one description holds for both.
"""

import json
import math
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rnnlib import checkpoint as files
from rnnlib.checks import check_lengths, check_number, check_size, type_name

FIT = """Train a model.

    Parameters
    ----------
    model : Sequential or EncoderDecoder
    batches : re-iterable of (x, y) or (x, y, lengths)
        One run through it is an epoch. If it has ``set_epoch``, it is told which one.
        x of shape (B, T) or (B, T, I), y of a shape that the loss takes, lengths (B,).
        For an EncoderDecoder x is the pair (source, target_in) of shapes (B, T) and
        (B, U), y is (B, U), and lengths is (source_lengths, target_lengths).
    loss : callable
        `cross_entropy`, `mse`, `ctc_loss` or any function ``(logits, y)``. NumPy:
        returns the loss and its gradient. torch: returns a scalar tensor. When a batch
        has lengths and the logits are (B, T, O), it is called as
        ``loss(logits, y, mask=mask)`` with the (B, T) mask of valid steps, of the
        target if x is a pair.
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
        uninterrupted training would have had. The settings are those of this call:
        the learning rate is the optimizer's, not the file's.

    Returns
    -------
    rnnlib.training.History

    Raises
    ------
    FloatingPointError
        When a loss or gradient norm is not finite, naming epoch and step. The model
        keeps the weights that it had before that step.
    TypeError, ValueError
        For batches, a loss, an optimizer or a checkpoint that do not fit.
    """

EVALUATE = """Mean of a loss or metric over all entries of batches, without training.

    Parameters
    ----------
    model : Sequential or EncoderDecoder
    batches : iterable of (x, y) or (x, y, lengths)
        Arrays of the shapes that `fit` takes.
    loss : callable, default=cross_entropy
        Or a metric such as `rnnlib.metrics.accuracy`; called as in `fit`.
    stateful : bool, default=False
        Carry the state from batch to batch, as in `fit`.

    Returns
    -------
    float
        In the loss's units, nats for `cross_entropy`. Each batch weighs as much as it
        has entries.

    Raises
    ------
    ValueError
        If there is no batch.
    """


@dataclass
class History:
    """What `fit` measured.

    Attributes
    ----------
    step_loss : list of float
        Loss of each step.
    grad_norm : list of float
        2-norm of all gradients of each step, before clipping.
    loss, val_loss, seconds : list of float
        Of each epoch: mean training loss while it ran, loss on ``validate`` after it
        (empty without ``validate``), and how long its training took.
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
    name : str
        Engine and optimizer; a checkpoint is taken back only under the same name.
    step : callable
        ``(batch, state) -> (loss, gradient norm, weight, next state)``: one optimizer
        step, left out if the loss or the norm is not finite; ``weight`` is the number
        of entries the loss is a mean over.
    evaluate : callable
        ``(batches) -> loss``.
    save : callable
        ``() -> (arrays, facts)`` of model, optimizer and random generators; arrays by
        name, facts a dict that JSON can hold.
    load : callable
        ``(arrays, facts)``: takes back what ``save`` gave.
    first : bool
        Whether this process writes the checkpoint and draws the bar; of several that
        train one model together, one does.
    """

    name: str
    step: callable
    evaluate: callable
    save: callable
    load: callable
    first: bool = True


def check_settings(owner, lr, momentum=0.0, betas=(0.0, 0.0), eps=1.0):
    """Raise unless an optimizer's settings are numbers in range."""
    for name, value in {"lr": lr, "eps": eps}.items():
        check_number(owner, name, value, lambda v: 0 < v < math.inf, "> 0 and finite")
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"{owner}: expected betas to be a pair, got {betas!r}")
    for name, value in [("momentum", momentum), *(("betas", b) for b in betas)]:
        check_number(owner, name, value, lambda v: 0 <= v < 1, "in [0, 1)")


def check_max_norm(max_norm):
    """Raise unless a gradient norm can be clipped to ``max_norm``."""
    check_number("clip_grad_norm", "max_norm", max_norm, lambda n: n > 0, "> 0")


def unpack(batch):
    """Split a batch into (x, y, lengths), lengths None if absent."""
    if not isinstance(batch, tuple | list):
        raise TypeError(
            "fit: expected batches of (x, y) or (x, y, lengths), "
            f"got {type_name(batch)}"
        )
    if len(batch) not in (2, 3):
        raise ValueError(
            "fit: expected batches of (x, y) or (x, y, lengths), "
            f"got {len(batch)} entries"
        )
    return (*batch, None)[:3]


def forward(model, x, lengths, state, stateful):
    """Logits, the mask of their valid steps (None if all are), and the next state."""
    if stateful:
        logits, state = model(x, lengths=lengths, state=state, return_state=True)
    else:
        logits = model(x, lengths=lengths)
    if lengths is None or logits.ndim < 3:
        return logits, None, state
    if isinstance(x, tuple):  # (source, target_in): the logits' steps are the target's
        lengths = lengths[-1]
    B, T = logits.shape[:2]
    mask = np.arange(T) < check_lengths("fit", lengths, B, T)[:, None]
    return logits, mask, state


def count(y_shape, logits_ndim, mask):
    """Entries that a mean loss is over: unmasked steps, or sequences."""
    if mask is not None:
        return int(mask.sum())
    return int(math.prod(y_shape[: logits_ndim - 1]))


def evaluate(measure, batches, stateful):
    """Mean of ``measure(batch, state) -> (value, weight, next state)`` over batches."""
    state, total, weights = None, 0.0, 0
    for batch in batches:
        value, weight, state = measure(batch, state)
        total, weights = total + value * weight, weights + weight
        state = state if stateful else None
    if not weights:
        raise ValueError("evaluate: expected at least one batch, got none")
    return total / weights


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
    check_size("fit", "epochs", epochs)
    for name, data in {"batches": batches, "validate": validate}.items():
        if data is not None and iter(data) is data:
            raise TypeError(
                f"fit: expected {name} that can be run through again in each epoch, "
                "such as a list or rnnlib.batches.Batches; got a one-way iterator"
            )
    if checkpoint is not None:
        files.check_folder(checkpoint)  # now, not after an epoch of work
    elif resume:
        raise ValueError("fit: resume=True needs checkpoint=PATH")
    history = History()
    if resume and Path(checkpoint).exists():
        history = _resume(engine, checkpoint)
    bar = _bar(batches, epochs, len(history.loss), progress and engine.first)
    try:
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
                if not engine.first:
                    continue
                facts |= {"by": engine.name, "history": asdict(history)}
                files.save(checkpoint, arrays, {"fit": json.dumps(facts)})
    finally:
        if bar is not None:
            bar.close()
    return history


def _resume(engine, checkpoint):
    """Take back model, optimizer and generators; returns the history so far."""
    arrays, metadata = files.load(checkpoint)
    if "fit" not in metadata:
        raise ValueError(
            f"fit: {checkpoint} holds no training to resume; "
            "only fit(…, checkpoint=PATH) writes one"
        )
    facts = json.loads(metadata["fit"])
    if facts["by"] != engine.name:
        raise ValueError(
            f"fit: {checkpoint} was written by {facts['by']}, not by {engine.name}"
        )
    engine.load(arrays, facts)
    return History(**facts["history"])


def _epoch(engine, batches, history, epoch, stateful, bar):
    state, total, weights = None, 0.0, 0
    for k, batch in enumerate(batches):
        loss, norm, weight, state = engine.step(batch, state)
        if not math.isfinite(loss) or not math.isfinite(norm):
            bad = f"loss is {loss}"
            if math.isfinite(loss):
                bad = f"gradient norm is {norm}"
            raise FloatingPointError(
                f"fit: {bad} at epoch {epoch + 1}, step {k + 1} "
                f"({len(history.step_loss)} good steps before it); look for NaN in "
                "that batch, lower the learning rate, or clip the gradient"
            )
        if not stateful:
            state = None
        history.step_loss.append(loss)
        history.grad_norm.append(norm)
        total, weights = total + loss * weight, weights + weight
        if bar is not None:
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.4f}", refresh=False)
            bar.update()
    if not weights:
        raise ValueError("fit: expected at least one batch, got none")
    history.loss.append(total / weights)


def _bar(batches, epochs, done, progress):
    """A tqdm bar, or None where it is not wanted or tqdm is not installed."""
    if not progress:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # in a notebook without ipywidgets
            from tqdm.auto import tqdm
    except ImportError:
        return None
    steps = len(batches) if hasattr(batches, "__len__") else None
    total, initial = (epochs * steps, done * steps) if steps else (None, 0)
    return tqdm(total=total, initial=initial, desc="fit", unit="step")
