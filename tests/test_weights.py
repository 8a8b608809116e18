"""Weights from torch and Keras compute here what they computed there.

What they computed there is written out below from the formulas in their documentation,
gate by gate and step by step, with nothing shared with `rnnlib`. Where Keras itself is
installed, it is asked too. ONNX is in test_weights_onnx.py.
"""

import warnings

import numpy as np
import pytest
import torch

import rnnlib.numpy as rl
from rnnlib import weights
from tests.engines import LENGTHS, B, H, I, T, inputs, leaves, worst_error


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def close(found, expected, tolerance=1e-12):
    assert worst_error(found, expected) <= tolerance


def load(layer, state):
    layer.load_state_dict(state)
    return layer


# ---------------------------------------------------------------- initial values


@pytest.mark.parametrize("kind", weights.GATES)
def test_initial_values_are_glorot_orthogonal_and_zero(kind):
    gates = weights.GATES[kind]
    values = weights.initial(kind, np.random.default_rng(0), 30, 40)
    assert {k: v.shape for k, v in values.items()} == weights.shapes(kind, 30, 40)
    limit = np.sqrt(6 / 70)
    for W in np.split(values["W_xh"], len(gates), axis=1):
        assert 0.98 * limit < np.abs(W).max() < limit
        assert W.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    if "W_hh" in values:
        for W in np.split(values["W_hh"], len(gates), axis=1):
            close(W.T @ W, np.eye(40))
    b = dict(zip(gates, np.split(values["b_h"], len(gates)), strict=True))
    for gate, bias in b.items():
        assert (bias == ("LSTM" in kind and gate == "f")).all()


def test_orthogonal_matrices_have_no_preferred_sign():
    """QR alone would bias the diagonal; the sign correction takes that out."""
    rng = np.random.default_rng(0)
    draws = np.stack([weights.orthogonal(rng, 3) for _ in range(2000)])
    assert np.abs(draws.mean(axis=0)).max() < 0.05
    np.testing.assert_allclose((draws**2).mean(axis=0), 1 / 3, atol=0.03)


@pytest.mark.parametrize("kind", weights.GATES)
def test_two_directions_start_from_different_weights(kind, engine):
    """The forward layer keeps its values; the backward one draws the next."""
    alone = getattr(engine.rl, kind)(I, H, seed=5)
    both = engine.rl.Bidirectional(getattr(engine.rl, kind)(I, H, seed=5))
    rng = np.random.default_rng(5)
    first, second = (weights.initial(kind, rng, I, H) for _ in range(2))
    state = both.state_dict()
    for name, value in alone.state_dict().items():
        assert (state[f"forward.{name}"] == value).all()
        for part, drawn in (("forward", first), ("backward", second)):
            found = engine.get(state[f"{part}.{name}"])
            np.testing.assert_array_equal(found, drawn[name].astype("float32"))
    assert (first["W_xh"] != second["W_xh"]).all()


# ---------------------------------------------------------------- torch
# Recurrent modules as a whole are compared in test_parity.py.


