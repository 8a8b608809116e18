"""The equations of Scaling out, against gradients, messages and batches simulated."""

import itertools

import numpy as np
import pytest

from rnnlib import numpy as rl
from rnnlib.torch.distributed import Shard

RNG = np.random.default_rng(0)


def network(cell):
    wide = {"dtype": "float64"}
    layers = rl.Embedding(6, 4, **wide), cell(4, 5, **wide), rl.Dense(5, 6, **wide)
    return rl.Sequential(*layers, seed=0)


def gradient(model, x, y, lengths):
    logits = model(x, lengths=lengths)
    mask = np.arange(x.shape[1]) < lengths[:, None]
    _, d = rl.cross_entropy(logits, y, mask=mask)
    model.backward(d)
    grads = [g for layer in model.layers for g in layer.grads.values()]
    return np.concatenate([g.ravel() for g in grads]), int(mask.sum())


@pytest.mark.equation("eq-data-parallel-mean")
@pytest.mark.equation("eq-data-parallel-weight")
@pytest.mark.parametrize("P", [1, 2, 3, 7])
def test_the_gradient_is_the_mean_of_the_shards_weighed_by_entries(P):
    x, lengths = RNG.integers(0, 6, (7, 9)), RNG.integers(1, 10, 7)
    y = RNG.integers(0, 6, (7, 9))
    model = network(rl.LSTM)
    whole, n = gradient(model, x, y, lengths)
    shards = [next(iter(Shard([(x, y, lengths)], p, P))) for p in range(P)]
    parts = [gradient(model, *shard) for shard in shards]
    assert sum(n_p for _, n_p in parts) == n
    mean = sum(n_p / n * g for g, n_p in parts)
    assert np.abs(mean - whole).max() < 1e-13
    weighed = [P * n_p / n * g for g, n_p in parts]
    assert np.abs(np.mean(weighed, axis=0) - whole).max() < 1e-13


class Network:
    """Counts what each process sends; a round lasts as long as its longest message."""

    def __init__(self, P, latency, bandwidth):
        self.sent, self.rounds = np.zeros(P), 0
        self.seconds, self.latency, self.bandwidth = 0.0, latency, bandwidth

    def round(self, messages):
        """Deliver (sender, array) pairs at once; each process sends one at most."""
        senders = [p for p, _ in messages]
        assert len(set(senders)) == len(senders)
        for p, array in messages:
            self.sent[p] += array.nbytes
        longest = max(array.nbytes for _, array in messages)
        self.seconds += self.latency + longest / self.bandwidth
        self.rounds += 1


def ring(arrays, network):
    P = len(arrays)
    chunks = [np.split(a.copy(), P) for a in arrays]
    for r in range(2 * (P - 1)):
        moves = [(p, (p - r) % P, chunks[p][(p - r) % P].copy()) for p in range(P)]
        network.round([(p, array) for p, _, array in moves])
        for p, c, array in moves:
            target = chunks[(p + 1) % P]
            target[c] = target[c] + array if r < P - 1 else array
    return [np.concatenate(c) for c in chunks]


def tree(arrays, network):
    P, arrays = len(arrays), [a.copy() for a in arrays]
    strides = [2**k for k in range(int(np.ceil(np.log2(P))))]
    for s in strides:  # towards process 0
        pairs = [(p, p - s) for p in range(s, P, 2 * s)]
        network.round([(p, arrays[p]) for p, _ in pairs])
        for p, q in pairs:
            arrays[q] = arrays[q] + arrays[p]
    for s in reversed(strides):  # and back
        pairs = [(p - s, p) for p in range(s, P, 2 * s)]
        network.round([(p, arrays[p]) for p, _ in pairs])
        for p, q in pairs:
            arrays[q] = arrays[p].copy()
    return arrays


@pytest.mark.equation("eq-message-time")
@pytest.mark.equation("eq-ring-bytes")
@pytest.mark.equation("eq-allreduce-time")
@pytest.mark.parametrize("P", [2, 3, 4, 8])
def test_a_ring_sends_and_lasts_as_its_formulas_say(P):
    arrays = list(RNG.integers(0, 100, (P, 24 * P)).astype(float))
    alpha, beta, n = 3e-6, 2e9, arrays[0].nbytes
    network = Network(P, alpha, beta)
    for found in ring(arrays, network):
        np.testing.assert_array_equal(found, np.sum(arrays, axis=0))
    np.testing.assert_allclose(network.sent, 2 * (P - 1) / P * n)
    expected = 2 * (P - 1) * alpha + 2 * (P - 1) / P * n / beta
    assert network.seconds == pytest.approx(expected, rel=1e-12)


