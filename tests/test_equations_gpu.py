"""The equations of the chapter "Fast on a GPU", against counts and the library."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnnlib import numpy as rl
from rnnlib import torch as rl_torch
from rnnlib.torch import kernels

pytest.importorskip("triton", reason="Triton is not installed")

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
P, W, S = 67e12, 3.35e12, 132


def counted(kind, B, H, I=2):  # noqa: E741
    """FLOPs of the recurrent product of one step, counted in the eager loop."""
    layer = getattr(rl_torch, kind)(I, H, impl="loop", seed=0)
    totals = []
    for T in (4, 5):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(torch.zeros(B, T, I))
        totals.append(counter.get_total_flops())
    return totals[1] - totals[0] - 2 * B * I * GATES[kind] * H  # less the input's share


@pytest.mark.equation("eq-gpu-step-flops")
@pytest.mark.parametrize("kind", GATES)
def test_a_step_costs(kind):
    assert counted(kind, 7, 12) == 2 * 7 * GATES[kind] * 12**2


@pytest.mark.equation("eq-gpu-intensity")
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("B", [1, 16])
def test_operations_for_each_byte(kind, B):
    for H in (8, 24):
        weights = getattr(rl_torch, kind)(2, H, seed=0).W_hh
        assert counted(kind, B, H) / weights.nbytes == B / 2


@pytest.mark.equation("eq-gpu-step-floor")
@pytest.mark.parametrize(("B", "limit"), [(1, "bytes"), (39, "bytes"), (41, "flops")])
def test_a_step_takes_as_long_as_its_slower_side(B, limit):
    H, G = 16, 4  # the sides are equal at B = 2 P / W = 40
    sides = {
        "flops": counted("LSTM", B, H) / P,
        "bytes": rl_torch.LSTM(2, H, seed=0).W_hh.nbytes / W,
    }
    floor = max(2 * B * G * H**2 / P, 4 * G * H**2 / W)
    assert floor == pytest.approx(sides[limit], rel=1e-12)
    assert max(sides, key=sides.get) == limit


@pytest.mark.equation("eq-gpu-share")
@pytest.mark.parametrize("B", [1, 16, 17, 64])
def test_one_program_for_sixteen_rows(B, monkeypatch):
    from rnnlib.torch.kernels import cells

    started, kernel = [], cells.rnn_forward

    class Recorder:
        def __getitem__(self, grid):
            started.append(grid)
            return kernel[grid]

    monkeypatch.setattr(cells, "rnn_forward", Recorder())
    layer = rl_torch.RNN(2, 16, impl="fused", seed=0).to(DEVICE)
    layer(torch.zeros(B, 2, 2, device=DEVICE))
    assert started == [(math.ceil(B / 16),)]
    share = math.ceil(B / 16) / S
    assert share == pytest.approx(math.prod(started[0]) / S)


@pytest.mark.equation("eq-gpu-time")
def test_launches_and_work_add_up():
    latency, N = 5e-6, 300
    for q, f in ((1e6, 1e6), (1e3, 1e9)):  # bytes and FLOPs of each launch
        clock = 0.0
        for _ in range(N):
            clock += latency + max(q / W, f / P)
        assert clock == pytest.approx(N * latency + max(N * q / W, N * f / P))


@pytest.mark.equation("eq-gpu-speedup")
def test_the_speedup_tends_to_n_launches_for_a_step():
    n, latency, s = 11, 5e-6, 2e-6
    for T in (1, 64, 10**7):
        loop = sum([latency] * n) * T
        fused = latency + T * s
        ratio = n * T * latency / (latency + T * s)
        assert ratio == pytest.approx(loop / fused)
    assert ratio == pytest.approx(n * latency / s, rel=1e-6)


@pytest.mark.equation("eq-gpu-serial")
@pytest.mark.parametrize("kind", GATES)
def test_a_tile_has_one_multiprocessor(kind):
    H = 32
    alone = counted(kind, 16, H) / (P / S)
    assert 2 * 16 * GATES[kind] * H**2 / (P / S) == pytest.approx(alone)


@pytest.mark.equation("eq-gpu-on-chip")
@pytest.mark.parametrize(("precision", "p"), [("ieee", 4), ("tf32x3", 8), ("bf16", 2)])
def test_what_a_program_holds(precision, p):
    for H in (5, 16, 20, 64, 65, 128):
        filled = 2 ** max(4, math.ceil(math.log2(H)))
        blocks = sum(np.zeros((filled, filled)).size * p for _ in range(4))
        arrays = sum(np.zeros((16, filled), np.float32).nbytes for _ in range(12))
        assert kernels.shared_memory(H, precision) == blocks + arrays
        fits = blocks + arrays <= 227 * 1024
        assert fits == (H <= kernels.LARGEST[precision])


@pytest.mark.equation("eq-gpu-weight-gradient")
def test_the_weight_gradient_is_one_product():
    rng = np.random.default_rng(0)
    B, T, I, H = 3, 4, 2, 5  # noqa: E741
    layer = rl.LSTM(I, H, seed=0, dtype="float64")
    x, dy = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, H))
    layer(x)
    layer.backward(dy)
    p = {k: torch.tensor(v) for k, v in layer.params.items()}
    h = c = torch.zeros(B, H, dtype=torch.float64)
    pre, past, ys = [], [], []
    for t in range(T):  # da by autograd, at the sum that the product enters
        past.append(h.detach())
        a = torch.tensor(x[:, t]) @ p["W_xh"] + p["b_h"] + h @ p["W_hh"]
        pre.append(a.requires_grad_())
        a.retain_grad()
        i, f, g, o = a.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        ys.append(h)
    (torch.stack(ys, 1) * torch.tensor(dy)).sum().backward()
    summed = sum(b.T @ a.grad for b, a in zip(past, pre, strict=True))
    product = torch.cat(past).T @ torch.cat([a.grad for a in pre])
    np.testing.assert_allclose(product, summed, atol=1e-12)
    np.testing.assert_allclose(product, layer.grads["W_hh"], atol=1e-12)


@pytest.mark.equation("eq-gpu-tanh")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # the interpreter's exp
def test_tanh_by_a_sigmoid_has_no_nan():
    values = np.r_[-300.0, -50, np.linspace(-9, 9, 13), 50, 300].astype("f4")
    exact = np.array([math.tanh(v) for v in values])
    np.testing.assert_allclose(2 * rl.sigmoid(2 * values) - 1, exact, atol=2e-7)
    # The kernel's: without weights the state is the tanh of the input's share.
    layer = rl_torch.RNN(1, 1, impl="fused", seed=0)
    zero = {k: np.zeros_like(v.detach()) for k, v in layer.named_parameters()}
    layer.load_state_dict(zero | {"W_xh": np.ones((1, 1), "f4")})
    with kernels.precision("ieee"), torch.no_grad():
        y, _ = layer.to(DEVICE)(torch.tensor(values, device=DEVICE)[:, None, None])
    np.testing.assert_allclose(y.cpu().numpy().ravel(), exact, atol=1e-6)


@pytest.mark.equation("eq-gpu-rounding")
@pytest.mark.parametrize(("dtype", "m"), [(torch.bfloat16, 7), (torch.float16, 10)])
def test_a_rounded_number_is_off_by_half_a_digit(dtype, m):
    x = torch.tensor(np.random.default_rng(0).uniform(0.1, 100, 20_000))
    x = torch.cat([x, -x])
    error = (x.to(dtype).double() - x).abs() / x.abs()
    assert 0.9 * 2.0 ** -(m + 1) < error.max() <= 2.0 ** -(m + 1)


@pytest.mark.equation("eq-gpu-tile-work")
@pytest.mark.parametrize("seed", range(3))
def test_a_tile_runs_to_its_own_longest_row(seed):
    from rnnlib.torch.kernels import cells, function

    rng = np.random.default_rng(seed)
    T, B, H = 9, 48, 16
    lengths = rng.integers(1, T + 1, B)
    lengths[:16] = np.minimum(lengths[:16], 3)
    gates = torch.full((T, B, 4 * H), 7.0, device=DEVICE)
    state = torch.zeros(T + 1, B, H, device=DEVICE)
    last = torch.empty(B, H, device=DEVICE)
    cells.lstm_forward[(3,)](
        gates, torch.zeros(H, 4 * H, device=DEVICE), state, state.clone(), last,
        last.clone(), torch.tensor(lengths, dtype=torch.int32, device=DEVICE), T, B, H,
        PRECISION="ieee", **function.shape(H),
    )  # fmt: skip
    computed = int((gates != 7).any(dim=2).sum())  # row-steps that were overwritten
    tiles = [lengths[k : k + 16] for k in range(0, B, 16)]
    assert computed == sum(16 * max(tile) for tile in tiles) < B * T
