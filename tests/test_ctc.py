"""CTC: the sum over alignments is what a list of all alignments gives, and what torch's
own loss gives; the gradient belongs to it; `fit` trains with it."""

import itertools

import numpy as np
import pytest
import torch

import rnnlib.numpy
from rnnlib.batches import Batches
from rnnlib.checks import gradient_check
from rnnlib.numpy.ctc import ctc_forward_backward
from tests.engines import Engine, worst_error


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def spelled(path, blank):
    """What a path spells: equal neighbours merged, then blanks dropped."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def ragged_batch(seed, dtype="float64", V=4):
    """Logits (NaN in the padding), targets, mask; with repeats and empty targets.

    Row 0 is empty, row 1 all repeats; some rows have no step to spare.
    """
    rng = np.random.default_rng(seed)
    B, S = 5, int(rng.integers(2, 8))
    y = rng.integers(1, V, (B, S))
    y[1] = 2
    counts = rng.integers(0, S + 1, B)
    counts[:2] = 0, S
    y[np.arange(S) >= counts[:, None]] = -1
    repeats = ((y[:, 1:] == y[:, :-1]) & (y[:, 1:] >= 0)).sum(axis=1)
    steps = np.maximum(1, counts + repeats + rng.integers(0, 4, B))
    mask = np.arange(steps.max() + seed % 2) < steps[:, None]
    logits = 2 * rng.standard_normal((*mask.shape, V)).astype(dtype)
    logits[~mask] = np.nan
    return logits, y, mask


def measure(engine, logits, y, mask=None, **options):
    """Loss and gradient as NumPy numbers, in either engine."""
    logits = engine.put(logits, grad=True)
    result = engine.rl.ctc_loss(logits, engine.put(y), mask, **options)
    if engine.name == "numpy":
        return result
    result.backward()
    return engine.get(result), engine.get(logits.grad)


# ------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_it_is_the_sum_over_all_paths_that_spell_the_target(engine, steps, blank):
    """Every target of up to that many labels; those that no path spells are refused."""
    V = 3
    logits = np.random.default_rng(steps).standard_normal((1, steps, V))
    p = np.exp(log_softmax(logits[0]))
    total = {}
    for path in itertools.product(range(V), repeat=steps):
        y = spelled(path, blank)
        total[y] = total.get(y, 0) + p[np.arange(steps), path].prod()
    assert sum(total.values()) == pytest.approx(1)
    labels = [k for k in range(V) if k != blank]
    targets = [y for n in range(steps + 1) for y in itertools.product(labels, repeat=n)]
    assert set(total) <= set(targets)
    for y in targets:
        row = np.array([[*y, -1]])
        if y in total:
            loss, _ = measure(engine, logits, row, blank=blank)
            assert abs(loss + np.log(total[y])) <= 1e-12
        else:
            with pytest.raises(ValueError, match="expected at least . steps in row 0"):
                measure(engine, logits, row, blank=blank)


@pytest.mark.parametrize("seed", range(20))
def test_the_batch_computes_what_the_recursion_says(engine, seed):
    logits, y, mask = ragged_batch(seed)
    loss, dlogits = measure(engine, logits, y, mask)
    losses = []
    for row in range(len(y)):
        log_probs = log_softmax(logits[row, mask[row]])  # (T, V)
        labels = y[row, y[row] >= 0]
        joint = np.add(*ctc_forward_backward(log_probs, labels))  # (T, 2S + 1)
        log_p = np.logaddexp.reduce(joint, axis=1)
        assert np.ptp(log_p) <= 1e-12, "the same at every step"
        states = np.zeros(2 * len(labels) + 1, int)
        states[1::2] = labels
        expected = np.exp(log_probs)
        for s, label in enumerate(states):
            expected[:, label] -= np.exp(joint[:, s] - log_p)
        losses.append(-log_p[0])
        found = dlogits[row, mask[row]]
        assert worst_error(found, expected / len(y)) <= 1e-12
    assert worst_error(loss, np.mean(losses)) <= 1e-12


def theirs(logits, y, mask, reduction="none"):
    """torch's own loss."""
    return torch.nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.from_numpy(np.where(y < 0, 1, y)),
        torch.from_numpy(mask.sum(axis=1)),
        torch.from_numpy((y >= 0).sum(axis=1)),
        reduction=reduction,
    )


@pytest.mark.parametrize("seed", range(50))
def test_it_is_torch_s_loss(engine, seed):
    logits, y, mask = ragged_batch(seed, V=3 + seed % 5)
    loss, dlogits = measure(engine, logits, y, mask)
    a = torch.from_numpy(np.where(mask[..., None], logits, 0)).requires_grad_()
    expected = theirs(a, y, mask).mean()
    expected.backward()
    assert worst_error(loss, expected.detach()) <= 1e-10
    # torch fills the padding with the softmax; what lies there is not compared.
    assert worst_error(dlogits[mask], a.grad.numpy()[mask]) <= 1e-10


