"""The equations of the chapter on translation, each computed in another way too."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")

GUESSES = ["de de de la casa", "el nivel de agua es bajo ahora", "a b c d e f"]
REFERENCES = ["la casa de la playa", "el nivel del agua es bajo", "a b c d x e f g"]


def grams(text, n):
    words = text.split()
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]


def precision(n):
    """Match n-grams one by one, crossing each off the reference."""
    matches = total = 0
    for guess, reference in zip(GUESSES, REFERENCES, strict=True):
        left = grams(reference, n)
        for gram in grams(guess, n):
            total += 1
            if gram in left:
                left.remove(gram)
                matches += 1
    return Fraction(matches, total)


def lengths(guesses, references):
    return (sum(len(t.split()) for t in texts) for texts in (guesses, references))


def standard(guesses=GUESSES, references=REFERENCES):
    return sacrebleu.BLEU().corpus_score(guesses, [references])


@pytest.mark.equation("eq-mt-precision")
def test_precision_counts_each_n_gram_of_the_reference_once():
    expected = standard()
    for n in (1, 2, 3, 4):
        matches = total = 0
        for guess, reference in zip(GUESSES, REFERENCES, strict=True):
            g, r = grams(guess, n), grams(reference, n)
            matches += sum(min(g.count(w), r.count(w)) for w in set(g))
            total += len(g)
        assert Fraction(matches, total) == precision(n)
        assert 100 * matches / total == pytest.approx(expected.precisions[n - 1])
    assert precision(1) < 1  # "de de de" counts once


@pytest.mark.equation("eq-mt-brevity")
def test_only_guesses_that_are_too_short_pay():
    for guesses in (GUESSES, ["a b c d"] * 3, [t + " y más palabras" for t in GUESSES]):
        g, r = lengths(guesses, REFERENCES)
        brevity = min(1, math.exp(1 - r / g))
        assert brevity == pytest.approx(standard(guesses).bp)
        assert (brevity == 1) == (g >= r)


@pytest.mark.equation("eq-mt-bleu")
def test_bleu_is_the_geometric_mean_times_brevity():
    g, r = lengths(GUESSES, REFERENCES)
    p = math.prod(float(precision(n)) for n in (1, 2, 3, 4))
    value = 100 * min(1, math.exp(1 - r / g)) * p**0.25
    assert value == pytest.approx(standard().score, abs=1e-9)
    logs = np.mean([math.log(precision(n)) for n in (1, 2, 3, 4)])
    assert value == pytest.approx(100 * math.exp(min(0, 1 - r / g) + logs))


@pytest.mark.equation("eq-mt-smoothing")
def test_smoothing_spreads_a_share_of_the_target():
    scores = torch.randn(5, 7, generator=torch.manual_seed(0), dtype=torch.float64)
    y, share = torch.tensor([0, 6, 2, 2, 5]), 0.1
    target = torch.full((5, 7), share / 7, dtype=torch.float64)
    target[torch.arange(5), y] += 1 - share  # a distribution
    expected = torch.nn.functional.cross_entropy(scores, target)  # of soft targets
    logs = scores.log_softmax(dim=1)
    own = -(1 - share) * logs[torch.arange(5), y] - share / 7 * logs.sum(dim=1)
    assert float(own.mean()) == pytest.approx(float(expected), abs=1e-12)
    smoothed = torch.nn.functional.cross_entropy(scores, y, label_smoothing=share)
    assert float(smoothed) == pytest.approx(float(own.mean()), abs=1e-12)
