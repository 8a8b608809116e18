"""The equations of the chapter on frameworks, each computed from its letters."""

import numpy as np
import pytest
import torch

from rnnlib import numpy as rl
from rnnlib import weights

RNG = np.random.default_rng(0)
B, T, I, H = 3, 4, 2, 5  # noqa: E741


def sigma(a):
    return 1 / (1 + np.exp(-a))


def torch_module(name):
    """A torch layer with random weights, and the same weights as arrays."""
    module = getattr(torch.nn, name)(I, H, batch_first=True, dtype=torch.float64)
    arrays = {
        k: RNG.normal(0, 0.7, tuple(p.shape)) for k, p in module.state_dict().items()
    }
    module.load_state_dict({k: torch.tensor(a) for k, a in arrays.items()})
    return module, [
        arrays[f"{kind}_l0"]
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def run(module, x):
    with torch.no_grad():
        return module(torch.tensor(x))[0].numpy()


@pytest.mark.equation("eq-fw-torch-step")
@pytest.mark.equation("eq-fw-one-bias")
def test_torch_adds_two_biases_and_one_is_enough():
    module, (W_ih, W_hh, b_ih, b_hh) = torch_module("LSTM")
    x = RNG.standard_normal((B, T, I))
    h = c = np.zeros((B, H))
    for t in range(T):
        i, f, g, o = np.split(x[:, t] @ W_ih.T + b_ih + h @ W_hh.T + b_hh, 4, axis=1)
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(c)
    assert np.abs(h - run(module, x)[:, -1]).max() < 1e-12
    module.load_state_dict(
        {
            "weight_ih_l0": torch.tensor(W_ih),
            "weight_hh_l0": torch.tensor(W_hh),
            "bias_ih_l0": torch.tensor(b_ih + b_hh),
            "bias_hh_l0": torch.zeros(4 * H),
        }
    )
    assert np.abs(h - run(module, x)[:, -1]).max() < 1e-12
    assert np.abs(weights.from_torch(module)["b_h"] - b_ih - b_hh).max() < 1e-12


@pytest.mark.equation("eq-fw-onnx-step")
@pytest.mark.equation("eq-fw-onnx-order")
def test_the_onnx_step_is_ours_after_from_onnx():
    W, R = RNG.standard_normal((1, 4 * H, I)), RNG.standard_normal((1, 4 * H, H))
    bias = RNG.standard_normal((1, 8 * H))
    W_b, R_b = bias[0, : 4 * H], bias[0, 4 * H :]
    x, h, c = (RNG.standard_normal((B, n)) for n in (I, H, H))
    a = x @ W[0].T + h @ R[0].T + W_b + R_b
    a_i, a_o, a_f, a_c = (a[:, k * H : (k + 1) * H] for k in range(4))
    c_next = sigma(a_f) * c + sigma(a_i) * np.tanh(a_c)
    layer = rl.LSTM(I, H, dtype="float64")
    layer.load_state_dict(weights.from_onnx("LSTM", W, R, bias))
    _, (h_next, c_ours) = layer(x[:, None], state=(h, c))
    assert np.abs(c_ours - c_next).max() < 1e-12
    assert np.abs(h_next - sigma(a_o) * np.tanh(c_next)).max() < 1e-12


@pytest.mark.equation("eq-fw-permute")
def test_reordering_gates_is_multiplying_with_a_permutation():
    W, R = RNG.standard_normal((1, 4 * H, I)), RNG.standard_normal((1, 4 * H, H))
    P = np.zeros((4 * H, 4 * H))
    for ours, theirs in enumerate("iofg".index(gate) for gate in "ifgo"):
        for k in range(H):
            P[theirs * H + k, ours * H + k] = 1
    assert np.array_equal(P @ P.T, np.eye(4 * H))
    state = weights.from_onnx("LSTM", W, R)
    assert np.array_equal(state["W_xh"], W[0].T @ P)
    assert np.array_equal(state["W_hh"], R[0].T @ P)


def gru_parts():
    """x, h and the separate matrices and biases of a GRU, gates r z n."""
    x, h = RNG.standard_normal((B, I)), RNG.standard_normal((B, H))
    W = dict(zip("rzn", RNG.normal(0, 0.7, (3, I, H)), strict=True))
    U = dict(zip("rzn", RNG.normal(0, 0.7, (3, H, H)), strict=True))
    b_i, b_h = (dict(zip("rzn", b, strict=True)) for b in RNG.normal(0, 0.7, (2, 3, H)))
    return x, h, W, U, b_i, b_h


@pytest.mark.equation("eq-fw-reset-before")
def test_reset_before_the_product():
    x, h, W, U, b, _ = gru_parts()
    r, z = (sigma(x @ W[k] + h @ U[k] + b[k]) for k in "rz")
    a_n = x @ W["n"] + b["n"]
    n = np.tanh(a_n + (r * h) @ U["n"])
    layer = rl.GRU(I, H, reset_after=False, dtype="float64")
    layer.load_state_dict(
        {
            "W_xh": np.hstack([*W.values()]),
            "W_hh": np.hstack([*U.values()]),
            "b_h": np.hstack([*b.values()]),
        }
    )
    _, found = layer(x[:, None], state=h)
    assert np.abs(found - ((1 - z) * n + z * h)).max() < 1e-12


@pytest.mark.equation("eq-fw-reset-after")
@pytest.mark.equation("eq-fw-gru-merge")
@pytest.mark.equation("eq-fw-gru-keep")
def test_reset_after_the_product_and_which_biases_merge():
    x, h, W, U, b_i, b_h = gru_parts()
    r, z = (sigma(x @ W[k] + b_i[k] + h @ U[k] + b_h[k]) for k in "rz")
    a_n = x @ W["n"] + b_i["n"]
    n = np.tanh(a_n + r * (h @ U["n"] + b_h["n"]))
    expected = (1 - z) * n + z * h

    module = torch.nn.GRU(I, H, batch_first=True, dtype=torch.float64)
    module.load_state_dict(
        {
            "weight_ih_l0": torch.tensor(np.hstack([*W.values()]).T),
            "weight_hh_l0": torch.tensor(np.hstack([*U.values()]).T),
            "bias_ih_l0": torch.tensor(np.hstack([*b_i.values()])),
            "bias_hh_l0": torch.tensor(np.hstack([*b_h.values()])),
        }
    )
    with torch.no_grad():
        _, theirs = module(torch.tensor(x[:, None]), torch.tensor(h[None]))
    assert np.abs(theirs[0].numpy() - expected).max() < 1e-12

    state = {
        "W_xh": np.hstack([*W.values()]),
        "W_hh": np.hstack([*U.values()]),
        "b_h": np.hstack([b_i["r"] + b_h["r"], b_i["z"] + b_h["z"], b_i["n"]]),
        "b_hn": b_h["n"],
    }
    for name, array in weights.from_torch(module).items():
        assert np.abs(array - state[name]).max() < 1e-12
    layer = rl.GRU(I, H, dtype="float64")
    layer.load_state_dict(state)
    assert np.abs(layer(x[:, None], state=h)[1] - expected).max() < 1e-12


@pytest.mark.equation("eq-fw-spare")
@pytest.mark.parametrize(("name", "spare"), [("RNN", 1), ("LSTM", 4), ("GRU", 2)])
def test_torch_stores_spare_biases(name, spare):
    theirs = sum(p.numel() for p in getattr(torch.nn, name)(7, 11).parameters())
    ours = sum(np.prod(shape) for shape in weights.shapes(name, 7, 11).values())
    assert theirs - ours == spare * 11


@pytest.mark.equation("eq-fw-torch-limit")
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_torch_draws_evenly_within_one_over_root_h(name):
    for p in getattr(torch.nn, name)(50, 400).parameters():
        scaled = p.detach().numpy() * np.sqrt(400)
        assert 0.95 < np.abs(scaled).max() <= 1
        assert abs(scaled.std() - 1 / np.sqrt(3)) < 0.05


@pytest.mark.equation("eq-fw-glorot-one")
@pytest.mark.equation("eq-fw-glorot-all")
def test_glorot_limits_by_gate_and_by_matrix():
    I, H = 60, 100  # noqa: E741
    W = weights.initial("LSTM", np.random.default_rng(0), I, H)["W_xh"]
    by_gate, by_matrix = np.sqrt(6 / (I + H)), np.sqrt(6 / (I + 4 * H))
    assert 0.99 * by_gate < np.abs(W).max() <= by_gate
    # torch has the same rule, and reads the fans off the matrix that it is given.
    whole = torch.nn.init.xavier_uniform_(torch.empty(4 * H, I, dtype=torch.float64))
    assert 0.99 * by_matrix < whole.abs().max().item() <= by_matrix < by_gate


@pytest.mark.equation("eq-fw-hard-six")
@pytest.mark.equation("eq-fw-hard-five")
def test_two_hard_sigmoids():
    a = np.linspace(-5, 5, 101)
    six, five = np.clip(a / 6 + 0.5, 0, 1), np.clip(a / 5 + 0.5, 0, 1)
    theirs = torch.nn.functional.hardsigmoid(torch.tensor(a)).numpy()
    assert np.abs(theirs - six).max() < 1e-12
    # ONNX: max(0, min(1, alpha x + beta)) with alpha = 0.2, beta = 0.5 unless given.
    assert np.abs(np.maximum(0, np.minimum(1, 0.2 * a + 0.5)) - five).max() < 1e-12
    assert np.abs(six - five).max() > 0.05


@pytest.mark.equation("eq-fw-adam-torch")
@pytest.mark.equation("eq-fw-adam-keras")
def test_where_adam_adds_its_epsilon():
    eta, b1, b2 = 0.1, 0.9, 0.999
    gradients = RNG.normal(0, 1e-6, 6)
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([p], lr=eta, eps=1e-8)
    m = v = ours = keras = as_written = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        ours -= eta * m_hat / (np.sqrt(v_hat) + 1e-8)
        keras -= eta * m_hat / (np.sqrt(v_hat) + 1e-7 / np.sqrt(1 - b2**t))
        # As Keras writes it: one rate for both corrections, eps beside sqrt(v).
        alpha = eta * np.sqrt(1 - b2**t) / (1 - b1**t)
        as_written -= m * alpha / (np.sqrt(v) + 1e-7)
        p.grad = torch.tensor([g])
        optimizer.step()
    assert abs(p.item() - ours) < 1e-12
    assert abs(keras - as_written) < 1e-12 < abs(keras - ours)
