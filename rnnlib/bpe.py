"""Pieces of words: between characters, of which a text has too many, and words.

Byte-pair encoding starts from characters and merges, again and again, the two
neighbours that stand together most often. Frequent words become one piece, rare ones
stay several, and with the single characters among the pieces no word is unknown.
"""

import heapq
import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np

from rnnlib.checks import check_number, check_size, check_type
from rnnlib.text import PAD, UNK, Vocabulary

SPACE = "\u2581"  # ▁, the space before a word, as a visible part of its first piece
# What a piece never crosses: letters, single digits and single signs stay apart.
CHUNK = re.compile(rf"{SPACE}?(?:[^\W\d_]+|\d|[^\w{SPACE}]|_)|{SPACE}")
CAPITAL, CAPITALS = "\u2191", "\u21c8"  # ↑ and ⇈
WORD = re.compile(r"[^\W\d_]+")
MARKED = re.compile(rf"([{CAPITAL}{CAPITALS}]) ([^\W\d_]+)")


class BytePairEncoding:
    """Cuts texts into pieces, and puts them together again.

    Made by `fit`. Spaces are written ``▁`` and belong to the piece that follows. A
    piece is of letters, or it is one digit or one sign.

    Parameters
    ----------
    alphabet : iterable of str
        The characters that texts are made of; each is a piece.
    merges : iterable of pair of str
        The pieces to join, the most important pair first.
    specials : tuple of str, default=("<pad>", "<unk>")
        Entries that come first in the vocabulary and never out of a text. With
        ``"<unk>"`` among them, it stands for every unknown character.

    Attributes
    ----------
    vocabulary : Vocabulary
        Specials, characters in the order of their codes, then the merged pieces.
    merges : tuple of pair of str

    References
    ----------
    Sennrich, Haddow and Birch, 2016.

    Examples
    --------
    >>> bpe = BytePairEncoding.fit(["low lower lowest", "new newer newest"], merges=6)
    >>> bpe.pieces("newest row?")
    ['▁ne', 'we', 'st', '▁', 'r', 'o', 'w', '<unk>']
    >>> bpe.decode(bpe.encode("lowest newer"))
    'lowest newer'
    """

    def __init__(self, alphabet, merges, specials=(PAD, UNK)):
        self.merges = tuple(map(tuple, merges))
        self._specials = frozenset(specials)
        self._alphabet = frozenset(alphabet)
        joined = dict.fromkeys(a + b for a, b in self.merges)
        self.vocabulary = Vocabulary([*specials, *sorted(self._alphabet), *joined])
        self._rank = {pair: k for k, pair in enumerate(self.merges)}
        self._known = {}  # chunk -> its pieces, without dropout

    @classmethod
    def fit(cls, texts, merges, specials=(PAD, UNK)):
        """Learn the merges from training texts.

        Parameters
        ----------
        texts : iterable of str
            Of the training part only. For pieces that two languages share, the texts
            of both.
        merges : int
            How many to learn, 0 or more; fewer if no pair occurs twice any more.
        specials : tuple of str, default=("<pad>", "<unk>")

        Returns
        -------
        BytePairEncoding
            Of equally frequent pairs the first in alphabetical order is merged.

        Raises
        ------
        TypeError
            If a text is not a str, or ``merges`` is not an integer.
        ValueError
            If there is no text with a character in it.
        """
        merges = check_size("BytePairEncoding.fit", "merges", merges, least=0)
        counts = Counter(c for text in texts for c in _chunks("fit", text))
        if not counts:
            raise ValueError("BytePairEncoding.fit: expected texts, got none")
        chunks = [(list(chunk), n) for chunk, n in counts.items()]
        pairs, places = Counter(), defaultdict(set)
        for k, (pieces, n) in enumerate(chunks):
            for pair in zip(pieces, pieces[1:], strict=False):
                pairs[pair] += n
                places[pair].add(k)
        queue = [(-n, pair) for pair, n in pairs.items()]  # with entries out of date
        heapq.heapify(queue)
        learned = []
        while len(learned) < merges and queue:
            n, best = heapq.heappop(queue)
            if -n != pairs[best]:
                continue  # its count has changed: it is in the queue again
            if -n < 2:
                break
            learned.append(best)
            changed = set()
            for k in places.pop(best):
                pieces, n = chunks[k]
                before = _pairs(pieces, n)
                pieces[:] = _joined(pieces, best)
                after = _pairs(pieces, n)
                pairs.subtract(before)
                pairs.update(after)
                changed |= before.keys() | after.keys()
                for pair in after:
                    places[pair].add(k)
            for pair in changed:
                heapq.heappush(queue, (-pairs[pair], pair))
        alphabet = {character for chunk in counts for character in chunk}
        return cls(alphabet, learned, specials)

    def pieces(self, text, dropout=0.0, seed=None):
        """Cut a text into pieces.

        Parameters
        ----------
        text : str
            Its white space counts as single spaces; at its ends it is dropped.
        dropout : float, default=0.0
            In [0, 1): each merge is left out with this probability, each time anew.
            For training: the same word is seen in several cuts.
        seed : int or numpy.random.Generator, optional
            Of the dropout. A Generator is advanced.

        Returns
        -------
        list of str
            Unknown characters are ``"<unk>"``, if that is among the specials, and stay
            as they are otherwise.

        Raises
        ------
        TypeError
            If the text is not a str, or ``dropout`` is not a number.
        ValueError
            If ``dropout`` is out of range.

        References
        ----------
        Provilkov, Emelianenko and Voita, 2020, for the dropout.
        """
        check_number(
            "BytePairEncoding", "dropout", dropout, lambda p: 0 <= p < 1, "in [0, 1)"
        )
        rng = np.random.default_rng(seed) if dropout else None
        found = []
        for chunk in _chunks("encode", text):
            if rng is not None:
                found += self._cut(chunk, dropout, rng)
            else:
                if chunk not in self._known:
                    self._known[chunk] = self._cut(chunk)
                found += self._known[chunk]
        return found

    def encode(self, text, dropout=0.0, seed=None):
        """Ids of the pieces of a text.

        Parameters
        ----------
        text, dropout, seed
            As in `pieces`.

        Returns
        -------
        ndarray of int64, of shape (N,)
            N is 0 for a text without characters.

        Raises
        ------
        TypeError, ValueError
            As `pieces`; also for an unknown character, if there is no ``"<unk>"``: the
            message names it.
        """
        return self.vocabulary.encode(self.pieces(text, dropout, seed))

    def decode(self, ids):
        """Put pieces together into a text.

        Parameters
        ----------
        ids : array of int, of shape (N,)
            From `encode`, or from a model: any order will do.

        Returns
        -------
        str
            What was encoded, white space and unknown characters aside.

        Raises
        ------
        TypeError, ValueError
            As `Vocabulary.decode`.
        """
        return "".join(self.vocabulary.decode(ids)).replace(SPACE, " ").strip()

    def __len__(self):
        """Entries of the vocabulary."""
        return len(self.vocabulary)

    def __repr__(self):
        return f"BytePairEncoding of {len(self)} pieces"

    def _cut(self, chunk, dropout=0.0, rng=None):
        """The pieces of one chunk: join the best pair until none is left."""
        unknown = UNK if UNK in self._specials else None
        pieces = [
            c if c in self._alphabet or unknown is None else unknown for c in chunk
        ]
        while len(pieces) > 1:
            ranked = [
                (self._rank[pair], k)
                for k, pair in enumerate(zip(pieces, pieces[1:], strict=False))
                if pair in self._rank and (rng is None or rng.random() >= dropout)
            ]
            if not ranked:
                break
            k = min(ranked)[1]
            pieces[k : k + 2] = [pieces[k] + pieces[k + 1]]
        return pieces


