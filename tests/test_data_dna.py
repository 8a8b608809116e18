"""The helpers of `rnnlib.data.dna`: what they make of DNA, and of what is none."""

import numpy as np
import pytest

from rnnlib.data import dna

SEQUENCES = ["ACGTACGTAA", "TTACGTACGG", "GGGGGCCCCC", "ACG", "TACGTACNTA"]


@pytest.mark.parametrize(
    ("sequences", "error", "message"),
    [
        ("ACGT", TypeError, "expected a list of sequences, got one str"),
        (["ACGT", b"ACGT"], TypeError, "expected str, got bytes as sequence 1"),
        (["ACGT", "ACG"], ValueError, "expected 4 bases, got 3 in sequence 1"),
        (["ACGT", "ACXT"], ValueError, "got 'X' at position 2 of sequence 1"),
        (["ACGT", "acgt"], ValueError, "got 'a' at position 0 of sequence 1"),
        (["ACGU"], ValueError, "got 'U' at position 3 of sequence 0"),
        (["AC-Ä"], ValueError, "got '-' at position 2 of sequence 0"),
        (["", ""], ValueError, "expected at least one base, got 0 in sequence 0"),
    ],
)
def test_what_is_no_dna_is_named(sequences, error, message):
    with pytest.raises(error, match=message):
        dna.one_hot(sequences)


def test_what_is_no_dna_is_named_by_all():
    for function in (dna.reverse_complement, dna.codons):
        with pytest.raises(ValueError, match="got 'u' at position 1"):
            function("Aug")
        with pytest.raises(ValueError, match="expected at least one base, got 0"):
            function("")
        with pytest.raises(TypeError, match="expected str, got NoneType"):
            function(None)
    with pytest.raises(ValueError, match="got '!' at position 0 of sequence 1"):
        dna.shared_kmers(["ACG", "!"])
    for k in (0, 32):
        with pytest.raises(ValueError, match=f"expected k from 1 to 31, got {k}"):
            dna.shared_kmers(SEQUENCES, k)


def test_every_row_of_one_hot_adds_up_to_one():
    x = dna.one_hot(["".join(dna.LETTERS)])
    assert x.shape == (1, 15, 4) and x.dtype == np.float32
    np.testing.assert_allclose(x.sum(-1), 1, rtol=1e-6)
    for row, bases in zip(x[0], dna.LETTERS.values(), strict=True):
        assert "".join(np.array([*dna.BASES])[row > 0]) == "".join(sorted(bases))
    assert dna.one_hot([]).shape == (0, 0, 4)


def test_the_other_strand_of_the_other_strand():
    letters = "".join(dna.LETTERS)
    assert dna.reverse_complement(dna.reverse_complement(letters)) == letters
    x, other = dna.one_hot([letters]), dna.one_hot([dna.reverse_complement(letters)])
    np.testing.assert_array_equal(other, x[:, ::-1, ::-1])  # A-T and C-G


def test_codons_are_read_from_the_first_base():
    expected = [
        64 if "N" in t else sum(4 ** (2 - j) * "ACGT".index(t[j]) for j in range(3))
        for t in ("TAC", "GTA", "CNT")
    ]
    assert dna.codons("TACGTACNTA").tolist() == expected
    assert dna.codons("AC").tolist() == []


@pytest.mark.parametrize("k", [2, 4, 7])
def test_shared_stretches_are_counted(k):
    sets = [
        {s[i : i + k] for i in range(len(s) - k + 1) if "N" not in s[i : i + k]}
        for s in SEQUENCES
    ]
    expected = [[len(a & b) for b in sets] for a in sets]
    assert dna.shared_kmers(SEQUENCES, k).toarray().tolist() == expected


def test_relatives_are_found_through_others():
    shared = dna.shared_kmers(["AACCGG", "CCGGTT", "GGTTAC", "AAAAAA", "ACG"], k=3)
    assert shared.toarray()[0].tolist() == [4, 2, 0, 0, 0]
    assert dna.related(shared).tolist() == [0, 0, 0, 1, 2]
    assert len(set(dna.related(shared, share=0.6).tolist())) == 5


def test_groups_are_dealt_whole_and_evenly():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.integers(1, 9, size=200))
    y = (groups * 7 % 3).astype(int)
    folds = dna.deal_groups(groups, y)
    assert len(set(zip(groups.tolist(), folds.tolist(), strict=True))) == 200
    for k in range(3):
        dealt = np.bincount(folds[y == k], minlength=5)
        assert dealt.max() - dealt.min() <= 8
