"""What torch users rely on: optimizers, copies, files, dtypes, devices, DDP."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnlib import torch as rl
from rnnlib.torch.kernels import cpu
from rnnlib.torch.recurrent import _in_one_piece
from tests.engines import (
    KINDS,
    LENGTHS,
    NATIVE,
    SCANS,
    Engine,
    H,
    I,
    T,
    assert_close,
    initial_state,
    inputs,
    leaves,
    recurrent,
    worst_error,
)

ROOT = Path(__file__).parents[2]
IDS = torch.tensor([[1, 5, 2, 0], [3, 3, 4, 1], [6, 0, 2, 2], [5, 4, 3, 2]])
CLASSES = torch.tensor([0, 2, 1, 1])


def classifier(**options):
    return rl.Sequential(
        rl.Embedding(7, 3, **options),
        rl.Bidirectional(rl.GRU(3, 4, **options)),
        rl.LSTM(8, 4, return_sequences=False, **options),
        rl.Dense(4, 3, **options),
        seed=0,
    )


# ---------------------------------------------------------------- which way it went


def auto(kind, device="cpu", steps=T, training=True):
    """What impl="auto" runs for a layer with H = 4."""
    if kind in SCANS:
        return "chunked"
    if device == "cuda":
        return "native" if kind in NATIVE else "loop"
    if steps == 1:
        return "loop"
    name = kind.split("-")[0]
    fast = name == "RNN" or (name == "GRU" and training and steps >= 16)
    return "numpy" if fast or kind not in NATIVE else "native"


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("steps", [1, T, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_auto_takes_what_was_measured_to_be_fastest(kind, steps, training):
    layer = recurrent(rl, kind)
    assert layer.last_impl is None
    with torch.set_grad_enabled(training):
        layer(torch.from_numpy(inputs(steps=steps)))
    assert layer.last_impl == auto(kind, steps=steps, training=training)


def test_auto_in_larger_layers():
    layer = rl.GRU(3, 128, seed=0)
    for steps, expected in ((31, "native"), (32, "numpy")):
        with torch.no_grad():
            layer(torch.zeros(1, steps, 3))
        assert layer.last_impl == expected


def test_the_table_of_auto_is_what_was_measured():
    """In no row of the benchmark does it take a way that is clearly slower."""
    rows = json.loads((ROOT / "benchmarks/results/cpu.json").read_text())["rows"]
    rows = [r for r in rows if r["part"] == "full"]
    assert {(r["T"], r["layer"]) for r in rows} >= {
        (steps, kind) for steps in (1, 4, 16, 64) for kind in ("RNN", "LSTM", "GRU")
    }
    for r in rows:
        for work, grad in (("forward_ms", False), ("both_ms", True)):
            with torch.set_grad_enabled(grad):
                taken = cpu.fastest(r["layer"], r["T"], r["H"], native=True)
            ms = {w: r[work][f"torch {w}"][0] for w in ("loop", "native", "numpy")}
            assert ms[taken] < 1.25 * min(ms.values()), (taken, ms, r)


def test_weights_in_one_piece():
    a, b = torch.randn(2, 3, dtype=torch.double), torch.randn(4, dtype=torch.double)
    a.requires_grad_()
    parts = _in_one_piece([a.T, b])
    assert torch.equal(parts[0], a.T)
    assert torch.equal(parts[1], b)
    assert parts[0].is_contiguous()
    assert parts[1].data_ptr() == parts[0].data_ptr() + 6 * 8
    (parts[0] ** 2).sum().backward()
    torch.testing.assert_close(a.grad, 2 * a.detach())


def test_what_torch_must_see_is_not_computed_by_numpy():
    layer = rl.RNN(3, 4, seed=0)
    x = torch.zeros(2, 20, 3)
    layer(x)
    assert layer.last_impl == "numpy"
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
    assert layer.last_impl == "native"
    torch.func.grad(lambda x: layer(x)[0].sum())(x)
    assert layer.last_impl == "native"
    layer(x)
    torch.compile(layer, backend="eager")(x)
    assert layer.last_impl == "native"
    layer.impl = "numpy"
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match="impl='numpy' is not possible: NumPy has no h"),
    ):
        layer(x)
    with pytest.raises(ValueError, match="impl='numpy' is not possible: torch.func"):
        torch.func.grad(lambda x: layer(x)[0].sum())(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in SCANS])
def test_half_precision_is_left_to_torch(kind, dtype):
    layer = recurrent(rl, kind).to(dtype)
    x = torch.from_numpy(inputs(steps=20)).to(dtype).requires_grad_()
    y, _ = layer(x)
    y.float().sum().backward()
    assert layer.last_impl == ("native" if kind in NATIVE else "loop")
    assert y.dtype == x.grad.dtype == dtype
    layer.impl = "numpy"
    with pytest.raises(ValueError, match=f"float64, x is {str(dtype)[6:]}"):
        layer(x)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in SCANS])
def test_numpy_passes_back_as_often_as_asked(kind):
    """The first pass uses up what forward kept; the second computes it again."""
    layer = recurrent(rl, kind, impl="numpy")
    x = torch.from_numpy(inputs()).requires_grad_()
    y, _ = layer(x, lengths=LENGTHS)
    wanted = [x, *layer.parameters()]
    first = torch.autograd.grad(y.sum(), wanted, retain_graph=True)
    second = torch.autograd.grad(2 * y.sum(), wanted, retain_graph=True)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(2 * a, b, rtol=0, atol=1e-12)
    with pytest.raises(RuntimeError, match="expected create_graph=False, got True"):
        torch.autograd.grad(y.sum(), wanted, create_graph=True)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(NATIVE) - set(SCANS)))
def test_native_without_a_kernel_is_an_error(kind):
    layer = recurrent(rl, kind, impl="native")
    with pytest.raises(ValueError, match="impl='native' is not possible: torch has no"):
        layer(torch.from_numpy(inputs()))
    assert layer.last_impl is None


@pytest.mark.parametrize("impl", ["cudnn", "chunked", None])
def test_an_unknown_impl_is_an_error(impl):
    with pytest.raises(ValueError, match=r"LSTM\(3, 4\): expected impl to be one of"):
        rl.LSTM(I, H, impl=impl)


# ---------------------------------------------------------------- an nn.Module


@pytest.mark.parametrize("name", ["AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_any_torch_optimizer_trains_it(name):
    model = classifier()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.02)
    history = rl.fit(
        model,
        [(IDS, CLASSES)],
        loss=rl.cross_entropy,
        optimizer=optimizer,
        epochs=30,
        progress=False,
    )
    assert history.loss[-1] < 0.6 * history.loss[0]


def test_a_deep_copy_is_equal_and_independent():
    model = classifier()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(IDS), model(IDS))
    before = model(IDS)
    with torch.no_grad():
        for p in twin.parameters():
            p += 1
    assert torch.equal(model(IDS), before)


def test_a_module_and_its_state_dict_survive_a_file(tmp_path):
    model = classifier()
    torch.save(model, tmp_path / "model.pt")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    whole = torch.load(tmp_path / "model.pt", weights_only=False)
    assert torch.equal(whole(IDS), model(IDS))
    other = classifier()
    other.reset(np.random.default_rng(1))
    assert not torch.equal(other(IDS), model(IDS))
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert torch.equal(other(IDS), model(IDS))


@pytest.mark.parametrize("impl", ["loop", "native"])
def test_double_makes_a_float64_model(impl):
    layer = recurrent(rl, "LSTM", impl=impl, dtype="float32").double()
    x, state = Engine("torch").put((inputs(), initial_state("LSTM")))
    y, after = layer(x, state)
    assert {a.dtype for a in (y, *after)} == {torch.float64}
    with pytest.raises(TypeError, match="expected x of dtype float64, got float32"):
        layer(x.float())
    with pytest.raises(TypeError, match="expected state h of dtype float64"):
        layer(x, tuple(s.float() for s in state))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("impl", ["loop", "native"])
@pytest.mark.parametrize("kind", NATIVE)
def test_autocast_computes_in_half_precision(kind, impl, lengths):
    layer = recurrent(rl, kind, impl=impl, dtype="float32")
    model = rl.Sequential(layer, rl.LayerNorm(H), rl.Dense(H, 2), seed=0)
    x = torch.from_numpy(inputs("float32"))
    exact = model(x, lengths=lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x, lengths=lengths)
    error = float((rough - exact).detach().abs().max())
    assert 0 < error < 0.1  # bfloat16 keeps three decimal digits
    rough.float().sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
    with pytest.raises(TypeError, match="expected x of dtype float32, got bfloat16"):
        model(x.bfloat16(), lengths=lengths)


def test_modules_are_found_by_torch():
    names = dict(classifier().named_modules())
    assert isinstance(names["1.forward"], rl.GRU)
    assert names["1.backward"].reverse
    assert sum(p.numel() for p in classifier().parameters()) == 21 + 200 + 208 + 15


def test_dropout_drops_while_training_only():
    layer, x = rl.Dropout(0.25), torch.ones(200, 50)
    torch.manual_seed(0)
    y = layer(x)
    kept = y != 0
    assert kept.float().mean() == pytest.approx(0.75, abs=0.02)
    assert torch.allclose(y[kept], torch.tensor(1 / 0.75))
    assert torch.equal(layer.eval()(x), x)


def test_a_reversed_layer_does_not_touch_its_input():
    x = torch.from_numpy(inputs())
    before = x.clone()
    recurrent(rl, "GRU", "both")(x, lengths=LENGTHS)
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", ["RNN-tanh", "LSTM", "GRU", "GRU-reset-before"])
def test_second_derivatives_exist_in_the_loop(kind):
    layer = recurrent(rl, kind, impl="loop")
    x = torch.from_numpy(inputs(steps=2, rows=1)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


# ---------------------------------------------------------------- DDP


def train(model, ids, classes, steps=3):
    """A few steps of SGD with momentum on one batch."""
    owner = getattr(model, "module", model)
    optimizer = rl.SGD(owner, lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        rl.cross_entropy(model(ids), classes).backward()
        optimizer.step()
    return owner.state_dict()


def worker(rank, meeting, out):
    """One of two processes; each sees every other row of the batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2
    )
    model = classifier(dtype="float64")
    if rank == 1:  # DDP hands out the first process's weights
        model.reset(np.random.default_rng(1))
    ddp = torch.nn.parallel.DistributedDataParallel(model)
    state = train(ddp, IDS[rank::2], CLASSES[rank::2])
    torch.save(state, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ddp_processes_train_like_one(tmp_path):
    torch.multiprocessing.spawn(
        worker, args=(str(tmp_path / "meeting"), str(tmp_path)), nprocs=2
    )
    alone = train(classifier(dtype="float64"), IDS, CLASSES)
    for rank in (0, 1):
        state = torch.load(tmp_path / f"{rank}.pt")
        for name, value in alone.items():
            assert worst_error(state[name], value) <= 1e-12, name


# ---------------------------------------------------------------- on a GPU
# Parity with NumPy on CUDA is part of test_parity.py.


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_auto_runs_on_the_gpu(kind):
    layer = recurrent(rl, kind).cuda()
    x = torch.from_numpy(inputs()).cuda().requires_grad_()
    y, state = layer(x, lengths=LENGTHS)
    assert {a.device.type for a in (y, *leaves(state))} == {"cuda"}
    assert layer.last_impl == auto(kind, "cuda")
    y.sum().backward()
    assert layer.W_xh.grad.device.type == "cuda"


@pytest.mark.gpu
@pytest.mark.parametrize("kind", NATIVE)
def test_lengths_may_live_on_the_gpu(kind):
    engine = Engine("cuda")
    layer = recurrent(rl, kind, "both")
    on_cpu = engine.measure(layer, inputs(), lengths=LENGTHS)
    layer.zero_grad()
    on_gpu = engine.measure(layer, inputs(), lengths=engine.put(LENGTHS))
    assert_close(on_gpu, on_cpu, 1e-12)
