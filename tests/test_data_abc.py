"""ABC: what a text means, the same tune in another key, and what may come next."""

import random
from fractions import Fraction

import numpy as np
import pytest

from rnnlib import data
from rnnlib.data import abc

HEAD = "M:4/4\nL:1/8\nK:{}\n"


def pitches(body, key="C"):
    return [note.pitch for note in abc.parse(HEAD.format(key) + body).notes]


def lengths(body, metre="4/4"):
    text = f"M:{metre}\nL:1/8\nK:C\n{body}"
    return [str(note.length * 8) for note in abc.parse(text).notes]


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ("C, C c c' B,", "C", [48, 60, 72, 84, 59]),
        ("FGABcdef", "D", [66, 67, 69, 71, 73, 74, 76, 78]),
        ("Be", "Bb", [70, 75]),
        ("^F F f =F F | F", "C", [66, 66, 77, 65, 65, 65]),  # until the bar line
        ("_B B ^^C __D", "C", [70, 70, 62, 60]),
        ("cd", "Ador", [72, 74]),
        ("f", "Ador", [78]),  # one sharp
        ("[CEG] z A", "C", [60, 64, 67, None, 69]),
        ("F [K:D] F", "C", [65, 66]),
    ],
)
def test_pitches(body, key, expected):
    assert pitches(body, key) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("C C2 C/ C/2 C// C3/2 C3/ C4", "1 2 1/2 1/2 1/4 3/2 3/2 4"),
        ("C>D E<F G>>A", "3/2 1/2 1/2 3/2 7/4 1/4"),
        ("C2>D2 z>D", "3 1 3/2 1/2"),
        ("(3CDE (3C2D2E2 C", "2/3 2/3 2/3 4/3 4/3 4/3 1"),
        ("(2CD (4CDEF (5CDEFG", "3/2 3/2 3/4 3/4 3/4 3/4 2/5 2/5 2/5 2/5 2/5"),
        ("{gf}C {d/}D", "0 0 1 0 1"),
        ("[CE]2 [C2E2] F", "2 2 2 2 1"),
        ("(CD) C-C .C ~C TC", "1 1 1 1 1 1 1"),
    ],
)
def test_lengths(body, expected):
    assert lengths(body) == expected.split()


def test_five_notes_take_the_time_of_three_in_six_eight():
    assert lengths("(5CDEFG", "6/8") == ["3/5"] * 5


def test_the_starts_of_notes_add_up():
    tune = abc.parse(HEAD.format("C") + "C>D (3EFG [Ac]2 | {d}c4 z4 |]\n")
    now = Fraction(0)
    for note in tune.notes:
        assert note.start in (now, now - note.length)  # the second note of a chord
        now = note.start + note.length
    assert now == tune.bars[-1].start + tune.bars[-1].length == 14 * Fraction(1, 8)


def test_bars_and_where_they_may_be_short():
    tune = abc.parse("M:2/4\nL:1/8\nK:C\nC | D4 | E3 ||\nF | G4 |1 A4 :|2 B4 |]\n")
    assert [str(bar.length * 8) for bar in tune.bars] == list("1431444")
    assert [bar.inner for bar in tune.bars] == [0, 1, 0, 0, 1, 0, 0]
    assert {bar.metre for bar in tune.bars} == {Fraction(1, 2)}
    assert (tune.metre, tune.unit, tune.key) == (Fraction(1, 2), Fraction(1, 8), "C")


