"""Attention: two independent formulas, and what lengths must not change."""

import numpy as np
import pytest
import torch

import rnnlib.numpy
from tests.conftest import exact_gpu
from tests.engines import LENGTHS, B, Engine, T, worst_error

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
RAGGED = {"full": None, "ragged": LENGTHS}
KINDS = {"dot": (5, 5), "scaled_dot": (5, 5), "additive": (3, 5)}
U = 2


@pytest.fixture(params=["torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def torch_engine(request, monkeypatch):
    if request.param == "cuda":
        exact_gpu(monkeypatch)
    return Engine(request.param)


def attention(rl, kind, dtype="float64", **options):
    """With a bias that is not zero."""
    layer = rl.Attention(*KINDS[kind], kind, seed=0, dtype=dtype, **options)
    state = layer.state_dict()
    if kind == "additive":
        bias = np.random.default_rng(1).normal(0, 0.5, tuple(state["b"].shape))
        state["b"] = bias.astype(dtype)
    layer.load_state_dict(state)
    return layer


def arrays(kind, dtype="float64", steps=T, queries=U):
    rng = np.random.default_rng(0)
    Q, K = KINDS[kind]
    query, keys = rng.standard_normal((B, queries, Q)), rng.standard_normal((B, T, K))
    return query.astype(dtype), keys[:, :steps].astype(dtype)


def measure(engine, layer, query, keys, lengths=None):
    """Outputs and all gradients of a random weighting of both outputs."""
    layer = engine.place(layer)
    query, keys = engine.put((query, keys), grad=True)
    context, weights = layer(query, keys, lengths)
    rng = np.random.default_rng(4)
    shapes = [tuple(a.shape) for a in (context, weights)]
    dtype = engine.get(context).dtype
    G = engine.put([rng.standard_normal(s).astype(dtype) for s in shapes])
    if engine.name == "numpy":
        dquery, dkeys = layer.backward(*G)
        grads = layer.grads
    else:
        ((context * G[0]).sum() + (weights * G[1]).sum()).backward()
        dquery, dkeys = query.grad, keys.grad
        grads = {name: p.grad for name, p in layer.named_parameters()}
    found = {"context": context, "weights": weights, "dquery": dquery, "dkeys": dkeys}
    found |= {f"d{name}": g for name, g in grads.items()}
    return {name: engine.get(a) for name, a in found.items()}


# ---------------------------------------------------------------- right values


def by_hand(layer, query, keys, lengths):
    """The definition, one query and one row at a time, in torch."""
    p = {k: torch.as_tensor(np.asarray(v)) for k, v in layer.state_dict().items()}
    query, keys = torch.from_numpy(query), torch.from_numpy(keys)
    contexts, weights = np.zeros((B, U, keys.shape[2])), np.zeros((B, U, T))
    for b in range(B):
        n = T if lengths is None else lengths[b]
        for u in range(U):
            q, k = query[b, u], keys[b, :n]
            if layer.kind == "dot":
                e = torch.stack([torch.dot(q, row) for row in k])
            elif layer.kind == "scaled_dot":
                e = torch.stack([torch.dot(q, row) for row in k]) / len(q) ** 0.5
            else:
                e = torch.stack([
                    torch.dot(torch.tanh(p["W_q"].T @ q + p["W_k"].T @ row + p["b"]),
                              p["v"])
                    for row in k
                ])  # fmt: skip
            a = torch.softmax(e, dim=0)
            weights[b, u, :n] = a
            contexts[b, u] = (a[:, None] * k).sum(dim=0)
    return contexts, weights


@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_definition(kind, lengths, engine):
    layer = engine.place(attention(engine.rl, kind))
    query, keys = arrays(kind)
    found = layer(*engine.put((query, keys)), lengths=RAGGED[lengths])
    expected = by_hand(attention(rnnlib.numpy, kind), query, keys, RAGGED[lengths])
    for ours, theirs in zip(found, expected, strict=True):
        assert worst_error(engine.get(ours), theirs) <= 1e-12


@pytest.mark.parametrize("lengths", RAGGED)
def test_scaled_dot_is_torch_s_scaled_dot_product_attention(lengths, engine):
    query, keys = arrays("scaled_dot")
    lengths = RAGGED[lengths]
    mask = None
    if lengths is not None:
        mask = torch.from_numpy(np.arange(T) < lengths[:, None])[:, None]
    q, k = (torch.from_numpy(a).requires_grad_() for a in (query, keys))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, k, mask)
    layer = engine.place(attention(engine.rl, "scaled_dot"))
    context, weights = layer(*engine.put((query, keys)), lengths=lengths)
    assert worst_error(engine.get(context), expected.detach().numpy()) <= 1e-12
    if engine.name == "numpy":
        dcontext = np.random.default_rng(1).standard_normal(context.shape)
        expected.backward(torch.from_numpy(dcontext))
        dquery, dkeys = layer.backward(dcontext)
        assert worst_error(dquery, q.grad.numpy()) <= 1e-12
        assert worst_error(dkeys, k.grad.numpy()) <= 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_distributions_with_exact_zeros(kind, engine):
    layer = engine.place(attention(engine.rl, kind, "float32"))
    _, weights = layer(*engine.put(arrays(kind, "float32")), lengths=LENGTHS)
    weights = engine.get(weights)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    for row, length in enumerate(LENGTHS):
        assert (weights[row, :, :length] > 0).all()
        assert (weights[row, :, length:] == 0).all()


def test_scores_of_a_thousand_do_not_overflow(engine):
    layer = engine.place(engine.rl.Attention(2, 2))
    query, keys = np.full((1, 1, 2), 1e3, "f4"), np.array([[[1, 1], [-1, -1]]], "f4")
    _, weights = layer(*engine.put((query, keys)))
    np.testing.assert_array_equal(engine.get(weights), [[[1, 0]]])


# ---------------------------------------------------------------- both engines


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("queries, steps", [(1, 1), (U, T)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_engines_agree(kind, queries, steps, lengths, dtype, torch_engine):
    lengths = None if lengths == "full" else np.minimum(LENGTHS, steps)
    query, keys = arrays(kind, dtype, steps, queries)
    found, expected = (
        measure(e, attention(e.rl, kind, dtype), query, keys, lengths)
        for e in (torch_engine, Engine("numpy"))
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == dtype
        assert worst_error(found[name], value) <= TOLERANCE[dtype], name


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("junk", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_junk_in_the_padding_reaches_nothing(kind, junk, engine):
    query, keys = arrays(kind)
    bad = keys.copy()
    for row, length in enumerate(LENGTHS):
        bad[row, length:] = junk
    clean, dirty = (
        measure(engine, attention(engine.rl, kind), query, k, LENGTHS)
        for k in (keys, bad)
    )
    for name, value in clean.items():
        np.testing.assert_array_equal(dirty[name], value, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind, engine):
    layer = engine.place(attention(engine.rl, kind))
    query, keys = arrays(kind)
    context, weights = map(
        engine.get, layer(*engine.put((query, keys)), lengths=LENGTHS)
    )
    for row, length in enumerate(LENGTHS):
        one = query[row : row + 1], keys[row : row + 1, :length]
        alone = [engine.get(a) for a in layer(*engine.put(one))]
        assert worst_error(context[row], alone[0][0]) <= 1e-12
        assert worst_error(weights[row, :, :length], alone[1][0]) <= 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_stay_as_they_are(kind, engine):
    query, keys = arrays(kind)
    before = query.copy(), keys.copy()
    measure(engine, attention(engine.rl, kind), query, keys, LENGTHS)
    np.testing.assert_array_equal(query, before[0])
    np.testing.assert_array_equal(keys, before[1])


# ---------------------------------------------------------------- parameters


def test_shapes_and_the_size_of_the_hidden_layer(engine):
    make = engine.rl.Attention
    assert not make(3, 3).state_dict()
    shapes = {k: tuple(v.shape) for k, v in make(2, 3, "additive").state_dict().items()}
    assert shapes == {"W_q": (2, 3), "W_k": (3, 3), "b": (3,), "v": (3,)}
    wide = make(2, 3, "additive", hidden_size=7)
    assert tuple(wide.state_dict()["W_k"].shape) == (3, 7)
    assert wide.shapes() == {k: tuple(v.shape) for k, v in wide.state_dict().items()}
