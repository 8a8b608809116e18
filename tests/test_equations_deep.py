"""The equations of the chapter on deep recurrent networks."""

import functools
import math

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import numerical_gradient

B, T, I, H, L = 2, 5, 3, 4, 3
F64 = {"dtype": "float64"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def stack(kind=rl.RNN, depth=L, first=I, seed=0):
    sizes = [first] + [H] * depth
    layers = [kind(i, H, **F64) for i in sizes[:-1]]
    return rl.Sequential(*layers, seed=seed)


def grid(model, x):
    """Every pre-activation and state of a plain stack, from the letters."""
    a, h = {}, {(0, t): x[:, t] for t in range(T)}
    for k, layer in enumerate(model.layers, 1):
        W_xh, W_hh, b_h = (layer.params[n] for n in ("W_xh", "W_hh", "b_h"))
        for t in range(T):
            before = h.get((k, t - 1), np.zeros((len(x), H)))
            a[k, t] = h[k - 1, t] @ W_xh + before @ W_hh + b_h
            h[k, t] = np.tanh(a[k, t])
    return a, h


def differences(function, x, eps=1e-6):
    """Jacobian by central differences: [i, j] is how output i depends on x[j]."""
    columns = [
        (function(x + eps * e) - function(x - eps * e)) / (2 * eps)
        for e in np.eye(len(x))
    ]
    return np.stack(columns, axis=1)


def test_the_layers_of_the_library_have_the_letters_names():
    assert list(stack().layers[0].params) == ["W_xh", "W_hh", "b_h"]


@pytest.mark.equation("eq-deep-input")
@pytest.mark.equation("eq-deep-preactivation")
@pytest.mark.equation("eq-deep-state")
def test_a_stack_feeds_the_states_of_a_layer_to_the_next(rng):
    x = rng.standard_normal((B, T, I))
    model = stack()
    _, h = grid(model, x)
    top = np.stack([h[L, t] for t in range(T)], axis=1)
    y, states = model(x, return_state=True)
    assert np.abs(y - top).max() < 1e-14
    for k, state in enumerate(states, 1):
        assert np.abs(state - h[k, T - 1]).max() < 1e-14


@pytest.mark.equation("eq-deep-count")
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_number_of_parameters_of_a_plain_stack(depth):
    found = sum(p.size for p in stack(depth=depth).params.values())
    assert found == H * (I + H + 1) + (depth - 1) * H * (2 * H + 1)


@pytest.mark.equation("eq-deep-two-ways")
def test_a_gradient_comes_from_the_right_and_from_above(rng):
    x, weight = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, H))
    model = stack()
    a, h = grid(model, x)
    params = [layer.params for layer in model.layers]
    da, dh = {}, {}
    for k in reversed(range(1, L + 1)):
        for t in reversed(range(T)):
            dh[k, t] = weight[:, t] if k == L else 0  # the loss sees the top alone
            if (k, t + 1) in da:
                dh[k, t] = dh[k, t] + da[k, t + 1] @ params[k - 1]["W_hh"].T
            if (k + 1, t) in da:
                dh[k, t] = dh[k, t] + da[k + 1, t] @ params[k]["W_xh"].T
            da[k, t] = dh[k, t] * (1 - np.tanh(a[k, t]) ** 2)
    model(x)
    dx = model.backward(weight)
    for t in range(T):
        assert np.abs(dx[:, t] - da[1, t] @ params[0]["W_xh"].T).max() < 1e-13


@pytest.mark.equation("eq-deep-paths")
def test_the_number_of_paths_through_the_grid():
    @functools.cache
    def paths(lag, up):  # every path makes one step to the right, or one up
        if lag == 0 and up == 0:
            return 1
        return sum(
            paths(lag - right, up - (1 - right))
            for right in (0, 1)
            if lag >= right and up >= 1 - right
        )

    for lag in range(6):
        for depth in range(1, 6):
            assert paths(lag, depth - 1) == math.comb(lag + depth - 1, depth - 1)


@pytest.mark.equation("eq-deep-jacobian")
@pytest.mark.equation("eq-deep-depth-product")
def test_going_up_a_layer_multiplies_by_slope_and_input_matrix(rng):
    model, x = stack(first=H), rng.standard_normal((1, T, H))
    a, h = grid(model, x)
    product = np.eye(H)
    for k, layer in enumerate(model.layers[1:], 2):
        J = np.diag(1 - np.tanh(a[k, T - 1][0]) ** 2) @ layer.params["W_xh"].T
        past = h[k, T - 2][0]

        def up(v, past=past, p=layer.params):
            return np.tanh(v @ p["W_xh"] + past @ p["W_hh"] + p["b_h"])

        assert np.abs(differences(up, h[k - 1, T - 1][0]) - J).max() < 1e-9
        product = J @ product  # eq-deep-depth-product: upper layers on the left
    rest = rl.Sequential(*model.layers[1:])
    below = np.stack([h[1, t] for t in range(T)], axis=1)  # (1, T, H)
    y = rest(np.repeat(below, H, axis=0))
    dy = np.zeros_like(y)
    dy[:, -1] = np.eye(H)
    assert np.abs(rest.backward(dy)[:, -1] - product).max() < 1e-13


