"""Decoding against enumeration: every string, every path, every subset, counted out.

The small models are step functions with random scores whose state remembers the whole
past, so that a state in the wrong row cannot go unnoticed.
"""

import itertools
import math

import numpy as np
import pytest

from rnnlib.decode import (
    beam_search,
    ctc_beam_search,
    ctc_greedy,
    filter_scores,
    greedy,
    sample,
)
from tests.engines import Engine

END = 0


def log_softmax(scores):
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


class Model:
    """Random scores that depend on the source and on every id so far.

    The state holds the ids in one array and, nested and in another kind, the source.
    """

    def __init__(self, V, seed, spread=2.0):
        self.V, self.seed, self.spread = V, seed, spread
        self.rows = []  # how many rows each step got

    def scores(self, source, past):
        rng = np.random.default_rng([self.seed, source, *past])
        return self.spread * rng.standard_normal(self.V)

    def start(self, B):
        """Ids and state: source b begins with id b."""
        return np.arange(B), (np.zeros((B, 0), np.int64), [np.arange(B), None])

    def step(self, ids, state):
        past, (source, nothing) = state
        assert nothing is None
        self.rows.append(len(ids))
        past = np.column_stack([past, ids])
        rows = [self.scores(b, p[1:]) for b, p in zip(source, past, strict=True)]
        return np.array(rows), (past, [source, None])

    def log_prob(self, source, ids):
        """Log-probability of a string, from its definition."""
        return sum(
            log_softmax(self.scores(source, ids[:t]))[i] for t, i in enumerate(ids)
        )

    def strings(self, source, max_length, end, alpha):
        """All that decoding may give: (ended, score, ids), the best first."""
        found = []
        for length in range(1, max_length + 1):
            for ids in itertools.product(range(self.V), repeat=length):
                if end in ids[:-1]:
                    continue
                ended = ids[-1] == end
                if not ended and length < max_length:
                    continue
                score = self.log_prob(source, ids) / ((5 + length) / 6) ** alpha
                found.append((ended, score, ids[:-1] if ended else ids))
        return sorted(found, key=lambda f: (f[0], f[1]), reverse=True)


