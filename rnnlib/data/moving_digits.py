"""Clips of a moving handwritten digit, each with a sentence that says what happens.

The digits are real: 1,797 images that scikit-learn carries. Their motion is drawn by a
small grammar, which writes the caption as well, so that nothing about a clip is
unknown. Neighbouring images are often by the same writer: the split is by blocks.

Frozen clips depend on `numpy.random.Generator.random` alone, the part of NumPy's random
numbers that is the least likely to change.
"""

import gzip
import hashlib
import importlib.util
import io
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from rnnlib.checks import check_choice, check_shape, check_size
from rnnlib.data._fetch import DataError
from rnnlib.text import PAD, Vocabulary

FRAMES, SIDE, FINE = 12, 24, 16  # frames, pixels a side, pixels of an enlarged digit
BLOCKS = {"train": (0, 1200), "validation": (1200, 1347), "test": (1347, 1797)}
NAMES = tuple("zero one two three four five six seven eight nine".split())
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
WALK, RUN, GROW = (0.35, 0.50), (1.00, 1.20), (1.04, 1.055)  # pixels, factor a frame
MOTIONS = (
    *(f"walks {direction}" for direction in DIRECTIONS),
    *(f"runs {direction}" for direction in DIRECTIONS),
    "waits",
    "grows",
    "shrinks",
)
START, END = "<s>", "</s>"
WORDS = 8  # of the longest caption, the end mark counted
VOCABULARY = Vocabulary(
    (PAD, START, END, "the", *NAMES, "walks", "runs", *DIRECTIONS, *MOTIONS[8:], "then")
)
SINGLE = 0.25  # share of the clips with one motion only
DIGITS_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


@dataclass(frozen=True)
class Clips:
    """Clips and what is known of them.

    Attributes
    ----------
    frames : ndarray of float32, of shape (N, 12, 24, 24)
        Ink, from 0 to 1: clip, time, row, column.
    captions : tuple of N str
        Such as ``"the seven walks left then grows"``.
    images : ndarray of int64, of shape (N,)
        Which handwritten digit moves.
    boxes : ndarray of float64, of shape (N, 12, 3)
        Centre (x, y) and side of the digit's square in each frame, in pixels.
    """

    frames: np.ndarray
    captions: tuple
    images: np.ndarray
    boxes: np.ndarray

    def __len__(self):
        return len(self.captions)