def sigma(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.equation("eq-deep-lstm-jacobian")
def test_going_up_an_lstm_passes_two_gates(rng):
    layer = rl.LSTM(I, H, seed=0, **F64)
    x, h, c = (rng.standard_normal(n) for n in (I, H, H))
    p = layer.params
    a = x @ p["W_xh"] + h @ p["W_hh"] + p["b_h"]
    i, f, o = sigma(a[:H]), sigma(a[H : 2 * H]), sigma(a[3 * H :])

    def up(x):  # the gates stay as they are
        g = np.tanh((x @ p["W_xh"] + h @ p["W_hh"] + p["b_h"])[2 * H : 3 * H])
        return o * np.tanh(f * c + i * g)

    g = np.tanh(a[2 * H : 3 * H])
    after = f * c + i * g
    y, _ = layer(x[None, None], state=(h[None], c[None]))
    assert np.abs(y[0, 0] - up(x)).max() < 1e-14
    slope = o * i * (1 - np.tanh(after) ** 2) * (1 - g**2)
    J = np.diag(slope) @ p["W_xh"][:, 2 * H : 3 * H].T
    assert np.abs(differences(up, x) - J).max() < 1e-9


@pytest.mark.equation("eq-deep-residual")
@pytest.mark.equation("eq-deep-residual-sum")
def test_a_residual_stack_is_the_input_plus_what_each_layer_adds(rng):
    u0 = rng.standard_normal((B, T, H))
    layers = stack(first=H).layers
    u, added = u0, []
    for layer in layers:
        h, _ = layer(u)
        added.append(h)
        u = u + h
    model = rl.Sequential(*[rl.Residual(layer) for layer in layers])
    assert np.abs(model(u0) - u).max() < 1e-14
    assert np.abs(model(u0) - (u0 + sum(added))).max() < 1e-14


@pytest.mark.equation("eq-deep-residual-jacobian")
def test_a_residual_layer_adds_the_identity_to_the_jacobian(rng):
    layer = rl.RNN(H, H, seed=0, **F64)
    u = rng.standard_normal(H)
    J = np.diag(1 - np.tanh(u @ layer.params["W_xh"]) ** 2) @ layer.params["W_xh"].T
    whole = differences(lambda v: rl.Residual(layer)(v[None, None])[0][0, 0], u)
    assert np.abs(whole - (np.eye(H) + J)).max() < 1e-9


def normed(x, eps=1e-5):
    n = len(x)
    mu = sum(x) / n
    variance = sum((x - mu) ** 2) / n
    return (x - mu) / math.sqrt(variance + eps), 1 / math.sqrt(variance + eps)


@pytest.mark.equation("eq-deep-ln-mean")
@pytest.mark.equation("eq-deep-ln-variance")
@pytest.mark.equation("eq-deep-ln-hat")
@pytest.mark.equation("eq-deep-ln-out")
def test_layer_norm_forward(rng):
    layer = rl.LayerNorm(H, **F64)
    g, b = rng.standard_normal((2, H))
    layer.load_state_dict({"g": g, "b": b})
    x = 3 + 2 * rng.standard_normal((B, T, H))
    y = layer(x)
    for row, column in np.ndindex(B, T):
        expected = g * normed(x[row, column])[0] + b
        assert np.abs(y[row, column] - expected).max() < 1e-14


@pytest.mark.equation("eq-deep-ln-jacobian")
def test_layer_norm_jacobian(rng):
    x = rng.standard_normal(H)
    xhat, s = normed(x)
    J = s * (np.eye(H) - 1 / H - np.outer(xhat, xhat) / H)
    assert np.abs(differences(lambda v: normed(v)[0], x) - J).max() < 1e-9


@pytest.mark.equation("eq-deep-ln-dparams")
@pytest.mark.equation("eq-deep-ln-dhat")
@pytest.mark.equation("eq-deep-ln-dx")
def test_layer_norm_backward(rng):
    layer = rl.LayerNorm(H, **F64)
    g, b, dy = rng.standard_normal((3, H))
    layer.load_state_dict({"g": g, "b": b})
    x = rng.standard_normal(H)
    xhat, s = normed(x)
    d = dy * g
    dx = s * (d - d.mean() - xhat * (d * xhat).mean())
    layer(x[None])
    assert np.abs(layer.backward(dy[None])[0] - dx).max() < 1e-14
    numeric = numerical_gradient(lambda: float(dy @ (g * normed(x)[0] + b)), x)
    assert np.abs(dx - numeric).max() < 1e-8
    assert np.abs(layer.grads["g"] - dy * xhat).max() < 1e-14
    assert np.abs(layer.grads["b"] - dy).max() < 1e-14
    two = np.stack([x, 2 * x + 1])  # several rows: their gradients are added
    layer(two)
    layer.backward(np.stack([dy, dy]))
    expected = dy * normed(x)[0] + dy * normed(2 * x + 1)[0]
    assert np.abs(layer.grads["g"] - expected).max() < 1e-14


@pytest.mark.equation("eq-deep-prenorm")
@pytest.mark.equation("eq-deep-postnorm")
def test_where_the_norm_stands(rng):
    u = rng.standard_normal((B, T, H))
    layer, norm = rl.GRU(H, H, seed=0, **F64), rl.LayerNorm(H, **F64)
    before = rl.Sequential(rl.Residual(rl.Sequential(norm, layer)))
    assert np.abs(before(u) - (u + layer(norm(u))[0])).max() < 1e-14
    after = rl.Sequential(rl.Residual(layer), norm)
    assert np.abs(after(u) - norm(u + layer(u)[0])).max() < 1e-14
