"""Batches: every example once, the same order on every run, no padding too many."""

import numpy as np
import pytest

from rnnlib.batches import Batches, StreamBatches

X, Y = np.arange(20).reshape(10, 2), np.arange(10)


def order(batches):
    return np.concatenate([y for _, y in batches]).tolist()


def test_every_example_once_and_x_stays_with_y():
    batches = Batches(X, Y, batch_size=3)
    assert len(batches) == len(list(batches)) == 4
    assert sorted(order(batches)) == Y.tolist()
    for x, y in batches:
        np.testing.assert_array_equal(x, X[y])


def test_order_depends_on_seed_and_epoch_alone():
    one, two = (Batches(X, Y, batch_size=3, seed=5) for _ in range(2))
    epochs = [order(one) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    two.set_epoch(2)
    assert order(two) == epochs[2]
    two.set_epoch(0)
    assert [order(two) for _ in range(3)] == epochs
    other_size = Batches(X, Y, batch_size=7, seed=5)
    assert order(other_size) == epochs[0]
    assert order(Batches(X, Y, batch_size=3, seed=6)) != epochs[0]


def test_a_broken_off_epoch_counts():
    one, two = (Batches(X, Y, batch_size=3) for _ in range(2))
    next(iter(one))
    order(two)
    assert order(one) == order(two)


def test_order_is_frozen():
    batches = Batches(X, Y, batch_size=10, seed=0)
    assert order(batches) == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]


def test_without_shuffle_and_with_drop_last():
    batches = Batches(X, Y, batch_size=4, shuffle=False, drop_last=True)
    assert len(batches) == 2
    assert order(batches) == order(batches) == list(range(8))


def test_lengths_cut_each_batch_to_its_longest():
    x = np.arange(4 * 5).reshape(4, 5)
    lengths = [2, 1, 5, 3]
    kept = list(Batches(x, x + 1, lengths, batch_size=2, shuffle=False))
    assert [a.shape for a, _, _ in kept] == [(2, 2), (2, 5)]
    assert [b.shape for _, b, _ in kept] == [(2, 2), (2, 5)]
    assert [c.tolist() for _, _, c in kept] == [[2, 1], [5, 3]]
    np.testing.assert_array_equal(kept[0][0], x[:2, :2])


def test_a_target_without_a_time_axis_is_not_cut():
    x, y = np.zeros((4, 5, 3)), np.zeros((4, 2))
    (x1, y1, _), _ = Batches(x, y, [1, 1, 2, 2], batch_size=2, shuffle=False)
    assert x1.shape == (2, 1, 3)
    assert y1.shape == (2, 2)


def test_batches_are_copies():
    x = X.copy()
    for batch, _ in Batches(x, Y, batch_size=5):
        batch[:] = -1
    np.testing.assert_array_equal(x, X)


