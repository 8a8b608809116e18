"""The encoder-decoder: the same in both engines, stepwise as in one pass."""

import numpy as np
import pytest

import rnnlib.numpy
from rnnlib import checkpoint
from rnnlib.batches import Batches
from rnnlib.metrics import accuracy
from tests.conftest import exact_gpu
from tests.engines import (
    ENCODER_DECODERS,
    Engine,
    assert_close,
    leaves,
    like,
    worst_error,
)

NUMPY = Engine("numpy")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
LENGTHS = np.array([2, 5, 1]), np.array([4, 1, 3])
S, V, D, H = 7, 6, 3, 4


@pytest.fixture(params=["torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def torch_engine(request, monkeypatch):
    if request.param == "cuda":
        exact_gpu(monkeypatch)
    return Engine(request.param)


def model(rl, name="GRU, dot, both, 1", dtype="float64", seed=0, **options):
    options = ENCODER_DECODERS[name] | options
    return rl.EncoderDecoder(S, V, D, H, seed=seed, dtype=dtype, **options)


def pair(rows=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, S, (rows, 5)), rng.integers(0, V, (rows, 4))


def measure(engine, name, lengths, dtype="float64"):
    """Scores and every gradient of their random weighting."""
    net = engine.place(model(engine.rl, name, dtype))
    scores = net(engine.put(pair()), lengths=lengths)
    G = np.random.default_rng(1).standard_normal((3, 4, V)).astype(dtype)
    if engine.name == "numpy":
        assert net.backward(G) is None
        grads = net.grads
    else:
        (scores * engine.put(G)).sum().backward()
        grads = {name: p.grad for name, p in net.named_parameters()}
    found = {"scores": scores} | {f"d{name}": g for name, g in grads.items()}
    if net.attention:
        found["weights"] = net.last_weights
    return {name: engine.get(a) for name, a in found.items()}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_the_engines_agree(name, lengths, dtype, torch_engine):
    found, expected = (measure(e, name, lengths, dtype) for e in (torch_engine, NUMPY))
    assert_close(found, expected, TOLERANCE[dtype])


def test_seed_decides_every_initial_value():
    one, same, other = (
        model(rnnlib.numpy, seed=s).state_dict() for s in (1, 1, 2)
    )  # that torch draws the same is tested in test_parity.py
    for key, value in one.items():
        np.testing.assert_array_equal(same[key], value)
    assert any((other[key] != value).any() for key, value in one.items())


def test_the_names_do_not_depend_on_dropout(engine):
    names = [list(model(engine.rl, dropout=p).state_dict()) for p in (0.0, 0.5)]
    assert names[0] == names[1]


# ---------------------------------------------------------------- step by step


@pytest.mark.parametrize("lengths", [None, LENGTHS[0]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_steps_equal_the_whole_pass(name, lengths, engine):
    net = engine.place(model(engine.rl, name))
    source, target = engine.put(pair())
    both = None if lengths is None else (lengths, None)
    whole = engine.get(net((source, target), lengths=both))
    every = engine.get(net.last_weights)
    state = net.encode(source, lengths)
    for u in range(target.shape[1]):
        assert {len(a) for a in leaves(state)} == {3}
        assert isinstance(state, tuple)
        scores, state = net.step(target[:, u], state)
        assert tuple(scores.shape) == (3, V)
        assert worst_error(engine.get(scores), whole[:, u]) <= 1e-12
        if net.attention:
            weights = engine.get(net.last_weights)
            assert worst_error(weights[:, 0], every[:, u]) <= 1e-12
        else:
            assert net.last_weights is None


@pytest.mark.parametrize("name", ["LSTM, additive, both, 2", "GRU, None, one, 1"])
def test_rows_of_a_state_may_be_picked_and_repeated(name, engine):
    """What beam search does: index every array of the state along its first axis."""
    net = engine.place(model(engine.rl, name))
    source, target = engine.put(pair())
    _, state = net.step(target[:, 0], net.encode(source, LENGTHS[0]))
    expected, _ = net.step(target[:, 1], state)
    rows = [2, 0, 0, 1]
    picked = like(state, iter([a[rows] for a in leaves(state)]))
    scores, _ = net.step(target[rows, 1], picked)
    assert worst_error(engine.get(scores), engine.get(expected)[rows]) <= 1e-12


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("name", [n for n in ENCODER_DECODERS if n.endswith("2")])
def test_padding_changes_nothing(name, engine):
    net = engine.place(model(engine.rl, name))
    source, target = pair()
    together = engine.get(net(engine.put((source, target)), lengths=LENGTHS))
    for row, (n, m) in enumerate(zip(*LENGTHS, strict=True)):
        alone = source[row : row + 1, :n], target[row : row + 1, :m]
        scores = engine.get(net(engine.put(alone)))
        assert worst_error(together[row, :m], scores[0]) <= 1e-12
    for row, (n, m) in enumerate(zip(*LENGTHS, strict=True)):
        source[row, n:], target[row, m:] = 0, 0
    again = engine.get(net(engine.put((source, target)), lengths=LENGTHS))
    for row, m in enumerate(LENGTHS[1]):
        np.testing.assert_array_equal(again[row, :m], together[row, :m])


# ---------------------------------------------------------------- training


def copies(n=100, longest=4, seed=0):
    """Write the digits that were read, then the end sign; 0 starts and ends."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n)
    source = rng.integers(1, V, (n, longest))
    source[np.arange(longest) >= lengths[:, None]] = 0
    target = np.hstack([source, np.zeros((n, 1), int)])
    target_in = np.hstack([np.zeros((n, 1), int), source])
    return (source, target_in), target, (lengths, lengths + 1)


def fit(engine, net, batches, **options):
    rl = engine.rl
    options = {"epochs": 1, "clip": 1.0, "progress": False} | options
    optimizer = rl.Adam(net, lr=options.pop("lr", 0.01))
    return rl.fit(net, batches, loss=rl.cross_entropy, optimizer=optimizer, **options)


@pytest.mark.parametrize("name", ["LSTM, additive, both, 2", "GRU, dot, both, 1",
                                  "RNN, dot, one, 2", "GRU, None, one, 1"])  # fmt: skip
def test_ten_steps_of_adam_agree(name, torch_engine):
    def trained(engine):
        net = engine.place(model(engine.rl, name))
        batches = Batches(*copies(), batch_size=10)
        history = fit(engine, net, batches, validate=batches)
        assert len(history.step_loss) == 10
        result = {k: engine.get(v) for k, v in net.state_dict().items()}
        kept = ("step_loss", "grad_norm", "loss", "val_loss")
        return result | {k: np.array(getattr(history, k)) for k in kept}

    assert_close(trained(torch_engine), trained(NUMPY), 1e-12)


def test_it_learns_to_copy(engine):
    rl = engine.rl
    net = engine.place(
        rl.EncoderDecoder(V, V, 8, 32, attention="dot", bidirectional=True, seed=0)
    )
    batches = Batches(*copies(400), batch_size=20)
    history = fit(engine, net, batches, epochs=8, lr=0.02)
    assert history.loss[-1] < 0.2 * history.loss[0]
    test = Batches(*copies(100, seed=1), batch_size=100)
    assert rl.evaluate(net, test, loss=accuracy) > 0.9
    # Reading what it wrote itself, not what was right.
    (source, _), target, (lengths, ends) = copies(100, seed=1)
    state = net.encode(engine.put(source), lengths)
    ids, written = np.zeros(len(source), int), []
    for _ in range(target.shape[1]):
        scores, state = net.step(engine.put(ids), state)
        ids = engine.get(scores).argmax(axis=1)
        written.append(ids)
    counts = np.arange(target.shape[1]) < ends[:, None]
    whole = ((np.stack(written, axis=1) == target) | ~counts).all(axis=1)
    assert whole.mean() > 0.75


def test_the_loss_counts_the_steps_of_the_target(engine):
    """The mean over all valid target steps, whatever the source's lengths are."""
    net = engine.place(model(engine.rl, dtype="float32"))
    x, y, lengths = copies(6)
    found = engine.rl.evaluate(net, [(x, y, lengths)])
    scores = engine.get(net(engine.put(x), lengths=lengths))
    mask = np.arange(y.shape[1]) < lengths[1][:, None]
    expected, _ = rnnlib.numpy.cross_entropy(scores, y, mask)
    assert found == pytest.approx(expected, rel=1e-5)
    one_by_one = [
        (
            (x[0][k : k + 1, : lengths[0][k]], x[1][k : k + 1, : lengths[1][k]]),
            y[k : k + 1, : lengths[1][k]],
        )
        for k in range(6)
    ]
    assert engine.rl.evaluate(net, one_by_one) == pytest.approx(expected, rel=1e-5)


def test_a_resumed_training_ends_with_the_same_bits(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    import torch

    for engine in (NUMPY, Engine("torch")):

        def start(engine=engine):
            return model(engine.rl, "LSTM, additive, one, 2", "float32", dropout=0.3)

        batches = Batches(*copies(), batch_size=25)
        path = tmp_path / engine.name
        torch.manual_seed(0)
        whole, first, second = start(), start(), start()
        expected = fit(engine, whole, batches, epochs=3)
        torch.manual_seed(0)
        fit(engine, first, batches, epochs=1, checkpoint=path)
        torch.manual_seed(5)
        history = fit(engine, second, batches, epochs=3, checkpoint=path, resume=True)
        assert history.step_loss == expected.step_loss
        for key, value in whole.state_dict().items():
            np.testing.assert_array_equal(
                engine.get(second.state_dict()[key]), engine.get(value)
            )


def test_weights_go_from_one_engine_to_the_other_through_a_file(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    torch = Engine("torch")
    ours, theirs = model(NUMPY.rl), model(torch.rl, seed=1)
    checkpoint.save(tmp_path / "weights", ours.state_dict())
    theirs.load_state_dict(checkpoint.load(tmp_path / "weights")[0])
    scores = torch.get(theirs(torch.put(pair()), lengths=LENGTHS))
    assert worst_error(scores, ours(pair(), lengths=LENGTHS)) <= 1e-12


def test_it_trains_on_a_gpu_tensor_or_an_array_alike(torch_engine):
    x, y, lengths = copies(10)
    losses = []
    for batch in ((x, y, lengths), (*torch_engine.put((x, y)), lengths)):
        net = torch_engine.place(model(torch_engine.rl, dtype="float32"))
        losses.append(fit(torch_engine, net, [batch]).step_loss)
    assert losses[0] == losses[1]


# ---------------------------------------------------------------- batches of pairs


def test_batches_of_pairs_are_cut_each_to_its_own_longest():
    source, target_in = np.arange(20).reshape(4, 5), np.arange(12).reshape(4, 3)
    lengths = np.array([2, 1, 5, 3]), np.array([1, 2, 1, 1])
    batches = Batches(
        (source, target_in), target_in + 1, lengths, batch_size=2, shuffle=False
    )
    (x, y, n), (x2, y2, n2) = batches
    assert [a.shape for a in (*x, y)] == [(2, 2), (2, 2), (2, 2)]
    assert [a.shape for a in (*x2, y2)] == [(2, 5), (2, 1), (2, 1)]
    assert [a.tolist() for a in (*n, *n2)] == [[2, 1], [1, 2], [5, 3], [1, 1]]
    np.testing.assert_array_equal(x[0], source[:2, :2])
    plain = Batches((source, target_in), target_in, batch_size=4, shuffle=False)
    ((x, y),) = plain
    assert isinstance(x, tuple) and [a.shape for a in x] == [(4, 5), (4, 3)]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (np.array([1, 1]), "a tuple of lengths, one array for each of the 2 inputs"),
        ((np.array([1, 1]),), "a tuple of lengths, one array for each"),
        (([1, 6], [1, 1]), r"lengths in \[1, 6\), got 6"),
        (([1, 5], [1, 4]), r"lengths in \[1, 4\), got 4"),
    ],
)
def test_lengths_that_do_not_fit_a_pair_are_named(lengths, message):
    x = np.zeros((2, 5), int), np.zeros((2, 3), int)
    with pytest.raises(ValueError, match=message):
        Batches(x, x[1], lengths, batch_size=1)


def test_a_pair_of_different_numbers_of_examples_is_an_error():
    x = np.zeros((2, 5), int), np.zeros((3, 3), int)
    with pytest.raises(ValueError, match=r"got \(2, 5\) and \(3, 3\) and \(2, 3\)"):
        Batches(x, x[1][:2], batch_size=1)


# ---------------------------------------------------------------- the table

TABLE = """\
Model: "encoder_decoder"
embedding (Embedding) | (None, None, 3) | 21
dropout (Dropout) | (None, None, 3) | 0
bidirectional (Bidirectional) | (None, None, 4) | 76
embedding_1 (Embedding) | (None, None, 3) | 18
dropout_1 (Dropout) | (None, None, 3) | 0
gru (GRU) | (None, None, 4) | 100
attention (Attention) | (None, None, 4) | 40
dense (Dense) | (None, None, 4) | 36
dropout_2 (Dropout) | (None, None, 4) | 0
dense_1 (Dense) | (None, None, 6) | 30
 Total params: 321 (2.51 KB)"""


def test_summary(engine):
    lines = model(engine.rl, "GRU, additive, both, 1").summary().splitlines()
    rows = [
        " | ".join(cell.strip() for cell in line.split("│")[1:4])
        for line in lines
        if line.startswith("│")
    ]
    assert "\n".join([lines[0], *rows, lines[-3]]) == TABLE
