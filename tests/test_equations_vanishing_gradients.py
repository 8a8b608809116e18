"""The equations of the chapter on vanishing and exploding gradients."""

import math

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.numpy.lstm import lstm_forward

H = 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def states(layer, x, h):
    """h_0 … h_T of a plain cell, from its two equations."""
    W_xh, W_hh, b_h = (layer.params[k] for k in ("W_xh", "W_hh", "b_h"))
    hs = [h]
    for x_t in x:
        hs.append(np.tanh(x_t @ W_xh + hs[-1] @ W_hh + b_h))
    return hs


def differences(function, h, eps=1e-6):
    """Jacobian by central differences: [i, j] is how output i depends on h[j]."""
    columns = [
        (function(h + eps * e) - function(h - eps * e)) / (2 * eps)
        for e in np.eye(len(h))
    ]
    return np.stack(columns, axis=1)


def plain(rng, T):
    layer = rl.RNN(3, H, seed=0, dtype="float64")
    layer.params["W_hh"] *= 1.3
    return layer, rng.standard_normal((T, 3)), rng.standard_normal(H)


def backward_jacobian(layer, x, h):
    """Rows of the identity through `backward`: the product, by the library."""
    y, _ = layer(np.repeat(x[None], H, axis=0), state=np.repeat(h[None], H, axis=0))
    layer.backward(np.zeros_like(y), dstate=np.eye(H))
    return layer.dstate


def unit(w, b, T, h=0.5):
    for _ in range(T):
        h = math.tanh(w * h + b)
    return h


def unit_gradient(w, b, T, target=0.7):
    """Loss, dL/dw and dL/db of the one-unit network, by the library."""
    layer = rl.RNN(1, 1, dtype="float64")
    layer.load_state_dict({"W_xh": [[0]], "W_hh": [[w]], "b_h": [b]})
    y, h = layer(np.zeros((1, T, 1)), state=np.full((1, 1), 0.5))
    layer.backward(np.zeros_like(y), dstate=2 * (h - target))
    loss = float((h[0, 0] - target) ** 2)
    return loss, layer.grads["W_hh"][0, 0], layer.grads["b_h"][0]


@pytest.mark.equation("eq-gradient-slope")
@pytest.mark.parametrize("w", [0.4, 1.08, 1.8])
def test_the_loss_is_its_tangent_up_to_second_order(w):
    loss, slope, _ = unit_gradient(w, 0.0, 20)
    off = [
        abs((unit(w + e, 0, 20) - 0.7) ** 2 - loss - e * slope) for e in (1e-2, 1e-3)
    ]
    assert off[0] < 0.02
    assert off[1] < 0.02 * off[0]  # a tenth of the way, a hundredth of the error


@pytest.mark.equation("eq-step-jacobian")
@pytest.mark.equation("eq-saturated-slope")
def test_one_step_is_the_slope_times_the_transposed_matrix(rng):
    layer, x, h = plain(rng, 1)
    after = states(layer, x, h)[1]
    J = np.diag(1 - after**2) @ layer.params["W_hh"].T
    assert np.abs(backward_jacobian(layer, x, h) - J).max() < 1e-14
    numeric = differences(lambda h: states(layer, x, h)[1], h)
    assert np.abs(numeric - J).max() < 1e-9
    a = np.linspace(-3, 3, 13)
    slope = (np.tanh(a + 1e-6) - np.tanh(a - 1e-6)) / 2e-6
    assert np.abs(slope - (1 - np.tanh(a) ** 2)).max() < 1e-9


@pytest.mark.equation("eq-jacobian-product")
def test_many_steps_are_the_product_with_later_factors_on_the_left(rng):
    layer, x, h = plain(rng, 6)
    product = np.eye(H)
    for after in states(layer, x, h)[1:]:
        product = np.diag(1 - after**2) @ layer.params["W_hh"].T @ product
    assert np.abs(backward_jacobian(layer, x, h) - product).max() < 1e-13
    numeric = differences(lambda h: states(layer, x, h)[-1], h)
    assert np.abs(numeric - product).max() < 1e-8


@pytest.mark.equation("eq-jacobian-bound")
@pytest.mark.parametrize("T", [1, 5, 20])
def test_the_norm_is_at_most_the_power_of_the_largest_singular_value(rng, T):
    layer, x, h = plain(rng, T)
    sigma = np.linalg.svd(layer.params["W_hh"], compute_uv=False)[0]
    assert np.linalg.norm(backward_jacobian(layer, x, h), 2) <= sigma**T
    # At rest with an orthogonal matrix the bound is reached.
    still = np.linalg.norm(backward_jacobian(layer, 0 * x, 0 * h), 2)
    assert still == pytest.approx(sigma**T)


@pytest.mark.equation("eq-gelfand")
def test_the_root_of_the_norm_of_a_power_tends_to_the_spectral_radius(rng):
    W = rng.standard_normal((8, 8))
    W /= np.abs(np.linalg.eigvals(W)).max()
    off = [
        abs(np.linalg.norm(np.linalg.matrix_power(W, n), 2) ** (1 / n) - 1)
        for n in (1, 10, 100, 1000)
    ]
    assert off[0] > off[1] > off[2] > off[3] and off[3] < 0.01


