"""The equations of the chapter on forecasting, each computed from its letters."""

import numpy as np
import pytest
import torch

from experiments import forecasting
from experiments.forecasting import QUANTILES, SAME, WARM, build, pinball

DAYS = 40


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(4)
    x, seen = rng.standard_normal((2, DAYS, WARM + 48, 19))
    mixing, y = rng.standard_normal((DAYS, 48, 15)), rng.standard_normal((DAYS, 48))
    arrays = [torch.tensor(a, dtype=torch.float32) for a in (x, seen, mixing, y)]
    model = build(0).eval()
    with torch.no_grad():
        q, u = model(*arrays)
        star, _ = model.explain(arrays[1])
        a = model.mix(arrays[2])
    return [t.numpy().astype(float) for t in (q, u, star, a, arrays[3])]


@pytest.mark.equation("eq-forecast-error", "eq-forecast-carry")
def test_past_errors_are_carried_to_tomorrow(case):
    q, u, star, a, y = case
    assert a.shape[-1] == 7
    for d in (8, 15, DAYS - 1):
        for s in (0, 20, 47):

            def e(day, half_hour):
                return y[day, half_hour] - u[day, half_hour]

            past = [e(d - 1, s), e(d - 2, s), e(d - 3, s), e(d - 7, s), e(SAME[d], s)]
            past.append(sum(e(d - 1, j) for j in (44, 45, 46, 47)) / 4)
            past.append(sum(e(d - 1, j) for j in range(48)) / 48)
            expected = star[d, s] + sum(
                share * error for share, error in zip(a[d, s], past, strict=True)
            )
            assert q[d, s, 3] == pytest.approx(expected, abs=1e-4)


def test_quantiles_do_not_cross(case):
    assert (np.diff(case[0], axis=-1) > 0).all()


def test_a_forecast_knows_nothing_of_its_day_but_what_it_may():
    """Neither demand nor, without it, temperature of the day changes the forecast."""
    rng = np.random.default_rng(5)
    x, seen = rng.standard_normal((2, DAYS, WARM + 48, 19))
    mixing, y = rng.standard_normal((DAYS, 48, 15)), rng.standard_normal((DAYS, 48))
    model, last = build(0).eval(), DAYS - 1

    def run():
        arrays = (torch.tensor(a, dtype=torch.float32) for a in (x, seen, mixing, y))
        with torch.no_grad():
            return model(*arrays)[0][last].numpy()

    before = run()
    y[last] += 5  # demand of the day
    x[last, WARM:] += 5  # its true weather
    np.testing.assert_array_equal(run(), before)
    y[last - 1] += 5
    assert np.abs(run() - before).max() > 0.1


def test_expected_temperature_does_not_know_its_day(monkeypatch):
    before = forecasting.expected_heat(305)
    changed = forecasting.HEAT.copy()
    changed[350:] += 20
    monkeypatch.setattr(forecasting, "HEAT", changed)
    after = forecasting.expected_heat(305)
    np.testing.assert_allclose(after[:351], before[:351])
    assert np.abs(after[351] - before[351]).max() > 1


@pytest.mark.equation("eq-forecast-pinball")
def test_pinball_loss_case_by_case():
    rng = np.random.default_rng(6)
    y, q = rng.standard_normal((3, 4)), rng.standard_normal((3, 4, 7))
    each = []
    for i in np.ndindex(3, 4):
        for k, tau in enumerate(QUANTILES):
            over = y[i] - q[i][k]
            each.append(tau * over if over >= 0 else (1 - tau) * -over)
    found = pinball(torch.tensor(q), torch.tensor(y))
    assert float(found) == pytest.approx(2 * np.mean(each), rel=1e-6)


def test_the_ridge_knows_nothing_of_the_days_it_forecasts(monkeypatch):
    fitted, days = np.arange(8, 305), np.array([305])
    weights = forecasting.EVERYTHING
    before = forecasting.ridge(fitted, days, "without", weights, 3000)
    for name in ("DEMAND", "HEAT"):
        changed = getattr(forecasting, name).copy()
        changed[305:] += 3
        monkeypatch.setattr(forecasting, name, changed)
    after = forecasting.ridge(fitted, days, "without", weights, 3000)
    np.testing.assert_allclose(after, before)


def test_margins_of_a_day_come_from_days_before():
    rng = np.random.default_rng(7)
    before, now = rng.standard_normal((2, 60, 48))
    fixed, rolling = forecasting.wider(before), forecasting.wider(before, now)
    assert fixed.shape == rolling.shape == (60, 1)
    assert rolling[0, 0] == pytest.approx(fixed[0, 0])
    now[30:] += 9
    again = forecasting.wider(before, now)
    np.testing.assert_array_equal(again[:31], rolling[:31])
    assert again[31, 0] > rolling[31, 0]


def test_paired_error_of_blocks():
    a, b = np.arange(60.0), np.zeros(60)
    mean, error = forecasting.paired(a, b)
    assert mean == pytest.approx(29.5)
    blocks = [np.mean(a[k : k + 5]) for k in range(0, 60, 5)]
    assert error == pytest.approx(np.std(blocks, ddof=1) / 12**0.5)
