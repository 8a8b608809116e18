"""English to Spanish: what the screens of a home-automation program say.

Ten thousand pairs of short sentences by volunteers, matched by file and key. The same
English with another capital or full stop is one sentence: it never stands on both sides
of the split.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache

from rnnlib.data._fetch import DataError, read_members

WORDS = range(2, 16)  # English words of a pair that may be held out
LONGEST = 30  # words of an extra pair
HELD_OUT = {"test": 1000, "validation": 500}

MARKUP = re.compile(r"[{}\[\]<>|\\`%]|://")  # what a program fills in or draws
NAME = re.compile(r"\{\w+\}")
SENTENCE_END = re.compile(r"(?<=[.!?]) ")


@dataclass(frozen=True)
class Translations:
    """Pairs ``(English, Spanish)`` and their frozen split.

    Attributes
    ----------
    train : tuple of pair of str
        Pairs of 2 to 15 English words. One English may have several translations.
    validation, test : tuple of pair of str
        The same kind, each English once, with its most frequent translation.
    extra : tuple of pair of str
        For training too: what the same files hold beside these, of other lengths or
        kinds. Single words; the sentences of longer texts; sentences with a name in
        braces for the program to fill in; what stays English.
    """

    train: tuple
    validation: tuple
    test: tuple
    extra: tuple


def sentence_key(text):
    """What two sentences share that differ in capitals and punctuation alone.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        The words in lower case, joined by spaces.

    Examples
    --------
    >>> sentence_key("Turn on the Wi-Fi!")
    'turn on the wi fi'
    """
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFC", text).lower()))


@lru_cache(maxsize=1)
def translations():
    """Load the pairs; the first call fetches 35 MB.

    Returns
    -------
    Translations
        The same object at every call.

    Raises
    ------
    DataError
        If the package file is neither cached nor to be had, or is damaged.

    References
    ----------
    The texts come with the package homeassistant 2024.3.3 (Apache License 2.0). See
    the data card in ``rnnlib/data/README.md``.

    Examples
    --------
    >>> pairs = translations()  # doctest: +SKIP
    >>> len(pairs.test)  # doctest: +SKIP
    1000
    """
    files = read_members(
        "homeassistant",
        "homeassistant/*/translations/e[ns].json",
        sha256="c3922f9373647a8e04b7dcb6ef2765e66a095c736e456a6c4121eb4fad3930cb",
        dataset="translations",
    )
    return _split(_count(files))


def _count(files):
    """How often each pair (English, Spanish) occurs in the files."""
    folders = defaultdict(dict)
    for name, contents in files.items():
        folder, file = name.rsplit("/", 1)
        try:
            folders[folder][file] = dict(_strings(json.loads(contents)))
        except ValueError as error:
            raise DataError(
                f"data set 'translations': expected {name} to be JSON in UTF-8, "
                f"got {error}"
            ) from error
    counts = Counter()
    for languages in folders.values():
        spanish = languages.get("es.json", {})
        for path, text in languages.get("en.json", {}).items():
            pair = _clean(text), _clean(spanish.get(path, ""))
            if all(map(sentence_key, pair)):
                counts[pair] += 1
    return counts


def _strings(tree, path=()):
    """(keys from the root, text) of every text in nested dicts."""
    for key, branch in tree.items():
        if isinstance(branch, dict):
            yield from _strings(branch, (*path, key))
        else:
            yield (*path, key), branch


def _clean(text):
    return " ".join(unicodedata.normalize("NFC", text).split())


def _split(counts):
    """The frozen split of counted pairs."""
    groups, others = defaultdict(list), []
    for pair in sorted(counts, key=lambda p: (-counts[p], p)):
        english, spanish = pair
        plain = not any(map(MARKUP.search, pair))
        if plain and len(english.split()) in WORDS and english != spanish:
            groups[sentence_key(english)].append(pair)
        else:
            others.append(pair)
    # By hash: an order that nothing but the English itself decides.
    keys = sorted(groups, key=lambda k: hashlib.sha256(k.encode()).hexdigest())
    parts, start = {}, 0
    for part, size in HELD_OUT.items():
        chosen = keys[start : start + size]
        parts[part] = tuple(groups[key][0] for key in chosen)
        start += size
    held_out = set(keys[:start])

    def fresh(english):  # no sentence of it is held out
        sentences = [english, *SENTENCE_END.split(english)]
        return held_out.isdisjoint(map(sentence_key, sentences))

    train = [pair for key in keys[start:] for pair in groups[key] if fresh(pair[0])]
    known, extra = set(train), []
    for pair in others:
        for english, spanish in _sentences(pair):
            names = NAME.sub("", english), NAME.sub("", spanish)
            if any(map(MARKUP.search, names)) or not all(map(sentence_key, names)):
                continue
            short = max(len(english.split()), len(spanish.split())) <= LONGEST
            if short and fresh(english) and (english, spanish) not in known:
                known.add((english, spanish))
                extra.append((english, spanish))
    return Translations(tuple(train), **parts, extra=tuple(extra))


def _sentences(pair):
    """The sentences of a long text, if both languages have as many; or the pair."""
    if len(pair[0].split()) in range(WORDS.stop):
        return [pair]
    english, spanish = map(SENTENCE_END.split, pair)
    same = len(english) == len(spanish)
    return list(zip(english, spanish, strict=True)) if same else [pair]
