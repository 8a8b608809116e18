"""The equations of the chapter on decoding, each computed from its letters."""

import itertools
import math

import numpy as np
import pytest

from rnnlib.decode import beam_search, filter_scores, greedy

RNG = np.random.default_rng(0)


def random_tree(V, T, rng):
    """p(next | prefix) for every prefix of fewer than T ids; V - 1 is the end."""
    return {
        prefix: rng.dirichlet(np.ones(V))
        for t in range(T)
        for prefix in itertools.product(range(V - 1), repeat=t)
    }


def step_of(tree):
    """The tree as a step function: the state holds each row's prefix."""

    def step(ids, state):
        if state is None:
            state = np.full((len(ids), 0), -1)  # the start id is no part of it
        else:
            state = np.column_stack([state, ids])
        return np.log([tree[tuple(row)] for row in state.tolist()]), state

    return step


def strings(V, T):
    """Every whole string of up to T ids, the end mark V - 1 included."""
    for L in range(1, T + 1):
        for body in itertools.product(range(V - 1), repeat=L - 1):
            yield (*body, V - 1)


def chain(tree, ids):
    p = 1.0
    for t, k in enumerate(ids):
        p *= tree[tuple(ids[:t])][k]
    return p


@pytest.mark.equation("eq-string-probability")
@pytest.mark.equation("eq-string-log-probability")
def test_a_string_has_the_product_of_its_steps():
    V, T = 4, 4
    tree = random_tree(V, T, RNG)
    total = sum(chain(tree, ids) for ids in strings(V, T))
    cut_off = sum(chain(tree, ids) for ids in itertools.product(range(V - 1), repeat=T))
    assert total + cut_off == pytest.approx(1, abs=1e-12)
    options = {"beam": 100, "n_best": 100, "max_length": T, "end": V - 1}
    [found] = beam_search(step_of(tree), np.array([0]), **options)
    assert len(found) > 10
    for h in found:
        ids = (*h.ids.tolist(), *[V - 1] * h.ended)
        logs = [math.log(tree[ids[:t]][k]) for t, k in enumerate(ids)]
        assert h.log_prob == pytest.approx(sum(logs), abs=1e-9)
        assert math.exp(h.log_prob) == pytest.approx(chain(tree, ids), rel=1e-9)


@pytest.mark.equation("eq-best-string")
@pytest.mark.equation("eq-greedy-choice")
@pytest.mark.parametrize("seed", range(5))
def test_greedy_takes_each_largest_and_exhaustive_search_the_largest_of_all(seed):
    V, T = 3, 5
    tree = random_tree(V, T, np.random.default_rng(seed))
    best = max(strings(V, T), key=lambda ids: chain(tree, ids))
    options = {"max_length": T, "end": V - 1}
    [[h]] = beam_search(step_of(tree), np.array([0]), beam=V**T, **options)
    assert (*h.ids.tolist(), V - 1) == best
    ids = ()
    while len(ids) < T and (not ids or ids[-1] != V - 1):
        ids = (*ids, int(np.argmax(tree[ids])))
    [g] = greedy(step_of(tree), np.array([0]), **options)
    assert (*g.ids.tolist(), *[V - 1] * g.ended) == ids
    assert not g.ended or g.log_prob <= h.log_prob


@pytest.mark.equation("eq-exhaustive-count")
@pytest.mark.parametrize(("V", "T"), [(2, 6), (3, 5), (4, 4), (6, 3)])
def test_the_number_of_whole_strings(V, T):
    assert len(set(strings(V, T))) == sum((V - 1) ** (L - 1) for L in range(1, T + 1))


@pytest.mark.equation("eq-prefix-bound")
@pytest.mark.equation("eq-open-prefixes")
def test_a_beginning_is_as_probable_as_anything_it_becomes():
    V, T = 4, 5
    tree = random_tree(V, T, RNG)
    best = max(chain(tree, ids) for ids in strings(V, T))
    for t in range(1, T + 1):
        beginnings = [
            chain(tree, ids) for ids in itertools.product(range(V - 1), repeat=t)
        ]
        assert np.sum(np.array(beginnings) >= best) * best <= 1
    for ids in strings(V, T):
        p = [chain(tree, ids[:t]) for t in range(len(ids) + 1)]
        assert all(np.diff(p) <= 0)


