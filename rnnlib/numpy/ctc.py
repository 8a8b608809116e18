"""CTC: the loss for targets that come without an alignment.

Only the labels are known, not the steps at which they occur, so the probability of a
target is the sum over all paths that spell it. There are too many to list; the
forward-backward recursion adds them up step by step. `ctc_forward_backward` is that
recursion as one reads it, for one sequence; `ctc_loss` runs it for a whole batch at
once. Both work with logs, as a product of many probabilities underflows.
"""

import numpy as np

from rnnlib.checks import check_floats, check_shape, check_type
from rnnlib.lattice import ctc_lattice, may_skip, with_blanks


def ctc_forward_backward(log_probs, labels, blank=0):
    """Log-probabilities of all beginnings and ends of paths, for one sequence.

    Parameters
    ----------
    log_probs : ndarray of shape (T, V)
        Log-softmax of the scores of each step.
    labels : integer array of shape (S,)
        The target, without blanks; S may be 0.
    blank : int, default=0

    Returns
    -------
    log_alpha : ndarray of shape (T, 2S + 1)
        ``log_alpha[t, s]``: of all paths through steps 0..t that end in state s. The
        states are blank, label 1, blank, label 2, …, blank.
    log_beta : ndarray of shape (T, 2S + 1)
        ``log_beta[t, s]``: of all ways to go on from state s through steps t+1..T-1 to
        the end of the target. At every t, ``log p(labels)`` is
        ``logsumexp(log_alpha[t] + log_beta[t])``.

    Examples
    --------
    >>> log_alpha, log_beta = ctc_forward_backward(np.log(np.full((2, 2), 0.5)), [1])
    >>> np.exp(log_alpha + log_beta).sum(axis=1)  # three of the four paths spell 1
    array([0.75, 0.75])

    References
    ----------
    Graves, Fernández, Gomez and Schmidhuber, 2006, section 4.1; beta there includes
    step t, here it does not.
    """
    states = with_blanks(np.asarray(labels, int), blank)
    skip = may_skip(states)
    T, L = len(log_probs), len(states)

    log_alpha = np.full((T, L), -np.inf)
    log_alpha[0, :2] = log_probs[0, states[:2]]  # begin in a blank or in label 1
    for t in range(1, T):
        for s in range(L):
            ways = log_alpha[t - 1, s]  # stay,
            if s >= 1:
                ways = np.logaddexp(ways, log_alpha[t - 1, s - 1])  # move on,
            if skip[s]:
                ways = np.logaddexp(ways, log_alpha[t - 1, s - 2])  # skip a blank
            log_alpha[t, s] = ways + log_probs[t, states[s]]

    log_beta = np.full((T, L), -np.inf)
    log_beta[T - 1, -2:] = 0  # end in the last label or in the blank after it
    for t in reversed(range(T - 1)):
        after = log_beta[t + 1] + log_probs[t + 1, states]  # (L,)
        for s in range(L):
            ways = after[s]
            if s + 1 < L:
                ways = np.logaddexp(ways, after[s + 1])
            if s + 2 < L and skip[s + 2]:
                ways = np.logaddexp(ways, after[s + 2])
            log_beta[t, s] = ways
    return log_alpha, log_beta


