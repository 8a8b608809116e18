"""Choose a sequence when a model only scores the next id.

Everything here asks a step function, ``step(ids (N,), state) -> (scores (N, V),
state)``, what may come next; ``Sequential.step`` of either engine is one. Scores are
logits; ``-inf`` rules an id out. The state is anything that the model needs: nested
tuples or lists of arrays whose first axis is N, or None. Rows of it are dropped,
repeated and reordered here, so a step function never sees which row belongs to whom.
ids reach it as the kind of array, and on the device, that ``start`` has.

All decisions are made in NumPy and float64, so both engines decode alike. With torch,
call these functions under ``torch.no_grad()`` and the model in ``eval()`` mode.

The last two functions decode a network trained with CTC, which scores every time step
at once.
"""

from dataclasses import dataclass

import numpy as np

from rnnlib.checks import (
    check_dtype,
    check_floats,
    check_ids,
    check_lengths,
    check_number,
    check_shape,
    check_size,
    type_name,
)


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One decoded sequence.

    Attributes
    ----------
    ids : ndarray of int64, of shape (L,)
        Without the start id and without the end mark; may be empty.
    log_prob : float
        Log-probability that the model gives to the ids and, if they ended, to the end
        mark; in nats.
    score : float
        What hypotheses are ranked by: ``log_prob`` over the length penalty.
    ended : bool
        Whether the end mark came; if not, ``max_length`` cut the sequence off.
    """

    ids: np.ndarray
    log_prob: float
    score: float
    ended: bool


def greedy(step, start, state=None, *, max_length, end=None):
    """Take the most probable id at every step.

    Parameters
    ----------
    step : callable
        ``step(ids (N,), state) -> (scores (N, V), state)``.
    start : array of int64, of shape (B,)
        First ids to feed; they are not part of the result. To go on from a prompt,
        run the model over all of it but its last ids, and start with these.
    state : optional
        The state to begin with.
    max_length : int
        Most ids to choose, the end mark included.
    end : int, optional
        The id that ends a sequence. Default: all have ``max_length`` ids.

    Returns
    -------
    list of Hypothesis
        One per row of ``start``. Of equal scores the lower id wins.

    Raises
    ------
    TypeError
        If ``start`` is no int64 array, or the step function does not return floats
        and a state.
    ValueError
        If a number is out of range, ``end`` is not in [0, V), the scores have another
        shape, a NaN or nothing but -inf in a row, or a state array has not N rows.

    Examples
    --------
    >>> from rnnlib import numpy as rl
    >>> model = rl.Sequential(rl.Embedding(6, 3), rl.GRU(3, 4), rl.Dense(4, 6), seed=0)
    >>> [best] = greedy(model.step, np.array([2]), max_length=5)
    >>> best.ids.shape, best.ended
    ((5,), False)
    """
    return _generate(
        "greedy", step, start, state, lambda log_p: log_p.argmax(1), max_length, end
    )


def sample(
    step,
    start,
    state=None,
    *,
    max_length,
    end=None,
    temperature=1.0,
    top_k=None,
    top_p=None,
    seed=None,
):
    """Draw every id at random, from the model's distribution or a sharper one.

    Parameters
    ----------
    step, start, state, max_length, end
        As in `greedy`.
    temperature : float, default=1.0
        Scores are divided by it first: below 1 favours probable ids, towards 0 it is
        `greedy`, above 1 evens out.
    top_k, top_p : optional
        As in `filter_scores`, applied to the divided scores.
    seed : int or numpy.random.Generator, optional
        A Generator is advanced, so that the next call draws anew.

    Returns
    -------
    list of Hypothesis
        One per row of ``start``. ``log_prob`` is that of the model itself, at
        temperature 1 and without filters.

    Raises
    ------
    TypeError, ValueError
        As `greedy` and `filter_scores`, and if ``temperature`` is not above 0.

    References
    ----------
    Holtzman et al., 2020, compare the ways of drawing.
    """
    check_number(
        "sample", "temperature", temperature, lambda t: 0 < t < np.inf, "above 0"
    )
    _check_filters("sample", top_k, top_p)
    rng = np.random.default_rng(seed)

    def draw(log_p):
        with np.errstate(over="ignore"):  # to -inf: the best one keeps its 0
            scores = (log_p - log_p.max(axis=1, keepdims=True)) / temperature
        p = np.exp(_log_softmax(filter_scores(scores, top_k=top_k, top_p=top_p)))
        reached = p.cumsum(axis=1)  # (N, V)
        u = rng.random((len(p), 1)) * reached[:, -1:]
        return (reached <= u).sum(axis=1)  # the first id that reaches past u

    return _generate("sample", step, start, state, draw, max_length, end)


def filter_scores(scores, *, top_k=None, top_p=None):
    """Rule out unlikely ids: keep the best ``top_k``, then the nucleus ``top_p``.

    Parameters
    ----------
    scores : array of shape (..., V)
        Logits.
    top_k : int, optional
        How many ids to keep; all, if there are no more. Of equals, the lower ids.
    top_p : float, optional
        In (0, 1]: keep the smallest set of most probable ids whose probabilities reach
        ``top_p`` in total. They are those after ``top_k``. Of equals, the lower ids.

    Returns
    -------
    ndarray of float64, of shape (..., V)
        The scores, with -inf for what is ruled out.

    Raises
    ------
    TypeError
        If the scores are not floats or ``top_k`` is no integer.
    ValueError
        If a number is out of range, or a row has a NaN or nothing but -inf.

    References
    ----------
    Fan, Lewis and Dauphin, 2018 (top-k); Holtzman et al., 2020 (nucleus).

    Examples
    --------
    >>> filter_scores(np.log([0.5, 0.3, 0.2]), top_p=0.7).round(2)
    array([-0.69, -1.2 ,  -inf])
    """
    _check_filters("filter_scores", top_k, top_p)
    leading = getattr(scores, "shape", ())[:-1]
    check_shape("filter_scores", "scores", scores, (*leading, "V"))
    scores = _scores("filter_scores", scores).copy()
    rows = scores.reshape(-1, scores.shape[-1])  # a view: (N, V)
    n = np.arange(len(rows))[:, None]
    if top_k is not None:
        kept = np.full_like(rows, -np.inf)
        best = _top(rows, top_k)
        kept[n, best] = rows[n, best]
        rows[...] = kept
    if top_p is not None and top_p < 1:
        order = np.argsort(-rows, axis=1, kind="stable")
        p = np.exp(_log_softmax(rows))[n, order]
        before = np.pad(p.cumsum(axis=1)[:, :-1], ((0, 0), (1, 0)))
        rows[n, order] = np.where(before < top_p, rows[n, order], -np.inf)
    return scores


def beam_search(
    step, start, state=None, *, beam, max_length, end=None, alpha=0.0, n_best=1
):
    """Follow the ``beam`` most probable beginnings of every source at once.

    At each step all continuations of a source's open hypotheses are ranked by
    probability. Those among the first ``beam`` that are end marks have ended; the
    first ``beam`` others stay open. A source is done when ``beam`` hypotheses have
    ended, or when none that is open can still overtake the ``n_best`` best of them.

    Parameters
    ----------
    step, start, state
        As in `greedy`. B rows go into the first step, up to B times ``beam`` into the
        others; sources that are done are left out.
    beam : int
        Open hypotheses per source. 1 is `greedy`.
    max_length, end
        As in `greedy`.
    alpha : float, default=0.0
        Length penalty, 0 or more: hypotheses are ranked by ``log_prob / ((5 + L) /
        6)**alpha`` with L ids, the end mark included. 0 ranks by probability, which
        favours short ones.
    n_best : int, default=1
        Hypotheses to return per source, at most ``beam``.

    Returns
    -------
    list of list of Hypothesis
        For each row of ``start`` its ``n_best`` best, or all, if it has fewer; the
        best comes first. Any that ended comes before any that was cut off. Of equals,
        the one that ended sooner wins; in one step, the one with the better beginning,
        then the lower id.

    Raises
    ------
    TypeError, ValueError
        As `greedy`.

    References
    ----------
    Sutskever et al., 2014, for the search in translation; Wu et al., 2016, equation
    14, for the length penalty.
    """
    owner = "beam_search"
    beam = check_size(owner, "beam", beam)
    n_best = check_size(owner, "n_best", n_best)
    if n_best > beam:
        raise ValueError(f"{owner}: expected n_best <= beam = {beam}, got {n_best}")
    check_number(owner, "alpha", alpha, lambda a: 0 <= a < np.inf, "0 or more")
    ids, max_length, end = _check_start(owner, start, max_length, end)

    # Open hypotheses, in order of source and, within a source, the best first.
    source = np.arange(len(ids))  # (N,)
    log_prob = np.zeros(len(ids))
    path = np.empty((len(ids), 0), np.int64)  # (N, L)
    found = [[] for _ in source]
    for length in range(1, max_length + 1):
        log_p, state = _step(owner, step, _like(start, ids), state, end)
        log_prob = log_prob[:, None] + log_p  # (N, V)
        best = _top(log_prob, beam + 1)  # one of them may be the end mark
        row, ids = np.repeat(np.arange(len(best)), best.shape[1]), best.ravel()
        log_prob = log_prob[row, ids]
        order = np.lexsort((ids, row, -log_prob, source[row]))
        order = order[log_prob[order] > -np.inf]
        row, ids, log_prob = row[order], ids[order], log_prob[order]

        ends = ids == (-1 if end is None else end)
        penalty = _penalty(length, alpha)
        for k in np.flatnonzero(ends & (_rank(source[row]) < beam)):
            found[source[row[k]]].append(
                _hypothesis(path[row[k]], log_prob[k], penalty, True)
            )
        row, ids, log_prob = row[~ends], ids[~ends], log_prob[~ends]
        rank = _rank(source[row])
        going_on = rank < beam
        for k in np.flatnonzero(rank == 0):
            b = source[row[k]]
            # log_prob can only fall and the penalty only grow.
            limit = log_prob[k] / _penalty(max_length, alpha)
            better = sum(h.score >= limit for h in found[b])
            if len(found[b]) >= beam or better >= n_best:
                going_on &= source[row] != b
        row, ids, log_prob = row[going_on], ids[going_on], log_prob[going_on]
        source, path = source[row], np.column_stack([path[row], ids])
        state = _take(owner, state, row, len(best))
        if not row.size:
            break
    for k, b in enumerate(source):
        found[b].append(_hypothesis(path[k], log_prob[k], penalty, False))
    return [
        sorted(hypotheses, key=lambda h: (not h.ended, -h.score))[:n_best]
        for hypotheses in found
    ]


# ---------------------------------------------------------------- CTC


def ctc_greedy(log_probs, lengths=None, blank=0):
    """Read off the most probable path of a CTC network: its labels without repeats.

    Parameters
    ----------
    log_probs : array of shape (B, T, V)
        Log-probabilities of the labels at each step; logits do as well here. Of equal
        ones the lower label wins.
    lengths : array of int, of shape (B,), optional
        Valid steps of each row, in 1..T.
    blank : int, default=0
        The label that stands for none.

    Returns
    -------
    list of ndarray of int64, each of shape (L,)
        Repeats become one, then blanks are dropped. It may be empty, and it need not
        be the most probable labelling: that one may have many paths.

    Raises
    ------
    TypeError
        If ``log_probs`` are not floats, or lengths or ``blank`` not integers.
    ValueError
        If shapes do not fit, a valid step has a NaN or nothing but -inf, or ``blank``
        is not in [0, V).

    References
    ----------
    Graves et al., 2006, section 3.2.

    Examples
    --------
    >>> path = np.array([1, 1, 0, 1, 2, 2])
    >>> ctc_greedy(np.log(0.1 + np.eye(3)[path])[None])
    [array([1, 1, 2])]
    """
    rows, blank = _ctc_rows("ctc_greedy", log_probs, lengths, blank)
    labellings = []
    for row in rows:
        path = row.argmax(axis=1)
        new = np.diff(path, prepend=-1) != 0
        labellings.append(path[new & (path != blank)])
    return labellings


def ctc_beam_search(log_probs, lengths=None, blank=0, *, beam, n_best=1):
    """Search for the labelling whose paths are the most probable in total.

    Keeps the ``beam`` most probable prefixes at each step; paths that lead to the same
    prefix are added up, apart by whether they end in a blank, since a label after
    itself is the same label without a blank between.

    Parameters
    ----------
    log_probs, lengths, blank
        As in `ctc_greedy`, but normalised: the exponentials at each step sum to 1.
    beam : int
        Prefixes to keep.
    n_best : int, default=1
        Labellings to return, at most ``beam``.

    Returns
    -------
    list of list of tuple
        For each row its ``n_best`` best, or all that are possible: ``(ids, log_prob)``
        with ids an ndarray of int64 of shape (L,) and the log-probability in nats. It
        is exact if no prefix was pruned, otherwise a lower bound. Of equals, the
        prefix that did not grow in the last step wins.

    Raises
    ------
    TypeError, ValueError
        As `ctc_greedy`, if ``log_probs`` are not normalised, or a number is out of
        range.

    References
    ----------
    Graves et al., 2006, section 3.2; Hannun et al., 2014, algorithm 1, here without a
    language model and in log space.
    """
    owner = "ctc_beam_search"
    beam = check_size(owner, "beam", beam)
    n_best = check_size(owner, "n_best", n_best)
    if n_best > beam:
        raise ValueError(f"{owner}: expected n_best <= beam = {beam}, got {n_best}")
    rows, blank = _ctc_rows(owner, log_probs, lengths, blank)
    for row in rows:
        total = np.exp(row).sum(axis=1)
        if np.abs(total - 1).max() > 0.01:
            wrong = total[np.abs(total - 1).argmax()]
            raise ValueError(
                f"{owner}: expected log-probabilities, whose exponentials sum to 1, "
                f"got a sum of {wrong:.4g}: apply log_softmax first"
            )
    return [_prefix_search(row, beam, blank)[:n_best] for row in rows]


def _prefix_search(log_p, beam, blank):
    """Prefixes of one row (T, V) with their log-probabilities, the best first."""
    prefixes = [()]
    # Paths so far, by their last label: the blank, or the prefix's own last label.
    in_blank, in_label = np.zeros(1), np.full(1, -np.inf)  # (K,)
    for p in log_p:
        last = np.array([prefix[-1] if prefix else blank for prefix in prefixes])
        both = np.logaddexp(in_blank, in_label)
        k = np.arange(len(prefixes))
        grown = both[:, None] + p  # (K, V)
        grown[k, last] = in_blank + p[last]  # a repeat counts only after a blank
        grown[:, blank] = -np.inf
        in_blank, in_label = both + p[blank], in_label + p[last]
        place = {prefix: j for j, prefix in enumerate(prefixes)}
        for j, prefix in enumerate(prefixes):
            parent = place.get(prefix[:-1]) if prefix else None
            if parent is not None:  # two ways to one prefix
                in_label[j] = np.logaddexp(in_label[j], grown[parent, last[j]])
                grown[parent, last[j]] = -np.inf
        totals = np.concatenate([np.logaddexp(in_blank, in_label), grown.ravel()])
        chosen = _top(totals[None], beam)[0]
        chosen = chosen[totals[chosen] > -np.inf]
        K, V = grown.shape
        prefixes = [
            prefixes[c] if c < K else (*prefixes[(c - K) // V], int((c - K) % V))
            for c in chosen
        ]
        new = np.full(grown.size, -np.inf)
        in_blank = np.concatenate([in_blank, new])[chosen]
        in_label = np.concatenate([in_label, grown.ravel()])[chosen]
    totals = np.logaddexp(in_blank, in_label).tolist()
    arrays = [np.array(prefix, np.int64) for prefix in prefixes]
    return list(zip(arrays, totals, strict=True))


def _ctc_rows(owner, log_probs, lengths, blank):
    """The valid steps of each row as float64 arrays (T_b, V); and the blank."""
    check_shape(owner, "log_probs", log_probs, ("B", "T", "V"))
    B, T, V = log_probs.shape
    blank = check_size(owner, "blank", blank, least=0)
    if blank >= V:
        raise ValueError(f"{owner}: expected blank in [0, {V}), got {blank}")
    lengths = [T] * B if lengths is None else check_lengths(owner, lengths, B, T)
    rows = [log_probs[b, :n] for b, n in enumerate(lengths)]
    return [_scores(owner, row, "log_probs") for row in rows], blank


# ---------------------------------------------------------------- helpers


def _generate(owner, step, start, state, choose, max_length, end):
    """Let ``choose(log_p (N, V)) -> ids (N,)`` continue each row until it ends."""
    ids, max_length, end = _check_start(owner, start, max_length, end)
    B = len(ids)
    path = np.empty((B, max_length), np.int64)
    length, log_prob = np.zeros(B, np.int64), np.zeros(B)
    ended = np.zeros(B, bool)
    going_on = np.arange(B)  # rows that have not ended
    for t in range(max_length):
        log_p, state = _step(owner, step, _like(start, ids), state, end)
        ids = choose(log_p)
        log_prob[going_on] += log_p[np.arange(len(ids)), ids]
        if end is not None:
            ended[going_on] = ids == end
        kept = np.flatnonzero(~ended[going_on])
        state = _take(owner, state, kept, len(ids))
        ids, going_on = ids[kept], going_on[kept]
        path[going_on, t] = ids
        length[going_on] += 1
        if not going_on.size:
            break
    return [
        _hypothesis(path[b, : length[b]], log_prob[b], 1.0, ended[b]) for b in range(B)
    ]


def _hypothesis(ids, log_prob, penalty, ended):
    return Hypothesis(
        ids.copy(), float(log_prob), float(log_prob / penalty), bool(ended)
    )


def _penalty(length, alpha):
    return ((5 + length) / 6) ** alpha


def _rank(groups):
    """Place of each entry of the sorted ``groups`` within its own group."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def _top(values, k):
    """(N, k) places of the k highest of each row, the highest first.

    Of equals the first comes first, which a partition alone would leave to chance.
    """
    N, V = values.shape
    k = min(k, V)
    least = np.partition(values, V - k, axis=1)[:, V - k, None]
    row, place = np.nonzero(values >= least)
    order = np.lexsort((place, -values[row, place], row))
    first = np.searchsorted(row, np.arange(N))
    return place[order][first[:, None] + np.arange(k)]


