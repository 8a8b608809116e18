"""The chapter on anomaly detection: its equations, its measures, its data path."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from experiments import anomaly_detection as ad
from rnnlib.data import network_traffic

RNG = np.random.default_rng(5)


def density(x, mean, variance):
    """Of a normal distribution in one dimension."""
    return math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(
        2 * math.pi * variance
    )


@pytest.mark.equation("eq-average-precision")
def test_average_precision_adds_up_precisions_where_recall_grows():
    labels = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool)
    score = np.array([0.9, 0.8, 0.7, 0.3, 0.5, 0.1, 0.2, 0.4])
    order, total, before = np.argsort(-score), 0.0, 0.0
    for n in range(1, 9):
        met = labels[order[:n]].sum()
        precision, recall = met / n, met / labels.sum()
        total += (recall - before) * precision
        before = recall
    assert total == pytest.approx(average_precision_score(labels, score))


@pytest.mark.equation("eq-mahalanobis")
def test_the_distance_is_measured_in_units_of_the_covariance():
    r = RNG.standard_normal((8, 3600, 12)) @ RNG.standard_normal((12, 12))
    found = ad.distance(r, "joint", 1, 0, 100)
    rows = np.concatenate([r[:3, 100:].reshape(-1, 12), r[3, 100:2700]])
    rows = rows / rows.std(0)
    last = r[7, 50] / np.concatenate([r[:3, 100:].reshape(-1, 12), r[3, 100:2700]]).std(
        0
    )
    m, C = rows.mean(0), np.cov(rows.T)
    expected = (last - m) @ np.linalg.solve(C, last - m)
    assert found[7, 50] == pytest.approx(expected, rel=1e-6)


@pytest.mark.equation("eq-gaussian-surprise")
def test_surprise_is_minus_the_logarithm_of_the_density():
    x, mean, spread = 0.7, -0.4, 1.7
    found = torch.tensor([mean, spread**2]).reshape(1, 1, 1, 2, 1)
    value = ad.surprise(found, torch.full((1, 1, 1), x)).item()
    expected = math.log(spread) + (x - mean) ** 2 / (2 * spread**2)
    assert value == pytest.approx(expected, rel=1e-5)
    constant = 0.5 * math.log(2 * math.pi)
    assert value + constant == pytest.approx(
        -math.log(density(x, mean, spread**2)), rel=1e-5
    )


@pytest.mark.equation("eq-counters-chain")
def test_the_chain_of_conditionals_is_the_joint_density():
    A = RNG.standard_normal((3, 3))
    C, x = A @ A.T + np.eye(3), RNG.standard_normal(3)
    joint = math.exp(-0.5 * x @ np.linalg.solve(C, x)) / math.sqrt(
        (2 * math.pi) ** 3 * np.linalg.det(C)
    )
    product = 1.0
    for k in range(3):
        w = np.linalg.solve(C[:k, :k], C[:k, k])
        product *= density(x[k], w @ x[:k], C[k, k] - w @ C[:k, k])
    assert product == pytest.approx(joint)


@pytest.mark.parametrize("joint", [True, False])
def test_a_counter_sees_only_those_before_it_and_the_past(joint):
    model = ad.build(0, joint).eval()
    x = torch.randn(1, 80, 12)
    base = model(x)
    for i, k in enumerate(ad.ORDER):
        other = x.clone()
        other[0, 70, k] += 1
        changed = (model(other) != base)[0]  # (80, 4, 2, 12)
        assert not changed[:70].any()
        later = set(changed[70].any(1).any(0).nonzero()[:, 0].tolist())
        assert later == (set(ad.ORDER[i + 1 :]) if joint else set())
        for g, gap in enumerate(ad.GAPS):
            assert not changed[71 : 70 + gap, g].any()
            assert changed[70 + gap :, g].any() or 70 + gap >= 80


def test_scores_are_causal():
    x = ad.prepare(network_traffic().values)
    r = ad.var(x, 5, 10)
    score = ad.distance(r, "joint", 8, 0.1, 4)
    later = r.copy()
    later[5:, 2000:] = 3.0
    again = ad.distance(later, "joint", 8, 0.1, 4)
    np.testing.assert_allclose(again[5:, :2000], score[5:, :2000])


def test_preparing_keeps_the_last_latency_and_uses_the_training_sites_alone():
    values = network_traffic().values
    x = ad.prepare(values)
    site, second = np.argwhere(values[..., 0] == 0)[50]
    np.testing.assert_array_equal(x[site, second, 10:], x[site, second - 1, 10:])
    other = values.copy()
    other[4:] *= 3
    np.testing.assert_array_equal(ad.prepare(other)[:4], x[:4])
    other = values.copy()
    other[3, ad.HELD_OUT :] *= 3
    np.testing.assert_array_equal(ad.prepare(other)[4:], x[4:])


@pytest.mark.parametrize("shape", [(3600, 12), (8, 3600, 11)])
def test_counters_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"prepare: expected counters \(S, T, 12\)"):
        ad.prepare(np.ones(shape))


def test_events_and_alarms():
    names = np.full((1, 100), "", dtype="<U8")
    names[0, 20:40], names[0, 60:80] = "scan", "outage"
    score = np.zeros((1, 100))
    score[0, [5, 25, 30, 45, 85]] = 1  # false, right (25 to 30), right, right
    found, right, false = ad.events(score, names, 0.5)
    assert [f["delay"] for f in found] == [5, None]
    assert (right, false) == (3, 1)
    assert ad.alarms(score[0] > 0) == [[5, 6], [25, 31], [45, 46], [85, 86]]
    assert ad.blocks(names) == [(0, 0, 50), (0, 50, 100)]
    adjusted = ad.adjusted_f1(score, names)["adjusted"]  # one fault whole, 3 too many
    assert adjusted == pytest.approx(ad.f1(20 / 23, 1 / 2))


def test_the_threshold_keeps_to_the_budget():
    names = np.full((1, 3600), "", dtype="<U8")
    names[0, 1000:1060] = "scan"
    score = RNG.random((1, 3600))
    score[0, 1000:1060] += 1
    threshold = ad.threshold_of(score, names)
    assert ad.events(score, names, threshold)[2] <= ad.BUDGET
    assert (score >= threshold)[0, 1000:1060].all()
