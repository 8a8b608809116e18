"""The equations of the Activations chapter, each computed from its letters."""

import math

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import numerical_gradient
from rnnlib.numpy import activations as act
from rnnlib.numpy.rnn import rnn_forward

RNG = np.random.default_rng(0)
A = np.array([-30.0, -3.0, -1.0, -0.2, 0.1, 0.7, 2.0, 30.0])


def slope(f, a):
    return np.array([(f(v + 1e-6) - f(v - 1e-6)) / 2e-6 for v in a])


@pytest.mark.equation("eq-sigmoid")
def test_sigmoid_is_one_over_one_plus_an_exponential():
    assert np.allclose(rl.sigmoid(A), [1 / (1 + math.exp(-a)) for a in A], atol=1e-15)


@pytest.mark.equation("eq-sigmoid-slope")
def test_the_slope_of_sigmoid_from_its_output():
    y = np.array([1 / (1 + math.exp(-a)) for a in A])
    assert np.abs(y * (1 - y) - slope(rl.sigmoid, A)).max() < 1e-9
    assert np.abs(act.d_sigmoid(y) - y * (1 - y)).max() < 1e-16


@pytest.mark.equation("eq-sigmoid-stable")
def test_both_forms_of_the_stable_sigmoid():
    for a in A:
        e = math.exp(-abs(a))
        form = 1 / (1 + e) if a >= 0 else e / (1 + e)
        assert form == pytest.approx(1 / (1 + math.exp(-a)), rel=1e-14)
        assert rl.sigmoid(np.array([a]))[0] == pytest.approx(form, rel=1e-15)


@pytest.mark.equation("eq-tanh")
def test_tanh_is_a_quotient_of_exponentials():
    up, down = np.exp(A), np.exp(-A)
    assert np.abs(rl.tanh(A) - (up - down) / (up + down)).max() < 1e-15


@pytest.mark.equation("eq-tanh-slope")
def test_the_slope_of_tanh_from_its_output():
    y = np.array([math.tanh(a) for a in A])
    assert np.abs(1 - y**2 - slope(math.tanh, A)).max() < 1e-9
    assert np.abs(act.d_tanh(y) - (1 - y**2)).max() < 1e-16


@pytest.mark.equation("eq-tanh-is-sigmoid")
def test_tanh_is_a_sigmoid_in_other_units():
    by_sigmoid = [2 / (1 + math.exp(-2 * a)) - 1 for a in A]
    assert np.abs(np.tanh(A) - by_sigmoid).max() < 1e-15


@pytest.mark.equation("eq-relu")
@pytest.mark.equation("eq-leaky-relu")
def test_the_two_relus():
    assert rl.relu(A).tolist() == [max(a, 0) for a in A]
    assert rl.leaky_relu(A).tolist() == [max(a, 0.01 * a) for a in A]


@pytest.mark.equation("eq-relu-slope")
@pytest.mark.equation("eq-leaky-slope")
@pytest.mark.parametrize(
    "f, library, below",
    [(rl.relu, act.d_relu, 0), (rl.leaky_relu, act.d_leaky_relu, 0.01)],
)
def test_the_slopes_of_the_two_relus_from_their_outputs(f, library, below):
    y = f(A)
    by_hand = np.array([1 if v > 0 else below for v in y])
    assert np.abs(by_hand - slope(f, A)).max() < 1e-8
    assert library(y).tolist() == by_hand.tolist()


@pytest.mark.equation("eq-saturation-tanh")
def test_where_the_slope_of_tanh_is_one_per_cent():
    a = math.atanh(math.sqrt(0.99))
    assert slope(math.tanh, [a])[0] == pytest.approx(0.01, rel=1e-6)
    sigmoid_slope = slope(lambda v: 1 / (1 + math.exp(-v)), [2 * a])[0]
    assert sigmoid_slope == pytest.approx(0.01 * 0.25, rel=1e-6)


@pytest.mark.equation("eq-act-jacobian")
@pytest.mark.parametrize("name", ["tanh", "relu", "leaky_relu", "sigmoid"])
def test_the_jacobian_of_one_step(name):
    h, x = RNG.standard_normal((1, 4)), RNG.standard_normal((1, 1, 3))
    W_xh, W_hh = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 4))
    b_h = RNG.standard_normal(4)

    def state():
        return rnn_forward(x, h, W_xh, W_hh, b_h, name)[0][1, 0]

    numeric = np.stack(
        [numerical_gradient(lambda i=i: float(state()[i]), h)[0] for i in range(4)]
    )
    _, derivative = act.ACTIVATIONS[name]
    J = np.diag(derivative(state())) @ W_hh.T
    assert np.abs(J - numeric).max() < 1e-8


