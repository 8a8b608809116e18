"""The equations of "RNN versus feed-forward", each computed from its letters."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnnlib import torch as rl

RNG = np.random.default_rng(0)


def multiplications(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops() // 2


def size(*shapes):
    return sum(math.prod(shape) for shape in shapes)


@pytest.mark.equation("eq-vs-window")
def test_a_convolution_with_zeros_in_front_is_a_function_of_the_last_k_inputs():
    k, I, O, T = 3, 2, 4, 7
    conv = torch.nn.Conv1d(I, O, k).double()
    x = RNG.standard_normal((T, I))
    padded = np.vstack([np.zeros((k - 1, I)), x])

    def g(*last):  # each of the k places has a matrix of its own
        W, b = (p.detach().numpy() for p in conv.parameters())
        return sum(W[:, :, i] @ x_i for i, x_i in enumerate(last)) + b

    by_hand = [g(*padded[t : t + k]) for t in range(T)]
    y = conv(torch.tensor(padded.T[None]))[0].T.detach().numpy()
    assert np.abs(y - by_hand).max() < 1e-14


@pytest.mark.equation("eq-vs-receptive-field")
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("dilations", [(1,), (1, 1, 1), (1, 2, 4), (3, 1)])
def test_the_reach_of_a_stack_is_one_plus_what_each_layer_adds(k, dilations):
    seen = {0}  # lags that the answer depends on, layer by layer from the top
    for d in reversed(dilations):
        seen = {lag + i * d for lag in seen for i in range(k)}
    assert max(seen) + 1 == 1 + sum((k - 1) * d for d in dilations)


@pytest.mark.equation("eq-vs-attention-score")
@pytest.mark.equation("eq-vs-attention-mix")
def test_attention_is_a_weighted_mean_of_the_values_so_far():
    T, D = 5, 3
    q, k, v = RNG.standard_normal((3, T, D))
    rows = []
    for t in range(T):
        s_t = [q[t] @ k[j] / math.sqrt(D) for j in range(t + 1)]
        weights = np.exp(s_t) / np.exp(s_t).sum()
        rows.append(sum(w * v_j for w, v_j in zip(weights, v, strict=False)))
    q, k, v = (torch.tensor(a)[None] for a in (q, k, v))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert np.abs(y[0].numpy() - rows).max() < 1e-14


@pytest.mark.equation("eq-vs-variance")
def test_one_result_varies_with_the_start_and_with_the_test():
    # Each start has its own true accuracy; each test draws N examples.
    m, s, N = 0.8, 0.03, 200
    truth = np.clip(RNG.normal(m, s, 200_000), 0, 1)
    results = RNG.binomial(N, truth) / N
    v = s**2 + m * (1 - m) / N
    assert results.var() == pytest.approx(v, rel=0.02)


@pytest.mark.equation("eq-vs-tie")
def test_equal_models_are_called_tied_and_distant_ones_are_not():
    v_a, v_b = 0.02**2, 0.03**2

    def share_tied(gap):
        m_a = RNG.normal(0.8 + gap, math.sqrt(v_a), 50_000)
        m_b = RNG.normal(0.8, math.sqrt(v_b), 50_000)
        return np.mean(np.abs(m_a - m_b) <= 2 * math.sqrt(v_a + v_b))

    assert share_tied(0) == pytest.approx(0.954, abs=0.01)  # two sigma of a normal
    assert share_tied(0.2) < 0.01


@pytest.mark.equation("eq-vs-count-flat")
@pytest.mark.parametrize("T", [1, 8, 30])
def test_a_flat_net_has_weights_for_every_place(T):
    I, H, O = 4, 6, 3
    model = rl.Sequential(rl.Dense(T * I, H, "relu"), rl.Dense(H, O))
    P_flat = (T * I + 1) * H + (H + 1) * O
    assert sum(p.numel() for p in model.parameters()) == P_flat
    assert size((T * I, H), (H,), (H, O), (O,)) == P_flat


@pytest.mark.equation("eq-vs-count-rnn")
def test_an_rnn_has_the_same_weights_for_every_length():
    I, H, O = 4, 6, 3
    model = rl.Sequential(rl.RNN(I, H), rl.Dense(H, O))
    P_rnn = (I + H + 1) * H + (H + 1) * O
    assert sum(p.numel() for p in model.parameters()) == P_rnn
    assert size((I, H), (H, H), (H,), (H, O), (O,)) == P_rnn
    for T in (1, 30):
        assert model(torch.zeros(2, T, I)).shape == (2, T, O)


@pytest.mark.equation("eq-vs-cost-rnn")
@pytest.mark.parametrize("T", [1, 9, 40])
def test_the_multiplications_of_an_rnn_layer(T):
    I, H = 5, 7
    layer = rl.RNN(I, H, impl="loop")
    M_rnn = multiplications(lambda: layer(torch.zeros(1, T, I)))
    assert M_rnn == T * H * (I + H)


@pytest.mark.equation("eq-vs-cost-attention")
@pytest.mark.parametrize("T", [1, 9, 40])
def test_the_multiplications_of_an_attention_layer(T):
    D = 6

    def run():
        x = torch.zeros(T, D)
        q, k, v = (x @ torch.zeros(D, D) for _ in range(3))
        return (q @ k.T).softmax(dim=-1) @ v

    assert multiplications(run) == 3 * T * D**2 + 2 * T**2 * D
