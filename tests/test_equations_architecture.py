"""The equations of the architecture chapter, each computed from its letters."""

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import numerical_gradient

RNG = np.random.default_rng(11)
PHI = {
    "tanh": np.tanh,
    "relu": lambda a: np.where(a > 0, a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
}


def step(h, x, p, phi=np.tanh):
    return phi(x @ p["W_xh"] + h @ p["W_hh"] + p["b_h"])


def small_rnn(**kwargs):
    layer = rl.RNN(3, 4, seed=0, dtype="float64", **kwargs)
    layer.params["b_h"][:] = RNG.standard_normal(4)
    return layer


@pytest.mark.equation("eq-arch-hidden")
@pytest.mark.parametrize("name", PHI)
def test_the_hidden_layer_is_an_activation_of_one_sum(name):
    layer = small_rnn(activation=name)
    x, h = RNG.standard_normal((2, 5, 3)), RNG.standard_normal((2, 4))
    y, _ = layer(x, state=h)
    for t in range(5):
        h = step(h, x[:, t], layer.params, PHI[name])
        assert np.abs(y[:, t] - h).max() < 1e-14


@pytest.mark.equation("eq-arch-unrolled")
def test_three_steps_are_three_nested_functions():
    layer = small_rnn()
    x1, x2, x3 = x = RNG.standard_normal((3, 2, 3))

    def f(h, x_t):
        return step(h, x_t, layer.params)

    nested = f(f(f(np.zeros((2, 4)), x1), x2), x3)
    _, last = layer(x.transpose(1, 0, 2).copy())
    assert np.abs(last - nested).max() < 1e-14


@pytest.mark.equation("eq-arch-shared-gradient")
def test_a_shared_matrix_gets_the_sum_of_its_copies_gradients():
    layer = small_rnn()
    T = 5
    x, dh = RNG.standard_normal((2, T, 3)), RNG.standard_normal((2, 4))
    copies = [layer.params["W_hh"].copy() for _ in range(T)]

    def loss():  # every step has a matrix of its own
        h = np.zeros((2, 4))
        for t in range(T):
            h = step(h, x[:, t], {**layer.params, "W_hh": copies[t]})
        return float((dh * h).sum())

    total = sum(numerical_gradient(loss, copy) for copy in copies)
    y, _ = layer(x)
    layer.backward(np.zeros_like(y), dstate=dh)
    assert np.abs(layer.grads["W_hh"] - total).max() < 1e-7


@pytest.mark.equation("eq-arch-count")
@pytest.mark.equation("eq-arch-count-unshared")
@pytest.mark.parametrize("T", [1, 7])
def test_the_length_is_in_the_count_only_without_sharing(T):
    I, H, O = 3, 4, 2  # noqa: E741

    def size(*layers):
        return sum(p.size for layer in layers for p in layer.params.values())

    rnn, dense = rl.RNN(I, H), rl.Dense(H, O)
    assert rnn(np.zeros((1, T, I), np.float32))[0].shape == (1, T, H)
    assert size(rnn, dense) == H * (I + H + 1) + O * (H + 1)
    copies = [rl.RNN(I, H) for _ in range(T)]
    assert size(*copies, dense) == T * H * (I + H + 1) + O * (H + 1)


@pytest.mark.equation("eq-arch-split")
@pytest.mark.parametrize("cell", [rl.RNN, rl.LSTM, rl.GRU])
def test_reading_in_two_parts_ends_in_the_same_state(cell):
    layer = cell(3, 4, seed=0, dtype="float64")
    x = RNG.standard_normal((2, 9, 3))
    _, whole = layer(x)
    for k in range(1, 9):
        _, h_k = layer(x[:, :k])
        _, last = layer(x[:, k:], state=h_k)
        assert np.abs(np.subtract(last, whole)).max() < 1e-14


@pytest.mark.equation("eq-arch-handover")
@pytest.mark.equation("eq-arch-decoder-step")
@pytest.mark.equation("eq-arch-handover-gradient")
def test_the_decoder_starts_from_the_encoders_state_and_returns_its_gradient():
    encoder = small_rnn(return_sequences=False)
    decoder = rl.RNN(2, 4, seed=1, dtype="float64")
    x = RNG.standard_normal((2, 6, 3))
    e, dy = RNG.standard_normal((2, 5, 2)), RNG.standard_normal((2, 5, 4))

    def by_hand():
        h = np.zeros((2, 4))
        for t in range(6):
            h = step(h, x[:, t], encoder.params)
        written = []
        for u in range(5):  # e[:, u] stands for the embedding of y_{u-1}
            h = step(h, e[:, u], decoder.params)
            written.append(h)
        return np.stack(written, axis=1)

    _, h_T = encoder(x)
    y, _ = decoder(e, state=h_T)
    assert np.abs(y - by_hand()).max() < 1e-14

    decoder.backward(dy)
    dx = encoder.backward(np.zeros((2, 4)), dstate=decoder.dstate)
    arrays = {"x": x, **encoder.params}
    for name, analytic in {"x": dx, **encoder.grads}.items():
        numeric = numerical_gradient(
            lambda: float((dy * by_hand()).sum()), arrays[name]
        )
        assert np.abs(analytic - numeric).max() < 1e-7, name


@pytest.mark.equation("eq-arch-final-state")
@pytest.mark.equation("eq-arch-masked-loss")
def test_padding_is_neither_in_the_state_nor_in_the_loss():
    lengths = np.array([3, 1, 5])
    layer, dense = small_rnn(), rl.Dense(4, 2, seed=0, dtype="float64")
    x, y = RNG.standard_normal((3, 5, 3)), RNG.integers(0, 2, (3, 5))
    m = np.arange(1, 6) <= lengths[:, None]  # m_bt = 1 if t <= n_b
    x[~m] = np.nan
    states, last = layer(x, lengths=lengths)
    loss, _ = rl.cross_entropy(dense(states), y, mask=m)
    above = below = 0.0
    for b, n in enumerate(lengths):
        h = np.zeros(4)
        for t in range(n):
            h = step(h, x[b, t], layer.params)
            s = h @ dense.params["W"] + dense.params["b"]
            above -= np.log(np.exp(s[y[b, t]]) / np.exp(s).sum())
            below += 1
        assert np.abs(last[b] - h).max() < 1e-14
    assert loss == pytest.approx(above / below, abs=1e-14)