def steps(name, s, T=30, H=6):
    """Jacobians of T steps, and the gradient sizes by forward multiplication."""
    f, derivative = act.ACTIVATIONS[name]
    W = s * np.linalg.qr(RNG.standard_normal((H, H)))[0]
    x = 0.3 * RNG.standard_normal((T, 1, H))
    hs, _ = rnn_forward(x, np.zeros((1, H)), np.eye(H), W, np.zeros(H), name)
    jacobians = [np.diag(derivative(h[0])) @ W.T for h in hs[1:]]
    return x, W, jacobians


@pytest.mark.equation("eq-act-jacobian-product")
@pytest.mark.equation("eq-gradient-size")
def test_the_product_of_jacobians_is_what_backward_carries():
    H = 6
    x, W, jacobians = steps("tanh", 1.2)
    product = np.linalg.multi_dot(jacobians[::-1])  # from h_0 to h_T
    layer = rl.RNN(H, H, return_sequences=False, dtype="float64")
    for name, value in {"W_xh": np.eye(H), "W_hh": W, "b_h": 0}.items():
        layer.params[name][...] = value
    layer(x.transpose(1, 0, 2))
    dh = RNG.standard_normal((1, H))
    layer.backward(dh)
    assert np.abs(layer.dstate - dh @ product).max() < 1e-12
    # The size: root mean square of what becomes of unit gradients of every direction.
    layer(np.repeat(x, H, axis=1).transpose(1, 0, 2))
    layer.backward(np.linalg.qr(RNG.standard_normal((H, H)))[0])
    lengths = np.linalg.norm(layer.dstate, axis=1)
    size = np.sqrt((product**2).sum()) / np.sqrt(H)
    assert np.sqrt(np.mean(lengths**2)) == pytest.approx(size, rel=1e-10)


@pytest.mark.equation("eq-slope-bound")
@pytest.mark.parametrize("name", ["tanh", "relu", "leaky_relu", "sigmoid"])
@pytest.mark.parametrize("s", [0.5, 1.0, 2.0, 4.0])
def test_no_step_stretches_more_than_scale_times_largest_slope(name, s):
    m = 0.25 if name == "sigmoid" else 1.0
    _, _, jacobians = steps(name, s)
    product = np.eye(6)
    for t, J in enumerate(reversed(jacobians), 1):
        product = J @ product
        assert np.linalg.norm(product) / np.sqrt(6) <= (s * m) ** t * (1 + 1e-9)


@pytest.mark.equation("eq-identity-start")
def test_a_relu_cell_with_the_identity_keeps_its_state():
    layer = rl.RNN(2, 3, "relu", dtype="float64")
    layer.params["W_hh"][:], layer.params["b_h"][:] = np.eye(3), 0
    h = np.array([[0.3, 5.0, 0.0]])
    y, last = layer(np.zeros((1, 50, 2)), state=h)
    assert (last == h).all()
    layer.backward(np.zeros_like(y), dstate=np.array([[1.0, -2.0, 3.0]]))
    assert layer.dstate.tolist() == [[1, -2, 0]]  # whole, or not at all


@pytest.mark.equation("eq-relu-scale-free")
def test_relu_of_a_multiple_is_the_multiple_of_relu():
    for c in (0.01, 3.0, 1000.0):
        assert np.array_equal(rl.relu(c * A), c * rl.relu(A))


@pytest.mark.equation("eq-adding-target")
def test_the_adding_target_is_the_sum_of_the_two_marked_numbers():
    u, m = RNG.random(10), np.zeros(10)
    m[[2, 7]] = 1
    assert (m * u).sum() == pytest.approx(u[2] + u[7], abs=1e-15)
    two = RNG.random((200_000, 2)).sum(axis=1)  # whoever says 1 is off by 1/6
    assert np.mean((two - 1) ** 2) == pytest.approx(1 / 6, abs=3e-3)


@pytest.mark.equation("eq-softmax-temperature")
def test_softmax_with_a_temperature():
    s = RNG.standard_normal(5)
    for tau in (0.3, 1.0, 4.0):
        e = [math.exp(v / tau) for v in s]
        assert np.abs(rl.softmax(s / tau) - np.array(e) / sum(e)).max() < 1e-15


@pytest.mark.equation("eq-entropy-bits")
def test_entropy_of_known_distributions():
    def entropy(p):
        return -sum(v * math.log2(v) for v in p if v > 0)

    assert entropy([1, 0, 0]) == 0
    assert entropy([0.25] * 4) == math.log2(4)
    assert entropy([0.5, 0.25, 0.25]) == 1.5