@pytest.mark.parametrize("both", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_stack_comes_over_layer_by_layer(name, both):
    module = getattr(torch.nn, name)(
        I, H, 3, bias=False, batch_first=True, bidirectional=both, dtype=torch.float64
    )
    x = inputs()
    expected, _ = module(torch.from_numpy(x))
    for k in range(3):
        layer = getattr(rl, name)(x.shape[2], H, dtype="float64")
        layer = rl.Bidirectional(layer) if both else layer
        x, _ = load(layer, weights.from_torch(module, layer=k))(x)
    close(x, expected.detach().numpy())


@pytest.mark.parametrize("bias", [True, False])
def test_layers_without_recurrence_come_from_torch(bias):
    x = inputs()
    double = {"dtype": torch.float64}
    linear = torch.nn.Linear(I, 5, bias=bias, **double)
    norm = torch.nn.LayerNorm(I, bias=bias, **double)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
    for module, layer in [
        (linear, rl.Dense(I, 5, dtype="float64")),
        (norm, rl.LayerNorm(I, dtype="float64")),
    ]:
        expected = module(torch.from_numpy(x)).detach().numpy()
        close(load(layer, weights.from_torch(module))(x), expected)
    table = torch.nn.Embedding(6, 2, **double)
    ids = np.array([[5, 0, 5]])
    layer = load(rl.Embedding(6, 2, dtype="float64"), weights.from_torch(table))
    close(layer(ids), table(torch.from_numpy(ids)).detach().numpy())


def test_the_weights_of_a_module_are_copied():
    module = torch.nn.GRU(I, H)
    state = weights.from_torch(module)
    before = {k: v.copy() for k, v in state.items()}
    with torch.no_grad():
        for p in module.parameters():
            p += 1
    for name, value in state.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    ("module", "layer", "error", "message"),
    [
        (torch.nn.LSTM(3, 4, proj_size=2), None, ValueError, "no projection"),
        (
            torch.nn.Conv1d(3, 4, 1),
            None,
            TypeError,
            "no rnnlib layer computes .*Conv1d",
        ),
        (torch.nn.GRU(3, 4, 2), None, ValueError, "GRU has 2 layers; say which"),
        (torch.nn.GRU(3, 4, 2), 2, ValueError, r"expected layer in \[0, 2\), got 2"),
        (
            torch.nn.LayerNorm(3, elementwise_affine=False),
            None,
            ValueError,
            "no weights",
        ),
    ],
)
def test_what_cannot_come_from_torch(module, layer, error, message):
    with pytest.raises(error, match=f"from_torch: .*{message}"):
        weights.from_torch(module, layer=layer)


# ---------------------------------------------------------------- Keras


class KerasLayer:
    """A built Keras layer: its class name, its weights, and its formulas.

    ``__call__`` is one step after another as in ``keras.layers``: gates i f c o and
    z r h; ``use_bias`` and, for a GRU, ``reset_after``.
    """

    def __init__(self, units=H, use_bias=True, reset_after=True, go_backwards=False):
        self.units, self.go_backwards = units, go_backwards
        rng = np.random.default_rng(3 + go_backwards)
        width = self.gates * units
        bias = (width,)
        if self.gates == 3:
            self.reset_after = reset_after
            bias = (2, width) if reset_after else (width,)
        shapes = [(I, width), (units, width), *([bias] * use_bias)]
        self.arrays = [rng.standard_normal(shape) for shape in shapes]
        self.bias = self.arrays[2] if use_bias else np.zeros(bias)

    def get_weights(self):
        return self.arrays

    def __call__(self, x):
        h = c = np.zeros((len(x), self.units))
        outputs = []
        for t in range(x.shape[1])[:: -1 if self.go_backwards else 1]:
            h, c = self.cell(x[:, t], h, c)
            outputs.append(h)
        return np.stack(outputs, axis=1), h

    def kernels(self):
        return (np.split(a, self.gates, axis=1) for a in self.arrays[:2])


class SimpleRNN(KerasLayer):
    gates = 1

    def cell(self, x, h, c):
        kernel, recurrent_kernel = self.arrays[:2]
        return np.tanh(x @ kernel + self.bias + h @ recurrent_kernel), c


class LSTM(KerasLayer):
    gates = 4

    def cell(self, x, h, c):
        (k_i, k_f, k_c, k_o), (r_i, r_f, r_c, r_o) = self.kernels()
        b_i, b_f, b_c, b_o = np.split(self.bias, 4)
        i = sigmoid(x @ k_i + b_i + h @ r_i)
        f = sigmoid(x @ k_f + b_f + h @ r_f)
        c = f * c + i * np.tanh(x @ k_c + b_c + h @ r_c)
        o = sigmoid(x @ k_o + b_o + h @ r_o)
        return o * np.tanh(c), c


