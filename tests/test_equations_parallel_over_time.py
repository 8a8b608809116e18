"""The equations of the chapter on training in parallel over time."""

import itertools
import math

import numpy as np
import pytest
import torch

import rnnlib.torch
from rnnlib import numpy as rl
from rnnlib.numpy.scan import scan, scan_backward
from rnnlib.torch.scan import MinGRU

B, T, I, H, N = 2, 7, 3, 4, 5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def terms(rng):
    """Factors from -1 to 1, addends and a first state, time-major."""
    a, b = rng.uniform(-1, 1, (T, B, H)), rng.standard_normal((T, B, H))
    return a, b, rng.standard_normal((B, H))


def sigma(x):
    return 1 / (1 + np.exp(-x))


def sp(x):
    return np.log(1 + np.exp(x))


def close(found, expected, tolerance=1e-12):
    assert np.shape(found) == np.shape(expected)
    assert np.abs(np.asarray(found) - np.asarray(expected)).max() < tolerance


def join(first, later):
    """eq-scan-join, with whole numbers or arrays."""
    (a, b), (a2, b2) = first, later
    return a * a2, a2 * b + b2


def random_layer(kind, rng, *sizes):
    """A float64 layer of the NumPy engine with no zero among its parameters."""
    layer = getattr(rl, kind)(*sizes, seed=0, dtype="float64")
    for p in layer.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    return layer


@pytest.mark.equation("eq-scan-chain")
def test_a_state_needs_only_the_input_and_the_state_before(rng):
    for kind in ("RNN", "GRU", "MinGRU", "MinLSTM", "StateSpace"):
        layer = random_layer(kind, rng, I, H)
        x = rng.standard_normal((B, T, I))
        y, end = layer(x)
        state = None
        for t in range(T):
            y_t, state = layer(x[:, t : t + 1], state)
            close(y_t[:, 0], y[:, t])
        close(state, end)


@pytest.mark.equation("eq-scan-step")
def test_the_step(terms):
    a, b, h = terms
    hs = scan(a, b, h)
    for t in range(T):
        h = np.array(
            [[a[t, r, k] * h[r, k] + b[t, r, k] for k in range(H)] for r in range(B)]
        )
        close(hs[t + 1], h)


@pytest.mark.equation("eq-scan-join")
@pytest.mark.equation("eq-scan-associative")
def test_joined_steps_are_one_step_in_any_order(rng):
    steps = [tuple(int(n) for n in rng.integers(-9, 10, 2)) for _ in range(3)]
    p, q, r = steps
    assert join(join(p, q), r) == join(p, join(q, r))
    h = 7
    for a, b in steps:
        h = a * h + b
    a, b = join(join(p, q), r)
    assert a * 7 + b == h


@pytest.mark.equation("eq-scan-stretch")
@pytest.mark.parametrize("chunk", [2, 3, 7])
def test_a_stretch_is_a_product_and_what_it_gives_from_zero(terms, chunk):
    a, b, h0 = terms
    hs = scan(a, b, h0, chunk)
    for s in range(0, T, chunk):
        for c in range(1, min(chunk, T - s) + 1):
            product = np.prod(a[s : s + c], axis=0)
            local = scan(a[s : s + c], b[s : s + c], np.zeros((B, H)))[-1]
            close(hs[s + c], product * hs[s] + local)


def depth_of_tree(length):
    depths, reach = [0] * length, 1
    while reach < length:
        depths = depths[:reach] + [
            1 + max(depths[t - reach], depths[t]) for t in range(reach, length)
        ]
        reach *= 2
    return max(depths)