def ctc_loss(logits, y, mask=None, *, blank=0):
    """Mean over sequences of ``-log p(y | x)``, summed over all alignments, in nats.

    This is the mean of what ``torch.nn.functional.ctc_loss(…, reduction="none")``
    gives; its default, ``"mean"``, divides each sequence's loss by the number of its
    labels first. The sums run in float64 whatever the dtype of ``logits``. In `fit` and
    `evaluate` a batch weighs as many steps as its mask counts.

    Parameters
    ----------
    logits : ndarray of shape (B, T, V)
        Scores before the softmax, of the V - 1 labels and the blank.
    y : integer ndarray of shape (B, S)
        Targets: labels in [0, V) without the blank, each row filled up with -1. A row
        of nothing but -1 is an empty target.
    mask : bool ndarray of shape (B, T), optional
        True for the steps of each sequence, False for the padding after them.
        Default: all steps count.
    blank : int, default=0
        The class that stands for "no label here".

    Returns
    -------
    loss : float
        Nats per sequence, however long it is; inf if the logits give a target
        probability 0.
    dlogits : ndarray of the shape of ``logits``
        0 in the padding.

    Raises
    ------
    TypeError
        If ``logits`` do not hold floats, ``y`` integers and ``mask`` bools.
    ValueError
        For shapes that do not fit, labels out of range, a blank among them, or a
        target that needs more steps than its sequence has: one for each label, and one
        for a blank between two equal neighbours.

    References
    ----------
    Graves, Fernández, Gomez and Schmidhuber, 2006, section 4.

    Examples
    --------
    >>> loss, dlogits = ctc_loss(np.zeros((1, 2, 2)), np.array([[1]]))
    >>> round(float(np.exp(-loss)), 6)  # of four paths, "1 1", "1 _" and "_ 1" spell 1
    0.75
    """
    check_type("ctc_loss", "logits", logits, np.ndarray, "a NumPy array")
    check_type("ctc_loss", "y", y, np.ndarray, "a NumPy array")
    check_shape("ctc_loss", "logits", logits, ("B", "T", "V"))
    check_floats("ctc_loss", "logits", logits)
    B, _, V = logits.shape
    lattice = ctc_lattice(logits.shape, y, mask, blank)
    steps = lattice.mask[..., None]

    scores = np.where(steps, logits, 0).astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    log_probs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    log_probs = np.where(steps, log_probs, -np.inf)  # no path enters the padding

    log_p, occupancy = _forward_backward(log_probs, lattice)
    is_class = lattice.label[:B, :, None] == np.arange(V)  # (B, L, V)
    expected = occupancy @ is_class.astype(np.float64)  # (B, T, V)
    dlogits = (np.exp(log_probs) - expected) / B  # the softmax minus its target
    return float(-log_p.mean()), dlogits.astype(logits.dtype)


@np.errstate(divide="ignore", invalid="ignore")  # log 0 is -inf, NaN stays NaN
def _forward_backward(log_probs, lattice):
    """Both passes for a batch: log p (B,), P(state s at step t | y) (B, T, L)."""
    _, row, step, state, label, exists, skip = lattice
    B, N = len(log_probs), len(row)
    emit = np.where(exists, log_probs[row, step, label], -np.inf)  # (T, N, L)

    # reach[t]: all ways to get into each state at step t, without what it emits there.
    reach = np.full(emit.shape, -np.inf)
    reach[0, :, :2] = 0
    before = np.full((N, 2 + emit.shape[2]), -np.inf)  # two columns of nowhere in front
    barrier = np.where(skip, 0, -np.inf)
    for t in range(1, len(emit)):
        np.add(reach[t - 1], emit[t - 1], out=before[:, 2:])
        stay, move, jump = before[:, 2:], before[:, 1:-1], before[:, :-2]
        reach[t] = _log_sum(stay, move, jump + barrier)

    log_alpha = reach[:, :B] + emit[:, :B]  # (T, B, L)
    # A row read backwards has come to a state by all ways that go on from it.
    log_beta = reach[step[:, B:], B + row[B:], state[B:]]
    joint = log_alpha + log_beta
    log_p = np.logaddexp.reduce(joint[0], axis=-1)
    return log_p, np.exp(joint - log_p[:, None]).swapaxes(0, 1)


def _log_sum(a, b, c):
    """``log(exp(a) + exp(b) + exp(c))``, twice as fast as two ``np.logaddexp``."""
    top = np.maximum(np.maximum(a, b), c)
    top[top == -np.inf] = 0
    return top + np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top))
