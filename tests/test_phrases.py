"""The phrase-based rival of the translation experiment: its parts do what they say."""

import itertools
import math

import pytest

pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")

from experiments import _phrases as rival  # noqa: E402

THINGS = {
    "pressure": "presión",
    "temperature": "temperatura",
    "level": "nivel",
    "flow": "caudal",
}
PLACES = {"water": "del agua", "air": "del aire", "oil": "del aceite"}
PAIRS = [
    (f"{place.capitalize()} {thing}", f"{THINGS[thing].capitalize()} {PLACES[place]}")
    for place, thing in itertools.product(PLACES, THINGS)
]


def test_it_puts_together_what_it_never_saw_together(monkeypatch):
    monkeypatch.setattr(rival, "TENSION", 1.0)  # the order of the toy is turned
    held_out = ("Oil flow", "Caudal del aceite")
    model = rival.PhraseBased([pair for pair in PAIRS if pair != held_out])
    assert model.translate(held_out[0]) == held_out[1]
    assert model.translate("Water pressure.") == "Presión del agua."
    assert model.translate("Blub level") == "Nivel blub"  # unknown: kept


def test_phrases_are_those_that_no_link_leaves():
    links = {(0, 1), (1, 0), (2, 2)}  # the first two cross
    found = set(rival.phrases(3, 3, links))
    spans = list(itertools.combinations(range(4), 2))
    expected = {
        (a, b)
        for a in spans
        for b in spans
        if any(a[0] <= i < a[1] and b[0] <= j < b[1] for i, j in links)
        if all((a[0] <= i < a[1]) == (b[0] <= j < b[1]) for i, j in links)
    }
    assert found == expected


def test_trigrams_are_distributions():
    trigrams = rival.Trigrams([text.split() for _, text in PAIRS])
    words = {w for _, text in PAIRS for w in text.split()} | {"</s>", "unseen"}
    for before in (("<s>", "<s>"), ("<s>", "Nivel"), ("del", "agua"), ("x", "y")):
        total = sum(math.exp(trigrams((*before, word))) for word in words)
        assert total == pytest.approx(1)


def test_texts_come_back_without_stray_spaces():
    for text in ("¿Turn on (SIM)?", "3.5 °C, 4.5 °C.", "OpenUV: error!"):
        assert rival.join(rival.split(text)) == text