def test_torch_s_default_reduction_divides_by_the_labels(engine):
    logits, y, mask = ragged_batch(3)
    rows = [slice(k, k + 1) for k in range(len(y))]
    losses = [measure(engine, logits[r], y[r], mask[r])[0] for r in rows]
    counts = np.maximum(1, (y >= 0).sum(axis=1))
    a = torch.from_numpy(np.where(mask[..., None], logits, 0))
    assert np.mean(losses / counts) == pytest.approx(theirs(a, y, mask, "mean").item())
    assert np.mean(losses) == pytest.approx(measure(engine, logits, y, mask)[0])


TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(5))
def test_the_engines_agree(engine, seed, dtype):
    batch = ragged_batch(seed, dtype)
    for mask in (batch[2], engine.put(batch[2])):
        loss, dlogits = measure(engine, *batch[:2], mask)
        expected, d_expected = rnnlib.numpy.ctc_loss(*batch)
        assert worst_error(loss, expected) <= TOLERANCE[dtype]
        assert worst_error(dlogits, d_expected) <= TOLERANCE[dtype]
        assert dlogits.dtype == dtype


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_labels_of_any_integer_type_are_taken(engine, dtype):
    logits, y = np.random.default_rng(0).standard_normal((2, 6, 300)), [[1, 2], [5, 5]]
    found = measure(engine, logits, np.array(y, dtype), blank=299)
    expected = measure(engine, logits, np.array(y), blank=299)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# ----------------------------------------------------------------------- the gradient


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_that_of_central_differences(seed):
    logits, y, mask = ragged_batch(seed)
    logits[~mask] = 0
    assert y.size and mask.any(axis=1).all() and not mask.all()
    gradient_check(lambda a: rnnlib.numpy.ctc_loss(a, y, mask), logits)


@pytest.mark.parametrize(
    "y", [[[-1]], [[1]], [[2]]], ids=["empty", "first label", "last label"]
)
def test_the_gradient_at_a_single_step(y):
    logits = np.random.default_rng(0).standard_normal((1, 1, 3))
    gradient_check(lambda a: rnnlib.numpy.ctc_loss(a, np.array(y), blank=0), logits)


def test_autograd_s_own_check_of_the_torch_gradient():
    logits, y, mask = ragged_batch(1)
    a = Engine("torch").put(np.where(mask[..., None], logits, 0), grad=True)
    loss = Engine("torch").rl.ctc_loss
    y = torch.from_numpy(y)
    assert torch.autograd.gradcheck(lambda a: 3 * loss(a, y, mask), a)


def test_a_second_derivative_is_refused_not_wrong():
    logits, y = torch.zeros(1, 3, 2, requires_grad=True), torch.tensor([[1]])
    loss = Engine("torch").rl.ctc_loss(logits, y)
    with pytest.raises(RuntimeError, match="^ctc_loss: expected create_graph=False"):
        torch.autograd.grad(loss, logits, create_graph=True)


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e300])
def test_what_is_padding_reaches_neither_loss_nor_gradient(engine, junk):
    logits, y, mask = ragged_batch(2)
    results = []
    for fill in (junk, 0):
        logits[~mask] = fill
        results.append(measure(engine, logits, y, mask))
    (loss, dlogits), (expected, d_expected) = results
    assert np.isfinite(loss) and loss == expected
    np.testing.assert_array_equal(dlogits, d_expected)
    assert not dlogits[~mask].any() and dlogits[mask].all()
    wider = np.pad(y, ((0, 0), (0, 3)), constant_values=-1)
    again, _ = measure(engine, logits, wider, mask)
    assert again == pytest.approx(loss, rel=1e-14)


def test_a_nan_among_the_valid_steps_is_not_hidden(engine):
    logits, y, mask = ragged_batch(2)
    logits[~mask] = 0
    logits[2, 0, 1] = np.nan
    loss, dlogits = measure(engine, logits, y, mask)
    assert np.isnan(loss) and np.isnan(dlogits[2, 0]).all()


def test_a_class_ruled_out_takes_its_paths_along(engine):
    logits = np.random.default_rng(0).standard_normal((1, 6, 4))
    y = np.array([[3, 1, 1]])
    logits[0, 0, 3] = -np.inf  # so 3 begins at step 1, or at step 2
    loss, dlogits = measure(engine, logits, y)
    expected, d_expected = measure(engine, np.maximum(logits, -1e4), y)
    assert np.isfinite(loss) and loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(dlogits, d_expected, atol=1e-12)
    logits[:, :, 3] = -np.inf
    assert measure(engine, logits, y)[0] == np.inf


def test_targets_may_all_be_empty(engine):
    logits = np.random.default_rng(0).standard_normal((2, 3, 4))
    blanks = -log_softmax(logits)[..., 1].sum(axis=1).mean()
    for S in (0, 2):
        loss, _ = measure(engine, logits, np.full((2, S), -1), blank=1)
        assert loss == pytest.approx(blanks, rel=1e-14)


# ---------------------------------------------------------------------- long sequences


