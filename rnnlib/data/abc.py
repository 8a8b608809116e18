"""Read ABC, music as text: keys, notes and bars; write a tune in another key.

What is understood is what `irish_tunes` holds: one voice, with the fields ``M:``
(metre), ``L:`` (unit length) and ``K:`` (key).
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from rnnlib.checks import check_type

LETTERS = "CDEFGAB"
NATURAL = (0, 2, 4, 5, 7, 9, 11)  # semitones above C
FIFTHS = "FCGDAEB"  # the order in which sharps come; flats come from its end
ACCIDENTALS = {"__": -2, "_": -1, "=": 0, "^": 1, "^^": 2}
SIGNS = {value: sign for sign, value in ACCIDENTALS.items()}
MODES = {  # fifths above the major key with the same tonic
    "": 0,
    "maj": 0,
    "ion": 0,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "mix": -1,
    "dor": -2,
    "phr": -4,
    "lyd": 1,
    "loc": -5,
}
IN_TIME = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # so many notes in the time of so many others
TOKEN = re.compile(
    r"""
    (?P<field>^[KLM]:[^\n]*)|\[(?P<inline>[KLM]:[^\]\n]*)\]
    |(?P<text>"[^"\n]*"|![^!\n]*!)
    |(?P<tuplet>\([2-9](?::\d*){0,2})
    |(?P<bar>\[\||:*\|[|\]:]*|::)
    |(?P<ending>\[[1-4]|(?<=[|:])[1-4])
    |(?P<accidental>\^\^?|__?|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)
     (?P<length>\d*(?:/\d+|/*))
    |(?P<rest>[xz])(?P<pause>\d*(?:/\d+|/*))
    |(?P<broken>>+|<+)
    |(?P<open>[\[({])|(?P<close>\])(?P<all>\d*(?:/\d+|/*))|(?P<shut>[)}])
    |(?P<sign>[-~.*+!H-Wh-wYyZ])
    |(?P<space>[ \n]|\\\n)
    """,
    re.VERBOSE | re.MULTILINE,
)
CLOSING = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True)
class Note:
    """A note or a rest.

    Attributes
    ----------
    pitch : int or None
        MIDI number, 60 is middle C; None for a rest.
    start, length : Fraction
        In whole notes. A grace note has length 0.
    """

    pitch: int | None
    start: Fraction
    length: Fraction


@dataclass(frozen=True)
class Bar:
    """What stands between two bar lines.

    Attributes
    ----------
    start, length, metre : Fraction
        In whole notes. The length is what it holds, the metre what it should hold.
    inner : bool
        True unless a section begins or ends at one of its lines. There a bar may be
        short: an upbeat and the last bar of a section make up one bar.
    """

    start: Fraction
    length: Fraction
    metre: Fraction
    inner: bool


@dataclass(frozen=True)
class Tune:
    """A tune as it is written, repeats not played.

    Attributes
    ----------
    key : str
        As in the head.
    metre, unit : Fraction
    notes : tuple of Note
    bars : tuple of Bar
        Those that hold a note.
    """

    key: str
    metre: Fraction
    unit: Fraction
    notes: tuple
    bars: tuple


def parse(text):
    """Read a tune.

    Parameters
    ----------
    text : str
        Lines ``M:``, ``L:`` and ``K:``, then the notes.

    Returns
    -------
    Tune

    Raises
    ------
    TypeError
        If the text is no str.
    ValueError
        Where the text is no ABC: the line, the column and what stands there.

    Examples
    --------
    >>> tune = parse("M:2/4\\nL:1/8\\nK:D\\nF2 A>c | d4 |]\\n")
    >>> [note.pitch for note in tune.notes]
    [66, 69, 73, 74]
    >>> [str(bar.length) for bar in tune.bars]
    ['1/2', '1/2']
    """
    return _Reader(text).read()


def read_key(text):
    """Tonic and number of sharps of a key.

    Parameters
    ----------
    text : str
        As after ``K:``: ``"Bb"``, ``"Em"``, ``"Ador"``.

    Returns
    -------
    tuple of (str, int)
        Minus the number of flats, if it has flats.

    Raises
    ------
    TypeError, ValueError
        If it is no key.

    Examples
    --------
    >>> read_key("Ador")
    ('A', 1)
    """
    check_type("read_key", "text", text, str, "a str")
    match = re.fullmatch(r"\s*([A-G])([#b]?)\s*([A-Za-z]*)\s*", text)
    mode = match[3].lower()[:3] if match else None
    if mode not in MODES or mode in ("m", "") and len(match[3]) > 1:
        raise ValueError(f"read_key: expected a key such as G or Em, got {text!r}")
    sharps = FIFTHS.index(match[1]) - 1 + 7 * ((match[2] == "#") - (match[2] == "b"))
    sharps += MODES[mode]
    if not -7 <= sharps <= 7:
        raise ValueError(f"read_key: {text!r} has {abs(sharps)} accidentals")
    return match[1] + match[2], sharps


def transpose(text, tonic, octaves=0):
    """The same tune in another key.

    Every note moves by the same number of semitones. Accidentals are written anew, so
    that they mean the same step of the scale. Words in the text stay as they are.

    Parameters
    ----------
    text : str
        A tune.
    tonic : str
        ``"D"``, ``"Bb"`` …: of the new key, the mode stays. The nearest one, above or
        below.
    octaves : int, default=0
        Octaves to add to it.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If the text is no str.
    ValueError
        If there is no such key, or a note or a key would need three accidentals.

    Examples
    --------
    >>> print(transpose("M:2/4\\nL:1/8\\nK:D\\nF2 A>=c | d4 |]\\n", "G"))
    M:2/4
    L:1/8
    K:G
    B2 d>=f | g4 |]
    <BLANKLINE>
    """
    check_type("transpose", "text", text, str, "a str")
    first = re.search(r"^K:([^\n]*)", text, re.MULTILINE)
    if first is None:
        raise ValueError("transpose: expected a tune with a line K:, got none")
    old, _ = read_key(first[1])
    new, _ = read_key(tonic)
    by = (_height(new) - _height(old) + 6) % 12 - 6 + 12 * octaves  # semitones
    letters = LETTERS.index(new[0]) - LETTERS.index(old[0])
    exact = _height(new) - _height(old)
    steps = letters + 7 * ((by - exact) // 12)
    sharps = [0, 0]

    def key(value):
        name, sharps[0] = read_key(value)
        letter = LETTERS[(LETTERS.index(name[0]) + steps) % 7]
        sign = (_height(name) + by - NATURAL[LETTERS.index(letter)] + 6) % 12 - 6
        if abs(sign) > 1:
            raise ValueError(f"transpose: no name for {value!r} moved by {by}")
        moved = letter + {0: "", 1: "#", -1: "b"}[sign]
        result = re.sub(r"[A-G][#b]?", moved, value, count=1)
        _, sharps[1] = read_key(result)
        return result

    def move(match):
        field = match["field"] or match["inline"]
        if field:
            if field[0] != "K":
                return match[0]
            return match[0].replace(field, f"K:{key(field[2:])}")
        if not match["letter"]:
            return match[0]
        place = _place(match["letter"], match["octave"])
        sign = match["accidental"] or ""
        if sign:
            change = ACCIDENTALS[sign] - _signature(sharps[0], place)
            value = change + _signature(sharps[1], place + steps)
            if value not in SIGNS:
                raise ValueError(f"transpose: {match[0]!r} would need {value} signs")
            sign = SIGNS[value]
        return sign + _letter(place + steps) + match["length"]

    return TOKEN.sub(move, text)


def _height(name):
    """Semitones of a tonic above C."""
    return NATURAL[LETTERS.index(name[0])] + name.count("#") - name.count("b")


def _place(letter, octave):
    """Number of a note on the staff, 0 for C; 7 more is an octave."""
    high = 7 * letter.islower()
    return (
        LETTERS.index(letter.upper())
        + high
        + 7 * (octave.count("'") - octave.count(","))
    )


def _letter(place):
    """How the note with this number is written."""
    octave, letter = divmod(place, 7)
    if octave > 0:
        return LETTERS[letter].lower() + "'" * (octave - 1)
    return LETTERS[letter] + "," * -octave


def _signature(sharps, place):
    """What the key adds to a note, in semitones."""
    order = FIFTHS.index(LETTERS[place % 7])
    return int(order < sharps) - int(6 - order < -sharps)


def _fraction(text, name):
    """A field's value such as 6/8; C is 4/4 and C| is 2/2."""
    text = {"C": "4/4", "C|": "2/2"}.get(text.strip(), text.strip())
    if not re.fullmatch(r"[1-9]\d?/(1|2|4|8|16|32)", text):
        raise ValueError(
            f"parse: {name}: expected a fraction such as 6/8, got {text!r}"
        )
    return Fraction(text)


def _length(text):
    """The factor that stands after a note: 3, 3/2, /, // …"""
    number, slash, below = text.partition("/")
    if not slash:
        return Fraction(int(number or 1))
    below = 2 ** (1 + len(below)) if set(below) <= {"/"} else int(below)
    if below == 0:
        raise ValueError(f"parse: a length {text!r}")
    return Fraction(int(number or 1), below)


class _Reader:
    """Reads one tune, from its first character to its last."""

    def __init__(self, text):
        check_type("parse", "text", text, str, "a str")
        self.text = text
        self.metre = self.unit = self.sharps = self.key = None  # of the head
        self.bar_metre = self.bar_unit = self.compound = None  # of here
        self.notes, self.bars = [], []
        self.now = Fraction(0)
        self.open = []  # brackets
        self.opened = Fraction(0)  # where the bar began
        self.inner = False  # whether the bar line there is inside a section
        self.accidentals = {}  # of this bar, by place
        self.factor = Fraction(1)  # of the next note, after > or <
        self.tuplet = (0, Fraction(1))  # notes left, and their factor
        self.chord = None  # the length of its notes

    def read(self):
        at = 0
        while at < len(self.text):
            match = TOKEN.match(self.text, at)
            if match is None:
                self._fail(at, "unexpected")
            try:
                self._take(match)
            except ValueError as error:
                self._fail(at, str(error).removeprefix("parse: "))
            at = match.end()
        if self.metre is None or self.unit is None or self.key is None:
            raise ValueError("parse: expected the fields M:, L: and K:")
        if self.open:
            raise ValueError(f"parse: {self.open[-1]!r} is never closed")
        self._line(inner=False)
        if not self.notes:
            raise ValueError("parse: expected notes, got none")
        return Tune(
            self.key, self.metre, self.unit, tuple(self.notes), tuple(self.bars)
        )

    def _fail(self, at, why):
        before = self.text[:at].split("\n")
        found = self.text[at : at + 10].split("\n")[0]
        raise ValueError(
            f"parse: line {len(before)}, column {len(before[-1]) + 1}: {why}, "
            f"at {found!r}"
        )

    def _take(self, m):
        kind = m.lastgroup
        if field := m["field"] or m["inline"]:
            self._field(field[0], field[2:])
        elif kind in ("space", "text", "ending", "sign"):
            pass
        elif None in (self.key, self.bar_metre, self.bar_unit):
            raise ValueError("expected M:, L: and K: before the notes")
        elif kind == "bar":
            if set(self.open) & {"[", "{"}:
                raise ValueError(f"a bar line inside {self.open[-1]!r}")
            self._line(inner=m[0] == "|")
        elif m["letter"] or m["rest"]:
            self._note(m)
        elif kind == "tuplet":
            self._tuplet(m[0])
        elif kind == "broken":
            self._broken(m[0])
        elif kind == "open":
            if m[0] != "(" and set(self.open) & {"[", "{"}:
                raise ValueError(f"{m[0]!r} inside {self.open[-1]!r}")
            self.open.append(m[0])
        else:
            self._close(m)

    def _field(self, name, value):
        if name == "K":
            _, self.sharps = read_key(value)
            self.key = self.key or value.strip()
        elif name == "M":
            metre = self.bar_metre = _fraction(value, "M")
            self.compound = value.strip() in ("6/8", "9/8", "12/8")
            self.metre = self.metre or metre
        else:
            self.bar_unit = _fraction(value, "L")
            self.unit = self.unit or self.bar_unit

    def _line(self, inner):
        if self.now > self.opened:
            if self.tuplet[0]:
                raise ValueError("a bar line inside a tuplet")
            if self.factor != 1:
                raise ValueError("no note after > or <")
            self.bars.append(
                Bar(
                    self.opened,
                    self.now - self.opened,
                    self.bar_metre,
                    inner and self.inner,
                )
            )
            self.inner = inner
        else:
            self.inner = self.inner and inner
        self.opened = self.now
        self.accidentals = {}

    def _note(self, m):
        pitch = None
        if m["letter"]:
            place = _place(m["letter"], m["octave"])
            if m["accidental"]:
                self.accidentals[place] = ACCIDENTALS[m["accidental"]]
            own = _signature(self.sharps, place)
            octave, letter = divmod(place, 7)
            pitch = (
                60 + 12 * octave + NATURAL[letter] + self.accidentals.get(place, own)
            )
        length = self.bar_unit * _length(m["length"] or m["pause"] or "")
        if "{" in self.open:
            self.notes.append(Note(pitch, self.now, Fraction(0)))
        elif "[" in self.open:
            self.chord = length if self.chord is None else self.chord
            self.notes.append(Note(pitch, self.now, length))
        else:
            length = self._timed(length)
            self.notes.append(Note(pitch, self.now, length))
            self.now += length

    def _timed(self, length):
        """The length of a note in its tuplet and after its neighbour's > or <."""
        left, share = self.tuplet
        length *= self.factor * (share if left else 1)
        self.tuplet = (max(left - 1, 0), share)
        self.factor = Fraction(1)
        return length

    def _tuplet(self, text):
        if self.tuplet[0] or set(self.open) & {"[", "{"}:
            raise ValueError("a tuplet inside another or inside a bracket")
        numbers = [int(n) if n else 0 for n in text[1:].split(":")] + [0, 0]
        notes, time, among = numbers[:3]
        time = time or IN_TIME.get(notes, 3 if self.compound else 2)
        self.tuplet = (among or notes, Fraction(time, notes))

    def _broken(self, text):
        if not self.notes or set(self.open) & {"[", "{"} or len(text) > 3:
            raise ValueError("expected a note before > or <")
        if self.now == self.opened or self.factor != 1:
            raise ValueError("expected a note before > or <")
        short = Fraction(1, 2 ** len(text))
        before, self.factor = (
            (2 - short, short) if text[0] == ">" else (short, 2 - short)
        )
        start = next(n.start for n in reversed(self.notes) if n.length)
        length = self.now - start
        self.notes = [
            Note(n.pitch, n.start, n.length * before)
            if n.start == start and n.length
            else n
            for n in self.notes
        ]
        self.now += length * (before - 1)

    def _close(self, m):
        mark = m[0][0]
        matching = [k for k in self.open if CLOSING[k] == mark]
        if not matching:
            raise ValueError(f"{mark!r} closes nothing")
        if mark != ")" and self.open[-1] != matching[-1]:
            raise ValueError(f"{mark!r} closes nothing")
        self.open.reverse()
        self.open.remove(matching[-1])
        self.open.reverse()
        if mark == "]":
            if self.chord is None:
                raise ValueError("a chord without notes")
            factor = _length(m["all"])
            own, start = self.chord, self.now
            length = self._timed(own * factor)
            self.notes = [
                Note(n.pitch, n.start, n.length * length / own)
                if n.start == start and n.length
                else n
                for n in self.notes
            ]
            self.now += length
            self.chord = None


QUARTER = 24  # ticks of a quarter of a unit: it can be divided by 2 and by 3
BARS = ("|", "||", "|]", "|:", ":|", ":||", "::", "|1", "|2", ":|2", "|[1", ":|[2")
INNER = {"|", "|1", "|2", "|[1"}  # the others begin or end a section
ORNAMENTS = frozenset("~.TH")
PITCHES = frozenset(
    sign + letter
    for sign in ("", "^", "=", "_")
    for letter in [*"CDEFGABcdefgab", "A,", "B,", "G,", "c'", "d'"]
)
LENGTHS = {
    text: int(4 * QUARTER * _length(text))
    for text in ("", "2", "3", "4", "6", "8", "/", "/2", "/4", "//", "3/2", "3/4")
}


@dataclass(frozen=True)
class _State:
    """Where a `Writer` is, between two tokens."""

    begun: bool = False  # whether there is a note
    filled: int = 0  # ticks of this bar
    upbeats: frozenset = frozenset([0])
    section: bool = True  # whether this bar began with a section
    pitch: bool = False  # a pitch or rest was written; its length comes next
    rest: bool = False  # that was a rest
    length: str | None = None  # of the note before; also of the next in its group
    left: int = 0  # notes to come of a triplet, or of a pair with > or <
    triplet: bool = False  # which of the two
    slurs: tuple = ()  # notes in each open slur
    grace: int | None = None  # notes in { }
    before: str = "line"  # the kind of token before


class Writer:
    """Says which characters may come next in a tune, so that every bar is full.

    It knows a part of ABC: notes and rests with lengths of quarters of a unit and more,
    dotted pairs, triplets of equal notes, grace notes, slurs inside a bar, ties,
    ornaments, bar lines. Bars are full, but an upbeat and the end of a section make up
    one bar. Whatever it lets through to its end, `parse` can read.

    Parameters
    ----------
    metre, unit : str
        As in the head of the tune, which the writer does not read: ``"6/8"``,
        ``"1/8"``.

    Raises
    ------
    ValueError
        If a bar is not a whole number of quarters of units.

    Examples
    --------
    >>> writer = Writer("2/4", "1/8")
    >>> for character in "F4 | F2 A":
    ...     writer.feed(character)
    >>> sorted(writer.allowed() & set("24|>c"))
    ['2', '>', 'c']
    """

    def __init__(self, metre, unit):
        metre, unit = _fraction(metre, "M"), _fraction(unit, "L")
        ticks = 4 * QUARTER * metre / unit
        if ticks % QUARTER:
            raise ValueError(f"Writer: no bars of {metre} with a unit length of {unit}")
        self.metre = int(ticks)
        self.state, self.token = _State(), ""

    def allowed(self):
        """Characters that may come next.

        Returns
        -------
        set of str
            The empty string is in it if the tune may end here.
        """
        tokens, n = self._options(self.state), len(self.token)
        found = {t[n] for t in tokens if len(t) > n and t.startswith(self.token)}
        if self.token in tokens:
            state = self._after(self.state, self.token)
            following = self._options(state)
            if state.pitch and "" in following:
                following |= self._options(self._after(state, ""))
                following.discard("")
            found |= {t[:1] for t in following}
        return found

    def feed(self, character):
        """Take the next character.

        Parameters
        ----------
        character : str

        Raises
        ------
        ValueError
            If it is not allowed.
        """
        if not character or character not in self.allowed():
            raise ValueError(f"Writer: {character!r} cannot come here")
        longer = self.token + character
        while not any(t.startswith(longer) for t in self._options(self.state)):
            self.state = self._after(self.state, self.token)
            self.token, longer = "", character
        self.token = longer

    def _options(self, s):
        """Tokens that may come next; "" is the end, or a length of nothing."""
        room = self.metre - s.filled
        if s.pitch:
            return self._lengths(s, room)
        if s.grace is not None:
            return (
                set(PITCHES if s.grace < 4 else ()) | {"}"} if s.grace else {*PITCHES}
            )
        found = set()
        if s.left or room >= QUARTER:
            found |= PITCHES
            if s.before != "ornament":
                found |= ORNAMENTS
        if s.before == "ornament":
            return found
        if not s.left and room >= QUARTER:
            found |= {"z", "{"} if s.before != "grace" else set()
            found |= {"("} if len(s.slurs) < 2 else set()
            found |= {"(3"} if room >= 2 * QUARTER else set()
        if s.before == "note" and not s.rest:
            found.add("-")
            if not s.left and LENGTHS.get(s.length, room + 1) <= room:
                found |= {">", "<"}
        if s.left or s.before in ("open", "grace"):
            return found
        if s.before in ("note", "tie", "slur") and s.slurs and s.slurs[-1]:
            found.add(")")
        if s.before not in ("space", "line") and not (s.slurs and room < QUARTER):
            found.add(" ")
        if not s.slurs:
            found |= self._lines(s)
            if s.before != "line":
                found |= {"\n", "\\\n"}
            if s.before == "line" and s.section and s.begun and not s.filled:
                found.add("")
        return found

    def _lengths(self, s, room):
        """Lengths that the note that was just begun may have."""
        if s.grace is not None:
            return {"", "/"}
        if s.left and s.length is not None:
            return {s.length}
        notes = 2 if s.left else 1  # a triplet takes the time of two
        return {t for t, ticks in LENGTHS.items() if notes * ticks <= room}

    def _lines(self, s):
        """Bar lines that may come next."""
        if not s.filled:  # at the beginning of a line it may stand again
            return {"|", "||", "|:"} if s.before == "line" else set()
        full = s.filled == self.metre
        inner = full or s.section
        ends = full or self.metre - s.filled in s.upbeats
        return {line for line in BARS if (inner if line in INNER else ends)}

    def _after(self, s, token):
        """The state after a token."""
        if s.pitch:
            return self._note(s, token)
        if token in PITCHES or token == "z":
            return replace(s, pitch=True, rest=token == "z")
        if token in BARS:
            return self._line(s, token)
        if token in ORNAMENTS:
            return replace(s, before="ornament")
        if token in "><":
            return replace(s, left=1, triplet=False, before="open")
        if token == "(3":
            return replace(s, left=3, triplet=True, length=None, before="open")
        if token == "(":
            return replace(s, slurs=(*s.slurs, 0), before="open")
        if token == ")":
            return replace(s, slurs=s.slurs[:-1], before="slur")
        if token == "{":
            return replace(s, grace=0)
        if token == "}":
            return replace(s, grace=None, before="grace")
        kinds = {" ": "space", "-": "tie"}
        return replace(s, before=kinds.get(token, "line"))

    def _note(self, s, length):
        """The state after the length of a note."""
        if s.grace is not None:
            return replace(s, pitch=False, grace=s.grace + 1)
        ticks = LENGTHS[length]
        if s.left and s.triplet:  # the first counts for all three
            ticks = 2 * ticks if s.left == 3 else 0
        return replace(
            s,
            begun=True,
            filled=s.filled + ticks,
            pitch=False,
            length=None if s.left == 1 else length,
            left=max(s.left - 1, 0),
            slurs=tuple(n + 1 for n in s.slurs),
            before="note",
        )

    def _line(self, s, token):
        """The state after a bar line."""
        upbeats = s.upbeats
        if s.section and 0 < s.filled < self.metre:
            upbeats |= {s.filled}
        section = token not in INNER
        return replace(
            s,
            filled=0,
            upbeats=upbeats,
            section=section or (s.section and not s.filled),
            before="bar",
        )
