"""The equations of the chapter on attention, each computed from its letters.

Every formula is a loop over single queries and keys; the library, which has no such
loop, and central differences are the judges.
"""

import math

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import numerical_gradient

B, U, T, Q, K, A = 2, 3, 5, 4, 4, 6
RNG = np.random.default_rng(31)
q, k = RNG.standard_normal((U, Q)), RNG.standard_normal((T, K))
dm = RNG.standard_normal((U, K))  # what reaches each context
W_q, W_k = RNG.standard_normal((Q, A)), RNG.standard_normal((K, A))
b, v = RNG.standard_normal(A), RNG.standard_normal(A)
PARAMS = {"W_q": W_q, "W_k": W_k, "b": b, "v": v}


def layer(kind):
    made = rl.Attention(Q, K, kind, hidden_size=A if kind == "additive" else None,
                        dtype="float64")  # fmt: skip
    made.load_state_dict(PARAMS if kind == "additive" else {})
    return made


def scores_of(kind):
    """(U, T), one pair at a time."""
    s = np.zeros((U, T))
    for u in range(U):
        for t in range(T):
            if kind == "scaled_dot":
                s[u, t] = sum(q[u, i] * k[t, i] for i in range(K)) / math.sqrt(K)
            else:
                s[u, t] = np.dot(hidden(u, t), v)
    return s


def hidden(u, t):
    return np.tanh(q[u] @ W_q + k[t] @ W_k + b)


