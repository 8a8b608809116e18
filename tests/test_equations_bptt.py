"""The equations of the BPTT chapter, each computed from its letters."""

import math

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import numerical_gradient
from rnnlib.numpy.rnn import rnn_backward, rnn_forward

T, I, H = 6, 3, 4
RNG = np.random.default_rng(0)
X, G = RNG.standard_normal((T, I)), RNG.standard_normal((T, H))
H0, B_H = RNG.standard_normal((2, H))
W_XH, W_HH = RNG.standard_normal((I, H)), RNG.standard_normal((H, H)) / 2
TOLERANCE = 1e-8


def states(x=X, h0=H0, W_xh=W_XH, W_hh=(W_HH,) * T, b_h=B_H):
    """h_0 … h_T; each step may have a copy of W_hh of its own."""
    hs = [h0]
    for x_t, W in zip(x, W_hh, strict=True):
        hs.append(np.tanh(x_t @ W_xh + hs[-1] @ W + b_h))
    return np.array(hs)


def loss(hs):
    """The sum over steps of l_t = h_t · g_t, so that dh_out is G."""
    return float((hs[1:] * G).sum())


HS = states()
PHI = 1 - HS**2  # φ'(a_t) in row t
J = {t: np.diag(PHI[t]) @ W_HH.T for t in range(1, T + 1)}


def product(t, k):
    """∂h_t/∂h_k as the chapter writes it: J_t J_{t-1} … J_{k+1}."""
    result = np.eye(H)
    for n in range(t, k, -1):
        result = result @ J[n]
    return result


def walk():
    """dh_t and da_t for t = 1 … T, by the backward recurrence."""
    dh, da = {}, {T + 1: np.zeros(H)}
    for t in range(T, 0, -1):
        dh[t] = G[t - 1] + da[t + 1] @ W_HH.T
        da[t] = dh[t] * PHI[t]
    return dh, da


DH, DA = walk()


def library():
    hs, cache = rnn_forward(X[:, None], H0[None], W_XH, W_HH, B_H)
    return rnn_backward(G[:, None], np.zeros((1, H)), cache)


def nudged_state(t):
    """Derivative of the losses of steps t … T with respect to h_t, by differences."""
    h = HS[t].copy()

    def losses():
        later = states(X[t:], h, W_hh=(W_HH,) * (T - t))[1:]
        return float(h @ G[t - 1] + (later * G[t:]).sum())

    return numerical_gradient(losses, h)


@pytest.mark.equation("eq-bptt-loss")
def test_the_loss_of_a_sequence_is_the_sum_of_the_losses_of_its_steps():
    layer, dense = (
        rl.RNN(I, H, seed=0, dtype="float64"),
        rl.Dense(H, 5, dtype="float64"),
    )
    y = np.array([[0, 4, 2, 2, 1, 3]])
    logits = dense(layer(X[None])[0])
    steps = [rl.cross_entropy(logits[:, t], y[:, t])[0] for t in range(T)]
    assert T * rl.cross_entropy(logits, y)[0] == pytest.approx(sum(steps), abs=1e-12)


@pytest.mark.equation("eq-bptt-immediate")
def test_the_immediate_partial_of_a_weight_is_the_state_that_it_multiplies():
    h, W = HS[2], W_HH.copy()
    for unit in range(H):
        numeric = numerical_gradient(
            lambda u=unit: float((X[2] @ W_XH + h @ W + B_H)[u]), W
        )
        expected = np.zeros((H, H))
        expected[:, unit] = h  # no other unit is reached
        assert np.abs(numeric - expected).max() < TOLERANCE


@pytest.mark.equation("eq-bptt-jacobian")
@pytest.mark.equation("eq-bptt-product")
def test_jacobians_multiply_to_the_derivative_of_a_later_state():
    for k in range(T + 1):
        for t in range(k, T + 1):
            h = HS[k].copy()
            numeric = [
                numerical_gradient(
                    lambda i=i, k=k, t=t, h=h: float(
                        states(X[k:t], h, W_hh=(W_HH,) * (t - k))[-1][i]
                    ),
                    h,
                )
                for i in range(H)
            ]
            assert np.abs(np.array(numeric) - product(t, k)).max() < TOLERANCE


@pytest.mark.equation("eq-bptt-double-sum")
def test_the_double_sum_is_the_gradient_and_its_columns_are_the_copies():
    by_copy = []
    for k in range(1, T + 1):
        column = sum(
            np.outer(HS[k - 1], (G[t - 1] @ product(t, k)) * PHI[k])
            for t in range(k, T + 1)
        )
        copies = [W_HH.copy() for _ in range(T)]
        numeric = numerical_gradient(
            lambda c=copies: loss(states(W_hh=c)), copies[k - 1]
        )
        assert np.abs(column - numeric).max() < TOLERANCE
        by_copy.append(column)
    W = W_HH.copy()
    numeric = numerical_gradient(lambda: loss(states(W_hh=(W,) * T)), W)
    assert np.abs(sum(by_copy) - numeric).max() < TOLERANCE
    assert np.abs(sum(by_copy) - library()[2]["W_hh"]).max() < 1e-12


