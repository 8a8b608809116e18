"""One vocabulary, two engines: same names, same numbers, same training.

The NumPy engine is the reference; torch has to agree with it, in each of its ways to
compute, and both have to agree with ``torch.nn`` loaded with the same weights.
"""

import inspect

import numpy as np
import pytest
import torch

import rnnlib.numpy
import rnnlib.torch
from rnnlib import weights
from rnnlib.batches import Batches, StreamBatches
from tests.conftest import exact_gpu
from tests.engines import (
    KINDS,
    LENGTHS,
    NATIVE,
    SCANS,
    B,
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

NUMPY = Engine("numpy")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
RAGGED = {"full": None, "ragged": LENGTHS}
DIRECTIONS = ["forward", "reverse", "both"]
CELLS = [kind for kind in KINDS if kind not in SCANS]
WAYS = [
    pytest.param(kind, impl, device, marks=[pytest.mark.gpu] * (device == "cuda"))
    for device in ("torch", "cuda")
    for kind in KINDS
    for impl in ("loop", "native", "chunked", "numpy")
    if kind in {"loop": KINDS, "native": NATIVE, "chunked": SCANS}.get(impl, CELLS)
    if device == "torch" or impl != "numpy"
]


@pytest.fixture
def exact(request, monkeypatch):
    if request.node.get_closest_marker("gpu"):
        exact_gpu(monkeypatch)


@pytest.fixture(params=["torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def torch_engine(request, exact):
    return Engine(request.param)


# ---------------------------------------------------------------- one vocabulary


def parameters(function, without=()):
    """Names, kinds and defaults of a function's parameters."""
    found = inspect.signature(function).parameters.values()
    return [
        (p.name, p.kind, getattr(p.default, "__name__", p.default))
        for p in found
        if p.name not in without
    ]


def test_both_engines_export_the_same_names():
    assert rnnlib.numpy.__all__ == rnnlib.torch.__all__


@pytest.mark.parametrize("name", rnnlib.numpy.__all__)
def test_both_engines_have_the_same_signatures(name):
    # NumPy's activations can write into an array they are given.
    ours = parameters(getattr(rnnlib.numpy, name), without=["out"])
    assert ours == parameters(getattr(rnnlib.torch, name))


CALLED = [
    "RNN",
    "LSTM",
    "GRU",
    "MinGRU",
    "MinLSTM",
    "StateSpace",
    "Bidirectional",
    "Residual",
    "Sequential",
]


@pytest.mark.parametrize("name", [*CALLED, "Attention", "EncoderDecoder"])
def test_layers_are_called_alike(name):
    ours = parameters(getattr(rnnlib.numpy, name).__call__)
    assert ours == parameters(getattr(rnnlib.torch, name).forward)


LAYERS = {
    **{
        f"{kind}, {d}": (lambda rl, k=kind, d=d, **o: recurrent(rl, k, d, **o))
        for kind in KINDS
        for d in DIRECTIONS
    },
    "Embedding": lambda rl, **o: rl.Embedding(5, 3, **o),
    "Dense": lambda rl, **o: rl.Dense(3, 4, **o),
    "LayerNorm": lambda rl, seed=None, **o: rl.LayerNorm(3, **o),
    "Attention": lambda rl, **o: rl.Attention(3, 4, "additive", **o),
    "Residual": lambda rl, **o: rl.Residual(rl.Bidirectional(rl.GRU(4, 2, **o))),
    "EncoderDecoder": lambda rl, **o: rl.EncoderDecoder(
        5, 4, 3, 2, attention="additive", bidirectional=True, layers=2, **o
    ),
    "Sequential": lambda rl, seed=None, **o: rl.Sequential(
        rl.Embedding(5, 3, **o),
        rl.Dropout(0.5),
        rl.Bidirectional(rl.LSTM(3, 4, **o)),
        rl.GRU(8, 3, **o),
        rl.LayerNorm(3, **o),
        rl.Dense(3, 2, **o),
        seed=seed,
    ),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", LAYERS)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name, dtype):
    ours, theirs = (
        LAYERS[name](rl, seed=11, dtype=dtype).state_dict()
        for rl in (rnnlib.numpy, rnnlib.torch)
    )
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        np.testing.assert_array_equal(theirs[key].numpy(), value, strict=True)
    again = LAYERS[name](rnnlib.numpy, seed=12, dtype=dtype).state_dict()
    if name != "LayerNorm":
        assert any((again[key] != value).any() for key, value in ours.items())


WRONG = {
    "x": lambda e, k: k(e.put(np.zeros((2, 5, 6), "float32"))),
    "dtype": lambda e, k: k(e.put(np.zeros((2, 5, 3)))),
    "empty": lambda e, k: k(e.put(np.zeros((0, 5, 3), "float32"))),
    "lengths": lambda e, k: k(e.put(inputs("float32")), lengths=np.array([0, 4, 1])),
    "float lengths": lambda e, k: k(e.put(inputs("float32")), lengths=np.ones(3)),
    "state": lambda e, k: k(e.put(inputs("float32")), e.put(np.zeros((3, 4), "f4"))),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_both_engines_complain_in_the_same_words(wrong):
    said = []
    for engine in (NUMPY, Engine("torch")):
        with pytest.raises((TypeError, ValueError)) as error:
            WRONG[wrong](engine, engine.rl.LSTM(3, 4))
        message = str(error.value).replace("torch.Tensor", "numpy.ndarray")
        said.append((error.type, message))
    assert said[0] == said[1]
    assert said[0][1].startswith("LSTM(3, 4): expected ")


# ---------------------------------------------------------------- same numbers


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("kind", "impl", "device"), WAYS)
def test_recurrent_layers_agree(kind, impl, device, direction, lengths, dtype, exact):
    engine = Engine(device)
    state, x = initial_state(kind, direction, dtype), inputs(dtype)
    for whole in (True, False):
        options = {"dtype": dtype, "return_sequences": whole}
        ours = recurrent(rnnlib.numpy, kind, direction, **options)
        theirs = recurrent(rnnlib.torch, kind, direction, impl=impl, **options)
        found, expected = (
            e.measure(layer, x, state, lengths=RAGGED[lengths])
            for e, layer in ((engine, theirs), (NUMPY, ours))
        )
        assert_close(found, expected, TOLERANCE[dtype])
        parts = getattr(theirs, "directions", [theirs])
        assert {layer.last_impl for layer in parts} == {impl}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("kind", "impl", "device"), WAYS)
def test_a_missing_state_is_zero(kind, impl, device, dtype, exact):
    engine = Engine(device)
    ours = recurrent(rnnlib.numpy, kind, dtype=dtype)
    theirs = recurrent(rnnlib.torch, kind, impl=impl, dtype=dtype)
    found, expected = (
        e.measure(layer, inputs(dtype))
        for e, layer in ((engine, theirs), (NUMPY, ours))
    )
    assert_close(found, expected, TOLERANCE[dtype])


ACTIVATIONS = [None, "tanh", "relu", "leaky_relu", "sigmoid", "softmax"]
OTHERS = {
    **{
        f"Dense {a}": lambda rl, a=a, **o: rl.Dense(I, 5, a, seed=0, **o)
        for a in ACTIVATIONS
    },
    "LayerNorm": lambda rl, **o: rl.LayerNorm(I, **o),
    "Dropout(0)": lambda rl, dtype: rl.Dropout(0.0),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", OTHERS)
def test_other_layers_agree(name, dtype, torch_engine):
    for x in (inputs(dtype), inputs(dtype)[:, 0]):
        found, expected = (
            e.measure(OTHERS[name](e.rl, dtype=dtype), x) for e in (torch_engine, NUMPY)
        )
        assert_close(found, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_embeddings_agree_on_ids_of_any_integer_type(dtype, torch_engine):
    ids = np.array([[0, 3, 3], [1, 4, 0]], dtype)
    found, expected = (
        e.measure(e.rl.Embedding(5, 2, seed=0), ids) for e in (torch_engine, NUMPY)
    )
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_losses_agree(name, dtype, torch_engine):
    rng = np.random.default_rng(0)
    mask = np.arange(T) < LENGTHS[:, None]
    logits = rng.standard_normal((B, T, 5)).astype(dtype)
    y = rng.integers(0, 5, (B, T))
    y = y if name == "cross_entropy" else rng.standard_normal((B, T, 5)).astype(dtype)
    for m in (None, mask):
        expected, d_expected = getattr(rnnlib.numpy, name)(logits, y, m)
        a = torch_engine.put(logits, grad=True)
        loss = getattr(rnnlib.torch, name)(a, torch_engine.put(y), m)
        loss.backward()
        gradient = torch_engine.get(a.grad)
        assert worst_error(torch_engine.get(loss), expected) <= TOLERANCE[dtype]
        assert worst_error(gradient, d_expected) <= TOLERANCE[dtype]
        assert gradient.dtype == dtype


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_an_empty_mask_is_an_error_not_a_nan(name, engine):
    a, y = np.zeros((B, T, 5)), np.zeros((B, T), int)
    y = y if name == "cross_entropy" else a
    with pytest.raises(ValueError, match=f"{name}: expected a mask with at least one"):
        getattr(engine.rl, name)(engine.put(a), engine.put(y), np.zeros((B, T), bool))


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("kind", "impl", "device"),
    [pytest.param(kind, "auto", "numpy") for kind in KINDS] + WAYS,
)
def test_padding_changes_nothing(kind, impl, device, direction):
    """Each sequence gets what it gets alone, even with NaN in the padding."""
    engine = Engine(device)
    layer = recurrent(engine.rl, kind, direction, impl=impl)
    x, state = inputs(), initial_state(kind, direction)
    for row, length in enumerate(LENGTHS):
        x[row, length:] = np.nan
    result = engine.place(layer)(
        engine.put(x), state=engine.put(state), lengths=LENGTHS
    )
    together = [engine.get(a) for a in leaves(result)]
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        first = like_rows(state, one)
        result = layer(engine.put(x[one, :length]), state=engine.put(first))
        alone = [engine.get(a) for a in leaves(result)]
        assert worst_error(together[0][one, :length], alone[0]) <= 1e-12
        assert not together[0][row, length:].any()
        for all_rows, single in zip(together[1:], alone[1:], strict=True):
            assert worst_error(all_rows[one], single) <= 1e-12


def like_rows(state, rows):
    """The given rows of every array of a state."""
    if isinstance(state, tuple):
        return tuple(like_rows(part, rows) for part in state)
    return state[rows]


@pytest.mark.parametrize(
    ("kind", "impl", "device"),
    [pytest.param(kind, "auto", "numpy") for kind in KINDS] + WAYS,
)
def test_padding_changes_no_gradient(kind, impl, device):
    engine = Engine(device)
    layer = recurrent(engine.rl, kind, impl=impl)
    x = inputs()
    for row, length in enumerate(LENGTHS):
        x[row, length:] = 0
    clean = engine.measure(layer, x, initial_state(kind), lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        x[row, length:] = np.nan
    layer = recurrent(engine.rl, kind, impl=impl)
    dirty = engine.measure(layer, x, initial_state(kind), lengths=LENGTHS)
    assert_close(dirty, clean, 0)


# ---------------------------------------------------------------- same training


def classifier(rl, **options):
    """Ids to one class, with everything on the way."""
    return rl.Sequential(
        rl.Embedding(9, 4, **options),
        rl.Bidirectional(rl.GRU(4, 3, **options)),
        rl.LayerNorm(6, **options),
        rl.LSTM(6, 5, return_sequences=False, **options),
        rl.Dense(5, 3, **options),
        seed=5,
    )


def tagger(rl, **options):
    """Ids to one class at every step."""
    return rl.Sequential(
        rl.Embedding(9, 4, **options),
        rl.RNN(4, 5, **options),
        rl.GRU(5, 4, reset_after=False, **options),
        rl.Dense(4, 3, **options),
        seed=6,
    )


def ragged_batches(steps):
    """Ten batches of five sequences of ids; a class for each one or for each step."""
    rng = np.random.default_rng(0)
    x, lengths = rng.integers(0, 9, (50, 6)), rng.integers(1, 7, 50)
    y = rng.integers(0, 3, (50, 6) if steps else 50)
    return Batches(x, y, lengths, batch_size=5, seed=1)


OPTIMIZERS = {
    "Adam": lambda rl, model: rl.Adam(model, lr=0.01),
    "SGD with momentum": lambda rl, model: rl.SGD(model, lr=0.1, momentum=0.9),
}
HISTORY = ("step_loss", "grad_norm", "loss", "val_loss")


def trained(engine, build, batches, optimizer, **options):
    """Weights and history after ``fit``, as NumPy arrays by name."""
    model = engine.place(build(engine.rl, dtype="float64"))
    batches = batches()
    history = engine.rl.fit(
        model,
        batches,
        optimizer=OPTIMIZERS[optimizer](engine.rl, model),
        validate=batches,
        progress=False,
        **options,
    )
    result = {k: engine.get(v) for k, v in model.state_dict().items()}
    return result | {k: np.array(getattr(history, k)) for k in HISTORY}


def assert_trains_alike(engine, build, batches, optimizer, **options):
    found, expected = (
        trained(e, build, batches, optimizer, **options) for e in (engine, NUMPY)
    )
    assert_close(found, expected, 1e-12)
    assert len(found["step_loss"]) == 10
    assert found["step_loss"][-1] != found["step_loss"][0]
    clip, norms = options["clip"], found["grad_norm"]
    assert (norms > clip).any() and (norms < clip).any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("build", "clip"), [(classifier, 1.2), (tagger, 0.2)])
def test_ten_steps_on_ragged_batches_agree(build, clip, optimizer, torch_engine):
    assert_trains_alike(
        torch_engine,
        build,
        lambda: ragged_batches(build is tagger),
        optimizer,
        loss=engine_loss("cross_entropy"),
        epochs=1,
        clip=clip,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ten_steps_of_truncated_bptt_agree(optimizer, torch_engine):
    ids = np.random.default_rng(2).integers(0, 9, 101)

    def build(rl, **options):
        return rl.Sequential(
            rl.Embedding(9, 4, **options),
            rl.LSTM(4, 5, **options),
            rl.Dense(5, 9, **options),
            seed=7,
        )

    assert_trains_alike(
        torch_engine,
        build,
        lambda: StreamBatches(ids, batch_size=2, steps=10),
        optimizer,
        loss=engine_loss("cross_entropy"),
        epochs=2,
        clip=0.2,
        stateful=True,
    )


def engine_loss(name):
    """The loss of that name of whichever engine the logits belong to."""

    def loss(logits, y, **options):
        rl = rnnlib.numpy if isinstance(logits, np.ndarray) else rnnlib.torch
        return getattr(rl, name)(logits, y, **options)

    return loss


# ---------------------------------------------------------------- torch.nn

MODULES = {
    "RNN-tanh": lambda **o: torch.nn.RNN(I, H, nonlinearity="tanh", **o),
    "RNN-relu": lambda **o: torch.nn.RNN(I, H, nonlinearity="relu", **o),
    "LSTM": lambda **o: torch.nn.LSTM(I, H, **o),
    "GRU": lambda **o: torch.nn.GRU(I, H, **o),
}


def reference(kind, both, dtype):
    """A ``torch.nn`` module with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODULES[kind](
            batch_first=True, bidirectional=both, dtype=getattr(torch, dtype)
        )


def run_reference(module, x, lengths):
    """Outputs (zeros past each length) and final states of a ``torch.nn`` module."""
    x = torch.from_numpy(x)
    rnn = torch.nn.utils.rnn
    if lengths is None:
        y, state = module(x)
    else:
        packed = rnn.pack_padded_sequence(
            x, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
        )
        packed, state = module(packed)
        y, _ = rnn.pad_packed_sequence(packed, batch_first=True, total_length=T)
    state = state if isinstance(state, tuple) else (state,)
    # (directions, B, H) for each of h, c -> our order: direction by direction
    return [y, *(s[d] for d in range(len(state[0])) for s in state)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("both", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("kind", NATIVE)
def test_layers_compute_what_torch_nn_computes(kind, both, lengths, dtype, engine):
    module = reference(kind, both, dtype)
    lengths = RAGGED[lengths]
    expected = run_reference(module, inputs(dtype), lengths)
    for impl in ("auto",) if engine.name == "numpy" else ("loop", "native"):
        direction = "both" if both else "forward"
        layer = recurrent(engine.rl, kind, direction, dtype=dtype, impl=impl)
        layer.load_state_dict(weights.from_torch(module))
        result = engine.place(layer)(engine.put(inputs(dtype)), lengths=lengths)
        for ours, theirs in zip(leaves(result), expected, strict=True):
            error = worst_error(engine.get(ours), theirs.detach().numpy())
            assert error <= TOLERANCE[dtype]


@pytest.mark.parametrize("kind", NATIVE)
def test_gradients_are_those_of_torch_nn(kind, engine):
    module = reference(kind, False, "float64")
    layer = recurrent(engine.rl, kind)
    layer.load_state_dict(weights.from_torch(module))
    ours = engine.measure(layer, inputs(), lengths=LENGTHS)
    outputs = run_reference(module, inputs(), LENGTHS)
    rng = np.random.default_rng(4)  # the weights that `measure` draws
    G = [torch.from_numpy(rng.standard_normal(tuple(o.shape))) for o in outputs]
    sum((o * g).sum() for o, g in zip(outputs, G, strict=True)).backward()
    theirs = {
        "dW_xh": module.weight_ih_l0.grad.T,
        "dW_hh": module.weight_hh_l0.grad.T,
        "db_h": module.bias_ih_l0.grad,
    }
    if kind == "GRU":
        theirs["db_hn"] = module.bias_hh_l0.grad[2 * H :]
    for name, gradient in theirs.items():
        assert worst_error(ours[name], gradient.numpy()) <= 1e-12
