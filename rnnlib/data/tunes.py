"""Irish dance tunes and airs in ABC, a notation in which music is ordinary text.

From O'Neill's *Music of Ireland* (1903), typed in by volunteers. Some of its 1850 tunes
were typed in twice, in slightly different spelling; both settings go to the same split.
"""

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

from rnnlib.data._fetch import DataError, read_members

TEST, VALIDATION = 0.10, 0.05  # shares of the groups of tunes
HEAD = "MLK"  # metre, unit length, key: what the notes mean
NO_NOTES = re.compile(rf"%|(?![{HEAD}])[A-Za-z]:")  # remarks, and fields in between
# What two typists do differently: white space, bar lines, ornaments, remarks.
SPELLING = re.compile(r'\{[^}]*\}|"[^"]*"|![^!\n]*!|[\s~.\\:|\]\[()]')


@dataclass(frozen=True)
class IrishTunes:
    """ABC texts by split; each ends with a newline.

    Attributes
    ----------
    train, validation, test : tuple of str
        A text is the fields ``M:`` (metre), ``L:`` (unit length) and ``K:`` (key), a
        line each, and the notes.
    titles : dict of str to tuple of str
        Titles by split, in the same order.
    """

    train: tuple
    validation: tuple
    test: tuple
    titles: dict


@lru_cache(maxsize=1)
def irish_tunes():
    """Read the tunes.

    Returns
    -------
    IrishTunes

    Raises
    ------
    DataError
        If the data can neither be read nor fetched, or is damaged.

    Examples
    --------
    >>> print(irish_tunes().train[0][:20])  # doctest: +SKIP
    M:6/8
    L:1/8
    K:G
    """
    members = read_members(
        "music21",
        "music21/corpus/oneills1850/*.abc",
        sha256="c45fbfa139a40a00dd465badff3f99dc9177877d00cb7cb7b696e9cdf4fd942e",
        dataset="irish_tunes",
    )
    tunes = []
    for name, contents in members.items():
        text = contents.decode("utf-8").replace("\r\n", "\n")
        parts = re.split(r"(?m)^X:", text)[1:]
        tunes += [_parse(part, name) for part in parts]
    split = _split(tunes)
    texts, titles = ({s: [] for s in ("train", "validation", "test")} for _ in "ab")
    for (_, title, text, _), part in zip(tunes, split, strict=True):
        texts[part].append(text)
        titles[part].append(title)
    return IrishTunes(
        **{s: tuple(t) for s, t in texts.items()},
        titles={s: tuple(t) for s, t in titles.items()},
    )


def _parse(part, name):
    """Number, title, text and unspelt notes of one tune, after its ``X:``."""
    number, *lines = part.split("\n")
    fields, notes = {}, []
    for k, line in enumerate(lines):
        field = re.match(r"([A-Za-z]):\s*(.*?)\s*$", line)
        if field:
            fields.setdefault(field[1], field[2])
        if field and field[1] == "K":
            notes = lines[k + 1 :]
            break
    notes = [re.sub(r"\s+", " ", line).strip() for line in notes]
    notes = "\n".join(line for line in notes if line and not NO_NOTES.match(line))
    if not notes or not {"K", "M"} <= fields.keys():
        raise DataError(
            f"data set 'irish_tunes': tune {number.strip()} of {name}: no notes"
        )
    fields.setdefault("L", "1/8")
    head = "".join(f"{f}:{fields[f].split('%')[0].strip()}\n" for f in HEAD)
    bare = SPELLING.sub("", notes)
    return int(number), fields.get("T", ""), f"{head}{notes}\n", bare


def _split(tunes):
    """The split of each tune; tunes of one number or with equal notes stay together."""
    group = {}  # number or notes -> representative

    def find(key):
        while group.setdefault(key, key) != key:
            key = group[key]
        return key

    for number, _, _, bare in tunes:
        group[find(bare)] = find(number)
    members = defaultdict(list)
    for k, (number, *_) in enumerate(tunes):
        members[find(number)].append(k)

    def order(key):  # of no meaning, but the same everywhere
        return hashlib.sha256(str(key).encode()).hexdigest()

    keys = sorted(members, key=order)
    test = round(TEST * len(keys))
    held = test + round(VALIDATION * len(keys))
    split = ["train"] * len(tunes)
    for k, key in enumerate(keys[:held]):
        for tune in members[key]:
            split[tune] = "test" if k < test else "validation"
    return split