@pytest.mark.equation("eq-softmax-jacobian")
@pytest.mark.equation("eq-softmax-backward")
def test_the_jacobian_of_softmax_and_its_product():
    s, dp = RNG.standard_normal((2, 6))
    p = rl.softmax(s)
    J = np.diag(p) - p[:, None] @ p[None]
    for k in range(6):
        column = numerical_gradient(lambda k=k: float(rl.softmax(s)[k]), s)
        assert np.abs(J[:, k] - column).max() < 1e-9
    assert np.abs(J.sum(axis=1)).max() < 1e-15
    ds = p * (dp - sum(d * v for d, v in zip(dp, p, strict=True)))
    assert np.abs(ds - dp @ J).max() < 1e-15
    assert np.abs(ds - act.d_softmax(p, dp)).max() < 1e-15
    numeric = numerical_gradient(lambda: float(dp @ rl.softmax(s)), s)
    assert np.abs(ds - numeric).max() < 1e-9


def lse(s):
    return math.log(sum(math.exp(v) for v in s))


@pytest.mark.equation("eq-log-sum-exp")
@pytest.mark.equation("eq-log-softmax")
def test_log_softmax_is_the_score_minus_log_sum_exp():
    s = RNG.standard_normal(5)
    assert lse(s) == pytest.approx(np.logaddexp.reduce(s), abs=1e-14)
    assert np.abs(np.log(rl.softmax(s)) - (s - lse(s))).max() < 1e-14


@pytest.mark.equation("eq-lse-bounds")
@pytest.mark.equation("eq-lse-shift")
def test_log_sum_exp_is_a_soft_maximum_and_shifts():
    for s in (*RNG.normal(0, 3, (20, 7)), np.zeros(7)):
        assert s.max() <= lse(s) <= s.max() + math.log(7) + 1e-12
        assert lse(s + 2.5) == pytest.approx(lse(s) + 2.5, abs=1e-13)
        assert np.abs(rl.softmax(s + 2.5) - rl.softmax(s)).max() < 1e-15


@pytest.mark.equation("eq-cross-entropy-scores")
@pytest.mark.equation("eq-cross-entropy-gradient")
def test_cross_entropy_from_scores_and_its_gradient():
    s, k = RNG.standard_normal((1, 5)), np.array([3])
    loss, ds = rl.cross_entropy(s, k)
    assert loss == pytest.approx(lse(s[0]) - s[0, 3], abs=1e-14)
    assert loss == pytest.approx(-math.log(rl.softmax(s)[0, 3]), abs=1e-14)
    assert np.abs(ds - (rl.softmax(s) - np.eye(5)[k])).max() < 1e-15
    numeric = numerical_gradient(lambda: rl.cross_entropy(s, k)[0], s)
    assert np.abs(ds - numeric).max() < 1e-9


@pytest.mark.equation("eq-gate-product")
def test_a_gated_memory_is_multiplied_step_by_step():
    f = 1 / (1 + np.exp(-RNG.normal(3, 1, 40)))
    c = 0.7
    for factor in f:
        c = c * factor
    assert c == pytest.approx(0.7 * math.prod(f), rel=1e-13)
    assert 0 < c < 0.7
    # In the library: an LSTM whose input gate is shut multiplies c by its forget gate.
    lstm = rl.LSTM(1, 1, dtype="float64")
    for name in ("W_xh", "W_hh"):
        lstm.params[name][...] = 0
    lstm.params["b_h"][:] = [-800, 2, 0, 0]  # i f g o
    state = (np.zeros((1, 1)), np.full((1, 1), 0.7))
    _, (_, after) = lstm(np.zeros((1, 40, 1)), state=state)
    gate = 1 / (1 + math.exp(-2))
    assert after[0, 0] == pytest.approx(0.7 * gate**40, rel=1e-12)


@pytest.mark.equation("eq-softmax-twice")
@pytest.mark.parametrize("V", [2, 10, 84])
def test_the_floor_of_a_loss_with_two_softmaxes(V):
    loss, _ = rl.cross_entropy(np.eye(V)[:1], np.array([0]))
    assert loss == pytest.approx(math.log(math.e + V - 1) - 1, abs=1e-12)
    # No probabilities, however chosen, get below it.
    for p in RNG.dirichlet(np.ones(V) * 0.1, 200):
        assert rl.cross_entropy(p[None], np.array([0]))[0] >= loss - 1e-12
