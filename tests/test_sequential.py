"""A stream may be cut anywhere: steps and pieces give what the whole pass gives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rnnlib
from tests.engines import (
    KINDS,
    B,
    Engine,
    H,
    I,
    T,
    inputs,
    leaves,
    recurrent,
    worst_error,
)

STATELESS = {
    "ids": lambda rl: (rl.Embedding(7, 3, dtype="float64"),),
    "numbers": lambda rl: (rl.Dense(3, 3, "tanh", dtype="float64"),),
}
IDS = np.random.default_rng(0).integers(0, 7, (B, T))
X = {"ids": IDS, "numbers": inputs()}


def model(rl, first="numbers"):
    """Every kind of recurrent layer that reads forwards, one after another."""
    options = {"dtype": "float64"}
    return rl.Sequential(
        *STATELESS[first](rl),
        rl.RNN(3, 4, "leaky_relu", **options),
        rl.LSTM(4, 5, **options),
        rl.LayerNorm(5, **options),
        rl.GRU(5, 4, **options),
        rl.GRU(4, 3, reset_after=False, **options),
        rl.Dense(3, 2, **options),
        seed=1,
    )


def close(engine, found, expected):
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert worst_error(engine.get(a), engine.get(b)) <= 1e-12


@pytest.mark.parametrize("first", X)
def test_steps_equal_the_whole_pass(first, engine):
    net, x = engine.place(model(engine.rl, first)), engine.put(X[first])
    whole, last = net(x, return_state=True)
    state = None
    for t in range(T):
        y, state = net.step(x[:, t], state)
        assert tuple(y.shape) == (B, 2)
        close(engine, y, whole[:, t])
    close(engine, state, last)


@pytest.mark.parametrize("cut", [1, 3])
def test_two_pieces_equal_one_pass(cut, engine):
    net, x = engine.place(model(engine.rl)), engine.put(X["numbers"])
    whole, last = net(x, return_state=True)
    first, state = net(x[:, :cut], return_state=True)
    second, state = net(x[:, cut:], state=state, return_state=True)
    close(engine, first, whole[:, :cut])
    close(engine, second, whole[:, cut:])
    close(engine, state, last)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_goes_on_from_its_state(kind, engine):
    layer, x = engine.place(recurrent(engine.rl, kind)), engine.put(inputs())
    whole, last = layer(x)
    first, state = layer(x[:, :2])
    second, state = layer(x[:, 2:], state)
    close(engine, first, whole[:, :2])
    close(engine, second, whole[:, 2:])
    close(engine, state, last)


def test_the_state_has_one_entry_per_layer(engine):
    net = engine.place(model(engine.rl))
    y, state = net(engine.put(X["numbers"]), return_state=True)
    assert [type(s).__name__ for s in state].count("NoneType") == 3
    assert len(state) == len(net.layers)
    h, c = state[2]  # the LSTM's
    assert tuple(h.shape) == tuple(c.shape) == (B, 5)
    close(engine, net(engine.put(X["numbers"])), y)


def test_a_step_of_a_layer_that_returns_its_last_state_only(engine):
    rl = engine.rl
    net = engine.place(
        rl.Sequential(rl.LSTM(I, H, return_sequences=False), rl.Dense(H, 2), seed=0)
    )
    x = engine.put(inputs("float32"))
    state = None
    for t in range(T):
        y, state = net.step(x[:, t], state)
    whole = engine.get(net(x))
    assert worst_error(engine.get(y), whole) <= 1e-6


@pytest.mark.parametrize("direction", ["reverse", "both"])
def test_what_reads_backwards_cannot_step(direction, engine):
    net = engine.place(engine.rl.Sequential(recurrent(engine.rl, "GRU", direction)))
    with pytest.raises(ValueError, match="needs the whole sequence"):
        net.step(engine.put(inputs())[:, 0])


def test_a_state_for_another_model_is_an_error(engine):
    net = engine.place(model(engine.rl))
    with pytest.raises(ValueError, match="expected a state with 7 entries"):
        net(engine.put(X["numbers"]), state=[None] * 6)


# ---------------------------------------------------------------- between the engines


def test_a_state_dict_goes_from_numpy_to_torch_and_back():
    numpy, torch = Engine("numpy"), Engine("torch")
    ours, theirs, back = model(numpy.rl), model(torch.rl), model(numpy.rl)
    ours.reset(np.random.default_rng(9))
    state = ours.state_dict()
    theirs.load_state_dict(state)
    back.load_state_dict(theirs.state_dict())
    for name, value in back.state_dict().items():
        np.testing.assert_array_equal(value, state[name], strict=True)
    y = torch.get(theirs(torch.put(X["numbers"])))
    assert worst_error(y, back(X["numbers"])) <= 1e-12


def test_a_numpy_state_dict_is_a_copy():
    net = model(Engine("numpy").rl)
    before = net(X["numbers"])
    for value in net.state_dict().values():
        value += 1
    np.testing.assert_array_equal(net(X["numbers"]), before)


def test_only_the_torch_engine_imports_torch():
    root = Path(rnnlib.__file__).parent
    names = [
        ".".join(["rnnlib", *path.relative_to(root).with_suffix("").parts])
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).parts[0] != "torch" and path.stem != "__main__"
    ]
    assert "rnnlib.numpy.layers" in names
    code = f"import sys, {', '.join(names)}; assert 'torch' not in sys.modules"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
