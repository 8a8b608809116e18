"""The equations of the Foundations chapters, each computed from its letters."""

import functools
import itertools

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.baselines import KneserNey
from rnnlib.checks import numerical_gradient
from rnnlib.numpy.lstm import lstm_forward
from rnnlib.numpy.rnn import rnn_forward

RNG = np.random.default_rng(0)


def sigma(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.equation("eq-bag-of-inputs")
def test_a_sum_over_inputs_is_the_same_in_every_order():
    table = RNG.integers(-50, 50, (26, 5))  # integers: sums are exact
    word = np.array([7, 4, 0, 17, 19])  # heart
    sums = {
        tuple(table[list(order)].sum(axis=0)) for order in itertools.permutations(word)
    }
    assert len(sums) == 1


@pytest.mark.equation("eq-state-summary")
def test_the_layer_is_one_function_folded_over_the_inputs():
    layer = rl.RNN(3, 4, seed=0, dtype="float64")
    x = RNG.standard_normal((2, 6, 3))

    def f(h, x_t):
        return layer(x_t[:, None], state=h)[1]

    steps = x.transpose(1, 0, 2)
    folded = list(itertools.accumulate(steps, f, initial=np.zeros((2, 4))))[1:]
    y, last = layer(x)
    assert np.array_equal(functools.reduce(f, steps, np.zeros((2, 4))), folded[-1])
    assert np.abs(np.stack(folded, axis=1) - y).max() < 1e-15
    assert np.array_equal(last, y[:, -1])


@pytest.mark.equation("eq-rnn-preactivation")
@pytest.mark.equation("eq-rnn-state")
@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "sigmoid"])
def test_the_plain_cell_is_its_two_equations(activation):
    x, h = RNG.standard_normal((1, 2, 3)), RNG.standard_normal((2, 4))
    W_xh, W_hh = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 4))
    b_h = RNG.standard_normal(4)
    a = x[0] @ W_xh + h @ W_hh + b_h
    act = {
        "tanh": np.tanh,
        "relu": lambda a: np.maximum(a, 0),
        "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
        "sigmoid": sigma,
    }[activation]
    hs, _ = rnn_forward(x, h, W_xh, W_hh, b_h, activation)
    assert np.abs(hs[1] - act(a)).max() < 1e-14


@pytest.mark.equation("eq-hand-example")
def test_the_example_by_hand():
    layer = rl.RNN(1, 2, "relu", dtype="float64")
    layer.load_state_dict(
        {"W_xh": [[1, 0]], "W_hh": [[0.5, 1], [0, 0.5]], "b_h": [0, 0]}
    )
    y, _ = layer(np.array([[[2.0], [0.0], [-1.0], [0.0], [4.0]]]))
    assert y[0].tolist() == [[2, 0], [1, 2], [0, 2], [0, 1], [4, 0.5]]


@pytest.mark.equation("eq-rnn-output")
@pytest.mark.equation("eq-class-scores")
def test_scores_are_the_state_times_a_matrix_plus_a_bias():
    dense = rl.Dense(4, 5, seed=0, dtype="float64")
    dense.params["b"][:] = RNG.standard_normal(5)
    h = RNG.standard_normal((2, 3, 4))
    by_hand = np.einsum("bth,ho->bto", h, dense.params["W"]) + dense.params["b"]
    assert np.abs(dense(h) - by_hand).max() < 1e-14
    assert np.abs(dense(h[:, -1]) - by_hand[:, -1]).max() < 1e-14


@pytest.mark.equation("eq-next-character")
def test_softmax_is_exponentials_divided_by_their_sum():
    s = RNG.standard_normal((2, 5))
    by_hand = [[np.exp(v) / sum(np.exp(w) for w in row) for v in row] for row in s]
    assert np.abs(rl.softmax(s) - by_hand).max() < 1e-15


@pytest.mark.equation("eq-bits-per-character")
def test_bits_per_character_is_the_mean_of_minus_log2_of_the_probability():
    text = RNG.integers(0, 3, 60)
    model = KneserNey(2).fit(text, 3)
    p = [model.distribution(text[max(0, t - 1) : t])[text[t]] for t in range(60)]
    assert model.bits_per_token(text) == pytest.approx(-np.mean(np.log2(p)), abs=1e-12)
    logits, y = RNG.standard_normal((1, 7, 3)), RNG.integers(0, 3, (1, 7))
    nats, _ = rl.cross_entropy(logits, y)
    p = np.take_along_axis(rl.softmax(logits), y[..., None], axis=-1)
    assert nats / np.log(2) == pytest.approx(-np.mean(np.log2(p)), abs=1e-12)


@pytest.mark.equation("eq-embedding-lookup")
def test_looking_up_a_row_is_multiplying_by_a_one_hot_row():
    table = rl.Embedding(6, 4, seed=0, dtype="float64")
    ids = np.array([[5, 0, 3]])
    assert np.array_equal(table(ids), np.eye(6)[ids] @ table.params["W"])
    assert np.array_equal(table(ids)[0, 0], table.params["W"][5])


def lstm_by_hand(x, h, c, W_xh, W_hh, b_h):
    a_i, a_f, a_g, a_o = np.split(x @ W_xh + h @ W_hh + b_h, 4, axis=-1)
    i, f, g, o = sigma(a_i), sigma(a_f), np.tanh(a_g), sigma(a_o)
    c = f * c + i * g
    return o * np.tanh(c), c


@pytest.mark.equation("eq-lstm-preactivation")
@pytest.mark.equation("eq-lstm-gates")
@pytest.mark.equation("eq-lstm-cell")
@pytest.mark.equation("eq-lstm-state")
def test_the_lstm_is_its_four_equations():
    x, (h, c) = RNG.standard_normal((3, 2, 3)), RNG.standard_normal((2, 2, 4))
    W_xh, W_hh = RNG.standard_normal((3, 16)), RNG.standard_normal((4, 16))
    b_h = RNG.standard_normal(16)
    hs, cs, _ = lstm_forward(x, h, c, W_xh, W_hh, b_h)
    for t in range(3):
        h, c = lstm_by_hand(x[t], h, c, W_xh, W_hh, b_h)
        assert np.abs(hs[t + 1] - h).max() < 1e-14
        assert np.abs(cs[t + 1] - c).max() < 1e-14


@pytest.mark.equation("eq-cross-entropy")
def test_cross_entropy_is_log_sum_exp_minus_the_right_score():
    s, y = RNG.standard_normal((1, 10)), np.array([3])
    loss, ds = rl.cross_entropy(s, y)
    assert loss == pytest.approx(-np.log(rl.softmax(s)[0, 3]), abs=1e-14)
    assert loss == pytest.approx(-s[0, 3] + np.log(np.exp(s).sum()), abs=1e-14)
    numeric = numerical_gradient(lambda: rl.cross_entropy(s, y)[0], s)
    assert np.abs(ds - numeric).max() < 1e-9


@pytest.mark.equation("eq-count-first-model")
def test_the_first_model_has_164_106_parameters(engine):
    model = engine.rl.Sequential(
        engine.rl.Embedding(1000, 64),
        engine.rl.LSTM(64, 128, return_sequences=False),
        engine.rl.Dense(128, 10),
    )
    V, D, I, H, O = 1000, 64, 64, 128, 10  # noqa: E741
    shapes = [value.shape for value in model.state_dict().values()]
    assert sum(np.prod(shape) for shape in shapes) == 164_106
    assert V * D + 4 * (I * H + H * H + H) + H * O + O == 164_106
