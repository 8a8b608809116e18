"""One sentence of a movie review and what some twenty people felt when they read it.

10,566 sentences, each rated from -4 (extremely negative) to 4 (extremely positive) by
15 to 29 people. The sign of their mean is the label, the mean itself is a target that
says more, and the single votes show how far people agree. The archive also holds rated
tweets, editorials and product reviews, and a lexicon of rated words.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from rnnlib.data._fetch import read_members

SPLITS = ("train", "validation", "test")
OTHERS = {
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
    "products": "amazonReviewSnippets",
}


@dataclass(frozen=True)
class RatedTexts:
    """Texts and how people rated them.

    Attributes
    ----------
    texts : tuple of N str
    ratings : ndarray of float64, of shape (N,)
        Mean of the votes, -4 to 4.
    votes : ndarray of int64, of shape (N, 9)
        How many people voted -4, -3, …, 4.
    """

    texts: tuple
    ratings: np.ndarray
    votes: np.ndarray

    @property
    def labels(self):
        """Whether the mean rating is above 0, an (N,) array of int64 with 0 and 1."""
        return (self.ratings > 0).astype(np.int64)

    def __len__(self):
        return len(self.texts)


@dataclass(frozen=True)
class MovieSentences:
    """The sentences in their frozen split, and what else the archive holds.

    Attributes
    ----------
    train, validation, test : RatedTexts
        Sentences of movie reviews; no text is twice among them, none has rating 0.
    others : mapping of str to RatedTexts
        ``"tweets"``, ``"editorials"`` and ``"products"``; none of their texts is in
        validation or test. Some have rating 0.
    lexicon : RatedTexts
        Words, abbreviations and emoticons, rated out of context by ten people each:
        knowledge from outside, to be named where it is used.
    """

    train: RatedTexts
    validation: RatedTexts
    test: RatedTexts
    others: Mapping[str, RatedTexts]
    lexicon: RatedTexts


@lru_cache(maxsize=1)
def movie_sentences():
    """Load the sentences; the first call fetches 2 MB.

    A sentence belongs to test or validation because of a hash of its text, so its
    place depends on nothing else; a tenth goes to each.

    Returns
    -------
    MovieSentences
        The same object at every call; its arrays cannot be changed.

    Raises
    ------
    DataError
        If the package file is neither cached nor to be had, or is damaged.

    References
    ----------
    C. J. Hutto and E. Gilbert, "VADER: a parsimonious rule-based model for sentiment
    analysis of social media text", ICWSM 2014. See the data card in
    ``rnnlib/data/README.md``.

    Examples
    --------
    >>> data = movie_sentences()  # doctest: +SKIP
    >>> data.train.texts[1], data.train.ratings[1].round(1)  # doctest: +SKIP
    ('Effective but too tepid biopic', -0.6)
    """
    members = read_members(
        "vaderSentiment",
        "*/hutto_ICWSM_2014.tar.gz",
        sha256="d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
        dataset="movie_sentences",
    )
    (archive,) = members.values()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        movies = _rated(tar, "movieReviewSnippets")
        others = {name: _rated(tar, stem) for name, stem in OTHERS.items()}
        lexicon = _lexicon(tar)
    movies = {key: row for key, row in movies.items() if row[1] != 0}
    split = {key: _split(key) for key in movies}
    parts = {
        s: _stack(row for key, row in movies.items() if split[key] == s) for s in SPLITS
    }
    held_out = {key for key, s in split.items() if s != "train"}
    others = {
        name: _stack(row for key, row in rows.items() if key not in held_out)
        for name, rows in others.items()
    }
    return MovieSentences(**parts, others=MappingProxyType(others), lexicon=lexicon)


def _plain(text):
    """Letters and digits in lower case: equal texts are duplicates."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def _split(plain):
    """Where a sentence belongs; a function of its text alone."""
    share = int.from_bytes(hashlib.sha256(plain.encode()).digest()[:4]) / 2**32
    return "test" if share < 0.1 else "validation" if share < 0.2 else "train"


def _table(tar, name, encoding="utf-8-sig"):
    """Rows of a tab-separated member."""
    contents = tar.extractfile(f"hutto_ICWSM_2014/{name}.txt").read()
    return [row.split("\t") for row in contents.decode(encoding).split("\r\n") if row]


def _rated(tar, stem):
    """{plain text: (text, mean, votes)} of one collection, each text once.

    Left out: texts without a letter, and those whose two files give two means.
    """
    votes = {row[0]: row[3] for row in _table(tar, f"{stem}_anonDataRatings")}
    found = {}
    for key, mean, text in _table(tar, f"{stem}_GroundTruth"):
        row = (text.strip(), float(mean), json.loads(votes[key]))
        if _plain(text) and abs(np.mean(row[2]) - row[1]) < 1e-3:
            found.setdefault(_plain(text), row)
    return found


def _lexicon(tar):
    rows = _table(tar, "vader_sentiment_lexicon", "latin-1")
    return _stack((word, float(mean), json.loads(v)) for word, mean, _, v in rows)


def _stack(rows):
    texts, ratings, votes = zip(*rows, strict=True)
    counts = np.array([np.bincount(np.add(v, 4), minlength=9) for v in votes])
    ratings = np.array(ratings)
    for array in (ratings, counts):
        array.flags.writeable = False
    return RatedTexts(texts, ratings, counts)
