"""From text to numbers and back: words, vocabularies, padded batches of ids.

A network sees ids. Everything that decides which id stands for which word is here and
is deterministic, so that weights trained last year still fit the words of today.
"""

import re
import unicodedata
from collections import Counter

import numpy as np

from rnnlib.checks import check_ids, check_shape, check_size

PAD = "<pad>"
UNK = "<unk>"

# Elisions that begin or end with an apostrophe; elsewhere there it is a quotation mark.
BEGIN = (
    "tis|twas|twere|twill|twould|twixt|tween|gainst|mongst|fore|bout|bove|cause|till|em"
    "|scape[sd]?|larums?|prentices?|havior|faith|ll|s|t"
)
TOKEN = re.compile(
    rf"""
      '(?i:{BEGIN})\b                   # 'tis
    | \b(?:[oi]|wi|[Tt]h)'(?!\w)        # o' the, i' faith
    | \d+(?:[.,]\d+)+                   # 3.5  1,000
    | [^\W_]+(?:['-][^\W_]+)*           # love  o'er  lov'd  to-night  5th
    | --+                               # a dash
    | \.\.\.
    | [^\w\s] | _                       # any other sign by itself
    """,
    re.VERBOSE,
)


def words(text):
    """Split a text into lower-case words and punctuation signs.

    Apostrophes and hyphens inside a word belong to it; white space is dropped.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        If `text` is not a str.

    Examples
    --------
    >>> words("'Tis o'er, I lov'd--'Ay!'")
    ["'tis", "o'er", ',', 'i', "lov'd", '--', "'", 'ay', '!', "'"]
    """
    if not isinstance(text, str):
        raise TypeError(f"words: expected text to be a str, got {type(text).__name__}")
    text = unicodedata.normalize("NFC", text).replace("\u2019", "'")  # ’ as in don’t
    return [token.lower() for token in TOKEN.findall(text)]


class Vocabulary:
    """Two-way table between tokens and ids.

    Tokens may be words, characters or any other strings: a str given as `tokens` is a
    sequence of characters.

    Parameters
    ----------
    tokens : iterable of str
        The token of id 0, of id 1 and so on, each once. With ``"<unk>"`` among them,
        it stands for every unknown token.

    Attributes
    ----------
    tokens : tuple of str
        Token by id.

    Raises
    ------
    ValueError
        If a token occurs twice.

    Examples
    --------
    >>> vocabulary = Vocabulary.fit(["to", "be", "or", "not", "to", "be"], size=4)
    >>> vocabulary.tokens
    ('<pad>', '<unk>', 'be', 'to')
    >>> vocabulary.encode(["to", "do"])
    array([3, 1])
    >>> vocabulary.decode([3, 1])
    ['to', '<unk>']
    >>> "be" in vocabulary, vocabulary["be"], len(vocabulary)
    (True, 2, 4)
    """

    def __init__(self, tokens):
        self.tokens = tuple(tokens)
        self._index = {token: i for i, token in enumerate(self.tokens)}
        if len(self._index) < len(self.tokens):
            twice = [t for t, n in Counter(self.tokens).items() if n > 1]
            raise ValueError(f"Vocabulary: expected each token once, got {twice} again")

    @classmethod
    def fit(cls, tokens, size=None, specials=(PAD, UNK)):
        """Collect the tokens of a training text, the most frequent first.

        Parameters
        ----------
        tokens : iterable of str
            Training tokens; of the training part only.
        size : int, optional
            Most entries to keep, specials included. Default: all.
        specials : tuple of str, default=("<pad>", "<unk>")
            Entries that come first, whether they occur or not.

        Returns
        -------
        Vocabulary
            Equally frequent tokens are in alphabetical order.

        Raises
        ------
        ValueError
            If `size` leaves no room for a token, or if there is no token.
        """
        counts = Counter(tokens)
        ranked = sorted(counts.keys() - set(specials), key=lambda t: (-counts[t], t))
        if not ranked:
            raise ValueError("Vocabulary.fit: expected at least one token, got none")
        if size is not None:
            size = check_size("Vocabulary.fit", "size", size, len(specials) + 1)
            ranked = ranked[: size - len(specials)]
        return cls([*specials, *ranked])

    def encode(self, tokens):
        """Ids of tokens.

        Parameters
        ----------
        tokens : sequence of str
            N tokens.

        Returns
        -------
        ndarray of int64, of shape (N,)

        Raises
        ------
        ValueError
            If a token is unknown and the vocabulary has no ``"<unk>"``; names the
            first such tokens and their positions.
        """
        unknown = self._index.get(UNK, -1)
        ids = np.array([self._index.get(t, unknown) for t in tokens], dtype=np.int64)
        if unknown < 0 and (missing := np.flatnonzero(ids < 0)).size:
            named = ", ".join(f"{tokens[i]!r} at position {i}" for i in missing[:3])
            more = f" and {missing.size - 3} more" if missing.size > 3 else ""
            raise ValueError(
                f"Vocabulary of {len(self)} tokens, without {UNK!r}: "
                f"unknown {named}{more}"
            )
        return ids

    def decode(self, ids):
        """Tokens of ids.

        Parameters
        ----------
        ids : array of int, of shape (N,)

        Returns
        -------
        list of str

        Raises
        ------
        TypeError
            If the ids are not integers.
        ValueError
            If there is more than one axis, or an id is not in ``[0, len(self))``.
        """
        ids = np.asarray(ids)
        if ids.size == 0:
            return []
        check_shape("Vocabulary.decode", "ids", ids, ("N",))
        check_ids("Vocabulary.decode", ids, 0, len(self))
        return [self.tokens[i] for i in ids.tolist()]

    def __getitem__(self, token):
        """Id of one token, as `encode` gives it."""
        return int(self.encode([token])[0])

    def __contains__(self, token):
        return token in self._index

    def __len__(self):
        return len(self.tokens)

    def __repr__(self):
        return f"Vocabulary of {len(self)} tokens"


def pad(sequences, value=0):
    """Stack sequences of different lengths into one array.

    Parameters
    ----------
    sequences : sequence of N arrays, each of shape (T_n,) or (T_n, I)
        Ids, or features. None may be empty.
    value : int or float, default=0
        What stands after the end of a sequence.

    Returns
    -------
    padded : ndarray of shape (N, T) or (N, T, I)
        T is the longest length. Integers become int64, other types stay.
    lengths : ndarray of int64, of shape (N,)

    Raises
    ------
    ValueError
        If there is no sequence, one is empty, or their shapes differ past the first
        axis.
    TypeError
        If the sequences are integers and `value` is not.

    Examples
    --------
    >>> ids, lengths = pad([[5, 6, 7], [8]])
    >>> ids
    array([[5, 6, 7],
           [8, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError("pad: expected at least one sequence, got none")
    for n, array in enumerate(arrays):
        check_shape("pad", f"sequence {n}", array, ("T", *arrays[0].shape[1:]))
    dtype = np.result_type(*arrays)
    if np.issubdtype(dtype, np.integer):
        dtype = np.int64
        check_size("pad", "value", value, least=-np.inf)  # 0.5 would become 0
    lengths = np.array([len(array) for array in arrays])
    shape = (len(arrays), lengths.max(), *arrays[0].shape[1:])
    padded = np.full(shape, value, dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths
