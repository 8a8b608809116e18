"""The lattice of CTC: every way to spread a row of labels over time, as index arrays.

A path walks through the states blank, label 1, blank, label 2, …, blank; at each step
it stays, moves on by one, or skips a blank between two different labels. Which state
stands for which label and where a path may go is the same for both engines; they add
the arithmetic. The backward pass is the forward pass over the sequence read from its
end, so each sequence stands here twice and one recursion does for both.
"""

from typing import NamedTuple

import numpy as np

from rnnlib.checks import check_dtype, check_ids, check_shape, check_size

PADDING = -1  # fills up a row of y


class Lattice(NamedTuple):
    """Indices of N = 2B rows: B sequences, then the same B read backwards.

    Attributes
    ----------
    mask : bool array of shape (B, T)
        The valid steps.
    row : int array of shape (N, 1)
        The sequence that a row reads.
    step : int array of shape (T, N, 1)
        The step of that sequence that it reads at each of its own steps.
    state : int array of shape (N, L)
        The state of that sequence that each of its own states is.
    label : int array of shape (N, L)
        The label that a state emits; L = 2S + 1.
    exists : bool array of shape (N, L)
        False for the states that a shorter target does not have.
    skip : bool array of shape (N, L)
        True where a path may come straight from two states before.
    """

    mask: object
    row: object
    step: object
    state: object
    label: object
    exists: object
    skip: object


def with_blanks(y, blank):
    """The labels of the states: ``a b`` (…, S) becomes ``_ a _ b _`` (…, 2S + 1)."""
    states = np.full((*y.shape[:-1], 2 * y.shape[-1] + 1), blank, np.int64)
    states[..., 1::2] = y
    return states


def may_skip(states):
    """Where a path may come from two states before: only if the labels differ.

    Two blanks are equal too, so no path skips a label.
    """
    skip = np.zeros(states.shape, bool)
    skip[..., 2:] = states[..., 2:] != states[..., :-2]
    return skip


def ctc_lattice(shape, y, mask, blank):
    """The `Lattice` of targets ``y`` for logits of ``shape`` (B, T, V), or raise."""
    B, T, V = shape
    y, mask = (
        a.detach().cpu().numpy() if hasattr(a, "detach") else a for a in (y, mask)
    )
    blank = check_size("ctc_loss", "blank", blank, least=0)
    check_ids("ctc_loss", np.array(blank), 0, V, name="blank")
    counts = _count_labels(y, B, V, blank)
    y = y.astype(np.int64)
    mask = _valid_steps(mask, B, T)
    steps = mask.sum(axis=1)
    _check_feasible(y, counts, steps)

    states = with_blanks(np.where(y == PADDING, blank, y), blank)  # (B, L)
    length = 2 * counts[:, None] + 1
    s, t = np.arange(states.shape[1]), np.arange(T)
    # From the end to the start; what lies past the end is mirrored in itself.
    s_back = (length - 1 - s) % len(s)  # (B, L)
    t_back = (steps[:, None] - 1 - t) % T  # (B, T)
    label = np.vstack([states, np.take_along_axis(states, s_back, axis=1)])
    step = np.vstack([np.broadcast_to(t, (B, T)), t_back])
    return Lattice(
        mask=mask,
        row=np.tile(np.arange(B), 2)[:, None],
        step=np.ascontiguousarray(step.T)[:, :, None],
        state=np.vstack([np.broadcast_to(s, states.shape), s_back]),
        label=label,
        exists=np.tile(s < length, (2, 1)),
        skip=may_skip(label),
    )


def _count_labels(y, B, V, blank):
    """Number of labels in each row of ``y``; raise unless padding ends each row."""
    check_shape("ctc_loss", "y", y, (B, y.shape[1] if y.ndim == 2 else "S"))
    some = y if y.size else np.zeros(1, y.dtype)  # an empty array has a dtype, too
    check_ids("ctc_loss", some, PADDING, V, name="y")
    if (y == blank).any():
        row = int((y == blank).any(axis=1).argmax())
        raise ValueError(
            f"ctc_loss: expected y without the blank, {blank}, got it in row {row}"
        )
    is_label = y != PADDING
    if (is_label[:, 1:] > is_label[:, :-1]).any():
        row = int((is_label[:, 1:] > is_label[:, :-1]).any(axis=1).argmax())
        raise ValueError(
            f"ctc_loss: expected the padding, {PADDING}, at the end of each row of y, "
            f"got a label after it in row {row}"
        )
    return is_label.sum(axis=1)


def _valid_steps(mask, B, T):
    """The mask as an array; raise unless each row begins with its valid steps."""
    if mask is None:
        return np.ones((B, T), bool)
    mask = np.asarray(mask)
    check_shape("ctc_loss", "mask", mask, (B, T))
    check_dtype("ctc_loss", "mask", mask, "bool")
    bad = ~mask[:, 0] | (mask[:, 1:] > mask[:, :-1]).any(axis=1)
    if bad.any():
        raise ValueError(
            "ctc_loss: expected a mask whose rows begin with at least one True and "
            f"have no True after a False, got another row {int(bad.argmax())}"
        )
    return mask


def _check_feasible(y, counts, steps):
    """Raise unless each target fits into its steps: equal neighbours need a blank."""
    repeats = ((y[:, 1:] == y[:, :-1]) & (y[:, 1:] != PADDING)).sum(axis=1)
    short = steps < counts + repeats
    if short.any():
        row = int(short.argmax())
        raise ValueError(
            f"ctc_loss: expected at least {counts[row] + repeats[row]} steps in row "
            f"{row} for {counts[row]} labels with {repeats[row]} adjacent repeats, "
            f"got {steps[row]}"
        )
