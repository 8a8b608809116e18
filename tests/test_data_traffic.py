"""The recorded traffic: what is in it, and that it fits its plan."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import record_traffic
from rnnlib import data
from rnnlib.data import DataError

RESULT = Path(__file__).parent.parent / "experiments/results/record_traffic.json"


def test_traffic_is_whole():
    traffic = data.network_traffic()
    assert traffic.values.shape == (8, 3600, 12) and traffic.fault.shape == (8, 3600)
    assert traffic.counters == record_traffic.COUNTERS
    assert (traffic.values >= 0).all()
    parts = [
        list(range(8))[s] for s in (traffic.train, traffic.validation, traffic.test)
    ]
    assert parts == [[0, 1, 2, 3], [4], [5, 6, 7]]
    assert data.network_traffic() is traffic
    assert not traffic.values.flags.writeable and not traffic.fault.flags.writeable


def test_training_has_no_fault_and_the_test_has_all():
    traffic = data.network_traffic()
    assert set(traffic.fault[traffic.train].ravel()) == {""}
    for part in (traffic.validation, traffic.test):
        assert set(traffic.fault[part].ravel()) == {"", *record_traffic.FAULTS}


def test_the_recording_follows_its_plan():
    facts = json.loads(RESULT.read_text())
    faults = [record_traffic.Fault(**f) for f in facts["faults"]]
    assert faults == record_traffic.plan(facts["seconds"])
    expected = record_traffic.labels(faults, 8, facts["seconds"])
    np.testing.assert_array_equal(data.network_traffic().fault, expected)


@pytest.mark.parametrize(
    ("kind", "counter", "factor"),
    [
        ("scan", "errors_4xx", 5),
        ("flood", "requests", 2),
        ("slow loris", "open_connections", 1.5),
        ("outage", "errors_5xx", 20),
        ("exfiltration", "bytes_out", 1.5),
        ("latency drift", "latency_mean_us", 1.5),
    ],
)
def test_each_fault_shows_in_its_counter(kind, counter, factor):
    traffic = data.network_traffic()
    values = traffic.values[4:, :, traffic.counters.index(counter)]
    fault = traffic.fault[4:]
    usual = values[fault == ""].mean()
    assert values[fault == kind].mean() > factor * usual


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damage_is_named(damage, tmp_path, monkeypatch):
    load = data.network_traffic.__wrapped__
    file = tmp_path / "traffic.csv.gz"
    if damage == "cut":
        file.write_bytes(load.__globals__["FILE"].read_bytes()[:1000])
    monkeypatch.setitem(load.__globals__, "FILE", file)
    says = "cannot read" if damage == "missing" else "is damaged: expected sha256"
    with pytest.raises(DataError, match=f"data set 'network_traffic': .*{says}"):
        load()