def test_a_thousand_steps_in_float32_are_near_float64(engine):
    rng = np.random.default_rng(0)
    logits = 5 * rng.standard_normal((2, 1000, 20))
    y = rng.integers(1, 20, (2, 150))
    y[1, 100:] = -1
    logits = logits.astype("float32")
    loss, dlogits = measure(engine, logits, y)
    expected, d_expected = measure(engine, logits.astype("float64"), y)
    assert expected > 1000, "a probability that no float can hold"
    assert abs(loss - expected) <= 1e-6 * expected
    assert np.isfinite(dlogits).all()
    assert np.abs(dlogits - d_expected).max() <= 1e-7


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_floats_are_summed_in_wide_ones(dtype):
    dtype = getattr(torch, dtype)
    a = torch.randn(2, 300, 5, generator=torch.manual_seed(0)).to(dtype)
    y = torch.tensor([[1, 2, 2], [3, -1, -1]])
    loss = Engine("torch").rl.ctc_loss(a.requires_grad_(), y)
    loss.backward()
    assert loss.dtype == a.grad.dtype == dtype
    expected = Engine("torch").rl.ctc_loss(a.detach().double(), y)
    assert loss.item() == pytest.approx(expected.item(), rel=torch.finfo(dtype).eps)


# ----------------------------------------------------------------------------- training


def drawn_out(n=48, seed=0, dtype="float32"):
    """Words of 0 to 3 letters, each letter held for 1 to 3 steps between pauses.

    x (n, T, 3) are noisy one-hot letters; nothing says when a letter begins.
    """
    rng = np.random.default_rng(seed)
    y = np.full((n, 3), -1)
    x = 0.2 * rng.standard_normal((n, 16, 3))
    lengths = np.ones(n, int)
    for row in range(n):
        for k in range(rng.integers(0, 4)):
            y[row, k] = rng.integers(1, 4)
            begin = lengths[row] + rng.integers(0, 2)
            lengths[row] = begin + rng.integers(1, 4)
            x[row, begin : lengths[row], y[row, k] - 1] += 1
            lengths[row] += 1
    return x.astype(dtype), y, lengths


def listener(rl, dtype="float32"):
    return rl.Sequential(
        rl.Bidirectional(rl.GRU(3, 8, dtype=dtype)),
        rl.Dense(16, 4, dtype=dtype),
        seed=0,
    )


def train(engine, model, batches, **options):
    options = {"epochs": 1, "progress": False} | options
    return engine.rl.fit(
        engine.place(model),
        batches,
        loss=engine.rl.ctc_loss,
        optimizer=engine.rl.Adam(model, 0.03),
        **options,
    )


def test_fit_learns_to_read_without_being_told_where(engine):
    x, y, lengths = drawn_out()
    model = listener(engine.rl)
    batches = Batches(x, y, lengths, batch_size=16)
    history = train(engine, model, batches, epochs=25, validate=[drawn_out(seed=1)])
    assert history.loss[-1] < 0.1 * history.loss[0]
    assert history.val_loss[-1] < 0.2 * history.val_loss[0]
    logits = engine.get(model.eval()(engine.put(x), lengths=lengths))
    read = [
        spelled(path[:n], 0)
        for path, n in zip(logits.argmax(axis=-1).tolist(), lengths, strict=True)
    ]
    right = [tuple(row[row >= 0].tolist()) for row in y]
    assert np.mean([a == b for a, b in zip(read, right, strict=True)]) > 0.9


def test_fit_needs_no_lengths_where_all_steps_count(engine):
    x, y, _ = drawn_out()
    history = train(engine, listener(engine.rl), [(x, y)], epochs=20)
    assert history.loss[-1] < 0.8 * history.loss[0]
    fresh = engine.place(listener(engine.rl))
    before = engine.rl.evaluate(fresh, [(x, y)], loss=engine.rl.ctc_loss)
    assert before == pytest.approx(history.step_loss[0])


def test_a_batch_weighs_its_steps_in_evaluate(engine):
    x, y, lengths = drawn_out()
    model, loss = listener(engine.rl), engine.rl.ctc_loss
    halves = [(x[k], y[k], lengths[k]) for k in (slice(0, 20), slice(20, None))]
    found = engine.rl.evaluate(engine.place(model), halves, loss=loss)
    values = [engine.rl.evaluate(model, [half], loss=loss) for half in halves]
    steps = [half[2].sum() for half in halves]
    assert found == pytest.approx(np.average(values, weights=steps))


def test_both_engines_train_alike():
    histories = []
    for engine in (Engine("numpy"), Engine("torch")):
        batches = Batches(*drawn_out(dtype="float64"), batch_size=8, seed=1)
        model = listener(engine.rl, "float64")
        histories.append(train(engine, model, batches, epochs=2, clip=1.0))
    a, b = histories
    assert len(a.step_loss) == 12
    assert worst_error(a.step_loss, b.step_loss) <= 1e-12
    assert worst_error(a.grad_norm, b.grad_norm) <= 1e-12