class GRU(KerasLayer):
    gates = 3

    def cell(self, x, h, c):
        (k_z, k_r, k_h), (r_z, r_r, r_h) = self.kernels()
        if self.reset_after:
            (b_z, b_r, b_h), (rb_z, rb_r, rb_h) = (np.split(b, 3) for b in self.bias)
        else:
            b_z, b_r, b_h = np.split(self.bias, 3)
            rb_z = rb_r = 0
        z = sigmoid(x @ k_z + b_z + h @ r_z + rb_z)
        r = sigmoid(x @ k_r + b_r + h @ r_r + rb_r)
        if self.reset_after:
            hh = np.tanh(x @ k_h + b_h + r * (h @ r_h + rb_h))
        else:
            hh = np.tanh(x @ k_h + b_h + (r * h) @ r_h)
        return z * h + (1 - z) * hh, c


class Bidirectional:
    def __init__(self, forward_layer, backward_layer):
        self.forward_layer, self.backward_layer = forward_layer, backward_layer

    def __call__(self, x):
        (y_f, h_f), (y_b, h_b) = self.forward_layer(x), self.backward_layer(x)
        y = np.concatenate([y_f, y_b[:, ::-1]], axis=-1)
        return y, np.concatenate([h_f, h_b], axis=-1)


class LayerNormalization:
    def __init__(self, scale, center):
        self.scale, self.center = scale, center

    def get_weights(self):
        return [np.full(I, 2.0)] * self.scale + [np.full(I, 3.0)] * self.center


class Dense:
    def __init__(self, use_bias):
        self.arrays = [np.arange(6.0).reshape(3, 2), np.array([7.0, 8.0])][
            : 1 + use_bias
        ]

    def get_weights(self):
        return self.arrays


KERAS = {
    "SimpleRNN": (SimpleRNN, {}),
    "LSTM": (LSTM, {}),
    "GRU": (GRU, {"reset_after": True}),
    "GRU-reset-before": (GRU, {"reset_after": False}),
}


def ours(name, **options):
    """Our layer for one of the KERAS ones."""
    kind = {"SimpleRNN": "RNN", "LSTM": "LSTM"}.get(name, "GRU")
    if kind == "GRU":
        options["reset_after"] = KERAS[name][1]["reset_after"]
    return getattr(rl, kind)(I, H, dtype="float64", **options)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("name", KERAS)
def test_recurrent_layers_come_from_keras(name, use_bias, backwards):
    build, options = KERAS[name]
    keras = build(use_bias=use_bias, go_backwards=backwards, **options)
    y_keras, h_keras = keras(inputs())
    y, _ = load(ours(name, reverse=backwards), weights.from_keras(keras))(inputs())
    close(y[:, ::-1] if backwards else y, y_keras)
    last = ours(name, reverse=backwards, return_sequences=False)
    h, _ = load(last, weights.from_keras(keras))(inputs())
    close(h, h_keras)


@pytest.mark.parametrize("name", KERAS)
def test_bidirectional_layers_come_from_keras(name):
    build, options = KERAS[name]
    keras = Bidirectional(build(**options), build(go_backwards=True, **options))
    y_keras, h_keras = keras(inputs())
    for whole, expected in ((True, y_keras), (False, h_keras)):
        layer = rl.Bidirectional(ours(name, return_sequences=whole))
        close(load(layer, weights.from_keras(keras))(inputs())[0], expected)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_layer_normalization_comes_from_keras(scale, center):
    if not scale and not center:
        with pytest.raises(ValueError, match="has no weights"):
            weights.from_keras(LayerNormalization(scale, center))
        return
    state = weights.from_keras(LayerNormalization(scale, center))
    np.testing.assert_array_equal(state["g"], np.full(I, 2.0 if scale else 1.0))
    np.testing.assert_array_equal(state["b"], np.full(I, 3.0 if center else 0.0))


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_comes_from_keras(use_bias):
    x = np.eye(3)
    keras = Dense(use_bias)
    y = load(rl.Dense(3, 2, dtype="float64"), weights.from_keras(keras))(x)
    close(y, keras.arrays[0] + (keras.arrays[1] if use_bias else 0))


