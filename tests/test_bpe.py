"""Byte-pair encoding: learned the same way on every run, and lossless."""

import numpy as np
import pytest

from rnnlib.bpe import BytePairEncoding, mark_capitals, unmark_capitals
from rnnlib.text import pad

TEXTS = ["low lower lowest", "new newer newest", "¿Más niños?", "3.5 °C, 3.6 °C"]


@pytest.fixture(scope="module")
def bpe():
    return BytePairEncoding.fit(TEXTS, merges=12)


def plain_merges(texts, merges):
    """The algorithm of the paper, word for word: slow, without any bookkeeping."""
    words = [list("▁" + word) for text in texts for word in text.split()]
    learned = []
    for _ in range(merges):
        counts = {}
        for word in words:
            for pair in zip(word, word[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        learned.append(best)
        for word in words:
            k = 0
            while k < len(word) - 1:
                if (word[k], word[k + 1]) == best:
                    word[k : k + 2] = ["".join(best)]
                k += 1
    return tuple(learned), words


def test_merges_are_those_of_the_plain_algorithm():
    rng = np.random.default_rng(0)
    texts = [
        " ".join("".join(rng.choice(list("abc"), rng.integers(1, 7))) for _ in range(9))
        for _ in range(30)
    ]
    merges, words = plain_merges(texts, 60)
    bpe = BytePairEncoding.fit(texts, merges=60)
    assert bpe.merges == merges
    assert sum(map(bpe.pieces, texts), []) == sum(words, [])


def test_the_merges_do_not_depend_on_the_order_of_the_texts(bpe):
    again = BytePairEncoding.fit(reversed(TEXTS), merges=12)
    assert again.merges == bpe.merges
    assert again.vocabulary.tokens == bpe.vocabulary.tokens


def test_fit_stops_when_no_pair_occurs_twice():
    assert BytePairEncoding.fit(["ab ab"], merges=99).merges == (
        ("a", "b"),
        ("▁", "ab"),
    )
    assert BytePairEncoding.fit(["ab ab"], merges=0).merges == ()


def test_a_merge_that_makes_a_known_piece_adds_none():
    bpe = BytePairEncoding("abc", [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")])
    assert bpe.vocabulary.tokens == ("<pad>", "<unk>", *"abc", "ab", "bc", "abc")


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 0.99])
def test_what_is_encoded_can_be_read_again(bpe, dropout):
    rng = np.random.default_rng(0)
    alphabet = sorted(set("".join(TEXTS)))
    for _ in range(200):
        text = "".join(rng.choice(alphabet, rng.integers(1, 30)))
        ids = bpe.encode(text, dropout=dropout, seed=rng)
        assert ids.dtype == np.int64
        assert bpe.decode(ids) == " ".join(text.split())


def test_pieces_do_not_cross_letters_digits_and_signs():
    bpe = BytePairEncoding.fit(["(a1.b) 12 12 (a1.b) _x_"] * 9, merges=99)
    assert bpe.pieces("(a1.b) 12 _x_") == (
        ["▁(", "a", "1", ".", "b", ")", "▁1", "2", "▁_", "x", "_"]
    )


def test_dropout_cuts_anew_and_a_seed_repeats_it(bpe):
    text = "newest lowest"
    cuts = [tuple(bpe.pieces(text, 0.5, seed)) for seed in range(20)]
    assert len(set(cuts)) > 5
    assert cuts == [tuple(bpe.pieces(text, 0.5, seed)) for seed in range(20)]
    assert bpe.pieces(text, 0.5, 3) != bpe.pieces(text) == bpe.pieces(text)
    generator = np.random.default_rng(0)
    assert bpe.pieces(text, 0.5, generator) != bpe.pieces(text, 0.5, generator)


def test_unknown_characters(bpe):
    assert bpe.pieces("low Ω")[-2:] == ["▁", "<unk>"]
    assert bpe.decode(bpe.encode("low Ω")) == "low <unk>"
    strict = BytePairEncoding.fit(TEXTS, merges=12, specials=())
    with pytest.raises(ValueError, match="unknown 'Ω' at position [0-9]+"):
        strict.encode("low Ω")


def test_an_empty_sentence_has_no_pieces_and_cannot_be_batched(bpe):
    for empty in ("", " \n"):
        assert bpe.encode(empty).shape == (0,)
    assert bpe.decode([]) == ""
    with pytest.raises(ValueError, match=r"sequence 1 of shape \(T,\), got \(0,\)"):
        pad([bpe.encode("low"), bpe.encode("")])


def test_accents_are_composed_and_the_sign_of_a_space_is_a_space(bpe):
    assert bpe.pieces("nin\u0303os") == bpe.pieces("niños")
    assert bpe.decode(bpe.encode("low▁new")) == "low new"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda b: b.encode(b"low"), TypeError, "the text to be a str, got bytes"),
        (lambda b: b.encode("low", dropout=1), ValueError, r"dropout in \[0, 1\)"),
        (lambda b: b.encode("low", dropout="a"), TypeError, "dropout to be a number"),
        (lambda b: b.decode([999]), ValueError, "got 999"),
        (lambda b: b.decode(np.zeros(2)), TypeError, "to be integers"),
        (lambda b: b.fit([], 5), ValueError, "expected texts, got none"),
        (lambda b: b.fit(["", " "], 5), ValueError, "expected texts, got none"),
        (lambda b: b.fit([["a"]], 5), TypeError, "the text to be a str, got list"),
        (lambda b: b.fit(["a"], -1), ValueError, "expected merges >= 0, got -1"),
        (lambda b: b.fit(["a"], 2.0), TypeError, "merges to be an integer"),
        (lambda b: mark_capitals(1), TypeError, "text to be a str, got int"),
        (lambda b: unmark_capitals(None), TypeError, "to be a str, got NoneType"),
    ],
)
def test_bpe_says_what_is_wrong(bpe, call, error, message):
    with pytest.raises(error, match=message):
        call(bpe)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Turn on", "↑ turn on"),
        ("(SIM) OpenUV iOS", "(⇈ sim) OpenUV iOS"),
        ("A Ñandú ÁREA", "↑ a ↑ ñandú ⇈ área"),
        ("Wi-Fi 5GHz", "↑ wi-↑ fi 5GHz"),
        ("İzmir Straße 3", "İzmir ↑ straße 3"),
        ("", ""),
    ],
)
def test_capitals_become_signs_and_come_back(text, marked):
    assert mark_capitals(text) == marked
    assert unmark_capitals(marked) == text


def test_stray_signs_are_dropped():
    assert unmark_capitals("↑ ↑ a ⇈ 3 ↑") == "A 3"
