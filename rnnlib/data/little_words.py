"""Which little word comes next? A small classification task on Shakespeare.

Of a speech we see up to twelve words; the next one is one of the ten most frequent
words of the plays. Which? The task has one label per sequence, real order in it, ten
classes of similar size, and a classical rival (the n-gram) that is hard to beat.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rnnlib.data.shakespeare import SPLITS, shakespeare
from rnnlib.text import Vocabulary, pad, words

CLASSES, CONTEXT, LEAST = 10, 12, 3


@dataclass(frozen=True)
class LittleWords:
    """The task's data, split by play as the plays are.

    Attributes
    ----------
    vocabulary : Vocabulary
        Fitted on the training plays; ids 0 and 1 are ``<pad>`` and ``<unk>``.
    classes : tuple of str
        The ten words, the most frequent first; class k stands for ``classes[k]``.
    train, validation, test : tuple of arrays
        ``(x (N, 12), y (N,), lengths (N,))``: ids of the words before, padded with 0;
        the class of the word that follows; how many words were seen, 3 to 12.
    speeches : mapping of str to list
        Every speech of a split as a list of words: what an n-gram is fitted on.
    """

    vocabulary: Vocabulary
    classes: tuple
    train: tuple
    validation: tuple
    test: tuple
    speeches: dict


@lru_cache(maxsize=2)
def little_words(vocab_size=1000):
    """Build the task from the plays.

    Parameters
    ----------
    vocab_size : int, default=1000
        Entries of the vocabulary, the two special ones included.

    Returns
    -------
    LittleWords

    Raises
    ------
    DataError
        If the plays can neither be read nor fetched.

    Examples
    --------
    >>> task = little_words()  # doctest: +SKIP
    >>> task.classes[:3]  # doctest: +SKIP
    ('the', 'and', 'i')
    """
    plays = shakespeare()
    speeches = {s: [words(speech.text) for speech in plays.speeches(s)] for s in SPLITS}
    counts = Counter(word for speech in speeches["train"] for word in speech)
    vocabulary = Vocabulary.fit(counts.elements(), size=vocab_size)
    ranked = sorted((w for w in counts if w.isalpha()), key=lambda w: (-counts[w], w))
    classes = tuple(ranked[:CLASSES])
    parts = {s: _examples(speeches[s], vocabulary, classes) for s in SPLITS}
    return LittleWords(vocabulary, classes, **parts, speeches=speeches)


def _examples(speeches, vocabulary, classes):
    """(x, y, lengths) of every place where one of the classes follows enough words."""
    number = {word: k for k, word in enumerate(classes)}
    contexts, y = [], []
    for speech in speeches:
        ids = vocabulary.encode(speech)
        for k in range(LEAST, len(speech)):
            if speech[k] in number:
                contexts.append(ids[max(0, k - CONTEXT) : k])
                y.append(number[speech[k]])
    x, lengths = pad(contexts)
    return x, np.array(y), lengths
