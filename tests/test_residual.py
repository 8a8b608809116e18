"""Residual sums: the definition, in both engines, in pieces, steps and with padding."""

import numpy as np
import pytest

import rnnlib.numpy
from tests.conftest import exact_gpu
from tests.engines import (
    KINDS,
    LENGTHS,
    B,
    Engine,
    H,
    T,
    assert_close,
    initial_state,
    leaves,
    worst_error,
)

NUMPY = Engine("numpy")
RAGGED = {"full": None, "ragged": LENGTHS}
X = np.random.default_rng(0).standard_normal((B, T, H))


@pytest.fixture(params=["torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def torch_engine(request, monkeypatch):
    if request.param == "cuda":
        exact_gpu(monkeypatch)
    return Engine(request.param)


def recurrent(rl, kind, **options):
    name, extra = KINDS[kind]
    options = {"seed": 0, "dtype": "float64", **extra, **options}
    return getattr(rl, name)(H, H, **options)


def deep(rl):
    """Residual around a layer, around a stack, and around a layer without a state."""
    options = {"dtype": "float64"}
    return rl.Sequential(
        rl.Residual(rl.GRU(H, H, **options)),
        rl.Residual(
            rl.Sequential(
                rl.LayerNorm(H, **options), rl.LSTM(H, H, **options), rl.Dropout(0.0)
            )
        ),
        rl.Residual(rl.Dense(H, H, "tanh", **options)),
        rl.Dense(H, 3, **options),
        seed=0,
    )


@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_definition(kind, lengths, engine):
    layer = engine.place(recurrent(engine.rl, kind))
    x, state = engine.put(X), engine.put(initial_state(kind))
    y, after = layer(x, state=state, lengths=RAGGED[lengths])
    found, same = engine.rl.Residual(layer)(x, state=state, lengths=RAGGED[lengths])
    valid = np.arange(T) < (LENGTHS if lengths == "ragged" else np.full(B, T))[:, None]
    expected = engine.get(y) + np.where(valid[..., None], X, 0)
    np.testing.assert_array_equal(engine.get(found), expected)
    for ours, theirs in zip(leaves(same), leaves(after), strict=True):
        np.testing.assert_array_equal(engine.get(ours), engine.get(theirs))


def test_the_definition_without_a_state(engine):
    layer = engine.place(engine.rl.Dense(H, H, "relu", seed=0, dtype="float64"))
    x = engine.put(X)
    found = engine.get(engine.rl.Residual(layer)(x))
    np.testing.assert_array_equal(found, X + engine.get(layer(x)))


@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_engines_agree(kind, lengths, torch_engine):
    found, expected = (
        e.measure(
            e.rl.Residual(recurrent(e.rl, kind)),
            X,
            initial_state(kind),
            lengths=RAGGED[lengths],
        )
        for e in (torch_engine, NUMPY)
    )
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("lengths", RAGGED)
def test_deep_networks_agree(lengths, torch_engine):
    found, expected = (
        e.measure(deep(e.rl), X, lengths=RAGGED[lengths]) for e in (torch_engine, NUMPY)
    )
    assert_close(found, expected, 1e-12)
    assert "d1.layer.1.W_hh" in found


def test_ten_steps_of_adam_agree(torch_engine):
    y = np.random.default_rng(1).integers(0, 3, (B, T))

    def trained(engine):
        net = engine.place(deep(engine.rl))
        history = engine.rl.fit(
            net,
            [(X, y, LENGTHS)],
            loss=engine.rl.cross_entropy,
            optimizer=engine.rl.Adam(net, lr=0.01),
            epochs=10,
            progress=False,
        )
        result = {k: engine.get(v) for k, v in net.state_dict().items()}
        return result | {"loss": np.array(history.loss)}

    assert_close(trained(torch_engine), trained(NUMPY), 1e-12)


def test_steps_and_pieces_equal_the_whole_pass(engine):
    net, x = engine.place(deep(engine.rl)), engine.put(X)
    whole, last = net(x, return_state=True)
    first, state = net(x[:, :1], return_state=True)
    ys = [engine.get(first)[:, 0]]
    for t in range(1, T):
        y, state = net.step(x[:, t], state)
        ys.append(engine.get(y))
    assert worst_error(np.stack(ys, axis=1), engine.get(whole)) <= 1e-12
    for a, b in zip(leaves(state), leaves(last), strict=True):
        assert (a is None) == (b is None)
        assert a is None or worst_error(engine.get(a), engine.get(b)) <= 1e-12


@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_junk_in_the_padding_reaches_nothing(junk, engine):
    bad = X.copy()
    for row, length in enumerate(LENGTHS):
        bad[row, length:] = junk
    clean, dirty = (
        engine.measure(deep(engine.rl), x, lengths=LENGTHS) for x in (X, bad)
    )
    for name, value in clean.items():
        np.testing.assert_array_equal(dirty[name], value, err_msg=name)


def test_summary_counts_what_is_inside(engine):
    text = deep(engine.rl).summary()
    rows = [line for line in text.splitlines() if "Residual" in line]
    gru, stack, dense = 3 * H * (2 * H + 1) + H, 2 * H + 4 * H * (2 * H + 1), H * H + H
    for row, count in zip(rows, (gru, stack, dense), strict=True):
        assert [cell.strip() for cell in row.split("│")[2:4]] == [
            "(None, None, 4)",
            f"{count:,}",
        ]
    total = sum(np.prod(v.shape) for v in deep(rnnlib.numpy).state_dict().values())
    assert f"Total params: {total:,} " in text


def test_a_stack_that_begins_with_a_norm_has_a_time_axis(engine):
    rl = engine.rl
    lines = rl.Sequential(rl.LayerNorm(3), rl.GRU(3, 2)).summary().splitlines()
    shapes = [line.split("│")[2].strip() for line in lines if line.startswith("│")]
    assert shapes == ["(None, None, 3)", "(None, None, 2)"]


def test_the_masks_of_a_dropout_inside_are_resumed(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    rl = rnnlib.numpy

    def start():
        inner = rl.Sequential(rl.Dropout(0.5), rl.GRU(H, H))
        return rl.Sequential(rl.Residual(inner), rl.Dense(H, 3), seed=0)

    def fit(net, epochs, **options):
        y = np.random.default_rng(1).integers(0, 3, (B, T))
        rl.fit(
            net,
            [(X.astype("float32"), y)],
            loss=rl.cross_entropy,
            optimizer=rl.Adam(net),
            epochs=epochs,
            progress=False,
            **options,
        )
        return net.state_dict()

    expected = fit(start(), 4)
    fit(start(), 2, checkpoint=tmp_path / "run")
    found = fit(start(), 4, checkpoint=tmp_path / "run", resume=True)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