@pytest.mark.equation("eq-geometric-length")
def test_lengths_of_a_model_that_ends_with_a_fixed_probability():
    q, L = 0.3, np.arange(1, 200)
    p = (1 - q) ** (L - 1) * q
    drawn = np.random.default_rng(1).random((100_000, 60)) < q
    lengths = drawn.argmax(axis=1) + 1
    shares = np.bincount(lengths, minlength=20)[1:9] / len(lengths)
    assert np.abs(shares - p[:8]).max() < 0.01
    assert p.sum() == pytest.approx(1)
    assert (L * p).sum() == pytest.approx(1 / q)
    assert p.argmax() == 0


@pytest.mark.equation("eq-length-penalty")
@pytest.mark.equation("eq-penalised-score")
@pytest.mark.parametrize("alpha", [0, 0.6, 1, 2.5])
def test_the_score_of_a_hypothesis(alpha):
    V, T = 3, 5
    tree = random_tree(V, T, RNG)
    options = {"beam": 300, "n_best": 300, "max_length": T, "end": V - 1}
    [found] = beam_search(step_of(tree), np.array([0]), alpha=alpha, **options)
    ended = [h for h in found if h.ended]
    assert len(ended) == len(list(strings(V, T)))
    for h in ended:
        L = len(h.ids) + 1
        lp = ((5 + L) / 6) ** alpha
        p = chain(tree, (*h.ids.tolist(), V - 1))
        assert h.score == pytest.approx(math.log(p) / lp)
    assert [h.score for h in ended] == sorted((h.score for h in ended), reverse=True)


@pytest.mark.equation("eq-truncated-probability")
@pytest.mark.equation("eq-top-k-size")
@pytest.mark.equation("eq-nucleus-size")
@pytest.mark.parametrize("seed", range(4))
def test_what_truncation_keeps(seed):
    V = 9
    p = np.random.default_rng(seed).dirichlet(np.ones(V))
    scores = np.log(p) + 3.0  # a constant changes nothing
    descending = sorted(range(V), key=lambda k: -p[k])

    def check(n, **rule):
        S = descending[:n]
        expected = np.zeros(V)
        for k in S:
            expected[k] = p[k] / sum(p[j] for j in S)
        kept = np.exp(filter_scores(scores, **rule))
        assert np.abs(kept / kept.sum() - expected).max() < 1e-12

    for k in (1, 2, 5, 9, 12):
        check(min(k, V), top_k=k)
    for share in (0.01, 0.3, 0.7, 0.95):
        sums = [sum(p[j] for j in descending[:m]) for m in range(1, V + 1)]
        check(1 + [s >= share for s in sums].index(True), top_p=share)


@pytest.mark.equation("eq-repetition")
@pytest.mark.parametrize(
    ("text", "n", "share"),
    [("abcabcabc", 3, 1 - 3 / 7), ("aaaa", 2, 1 - 1 / 3), ("abcdef", 2, 0)],
)
def test_the_share_of_stretches_that_are_not_new(text, n, share):
    G = [text[i : i + n] for i in range(len(text) - n + 1)]
    seen, again = set(), 0
    for g in G:
        again += g in seen
        seen.add(g)
    assert 1 - len(set(G)) / len(G) == pytest.approx(again / len(G))
    assert again / len(G) == pytest.approx(share)


@pytest.mark.equation("eq-surprise")
def test_surprise_is_in_bits_and_its_mean_in_bits_per_character():
    from rnnlib import metrics
    from rnnlib import numpy as rl

    scores = RNG.standard_normal((3, 7, 5))
    came = RNG.integers(0, 5, (3, 7))
    p = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    b = [-math.log2(p[i, t, came[i, t]]) for i in range(3) for t in range(7)]
    loss, _ = rl.cross_entropy(scores, came)
    assert np.mean(b) == pytest.approx(metrics.nats_to_bits(loss))
    assert -math.log2(0.25) == 2  # one of four: two bits
