"""The equations of the chapter on music, each computed in another way too."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from experiments import music


@pytest.fixture(scope="module")
def composer():
    torch.manual_seed(0)
    model = music.Composer(9, hidden=12, pointer=5, seed=1).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


IDS = np.array([0, 3, 4, 5, 3, 4, 7, 3, 4])


def by_hand(model, ids):
    """Own guess (T, V) and weights (T, 1 + T) with loops."""
    with torch.no_grad():
        x = torch.from_numpy(ids)[None]
        h = model.lstm(model.embedding(x))[0][0].double().numpy()
        own = model.output(torch.from_numpy(h).float()).softmax(-1).double().numpy()
    arrays = {k: v.double().numpy() for k, v in model.state_dict().items()}
    q = h @ arrays["query.W"] + arrays["query.b"]
    k = h @ arrays["key.W"] + arrays["key.b"]
    weights = np.zeros((len(ids), 1 + len(ids)))
    for t in range(len(ids)):
        scores = [q[t] @ arrays["stay"]]
        scores += [q[t] @ k[s] / math.sqrt(q.shape[1]) for s in range(t)]
        powers = [math.exp(s) for s in scores]
        weights[t, : 1 + t] = [p / sum(powers) for p in powers]
    return own, weights


@pytest.mark.equation("eq-music-weights")
def test_the_own_guess_competes_with_all_earlier_places(composer):
    _, weights = by_hand(composer, IDS)
    assert weights[0, 0] == 1  # nothing to point at
    with torch.no_grad():
        x = torch.from_numpy(IDS)[None]
        h, _ = composer.lstm(composer.embedding(x))
        own = torch.full((1, len(IDS), 9), 1 / 9).log()
        stay, copied = composer.guesses(x, h, own)
    np.testing.assert_allclose(stay[0, :, 0].exp() * 9, weights[:, 0], rtol=1e-4)
    np.testing.assert_allclose(copied[0].exp().sum(-1), 1 - weights[:, 0], atol=1e-4)


@pytest.mark.equation("eq-music-pointer")
def test_a_character_gets_what_all_its_places_have(composer):
    own, weights = by_hand(composer, IDS)
    expected = weights[:, :1] * own
    for t in range(len(IDS)):
        for s in range(t):
            expected[t, IDS[s + 1]] += weights[t, 1 + s]
    with torch.no_grad():
        found = composer(torch.from_numpy(IDS)[None])[0].exp()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


@pytest.mark.equation("eq-music-cache")
def test_the_cache_adds_counts_of_this_tune():
    rng = np.random.default_rng(0)
    tune, p = rng.integers(0, 3, 60), rng.random(59)
    cache = music.Cache()
    cache.strengths = np.geomspace(8, 0.5, len(music.CONTEXTS))
    expected = []
    for t in range(1, len(tune)):
        value, past = p[t - 1], tuple(tune[:t])
        for n, s in zip(music.CONTEXTS, cache.strengths, strict=True):
            after = Counter(
                past[i + n]
                for i in range(t - n)
                if n <= t and past[i : i + n] == past[t - n :]
            )
            value = (after[tune[t]] + s * value) / (after.total() + s)
        expected.append(value)
    np.testing.assert_allclose(cache([tune], [p])[0], expected, rtol=1e-12)


def test_the_model_does_not_see_what_comes_later(composer):
    other = IDS.copy()
    other[6:] = [1, 2, 8]
    with torch.no_grad():
        a, b = (composer(torch.from_numpy(v)[None])[0] for v in (IDS, other))
    np.testing.assert_allclose(a[:6], b[:6], atol=1e-6)
    assert not np.allclose(a[6:], b[6:], atol=1e-3)


def test_padding_costs_nothing(composer):
    tunes = [np.array([0, 3, 4, 0]), np.array([0, 5, 3, 4, 5, 3, 0])]
    ((x, y),) = music.batches(tunes, 2)
    assert x.shape == y.shape == (2, 6) and (y == -1).sum() == 3
    with torch.no_grad():
        log_p = composer(torch.from_numpy(x))
        nats = music.loss(log_p, torch.from_numpy(y)) * y.size
        alone = sum(
            -composer(torch.from_numpy(t[None, :-1]))[0][range(len(t) - 1), t[1:]].sum()
            for t in tunes
        )
    assert nats.item() == pytest.approx(alone.item(), rel=1e-5)


def test_an_unknown_character_has_a_price():
    vocab = music.vocabulary(["ab", "ba"])
    ids = music.encode("aR", vocab)
    assert ids.tolist() == [0, 2, 1, 0]
    price = music.floored(np.zeros(1), 78)[0]
    assert price == pytest.approx(math.log2(78 / music.FLOOR)) and price < 20


def test_tunes_in_other_keys_are_those_of_their_mode():
    head = "M:2/4\nL:1/8\nK:{}\nG A B c |\n"
    texts = [head.format(k) for k in ("G", "D", "D", "Em", "Bn")]
    found, chances = music.others(texts)
    keys = [[t.split("\n")[2] for t in ts] for ts in found]
    assert keys == [["K:D"], ["K:G"], ["K:G"], [], []]
    assert chances[0].tolist() == [1] and chances[3] is None