@pytest.mark.equation("eq-tree-time")
@pytest.mark.parametrize("P", [2, 3, 5, 8, 16])
def test_a_tree_lasts_as_its_formula_says(P):
    arrays = list(RNG.integers(0, 100, (P, 12)).astype(float))
    alpha, beta, n = 3e-6, 2e9, arrays[0].nbytes
    network = Network(P, alpha, beta)
    for found in tree(arrays, network):
        np.testing.assert_array_equal(found, np.sum(arrays, axis=0))
    expected = 2 * np.ceil(np.log2(P)) * (alpha + n / beta)
    assert network.seconds == pytest.approx(expected, rel=1e-12)


@pytest.mark.equation("eq-step-bounds")
@pytest.mark.parametrize("seed", range(20))
def test_a_step_lies_between_full_overlap_and_none(seed):
    """Gradients are ready one after the other; messages leave one after the other."""
    rng = np.random.default_rng(seed)
    computing, sending = rng.random(6), rng.random(6) * rng.choice([0.1, 1, 10])
    free = 0.0  # when the wire is
    for ready, t in zip(np.cumsum(computing), sending, strict=True):
        free = max(free, ready) + t
    C, A = computing.sum(), sending.sum()
    assert max(C, A) <= free <= C + A + 1e-12


@pytest.mark.equation("eq-scaling-compute")
@pytest.mark.equation("eq-scaling-efficiency")
@pytest.mark.equation("eq-scaling-limit")
def test_speed_of_processes_whose_steps_are_serial():
    T, tau, c, b = 100, 2e-5, 1e-6, 512

    def seconds(rows):
        total = 0.0
        for _ in range(T):  # a step waits for the one before, its rows for nobody
            total += tau
            for _ in range(rows):
                total += c
        return total

    assert seconds(b) == pytest.approx(T * (tau + b * c))
    rate = {P: b / seconds(b // P) for P in (1, 8, 64, 512)}  # rows a second
    limit = seconds(b) / (T * tau)
    for P, r in rate.items():
        efficiency = r / (P * rate[1])
        assert efficiency == pytest.approx((tau + b * c) / (P * tau + b * c))
        assert r / rate[1] < limit
    assert rate[512] / rate[1] > 0.9 * limit


@pytest.mark.equation("eq-noise-scale")
@pytest.mark.equation("eq-critical-batch")
@pytest.mark.parametrize("B", [1, 2, 3])
def test_progress_of_a_step_by_batch_over_every_batch_there_is(B):
    """A round bowl, L = k/2 |theta|^2; four examples whose gradients differ."""
    theta, k = np.array([1.0, -0.5]), 1.7
    g = k * theta
    noise = np.array([[1.2, 0.3], [-1.2, -0.3], [0.4, -0.8], [-0.4, 0.8]])
    scale = np.trace(noise.T @ noise / 4) / (g @ g)
    batches = [np.mean(c, axis=0) for c in itertools.product(g + noise, repeat=B)]

    def best(gradients):  # over all learning rates: the loss is a parabola in it
        rates = np.array([0.0, 0.5, 1.0])
        losses = [
            np.mean([k / 2 * np.sum((theta - r * d) ** 2) for d in gradients])
            for r in rates
        ]
        a, b, c = np.polyfit(rates, losses, 2)
        return losses[0] - (c - b**2 / (4 * a))

    assert best(batches) == pytest.approx(best([g]) / (1 + scale / B), rel=1e-9)


@pytest.mark.equation("eq-accumulation")
def test_accumulated_gradients_are_those_of_the_batch():
    k = 3
    x, lengths = RNG.integers(0, 6, (9, 5)), RNG.integers(1, 6, 9)
    y = RNG.integers(0, 6, (9, 5))
    model = network(rl.GRU)
    whole, n = gradient(model, x, y, lengths)
    parts = [
        gradient(model, x[i : i + k], y[i : i + k], lengths[i : i + k])
        for i in range(0, 9, k)
    ]
    total = sum(n_i * g for g, n_i in parts) / n
    assert np.abs(total - whole).max() < 1e-13