@pytest.mark.equation("eq-bptt-dh")
@pytest.mark.equation("eq-bptt-da")
def test_the_backward_recurrence_gives_the_derivative_by_every_state():
    for t in range(1, T + 1):
        assert np.abs(DH[t] - nudged_state(t)).max() < TOLERANCE
        every_path = sum(G[s - 1] @ product(s, t) for s in range(t, T + 1))
        assert np.abs(DH[t] - every_path).max() < 1e-12
        shift = np.zeros(H)  # added to a_t alone

        def shifted(t=t, shift=shift):
            h = np.tanh(X[t - 1] @ W_XH + HS[t - 1] @ W_HH + B_H + shift)
            hs = states(X[t:], h, W_hh=(W_HH,) * (T - t))
            return float(h @ G[t - 1] + (hs[1:] * G[t:]).sum())

        assert np.abs(DA[t] - numerical_gradient(shifted, shift)).max() < TOLERANCE


@pytest.mark.equation("eq-bptt-dwhh")
@pytest.mark.equation("eq-bptt-dwxh")
def test_the_weights_gather_what_every_step_contributes():
    steps = range(1, T + 1)
    _, _, grads = library()
    by_hand = {
        "W_hh": sum(np.outer(HS[t - 1], DA[t]) for t in steps),
        "W_xh": sum(np.outer(X[t - 1], DA[t]) for t in steps),
        "b_h": sum(DA[t] for t in steps),
    }
    for name, value in by_hand.items():
        assert np.abs(grads[name] - value).max() < 1e-12
    W = W_XH.copy()
    numeric = numerical_gradient(lambda: loss(states(W_xh=W)), W)
    assert np.abs(by_hand["W_xh"] - numeric).max() < TOLERANCE


@pytest.mark.equation("eq-bptt-dx")
def test_inputs_and_the_initial_state_get_their_gradients():
    dx, dh0, _ = library()
    x, h0 = X.copy(), H0.copy()
    assert np.abs(dh0[0] - DA[1] @ W_HH.T).max() < 1e-12
    numeric = numerical_gradient(lambda: loss(states(h0=h0)), h0)
    assert np.abs(dh0[0] - numeric).max() < TOLERANCE
    numeric = numerical_gradient(lambda: loss(states(x=x)), x)
    for t in range(1, T + 1):
        assert np.abs(dx[t - 1, 0] - DA[t] @ W_XH.T).max() < 1e-12
    assert np.abs(dx[:, 0] - numeric).max() < TOLERANCE


@pytest.mark.equation("eq-bptt-truncated")
@pytest.mark.parametrize("k", [1, 2, 4, 6, 9])
def test_truncation_is_a_factor_of_zero_where_a_window_ends(k):
    da, dW_hh = np.zeros(H), np.zeros((H, H))
    for t in range(T, 0, -1):
        m = 0 if t % k == 0 else 1
        da = (G[t - 1] + m * (da @ W_HH.T)) * PHI[t]
        dW_hh += np.outer(HS[t - 1], da)
    # What is dropped: the pairs (t, s) that a border separates.
    kept = sum(
        np.outer(HS[s - 1], (G[t - 1] @ product(t, s)) * PHI[s])
        for t in range(1, T + 1)
        for s in range(1, t + 1)
        if (t - 1) // k == (s - 1) // k
    )
    assert np.abs(dW_hh - kept).max() < 1e-12
    layer, state, total = rl.RNN(I, H, dtype="float64"), H0[None], 0
    layer.load_state_dict({"W_xh": W_XH, "W_hh": W_HH, "b_h": B_H})
    for s in range(0, T, k):
        _, state = layer(X[None, s : s + k], state=state)
        layer.backward(G[None, s : s + k])
        total = total + layer.grads["W_hh"]
    assert np.abs(dW_hh - total).max() < 1e-12


@pytest.mark.equation("eq-bptt-memory")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cache_holds_every_state_and_every_input(dtype):
    B, steps = 5, 11
    layer = rl.RNN(I, H, seed=0, dtype=dtype)
    x, h0 = np.zeros((steps, B, I), dtype), np.zeros((B, H), dtype)
    _, (kept_x, kept_hs, *weights, _, _, _) = rnn_forward(x, h0, **layer.params)
    s = np.dtype(dtype).itemsize
    assert kept_x.nbytes + kept_hs.nbytes == s * B * ((steps + 1) * H + steps * I)
    assert [w.shape for w in weights] == [(I, H), (H, H)]


@pytest.mark.equation("eq-bptt-checkpoint")
@pytest.mark.parametrize(("steps", "S"), [(1, 1), (16, 4), (17, 4), (100, 7), (9, 9)])
def test_checkpoints_and_one_segment_are_all_that_is_held(steps, S):
    held = most = 0
    checkpoints = []
    for t in range(steps):  # forward: a state is stored before each segment
        if t % S == 0:
            checkpoints.append(t)
            held += 1
    while checkpoints:  # backward: fill a segment, use it up, drop its checkpoint
        start = checkpoints.pop()
        segment = min(S, steps - start)
        if segment == S:
            most = max(most, held + segment)
        held -= 1
    # The last segment may be short; the count is for a full one.
    bound = math.ceil(steps / S) + S
    assert most <= bound
    if steps % S == 0:
        assert most == bound
    best = min(range(1, steps + 1), key=lambda n: math.ceil(steps / n) + n)
    cheapest = math.ceil(steps / best) + best
    assert 2 * math.sqrt(steps) <= cheapest <= 2 * math.sqrt(steps) + 1
