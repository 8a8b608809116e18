"""The equations of the chapter on video captioning, each computed from its letters."""

import math

import numpy as np
import pytest
import torch

from experiments.video_captioning import POINTS, SHARP, WHAT, build, spatial_softmax

S = 12
MAPS = np.random.default_rng(3).standard_normal((2, 3, S, S)) / 4


def places(a):
    """Mean x, mean y and spread of one map, pixel by pixel."""
    whole = sum(math.exp(10 * a[k, j]) for k in range(S) for j in range(S))
    mean = dict.fromkeys(("x", "y", "xx", "yy"), 0.0)
    for i in range(S):
        for j in range(S):
            p = math.exp(10 * a[i, j]) / whole
            x, y = -1 + 2 * j / (S - 1), -1 + 2 * i / (S - 1)
            for name, value in {"x": x, "y": y, "xx": x * x, "yy": y * y}.items():
                mean[name] += p * value
    spread = mean["xx"] - mean["x"] ** 2 + mean["yy"] - mean["y"] ** 2
    return mean["x"], mean["y"], math.sqrt(spread)


@pytest.mark.equation("eq-spatial-softmax", "eq-spatial-mean")
def test_the_mean_place_of_a_map():
    assert SHARP == 10
    found = spatial_softmax(torch.tensor(MAPS, dtype=torch.float32)).numpy()
    assert found.shape == (2, 9)  # x of three maps, then y, then spread
    for row, maps in zip(found.reshape(2, 3, 3), MAPS, strict=True):
        expected = np.array([places(a) for a in maps]).T
        np.testing.assert_allclose(row[:2], expected[:2], atol=2e-6)
        np.testing.assert_allclose(row[2], expected[2], atol=1e-3)  # + 1e-4 in it


@pytest.mark.equation("eq-spatial-moved")
def test_what_moved_since_the_frame_before():
    model, read = build(0).eval(), []
    model.place.register_forward_pre_hook(lambda layer, x: read.append(x[0].numpy()))
    seen = torch.rand(2, 12, WHAT + 3 * POINTS)
    with torch.no_grad():
        model.encode(seen)
    where = seen[..., WHAT:].numpy()
    for b in range(2):
        for t in range(12):
            moved = 10 * (where[b, t] - where[b, t - 1]) if t else 0 * where[b, 0]
            expected = np.concatenate([where[b, t], moved])
            np.testing.assert_allclose(read[0][b, t], expected, atol=1e-6)
