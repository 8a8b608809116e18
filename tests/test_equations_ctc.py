"""The equations of the chapter on CTC, each against a list of all paths."""

import itertools
import math

import numpy as np
import pytest

from rnnlib.decode import ctc_beam_search, ctc_greedy
from rnnlib.numpy import ctc_loss
from rnnlib.numpy.ctc import ctc_forward_backward

T, V = 6, 4
TARGETS = [(), (1,), (2, 2), (1, 3, 3), (3, 2, 1), (1, 1, 1), (1, 2, 1)]


def spelled(path):
    return tuple(k for k, _ in itertools.groupby(path) if k != 0)


def paths(steps=T, classes=V):
    return itertools.product(range(classes), repeat=steps)


@pytest.fixture
def p():
    """Probabilities (T, V)."""
    p = np.exp(np.random.default_rng(0).standard_normal((T, V)))
    return p / p.sum(axis=1, keepdims=True)


def of_path(p, path):
    product = 1.0
    for t, label in enumerate(path):
        product *= p[t, label]
    return product


def of_text(p, y):
    return sum(of_path(p, path) for path in paths(*p.shape) if spelled(path) == y)


def loss(p, y):
    return ctc_loss(np.log(p)[None], np.array([[*y, -1]]))[0]


def with_blanks(y):
    states = [0]
    for label in y:
        states += [label, 0]
    return states


def walks(y, steps):
    """Rows of states (counted from 1) for all paths that spell y, by their moves."""
    states = with_blanks(y)
    L = len(states)
    rows = [(j,) for j in (1, 2) if j <= L]
    for _ in range(steps - 1):
        longer = []
        for row in rows:
            j = row[-1]
            longer += [(*row, k) for k in (j, j + 1) if k <= L]
            if j + 2 <= L and states[j + 1] != states[j - 1]:
                longer.append((*row, j + 2))
        rows = longer
    return [row for row in rows if row[-1] >= L - 1]


def recursion(p, y):
    """alpha and beta by the chapter's letters; rows t = 1..T, columns j = 1..2S+1."""
    states, S = with_blanks(y), len(y)
    L = 2 * S + 1

    def m(j):  # may one skip into state j?
        return int(j >= 3 and states[j - 1] != states[j - 3])

    alpha = np.zeros((T + 1, L + 3))  # index 0 and below the first state are zero
    alpha[1, 1] = p[0, 0]
    if y:
        alpha[1, 2] = p[0, y[0]]
    for t in range(2, T + 1):
        for j in range(1, L + 1):
            ways = alpha[t - 1, j] + alpha[t - 1, j - 1]
            ways += m(j) * alpha[t - 1, j - 2] if j >= 2 else 0
            alpha[t, j] = p[t - 1, states[j - 1]] * ways
    beta = np.zeros((T + 1, L + 3))
    beta[T, L] = 1
    if y:
        beta[T, 2 * S] = 1
    for t in range(T - 1, 0, -1):
        b = np.zeros(L + 3)
        for k in range(1, L + 1):
            b[k] = p[t, states[k - 1]] * beta[t + 1, k]
        for j in range(1, L + 1):
            beta[t, j] = b[j] + b[j + 1] + (m(j + 2) * b[j + 2] if j + 2 <= L else 0)
    return alpha[1:, 1 : L + 1], beta[1:, 1 : L + 1]


@pytest.mark.equation("eq-ctc-path")
def test_the_probabilities_of_all_paths_add_up_to_one(p):
    assert sum(of_path(p, path) for path in paths()) == pytest.approx(1, abs=1e-12)


@pytest.mark.equation("eq-ctc-sum")
@pytest.mark.parametrize("y", TARGETS)
def test_a_text_is_the_sum_of_its_paths(p, y):
    assert math.exp(-loss(p, y)) == pytest.approx(of_text(p, y), abs=1e-12)


@pytest.mark.equation("eq-ctc-count")
@pytest.mark.parametrize("steps", range(1, 8))
def test_count(steps):
    counts = {}
    for path in paths(steps, 3):
        y = spelled(path)
        counts[y] = counts.get(y, 0) + 1
    for y, N in counts.items():
        S, R = len(y), sum(a == b for a, b in itertools.pairwise(y))
        assert math.comb(steps + S - R, 2 * S) == N


@pytest.mark.equation("eq-ctc-fits")
def test_exactly_the_texts_that_fit_have_paths():
    for steps in range(1, 6):
        possible = {spelled(path) for path in paths(steps, 3)}
        for S in range(6):
            for y in itertools.product((1, 2), repeat=S):
                R = sum(a == b for a, b in itertools.pairwise(y))
                assert (y in possible) == (steps >= S + R)


@pytest.mark.equation("eq-ctc-states")
@pytest.mark.parametrize("y", TARGETS)
def test_walks_through_the_states_are_the_paths(y):
    states = with_blanks(y)
    assert len(states) == 2 * len(y) + 1
    found = [tuple(states[j - 1] for j in walk) for walk in walks(y, T)]
    assert sorted(found) == sorted(path for path in paths() if spelled(path) == y)


