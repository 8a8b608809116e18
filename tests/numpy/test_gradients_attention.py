"""Gradients of what is made of layers: attention, encoder-decoder, residual sums."""

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.checks import gradient_check
from rnnlib.numpy import attention as functions
from tests.engines import (
    ENCODER_DECODERS,
    KINDS,
    LENGTHS,
    B,
    H,
    I,
    T,
    initial_state,
    inputs,
)

RAGGED = {"full": None, "ragged": LENGTHS}
F64 = {"dtype": "float64"}


# ---------------------------------------------------------------- attention


def attention(kind, Q=5, K=5):
    layer = rl.Attention(Q, K, kind, seed=0, **F64)
    state = layer.state_dict()
    if kind == "additive":
        state["b"] += np.random.default_rng(1).normal(0, 0.5, K)
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize(
    "kind, Q", [("dot", 5), ("scaled_dot", 5), ("additive", 5), ("additive", 2)]
)
def test_attention_gradients(kind, Q, queries, steps, lengths):
    rng = np.random.default_rng(0)
    query, keys = rng.standard_normal((B, queries, Q)), rng.standard_normal((B, T, 5))
    lengths = None if lengths == "full" else np.minimum(LENGTHS, steps)
    gradient_check(attention(kind, Q), query, keys[:, :steps].copy(), lengths=lengths)


@pytest.mark.parametrize("kind", ["dot", "scaled_dot", "additive"])
def test_a_context_alone_has_a_gradient_too(kind):
    """``backward(dcontext)``, without a gradient of the weights."""
    rng = np.random.default_rng(0)
    query, keys = rng.standard_normal((B, 2, 5)), rng.standard_normal((B, T, 5))
    dcontext, layer = rng.standard_normal((B, 2, 5)), attention(kind)

    def value(query, keys):
        context, _ = layer(query, keys, LENGTHS)
        return float((context * dcontext).sum()), layer.backward(dcontext)

    gradient_check(value, query, keys)


@pytest.mark.parametrize("kind", ["dot", "scaled_dot", "additive"])
def test_padding_gets_no_gradient_from_attention(kind):
    rng = np.random.default_rng(0)
    layer, keys = attention(kind), rng.standard_normal((B, T, 5))
    query = rng.standard_normal((B, 2, 5))
    context, weights = layer(query, keys, LENGTHS)
    _, dkeys = layer.backward(np.ones_like(context), rng.standard_normal(weights.shape))
    for row, length in enumerate(LENGTHS):
        assert dkeys[row, :length].any()
        assert not dkeys[row, length:].any()


@pytest.mark.parametrize("name, sizes", [
    ("dot", []), ("additive", [(2, 4), (5, 4), (4,), (4,)]),
])  # fmt: skip
def test_gradients_of_the_scores_alone(name, sizes):
    rng = np.random.default_rng(0)
    Q = 2 if sizes else 5
    arrays = [rng.standard_normal(s) for s in [(B, 3, Q), (B, T, 5), *sizes]]
    dscores = rng.standard_normal((B, 3, T))
    forward = getattr(functions, f"{name}_forward")
    backward = getattr(functions, f"{name}_backward")

    def value(*arrays):
        scores, cache = forward(*arrays)
        *d, grads = backward(dscores, cache)
        return float((scores * dscores).sum()), [*d, *grads.values()]

    gradient_check(value, *arrays)


def test_gradients_of_the_weighted_mean_alone():
    rng = np.random.default_rng(0)
    scores, keys = rng.standard_normal((B, 3, T)), rng.standard_normal((B, T, 5))
    dcontext, dweights = rng.standard_normal((B, 3, 5)), rng.standard_normal((B, 3, T))
    valid = np.arange(T) < LENGTHS[:, None]

    def value(scores, keys):
        context, weights = functions.attend_forward(scores, keys, valid)
        value = float((context * dcontext).sum() + (weights * dweights).sum())
        return value, functions.attend_backward(dcontext, dweights, keys, weights)

    gradient_check(value, scores, keys)


# ---------------------------------------------------------------- encoder-decoder


SHALLOW = [name for name in ENCODER_DECODERS if name.endswith("1")]
DEEP = [name for name in ENCODER_DECODERS if name.endswith("2")]
LENGTH_PAIR = (np.array([2, 3]), np.array([4, 1]))


def pair(steps=3, targets=4):
    rng = np.random.default_rng(0)
    return rng.integers(0, 5, (2, steps)), rng.integers(0, 4, (2, targets))


@pytest.mark.parametrize("lengths", [None, LENGTH_PAIR], ids=RAGGED)
@pytest.mark.parametrize("name", SHALLOW)
def test_encoder_decoder_gradients(name, lengths):
    model = rl.EncoderDecoder(5, 4, 2, 4, seed=0, **ENCODER_DECODERS[name], **F64)
    gradient_check(model, pair(), lengths=lengths)