def _log_softmax(scores):
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def _check_filters(owner, top_k, top_p):
    if top_k is not None:
        check_size(owner, "top_k", top_k)
    if top_p is not None:
        check_number(owner, "top_p", top_p, lambda p: 0 < p <= 1, "in (0, 1]")


def _check_start(owner, start, max_length, end):
    """The start as a NumPy array, and the two numbers, checked."""
    check_shape(owner, "start", start, ("B",))
    check_dtype(owner, "start", start, "int64")
    check_ids(owner, start, 0, np.inf, name="start")
    max_length = check_size(owner, "max_length", max_length)
    if end is not None:
        end = check_size(owner, "end", end, least=0)
    return _array(start), max_length, end


def _step(owner, step, ids, state, end):
    """One call of the step function, checked: log-probabilities (N, V) and state."""
    result = step(ids, state)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{owner}: expected step to return (scores, state), got {type_name(result)}"
        )
    scores, state = result
    check_shape(owner, "scores", scores, (len(ids), "V"))
    if end is not None and end >= scores.shape[1]:
        raise ValueError(f"{owner}: expected end in [0, {scores.shape[1]}), got {end}")
    return _log_softmax(_scores(owner, scores)), state


def _scores(owner, scores, name="scores"):
    """The scores as a NumPy array of float64, or an error if none can be the best."""
    check_floats(owner, name, scores)
    scores = _array(scores)
    best = scores.max(axis=-1)
    if not np.isfinite(best).all():
        wrong = best[~np.isfinite(best)].flat[0]
        raise ValueError(
            f"{owner}: expected {name} with a finite maximum in every row, got {wrong}"
        )
    return scores


def _array(values):
    """A NumPy array of int64 or float64, also of a tensor wherever that is."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if values.is_floating_point():
            values = values.double()  # NumPy has no bfloat16
        return values.numpy()
    return np.asarray(values, np.int64 if values.dtype.kind in "iu" else np.float64)


def _like(start, ids):
    """The ids as ``start`` is: NumPy's, or a tensor on the same device."""
    return start.new_tensor(ids) if hasattr(start, "new_tensor") else ids


def _take(owner, state, rows, N):
    """The given rows of every array of a state for N rows."""
    if state is None:
        return None
    if isinstance(state, tuple | list):
        return type(state)([_take(owner, branch, rows, N) for branch in state])
    if not getattr(state, "shape", ()) or state.shape[0] != N:
        found = getattr(state, "shape", None)
        raise ValueError(
            f"{owner}: expected a state of nested tuples of arrays with {N} rows, "
            f"got {type_name(state) if found is None else tuple(found)}"
        )
    state = state.detach() if hasattr(state, "detach") else state  # no growing graph
    return state[rows]