@dataclass(frozen=True)
class MovingDigits:
    """The handwritten digits and what makes clips of them.

    Attributes
    ----------
    images : ndarray of float32, of shape (1797, 8, 8)
        Ink, from 0 to 1, in the order of the file, which follows the writers.
    digits : ndarray of int64, of shape (1797,)
        What was written, 0 to 9.
    """

    images: np.ndarray
    digits: np.ndarray

    def draw(self, block, count, seed, *, unseen=False, warp=False):
        """Draw clips.

        Parameters
        ----------
        block : {"train", "validation", "test"} or pair of int
            Whose handwriting: the block's images, or those from the first number to
            before the second.
        count : int
            N. The images take turns: each occurs equally often, give or take one.
        seed : int or sequence of int
            The same seed draws the same clips.
        unseen : bool, default=False
            Only clips in which the digit does a motion that `unseen_motions` keeps from
            it; by default none is ever drawn.
        warp : bool, default=False
            Distort each digit at random, as in `enlarged`. For training.

        Returns
        -------
        Clips

        Raises
        ------
        TypeError, ValueError
            For a block that does not exist, or a count that is not a number above 0.
        """
        low, high = self._range(block)
        check_size("MovingDigits.draw", "count", count)
        rng = np.random.default_rng(seed)
        rounds = -(-count // (high - low))
        order = [low + rng.random(high - low).argsort() for _ in range(rounds)]
        chosen = np.concatenate(order)[:count]
        motions = _draw_motions(self.digits[chosen], unseen, rng)
        boxes = _draw_boxes(motions, rng)
        images = enlarged(self.images[chosen], rng if warp else None)
        captions = tuple(
            caption(*row) for row in zip(self.digits[chosen], motions, strict=True)
        )
        return Clips(_render(images, boxes), captions, chosen, boxes)

    @property
    def validation(self):
        """The 588 frozen clips; each of the 147 images occurs four times."""
        return self.draw("validation", 4 * 147, seed=1)

    @property
    def test(self):
        """The 1,350 frozen clips; each of the 450 images occurs three times."""
        return self.draw("test", 3 * 450, seed=2)

    @property
    def composition(self):
        """1,350 more clips of the test block, with motions that the digit never did."""
        return self.draw("test", 3 * 450, seed=3, unseen=True)

    def _range(self, block):
        if isinstance(block, str):
            return BLOCKS[
                check_choice("MovingDigits.draw", "block", block, tuple(BLOCKS))
            ]
        low, high = (
            check_size("MovingDigits.draw", "block", edge, least=0) for edge in block
        )
        if not low < high <= len(self.images):
            raise ValueError(
                f"MovingDigits.draw: expected block to be a pair low < high in "
                f"0..{len(self.images)}, got {(low, high)}"
            )
        return low, high


@lru_cache(maxsize=1)
def moving_digits():
    """Load the handwritten digits out of the installed scikit-learn.

    Returns
    -------
    MovingDigits
        The same object at every call; its arrays cannot be changed.

    Raises
    ------
    DataError
        If scikit-learn is not installed, or its file of digits is not the expected one.

    References
    ----------
    Alpaydin and Kaynak, 1998. See the data card in ``rnnlib/data/README.md``.

    Examples
    --------
    >>> data = moving_digits()  # doctest: +SKIP
    >>> data.test.captions[0]  # doctest: +SKIP
    'the two runs down then waits'
    """
    table = np.loadtxt(io.BytesIO(_read_digits()), delimiter=",", dtype=np.int64)
    images = (table[:, :64].reshape(-1, 8, 8) / 16).astype(np.float32)
    digits = np.ascontiguousarray(table[:, 64])
    images.flags.writeable = digits.flags.writeable = False
    return MovingDigits(images, digits)


def unseen_motions(digit):
    """The two motions that a digit never does outside of the composition test.

    Parameters
    ----------
    digit : int
        0 to 9.

    Returns
    -------
    tuple of two str

    Raises
    ------
    TypeError, ValueError
        If it is not a digit.

    Examples
    --------
    >>> unseen_motions(7)
    ('runs down', 'walks right')
    """
    digit = _check_digit("unseen_motions", digit)
    return MOTIONS[digit], MOTIONS[(digit + 5) % len(MOTIONS)]


def caption(digit, motions):
    """Say in words what a digit does.

    Parameters
    ----------
    digit : int
        0 to 9.
    motions : sequence of one or two str
        As in `MOTIONS`, in order.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        If it is not a digit, or a motion is unknown, or there are none or too many.

    Examples
    --------
    >>> caption(7, ["walks left", "grows"])
    'the seven walks left then grows'
    """
    digit = _check_digit("caption", digit)
    if not 1 <= len(motions) <= 2:
        raise ValueError(f"caption: expected one or two motions, got {len(motions)}")
    for motion in motions:
        check_choice("caption", "motion", motion, MOTIONS)
    return f"the {NAMES[digit]} {' then '.join(motions)}"


def parse_caption(text):
    """Read a caption back: the inverse of `caption`.

    Parameters
    ----------
    text : str

    Returns
    -------
    digit : int
    motions : tuple of one or two str

    Raises
    ------
    TypeError
        If it is not a str.
    ValueError
        If it is empty, has unknown words, or is not of the grammar.

    Examples
    --------
    >>> parse_caption("the seven walks left then grows")
    (7, ('walks left', 'grows'))
    """
    words = _words("parse_caption", text)
    motions = tuple(" ".join(words[2:]).split(" then "))
    fits = words[0] == "the" and len(words) > 2 and words[1] in NAMES
    if not (fits and len(motions) <= 2 and all(m in MOTIONS for m in motions)):
        raise ValueError(
            "parse_caption: expected 'the DIGIT MOTION' or 'the DIGIT MOTION then "
            f"MOTION', got {text!r}"
        )
    return NAMES.index(words[1]), motions


def caption_ids(captions):
    """What a decoder reads and what it shall say, as ids of `VOCABULARY`.

    Parameters
    ----------
    captions : sequence of N str
        Words of the vocabulary, at most seven each.

    Returns
    -------
    target_in : ndarray of int64, of shape (N, 8)
        The start mark, then the caption, then padding.
    target : ndarray of int64, of shape (N, 8)
        The same one step ahead: the caption, the end mark, padding.
    lengths : ndarray of int64, of shape (N,)
        Words and one mark.

    Raises
    ------
    TypeError
        If a caption is not a str.
    ValueError
        If there is none, or one is empty, too long, or has an unknown word.

    Examples
    --------
    >>> caption_ids(["the two waits"])[1]
    array([[ 3,  6, 20,  2,  0,  0,  0,  0]])
    """
    if isinstance(captions, str) or not len(captions):
        raise ValueError(
            f"caption_ids: expected a sequence of captions, got {captions!r}"
        )
    ids = np.zeros((len(captions), WORDS + 1), np.int64)
    lengths = np.zeros(len(captions), np.int64)
    for k, text in enumerate(captions):
        words = _words("caption_ids", text)
        if len(words) >= WORDS:
            raise ValueError(
                f"caption_ids: expected at most {WORDS - 1} words, got {len(words)} "
                f"in {text!r}"
            )
        lengths[k] = len(words) + 1
        ids[k, : lengths[k] + 1] = VOCABULARY.encode([START, *words, END])
    target_in = np.where(ids[:, :-1] == VOCABULARY[END], 0, ids[:, :-1])
    return target_in, ids[:, 1:], lengths


def check_frames(frames):
    """Check that an array holds clips, before a network reads it.

    Parameters
    ----------
    frames : array of float, of shape (N, 12, 24, 24)
        Ink, from 0 to 1.

    Returns
    -------
    ndarray of float32, of shape (N, 12, 24, 24)

    Raises
    ------
    TypeError
        If it is no array of floats.
    ValueError
        If the shape is another, or a value is not in [0, 1].

    Examples
    --------
    >>> check_frames(np.zeros((1, 12, 24, 24))).shape
    (1, 12, 24, 24)
    """
    check_shape("check_frames", "frames", frames, ("N", FRAMES, SIDE, SIDE))
    frames = np.asarray(frames)
    if frames.dtype.kind != "f":
        raise TypeError(
            f"check_frames: expected frames of floats in [0, 1], got {frames.dtype}"
        )
    if not ((frames >= 0) & (frames <= 1)).all():  # False for NaN as well
        raise ValueError(
            "check_frames: expected values in [0, 1], got "
            f"{frames.min():.4g} to {frames.max():.4g}"
        )
    return frames.astype(np.float32, copy=False)


def enlarged(images, rng=None):
    """Enlarge digits from 8 × 8 to 16 × 16 pixels; distort them at random on the way.

    The distortion is what a hand might do: turn (by 8°, one standard deviation), slant,
    stretch, shift by up to a third of a pixel of 8, and bend smoothly.

    Parameters
    ----------
    images : ndarray of float32, of shape (N, 8, 8)
    rng : numpy.random.Generator, optional
        Draws the distortion. Default: there is none.

    Returns
    -------
    ndarray of float32, of shape (N, 16, 16)

    Raises
    ------
    TypeError, ValueError
        If the images have another shape.

    Examples
    --------
    >>> enlarged(np.ones((2, 8, 8), "float32")).shape
    (2, 16, 16)
    """
    check_shape("enlarged", "images", images, ("N", 8, 8))
    N = len(images)
    axis = (np.arange(FINE, dtype=np.float32) + 0.5) / FINE * 2 - 1  # -1 to 1
    x = np.broadcast_to(axis, (N, FINE, FINE))
    y = x.transpose(0, 2, 1)
    if rng is not None:
        x, y = _distorted(x, y, rng)
    # Linear interpolation; the paper around the digit is white.
    paper = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    u, v = (np.clip((a + 1) * 4 + 1.5, 0, 10.999) for a in (x, y))
    i, j = v.astype(int), u.astype(int)
    p, q = v - i, u - j
    row = np.arange(N)[:, None, None]
    top = (1 - q) * paper[row, i, j] + q * paper[row, i, j + 1]
    bottom = (1 - q) * paper[row, i + 1, j] + q * paper[row, i + 1, j + 1]
    return ((1 - p) * top + p * bottom).astype(np.float32)


def _distorted(x, y, rng):
    """Where the pixels of distorted digits come from, in -1..1."""

    def normal(*shape):
        return rng.standard_normal((len(x), *shape), dtype=np.float32)

    turn, slant = np.deg2rad(8) * normal(1, 1), 0.13 * normal(1, 1)
    wide, tall = np.exp(0.1 * normal(1, 1)), np.exp(0.1 * normal(1, 1))
    shift = rng.uniform(-0.08, 0.08, (2, len(x), 1, 1)).astype(np.float32)
    near = np.maximum(0, 1 - np.abs(np.linspace(0, 3, FINE)[:, None] - np.arange(4)))
    bend = 0.06 * near @ normal(2, 4, 4) @ near.T  # (N, 2, 16, 16)
    return (
        np.cos(turn) / wide * x + (slant - np.sin(turn)) * y + shift[0] + bend[:, 0],
        np.sin(turn) * x + np.cos(turn) / tall * y + shift[1] + bend[:, 1],
    )


def _draw_motions(digits, unseen, rng):
    """One or two motions for each digit, the two never the same."""
    result = []
    for digit in digits:
        kept = unseen_motions(digit)
        free = [m for m in MOTIONS if m not in kept]
        single, a, b, swap = rng.random(4)
        pool = kept if unseen else free
        first = pool[int(a * len(pool))]
        rest = [m for m in (MOTIONS if unseen else free) if m != first]
        motions = [first] if single < SINGLE else [first, rest[int(b * len(rest))]]
        result.append(
            tuple(reversed(motions)) if unseen and swap < 0.5 else (*motions,)
        )
    return result


def _draw_boxes(motions, rng):
    """(N, 12, 3): centres and sides of squares that never leave the frame."""
    boxes = np.zeros((len(motions), FRAMES, 3))
    for box, clip in zip(boxes, motions, strict=True):
        side, switch, across, down, *pace = rng.random(6)
        switch = FRAMES - 1 if len(clip) == 1 else 4 + int(switch * 4)
        steps = np.zeros((FRAMES, 3))  # of x, of y, of the logarithm of the side
        steps[0, 2] = np.log(8.5 + 1.5 * side)
        parts = (slice(1, switch + 1), slice(switch + 1, FRAMES))
        for part, motion, u in zip(parts, clip, pace, strict=False):
            steps[part] = _step(motion, u)
        steps = steps.cumsum(axis=0)
        side = np.exp(steps[:, 2])
        for k, u in enumerate((across, down)):
            low = (side / 2 - steps[:, k]).max()
            high = (SIDE - side / 2 - steps[:, k]).min()
            box[:, k] = steps[:, k] + low + u * (high - low)
        box[:, 2] = side
    return boxes


def _step(motion, u):
    """Change of x, y and log side in a frame; u in [0, 1) chooses the pace."""
    verb, *where = motion.split()
    if where:
        low, high = WALK if verb == "walks" else RUN
        pace = low + u * (high - low)
        return (*(pace * d for d in DIRECTIONS[where[0]]), 0)
    rate = np.log(GROW[0] + u * (GROW[1] - GROW[0]))
    return 0, 0, {"waits": 0, "grows": rate, "shrinks": -rate}[verb]


def _render(images, boxes):
    """Frames (N, 12, 24, 24) of images (N, 16, 16): interpolation along each axis."""
    n = images.shape[-1]
    side = boxes[:, :, 2, None]  # (N, 12, 1)
    width = np.maximum(1, n / side)[..., None]  # of the filter, in the image's pixels

    def weights(centre):
        at = (np.arange(SIDE) + 0.5 - centre[..., None]) / side * n + n / 2 - 0.5
        far = np.abs(at[..., None] - np.arange(n))  # (N, 12, 24, n)
        return (np.maximum(0, 1 - far / width) / width).astype(np.float32)

    columns = weights(boxes[:, :, 0]).transpose(0, 1, 3, 2)
    frames = weights(boxes[:, :, 1]) @ images[:, None] @ columns
    return np.clip(frames, 0, 1)


def _words(owner, text):
    """The words of a caption, all known."""
    if not isinstance(text, str):
        raise TypeError(
            f"{owner}: expected a caption to be a str, got {type(text).__name__}"
        )
    words = text.split()
    if not words:
        raise ValueError(f"{owner}: expected a caption, got an empty one")
    VOCABULARY.encode(words)  # names the unknown ones
    return words


def _check_digit(owner, digit):
    digit = check_size(owner, "digit", digit, least=0)
    if digit > 9:
        raise ValueError(f"{owner}: expected a digit, 0 to 9, got {digit}")
    return digit


def _read_digits():
    """The table of digits, as bytes; scikit-learn is not imported."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "data set 'moving_digits': the handwritten digits come with scikit-learn, "
            "which is not installed. Get it with: pip install scikit-learn"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    path = folder / "datasets" / "data" / "digits.csv.gz"
    try:
        contents = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"data set 'moving_digits': cannot read {path} ({error}). "
            "Get it with: pip install --force-reinstall scikit-learn"
        ) from error
    found = hashlib.sha256(contents).hexdigest()
    if found != DIGITS_SHA256:
        raise DataError(
            f"data set 'moving_digits': {path} is not the expected table of digits: "
            f"expected sha256 {DIGITS_SHA256}, found {found}"
        )
    return contents
