"""The equations of the chapter on the LSTM."""

import math

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import numerical_gradient

T, B, I, H = 5, 2, 3, 4
OPEN = 50.0  # a bias at which a gate is 1


def sigma(a):
    return 1 / (1 + np.exp(-a))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def lstm(rng, gates="ifo"):
    """A float64 LSTM with random biases; gates not named are welded open."""
    layer = rl.LSTM(I, H, seed=0, dtype="float64")
    b = layer.params["b_h"].reshape(4, H)
    b += rng.standard_normal((4, H))
    for block, name in zip(b, "ifgo", strict=True):
        if name != "g" and name not in gates:
            block[:] = OPEN
    return layer


def blocks(layer):
    """W_x, W_h and b of each gate, by its letter."""
    parts = (np.split(layer.params[k], 4, axis=-1) for k in ("W_xh", "W_hh", "b_h"))
    return dict(zip("ifgo", zip(*parts, strict=True), strict=True))


def inside(block, x, h):
    W_x, W_h, b = block
    return x @ W_x + h @ W_h + b


def data(rng):
    return (
        rng.standard_normal((B, I)),
        rng.standard_normal((B, H)),
        rng.standard_normal((B, H)),
    )


def one_step(layer, x, h, c):
    y, (h, c) = layer(x[:, None], state=(h, c))
    return h, c


@pytest.mark.equation("eq-lstm-conveyor")
@pytest.mark.equation("eq-lstm-candidate")
@pytest.mark.equation("eq-lstm-carousel")
def test_without_gates_the_cell_adds_its_candidate(rng):
    layer = lstm(rng, gates="")
    x, h, c = data(rng)
    W_xg, W_hg, b_g = blocks(layer)["g"]
    g = np.tanh(x @ W_xg + h @ W_hg + b_g)
    new_h, new_c = one_step(layer, x, h, c)
    assert np.abs(new_c - (c + g)).max() < 1e-12
    assert np.abs(new_h - np.tanh(c + g)).max() < 1e-12
    # Along the belt, the candidates held: feed h back nowhere, and c_T = c_0 + sum.
    layer.params["W_hh"][...] = 0
    xs = rng.standard_normal((B, T, I))
    _, (_, before) = layer(xs, state=(h, c))
    _, (_, after) = layer(xs, state=(h, c + 0.25))
    assert np.abs((after - before) / 0.25 - 1).max() < 1e-12


@pytest.mark.equation("eq-lstm-input-gate")
@pytest.mark.equation("eq-lstm-gated-input")
def test_the_input_gate_scales_what_is_added(rng):
    layer = lstm(rng, gates="i")
    x, h, c = data(rng)
    gate = blocks(layer)
    i = sigma(inside(gate["i"], x, h))
    expected = c + i * np.tanh(inside(gate["g"], x, h))
    assert np.abs(one_step(layer, x, h, c)[1] - expected).max() < 1e-12


@pytest.mark.equation("eq-lstm-two-gates")
def test_the_forget_gate_scales_what_was_there(rng):
    layer = lstm(rng, gates="if")
    x, h, c = data(rng)
    gate = blocks(layer)
    i, f = (sigma(inside(gate[k], x, h)) for k in "if")
    expected = f * c + i * np.tanh(inside(gate["g"], x, h))
    assert np.abs(one_step(layer, x, h, c)[1] - expected).max() < 1e-12


@pytest.mark.equation("eq-lstm-shutter")
def test_the_output_gate_scales_what_is_shown(rng):
    layer = lstm(rng)
    x, h, c = data(rng)
    o = sigma(inside(blocks(layer)["o"], x, h))
    new_h, new_c = one_step(layer, x, h, c)
    assert np.abs(new_h - o * np.tanh(new_c)).max() < 1e-12


@pytest.mark.equation("eq-lstm-by-hand")
@pytest.mark.equation("eq-lstm-by-hand-h")
def test_the_step_by_hand():
    assert sigma(math.log(3)) == pytest.approx(3 / 4)
    assert math.tanh(math.log(3)) == pytest.approx(4 / 5)
    layer = rl.LSTM(1, 1, dtype="float64")
    three = math.log(3)
    zeros = {"W_xh": np.zeros((1, 4)), "W_hh": np.zeros((1, 4))}
    layer.load_state_dict({**zeros, "b_h": [three, three, three, 0]})
    state = np.zeros((1, 1)), np.full((1, 1), 0.4)
    _, (h, c) = layer(np.zeros((1, 1, 1)), state=state)
    assert 3 / 4 * 0.4 + 3 / 4 * 4 / 5 == pytest.approx(0.9)
    assert c[0, 0] == pytest.approx(0.9)
    assert (
        h[0, 0] == pytest.approx(math.tanh(0.9) / 2) == pytest.approx(0.358, abs=5e-4)
    )


