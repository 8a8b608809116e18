"""Movie sentences: frozen, each text in one part only, bad input named."""

import dataclasses
import hashlib
import io
import re
import tarfile

import numpy as np
import pytest

from rnnlib.data import DataError, _fetch, movie_sentences
from rnnlib.data.movie_sentences import SPLITS
from rnnlib.text import Vocabulary, pad, words

OTHERS = {"tweets": 3997, "editorials": 5119, "products": 3687}


def plain(text):
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


@pytest.mark.parametrize(
    ("split", "sentences", "positive", "sha256"),
    [
        ("train", 8454, 4216, "6a444c8857d4dadc"),
        ("validation", 1040, 497, "d0caa60a433655bc"),
        ("test", 1072, 528, "f3cdc51065c0655a"),
    ],
)
def test_the_sentences_are_frozen(split, sentences, positive, sha256):
    part = getattr(movie_sentences(), split)
    assert len(part) == len(part.texts) == sentences
    assert part.ratings.shape == (sentences,) and part.votes.shape == (sentences, 9)
    assert part.labels.sum() == positive
    both = "\n".join(part.texts).encode() + part.votes.astype("<i8").tobytes()
    assert hashlib.sha256(both).hexdigest().startswith(sha256)


def test_ratings_are_the_means_of_the_votes():
    data = movie_sentences()
    for part in (*(getattr(data, s) for s in SPLITS), *data.others.values()):
        mean = part.votes @ np.arange(-4, 5) / part.votes.sum(axis=1)
        np.testing.assert_allclose(part.ratings, mean, atol=1e-3)
        assert (part.votes.sum(axis=1) >= 15).all()
    for split in SPLITS:
        assert (getattr(data, split).ratings != 0).all()


def test_no_text_is_in_two_parts():
    data = movie_sentences()
    parts = [[plain(t) for t in getattr(data, s).texts] for s in SPLITS]
    texts = [text for part in parts for text in part]
    assert len(texts) == len(set(texts)) == 10_566
    held_out = {*parts[1], *parts[2]}
    for name, size in OTHERS.items():
        found = [plain(t) for t in data.others[name].texts]
        assert len(found) == len(set(found)) == size
        assert not held_out & set(found)


def test_the_known_sentences_are_where_they_were():
    data = movie_sentences()
    place = data.train.texts.index("Effective but too tepid biopic")
    assert data.train.ratings[place] == pytest.approx(-0.6)
    assert data.train.votes[place].tolist() == [0, 0, 1, 9, 3, 2, 0, 0, 0]
    assert data.train.labels[place] == 0
    rated = dict(zip(data.lexicon.texts, data.lexicon.ratings, strict=True))
    assert len(data.lexicon) == 7517
    assert rated["great"] == 3.1 and rated["horrible"] == -2.5


def test_the_data_is_loaded_once_and_cannot_be_changed():
    data = movie_sentences()
    assert data is movie_sentences()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.train = None
    with pytest.raises(TypeError):
        data.others["tweets"] = data.test
    with pytest.raises(ValueError, match="read-only"):
        data.test.ratings[0] = 4.0


# ------------------------------------------------------------------- what can go wrong


@pytest.fixture
def fresh():
    """A loader that has forgotten what it read, before and after the test."""
    movie_sentences.cache_clear()
    yield
    movie_sentences.cache_clear()


def stored(tmp_path, monkeypatch, contents):
    """A cache folder that holds these bytes as the carrier's file."""
    (tmp_path / "vaderSentiment-3.3.2.tar.gz").write_bytes(contents)
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path))


def test_a_damaged_download(tmp_path, monkeypatch, fresh):
    stored(tmp_path, monkeypatch, b"half of a tar")
    with pytest.raises(DataError, match="'movie_sentences': .*is damaged.*Delete"):
        movie_sentences()


@pytest.mark.parametrize("other", [False, True])
def test_a_package_without_the_archive_or_with_another(
    other, tmp_path, monkeypatch, fresh
):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        if other:
            name = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
            member = tarfile.TarInfo(name)
            member.size = 7
            tar.addfile(member, io.BytesIO(b"another"))
    pinned = tmp_path / "sources.txt"
    sha256 = hashlib.sha256(file.getvalue()).hexdigest()
    pinned.write_text(f"vaderSentiment==3.3.2 --hash=sha256:{sha256}\n")
    monkeypatch.setattr(_fetch, "SOURCES", pinned)
    stored(tmp_path, monkeypatch, file.getvalue())
    expected = "expected sha256 .*, found" if other else "has no member"
    with pytest.raises(DataError, match=f"'movie_sentences': .*{expected}"):
        movie_sentences()


def test_sentences_that_a_model_cannot_read():
    """No word at all is refused by name; unknown words become <unk>."""
    vocabulary = Vocabulary.fit(words("A pretentious mess"))
    with pytest.raises(ValueError, match=r"sequence 1 .*\(T,\).*\(0,\) \(empty\)"):
        pad([vocabulary.encode(words(text)) for text in ("A mess", "  ")])
    assert vocabulary.decode(vocabulary.encode(words("Øre, zyx"))) == ["<unk>"] * 3
    with pytest.raises(TypeError, match="expected text to be a str, got NoneType"):
        words(None)