def test_a_change_of_metre_and_unit():
    tune = abc.parse("M:2/4\nL:1/8\nK:C\nC4 |\nM:C|\nL:1/4\nC4 |\n")
    assert [bar.metre for bar in tune.bars] == [Fraction(1, 2), 1]
    assert tune.bars[1].length == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("K:C\n", "expected the fields M:, L: and K:"),
        ("K:C\nC\n", "line 2, column 1: expected M:, L: and K: before the notes"),
        ("M:4/4\nL:1/8\nK:C\n|\n", "expected notes"),
        (HEAD.format("H") + "C\n", r"line 3, column 1: .* got 'H'"),
        (HEAD.format("Cmoll") + "C\n", "got 'Cmoll'"),
        (HEAD.format("C#mix") + "C\n" + "[K:G#]", "8 accidentals"),
        ("M:4\nL:1/8\nK:C\nC\n", "M: expected a fraction such as 6/8, got '4'"),
        (HEAD.format("C") + "CD (EF |\n", r"'\(' is never closed"),
        (HEAD.format("C") + "CD) |\n", r"line 4, column 3: '\)' closes nothing"),
        (HEAD.format("C") + "[CE |\n", r"a bar line inside '\['"),
        (HEAD.format("C") + "{C{D}}\n", r"'\{' inside '\{'"),
        (HEAD.format("C") + "C] D\n", r"'\]' closes nothing"),
        (HEAD.format("C") + "C []\n", "a chord without notes"),
        (HEAD.format("C") + "C 3\n", r"line 4, column 3: unexpected, at '3'"),
        (HEAD.format("C") + "(3CD | E\n", "a bar line inside a tuplet"),
        (HEAD.format("C") + "(3C(3DEF\n", "a tuplet inside another"),
        (HEAD.format("C") + "C> | D\n", "no note after > or <"),
        (HEAD.format("C") + "| >C\n", "expected a note before > or <"),
        (HEAD.format("C") + "C/0 D\n", "a length '/0'"),
        ("C\n" + HEAD.format("C"), "expected M:, L: and K: before the notes"),
    ],
)
def test_what_is_no_abc_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        abc.parse(text)


@pytest.mark.parametrize("function", [abc.parse, abc.read_key])
def test_a_text_is_a_text(function):
    with pytest.raises(TypeError, match="expected text to be a str"):
        function(7)
    with pytest.raises(TypeError, match="expected text to be a str"):
        abc.transpose(None, "C")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("C", ("C", 0)),
        ("F#m", ("F#", 3)),
        ("Bb", ("Bb", -2)),
        ("Gm", ("G", -2)),
        ("Ddor", ("D", 0)),
        ("AMix", ("A", 2)),
        ("Bphr", ("B", 1)),
        ("F lydian", ("F", 0)),
    ],
)
def test_keys(key, expected):
    assert abc.read_key(key) == expected


# ---------------------------------------------------------------- transpose


def test_real_tunes_keep_their_steps_in_every_key():
    moved = 0
    for text in data.irish_tunes().validation:
        try:
            before = abc.parse(text)
        except ValueError:
            continue
        home, _ = abc.read_key(before.key)
        for tonic in ("A", "Bb", "C", "D", "E", "F", "G"):
            try:
                there = abc.transpose(text, tonic)
                back = abc.transpose(there, home)
            except ValueError:
                continue
            after, again = abc.parse(there), abc.parse(back)
            assert abc.read_key(after.key)[0] == tonic
            steps = {
                b.pitch - a.pitch
                for a, b in zip(before.notes, after.notes, strict=True)
                if a.pitch is not None
            }
            assert len(steps) == 1 and abs(steps.pop()) <= 6
            times = [(n.start, n.length) for n in before.notes]
            assert times == [(n.start, n.length) for n in after.notes]
            steps = {
                b.pitch - a.pitch
                for a, b in zip(before.notes, again.notes, strict=True)
                if a.pitch is not None
            }
            assert steps <= {0} or steps <= {-12} or steps <= {12}  # half an octave
            moved += 1
    assert moved > 600


@pytest.mark.parametrize(
    ("body", "key", "tonic", "octaves", "expected"),
    [
        ("GAB c", "G", "D", 0, "DEF G"),
        ("GAB c", "G", "D", 1, "def g"),
        ("GAB c", "G", "D", -1, "D,E,F, G,"),
        ("B^c d=f", "G", "D", 0, "F^G A=c"),
        ("=B _A", "Eb", "D", 0, "^A =G"),
        ("c'B,", "C", "B", 0, "bA,"),
        ('"Fine"D {e}.f !D.C.! (3DEF', "D", "E", 0, '"Fine"E {f}.g !D.C.! (3EFG'),
        ("A [K:Bm] B", "D", "C", 0, "G [K:Am] A"),
    ],
)
def test_transposed_by_hand(body, key, tonic, octaves, expected):
    text = abc.transpose(HEAD.format(key) + body, tonic, octaves)
    assert text == HEAD.format(tonic) + expected


@pytest.mark.parametrize(
    ("text", "tonic", "message"),
    [
        ("GAB", "D", "expected a tune with a line K:"),
        (HEAD.format("G") + "G", "H", "got 'H'"),
        (HEAD.format("G") + "G", "D#", "9 accidentals"),
        (HEAD.format("D") + "__E", "Ab", "'__E' would need -3"),
    ],
)
def test_keys_that_are_not_there_are_named(text, tonic, message):
    with pytest.raises(ValueError, match=message):
        abc.transpose(text, tonic)