def same(found, expected):
    """Two lists of hypotheses are equal."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.ids, b.ids, strict=True)
        assert a.log_prob == pytest.approx(b.log_prob, rel=1e-12)
        assert a.score == pytest.approx(b.score, rel=1e-12)
        assert a.ended is b.ended


# ---------------------------------------------------------------- greedy


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_the_path_of_the_highest_scores(seed):
    model = Model(4, seed)
    for b, found in enumerate(greedy(model.step, *model.start(6), max_length=5, end=0)):
        ids = []
        while len(ids) < 5 and (not ids or ids[-1] != END):
            ids.append(int(model.scores(b, ids).argmax()))
        assert found.log_prob == pytest.approx(model.log_prob(b, ids), rel=1e-12)
        assert found.score == found.log_prob
        assert found.ended == (ids[-1] == END)
        assert found.ids.tolist() == (ids[:-1] if found.ended else ids)
        assert found.ids.dtype == np.int64


def test_without_an_end_mark_all_reach_the_full_length():
    model = Model(3, 0)
    for found in (
        greedy(model.step, *model.start(4), max_length=6),
        sample(model.step, *model.start(4), max_length=6, seed=0),
        [b for [b] in beam_search(model.step, *model.start(4), beam=2, max_length=6)],
    ):
        assert [len(h.ids) for h in found] == [6] * 4
        assert not any(h.ended for h in found)


def test_rows_that_ended_are_computed_no_more():
    """Row b of source b ends after b steps."""

    def step(ids, state):
        left, seen = state
        sizes.append(len(ids))
        scores = np.where(left[:, None] == 0, [9.0, 0, 0], [0.0, 0, 9])
        return scores, (left - 1, seen)

    for search in (greedy, lambda *a, **k: sample(*a, seed=0, temperature=0.1, **k)):
        sizes = []
        state = np.array([2, 0, 1]), np.zeros((3, 2))
        found = search(step, np.zeros(3, int), state, max_length=9, end=END)
        assert [h.ids.tolist() for h in found] == [[2, 2], [], [2]]
        assert all(h.ended for h in found)
        assert sizes == [3, 2, 1]


def test_of_equal_scores_the_lower_id_wins():
    def step(ids, state):
        return np.zeros((len(ids), 4)), None

    start = np.array([0])
    assert greedy(step, start, max_length=2)[0].ids.tolist() == [0, 0]
    found = beam_search(step, start, beam=5, max_length=2, n_best=5)[0]
    assert [h.ids.tolist() for h in found] == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
    found = beam_search(step, start, beam=3, max_length=2, n_best=3, end=3)[0]
    assert [h.ids.tolist() for h in found] == [[0, 0], [0, 1], [0, 2]]


# ---------------------------------------------------------------- beam search


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("V, max_length", [(2, 5), (3, 4), (4, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_full_width_is_exhaustive_search(seed, V, max_length, alpha):
    model, B, beam = Model(V, seed), 3, V**max_length
    options = {"beam": beam, "max_length": max_length, "end": END, "alpha": alpha}
    found = beam_search(model.step, *model.start(B), n_best=beam, **options)
    best = beam_search(model.step, *model.start(B), **options)
    for b in range(B):
        expected = model.strings(b, max_length, END, alpha)
        assert len(found[b]) == len(expected)
        for h, (ended, score, ids) in zip(found[b], expected, strict=True):
            assert (h.ended, h.ids.tolist()) == (ended, list(ids))
            assert h.score == pytest.approx(score, rel=1e-12)
            whole = (*ids, END) if ended else ids
            assert h.log_prob == pytest.approx(model.log_prob(b, whole), rel=1e-12)
        same(best[b], found[b][:1])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_beam_of_one_is_greedy(seed, alpha):
    model = Model(4, seed)
    options = {"max_length": 5, "end": END}
    found = beam_search(model.step, *model.start(9), beam=1, alpha=alpha, **options)
    plain = greedy(model.step, *model.start(9), **options)
    for [h], expected in zip(found, plain, strict=True):
        assert h.ids.tolist() == expected.ids.tolist()
        assert h.ended == expected.ended
        assert h.log_prob == pytest.approx(expected.log_prob, rel=1e-12)


def plain_beam(model, source, beam, max_length, alpha):
    """Beam search of one source with lists, which never stops before it must."""
    opened, ended = [((), 0.0)], []
    for length in range(1, max_length + 1):
        grown = [
            ((*ids, i), log_prob + log_p)
            for ids, log_prob in opened
            for i, log_p in enumerate(log_softmax(model.scores(source, ids)))
        ]
        grown.sort(key=lambda g: -g[1])
        for ids, log_prob in grown[:beam]:
            if ids[-1] == END:
                ended.append((log_prob / ((5 + length) / 6) ** alpha, ids[:-1]))
        opened = [g for g in grown if g[0][-1] != END][:beam]
        if len(ended) >= beam:
            break
    return sorted(ended, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("beam", [2, 3, 5])
def test_a_batch_of_sources_equals_one_after_another(beam, alpha):
    """Stopping early loses nothing, and no source sees another."""
    model = Model(4, seed=7, spread=1.0)
    options = {"beam": beam, "max_length": 8, "end": END, "alpha": alpha}
    found = beam_search(model.step, *model.start(12), n_best=2, **options)
    assert len(set(model.rows)) > 2  # sources end at different times
    for b in range(12):
        expected = plain_beam(model, b, beam, 8, alpha)[:2]
        assert len(found[b]) == len(expected) == 2
        for h, (score, ids) in zip(found[b], expected, strict=True):
            assert h.ended
            assert h.ids.tolist() == list(ids)
            assert h.score == pytest.approx(score, rel=1e-12)


def test_a_wider_beam_finds_what_greedy_misses():
    """The best first id leads to poor ones."""
    table = np.log(
        [[0.1, 0.5, 0.4], [0.34, 0.33, 0.33], [0.98, 0.01, 0.01]]
    )  # next id given this one

    def step(ids, state):
        return table[ids], state

    options = {"max_length": 2, "end": END}
    [best] = greedy(step, np.array([0]), **options)
    assert best.ids.tolist() == [1]
    assert best.log_prob == pytest.approx(math.log(0.5 * 0.34))
    [[best]] = beam_search(step, np.array([0]), beam=2, **options)
    assert best.ids.tolist() == [2]
    assert best.log_prob == pytest.approx(math.log(0.4 * 0.98))


def test_a_length_penalty_turns_to_longer_hypotheses():
    """P(end) = 0.6, and ids that follow are nearly certain."""

    def step(ids, state):
        p = np.where(ids[:, None] == 0, [0.6, 0.4], [0.01, 0.99])
        p[state[:, 0] == 3] = [1, 1e-9]  # the fourth id is the end mark
        return np.log(p), state + 1

    def best(alpha):
        options = {"beam": 4, "max_length": 4, "end": END, "alpha": alpha}
        return beam_search(step, np.array([0]), np.zeros((1, 1)), **options)[0][0]

    assert best(0.0).ids.tolist() == []
    assert best(0.0).score == best(0.0).log_prob == pytest.approx(math.log(0.6))
    long = best(2.0)
    assert long.ids.tolist() == [1, 1, 1]
    assert long.score == pytest.approx(math.log(0.4 * 0.99**2) / (9 / 6) ** 2)


def test_what_ended_comes_before_what_was_cut_off():
    def step(ids, state):
        return np.log(np.tile([0.1, 0.8, 0.1], (len(ids), 1))), state

    [found] = beam_search(step, np.array([1]), beam=2, max_length=3, end=2, n_best=2)
    assert [h.ended for h in found] == [False, False]
    [found] = beam_search(step, np.array([1]), beam=3, max_length=3, end=2, n_best=3)
    assert [h.ended for h in found] == [True, True, True]
    assert [h.ids.tolist() for h in found] == [[], [1], [1, 1]]


def test_ids_that_are_ruled_out_never_occur():
    def step(ids, state):
        return np.tile([0.0, -np.inf, -np.inf, 1.0], (len(ids), 1)), None

    start = np.array([1])
    [found] = beam_search(step, start, beam=9, max_length=2, n_best=9)
    assert [h.ids.tolist() for h in found] == [[3, 3], [3, 0], [0, 3], [0, 0]]
    ids = sample(step, start, max_length=200, temperature=9.0, seed=0)[0].ids
    assert set(ids.tolist()) == {0, 3}


# ---------------------------------------------------------------- sampling


def draws(scores, n=20_000, **options):
    """How often each id is drawn from the same scores."""

    def step(ids, state):
        return np.tile(scores, (len(ids), 1)), None

    found = sample(step, np.zeros(n, int), max_length=1, **options)
    return np.bincount([h.ids[0] for h in found], minlength=len(scores))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_softmax(temperature):
    scores = np.array([1.0, -1.0, 0.3, 2.0, -0.5])
    expected = 20_000 * np.exp(log_softmax(scores / temperature))
    found = draws(scores, temperature=temperature, seed=0)
    chi_square = ((found - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # 4 degrees of freedom: 1 in 1,000


def test_filters_keep_the_proportions_of_what_they_leave():
    scores = np.log([0.4, 0.3, 0.2, 0.1])
    for options, kept in (
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.8}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"top_k": 3, "top_p": 0.7}, [4 / 7, 3 / 7, 0, 0]),  # 4/9 + 3/9 reach 0.7
    ):
        found = draws(scores, seed=1, **options) / 20_000
        np.testing.assert_allclose(found, kept, atol=0.015)
        assert (found[np.array(kept) == 0] == 0).all()


@pytest.mark.parametrize(
    "options", [{"temperature": 1e-300}, {"temperature": 1e-3}, {"top_k": 1}]
)
def test_the_limits_of_sampling_are_greedy(options):
    model = Model(5, seed=2)
    limits = {"max_length": 6, "end": END}
    found = sample(model.step, *model.start(20), seed=3, **options, **limits)
    same(found, greedy(model.step, *model.start(20), **limits))


def test_a_tiny_nucleus_is_greedy():
    model = Model(5, seed=2)
    found = sample(model.step, *model.start(20), max_length=6, top_p=1e-9, seed=0)
    same(found, greedy(model.step, *model.start(20), max_length=6))


def test_a_sample_has_the_log_probability_of_the_model():
    model = Model(4, seed=5)
    options = {"max_length": 5, "end": END, "temperature": 1.7, "top_k": 3, "seed": 1}
    found = sample(model.step, *model.start(8), **options)
    assert len({tuple(h.ids) for h in found}) > 3
    for b, h in enumerate(found):
        ids = [*h.ids.tolist(), *([END] * h.ended)]
        assert h.log_prob == pytest.approx(model.log_prob(b, ids), rel=1e-12)


def test_a_seed_repeats_and_a_generator_goes_on():
    model = Model(9, seed=0)

    def ids(seed):
        found = sample(model.step, *model.start(4), max_length=9, seed=seed)
        return np.stack([h.ids for h in found]).tolist()

    assert ids(3) == ids(3) == ids(np.random.default_rng(3)) != ids(4)
    rng = np.random.default_rng(3)
    assert ids(rng) != ids(rng)


# ---------------------------------------------------------------- filters


@pytest.mark.parametrize("top_p", [0.05, 0.3, 0.61, 0.9, 0.999, 1])
def test_the_nucleus_is_the_smallest_set_that_reaches_p(top_p):
    rng = np.random.default_rng(0)
    for scores in 2 * rng.standard_normal((20, 6)):
        p = np.exp(log_softmax(scores))
        reach = [
            chosen
            for size in range(1, 7)
            for chosen in itertools.combinations(range(6), size)
            if p[list(chosen)].sum() >= top_p - 1e-12
        ]
        size = min(map(len, reach))
        expected = max(
            (c for c in reach if len(c) == size), key=lambda c: p[list(c)].sum()
        )
        found = filter_scores(scores, top_p=top_p)
        assert np.flatnonzero(found > -np.inf).tolist() == sorted(expected)
        np.testing.assert_array_equal(found[list(expected)], scores[list(expected)])


@pytest.mark.parametrize("top_k", [1, 3, 6, 99])
def test_top_k_keeps_the_k_highest(top_k):
    scores = np.random.default_rng(1).standard_normal((4, 5, 6))
    before = scores.copy()
    found = filter_scores(scores, top_k=top_k)
    np.testing.assert_array_equal(scores, before)  # its input is not changed
    for row, kept in zip(scores.reshape(-1, 6), found.reshape(-1, 6), strict=True):
        highest = sorted(row)[-min(top_k, 6) :]
        np.testing.assert_array_equal(kept, np.where(row >= highest[0], row, -np.inf))


def test_filters_prefer_the_lower_of_equal_ids():
    scores = np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    assert (filter_scores(scores, top_k=2) > -np.inf).tolist() == [0, 1, 1, 0, 0]
    assert (filter_scores(scores, top_k=4) > -np.inf).tolist() == [1, 1, 1, 1, 0]
    assert (filter_scores(scores, top_p=0.5) > -np.inf).tolist() == [0, 1, 1, 0, 0]
    np.testing.assert_array_equal(filter_scores(scores), scores)


def test_what_is_ruled_out_stays_out():
    scores = np.array([[-np.inf, 2.0, -np.inf, 1.0]])
    for options in ({"top_k": 3}, {"top_p": 1.0}, {"top_p": 0.99}):
        np.testing.assert_array_equal(filter_scores(scores, **options), scores)


# ---------------------------------------------------------------- engines


def trained(rl):
    """A model over 7 ids whose weights are large, so that it has strong opinions."""
    model = rl.Sequential(
        rl.Embedding(7, 3, dtype="float64"),
        rl.LSTM(3, 5, dtype="float64"),
        rl.GRU(5, 4, dtype="float64"),
        rl.Dense(4, 7, dtype="float64"),
        seed=0,
    )
    rng = np.random.default_rng(1)
    state = {k: tuple(v.shape) for k, v in sorted(model.state_dict().items())}
    model.load_state_dict({k: 3 * rng.standard_normal(n) for k, n in state.items()})
    return model


SEARCHES = {
    "greedy": lambda *a, **k: greedy(*a, **k),
    "sample": lambda *a, **k: sample(*a, seed=0, temperature=2.0, top_p=0.9, **k),
    "beam": lambda *a, **k: sum(beam_search(*a, beam=4, n_best=3, **k), []),
    "penalty": lambda *a, **k: sum(beam_search(*a, beam=4, alpha=1.0, **k), []),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_both_engines_decode_alike(name, engine):
    prompt = np.random.default_rng(2).integers(0, 7, (6, 4))
    results = []
    for which in (Engine("numpy"), engine):
        model, ids = which.place(trained(which.rl)), which.put(prompt)
        _, state = model(ids[:, :-1], return_state=True)
        kinds = []

        def step(ids, state, model=model, kinds=kinds):
            kinds.append((type(ids), ids.dtype, getattr(ids, "device", None)))
            return model.step(ids, state)

        results.append(SEARCHES[name](step, ids[:, -1], state, max_length=8, end=END))
        assert set(kinds) == {(type(ids), ids.dtype, getattr(ids, "device", None))}
    same(*results)
    assert len({len(h.ids) for h in results[0]}) > 1


@pytest.mark.parametrize("name", SEARCHES)
def test_a_model_may_begin_without_a_state(name, engine):
    model = engine.place(trained(engine.rl))
    start = engine.put(np.array([3, 5]))
    found = SEARCHES[name](model.step, start, max_length=4)
    for h, b in zip(found, np.repeat([0, 1], len(found) // 2), strict=True):
        ids = np.array([[[3, 5][b], *h.ids[:-1]]])
        scores = engine.get(model(engine.put(ids)))[0]
        log_p = log_softmax(scores)[np.arange(4), h.ids].sum()
        assert h.log_prob == pytest.approx(log_p, rel=1e-10)


def test_no_graph_grows_along_with_a_torch_state():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model, graphs = trained(Engine("torch").rl), []

    def step(ids, state):
        graphs.append(state is not None and state[1][0].requires_grad)
        return model.step(ids, state)

    for name in SEARCHES:
        SEARCHES[name](step, torch.tensor([1, 2]), max_length=3)
    assert graphs
    assert not any(graphs)


def test_scores_of_half_precision_are_read():
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def step(ids, state):
        return torch.tensor([[0.0, 2.0, 1.0]], dtype=torch.bfloat16), None

    assert greedy(step, torch.tensor([0]), max_length=1)[0].ids.tolist() == [1]
    found = filter_scores(step(None, None)[0], top_k=1)
    np.testing.assert_array_equal(found, [[-np.inf, 2, -np.inf]], strict=True)


# ---------------------------------------------------------------- CTC


def labelling(path, blank):
    """Repeats become one, then blanks go."""
    merged = [label for label, _ in itertools.groupby(path)]
    return tuple(label for label in merged if label != blank)


def labellings(log_p, blank):
    """Log-probability of every labelling, summed over its paths; the best first."""
    T, V = log_p.shape
    total = {}
    for path in itertools.product(range(V), repeat=T):
        ids = labelling(path, blank)
        log_prob = sum(log_p[t, label] for t, label in enumerate(path))
        total[ids] = np.logaddexp(total.get(ids, -np.inf), log_prob)
    return sorted(total.items(), key=lambda item: -item[1])


def ctc_scores(*shape, seed=0, spread=1.5):
    rng = np.random.default_rng(seed)
    return log_softmax(spread * rng.standard_normal(shape))


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("T, V", [(1, 3), (4, 3), (6, 3), (5, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_prefix_beam_adds_up_all_paths(seed, T, V, blank):
    log_p = ctc_scores(2, T, V, seed=seed)
    found = ctc_beam_search(log_p, blank=blank, beam=V**T, n_best=V**T)
    for row, results in zip(log_p, found, strict=True):
        expected = labellings(row, blank)
        assert [tuple(ids.tolist()) for ids, _ in results] == [e[0] for e in expected]
        np.testing.assert_allclose(
            [log_prob for _, log_prob in results], [e[1] for e in expected], atol=1e-12
        )
        assert np.exp([log_prob for _, log_prob in results]).sum() == pytest.approx(1)
        assert {ids.dtype for ids, _ in results} == {np.dtype(np.int64)}


@pytest.mark.parametrize("beam", [1, 2, 4, 8])
def test_a_narrow_prefix_beam_is_a_lower_bound(beam):
    log_p = ctc_scores(8, 6, 3, seed=4)
    for row, results in zip(log_p, ctc_beam_search(log_p, beam=beam), strict=True):
        [(ids, log_prob)] = results
        assert log_prob <= dict(labellings(row, 0))[tuple(ids.tolist())] + 1e-12


def test_the_best_path_need_not_be_the_best_labelling():
    """Two steps of 0.6 for the blank: "no label" has 0.36, one label 0.64."""
    log_p = np.log([[[0.6, 0.4], [0.6, 0.4]]])
    assert ctc_greedy(log_p)[0].tolist() == []
    [[(ids, log_prob), (none, rest)]] = ctc_beam_search(log_p, beam=2, n_best=2)
    assert ids.tolist() == [1]
    assert math.exp(log_prob) == pytest.approx(0.64)
    assert none.tolist() == []
    assert math.exp(rest) == pytest.approx(0.36)


@pytest.mark.parametrize("blank", [0, 1, 3])
def test_ctc_greedy_reads_off_the_best_path(blank):
    log_p = ctc_scores(30, 9, 4, seed=5)
    found = ctc_greedy(log_p, blank=blank)
    for ids, row in zip(found, log_p, strict=True):
        assert ids.tolist() == list(labelling(row.argmax(1).tolist(), blank))
        assert ids.dtype == np.int64
    repeats = np.eye(3)[[1, 1, 0, 1, 0, 0, 2, 2, 1]][None]
    assert ctc_greedy(repeats)[0].tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_ctc_looks_at_the_valid_steps_only(kind):
    lengths = np.array([3, 5, 1])
    log_p = ctc_scores(3, 5, 3, seed=6)
    padded = log_p.copy()
    for b, n in enumerate(lengths):
        padded[b, n:] = np.nan
    engine = Engine(kind)
    given = engine.put(padded), engine.put(lengths)
    greedily = ctc_greedy(*given)
    found = ctc_beam_search(*given, beam=4, n_best=4)
    for b, n in enumerate(lengths):
        alone = log_p[b : b + 1, :n]
        np.testing.assert_array_equal(greedily[b], ctc_greedy(alone)[0])
        for a, e in zip(
            found[b], ctc_beam_search(alone, beam=4, n_best=4)[0], strict=True
        ):
            np.testing.assert_array_equal(a[0], e[0])
            assert a[1] == e[1]


def test_labels_of_probability_zero_never_occur():
    with np.errstate(divide="ignore"):
        log_p = np.log([[[0.5, 0.5, 0], [0, 1, 0], [0.5, 0.5, 0]]])
    [found] = ctc_beam_search(log_p, beam=20, n_best=20)
    assert [(ids.tolist(), round(math.exp(p), 9)) for ids, p in found] == [([1], 1.0)]


# ---------------------------------------------------------------- bad input


def constant(scores, state=None):
    """A step function that always returns the same."""
    return lambda ids, _: (np.array(scores), state)


GOOD = constant([[0.0, 1.0]])
START = np.array([1])
LOG_P = np.log(np.full((1, 2, 3), 1 / 3))


@pytest.mark.parametrize(
    ("step", "start", "options", "error"),
    [
        (GOOD, [1], {}, "TypeError: {}: expected start to be an array of shape (B,)"),
        (GOOD, START[None], {}, "ValueError: {}: expected start of shape (B,), got (1"),
        (GOOD, START[:0], {}, "ValueError: {}: expected start of shape (B,), got (0,)"),
        (GOOD, START * 1.0, {}, "TypeError: {}: expected start of dtype int64, got fl"),
        (GOOD, START - 2, {}, "ValueError: {}: expected start in [0, inf), got -1"),
        (GOOD, START, {"max_length": 0}, "ValueError: {}: expected max_length >= 1"),
        (GOOD, START, {"max_length": 2.0}, "TypeError: {}: expected max_length to be "),
        (GOOD, START, {"end": -1}, "ValueError: {}: expected end >= 0, got -1"),
        (GOOD, START, {"end": 2}, "ValueError: {}: expected end in [0, 2), got 2"),
        (GOOD, START, {"end": "."}, "TypeError: {}: expected end to be an integer"),
        (
            lambda ids, state: np.zeros((1, 2)), START, {},
            "TypeError: {}: expected step to return (scores, state), got numpy.ndarray",
        ),
        (
            constant([0.0, 1.0]), START, {},
            "ValueError: {}: expected scores of shape (1, V), got (2,)",
        ),
        (
            constant([[0.0], [1.0]]), START, {},
            "ValueError: {}: expected scores of shape (1, V), got (2, 1)",
        ),
        (
            constant([[0, 1]]), START, {},
            "TypeError: {}: expected scores to be floats, got dtype int64",
        ),
        (
            constant([[0.0, np.nan]]), START, {},
            "ValueError: {}: expected scores with a finite maximum in every row, got n",
        ),
        (
            constant([[-np.inf, -np.inf]]), START, {},
            "ValueError: {}: expected scores with a finite maximum in every row, got -",
        ),
        (
            constant([[0.0, np.inf]]), START, {},
            "ValueError: {}: expected scores with a finite maximum in every row, got i",
        ),
        (
            constant([[0.0, 1.0]], (np.zeros((2, 4)),)), START, {},
            "ValueError: {}: expected a state of nested tuples of arrays with 1 rows, "
            "got (2, 4)",
        ),
        (
            constant([[0.0, 1.0]], {"h": np.zeros((1, 4))}), START, {},
            "ValueError: {}: expected a state of nested tuples of arrays with 1 rows, "
            "got dict",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("search", [greedy, sample, beam_search])
def test_what_cannot_be_decoded(search, step, start, options, error):
    options = {"max_length": 2} | options
    if search is beam_search:
        options["beam"] = 2
    kind, message = error.format(search.__name__).split(": ", 1)
    with pytest.raises((TypeError, ValueError)) as raised:
        search(step, start, **options)
    assert type(raised.value).__name__ == kind
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (
            lambda: beam_search(GOOD, START, beam=0, max_length=1),
            "ValueError: beam_search: expected beam >= 1, got 0",
        ),
        (
            lambda: beam_search(GOOD, START, beam=2, n_best=3, max_length=1),
            "ValueError: beam_search: expected n_best <= beam = 2, got 3",
        ),
        (
            lambda: beam_search(GOOD, START, beam=2, n_best=0, max_length=1),
            "ValueError: beam_search: expected n_best >= 1, got 0",
        ),
        (
            lambda: beam_search(GOOD, START, beam=2, alpha=-0.5, max_length=1),
            "ValueError: beam_search: expected alpha 0 or more, got -0.5",
        ),
        (
            lambda: sample(GOOD, START, temperature=0, max_length=1),
            "ValueError: sample: expected temperature above 0, got 0",
        ),
        (
            lambda: sample(GOOD, START, temperature=np.nan, max_length=1),
            "ValueError: sample: expected temperature above 0, got nan",
        ),
        (
            lambda: sample(GOOD, START, top_k=0, max_length=1),
            "ValueError: sample: expected top_k >= 1, got 0",
        ),
        (
            lambda: sample(GOOD, START, top_p=0, max_length=1),
            "ValueError: sample: expected top_p in (0, 1], got 0",
        ),
        (
            lambda: sample(GOOD, START, top_p=1.5, max_length=1),
            "ValueError: sample: expected top_p in (0, 1], got 1.5",
        ),
        (
            lambda: filter_scores(np.zeros((2, 3)), top_k=1.0),
            "TypeError: filter_scores: expected top_k to be an integer, got 1.0",
        ),
        (
            lambda: filter_scores(np.zeros((2, 3)), top_p="all"),
            "TypeError: filter_scores: expected top_p to be a number, got 'all'",
        ),
        (
            lambda: filter_scores([0.0, 1.0]),
            "TypeError: filter_scores: expected scores to be an array of shape (V,), "
            "got list",
        ),
        (
            lambda: filter_scores(np.float64(3)),
            "ValueError: filter_scores: expected scores of shape (V,), got ()",
        ),
        (
            lambda: filter_scores(np.zeros((2, 0))),
            "ValueError: filter_scores: expected scores of shape (2, V), got (2, 0) "
            "(empty)",
        ),
        (
            lambda: filter_scores(np.array([[0, 1.0], [0, np.nan]])),
            "ValueError: filter_scores: expected scores with a finite maximum in every "
            "row, got nan",
        ),
        (
            lambda: ctc_greedy(LOG_P[0]),
            "ValueError: ctc_greedy: expected log_probs of shape (B, T, V), got (2, 3)",
        ),
        (
            lambda: ctc_greedy(LOG_P.astype(int)),
            "TypeError: ctc_greedy: expected log_probs to be floats, got dtype int64",
        ),
        (
            lambda: ctc_greedy(LOG_P, blank=3),
            "ValueError: ctc_greedy: expected blank in [0, 3), got 3",
        ),
        (
            lambda: ctc_greedy(LOG_P, np.array([3])),
            "ValueError: ctc_greedy: expected lengths in [1, 3), got 3",
        ),
        (
            lambda: ctc_greedy(np.full((1, 2, 3), np.nan)),
            "ValueError: ctc_greedy: expected log_probs with a finite maximum in every "
            "row, got nan",
        ),
        (
            lambda: ctc_beam_search(LOG_P + 1, beam=2),
            "ValueError: ctc_beam_search: expected log-probabilities, whose "
            "exponentials sum to 1, got a sum of 2.718: apply log_softmax first",
        ),
        (
            lambda: ctc_beam_search(LOG_P, beam=0),
            "ValueError: ctc_beam_search: expected beam >= 1, got 0",
        ),
        (
            lambda: ctc_beam_search(LOG_P, beam=2, n_best=3),
            "ValueError: ctc_beam_search: expected n_best <= beam = 2, got 3",
        ),
    ],
)
def test_bad_options_are_named(call, error):
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert f"{type(raised.value).__name__}: {raised.value}" == error
