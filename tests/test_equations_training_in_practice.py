"""The equations of Training in practice, each computed from its letters."""

import itertools

import numpy as np
import pytest

from rnnlib import numpy as rl

RNG = np.random.default_rng(0)


def dense_with_gradients(dtype="float64"):
    layer = rl.Dense(3, 2, seed=0, dtype=dtype)
    layer.grads = {k: RNG.standard_normal(p.shape) for k, p in layer.params.items()}
    return layer


@pytest.mark.equation("eq-practice-clip")
@pytest.mark.parametrize("tau", [0.1, 100.0])
def test_clipping_bounds_the_norm_and_keeps_the_direction(tau):
    layer = dense_with_gradients()
    g = {k: a.copy() for k, a in layer.grads.items()}
    norm = np.sqrt(sum((a**2).sum() for a in g.values()))
    rl.clip_grad_norm(layer, tau)
    for k, a in g.items():
        # The library divides by the norm + 1e-6, as PyTorch does.
        assert np.allclose(layer.grads[k], a * min(1, tau / norm), rtol=2e-6)


@pytest.mark.equation("eq-practice-adam-mean")
@pytest.mark.equation("eq-practice-adam-square")
@pytest.mark.equation("eq-practice-adam-step")
def test_adam_is_its_three_equations():
    layer = dense_with_gradients()
    optimizer = rl.Adam(layer, lr=0.01, betas=(0.8, 0.95), eps=1e-8)
    theta = {k: p.copy() for k, p in layer.params.items()}
    m, v = dict.fromkeys(theta, 0.0), dict.fromkeys(theta, 0.0)
    for k in range(1, 6):
        for name, g in layer.grads.items():
            g[...] = RNG.standard_normal(g.shape)
            m[name] = 0.8 * m[name] + 0.2 * g
            v[name] = 0.95 * v[name] + 0.05 * g**2
            mean, square = m[name] / (1 - 0.8**k), v[name] / (1 - 0.95**k)
            theta[name] = theta[name] - 0.01 * mean / (np.sqrt(square) + 1e-8)
        optimizer.step()
    for name, value in theta.items():
        assert np.abs(layer.params[name] - value).max() < 1e-12


@pytest.mark.equation("eq-practice-dropout")
def test_dropout_zeroes_or_scales_and_keeps_the_mean():
    p, x = 0.3, RNG.standard_normal((200, 500)) + 2
    y = rl.Dropout(p, seed=0)(x)
    d = (y != 0).astype(float)
    assert np.abs(y - x * d / (1 - p)).max() < 1e-12
    assert abs(d.mean() - (1 - p)) < 0.01
    assert abs(y.mean() - x.mean()) < 0.03


@pytest.mark.equation("eq-practice-carried")
@pytest.mark.equation("eq-practice-state-noise")
@pytest.mark.parametrize("T", [1, 2, 5])
def test_variance_of_a_carried_number_over_all_masks(T):
    p, h_0 = 0.3, 1.7
    mean = square = 0.0
    for d in itertools.product((0, 1), repeat=T):
        chance = np.prod([1 - p if d_t else p for d_t in d])
        h = h_0
        for d_t in d:
            h = h * d_t / (1 - p)
        mean, square = mean + chance * h, square + chance * h**2
    assert abs(mean - h_0) < 1e-12
    expected = h_0**2 * ((1 - p) ** -T - 1)
    assert abs(square - mean**2 - expected) < 1e-12


@pytest.mark.equation("eq-practice-standard-error")
@pytest.mark.equation("eq-practice-seeds-needed")
def test_standard_error_of_a_mean_and_the_seeds_it_asks_for():
    s, x = 0.05, 0.02
    n = int(np.ceil((2 * s / x) ** 2))
    means = np.random.default_rng(1).normal(1.0, s, (20_000, n)).mean(axis=1)
    assert n == 25
    assert abs(means.std() - s / np.sqrt(n)) < 3e-4
    assert 0.94 < (abs(means - 1.0) <= x).mean() < 0.97


@pytest.mark.equation("eq-practice-softmax-twice")
@pytest.mark.parametrize("classes", [2, 10, 84])
def test_floor_of_the_loss_with_two_softmaxes(classes):
    floor = np.log(1 + (classes - 1) * np.exp(-1))
    y = np.zeros(1, int)
    sure = rl.softmax(np.array([[1000.0] + [0.0] * (classes - 1)]))
    assert abs(rl.cross_entropy(sure, y)[0] - floor) < 1e-12
    any_scores = rl.softmax(RNG.standard_normal((1000, classes)) * 10)
    losses = [rl.cross_entropy(row[None], y)[0] for row in any_scores]
    assert min(losses) >= floor - 1e-12
