"""Scans: stretches side by side give what single steps give, in both engines."""

import numpy as np
import pytest
import torch

import rnnlib.numpy
from rnnlib.checks import gradient_check
from rnnlib.numpy import scan as numpy_scan
from rnnlib.torch import scan as torch_scan
from tests.engines import LENGTHS, SCANS, initial_state, inputs, recurrent

RAGGED = {"full": None, "ragged": LENGTHS}


def terms(T, shape=(2, 3), seed=0, dtype="float64"):
    """Factors, addends and a first state of a scan over T steps, time-major."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(-1, 1, (T, *shape))
    b, h0 = rng.standard_normal((T, *shape)), rng.standard_normal(shape)
    return tuple(array.astype(dtype) for array in (a, b, h0))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 12, 13, 100])
@pytest.mark.parametrize("T", [1, 2, 5, 12, 13])
def test_stretches_equal_steps(T, chunk):
    a, b, h0 = terms(T)
    expected = numpy_scan.scan(a, b, h0)
    h = h0
    for t in range(T):
        h = a[t] * h + b[t]
        np.testing.assert_array_equal(expected[t + 1], h)
    found = numpy_scan.scan(a, b, h0, chunk)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    a, b = (torch.from_numpy(x.swapaxes(0, 1).copy()) for x in (a, b))
    for way in (None, chunk):
        found = torch_scan.scan(a, b, torch.from_numpy(h0), way)
        found = found.numpy().swapaxes(0, 1)
        np.testing.assert_allclose(found, expected[1:], rtol=0, atol=1e-14)


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 5, 9])
@pytest.mark.parametrize("T", [1, 5])
def test_scan_gradients(T, chunk):
    G = np.random.default_rng(1).standard_normal((T, 2, 3))

    def value(a, b, h0):
        hs = numpy_scan.scan(a, b, h0, chunk)
        gradients = numpy_scan.scan_backward(G, a, hs, chunk)
        return float((hs[1:] * G).sum()), gradients

    assert gradient_check(value, *terms(T)) < 1e-7


@pytest.mark.parametrize("chunk", [1, 3, 4, 50])
def test_gradients_of_stretches_equal_autograd_of_steps(chunk):
    a, b, h0 = (torch.from_numpy(x) for x in terms(11))
    a, b = a.transpose(0, 1).contiguous(), b.transpose(0, 1).contiguous()
    G = torch.from_numpy(terms(11, seed=5)[1]).transpose(0, 1)
    gradients = []
    for way in (None, chunk):
        leaves = [x.clone().requires_grad_() for x in (a, b, h0)]
        (torch_scan.scan(*leaves, way) * G).sum().backward()
        gradients.append([x.grad for x in leaves])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_products_that_vanish_do_no_harm():
    """10,000 factors of 0.01 multiply to zero, and no logarithm is there to mind."""
    T = 10_000
    a, b = np.full((T, 1), 0.01, "float32"), np.ones((T, 1), "float32")
    hs = numpy_scan.scan(a, b, np.full(1, 1e30, "float32"), 100)
    np.testing.assert_allclose(hs[-1], 1 / 0.99, rtol=1e-6)
    da, db, dh0 = numpy_scan.scan_backward(np.ones_like(a), a, hs, 100)
    assert np.isfinite(da).all() and np.isfinite(db).all() and np.isfinite(dh0).all()


@pytest.mark.parametrize("whole", [True, False], ids=["every-step", "last-step"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("kind", SCANS)
def test_numpy_layers_give_the_same_in_stretches(kind, lengths, direction, whole):
    results = []
    for impl in ("loop", "chunked"):
        options = {"impl": impl, "return_sequences": whole}
        layer = recurrent(rnnlib.numpy, kind, direction, **options)
        state = initial_state(kind)
        y, after = layer(inputs(), state, RAGGED[lengths])
        assert layer.last_impl == impl
        G = np.random.default_rng(2).standard_normal(y.shape)
        dx = layer.backward(G, dstate=state)
        results.append([y, after, dx, layer.dstate, *layer.grads.values()])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("kind", SCANS)
def test_gradients_of_layers_in_stretches(kind, lengths, direction):
    layer = recurrent(rnnlib.numpy, kind, direction, impl="chunked")
    state = initial_state(kind)
    gradient_check(layer, inputs(), state=state, lengths=RAGGED[lengths])
