"""Metrics: right on small cases, the same for tensors, no NaN from nothing."""

import math
import subprocess
import sys

import numpy as np
import pytest

from rnnlib.metrics import accuracy, nats_to_bits, perplexity

LOGITS = np.array([[[2.0, 1, 0], [0, 2, 1]], [[0, 1, 2], [5, 0, 0]]])  # (2, 2, 3)
Y = np.array([[0, 1], [0, 0]])


def test_accuracy_and_its_mask():
    assert accuracy(LOGITS, Y) == 0.75
    assert accuracy(LOGITS, Y, mask=np.array([[1, 0], [1, 0]])) == 0.5
    assert accuracy(LOGITS, Y, mask=np.array([[True, True], [False, True]])) == 1.0
    assert type(accuracy(LOGITS, Y)) is float


def test_accuracy_does_not_look_at_masked_targets():
    y = np.array([[0, 1], [-1, 99]])
    assert accuracy(LOGITS, y, mask=np.array([[1, 1], [0, 0]])) == 1.0


def test_accuracy_of_tensors():
    torch = pytest.importorskip("torch")
    logits = torch.tensor(LOGITS, requires_grad=True)
    mask = torch.tensor([[1, 0], [1, 0]])
    assert accuracy(logits, torch.tensor(Y)) == 0.75
    assert accuracy(logits, torch.tensor(Y), mask=mask) == 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LOGITS, Y[:1]), ValueError, r"y of shape \(2, 2\), got \(1, 2\)"),
        ((LOGITS, Y.astype(float)), TypeError, "expected y to be integers"),
        ((LOGITS, Y + 3), ValueError, r"expected y in \[0, 3\), got 4"),
        ((LOGITS, Y, np.zeros((2, 2))), ValueError, "at least one target that counts"),
        ((LOGITS, Y, np.ones(2)), ValueError, r"mask of shape \(2, 2\), got \(2,\)"),
        ((np.zeros((0, 3)), np.zeros(0, int)), ValueError, "at least one target"),
        ((np.float64(1), Y), ValueError, "expected logits of shape"),
    ],
)
def test_accuracy_says_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        accuracy(*arguments)


def test_nats_to_bits():
    assert nats_to_bits(math.log(2)) == 1.0
    np.testing.assert_allclose(nats_to_bits(np.log([2.0, 4.0])), [1, 2], rtol=1e-15)


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices():
    assert perplexity(math.log(84)) == pytest.approx(84, rel=1e-14)
    assert perplexity(0) == 1.0
    assert perplexity(1e4) == math.inf


@pytest.mark.parametrize("nats", [-0.1, math.nan])
def test_perplexity_refuses_what_is_no_cross_entropy(nats):
    with pytest.raises(ValueError, match="expected a cross-entropy >= 0"):
        perplexity(nats)


def test_none_of_these_modules_imports_torch():
    code = (
        "import sys, rnnlib.data, rnnlib.text, rnnlib.batches, rnnlib.metrics, "
        "rnnlib.baselines; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