@pytest.mark.equation("eq-ctc-alpha-start")
@pytest.mark.equation("eq-ctc-ways")
@pytest.mark.equation("eq-ctc-alpha")
@pytest.mark.parametrize("y", TARGETS)
def test_alpha_is_the_sum_over_beginnings(p, y):
    alpha, _ = recursion(p, y)
    states = with_blanks(y)
    for t, j in itertools.product(range(1, T + 1), range(1, len(states) + 1)):
        if len(states) > 5 or t > 4:
            continue  # too many to list
        total = 0.0  # of all walks to j, wherever they might end afterwards
        for walk in itertools.product(range(1, len(states) + 1), repeat=t):
            moves = itertools.pairwise(walk)
            if (
                walk[0] <= 2
                and walk[-1] == j
                and all(
                    b - a in (0, 1)
                    or (b - a == 2 and states[b - 1] not in (0, states[a - 1]))
                    for a, b in moves
                )
            ):
                total += of_path(p, [states[k - 1] for k in walk])
        assert alpha[t - 1, j - 1] == pytest.approx(total, abs=1e-12)
    log_alpha, _ = ctc_forward_backward(np.log(p), np.array(y, int))
    assert np.allclose(np.exp(log_alpha), alpha, rtol=0, atol=1e-12)


@pytest.mark.equation("eq-ctc-end")
@pytest.mark.parametrize("y", TARGETS[1:])
def test_the_last_two_states_hold_the_text(p, y):
    alpha, _ = recursion(p, y)
    S = len(y)
    found = alpha[T - 1, 2 * S - 1] + alpha[T - 1, 2 * S]  # states 2S and 2S + 1
    assert found == pytest.approx(of_text(p, y), abs=1e-12)


@pytest.mark.equation("eq-ctc-beta-end")
@pytest.mark.equation("eq-ctc-beta")
@pytest.mark.parametrize("y", TARGETS)
def test_beta_is_the_sum_over_endings(p, y):
    alpha, beta = recursion(p, y)
    states = with_blanks(y)
    all_walks = walks(y, T)
    for t, j in itertools.product(range(1, T + 1), range(1, len(states) + 1)):
        endings = {walk[t:] for walk in all_walks if walk[t - 1] == j}
        if alpha[t - 1, j - 1] > 0:  # the listed walks come from the start
            total = sum(
                math.prod(p[t + k, states[u - 1]] for k, u in enumerate(ending))
                for ending in endings
            )
            assert beta[t - 1, j - 1] == pytest.approx(total, abs=1e-12)
    _, log_beta = ctc_forward_backward(np.log(p), np.array(y, int))
    assert np.allclose(np.exp(log_beta), beta, rtol=0, atol=1e-12)


@pytest.mark.equation("eq-ctc-any-step")
@pytest.mark.parametrize("y", TARGETS)
def test_every_step_gives_the_whole(p, y):
    alpha, beta = recursion(p, y)
    assert np.allclose((alpha * beta).sum(axis=1), of_text(p, y), rtol=0, atol=1e-12)


@pytest.mark.equation("eq-ctc-posterior")
@pytest.mark.parametrize("y", TARGETS)
def test_posterior_is_the_share_of_walks(p, y):
    alpha, beta = recursion(p, y)
    states = with_blanks(y)
    share = np.zeros((T, len(states)))
    for walk in walks(y, T):
        weight = of_path(p, [states[j - 1] for j in walk]) / of_text(p, y)
        for t, j in enumerate(walk):
            share[t, j - 1] += weight
    assert np.allclose(alpha * beta / of_text(p, y), share, rtol=0, atol=1e-12)


def posterior(p, y):
    """q (T, V) from alpha and beta, state by state."""
    alpha, beta = recursion(p, y)
    q = np.zeros((T, V))
    for j, label in enumerate(with_blanks(y)):
        q[:, label] += alpha[:, j] * beta[:, j] / of_text(p, y)
    return q


@pytest.mark.equation("eq-ctc-expected")
@pytest.mark.parametrize("y", TARGETS)
def test_label_posterior_is_the_share_of_paths(p, y):
    share = np.zeros((T, V))
    for path in paths():
        if spelled(path) == y:
            share[np.arange(T), path] += of_path(p, path) / of_text(p, y)
    assert np.allclose(posterior(p, y), share, rtol=0, atol=1e-12)


@pytest.mark.equation("eq-ctc-by-log-p")
@pytest.mark.parametrize("y", [(1,), (2, 2), (1, 3, 3)])
def test_slope_by_log_probability(p, y):
    q, eps = posterior(p, y), 1e-5
    for t, k in itertools.product(range(T), range(V)):
        up, down = p.copy(), p.copy()
        up[t, k] *= math.exp(eps)
        down[t, k] *= math.exp(-eps)
        slope = (math.log(of_text(up, y)) - math.log(of_text(down, y))) / (2 * eps)
        assert slope == pytest.approx(q[t, k], abs=1e-8)


