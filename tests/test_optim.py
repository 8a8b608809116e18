"""The optimizers against their formulas, written out here on single numbers."""

import copy
import math

import numpy as np
import pytest

from tests.engines import Engine


@pytest.fixture(params=["numpy", "torch"])
def engine(request):
    return Engine(request.param)


class Scalar:
    """A Dense layer whose one weight is the parameter and whose bias stays out."""

    def __init__(self, engine, value):
        self.engine = engine
        self.model = engine.rl.Dense(1, 1, dtype="float64")
        self.model.load_state_dict({"W": [[value]], "b": [0.0]})

    def step(self, optimizer, gradient):
        """One step with a given gradient; returns the new value."""
        self.set(gradient)
        optimizer.step()
        return self.engine.get(self.model.state_dict()["W"]).item()

    def set(self, gradient, bias=0.0):
        if self.engine.name == "numpy":
            self.model.grads = {"W": np.array([[gradient]]), "b": np.array([bias])}
        else:
            self.model.W.grad = self.engine.put(np.array([[gradient]]))
            self.model.b.grad = self.engine.put(np.array([bias]))

    def get(self):
        if self.engine.name == "numpy":
            return self.model.grads["W"].item(), self.model.grads["b"].item()
        return self.model.W.grad.item(), self.model.b.grad.item()


GRADIENTS = [0.5, -2.0, 0.25, 0.0, 3.0]


def test_sgd_steps_against_the_gradient(engine):
    scalar = Scalar(engine, 1.0)
    optimizer = engine.rl.SGD(scalar.model, lr=0.1)
    p = 1.0
    for g in GRADIENTS:
        p = p - 0.1 * g
        assert scalar.step(optimizer, g) == pytest.approx(p, rel=1e-14)


def test_momentum_sums_decayed_gradients(engine):
    scalar = Scalar(engine, 1.0)
    optimizer = engine.rl.SGD(scalar.model, lr=0.1, momentum=0.9)
    p, v = 1.0, 0.0
    for g in GRADIENTS:
        v = 0.9 * v + g
        p = p - 0.1 * v
        assert scalar.step(optimizer, g) == pytest.approx(p, rel=1e-14)


def test_adam_follows_algorithm_1(engine):
    lr, b1, b2, eps = 0.1, 0.8, 0.95, 1e-3
    scalar = Scalar(engine, 1.0)
    optimizer = engine.rl.Adam(scalar.model, lr=lr, betas=(b1, b2), eps=eps)
    p, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        p = p - lr * m_hat / (math.sqrt(v_hat) + eps)
        assert scalar.step(optimizer, g) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("gradient", [1e-3, -1.0, 1e3])
def test_adam_s_first_step_is_lr_whatever_the_gradient(engine, gradient):
    """Without the bias correction it is (1 - b1) / sqrt(1 - b2) = 3.2 times that."""
    scalar = Scalar(engine, 0.0)
    p = scalar.step(engine.rl.Adam(scalar.model, lr=0.01), gradient)
    assert p == pytest.approx(-0.01 * math.copysign(1, gradient), rel=1e-4)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_an_optimizer_goes_on_from_its_state_dict(engine, name):
    options = {"lr": 0.1} | ({"momentum": 0.9} if name == "SGD" else {})
    make = getattr(engine.rl, name)
    one, two = Scalar(engine, 1.0), Scalar(engine, 1.0)
    first = make(one.model, **options)
    for g in GRADIENTS[:2]:
        one.step(first, g)
    two.model.load_state_dict(one.model.state_dict())
    second = make(two.model, **options)
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # torch's is no copy
    for g in GRADIENTS[2:]:
        assert one.step(first, g) == two.step(second, g)


def test_a_state_dict_is_a_copy():
    scalar = Scalar(Engine("numpy"), 1.0)
    optimizer = scalar.engine.rl.Adam(scalar.model)
    state = optimizer.state_dict()
    scalar.step(optimizer, 1.0)
    assert state["steps"] == 0 and state["m.W"].item() == 0.0


def test_another_model_s_state_is_refused_by_name():
    rl = Engine("numpy").rl
    small, large = (rl.Adam(rl.Dense(1, n)) for n in (1, 2))
    text = r"^Adam: state dict does not fit: m\.W: expected \(1, 1\), got \(1, 2\); "
    with pytest.raises(ValueError, match=text):
        small.load_state_dict(large.state_dict())
    with pytest.raises(
        ValueError, match=r"^SGD: state dict .*unknown m\.W; unknown m\.b$"
    ):
        rl.SGD(rl.Dense(1, 2), lr=1.0).load_state_dict(large.state_dict())


@pytest.mark.parametrize(
    "max_norm, expected",
    [(1.0, (0.6, 0.8)), (5.0, (3.0, 4.0)), (9.0, (3.0, 4.0)), (math.inf, (3.0, 4.0))],
)
def test_clipping_shortens_a_gradient_and_keeps_its_direction(
    engine, max_norm, expected
):
    scalar = Scalar(engine, 0.0)
    scalar.set(3.0, bias=4.0)
    norm = engine.rl.clip_grad_norm(scalar.model, max_norm)
    assert type(norm) is float and norm == pytest.approx(5.0)
    assert scalar.get() == pytest.approx(expected, rel=1e-6)
    assert engine.rl.clip_grad_norm(scalar.model, math.inf) <= max_norm


def test_the_norm_of_large_float32_gradients_does_not_overflow():
    scalar = Scalar(Engine("numpy"), 0.0)
    scalar.model.grads = {"W": np.full((1, 1), 3e30, "float32")}
    assert scalar.engine.rl.clip_grad_norm(scalar.model, math.inf) == pytest.approx(
        3e30
    )
