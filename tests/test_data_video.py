"""Moving digits: frozen, split by block, said by a grammar, clear about bad input."""

import gzip
import hashlib
import importlib.util
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rnnlib.data import DataError, moving_digits
from rnnlib.data.moving_digits import (
    BLOCKS,
    MOTIONS,
    NAMES,
    SIDE,
    VOCABULARY,
    WORDS,
    caption,
    caption_ids,
    check_frames,
    enlarged,
    parse_caption,
    unseen_motions,
)

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.fixture(scope="module")
def data():
    return moving_digits()


@pytest.fixture(scope="module")
def parts(data):
    return {name: getattr(data, name) for name in ("validation", "test", "composition")}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ------------------------------------------------------------------- what it is


def test_the_images_are_those_of_scikit_learn(data):
    from sklearn.datasets import load_digits

    theirs = load_digits()
    np.testing.assert_array_equal(data.images * 16, theirs.images)
    np.testing.assert_array_equal(data.digits, theirs.target)
    assert not data.images.flags.writeable and not data.digits.flags.writeable
    assert moving_digits() is data


def test_blocks_share_no_image_and_no_image_occurs_twice(data):
    assert [BLOCKS[b] for b in BLOCKS] == [(0, 1200), (1200, 1347), (1347, 1797)]
    assert len({image.tobytes() for image in data.images}) == 1797


@pytest.mark.parametrize(
    ("part", "count", "repeats", "captions", "images"),
    [
        ("validation", 588, 4, "5b1180799250bc61", "23736b4cd1a89afb"),
        ("test", 1350, 3, "54ba3bcb32e6690d", "47242fe8b2eeb6e2"),
        ("composition", 1350, 3, "a9bf20d7f7c1f07a", "0fe96c7d96f40f9c"),
    ],
)
def test_frozen_clips(parts, part, count, repeats, captions, images):
    clips = parts[part]
    low, high = BLOCKS["validation" if part == "validation" else "test"]
    assert len(clips) == count and clips.frames.shape == (count, 12, 24, 24)
    assert Counter(clips.images.tolist()) == dict.fromkeys(range(low, high), repeats)
    assert sha256("\n".join(clips.captions)) == captions
    assert sha256(str(clips.images.tolist())) == images
    assert clips.frames.dtype == np.float32
    assert clips.frames.min() == 0 and 0.9 < clips.frames.max() <= 1


def test_frozen_places(parts):
    boxes = np.concatenate([clips.boxes for clips in parts.values()])
    corners = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    assert corners[0].min() >= 0 and corners[1].max() <= SIDE
    expected = [
        [12.437176, 12.131594, 9.78676],
        [12.437176, 12.131594, 7.684619],
        [12.437176, 12.131594, 5.749134],
    ]
    np.testing.assert_allclose(parts["test"].boxes[0, [0, 5, 11]], expected, atol=1e-6)


def test_the_same_seed_draws_the_same_clips(data):
    a, b, c = (data.draw("train", 30, seed, warp=True) for seed in (4, 4, 5))
    np.testing.assert_array_equal(a.frames, b.frames)
    assert a.captions == b.captions != c.captions
    assert a.images.max() < 1200


def test_a_range_of_images_is_a_block(data):
    clips = data.draw((900, 1000), 250, seed=0)
    counts = Counter(clips.images.tolist())
    assert set(counts) == set(range(900, 1000)) and set(counts.values()) == {2, 3}


# ----------------------------------------------------------------- what it says


def test_captions_say_the_digit_and_what_it_does(data, parts):
    for clips in parts.values():
        for text, image, boxes in zip(
            clips.captions, clips.images, clips.boxes, strict=True
        ):
            digit, motions = parse_caption(text)
            assert digit == data.digits[image]
            assert caption(digit, motions) == text
            x, y, side = boxes.T
            first = motions[0]
            moved = x[4] - x[0], y[4] - y[0], np.log(side[4] / side[0])
            speed = np.abs(moved[:2]).max() / 4
            if "walks" in first:
                assert 0.35 <= speed <= 0.5
            elif "runs" in first:
                assert 1 <= speed <= 1.2
            else:
                assert speed < 1e-9
            ways = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}
            if first.split()[-1] in ways:
                axis, sign = ways[first.split()[-1]]
                assert np.sign(moved[axis]) == sign and abs(moved[1 - axis]) < 1e-9
            sign = {"grows": 1, "shrinks": -1}.get(first, 0)
            assert (np.sign(moved[2]) if abs(moved[2]) > 1e-9 else 0) == sign