# ---------------------------------------------------------------- writer


def written(metre, unit, rng):
    """A random walk through what is allowed, or None if it does not come to an end."""
    writer, text = abc.Writer(metre, unit), ""
    weights = {"": 60, "|": 8, "\n": 6, "A": 5}
    for _ in range(2000):
        choice = sorted(writer.allowed())
        assert choice, f"nothing may follow {text!r}"
        character = rng.choices(choice, [weights.get(c, 1) for c in choice])[0]
        if character:
            writer.feed(character)
            text += character
        elif any(c in "ABCDEFGabcdefg" for c in text):
            return f"M:{metre}\nL:{unit}\nK:D\n{text}"


@pytest.mark.parametrize(
    ("metre", "unit"),
    [("6/8", "1/8"), ("C|", "1/8"), ("2/4", "1/16"), ("3/4", "1/4"), ("5/4", "1/8")],
)
def test_whatever_is_allowed_parses_and_its_bars_are_full(metre, unit):
    rng, ended = random.Random(0), 0
    for _ in range(40):
        text = written(metre, unit, rng)
        if text:
            tune = abc.parse(text)
            assert all(bar.length <= bar.metre for bar in tune.bars), text
            assert all(b.length == b.metre for b in tune.bars if b.inner), text
            ended += 1
    assert ended > 20


def test_most_real_tunes_could_be_written():
    good, tunes = 0, data.irish_tunes().validation
    for text in tunes:
        metre, unit, _, body = text.split("\n", 3)
        writer = abc.Writer(metre[2:], unit[2:])
        try:
            for character in body:
                writer.feed(character)
        except ValueError:
            continue
        good += "" in writer.allowed()
    assert good / len(tunes) > 0.5


@pytest.mark.parametrize(
    ("body", "yes", "no"),
    [
        ("", "A^({~z|", ")]}>2/\n"),
        ("A", "B23/>-| ", ")}8"),  # an upbeat, of a bar of 2/4
        ("A4 | A", "234/> B", "|6"),
        ("A4 | A>", "B^~", " |2("),
        ("A4 | A2>B", "2", "3/ |"),
        ("A4 | (3A", "B2/", "4|>)"),
        ("A4 | (3A/B", "/", " C2"),
        ("A4 | {A", "B}/", "|2 "),
        ("A4 | A2 (B", "c2)/", "|"),
        ("A4 | A4", " |:\n", "ABz("),
        ("A4 |", "|:]12 A\n", "4)"),
        ("A4 ||\n", "A|", "2)"),
        ("A4 \\", "\n", "A |"),
    ],
)
def test_what_may_come_next(body, yes, no):
    writer = abc.Writer("2/4", "1/8")
    for character in body:
        writer.feed(character)
    allowed = writer.allowed()
    assert set(yes) <= allowed and not set(no) & allowed
    assert ("" in allowed) == (body == "A4 ||\n")
    for character in no:
        with pytest.raises(ValueError, match="cannot come here"):
            abc.Writer.feed(writer, character)


def test_an_upbeat_is_made_up_for_at_the_end():
    writer = abc.Writer("2/4", "1/8")
    for character in "A | B4 | c3":
        writer.feed(character)
    assert {"|", ":"} <= writer.allowed()
    writer.feed("|")  # that must be the end of the section
    assert writer.allowed() == {"|", "]", ":"}


@pytest.mark.parametrize("arguments", [("7/16", "1/4"), ("0/4", "1/8"), ("x", "1/8")])
def test_bars_that_cannot_be_filled(arguments):
    if arguments[0] == "7/16":
        assert abc.Writer(*arguments).metre == 7 * abc.QUARTER
        arguments = ("7/32", "1/4")
    with pytest.raises(ValueError, match="no bars of|expected a fraction"):
        abc.Writer(*arguments)


def test_notes_are_frozen_and_lengths_exact():
    tune = abc.parse(HEAD.format("C") + "(3CDE (3CDE (3CDE (3CDE |\n")
    assert tune.bars[0].length == 1
    assert np.isclose(sum(float(n.length) for n in tune.notes), 1)
    with pytest.raises(AttributeError):
        tune.notes[0].pitch = 61