@pytest.mark.equation("eq-jordan-power")
@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_the_power_of_the_two_by_two_block(n):
    a, k = 0.9, 2.0
    by_hand = [[a**n, n * a ** (n - 1) * k], [0, a**n]]
    power = np.linalg.matrix_power(np.array([[a, k], [0, a]]), n)
    assert np.abs(power - by_hand).max() < 1e-12


@pytest.mark.equation("eq-cell-path")
def test_with_gates_held_fixed_the_cell_path_is_the_product_of_forget_gates(rng):
    T, x, c = 5, rng.standard_normal((5, 1, 3)), rng.standard_normal((1, H))
    W_xh, b_h = rng.standard_normal((3, 4 * H)), rng.standard_normal(4 * H)
    W_hh = np.zeros((H, 4 * H))  # so that no gate depends on the state
    f = 1 / (1 + np.exp(-(x[:, 0] @ W_xh + b_h)[:, H : 2 * H]))  # gates i f g o

    def last_c(c):
        return lstm_forward(x, np.zeros((1, H)), c[None], W_xh, W_hh, b_h)[1][T, 0]

    numeric = differences(last_c, c[0])
    assert np.abs(numeric - np.diag(f.prod(axis=0))).max() < 1e-9


@pytest.mark.equation("eq-skill")
def test_skill_is_0_for_a_blind_guess_and_1_for_a_perfect_answer(rng):
    def skill(error, blind):
        return 1 - error / blind

    y = rng.random(100_000) + rng.random(100_000)  # the adding task's answers
    blind = ((y - y.mean()) ** 2).mean()
    assert blind == pytest.approx(1 / 6, abs=3e-3)
    assert skill(blind, blind) == 0 and skill(0, blind) == 1
    guess, symbols = rng.integers(0, 4, (2, 100_000))
    assert skill((guess != symbols).mean(), 3 / 4) == pytest.approx(0, abs=0.02)
    guess, bits = rng.integers(0, 2, (2, 100_000))
    assert skill((guess != bits).mean(), 1 / 2) == pytest.approx(0, abs=0.02)


@pytest.mark.equation("eq-cliff-unit")
@pytest.mark.equation("eq-cliff-loss")
def test_the_one_unit_network_and_its_loss():
    for w, b in ((0.8, 0.1), (1.3, -0.05), (1.6, 0.2)):
        loss, dw, db = unit_gradient(w, b, 50)
        assert loss == pytest.approx((unit(w, b, 50) - 0.7) ** 2, abs=1e-12)
        e = 1e-6
        for slope, (w_e, b_e) in ((dw, (e, 0)), (db, (0, e))):
            above = (unit(w + w_e, b + b_e, 50) - 0.7) ** 2
            below = (unit(w - w_e, b - b_e, 50) - 0.7) ** 2
            assert slope == pytest.approx((above - below) / (2 * e), abs=1e-6)


@pytest.mark.equation("eq-clip-norm")
@pytest.mark.parametrize("size", [0.1, 10.0])
def test_clipping_by_norm_scales_all_gradients_by_one_factor(rng, size):
    layer = rl.RNN(3, H, seed=0, dtype="float64")
    layer.grads = {
        k: size * rng.standard_normal(p.shape) for k, p in layer.params.items()
    }
    g = np.concatenate([v.ravel() for v in layer.grads.values()])
    theta = 2.0
    by_hand = g * min(1, theta / math.sqrt((g**2).sum()))
    assert rl.clip_grad_norm(layer, theta) == pytest.approx(math.sqrt((g**2).sum()))
    clipped = np.concatenate([v.ravel() for v in layer.grads.values()])
    assert np.abs(clipped - by_hand).max() < 1e-6


@pytest.mark.equation("eq-clip-value")
def test_clipping_by_value_limits_each_entry(rng):
    g, v = rng.standard_normal(50), 0.3
    by_hand = [max(-v, min(v, entry)) for entry in g]
    assert np.array_equal(np.clip(g, -v, v), by_hand)


def check_step(step, by_hand, rng):
    """A cell of the torch engine with another step, against a formula in NumPy."""
    torch = pytest.importorskip("torch")
    from rnnlib import torch as rt

    class Cell(rt.RNN):
        def _step(self, a, h):
            return (step(torch, a + h @ self.W_hh, h),)

    layer = Cell(3, H, impl="loop", seed=0, dtype="float64")
    x = rng.standard_normal((5, 3))
    W_xh, W_hh = (getattr(layer, k).detach().numpy() for k in ("W_xh", "W_hh"))
    h = np.zeros(H)
    for x_t in x:
        h = by_hand(x_t @ W_xh + h @ W_hh, h)
    _, last = layer(torch.tensor(x[None]))
    assert np.abs(last.detach().numpy()[0] - h).max() < 1e-12


@pytest.mark.equation("eq-layer-norm-step")
def test_the_layer_norm_step(rng):
    def by_hand(a, h):
        return np.tanh((a - a.mean()) / np.sqrt(a.var() + 1e-5))

    def step(torch, a, h):
        return torch.tanh(torch.nn.functional.layer_norm(a, a.shape[-1:]))

    check_step(step, by_hand, rng)


@pytest.mark.equation("eq-skip-step")
def test_the_skip_step(rng):
    check_step(
        lambda torch, a, h: h + 0.2 * torch.tanh(a),
        lambda a, h: h + 0.2 * np.tanh(a),
        rng,
    )
