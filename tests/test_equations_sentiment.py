"""The equations of the chapter on sentiment, against plain loops and simulation."""

import math

import numpy as np
import pytest
import torch

from experiments._sentiment import HIDDEN, build
from experiments.sentiment import bce, compare, targets
from rnnlib.data import RatedTexts

TOKENS = ("<pad>", "<unk>", "good", "bad", "film", "not")


@pytest.fixture
def pooled():
    """Outputs of the LSTMs (B, T, 2H), lengths, and what goes into the Dense layer."""
    model = build("bilstm", TOKENS, seed=3).eval()
    ids, lengths = torch.tensor([[2, 4, 5, 3], [3, 4, 0, 0]]), np.array([4, 2])
    seen = []
    model.out.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    with torch.no_grad():
        model(ids, lengths=lengths)
        states, _ = model.layer(model.words(ids), lengths=lengths)
    return states.numpy(), lengths, seen[0].numpy()


@pytest.mark.equation("eq-sentiment-mean")
def test_the_first_half_is_the_mean_over_the_words(pooled):
    states, lengths, given = pooled
    for row, T in enumerate(lengths):
        for k in range(2 * HIDDEN):
            total = sum(float(states[row, t, k]) for t in range(T))
            assert given[row, k] == pytest.approx(total / T, abs=1e-6)


@pytest.mark.equation("eq-sentiment-max")
def test_the_second_half_is_the_maximum_over_the_words(pooled):
    states, lengths, given = pooled
    for row, T in enumerate(lengths):
        for k in range(2 * HIDDEN):
            most = max(float(states[row, t, k]) for t in range(T))
            assert given[row, 2 * HIDDEN + k] == pytest.approx(most, abs=1e-6)


@pytest.mark.equation("eq-sentiment-share")
def test_the_target_is_the_share_of_raters_who_felt_good():
    opinions = [[-4, -1, 0, 0, 3], [1, 2, 2, 4, 4], [-2, -2, 0, -1, -3]]
    votes = np.array([[one.count(v) for v in range(-4, 5)] for one in opinions])
    part = RatedTexts(("a", "b", "c"), np.array([-0.4, 2.6, -1.6]), votes)
    expected = [
        (sum(v > 0 for v in one) + sum(v == 0 for v in one) / 2) / len(one)
        for one in opinions
    ]
    np.testing.assert_allclose(targets(part, soft=True), expected, atol=1e-7)
    np.testing.assert_array_equal(targets(part, soft=False), [0, 1, 0])


@pytest.mark.equation("eq-sentiment-soft", "eq-sentiment-slope")
@pytest.mark.parametrize("s", [-2.5, 0.0, 0.7])
@pytest.mark.parametrize("q", [0.0, 0.3, 1.0])
def test_the_soft_loss_and_its_slope(s, q):
    def loss(s):
        p = 1 / (1 + math.exp(-s))
        return -q * math.log(p) - (1 - q) * math.log(1 - p)

    score = torch.tensor([[s]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[q, 1.0]], dtype=torch.float64)
    value = bce(score, y)
    value.backward()
    assert float(value.detach()) == pytest.approx(loss(s), abs=1e-12)
    p = 1 / (1 + math.exp(-s))
    assert float(score.grad) == pytest.approx(p - q, abs=1e-12)
    assert (loss(s + 1e-6) - loss(s - 1e-6)) / 2e-6 == pytest.approx(p - q, abs=1e-8)


@pytest.mark.equation("eq-sentiment-binomial")
def test_the_standard_error_of_an_accuracy():
    a, N = 0.8, 1072
    drawn = np.random.default_rng(0).binomial(N, a, 200_000) / N
    assert drawn.std() == pytest.approx(math.sqrt(a * (1 - a) / N), rel=0.01)


@pytest.mark.equation("eq-sentiment-paired")
def test_the_gain_and_its_standard_error_between_equal_models():
    """Two models, equally good, that disagree on a share d of N sentences."""
    rng, N, d, many = np.random.default_rng(0), 1000, 0.12, 20_000
    differ = rng.binomial(N, d, many)
    b = rng.binomial(differ, 0.5)
    gain = (2 * b - differ) / N
    expected = np.sqrt(differ).mean() / N
    assert gain.std() == pytest.approx(expected, rel=0.02)
    assert abs(gain.mean()) < 3 * expected / math.sqrt(many)

    y = rng.integers(0, 2, N)
    ours, theirs = (rng.standard_normal(N) for _ in range(2))
    found = compare({"test": ours}, {"test": theirs}, y)
    right = [(s > 0) == (y == 1) for s in (ours, theirs)]
    difference = right[0].mean() - right[1].mean()
    assert (found["only_ours"] - found["only_theirs"]) / N == pytest.approx(difference)
