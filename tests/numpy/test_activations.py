"""Activations: right values, right slopes, and no overflow at ±1000."""

import math

import numpy as np
import pytest

from rnnlib.checks import gradient_check, numerical_gradient
from rnnlib.numpy import activations as act
from tests.engines import worst_error

X = np.array([-7.5, -1.0, -0.25, 0.0, 0.3, 1.0, 7.5])
FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
}
LIMITS = {
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "relu": (0, 1000),
    "leaky_relu": (-10, 1000),
}
TOLERANCE = {"float64": 1e-15, "float32": 1e-6}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", FORMULAS)
def test_values(name, dtype, engine):
    y = engine.get(getattr(engine.rl, name)(engine.put(X.astype(dtype))))
    assert y.dtype == dtype
    assert worst_error(y, [FORMULAS[name](x) for x in X]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_in_terms_of_the_output(name):
    function, derivative = act.ACTIVATIONS[name]
    gradient_check(
        lambda x: (float(function(x).sum()), derivative(function(x))), X[X != 0]
    )


def test_softmax_gradient():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, 4, 5))
    gradient_check(
        lambda x: (
            float((act.softmax(x) * dy).sum()),
            act.d_softmax(act.softmax(x), dy),
        ),
        x,
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", FORMULAS)
def test_no_overflow_at_a_thousand(name, dtype, engine):
    """Warnings are errors here, so an overflow that is only warned of fails too."""
    x = np.array([-1000, 1000], dtype)
    y = engine.get(getattr(engine.rl, name)(engine.put(x)))
    np.testing.assert_allclose(y, LIMITS[name], rtol=1e-6)
    if engine.name == "numpy":
        slopes = act.ACTIVATIONS[name][1](y)
        assert slopes.dtype == dtype
        assert np.isfinite(slopes).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_out_is_written_even_if_it_is_the_input(name):
    function = getattr(act, name)
    expected = function(X)
    out = np.full_like(X, np.nan)
    assert function(X, out=out) is out
    np.testing.assert_array_equal(out, expected)
    x = X.copy()
    assert function(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_leave_the_output_alone(name):
    y = act.ACTIVATIONS[name][0](X)
    before = y.copy()
    act.ACTIVATIONS[name][1](y)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("axis", [-1, 0])
def test_softmax_is_a_distribution_and_ignores_shifts(axis, dtype, engine):
    x = np.random.default_rng(0).normal(0, 3, (4, 5)).astype(dtype)

    def softmax(x):
        return engine.get(engine.rl.softmax(engine.put(x), axis=axis))

    y = softmax(x)
    assert y.dtype == dtype
    assert (y > 0).all()
    assert worst_error(y.sum(axis=axis), np.ones(y.shape[1 + axis])) <= 1e-6
    e = np.exp(x.astype("float64"))
    expected = e / e.sum(axis=axis, keepdims=True)
    assert worst_error(y, expected) <= TOLERANCE[dtype]
    assert worst_error(softmax(x + 8), y) <= 10 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_softmax_does_not_overflow_at_a_thousand(dtype, engine):
    x = np.array([[1000, 1000, -1000], [-1000, -1000, -1000]], dtype)
    y = engine.get(engine.rl.softmax(engine.put(x)))
    np.testing.assert_allclose(y, [[0.5, 0.5, 0], [1 / 3] * 3], rtol=1e-6)


def test_relu_has_slope_zero_at_its_kink():
    zero = np.zeros(1)
    assert act.d_relu(act.relu(zero)) == 0
    assert act.d_leaky_relu(act.leaky_relu(zero)) == act.LEAKY_SLOPE
    between = numerical_gradient(lambda: float(act.relu(zero)[0]), zero)
    np.testing.assert_allclose(between, 0.5)  # which is why the checks avoid it