def by_length(**options):
    """Batches of 60 pairs of lengths 1..5 and 1..8, and the lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, 60), rng.integers(1, 9, 60)
    x = np.zeros((60, 5), int), np.zeros((60, 8), int)
    options = {"batch_size": 7, "by_length": True} | options
    return Batches(x, np.arange(60), lengths, **options), lengths


def test_by_length_every_example_once_and_hardly_any_padding():
    batches, (source, target) = by_length()
    assert len(batches) == len(list(batches)) == 9
    assert sorted(order(batches_y(batches))) == list(range(60))
    for (x, z), y, (m, n) in batches:
        assert x.shape == (len(y), m.max()) and z.shape == (len(y), n.max())
        np.testing.assert_array_equal(m, source[y])
        np.testing.assert_array_equal(n, target[y])
    mixed, _ = by_length(by_length=False)

    def padding(batches):
        return sum(m.max() * len(m) - m.sum() for _, _, (m, _) in batches)

    assert padding(batches) < padding(mixed) / 4
    assert sum(len(set(m)) > 1 for _, _, (m, _) in batches) <= 4  # at 4 borders


def batches_y(batches):
    return [(None, y) for _, y, _ in batches]


def test_by_length_the_order_depends_on_seed_and_epoch_alone():
    one, two = by_length()[0], by_length()[0]
    epochs = [order(batches_y(one)) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    two.set_epoch(2)
    assert order(batches_y(two)) == epochs[2]
    assert order(batches_y(by_length(seed=1)[0])) != epochs[0]
    first = {tuple(sorted(y)) for _, y, _ in by_length()[0]}
    second = {tuple(sorted(y)) for _, y, _ in one}
    assert first != second  # equal lengths are shuffled, not the batches alone


def test_by_length_without_shuffle_and_with_drop_last():
    batches, (source, _) = by_length(shuffle=False, batch_size=8)
    assert (np.diff(source[order(batches_y(batches))]) >= 0).all()
    batches, (source, _) = by_length(batch_size=8, drop_last=True)
    longest = np.flatnonzero(source == 5)
    seen = [set(order(batches_y(batches))) for _ in range(5)]
    assert all(len(s) == 56 for s in seen)
    assert all(not set(longest) <= set(range(60)) - s for s in seen)


def test_by_length_of_one_input():
    batches = Batches(X, Y, np.tile([2, 1], 5), batch_size=5, by_length=True)
    assert sorted(x.shape for x, _, _ in batches) == [(5, 1), (5, 2)]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X, Y), {"by_length": True}, ValueError, "expected lengths to go with by"),
        ((X, Y[:9]), {}, ValueError, r"same first axis, got \(10, 2\) and \(9,\)"),
        ((X, np.int64(1)), {}, ValueError, "same first axis"),
        ((X[:0], Y[:0]), {}, ValueError, "no batch of 3 in 0 examples"),
        ((X[:2], Y[:2]), {"drop_last": True}, ValueError, "no batch of 3 in 2"),
        ((X, Y), {"batch_size": 0}, ValueError, "expected batch_size >= 1, got 0"),
        ((X, Y), {"batch_size": 2.0}, TypeError, "batch_size to be an integer"),
        ((X, Y), {"seed": -1}, ValueError, "expected seed >= 0"),
        ((X, Y, np.full(10, 3)), {}, ValueError, r"lengths in \[1, 3\), got 3"),
        ((X, Y, np.full(10, 0)), {}, ValueError, r"lengths in \[1, 3\), got 0"),
        ((X, Y, np.ones(10)), {}, TypeError, "expected lengths to be integers"),
        ((X, Y, np.full(9, 1)), {}, ValueError, r"lengths of shape \(10,\)"),
        ((Y, Y, np.full(10, 1)), {}, ValueError, r"x of shape \(N, T, ...\)"),
    ],
)
def test_batches_say_what_is_wrong(arguments, options, error, message):
    with pytest.raises(error, match=message):
        Batches(*arguments, **{"batch_size": 3} | options)


def test_set_epoch_is_checked():
    with pytest.raises(ValueError, match="expected epoch >= 0, got -1"):
        Batches(X, Y, batch_size=3).set_epoch(-1)


@pytest.mark.parametrize("N", [7, 23, 24, 25, 26])
@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 100), (2, 3), (3, 2), (6, 1)])
def test_streams_are_contiguous_and_y_is_one_step_later(N, B, T):
    ids = np.arange(N) * 10
    batches = StreamBatches(ids, batch_size=B, steps=T)
    windows = list(batches)
    assert len(windows) == len(batches)
    assert all(x.shape == y.shape == (B, T) for x, y in windows[:-1])
    x = np.concatenate([x for x, _ in windows], axis=1)
    y = np.concatenate([y for _, y in windows], axis=1)
    np.testing.assert_array_equal(x + 10, y)  # the next id is 10 more
    np.testing.assert_array_equal(np.diff(x), 10)  # no gap between two windows
    np.testing.assert_array_equal(np.sort(y.ravel()), ids[1 : B * x.shape[1] + 1])
    assert 0 <= N - 1 - y.size < B  # all targets but a few at the end


def test_streams_restart():
    batches = StreamBatches(np.arange(30), batch_size=3, steps=4)
    for a, b in zip(batches, batches, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        (np.arange(4), {}, ValueError, "at least 5 ids for 4 streams, got 4"),
        (np.arange(0), {}, ValueError, "empty"),
        (np.zeros((4, 4), int), {}, ValueError, r"ids of shape \(N,\), got \(4, 4\)"),
        (np.zeros(9), {}, TypeError, "expected ids to be integers, got dtype float64"),
        (np.arange(9), {"steps": 0}, ValueError, "expected steps >= 1"),
        (np.arange(9) - 1, {}, ValueError, "got -1"),
    ],
)
def test_streams_say_what_is_wrong(ids, options, error, message):
    with pytest.raises(error, match=message):
        StreamBatches(ids, **{"batch_size": 4, "steps": 2} | options)
