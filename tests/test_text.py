"""Words, vocabularies and padding: deterministic, reversible, strict about ids."""

import numpy as np
import pytest

from rnnlib.text import Vocabulary, pad, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'Tis o'er; he lov'd.", ["'tis", "o'er", ";", "he", "lov'd", "."]),
        ("ta'en i' the field", ["ta'en", "i'", "the", "field"]),
        ("'So do I' he said", ["'", "so", "do", "i", "'", "he", "said"]),
        ("and take 'em th' hour", ["and", "take", "'em", "th'", "hour"]),
        ("to-night--no, -5", ["to-night", "--", "no", ",", "-", "5"]),
        ("¿Qué tal, niño?", ["¿", "qué", "tal", ",", "niño", "?"]),
        ("That’s 3.5% of 1,000...", ["that's", "3.5", "%", "of", "1,000", "..."]),
        ("the 5th of 12", ["the", "5th", "of", "12"]),
        ("snake_case", ["snake", "_", "case"]),
        ("  \n\t", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_words_compose_accents_so_that_one_word_is_one_token():
    assert words("nin\u0303o") == words("ni\u00f1o") == ["ni\u00f1o"]


def test_words_needs_text():
    with pytest.raises(TypeError, match="expected text to be a str, got list"):
        words(["a"])


def test_vocabulary_is_ordered_by_frequency_then_alphabet():
    assert Vocabulary.fit("b a c c b d".split()).tokens == (
        *("<pad>", "<unk>"),
        *("b", "c", "a", "d"),
    )
    assert Vocabulary.fit("banana", specials=()).tokens == ("a", "n", "b")


def test_vocabulary_size_counts_the_specials():
    assert Vocabulary.fit("b a c c b d".split(), size=4).tokens[2:] == ("b", "c")
    assert len(Vocabulary.fit("abc", size=100)) == 5
    with pytest.raises(ValueError, match="expected size >= 3, got 2"):
        Vocabulary.fit("abc", size=2)


def test_vocabulary_counts_a_special_once():
    tokens = ["<unk>", "a", "<unk>"]
    assert Vocabulary.fit(tokens).tokens == ("<pad>", "<unk>", "a")


def test_encode_and_decode_are_inverse():
    vocabulary = Vocabulary.fit("the rest is silence .".split())
    ids = vocabulary.encode(["silence", "is", "silence"])
    assert ids.dtype == np.int64
    assert ids.shape == (3,)
    assert vocabulary.decode(ids) == ["silence", "is", "silence"]
    assert vocabulary["rest"] == vocabulary.tokens.index("rest")
    assert "rest" in vocabulary
    assert "noise" not in vocabulary
    assert vocabulary.decode([]) == []
    assert vocabulary.encode([]).dtype == np.int64


def test_unknown_tokens_become_unk():
    vocabulary = Vocabulary.fit(["a"])
    assert vocabulary.encode(["z", "a"]).tolist() == [1, 2]
    assert vocabulary["z"] == 1


def test_without_unk_an_unknown_token_is_named_with_its_position():
    vocabulary = Vocabulary.fit("abc", specials=())
    with pytest.raises(
        ValueError, match="unknown 'x' at position 1, 'y' at position 3$"
    ):
        vocabulary.encode("axby")
    with pytest.raises(ValueError, match="'v' at position 2 and 2 more"):
        vocabulary.encode("tuvwx")


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0.0, 1.0], TypeError, "expected ids to be integers, got dtype float64"),
        ([0, 3], ValueError, r"expected ids in \[0, 3\), got 3"),
        ([-1], ValueError, "got -1"),
        ([[0, 1]], ValueError, r"expected ids of shape \(N,\), got \(1, 2\)"),
    ],
)
def test_decode_is_strict(ids, error, message):
    with pytest.raises(error, match=message):
        Vocabulary("abc").decode(np.array(ids))


def test_vocabulary_refuses_duplicates_and_nothing():
    with pytest.raises(ValueError, match=r"got \['a'\] again"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ValueError, match="expected at least one token"):
        Vocabulary.fit([])


def test_pad_ids_and_features():
    ids, lengths = pad([[1, 2], [3], [4, 5, 6]], value=9)
    assert ids.tolist() == [[1, 2, 9], [3, 9, 9], [4, 5, 6]]
    assert lengths.tolist() == [2, 1, 3]
    assert ids.dtype == lengths.dtype == np.int64
    features, lengths = pad([np.ones((2, 4), "float32"), np.ones((5, 4), "float32")])
    assert features.shape == (2, 5, 4)
    assert features.dtype == np.float32
    assert features[0, 2:].sum() == 0


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one sequence"),
        ([[1], []], r"sequence 1 of shape \(T,\), got \(0,\) \(empty\)"),
        ([3], r"sequence 0 of shape \(T,\), got \(\)"),
        (
            [np.ones((2, 4)), np.ones((2, 3))],
            r"sequence 1 of shape \(T, 4\), got \(2, 3\)",
        ),
    ],
)
def test_pad_says_what_is_wrong(sequences, message):
    with pytest.raises(ValueError, match=message):
        pad(sequences)


def test_pad_does_not_round_the_value():
    with pytest.raises(TypeError, match="expected value to be an integer, got 0.5"):
        pad([[1], [2, 3]], value=0.5)
    assert pad([[1], [2, 3]], value=-1)[0].tolist() == [[1, -1], [2, 3]]
