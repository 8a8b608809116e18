"""The equations of the chapter on stocks, each computed from its letters."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from experiments import stocks
from rnnlib import data

RNG = np.random.default_rng(3)


@pytest.mark.equation("eq-stocks-auc")
def test_auc_is_a_share_of_pairs():
    scores, y = RNG.integers(0, 6, (8, 20)), np.tile([0, 1], (8, 10))  # ties among them
    for found, s, label in zip(stocks.monthly_auc(scores, y), scores, y, strict=True):
        right = 0.0
        for winner, loser in itertools.product(s[label == 1], s[label == 0]):
            right += 1.0 if winner > loser else 0.5 if winner == loser else 0.0
        assert found == pytest.approx(right / 100, abs=1e-12)


@pytest.mark.equation("eq-stocks-chance")
def test_the_spread_of_one_month_that_is_ranked_by_chance():
    ranks = RNG.permuted(np.tile(np.arange(20.0), (40_000, 1)), axis=1)
    auc = stocks.monthly_auc(ranks, np.tile([0, 1], (40_000, 10)))
    expected = math.sqrt((10 + 10 + 1) / (12 * 10 * 10))
    assert expected == pytest.approx(0.132, abs=5e-4)
    assert auc.std() == pytest.approx(expected, rel=0.02)
    assert auc.mean() == pytest.approx(0.5, abs=0.003)


@pytest.mark.equation("eq-stocks-drift", "eq-stocks-net")
def test_costs_are_paid_on_what_is_traded():
    scores, gain = RNG.random((6, 20)), 0.1 * RNG.standard_normal((6, 20))
    money = np.zeros(20)  # in each stock
    capital = 1.0
    returns, traded = stocks.portfolio(scores, gain, top=5, cost=0.002)
    for t in range(6):
        best = sorted(range(20), key=lambda i: -scores[t, i])[:5]
        wanted = [capital / 5 if i in best else 0.0 for i in range(20)]
        share = sum(abs(a - b) for a, b in zip(wanted, money, strict=True)) / capital
        money = np.array(wanted) * (1 + gain[t])
        before, capital = capital, money.sum()
        r = capital / before * (1 - 0.002 * share) - 1
        assert traded[t] == pytest.approx(share, abs=1e-12)
        assert returns[t] == pytest.approx(r, abs=1e-12)
    assert traded[0] == pytest.approx(1)


def test_rank_correlation_is_spearman():
    a, b = RNG.standard_normal((2, 5, 20))
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(stocks.monthly_ic(a, b), expected, atol=1e-12)


def test_an_interval_of_blocks_is_wider_where_months_follow_each_other():
    alone = RNG.standard_normal(276)
    together = np.repeat(RNG.standard_normal(23), 12)
    widths = [np.diff(stocks.interval(v))[0] / v.std() for v in (alone, together)]
    assert widths[1] > 2 * widths[0]


def test_the_panel_sees_the_past_only():
    """Other months to come change no input and no label before them."""
    found = data.stocks()
    later = found.dates >= np.datetime64("2010-01-01")
    prices = np.where(later[:, None], found.prices[:, ::-1], found.prices)
    other = replace(found, prices=prices)
    a, b = (stocks.Panel(s.monthly()) for s in (found, other))
    early = a.year < 2010
    np.testing.assert_array_equal(a.x[early], b.x[early])
    np.testing.assert_array_equal(a.y[early], b.y[early])
    assert (a.x[a.year > 2011] != b.x[a.year > 2011]).mean() > 0.9
    assert (a.y.sum(axis=1) == 10).all()
    assert a.year[0] == 1991 and a.year[-1] == 2022 and len(a.year) == 383


def test_the_walk_trains_on_years_before_only():
    panel = stocks.Panel(data.stocks().monthly())
    seen = []

    def fit(year, x, y):
        seen.append((year, len(x) // 20, y.mean()))
        return lambda rows: rows[:, -1, 0]

    scores = stocks.walk(fit, panel, range(2000, 2003))
    assert seen == [(year, 12 * (year - 1991) - 1, 0.5) for year in (2000, 2001, 2002)]
    test = np.isin(panel.year, range(2000, 2003))
    np.testing.assert_array_equal(scores, panel.x[test][:, :, -1, 0])
