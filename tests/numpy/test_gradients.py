"""No gradient is taken on trust: all are compared with central differences.

Every entry of every input, parameter and initial state is moved by itself, in float64.
The inputs are drawn once from fixed seeds; none puts a relu within a step of its kink.
"""

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import gradient_check, numerical_gradient
from tests.engines import KINDS, LENGTHS, B, I, T, initial_state, inputs, recurrent

RAGGED = {"full": None, "ragged": LENGTHS}


# ---------------------------------------------------------------- recurrent layers


@pytest.mark.parametrize("whole", [True, False], ids=["every-step", "last-step"])
@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_gradients(kind, direction, lengths, whole):
    layer = recurrent(rl, kind, direction, return_sequences=whole)
    state = initial_state(kind)
    gradient_check(layer, inputs(), state=state, lengths=RAGGED[lengths])


@pytest.mark.parametrize("direction", ["forward", "reverse", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_gradients_of_a_single_step(kind, direction):
    layer = recurrent(rl, kind, direction)
    gradient_check(layer, inputs(steps=1), state=initial_state(kind, direction))
    lengths = np.ones(B, dtype=int)
    gradient_check(layer, inputs(steps=1), lengths=lengths)


@pytest.mark.parametrize("whole", [True, False], ids=["every-step", "last-step"])
@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("kind", KINDS)
def test_bidirectional_gradients(kind, lengths, whole):
    layer = recurrent(rl, kind, "both", return_sequences=whole)
    state = initial_state(kind, "both")
    gradient_check(layer, inputs(), state=state, lengths=RAGGED[lengths])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_no_gradient(kind):
    layer = recurrent(rl, kind)
    y, _ = layer(inputs(), lengths=LENGTHS)
    dx = layer.backward(np.ones_like(y))
    for row, length in enumerate(LENGTHS):
        assert dx[row, :length].any()
        assert not dx[row, length:].any()


# ---------------------------------------------------------------- other layers


@pytest.mark.parametrize("shape", [(5,), (B, T)], ids=["ids-B", "ids-BT"])
def test_embedding_gradients(shape):
    ids = np.random.default_rng(0).integers(0, 4, shape)
    ids.flat[:2] = 3  # some rows are used twice, row 5 never
    layer = rl.Embedding(6, 3, seed=0, dtype="float64")
    gradient_check(layer, ids)
    assert not layer.grads["W"][5].any()


@pytest.mark.parametrize("shape", [(B, I), (B, T, I)], ids=["x-BI", "x-BTI"])
@pytest.mark.parametrize(
    "activation", [None, "tanh", "relu", "leaky_relu", "sigmoid", "softmax"]
)
def test_dense_gradients(activation, shape):
    x = np.random.default_rng(1).standard_normal(shape)
    gradient_check(rl.Dense(I, 4, activation, seed=0, dtype="float64"), x)


@pytest.mark.parametrize("shape", [(B, I), (B, T, I)], ids=["x-BI", "x-BTI"])
def test_layer_norm_gradients(shape):
    rng = np.random.default_rng(2)
    layer = rl.LayerNorm(I, dtype="float64")
    layer.load_state_dict({"g": rng.normal(1, 0.3, I), "b": rng.normal(0, 0.3, I)})
    gradient_check(layer, 3 + 2 * rng.standard_normal(shape))


class SameMask:
    """A model whose dropout draws the same mask in every call."""

    def __init__(self, model):
        self.model = model
        self.dropouts = [
            k for k in getattr(model, "layers", [model]) if isinstance(k, rl.Dropout)
        ]

    def __call__(self, x, **options):
        for k, layer in enumerate(self.dropouts):
            layer.rng = np.random.default_rng(k)
        return self.model(x, **options)

    def __getattr__(self, name):
        return getattr(self.model, name)


def test_dropout_gradients():
    layer = rl.Dropout(0.4)
    subject, x = SameMask(layer), inputs()
    gradient_check(subject, x)
    kept = subject(x) != 0
    assert 0 < kept.mean() < 1
    dx = layer.backward(np.ones_like(x))
    np.testing.assert_array_equal(dx, np.where(kept, 1 / 0.6, 0))


@pytest.mark.parametrize("lengths", RAGGED)
def test_gradients_through_a_stack(lengths):
    options = {"dtype": "float64"}
    model = rl.Sequential(
        rl.Embedding(7, 3, **options),
        rl.Dropout(0.3),
        rl.Bidirectional(rl.GRU(3, 2, **options)),
        rl.LayerNorm(4, **options),
        rl.LSTM(4, 3, reverse=True, **options),
        rl.RNN(3, 3, return_sequences=False, **options),
        rl.Dense(3, 4, "softmax", **options),
        seed=0,
    )
    ids = np.random.default_rng(0).integers(0, 7, (B, T))
    gradient_check(SameMask(model), ids, lengths=RAGGED[lengths])


# ---------------------------------------------------------------- losses

MASK = np.arange(T) < LENGTHS[:, None]


@pytest.mark.parametrize(
    ("shape", "mask"), [((B, 5), None), ((B, T, 5), None), ((B, T, 5), MASK)]
)
def test_cross_entropy_gradient(shape, mask):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, shape[:-1])
    gradient_check(
        lambda logits: rl.cross_entropy(logits, y, mask), rng.standard_normal(shape)
    )


@pytest.mark.parametrize(
    ("shape", "mask"), [((B, 2), None), ((B, T, 2), None), ((B, T, 2), MASK)]
)
def test_mse_gradient(shape, mask):
    y, prediction = np.random.default_rng(0).standard_normal((2, *shape))
    gradient_check(lambda p: rl.mse(p, y, mask), prediction)


@pytest.mark.parametrize("loss", [rl.cross_entropy, rl.mse])
def test_what_is_masked_does_not_count(loss):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((B, T, 5))
    y = rng.integers(0, 5, (B, T))
    y = y if loss is rl.cross_entropy else rng.standard_normal(a.shape)
    value, gradient = loss(a, y, MASK)
    short, _ = loss(a[MASK], y[MASK])
    assert value == pytest.approx(short, rel=1e-14)
    a[~MASK], y[~MASK] = np.nan, -100
    again, gradient_again = loss(a, y, MASK)
    assert again == value
    np.testing.assert_array_equal(gradient_again, gradient)
    assert not gradient[~MASK].any()


# ---------------------------------------------------------------- can the check fail?


class Wrong:
    """A layer whose backward pass has been tampered with."""

    def __init__(self, layer, tamper):
        self.layer, self.tamper = layer, tamper

    def __call__(self, *args, **options):
        return self.layer(*args, **options)

    def backward(self, dy, *dstate):
        dx = self.layer.backward(dy, *dstate)
        self.tamper(self.layer, dx)
        return dx

    def __getattr__(self, name):
        return getattr(self.layer, name)


def shift_weight(layer, dx):
    layer.grads["W_hh"][2, 5] += 1e-3


def shift_input(layer, dx):
    dx[0, 1, 2] += 1e-3


def shift_state(layer, dx):
    layer.dstate[1][1, 0] += 1e-3


def spoil(layer, dx):
    layer.grads["b_h"][3] = np.nan


@pytest.mark.parametrize(
    ("tamper", "where"),
    [
        (shift_weight, "W_hh[2, 5]"),
        (shift_input, "x[0, 1, 2]"),
        (shift_state, "state 1[1, 0]"),
        (spoil, "b_h[3]"),
    ],
)
def test_one_wrong_entry_is_found_and_named(tamper, where):
    layer = recurrent(rl, "LSTM")
    with pytest.raises(AssertionError) as error:
        gradient_check(Wrong(layer, tamper), inputs(), state=initial_state("LSTM"))
    message = str(error.value)
    assert message.startswith(f"gradient of {where}: backward gives ")
    analytic, numeric = (
        float(part.split(", ")[0].split()[-1])
        for part in message.split("backward gives ")[1].split(", central differences ")
    )
    if tamper is spoil:
        assert np.isnan(analytic)
    else:
        assert analytic - numeric == pytest.approx(1e-3, rel=1e-4)


def test_a_gradient_of_another_shape_is_found():
    with pytest.raises(
        AssertionError, match=r"input 0: expected shape \(3,\), got \(\)"
    ):
        gradient_check(lambda x: (float(x.sum()), 1.0), np.ones(3))


def test_float32_is_refused():
    layer = recurrent(rl, "GRU", dtype="float32")
    with pytest.raises(TypeError, match="expected x in float64, got float32"):
        gradient_check(layer, inputs("float32"))
    embedding = rl.Embedding(4, 2)
    with pytest.raises(TypeError, match="expected W in float64, got float32"):
        gradient_check(embedding, np.array([[0, 1]]))


def test_numerical_gradient_restores_what_it_moves():
    a = np.random.default_rng(0).standard_normal((2, 3))
    before = a.copy()
    gradient = numerical_gradient(lambda: float((a**3).sum()), a)
    np.testing.assert_array_equal(a, before)
    np.testing.assert_allclose(gradient, 3 * a**2, atol=1e-9)