def depth_of_stretches(length, C):
    inside = list(range(C)) * (length // C)
    before = inside[C - 1]
    for k in range(1, length // C):
        ends = [1 + max(before, d) for d in inside[k * C : (k + 1) * C]]
        before = ends[-1]
    return before


@pytest.mark.equation("eq-scan-depth")
@pytest.mark.parametrize("length", [2, 3, 16, 100, 1000])
def test_depths(length):
    assert depth_of_tree(length) == math.ceil(math.log2(length))
    for C in (C for C in range(1, length + 1) if length % C == 0):
        assert depth_of_stretches(length, C) == (C - 1) + (length // C - 1)
    assert depth_of_stretches(length, length) == length - 1  # in a row


@pytest.mark.equation("eq-scan-best-stretch")
@pytest.mark.parametrize("root", [2, 6, 64])
def test_the_best_stretch_is_the_root(root):
    divisors = [C for C in range(1, root**2 + 1) if root**2 % C == 0]
    assert min(divisors, key=lambda C: depth_of_stretches(root**2, C)) == root


@pytest.mark.equation("eq-scan-bptt")
@pytest.mark.equation("eq-scan-grads")
def test_the_gradient_is_a_scan_from_the_end(terms, rng):
    leaves = [torch.tensor(v, requires_grad=True) for v in terms]
    a, b, h = leaves
    dhs = rng.standard_normal((T, B, H))
    states, total = [], 0
    for t in range(T):
        h = a[t] * h + b[t]
        h.retain_grad()
        states.append(h)
        total = total + (h * torch.tensor(dhs[t])).sum()
    total.backward()
    g = [s.grad.numpy() for s in states]
    close(g[-1], dhs[-1])
    for t in range(T - 1):
        close(g[t], dhs[t] + terms[0][t + 1] * g[t + 1])
    hs = scan(*terms)
    for t in range(T):
        close(b.grad[t].numpy(), g[t])
        close(a.grad[t].numpy(), g[t] * hs[t])
    close(leaves[2].grad.numpy(), terms[0][0] * g[0])
    for chunk in (None, 3):
        found = scan_backward(dhs, terms[0], hs, chunk)
        for value, leaf in zip(found, leaves, strict=True):
            close(value, leaf.grad.numpy())


@pytest.mark.equation("eq-scan-division")
def test_the_closed_form_is_right_in_exact_arithmetic_and_fails_in_float32(terms):
    a, b, h0 = terms
    P = np.cumprod(a, axis=0)
    close(P * (h0 + np.cumsum(b / P, axis=0)), scan(a, b, h0)[1:], 1e-9)
    half = np.full((300, 1), 0.5, np.float32)
    P = np.cumprod(half, axis=0)
    with np.errstate(all="ignore"):
        found = P * np.cumsum(half / P, axis=0)
    assert np.isnan(found[-1]).all()
    assert abs(scan(half, half, np.zeros(1, np.float32), 17)[-1, 0] - 1) < 1e-6


@pytest.mark.equation("eq-mingru-gate")
@pytest.mark.equation("eq-mingru-candidate")
@pytest.mark.equation("eq-mingru-state")
def test_mingru(rng):
    layer = random_layer("MinGRU", rng, I, H)
    W, b = layer.params["W_xh"], layer.params["b_h"]
    x, h = rng.standard_normal((B, T, I)), rng.standard_normal((B, H))
    y, _ = layer(x, h)
    for t in range(T):
        z = sigma(x[:, t] @ W[:, :H] + b[:H])
        n = x[:, t] @ W[:, H:] + b[H:]
        h = z * h + (1 - z) * n
        close(y[:, t], h)


@pytest.mark.equation("eq-mingru-count")
@pytest.mark.parametrize(("n", "units"), [(1, 1), (64, 64), (100, 7)])
def test_parameters(n, units):
    count = sum(p.size for p in rl.MinGRU(n, units).params.values())
    assert count == 2 * (n * units + units)
    gru = sum(p.size for p in rl.GRU(n, units).params.values())
    assert gru == 3 * (n * units + units**2 + units) + units


@pytest.mark.equation("eq-minlstm-share")
@pytest.mark.equation("eq-minlstm-state")
def test_minlstm(rng):
    layer = random_layer("MinLSTM", rng, I, H)
    x, h = rng.standard_normal((B, T, I)), rng.standard_normal((B, H))
    y, _ = layer(x, h)
    for t in range(T):
        i, f, g = np.split(
            x[:, t] @ layer.params["W_xh"] + layer.params["b_h"], 3, axis=1
        )
        share = sigma(f) / (sigma(f) + sigma(i))
        close(share, sigma(sp(-i) - sp(-f)))
        h = share * h + (1 - share) * g
        close(y[:, t], h)


@pytest.mark.equation("eq-ssm-channels")
@pytest.mark.equation("eq-ssm-step-size")
@pytest.mark.equation("eq-ssm-select")
@pytest.mark.equation("eq-ssm-decay")
@pytest.mark.equation("eq-ssm-write")
@pytest.mark.equation("eq-ssm-state")
@pytest.mark.equation("eq-ssm-read")
def test_state_space_number_by_number(rng):
    layer = random_layer("StateSpace", rng, I, H, N)
    p, x = layer.params, rng.standard_normal((B, T, I))
    y, _ = layer(x)
    other = rnnlib.torch.StateSpace(I, H, N, dtype="float64")
    other.load_state_dict(p)
    close(other(torch.tensor(x))[0].detach().numpy(), y)
    for row in range(B):
        s = np.zeros((H, N))
        for t in range(T):
            u = x[row, t] @ p["W_xh"] + p["b_h"]
            dt = sp(u @ p["W_dt"] + p["b_dt"])
            write, read = u @ p["W_B"], u @ p["W_C"]
            for c, n in itertools.product(range(H), range(N)):
                a = math.exp(-dt[c] * math.exp(p["A_log"][c, n]))
                s[c, n] = a * s[c, n] + dt[c] * u[c] * write[n]
            expected = [
                sum(read[n] * s[c, n] for n in range(N)) + p["D"][c] * u[c]
                for c in range(H)
            ]
            close(y[row, t], expected)


@pytest.mark.equation("eq-scan-constant")
def test_under_a_constant_input_a_positive_factor_settles_from_one_side(rng):
    a, b = rng.uniform(0.4, 0.9, H), rng.standard_normal(H)
    h0, rest = rng.standard_normal(H), b / (1 - a)
    hs = scan(np.tile(a, (200, 1)), np.tile(b, (200, 1)), h0)
    for t in range(201):
        close(hs[t] - rest, a**t * (h0 - rest))
    early = hs[:10] - rest
    assert (np.sign(early) == np.sign(early[0])).all()
    close(hs[-1], rest, 1e-8)


@pytest.mark.equation("eq-scan-xor")
def test_exclusive_or_is_linear_in_the_state(rng):
    for x, h in itertools.product((0, 1), repeat=2):
        assert (1 - 2 * x) * h + x == x ^ h
    bits = rng.integers(0, 2, 1000)
    hs = scan(1 - 2 * bits, bits, np.int64(0), 30)
    np.testing.assert_array_equal(hs[1:], bits.cumsum() % 2)


@pytest.mark.equation("eq-scan-signed")
def test_a_signed_factor_from_the_same_gate(rng):
    class Signed(MinGRU):
        def _terms(self, x):
            z, b, read = super()._terms(x)
            return 2 * z - 1, b, read

    source = random_layer("MinGRU", rng, I, H)
    for impl in ("loop", "chunked"):
        layer = Signed(I, H, impl=impl, dtype="float64")
        layer.load_state_dict(source.params)
        x = rng.standard_normal((B, T, I))
        y = layer(torch.tensor(x))[0].detach().numpy()
        h = np.zeros((B, H))
        for t in range(T):
            z, n = np.split(
                x[:, t] @ source.params["W_xh"] + source.params["b_h"], 2, axis=1
            )
            z = sigma(z)
            assert (np.abs(2 * z - 1) < 1).all()
            h = (2 * z - 1) * h + (1 - z) * n
            close(y[:, t], h)