def test_what_cannot_come_from_keras():
    with pytest.raises(TypeError, match="no rnnlib layer computes Keras's str"):
        weights.from_keras("LSTM")
    unbuilt = LSTM()
    unbuilt.arrays = []
    with pytest.raises(ValueError, match="from_keras: LSTM has no weights yet: build"):
        weights.from_keras(unbuilt)


@pytest.fixture(scope="module")
def keras():
    """Keras 3 itself, computing with torch."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("KERAS_BACKEND", "torch")
        module = pytest.importorskip("keras", reason="Keras is not installed")
        if int(module.__version__.split(".")[0]) < 3:
            pytest.skip(f"Keras {module.__version__} is older than 3")
        yield module


def from_keras_itself(keras, layer, x):
    """A Keras layer with random weights, biases included, and its float32 output."""
    layer.build(x.shape)
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.get_weights()])
    return layer, keras.ops.convert_to_numpy(layer(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("direction", ["forwards", "backwards", "both"])
@pytest.mark.parametrize("name", KERAS)
def test_layers_compute_what_keras_itself_computes(name, direction, use_bias, keras):
    build, options = KERAS[name]
    theirs = getattr(keras.layers, build.__name__)(
        H,
        return_sequences=True,
        use_bias=use_bias,
        go_backwards=direction == "backwards",
        **options,
    )
    layer = ours(name, reverse=direction == "backwards")
    if direction == "both":
        theirs = keras.layers.Bidirectional(theirs)
        layer = rl.Bidirectional(layer)
    theirs, expected = from_keras_itself(keras, theirs, inputs())
    y, _ = load(layer, weights.from_keras(theirs))(inputs())
    close(y[:, ::-1] if direction == "backwards" else y, expected, 1e-5)
    if direction != "both":  # and our transcription of its formulas is right
        stub = build(use_bias=use_bias, go_backwards=theirs.go_backwards, **options)
        stub.arrays = theirs.get_weights()
        stub.bias = stub.arrays[2] if use_bias else np.zeros_like(stub.bias)
        close(stub(inputs())[0], expected, 1e-5)


@pytest.mark.filterwarnings("ignore")
def test_other_layers_compute_what_keras_itself_computes(keras):
    kl, x = keras.layers, inputs()
    for theirs, layer in [
        (kl.Dense(5), rl.Dense(I, 5, dtype="float64")),
        (
            kl.LayerNormalization(),
            rl.LayerNorm(I, eps=1e-3, dtype="float64"),
        ),
    ]:
        theirs, expected = from_keras_itself(keras, theirs, x)
        close(load(layer, weights.from_keras(theirs))(x), expected, 1e-5)
    ids = np.array([[5, 0, 5]])
    theirs, expected = from_keras_itself(keras, kl.Embedding(6, 2), ids)
    layer = rl.Embedding(6, 2, dtype="float64")
    close(load(layer, weights.from_keras(theirs))(ids), expected, 1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("both", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("name", KERAS)
def test_masks_and_final_states_are_those_of_keras_itself(name, both, keras):
    build, options = KERAS[name]
    theirs = getattr(keras.layers, build.__name__)(
        H, return_sequences=True, zero_output_for_mask=True, **options
    )
    theirs = keras.layers.Bidirectional(theirs) if both else theirs
    theirs, _ = from_keras_itself(keras, theirs, inputs())
    valid = np.arange(T) < LENGTHS[:, None]
    expected = keras.ops.convert_to_numpy(theirs(inputs(), mask=valid))
    layer = rl.Bidirectional(ours(name)) if both else ours(name)
    y, state = load(layer, weights.from_keras(theirs))(inputs(), lengths=LENGTHS)
    close(y, expected, 1e-5)
    for part in (theirs.forward_layer, theirs.backward_layer) if both else (theirs,):
        part.return_sequences, part.return_state = False, True
    if both:
        theirs.return_sequences, theirs.return_state = False, True
    _, *states = theirs(inputs(), mask=valid)
    close(
        np.stack(leaves(state)),
        np.stack([keras.ops.convert_to_numpy(s) for s in states]),
        1e-5,
    )


@pytest.mark.filterwarnings("ignore")
def test_a_whole_model_computes_what_keras_itself_computes(keras):
    kl, rng = keras.layers, np.random.default_rng(0)
    theirs = keras.Sequential([kl.Embedding(9, I, mask_zero=True), kl.LSTM(H)])
    theirs.add(kl.Dense(5))
    theirs.build((None, T))
    theirs.set_weights([rng.normal(0, 0.5, w.shape) for w in theirs.get_weights()])
    model = rl.Sequential(
        rl.Embedding(9, I), rl.LSTM(I, H, return_sequences=False), rl.Dense(H, 5)
    )
    state = {
        f"{k}.{name}": value
        for k, layer in enumerate(theirs.layers)
        for name, value in weights.from_keras(layer).items()
    }
    ids = rng.integers(1, 9, (B, T))
    ids[np.arange(T) >= LENGTHS[:, None]] = 0
    expected = keras.ops.convert_to_numpy(theirs(ids))
    close(load(model, state)(ids, lengths=LENGTHS), expected, 1e-5)
    assert theirs.count_params() == sum(p.size for p in model.params.values())


@pytest.mark.filterwarnings("ignore")
def test_what_keras_itself_starts_from(keras):
    """Glorot and orthogonal over all gates at once; ours go gate by gate."""
    layer = keras.layers.LSTM(40)
    layer.build((1, T, 30))
    W_xh, W_hh, b_h = layer.get_weights()
    limit = np.sqrt(6 / (30 + 4 * 40))
    assert 0.98 * limit < np.abs(W_xh).max() <= limit * 1.0001
    close(W_hh @ W_hh.T, np.eye(40), 1e-5)
    assert np.linalg.svd(W_hh[:, :40], compute_uv=False).min() < 0.5
    np.testing.assert_array_equal(b_h, np.repeat([0, 1, 0, 0], 40))


# ---------------------------------------------------------------- state dicts


def test_a_state_dict_that_does_not_fit_names_every_key(engine):
    layer = engine.rl.GRU(I, H)
    state = {k: engine.get(v) for k, v in layer.state_dict().items()}
    state["W_xh"] = state["W_xh"].T
    state["W_hx"] = state.pop("W_hh")
    with pytest.raises(ValueError, match=r"GRU\(3, 4\): state dict does not fit") as e:
        layer.load_state_dict(state)
    for problem in (
        "missing W_hh (4, 12)",
        "unknown W_hx",
        "W_xh: expected (3, 12), got (12, 3)",
    ):
        assert problem in str(e.value)


@pytest.mark.parametrize(
    "name, found", [("activation", "relu"), ("recurrent_activation", "hard_sigmoid")]
)
def test_a_keras_layer_that_computes_something_else_is_refused(name, found):
    layer = ours_as_keras = KERAS["LSTM"][0](I, H)
    setattr(layer, name, found)
    with pytest.raises(ValueError, match=f"LSTM with {name}='{found}'; ours has"):
        weights.from_keras(ours_as_keras)
    both = Bidirectional(KERAS["LSTM"][0](I, H), KERAS["LSTM"][0](I, H))
    both.merge_mode = "sum"
    with pytest.raises(ValueError, match="merge_mode='sum'; ours has 'concat'"):
        weights.from_keras(both)
