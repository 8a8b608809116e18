"""The equation of the chapter on text generation."""

import numpy as np
import pytest

from experiments.text_generation import mixture


@pytest.mark.equation("eq-textgen-mixture")
def test_a_mixture_is_a_distribution_between_its_parts():
    rng = np.random.default_rng(0)
    N, V = 200, 7
    ours, theirs = rng.dirichlet(np.ones(V), (2, N))
    y = rng.integers(V, size=N)
    costs = []
    for share in (0.5, 0.6, 0.75, 0.9):
        p = np.empty((N, V))
        for n in range(N):
            for k in range(V):
                p[n, k] = share * ours[n, k] + (1 - share) * theirs[n, k]
        assert np.abs(p.sum(axis=1) - 1).max() < 1e-12
        assert (p >= np.minimum(ours, theirs)).all()
        assert (p <= np.maximum(ours, theirs)).all()
        costs.append(-np.log2(p[np.arange(N), y]).mean())
    bits = [-np.log2(p[np.arange(N), y]) for p in (ours, theirs)]
    share, cost = mixture(*bits)  # what the experiment and the chapter compute
    by_hand = -np.log2(
        share * ours[np.arange(N), y] + (1 - share) * theirs[np.arange(N), y]
    ).mean()
    assert cost == pytest.approx(by_hand, abs=1e-12)
    assert cost <= min(costs) + 1e-12
    # The cost is convex in the share: a mixture costs at most the mean of its parts.
    assert cost <= share * bits[0].mean() + (1 - share) * bits[1].mean()