def weights_of(s):
    return np.array([[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in s])


def way_back(kind):
    """alpha and ds (U, T), by the equations of the context and of the softmax."""
    alpha = weights_of(scores_of(kind))
    dalpha = np.array([[dm[u] @ k[t] for t in range(T)] for u in range(U)])
    ds = np.zeros((U, T))
    for u in range(U):
        mean = sum(alpha[u, j] * dalpha[u, j] for j in range(T))
        for t in range(T):
            ds[u, t] = alpha[u, t] * (dalpha[u, t] - mean)
    return alpha, ds


def da(ds):
    """(U, T, A)"""
    return np.array(
        [
            [ds[u, t] * v * (1 - hidden(u, t) * hidden(u, t)) for t in range(T)]
            for u in range(U)
        ]
    )


def library(kind):
    made = layer(kind)
    made(q[None], k[None])
    dq, dk = made.backward(dm[None])
    return dq[0], dk[0], made.grads


def loss(kind):
    context, _ = layer(kind)(q[None], k[None])
    return float((context[0] * dm).sum())


def close(a, b, tolerance=1e-12):
    assert np.abs(np.asarray(a) - b).max() < tolerance


@pytest.mark.equation("eq-att-score-dot")
@pytest.mark.equation("eq-att-additive-hidden")
@pytest.mark.equation("eq-att-score-additive")
@pytest.mark.equation("eq-att-weights")
@pytest.mark.equation("eq-att-context")
@pytest.mark.parametrize("kind", ["scaled_dot", "additive"])
def test_scores_weights_and_context(kind):
    alpha = weights_of(scores_of(kind))
    close(alpha.sum(axis=1), 1)
    m = [sum(alpha[u, t] * k[t] for t in range(T)) for u in range(U)]
    context, weights = layer(kind)(q[None], k[None])
    close(weights[0], alpha)
    close(context[0], m)


@pytest.mark.equation("eq-att-combine")
def test_the_model_mixes_context_and_query():
    model = rl.EncoderDecoder(
        7, 6, 3, 4, attention="scaled_dot", seed=0, dtype="float64"
    )
    source, before = np.array([[1, 2, 3]]), np.array([[4, 5]])
    scores = model((source, before))
    states, (keys, _) = model.encode(source)
    query = model.decoder(before, state=[None, None, states[0]])
    p = model.params
    for u in range(2):
        s = keys[0] @ query[0, u] / math.sqrt(4)
        alpha = np.exp(s) / np.exp(s).sum()
        both = np.concatenate([alpha @ keys[0], query[0, u]])
        h = np.tanh(both @ p["combine.W"] + p["combine.b"])
        close(h @ p["output.W"] + p["output.b"], scores[0, u])


@pytest.mark.equation("eq-att-mask")
@pytest.mark.parametrize("kind", ["scaled_dot", "additive"])
def test_a_score_of_minus_infinity_is_a_weight_of_exactly_zero(kind):
    n = 3
    s = scores_of(kind)
    s[:, n:] = -np.inf
    context, weights = layer(kind)(q[None], k[None], lengths=np.array([n]))
    assert math.exp(-math.inf) == 0
    assert (weights[0, :, n:] == 0).all()
    close(weights[0], weights_of(s))
    close(context[0], weights_of(s)[:, :n] @ k[:n])


@pytest.mark.equation("eq-att-dalpha")
@pytest.mark.equation("eq-att-dkey-mean")
def test_the_way_back_through_the_mean():
    alpha = weights_of(scores_of("scaled_dot"))

    def value():
        return float(sum((alpha[u, t] * k[t]) @ dm[u]
                         for u in range(U) for t in range(T)))  # fmt: skip

    dalpha = [[dm[u] @ k[t] for t in range(T)] for u in range(U)]
    dk = [sum(alpha[u, t] * dm[u] for u in range(U)) for t in range(T)]
    close(numerical_gradient(value, alpha), dalpha, 1e-8)
    close(numerical_gradient(value, k), dk, 1e-8)


@pytest.mark.equation("eq-att-dscore")
def test_the_way_back_through_the_softmax():
    s = scores_of("scaled_dot")

    def value():
        return float(((weights_of(s) @ k) * dm).sum())

    close(numerical_gradient(value, s), way_back("scaled_dot")[1], 1e-8)


@pytest.mark.equation("eq-att-dot-dq")
@pytest.mark.equation("eq-att-dot-dk")
def test_the_gradients_of_the_dot_form():
    alpha, ds = way_back("scaled_dot")
    dq = [sum(ds[u, t] * k[t] for t in range(T)) / math.sqrt(K) for u in range(U)]
    dk = [
        sum(alpha[u, t] * dm[u] for u in range(U))
        + sum(ds[u, t] * q[u] for u in range(U)) / math.sqrt(K)
        for t in range(T)
    ]
    for ours, theirs, array in zip(
        (dq, dk), library("scaled_dot")[:2], (q, k), strict=True
    ):
        close(ours, theirs)
        close(ours, numerical_gradient(lambda: loss("scaled_dot"), array), 1e-7)


@pytest.mark.equation("eq-att-additive-da")
@pytest.mark.equation("eq-att-additive-dq")
@pytest.mark.equation("eq-att-additive-dk")
@pytest.mark.equation("eq-att-additive-dwq")
@pytest.mark.equation("eq-att-additive-dwk")
@pytest.mark.equation("eq-att-additive-dbv")
def test_the_gradients_of_the_additive_form():
    alpha, ds = way_back("additive")
    d = da(ds)
    dq = [sum(d[u, t] for t in range(T)) @ W_q.T for u in range(U)]
    dk = [
        sum(alpha[u, t] * dm[u] for u in range(U))
        + sum(d[u, t] for u in range(U)) @ W_k.T
        for t in range(T)
    ]
    grads = {
        "W_q": sum(np.outer(q[u], sum(d[u, t] for t in range(T))) for u in range(U)),
        "W_k": sum(np.outer(k[t], sum(d[u, t] for u in range(U))) for t in range(T)),
        "b": sum(d[u, t] for u in range(U) for t in range(T)),
        "v": sum(ds[u, t] * hidden(u, t) for u in range(U) for t in range(T)),
    }
    dq_library, dk_library, grads_library = library("additive")
    close(dq, dq_library)
    close(dk, dk_library)
    for name, gradient in grads.items():
        close(gradient, grads_library[name])
        changed = PARAMS[name]
        numeric = numerical_gradient(lambda: loss("additive"), changed)
        close(gradient, numeric, 1e-7)


@pytest.mark.equation("eq-att-variance")
@pytest.mark.parametrize("size", [4, 64])
def test_a_dot_product_of_standard_entries_has_variance_k(size):
    a, b = np.random.default_rng(0).standard_normal((2, 40_000, size))
    assert abs((a * b).sum(axis=1).var() / size - 1) < 0.05


@pytest.mark.equation("eq-att-score-general")
def test_the_general_form_is_the_dot_form_of_a_translated_query():
    W = np.random.default_rng(1).standard_normal((Q, K))
    s = np.array([[(q[u] @ W) @ k[t] for t in range(T)] for u in range(U)])
    _, weights = layer("dot")((q @ W)[None], k[None])
    close(weights[0], weights_of(s))


@pytest.mark.equation("eq-att-whole")
def test_independent_signs_multiply():
    p, signs = 0.9, 10
    right = np.random.default_rng(0).random((100_000, signs)) < p
    assert abs(right.all(axis=1).mean() - p**signs) < 0.01


class Counted(float):
    """A number that counts the multiplications it takes part in."""

    made = 0

    def __mul__(self, other):
        Counted.made += 1
        return Counted(float(self) * float(other))

    def __add__(self, other):
        return Counted(float(self) + float(other))

    __radd__ = __add__


def product(a, b):
    """Rows by columns, each multiplication counted."""
    return [[sum((x * y for x, y in zip(row, column, strict=True)), Counted(0))
             for column in zip(*b, strict=True)] for row in a]  # fmt: skip


def counted(array):
    return [[Counted(x) for x in row] for row in np.asarray(array)]


@pytest.mark.equation("eq-att-cost-dot")
@pytest.mark.equation("eq-att-cost-additive")
def test_multiplications_counted_one_by_one():
    alpha = counted(np.ones((U, T)))
    Counted.made = 0
    product(counted(q), counted(k.T))
    product(alpha, counted(k))
    assert Counted.made == 2 * T * U * K
    Counted.made = 0
    product(counted(q), counted(W_q))
    product(counted(k), counted(W_k))
    product(counted(np.ones((U * T, A))), counted(v[:, None]))
    product(alpha, counted(k))
    assert Q == K
    assert Counted.made == (T + U) * K * A + T * U * (A + K)