@pytest.mark.equation("eq-ctc-log-softmax-slope")
def test_slope_of_log_softmax():
    s, eps = np.array([0.3, -1.0, 2.0]), 1e-6
    p = np.exp(s) / np.exp(s).sum()
    for k, i in itertools.product(range(3), range(3)):
        up, down = s + eps * np.eye(3)[i], s - eps * np.eye(3)[i]
        slope = (up[k] - math.log(np.exp(up).sum())) - (
            down[k] - math.log(np.exp(down).sum())
        )
        assert slope / (2 * eps) == pytest.approx((k == i) - p[i], abs=1e-8)


@pytest.mark.equation("eq-ctc-gradient")
@pytest.mark.parametrize("y", TARGETS)
def test_gradient_is_softmax_minus_posterior(p, y):
    _, dlogits = ctc_loss(np.log(p)[None], np.array([[*y, -1]]))
    assert np.allclose(dlogits[0], p - posterior(p, y), rtol=0, atol=1e-12)


@pytest.mark.equation("eq-ctc-edit")
def test_edit_distance_is_the_shortest_way():
    """Against a breadth-first search over single edits of words of two letters."""

    def D(i, j, r, y):
        if i == 0 or j == 0:
            return i + j
        return min(
            D(i - 1, j, r, y) + 1,
            D(i, j - 1, r, y) + 1,
            D(i - 1, j - 1, r, y) + (r[i - 1] != y[j - 1]),
        )

    words = ["".join(w) for n in range(4) for w in itertools.product("ab", repeat=n)]
    for start in words:
        distance, front = {start: 0}, [start]
        while front:
            after = []
            for w in front:
                near = {w[:i] + w[i + 1 :] for i in range(len(w))}
                near |= {w[:i] + c + w[i:] for i in range(len(w) + 1) for c in "ab"}
                near |= {w[:i] + c + w[i + 1 :] for i in range(len(w)) for c in "ab"}
                for other in near:
                    if len(other) <= 6 and other not in distance:
                        distance[other] = distance[w] + 1
                        after.append(other)
            front = after
        for end in words:
            assert D(len(start), len(end), start, end) == distance[end]


@pytest.mark.equation("eq-ctc-greedy")
def test_greedy_reads_the_best_path(p):
    best = max(paths(), key=lambda path: of_path(p, path))
    (found,) = ctc_greedy(np.log(p)[None])
    assert tuple(found) == spelled(best)


@pytest.mark.equation("eq-ctc-prefix-blank")
@pytest.mark.equation("eq-ctc-prefix-label")
@pytest.mark.equation("eq-ctc-prefix-grow")
def test_prefixes_collect_all_paths(p):
    texts = [y for n in range(T + 1) for y in itertools.product((1, 2, 3), repeat=n)]
    b, n = dict.fromkeys(texts, 0.0), dict.fromkeys(texts, 0.0)
    b[()] = 1.0
    for t in range(T):
        new_b = {y: p[t, 0] * (b[y] + n[y]) for y in texts}
        new_n = dict.fromkeys(texts, 0.0)
        for y in texts:
            for k in (1, 2, 3):
                if len(y) < T:
                    g = b[y] + (n[y] if not y or k != y[-1] else 0)
                    new_n[(*y, k)] = p[t, k] * (n[(*y, k)] + g)
        b, n = new_b, new_n
    sums = {}
    for path in paths():
        y = spelled(path)
        sums[y, path[-1] == 0] = sums.get((y, path[-1] == 0), 0) + of_path(p, path)
    for y in texts:
        assert b[y] == pytest.approx(sums.get((y, True), 0), abs=1e-12)
        assert n[y] == pytest.approx(sums.get((y, False), 0), abs=1e-12)
    ((best, score),) = ctc_beam_search(np.log(p)[None], beam=2000)[0]
    assert math.exp(score) == pytest.approx(max(b[y] + n[y] for y in texts), abs=1e-12)
    assert b[tuple(best)] + n[tuple(best)] == pytest.approx(math.exp(score), abs=1e-12)


def two_steps(rng):
    p = rng.dirichlet(0.3 * np.ones(5), size=2)
    return p, loss(p, (1, 2)), loss(p, (3, 4))


@pytest.mark.equation("eq-ctc-two-readings")
def test_in_two_steps_a_text_of_two_is_one_path():
    for seed in range(20):
        p, one, other = two_steps(np.random.default_rng(seed))
        assert math.exp(-one) == pytest.approx(p[0, 1] * p[1, 2], abs=1e-12)
        assert math.exp(-other) == pytest.approx(p[0, 3] * p[1, 4], abs=1e-12)


@pytest.mark.equation("eq-ctc-two-bound")
def test_bound_for_two_readings():
    for seed in range(200):
        _, one, other = two_steps(np.random.default_rng(seed))
        assert math.exp(-one - other) <= 1 / 16 + 1e-12
        assert (one + other) / 2 >= 2 * math.log(2) - 1e-12
    half = np.array([[0, 0.5, 0, 0.5, 0], [0, 0, 0.5, 0, 0.5]])
    with np.errstate(divide="ignore"):
        product = math.exp(-loss(half + 1e-300, (1, 2)) - loss(half + 1e-300, (3, 4)))
    assert product == pytest.approx(1 / 16, abs=1e-12)