def mark_capitals(text):
    """Write capitals as signs, so that a word is the same at the start of a sentence.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        ``↑`` stands before a word that began with a capital, ``⇈`` before one all in
        capitals. Words of mixed case stay as they are.

    Raises
    ------
    TypeError
        If the text is not a str.

    Examples
    --------
    >>> mark_capitals("The IP of your OpenUV")
    '↑ the ⇈ ip of your OpenUV'
    >>> unmark_capitals("↑ the ⇈ ip of your OpenUV")
    'The IP of your OpenUV'
    """
    check_type("mark_capitals", "text", text, str, "a str")

    def mark(match):
        word = match[0]
        lower = word.lower()
        if word == lower:
            return word
        if word == lower.capitalize():
            return f"{CAPITAL} {lower}"
        return f"{CAPITALS} {lower}" if word == lower.upper() else word

    return WORD.sub(mark, text)


def unmark_capitals(text):
    """Undo `mark_capitals`.

    Parameters
    ----------
    text : str
        With signs; those that do not stand before a word, as a model may write them,
        are dropped.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If the text is not a str.
    """
    check_type("unmark_capitals", "text", text, str, "a str")
    text = MARKED.sub(
        lambda m: m[2].capitalize() if m[1] == CAPITAL else m[2].upper(), text
    )
    return " ".join(re.sub(f"[{CAPITAL}{CAPITALS}]", "", text).split())


def _chunks(caller, text):
    """The parts of a text that are cut into pieces one by one."""
    owner = f"BytePairEncoding.{caller}"
    check_type(owner, "the text", text, str, "a str")
    words = unicodedata.normalize("NFC", text).replace(SPACE, " ").split()
    return CHUNK.findall("".join(SPACE + word for word in words))


def _pairs(pieces, n):
    """How often each pair of neighbours stands in a chunk that occurs ``n`` times."""
    counts = Counter(zip(pieces, pieces[1:], strict=False))
    return {pair: n * k for pair, k in counts.items()}


def _joined(pieces, pair):
    """The pieces with the pair joined wherever it stands, from the left."""
    result, k = [], 0
    while k < len(pieces):
        if tuple(pieces[k : k + 2]) == pair:
            result.append(pieces[k] + pieces[k + 1])
            k += 2
        else:
            result.append(pieces[k])
            k += 1
    return result
