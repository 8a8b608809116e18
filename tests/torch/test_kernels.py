"""The Triton kernels against the NumPy engine in float64.

Without CUDA they run in Triton's interpreter, one program after the other on the CPU:
the same code, small sizes. With CUDA they run compiled, and `pytest -m gpu` runs them.
The interpreter computes tf32 and tf32x3 like ieee and cuts bf16 off where a GPU rounds:
the error of each precision is tested in earnest with CUDA alone.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import rnnlib.numpy
from rnnlib import torch as rl
from rnnlib.torch import kernels
from rnnlib.torch.scan import scan
from tests.engines import KINDS, NATIVE, SCANS, leaves

CUDA = torch.cuda.is_available()
triton = pytest.importorskip("triton", reason="Triton is not installed")
tl = pytest.importorskip("triton.language")
from rnnlib.torch.kernels import cells  # noqa: E402

if CUDA:  # the same tests are GPU tests where there is one
    pytestmark = pytest.mark.gpu

CELLS = [kind for kind in KINDS if kind not in SCANS]
DEVICE = "cuda" if CUDA else "cpu"
TOLERANCE = {"ieee": 3e-6, "tf32x3": 3e-6, "tf32": 5e-3, "bf16": 5e-2}
# Rows below, at and above a tile of 16; H that is and is not a power of two.
SIZES = [(1, 1, 2, 16), (3, 5, 4, 20), (16, 4, 3, 5), (18, 8, 3, 32)]


def pair(kind, I, H, noise, **options):  # noqa: E741
    """The same layer in NumPy float64 and fused."""
    name, extra = KINDS[kind]
    ours = getattr(rnnlib.numpy, name)(
        I, H, seed=0, dtype="float64", **extra, **options
    )
    rng = np.random.default_rng(1)
    state = ours.state_dict()
    ours.load_state_dict(
        {k: v + rng.normal(0, noise, v.shape).astype("f4") for k, v in state.items()}
    )
    theirs = getattr(rl, name)(I, H, impl="fused", **extra, **options).to(DEVICE)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict({k: v.cpu().numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def worst(found, expected):
    """Largest error, relative to the largest value of each array."""
    errors = []
    for f, e in zip(found, expected, strict=True):
        f = f.detach().cpu().double().numpy() if hasattr(f, "detach") else f
        assert f.shape == e.shape and np.isfinite(f).all()
        errors.append(np.abs(f - e).max() / max(1.0, np.abs(e).max()))
    return max(errors)


def compare(kind, sizes, ragged=False, seed=0, scale=1.0, noise=0.3, **options):
    """Worst error of outputs, states and all gradients."""
    B, T, I, H = sizes  # noqa: E741
    ours, theirs = pair(kind, I, H, noise, **options)
    rng = np.random.default_rng(seed)
    x = (scale * rng.standard_normal((B, T, I))).astype("f4").astype("f8")
    lengths = rng.integers(1, T + 1, B) if ragged else None
    shape = len(ours.states), B, ours.state_width
    states = rng.standard_normal(shape).astype("f4").astype("f8")

    def packed(arrays):
        return tuple(arrays) if len(arrays) > 1 else arrays[0]

    y, after = ours(x, packed(states), lengths)
    G = rng.standard_normal(y.shape)
    dx = ours.backward(G, dstate=packed(states))
    expected = [y, *leaves(after), dx, *leaves(ours.dstate), *ours.grads.values()]

    def placed(array):
        return torch.tensor(array, dtype=torch.float32, device=DEVICE)

    tx = placed(x).requires_grad_()
    tstates = [placed(s).requires_grad_() for s in states]
    ty, tafter = theirs(tx, packed(tstates), lengths)
    assert theirs.last_impl == "fused"
    loss = (ty.float() * placed(G)).sum()
    for s, ds in zip(leaves(tafter), states, strict=True):
        loss = loss + (s.float() * placed(ds)).sum()
    loss.backward()
    grads = dict(theirs.named_parameters())
    found = [ty, *leaves(tafter), tx.grad, *(s.grad for s in tstates)]
    return worst([*found, *(grads[k].grad for k in ours.grads)], expected)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("kind", CELLS)
def test_kernels_equal_the_equations(kind, sizes, ragged, reverse):
    with kernels.precision("ieee"):
        error = compare(kind, sizes, ragged, reverse=reverse)
    assert error < TOLERANCE["ieee"]


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("kind", CELLS)
def test_the_last_step_alone(kind, ragged):
    with kernels.precision("ieee"):
        error = compare(kind, (5, 6, 3, 16), ragged, return_sequences=False)
    assert error < TOLERANCE["ieee"]


@pytest.mark.parametrize("precision", kernels.PRECISIONS)
@pytest.mark.parametrize("kind", NATIVE)
def test_each_precision_keeps_its_error(kind, precision):
    with kernels.precision(precision):
        # Small weights: a plain RNN with large ones doubles an error at each step.
        assert compare(kind, (17, 6, 4, 32), noise=0.02) < TOLERANCE[precision]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # the interpreter's exp
@pytest.mark.parametrize("kind", NATIVE)
def test_large_inputs_give_no_nan(kind):
    """tanh as (1 - e) / (1 + e) would be inf / inf."""
    with kernels.precision("ieee"):
        assert compare(kind, (2, 3, 4, 16), scale=300.0) < 1e-4


def test_both_directions():
    layer = rl.Bidirectional(rl.LSTM(3, 16, impl="fused", seed=0)).to(DEVICE)
    other = rl.Bidirectional(rl.LSTM(3, 16, impl="native", seed=0)).to(DEVICE)
    x, lengths = torch.randn(4, 5, 3, device=DEVICE), [5, 1, 3, 2]
    with kernels.precision("ieee"):
        found, expected = layer(x, lengths=lengths)[0], other(x, lengths=lengths)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_second_backward_pass_is_refused():
    layer = rl.GRU(3, 16, impl="fused", seed=0).to(DEVICE)
    y, _ = layer(torch.randn(2, 3, 3, device=DEVICE))
    y.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass for each forward pass"):
        y.sum().backward()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_autocast_narrows_the_products_alone(kind):
    """Gates, states and gradients stay in float32; the backward pass runs outside."""
    layer = getattr(rl, kind)(3, 16, impl="fused", seed=0).to(DEVICE)
    x = torch.randn(4, 5, 3, device=DEVICE)
    results = []
    for way in (None, "bf16", "autocast"):
        layer.zero_grad()
        with (
            kernels.precision(way)
            if way == "bf16"
            else torch.autocast(DEVICE, torch.bfloat16, enabled=way == "autocast")
        ):
            y, _ = layer(x)
        y.sum().backward()
        results.append([y.detach(), *(p.grad.clone() for p in layer.parameters())])
    assert {a.dtype for a in results[2]} == {torch.float32}
    for exact, narrow, auto in zip(*results, strict=True):
        torch.testing.assert_close(auto, narrow, rtol=0, atol=1e-6)
        assert (narrow - exact).abs().max() < 5e-2 * max(1, exact.abs().max())
    assert not torch.equal(results[0][0], results[1][0])


@pytest.mark.parametrize(
    ("kind", "hidden", "dtype", "precision", "says"),
    [
        ("LSTM", 65, "float32", "ieee", "up to H=64 in ieee, here H=65"),
        ("RNN", 129, "float32", "bf16", "up to H=128 in bf16, here H=129"),
        ("GRU", 16, "float64", "ieee", "the kernels compute in float32, x is float64"),
        ("RNN", 16, "bfloat16", "ieee", "compute in float32, x is bfloat16"),
    ],
)
def test_what_is_not_possible_is_said(kind, hidden, dtype, precision, says):
    layer = getattr(rl, kind)(3, hidden, impl="fused").to(DEVICE)
    layer = layer.to(getattr(torch, dtype))
    x = torch.zeros(2, 3, 3, dtype=getattr(torch, dtype), device=DEVICE)
    with (
        kernels.precision(precision),
        pytest.raises(ValueError, match=f"impl='fused' is not possible: .*{says}"),
    ):
        layer(x)
    assert layer.last_impl is None


def test_a_cpu_needs_the_interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    layer = rl.LSTM(3, 16, impl="fused")
    with pytest.raises(
        ValueError, match="Triton needs a GPU, x is on the device 'cpu'"
    ):
        layer(torch.zeros(2, 3, 3))


def test_a_gpu_with_too_little_shared_memory_is_named(monkeypatch):
    chip = SimpleNamespace(name="Small", shared_memory_per_block_optin=101376)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: chip)
    x = SimpleNamespace(
        device=torch.device("cuda"), dtype=torch.float32, is_floating_point=lambda: True
    )
    with kernels.precision("tf32x3"):
        assert kernels.gap(x, 32) is None
        assert kernels.gap(x, 64) == (
            "H=64 in tf32x3 may take 180224 bytes of shared memory, Small has 101376"
        )


@triton.jit
def _strides(B, H, out):
    tl.store(out, cells._stride(B, H) * 3)


def test_offsets_have_64_bits():
    out = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    _strides[(1,)](2**20, 2**12, out)
    assert int(out) == 3 * 2**32


@pytest.mark.parametrize("kind", CELLS)
def test_without_a_gpu_measurement_auto_never_takes_the_kernels(kind):
    """Their speed is not known, so ``auto`` runs them nowhere."""
    layer = pair(kind, 3, 16, 0.1)[1]
    layer.impl = "auto"
    layer(torch.zeros(2, 3, 3, device=DEVICE))
    assert layer.last_impl != "fused"


@pytest.mark.gpu
@pytest.mark.parametrize("kind", CELLS)
def test_a_gpu_runs_the_compiled_kernel(kind):
    assert not triton.knobs.runtime.interpret
    assert isinstance(cells.lstm_forward, triton.JITFunction)
    _, layer = pair(kind, 64, 64, 0.02)
    x = torch.randn(40, 200, 64, device="cuda")
    grads = []
    for _ in range(2):
        layer.zero_grad()
        y, _ = layer(x)
        assert layer.last_impl == "fused"
        y.square().sum().backward()
        grads.append([p.grad.clone() for p in layer.parameters()])
    # No atomics: bit for bit the same again.
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.gpu
def test_a_new_batch_or_length_compiles_nothing():
    _, layer = pair("LSTM", 8, 32, 0.1)
    counts = []
    for B, T in ((16, 16), (17, 5), (1, 1), (3, 64)):
        layer(torch.randn(B, T, 8, device="cuda"))[0].sum().backward()
        counts.append(
            [
                len(f.device_caches[torch.cuda.current_device()][0])
                for f in (cells.lstm_forward, cells.lstm_backward)
            ]
        )
    assert all(count == counts[0] for count in counts)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", kernels.PRECISIONS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU-reset-before"])
def test_the_largest_size_runs(kind, precision):
    with kernels.precision(precision):
        sizes = (20, 30, 16, kernels.LARGEST[precision])
        assert compare(kind, sizes, ragged=True, noise=0.01) < TOLERANCE[precision]


@pytest.mark.gpu
def test_an_array_of_more_than_2_to_the_31_numbers():
    """The offsets have 64 bits: the last rows of 12 GiB of gates are right."""
    if torch.cuda.get_device_properties(0).total_memory < 70 * 2**30:
        pytest.skip("needs a GPU with 70 GiB of memory")
    _, layer = pair("LSTM", 1, 64, 0.02)
    T, B = 4096, 2080
    x = torch.randn(B, T, 1, device="cuda")
    with torch.no_grad():
        whole = layer(x)[0][-3:]
        assert T * B * 4 * 64 > 2**31
        torch.testing.assert_close(whole, layer(x[-3:])[0])


def test_an_unknown_precision_is_an_error():
    with (
        pytest.raises(ValueError, match="expected one of .*, got 'fp8'"),
        kernels.precision("fp8"),
    ):
        pass


def test_the_precision_follows_torch():
    device, before = torch.device(DEVICE), torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert kernels.precision_now(device) == "ieee"
        torch.set_float32_matmul_precision("high")
        assert kernels.precision_now(device) == "tf32"
        with torch.autocast(DEVICE, torch.bfloat16):
            assert kernels.precision_now(device) == "bf16"
            with kernels.precision("tf32x3"):
                assert kernels.precision_now(device) == "tf32x3"
        assert kernels.precision_now(device) == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)


# ---------------------------------------------------------------- scans


@pytest.mark.parametrize("T", [1, 2, 63, 64, 65, 200])
def test_the_scan_kernel_equals_single_steps(T):
    rng = np.random.default_rng(0)
    arrays = rng.uniform(-1, 1, (2, T, 3)), rng.standard_normal((2, T, 3))
    arrays = [*arrays, rng.standard_normal((2, 3))]
    G = torch.tensor(rng.standard_normal((2, T, 3)), device=DEVICE)
    results = []
    for way, dtype in ((None, torch.float64), ("fused", torch.float32)):
        inputs = [torch.tensor(x, dtype=dtype, device=DEVICE) for x in arrays]
        inputs = [x.requires_grad_() for x in inputs]
        hs = scan(*inputs, way)
        (hs * G.to(dtype)).sum().backward()
        results.append([hs, *(x.grad for x in inputs)])
    expected = [x.detach().cpu().numpy() for x in results[0]]
    assert worst(results[1], expected) < 1e-5


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("kind", SCANS)
def test_scan_layers_equal_the_equations(kind, reverse, ragged):
    assert compare(kind, (3, 7, 3, 5), ragged, reverse=reverse) < 1e-5
