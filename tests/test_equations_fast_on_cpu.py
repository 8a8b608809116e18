"""The equations of "Fast on a CPU": counted while the layers run."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnnlib import numpy as rl
from rnnlib import torch as rl_torch
from rnnlib.numpy.lstm import lstm_backward, lstm_forward

BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}


@pytest.mark.equation("eq-step-flops")
@pytest.mark.parametrize("kind", BLOCKS)
def test_flops_of_a_step(kind):
    B, T, I, H = 3, 5, 2, 7  # noqa: E741
    layer = getattr(rl_torch, kind)(I, H, impl="loop")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.zeros(B, T, I))
    of_input = 2 * T * B * I * BLOCKS[kind] * H
    found = (counter.get_total_flops() - of_input) / T
    assert found == 2 * B * H * BLOCKS[kind] * H


@pytest.mark.equation("eq-step-bytes")
@pytest.mark.parametrize("kind", BLOCKS)
def test_bytes_of_a_step(kind):
    B, H = 3, 7
    W_hh = getattr(rl, kind)(2, H).params["W_hh"]
    h = np.zeros((B, H), W_hh.dtype)
    moved = sum(array.nbytes for array in (W_hh, h, h @ W_hh))
    assert moved == 4 * (BLOCKS[kind] * H**2 + B * H + B * BLOCKS[kind] * H)


@pytest.mark.equation("eq-roofline")
def test_roofline():
    """What takes longer, computing or fetching, sets the time of the work."""
    rng = np.random.default_rng(0)
    work, moved, peak, bandwidth = rng.uniform(1, 9, (4, 200))
    seconds = np.maximum(work / peak, moved / bandwidth)
    roof = np.minimum(peak, work / moved * bandwidth)
    np.testing.assert_allclose(work / seconds, roof, rtol=1e-12)
    assert 0 < (roof == peak).mean() < 1


@pytest.mark.equation("eq-step-time")
def test_products_and_tanhs_of_an_lstm(monkeypatch):
    """2F FLOPs where the input is as wide as the state, and 5BH times tanh."""
    T, B, H = 6, 3, 4
    rng = np.random.default_rng(0)
    x, h, c = (rng.standard_normal(s) for s in ((T, B, H), (B, H), (B, H)))
    parameters = rng.standard_normal((H, 4 * H)), rng.standard_normal((H, 4 * H))
    tanh, matmul, found = np.tanh, np.matmul, {"tanh": 0, "flops": 0}

    def counted_tanh(a, **options):
        found["tanh"] += a.size
        return tanh(a, **options)

    def counted_matmul(a, b, **options):
        found["flops"] += 2 * a.size * b.shape[1]
        return matmul(a, b, **options)

    monkeypatch.setattr(np, "tanh", counted_tanh)
    monkeypatch.setattr(np, "matmul", counted_matmul)
    lstm_forward(x, h, c, *parameters, np.zeros(4 * H))
    assert found == {"tanh": T * 5 * B * H, "flops": T * 2 * (2 * B * H * 4 * H)}


@pytest.mark.equation("eq-one-product")
def test_a_sum_of_products_is_one_product():
    T, B, H = 5, 3, 4
    rng = np.random.default_rng(0)
    past, da = rng.standard_normal((T, B, H)), rng.standard_normal((T, B, 2 * H))
    steps = sum(past[t].T @ da[t] for t in range(T))
    whole = np.concatenate(list(past)).T @ np.concatenate(list(da))
    np.testing.assert_allclose(whole, steps, rtol=0, atol=1e-13)


@pytest.mark.equation("eq-hold-cell")
def test_the_cell_outlasts_the_padding():
    """c stays, bit for bit, and its gradient passes the padding unchanged."""
    T, B, H = 6, 2, 3
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((T, B, H)), np.zeros((T, B, 1))], axis=2)
    x[3:, :, :H], x[3:, :, H] = 0, 1  # three steps and three of padding
    hold = np.repeat([-1e4, 1e4, 0, 0], H)
    W_xh = np.vstack([rng.standard_normal((H, 4 * H)), hold])
    W_hh, zero = rng.standard_normal((H, 4 * H)), np.zeros((B, H))
    _, cs, cache = lstm_forward(x, zero, zero, W_xh, W_hh, np.zeros(4 * H))
    for t in (4, 5, 6):
        np.testing.assert_array_equal(cs[t], cs[3])
    dc = rng.standard_normal((B, H))
    dx, _, dc0, grads = lstm_backward(np.zeros((T, B, H)), zero, dc, cache)
    _, _, cache = lstm_forward(x[:3], zero, zero, W_xh, W_hh, np.zeros(4 * H))
    dx_short, _, dc0_short, grads_short = lstm_backward(
        np.zeros((3, B, H)), zero, dc, cache
    )
    assert (dx[3:] == 0).all()
    np.testing.assert_allclose(dx[:3], dx_short, rtol=0, atol=1e-13)
    np.testing.assert_allclose(dc0, dc0_short, rtol=0, atol=1e-13)
    for name in grads:
        np.testing.assert_allclose(grads[name], grads_short[name], rtol=0, atol=1e-12)