def test_unseen_motions_are_in_the_composition_test_alone(data, parts):
    kept = {k: set(unseen_motions(k)) for k in range(10)}
    assert all(len(two) == 2 and two <= set(MOTIONS) for two in kept.values())
    parts = parts | {"train": data.draw("train", 3000, seed=0)}
    for name, clips in parts.items():
        for text in clips.captions:
            digit, motions = parse_caption(text)
            assert bool(kept[digit] & {*motions}) == (name == "composition")
    seen = {parse_caption(t)[1][0] for t in parts["train"].captions}
    assert seen == {*MOTIONS}  # each motion is done by other digits


def test_captions_and_ids():
    target_in, target, lengths = caption_ids(
        ["the two waits", "the six runs left then walks up"]
    )
    assert target_in.shape == target.shape == (2, WORDS)
    assert lengths.tolist() == [4, 8]
    assert VOCABULARY.decode(target_in[0]) == ["<s>", "the", "two", "waits"] + 4 * [
        "<pad>"
    ]
    assert VOCABULARY.decode(target[1])[-2:] == ["up", "</s>"]
    assert VOCABULARY.decode(target_in[1])[-1] == "up"
    assert len(VOCABULARY) == 24
    assert {*NAMES, "then", "runs"} <= {*VOCABULARY.tokens}


# ------------------------------------------------------------------ what is drawn


def test_a_digit_is_drawn_where_its_box_is(data):
    clips = data.draw("train", 60, seed=1)
    at = np.arange(SIDE) + 0.5
    ink = clips.frames.sum((2, 3))
    x, y = clips.frames.sum(2) @ at / ink, clips.frames.sum(3) @ at / ink
    centre = clips.boxes[..., :2] - np.stack([x, y], -1)
    # The centre of the ink keeps its place in the square, in units of its side.
    rest = centre / clips.boxes[..., 2:]
    assert np.abs(rest - rest[:, :1]).max() < 0.02
    area = ink / clips.boxes[..., 2] ** 2
    assert np.abs(area / area[:, :1] - 1).max() < 0.02


def test_enlarging_keeps_what_is_there(data):
    large = enlarged(data.images[:50])
    assert large.shape == (50, 16, 16)
    at, places = (np.arange(16) + 0.5) / 2 - 0.5, np.arange(-1, 9)

    def stretched(line):  # the paper around the image is white
        return np.interp(at, places, np.pad(line, 1))

    for image, found in zip(data.images[:50], large, strict=True):
        expected = np.apply_along_axis(stretched, 0, image)
        expected = np.apply_along_axis(stretched, 1, expected)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    flat = enlarged(np.ones((1, 8, 8), np.float32))
    np.testing.assert_allclose(flat[0, 1:-1, 1:-1], 1, atol=1e-6)


def test_distortion_is_mild_and_differs(data):
    rng = np.random.default_rng(0)
    images = np.repeat(data.images[:1], 200, axis=0)
    plain, warped = enlarged(images[:1])[0], enlarged(images, rng)
    assert 0 <= warped.min() and warped.max() <= 1
    apart = np.abs(warped - plain).mean((1, 2))
    assert 0.02 < apart.min() and apart.mean() < 0.2
    assert len({w.tobytes() for w in warped}) == 200


# -------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 12, 24, 23), r"\(N, 12, 24, 24\), got \(1, 12, 24, 23\)"),
        ((1, 11, 24, 24), r"\(N, 12, 24, 24\), got \(1, 11, 24, 24\)"),
        ((12, 24, 24), r"\(N, 12, 24, 24\), got \(12, 24, 24\)"),
        ((0, 12, 24, 24), r"\(N, 12, 24, 24\), got \(0, 12, 24, 24\)"),
    ],
)
def test_a_clip_of_another_size(shape, message):
    with pytest.raises(ValueError, match=message):
        check_frames(np.zeros(shape, np.float32))


