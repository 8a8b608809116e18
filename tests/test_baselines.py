"""Kneser-Ney: against the definition in dictionaries, and the number of the book."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from rnnlib.baselines import KneserNey
from rnnlib.data import shakespeare
from rnnlib.text import Vocabulary


def reference(ids, order, V, D):
    """p(w | h), read off the definition: counts of tuples in dictionaries."""
    ids = tuple(ids)

    def grams(n):
        return [ids[i : i + n] for i in range(len(ids) - n + 1)]

    count = {
        n: Counter(gram[1:] for gram in set(grams(n + 1))) for n in range(1, order)
    }
    count[order] = Counter(grams(order))
    total = {n: defaultdict(int) for n in count}
    kinds = {n: defaultdict(int) for n in count}
    for n in count:
        for gram, c in count[n].items():
            total[n][gram[:-1]] += c
            kinds[n][gram[:-1]] += 1

    def probability(w, history):
        p = 1 / V
        for n in range(1, min(order, len(history) + 1) + 1):
            h = tuple(history[len(history) - n + 1 :])
            if total[n][h]:
                found = max(count[n][(*h, w)] - D, 0)
                p = (found + D * kinds[n][h] * p) / total[n][h]
        return p

    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(("V", "N"), [(3, 40), (7, 200), (1000, 60)])
@pytest.mark.parametrize("D", [0.75, 1.0, 0.1])
def test_agrees_with_the_definition(order, V, N, D):
    rng = np.random.default_rng([order, V, N])
    train = rng.integers(0, max(2, V - 1), N)  # the last id is never seen
    test = rng.integers(0, V, 50)
    p = reference(train.tolist(), order, V, D)
    expected = [
        math.log2(p(w, test[max(0, i - order + 1) : i].tolist()))
        for i, w in enumerate(test.tolist())
    ]
    model = KneserNey(order, D).fit(train, V)
    np.testing.assert_allclose(model.log2_probs(test), expected, rtol=1e-12)
    assert model.bits_per_token(test) == pytest.approx(-np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("history", [(), (0,), (1, 2), (0, 1, 2, 3, 4), (9, 9, 9)])
def test_distribution_sums_to_one_and_is_what_log2_probs_uses(order, history):
    train = np.random.default_rng(0).integers(0, 9, 300)  # 9 is never seen
    model = KneserNey(order).fit(train, 10)
    p = model.distribution(history)
    assert p.shape == (10,)
    assert p.min() > 0
    assert abs(p.sum() - 1) <= 1e-12
    scored = [model.log2_probs([w], history)[0] for w in range(10)]
    np.testing.assert_allclose(np.log2(p), scored, rtol=1e-12)


def test_unseen_history_backs_off_to_its_seen_end():
    train = np.array([0, 1, 2, 0, 1, 3, 0, 2, 1])
    model = KneserNey(order=3).fit(train, 5)
    after_1 = model.distribution([1])
    np.testing.assert_array_equal(model.distribution([4, 1]), after_1)
    np.testing.assert_array_equal(model.distribution([4]), model.distribution())
    assert not np.allclose(model.distribution([0, 1]), after_1)


def test_lower_orders_count_predecessors_not_occurrences():
    # 1 is frequent but follows 0 only; 2 is rarer and follows everything.
    train = np.array([0, 1, 0, 1, 0, 1, 0, 1, 3, 2, 0, 2, 1, 2, 4, 2, 3])
    p = KneserNey(order=2).fit(train, 6).distribution([5])
    assert p[2] > p[1]
    assert (train == 1).sum() > (train == 2).sum()


def test_a_larger_discount_gives_more_to_the_unseen():
    train = np.array([0, 1, 0, 1, 0, 2])
    unseen = [KneserNey(2, D).fit(train, 4).distribution([0])[3] for D in (0.1, 0.5, 1)]
    assert unseen == sorted(unseen)
    # by hand: c(0 1) = 2, c(0 2) = 1; predecessors of 0, 1, 2: one each
    p_1 = 0.5 / 3 + 0.5 * 3 / 3 / 4
    p = KneserNey(2, 0.5).fit(train, 4).distribution([0])
    assert p[1] == pytest.approx(1.5 / 3 + 0.5 * 2 / 3 * p_1, rel=1e-14)


def test_history_is_what_the_text_before_would_be():
    rng = np.random.default_rng(1)
    model = KneserNey(4).fit(rng.integers(0, 5, 500), 5)
    text = rng.integers(0, 5, 60)
    whole = model.log2_probs(text)
    for cut in (1, 2, 10):
        np.testing.assert_array_equal(
            model.log2_probs(text[cut:], history=text[:cut]), whole[cut:]
        )


def test_a_large_vocabulary_does_not_overflow():
    V = 10**9
    train = np.array([V - 1, 0, V - 1, 5, V - 1, 0])
    model = KneserNey(6).fit(train, V)
    p = reference(train.tolist(), 6, V, 0.75)
    history = [V - 1, 0, V - 1, 5, V - 1]
    expected = math.log2(p(0, history))
    assert model.log2_probs([0], history)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: KneserNey(0), ValueError, "expected order >= 1, got 0"),
        (lambda: KneserNey(2.5), TypeError, "expected order to be an integer"),
        (lambda: KneserNey(3, 0.0), ValueError, "expected 0 < discount <= 1, got 0.0"),
        (lambda: KneserNey(3, 1.5), ValueError, "got 1.5"),
        (lambda: KneserNey(3, "more"), ValueError, "or 'modified', got 'more'"),
        (lambda: KneserNey(3).fit([0, 1], 2), ValueError, "at least 3 ids, got 2"),
        (lambda: KneserNey(1).fit([0, 2], 2), ValueError, r"ids in \[0, 2\), got 2"),
        (lambda: KneserNey(1).fit([0.0], 2), TypeError, "expected ids to be integers"),
        (lambda: KneserNey(1).fit([0], 0), ValueError, "expected vocab_size >= 1"),
        (lambda: KneserNey(1).log2_probs([0]), RuntimeError, "call fit first"),
        (lambda: KneserNey(1).distribution(), RuntimeError, "call fit first"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_errors_of_a_fitted_model():
    model = KneserNey(2).fit([0, 1, 0], 2)
    with pytest.raises(ValueError, match="empty"):
        model.log2_probs(np.zeros(0, int))
    with pytest.raises(TypeError, match="expected history to be integers"):
        model.distribution([0.5])
    with pytest.raises(ValueError, match=r"expected history in \[0, 2\), got 7"):
        model.log2_probs([0], history=[7])


@pytest.mark.parametrize("order", [1, 2, 4])
def test_modified_discounts_are_those_of_chen_and_goodman(order):
    rng = np.random.default_rng(order)
    V, train = 12, rng.geometric(0.3, 3_000).clip(max=12) - 1
    test = rng.integers(0, V, 200)
    model = KneserNey(order, "modified").fit(train, V)
    texts = tuple(train.tolist())

    def grams(n):
        return [texts[i : i + n] for i in range(len(texts) - n + 1)]

    count = {n: Counter(g[1:] for g in set(grams(n + 1))) for n in range(1, order)}
    count[order] = Counter(grams(order))
    D = {}
    for n, counts in count.items():
        n1, n2, n3, n4 = (sum(c == k for c in counts.values()) for k in (1, 2, 3, 4))
        D[n] = (0.75,) * 3
        if min(n1, n2, n3, n4):
            Y = n1 / (n1 + 2 * n2)
            D[n] = 1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3
        assert model.discounts[n - 1] == pytest.approx(np.clip(D[n], 0.01, (1, 2, 3)))
    D = dict(enumerate(model.discounts, 1))

    def p(w, h):
        p = 1 / V
        for n in range(1, min(order, len(h) + 1) + 1):
            context = tuple(h[len(h) - n + 1 :])
            after = {g[-1]: c for g, c in count[n].items() if g[:-1] == context}
            if after:
                taken = {v: D[n][min(c, 3) - 1] for v, c in after.items()}
                own = after.get(w, 0) - taken.get(w, 0)
                p = (own + sum(taken.values()) * p) / sum(after.values())
        return p

    expected = [
        math.log2(p(w, test[max(0, i - order + 1) : i].tolist()))
        for i, w in enumerate(test.tolist())
    ]
    np.testing.assert_allclose(model.log2_probs(test), expected, rtol=1e-10)
    assert model.distribution([3, 1, 2]).sum() == pytest.approx(1)
    assert order == 1 or len(set(model.discounts[-1])) == 3


def test_seven_grams_need_2_063_bits_per_character_on_the_frozen_test():
    plays = shakespeare()
    vocabulary = Vocabulary.fit(plays.train, specials=())
    train, test = vocabulary.encode(plays.train), vocabulary.encode(plays.test)
    model = KneserNey(order=7).fit(train, len(vocabulary))
    assert round(model.bits_per_token(test), 3) == 2.063
