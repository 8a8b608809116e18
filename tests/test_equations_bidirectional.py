"""The equations of the chapter on bidirectional layers, each from its letters."""

import numpy as np
import pytest

from rnnlib import numpy as rl

RNG = np.random.default_rng(0)
B, T, I, H = 3, 5, 2, 4  # noqa: E741
LENGTHS = np.array([5, 3, 1])


def tanh_layer():
    """A bidirectional plain RNN, and each direction's step as a function."""
    layer = rl.Bidirectional(rl.RNN(I, H, seed=0, dtype="float64"))

    def step(name):
        W_xh, W_hh = layer.params[f"{name}.W_xh"], layer.params[f"{name}.W_hh"]
        b_h = layer.params[f"{name}.b_h"]
        b_h[:] = RNG.standard_normal(H)
        return lambda x, h: np.tanh(x @ W_xh + h @ W_hh + b_h)

    return layer, step("forward"), step("backward")


def chains(x, f_forward, f_backward):
    """Both chains over one row x (L, I), without turning anything."""
    L = len(x)
    forward, backward = np.zeros((L + 2, H)), np.zeros((L + 2, H))
    for t in range(1, L + 1):
        forward[t] = f_forward(x[t - 1], forward[t - 1])
    for t in range(L, 0, -1):
        backward[t] = f_backward(x[t - 1], backward[t + 1])
    return forward[1:-1], backward[1:-1]


@pytest.mark.equation("eq-bi-forward")
@pytest.mark.equation("eq-bi-backward")
@pytest.mark.equation("eq-bi-joined")
@pytest.mark.equation("eq-bi-last")
def test_the_layer_is_two_chains_side_by_side():
    layer, *steps = tanh_layer()
    x = RNG.standard_normal((B, T, I))
    y, states = layer(x, lengths=LENGTHS)
    for row, L in enumerate(LENGTHS):
        forward, backward = chains(x[row, :L], *steps)
        joined = np.concatenate([forward, backward], axis=-1)
        assert np.abs(y[row, :L] - joined).max() < 1e-14
        assert (y[row, L:] == 0).all()
        last = np.concatenate([forward[L - 1], backward[0]])
        assert np.abs(np.concatenate(states, axis=-1)[row] - last).max() < 1e-14


@pytest.mark.equation("eq-bi-turn")
def test_only_the_valid_steps_are_turned():
    layer = rl.GRU(I, H, seed=0, dtype="float64")
    reverse = rl.GRU(I, H, seed=0, reverse=True, dtype="float64")
    x = RNG.standard_normal((B, T, I))

    def turn(a):
        turned = a.copy()
        for row, L in enumerate(LENGTHS):
            for t in range(1, L + 1):
                turned[row, t - 1] = a[row, L + 1 - t - 1]
        return turned

    expected = turn(layer(turn(x), lengths=LENGTHS)[0])
    assert np.abs(reverse(x, lengths=LENGTHS)[0] - expected).max() < 1e-14
    assert np.abs(reverse(x)[0] - expected)[1:].max() > 1e-3  # the naive flip


@pytest.mark.equation("eq-bi-gap")
def test_the_gap_states_have_not_read_the_letter_itself():
    _, *steps = tanh_layer()
    x = RNG.standard_normal((T, I))

    def gap_states(x):
        forward, backward = chains(x, *steps)
        nothing = np.zeros((1, H))
        before = np.concatenate([nothing, forward[:-1]])
        after = np.concatenate([backward[1:], nothing])
        return np.concatenate([before, after], axis=-1)

    u = gap_states(x)
    for t in range(T):
        other = x.copy()
        other[t] += 1
        moved = np.abs(gap_states(other) - u).max(axis=-1) > 1e-12
        assert moved.tolist() == [s != t for s in range(T)]


@pytest.mark.equation("eq-bi-count")
@pytest.mark.equation("eq-bi-equal")
@pytest.mark.parametrize(("kind", "G"), [("RNN", 1), ("LSTM", 4), ("GRU", 3)])
def test_parameters_of_two_directions_and_of_an_equal_single_one(kind, G):
    I, H = 64, 200  # noqa: E741
    options = {"reset_after": False} if kind == "GRU" else {}
    layer = rl.Bidirectional(getattr(rl, kind)(I, H, **options))
    P = 2 * G * H * (I + H + 1)
    assert sum(p.size for p in layer.params.values()) == P
    equal = -(I + 1) / 2 + np.sqrt((I + 1) ** 2 / 4 + P / G)
    assert abs(G * equal * (I + equal + 1) - P) < 1e-6
    single = getattr(rl, kind)(I, round(equal), **options)
    assert abs(sum(p.size for p in single.params.values()) / P - 1) < 0.01
    # For H much larger than I it is the root of two times H.
    H = 10**6
    P = 2 * G * H * (I + H + 1)
    equal = -(I + 1) / 2 + np.sqrt((I + 1) ** 2 / 4 + P / G)
    assert abs(equal / H - np.sqrt(2)) < 1e-4


@pytest.mark.equation("eq-bi-f1")
def test_f_is_the_harmonic_mean_of_precision_and_recall():
    claimed, true = RNG.random(200) < 0.4, RNG.random(200) < 0.3
    hits = (claimed & true).sum()
    precision, recall = hits / claimed.sum(), hits / true.sum()
    F = 2 * hits / (claimed.sum() + true.sum())
    assert abs(F - 2 / (1 / precision + 1 / recall)) < 1e-12


@pytest.mark.equation("eq-bi-lookahead")
def test_a_delayed_answer_depends_on_k_more_steps_and_no_others():
    k = 2
    layer = rl.GRU(I, H, seed=0, dtype="float64")
    dense = rl.Dense(H, 3, seed=0, dtype="float64")
    W, b = dense.params["W"], dense.params["b"]

    def scores(x):
        x = np.concatenate([x, np.zeros((1, k, I))], axis=1)
        h, _ = layer(x)
        return np.stack([h[0, t + k] @ W + b for t in range(T)])

    x = RNG.standard_normal((1, T, I))
    s = scores(x)
    padded = np.concatenate([x, np.zeros((1, k, I))], axis=1)
    assert np.abs(dense(layer(padded)[0])[0, k:] - s).max() < 1e-14
    for changed in range(T):
        other = x.copy()
        other[0, changed] += 1
        moved = np.abs(scores(other) - s).max(axis=-1) > 1e-12
        assert moved.tolist() == [t + k >= changed for t in range(T)]


@pytest.mark.equation("eq-bi-rerun")
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_starting_again_after_every_step_is_quadratic(steps):
    assert sum(2 * t for t in range(1, steps + 1)) == steps * (steps + 1)