@pytest.mark.parametrize("name", DEEP)
def test_deep_encoder_decoder_gradients(name):
    model = rl.EncoderDecoder(5, 4, 2, 2, seed=0, **ENCODER_DECODERS[name], **F64)
    gradient_check(model, pair(), lengths=LENGTH_PAIR)


@pytest.mark.parametrize("steps, targets", [(1, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize("name", [name for name in DEEP if "both" in name])
def test_encoder_decoder_gradients_of_a_single_step(name, steps, targets):
    model = rl.EncoderDecoder(5, 4, 2, 2, seed=0, **ENCODER_DECODERS[name], **F64)
    gradient_check(model, pair(steps, targets))


def test_the_encoder_gets_a_gradient_from_the_state_and_from_its_outputs():
    """Cut the one or the other: the check notices both."""
    model = rl.EncoderDecoder(5, 4, 2, 4, attention="dot", seed=0, **F64)
    backward = model.encoder.backward
    for keep in ((0, 1), (1, 0)):

        def cut(dy, dstate, keep=keep):
            dstate = [None if d is None else d * keep[1] for d in dstate]
            return backward(dy * keep[0], dstate)

        model.encoder.backward = cut
        with pytest.raises(AssertionError, match="gradient of encoder"):
            gradient_check(model, pair())
    model.encoder.backward = backward
    gradient_check(model, pair())


class SameMasks:
    """A model whose dropout draws the same masks in every call."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x, **options):
        self.model.reset_masks()
        return self.model(x, **options)

    def __getattr__(self, name):
        return getattr(self.model, name)


def test_encoder_decoder_gradients_with_dropout():
    model = rl.EncoderDecoder(
        5, 4, 3, 4, attention="dot", layers=2, dropout=0.4, seed=0, **F64
    )
    parts = [*model.encoder.layers, *model.decoder.layers, *model._parts.values()]
    dropouts = [p for p in parts if isinstance(p, rl.Dropout)]
    assert len(dropouts) == 5  # two layers each, and before the scores

    def reset_masks():
        for k, layer in enumerate(dropouts):
            layer.rng = np.random.default_rng(k)

    model.reset_masks = reset_masks
    gradient_check(SameMasks(model), pair(), lengths=LENGTH_PAIR)


# ---------------------------------------------------------------- residual, Sequential


@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("kind", KINDS)
def test_residual_gradients_around_a_recurrent_layer(kind, direction, lengths):
    name, extra = KINDS[kind]
    options = {"reverse": direction == "reverse", "seed": 0, **extra, **F64}
    layer = rl.Residual(getattr(rl, name)(H, H, **options))
    x = np.random.default_rng(3).standard_normal((B, T, H))
    gradient_check(layer, x, state=initial_state(kind), lengths=RAGGED[lengths])


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("lengths", RAGGED)
def test_residual_gradients_around_a_stack(steps, lengths):
    stack = rl.Sequential(
        rl.LayerNorm(4, **F64),
        rl.Bidirectional(rl.GRU(4, 2, **F64)),
        rl.LSTM(4, 3, **F64),
        rl.Dense(3, 4, **F64),
        seed=0,
    )
    rng = np.random.default_rng(0)

    def rows(n):
        return rng.standard_normal((B, n))

    state = [None, (rows(2), rows(2)), (rows(3), rows(3)), None]
    lengths = None if lengths == "full" else np.minimum(LENGTHS, steps)
    x = rng.standard_normal((B, steps, 4))
    gradient_check(rl.Residual(stack), x, state=state, lengths=lengths)


@pytest.mark.parametrize("shape", [(B, 4), (B, T, 4)])
def test_residual_gradients_without_a_state(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    gradient_check(rl.Residual(rl.Dense(4, 4, "tanh", seed=0, **F64)), x)
    inner = rl.Sequential(rl.LayerNorm(4, **F64), rl.Dense(4, 4, seed=0, **F64))
    gradient_check(rl.Residual(inner), x)


@pytest.mark.parametrize("lengths", RAGGED)
def test_gradients_of_a_deep_residual_network(lengths):
    model = rl.Sequential(
        rl.Embedding(7, 4, **F64),
        rl.Residual(rl.GRU(4, 4, **F64)),
        rl.Residual(rl.Sequential(rl.LayerNorm(4, **F64), rl.LSTM(4, 4, **F64))),
        rl.Residual(rl.Dense(4, 4, "relu", **F64)),
        rl.RNN(4, 3, return_sequences=False, **F64),
        seed=0,
    )
    ids = np.random.default_rng(0).integers(0, 7, (B, T))
    gradient_check(model, ids, lengths=RAGGED[lengths])


@pytest.mark.parametrize("lengths", RAGGED)
def test_gradients_of_the_states_of_a_sequential(lengths):
    """Into the returned states, out of the initial ones, through all layers."""
    model = rl.Sequential(
        rl.Dense(I, 3, **F64), rl.LSTM(3, 4, **F64), rl.GRU(4, 4, **F64), seed=0
    )
    state = [None, initial_state("LSTM"), initial_state("GRU")]
    gradient_check(
        model, inputs(), state=state, lengths=RAGGED[lengths], return_state=True
    )