# Backward: L = sum(h_1 G) + sum(c_1 K) of one step, as a function of what is inside.


def step_values(rng):
    i, f, o = (sigma(rng.standard_normal((B, H))) for _ in range(3))
    g = np.tanh(rng.standard_normal((B, H)))
    c, G, K = (rng.standard_normal((B, H)) for _ in range(3))
    return i, f, g, o, c, G, K


def step_loss(i, f, g, o, c, G, K):
    new = f * c + i * g
    return float((o * np.tanh(new) * G + new * K).sum())


@pytest.mark.equation("eq-lstm-do")
@pytest.mark.equation("eq-lstm-through-h")
@pytest.mark.equation("eq-lstm-di-dg")
@pytest.mark.equation("eq-lstm-df")
def test_gradients_of_what_was_multiplied(rng):
    i, f, g, o, c, G, K = values = step_values(rng)
    u = np.tanh(f * c + i * g)
    v = G * o * (1 - u**2)
    dc = v + K  # K stands for what step t + 1 wants from c_t
    analytic = {0: dc * g, 1: dc * c, 2: dc * i, 3: G * u, 4: dc * f}
    for k, expected in analytic.items():
        numeric = numerical_gradient(lambda: step_loss(*values), values[k])
        assert np.abs(numeric - expected).max() < 1e-8
    # v alone: the gradient of c_t through h_t
    new = f * c + i * g
    numeric = numerical_gradient(lambda: float((o * np.tanh(new) * G).sum()), new)
    assert np.abs(numeric - v).max() < 1e-8


@pytest.mark.equation("eq-lstm-da-gate")
@pytest.mark.equation("eq-lstm-da-candidate")
def test_gradients_before_the_activations(rng):
    a, d = rng.standard_normal((B, H)), rng.standard_normal((B, H))
    f, g = sigma(a), np.tanh(a)
    numeric = numerical_gradient(lambda: float((sigma(a) * d).sum()), a)
    assert np.abs(numeric - d * f * (1 - f)).max() < 1e-8
    numeric = numerical_gradient(lambda: float((np.tanh(a) * d).sum()), a)
    assert np.abs(numeric - d * (1 - g**2)).max() < 1e-8


def run(x, h, c, layer):
    """All steps by the forward equations: hs, cs (T + 1) and the gates of each step."""
    hs, cs, kept = [h], [c], []
    for x_t in x:
        a = {k: inside(b, x_t, hs[-1]) for k, b in blocks(layer).items()}
        i, f, o, g = sigma(a["i"]), sigma(a["f"]), sigma(a["o"]), np.tanh(a["g"])
        cs.append(f * cs[-1] + i * g)
        hs.append(o * np.tanh(cs[-1]))
        kept.append((i, f, g, o))
    return hs, cs, kept


@pytest.mark.equation("eq-lstm-dc")
@pytest.mark.equation("eq-lstm-dh")
@pytest.mark.equation("eq-lstm-dx")
@pytest.mark.equation("eq-lstm-dwhh")
@pytest.mark.equation("eq-lstm-dwxh")
def test_the_recursion_through_time_and_the_sums(rng):
    layer = lstm(rng)
    x, G = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    _, h, c = data(rng)
    hs, cs, kept = run(x, h, c, layer)
    W_xh, W_hh, b_h = (layer.params[k] for k in ("W_xh", "W_hh", "b_h"))

    da, dh, dc = [None] * T, np.zeros((B, H)), np.zeros((B, H))
    for t in reversed(range(T)):
        i, f, g, o = kept[t]
        u = np.tanh(cs[t + 1])
        dh = G[t] + dh  # the loss's part, and da_{t+1} W_hh^T
        dc = dh * o * (1 - u**2) + dc  # v_t, and dc_{t+1} f_{t+1}
        gates = (
            dc * g * i * (1 - i),
            dc * cs[t] * f * (1 - f),
            dc * i * (1 - g**2),
            dh * u * o * (1 - o),
        )
        da[t] = np.concatenate(gates, axis=1)
        dh, dc = da[t] @ W_hh.T, dc * f

    def loss():
        return float((np.array(run(x, h, c, layer)[0][1:]) * G).sum())

    def check(array, expected):
        assert np.abs(numerical_gradient(loss, array) - expected).max() < 1e-7

    check(x, np.array([d @ W_xh.T for d in da]))
    check(h, dh)
    check(c, dc)
    check(W_hh, sum(hs[t].T @ da[t] for t in range(T)))
    check(W_xh, sum(x[t].T @ da[t] for t in range(T)))
    check(b_h, sum(d.sum(axis=0) for d in da))


@pytest.mark.equation("eq-lstm-half-tanh")
def test_the_sigmoid_is_half_a_tanh_of_half():
    a = np.linspace(-40, 40, 2001)
    assert np.abs(sigma(a) - (np.tanh(a / 2) / 2 + 0.5)).max() < 1e-15