def test_a_clip_of_other_values():
    good = np.zeros((1, 12, 24, 24))
    assert check_frames(good).dtype == np.float32
    for value in (255.0, -1.0, np.nan):
        bad = good.copy()
        bad[0, 0, 0, 0] = value
        with pytest.raises(ValueError, match=r"values in \[0, 1\], got"):
            check_frames(bad)
    with pytest.raises(TypeError, match="floats in .* got uint8"):
        check_frames(good.astype(np.uint8))
    with pytest.raises(TypeError, match="frames"):
        check_frames([[1.0]])


@pytest.mark.parametrize("function", [parse_caption, lambda text: caption_ids([text])])
def test_a_caption_with_unknown_words_or_none(function):
    with pytest.raises(ValueError, match="unknown 'eleven' at position 1"):
        function("the eleven waits")
    for empty in ("", "  \n"):
        with pytest.raises(ValueError, match="expected a caption, got an empty one"):
            function(empty)
    with pytest.raises(TypeError, match="to be a str, got int"):
        function(7)


@pytest.mark.parametrize(
    "text",
    ["the", "the two", "two waits", "the two walks", "the waits two",
     "the two waits then", "the two waits then grows then waits"],
)  # fmt: skip
def test_a_caption_that_is_not_of_the_grammar(text):
    with pytest.raises(ValueError, match="expected 'the DIGIT MOTION'"):
        parse_caption(text)


def test_captions_that_make_no_batch():
    with pytest.raises(ValueError, match="sequence of captions, got 'the two waits'"):
        caption_ids("the two waits")
    with pytest.raises(ValueError, match=r"sequence of captions, got \[\]"):
        caption_ids([])
    with pytest.raises(ValueError, match="at most 7 words, got 8"):
        caption_ids([8 * "the "])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((10, ["waits"]), ValueError, "a digit, 0 to 9, got 10"),
        ((-1, ["waits"]), ValueError, "digit"),
        ((1.0, ["waits"]), TypeError, "digit"),
        ((1, ["sleeps"]), ValueError, "sleeps"),
        ((1, []), ValueError, "one or two motions, got 0"),
        ((1, ["waits", "grows", "waits"]), ValueError, "one or two motions, got 3"),
    ],
)
def test_a_caption_that_cannot_be_written(arguments, error, message):
    with pytest.raises(error, match=message):
        caption(*arguments)


def test_clips_that_cannot_be_drawn(data):
    with pytest.raises(ValueError, match="train.*validation.*test.*got 'tset'"):
        data.draw("tset", 3, seed=0)
    for block in ((5, 5), (1000, 1798)):
        with pytest.raises(ValueError, match="pair low < high in 0..1797"):
            data.draw(block, 3, seed=0)
    with pytest.raises(ValueError, match="count"):
        data.draw("train", 0, seed=0)
    with pytest.raises(TypeError, match="count"):
        data.draw("train", 2.5, seed=0)
    with pytest.raises(ValueError, match=r"\(N, 8, 8\), got \(3, 16, 16\)"):
        enlarged(np.zeros((3, 16, 16), np.float32))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A scikit-learn in which only the file of digits is; returns that file."""
    file = tmp_path / "sklearn" / "datasets" / "data" / "digits.csv.gz"
    file.parent.mkdir(parents=True)
    real = importlib.util.find_spec("sklearn").submodule_search_locations[0]
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path / "sklearn")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    file.write_bytes(Path(real, "datasets", "data", "digits.csv.gz").read_bytes())
    moving_digits.cache_clear()
    yield file
    moving_digits.cache_clear()


def test_the_file_is_read_without_importing_scikit_learn(package):
    assert moving_digits().images.shape == (1797, 8, 8)


def test_no_scikit_learn(package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="not installed.*pip install scikit-learn"):
        moving_digits()


def test_the_file_is_missing(package):
    package.unlink()
    with pytest.raises(DataError, match="cannot read .*digits.csv.gz.*reinstall"):
        moving_digits()


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_the_file_is_damaged(package, cut):
    package.write_bytes(package.read_bytes()[:cut])
    with pytest.raises(DataError, match="digits.csv.gz"):
        moving_digits()


def test_the_file_holds_something_else(package):
    table = gzip.decompress(package.read_bytes())
    package.write_bytes(gzip.compress(table.replace(b"13", b"14", 1)))
    with pytest.raises(DataError, match="expected sha256 6ebb.*, found"):
        moving_digits()
