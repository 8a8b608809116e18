"""The equations of the chapter on the GRU."""

import math

import numpy as np
import pytest
import torch

from rnnlib import numpy as rl

I, H, B, T = 3, 4, 2, 5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sigma(a):
    return 1 / (1 + torch.exp(-a))


def layer(rng, after):
    """A float64 GRU with no zero among its parameters."""
    gru = rl.GRU(I, H, reset_after=after, seed=0, dtype="float64")
    for p in gru.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    return gru


def blocks(gru):
    """The letters of the equations as torch tensors: W_xr … b_n, b_hn."""
    p = {}
    for name, array in gru.params.items():
        if name == "b_hn":
            p[name] = torch.tensor(array)
            continue
        stem = {"W_xh": "W_x", "W_hh": "W_h", "b_h": "b_"}[name]
        for gate, block in zip("rzn", np.split(array, 3, axis=-1), strict=True):
            p[stem + gate] = torch.tensor(block)
    for t in p.values():
        t.requires_grad_()
    return p


def forward(p, x, h, after):
    """Every letter of every step, kept for autograd to fill its .grad."""
    steps = []
    for x_t in x:
        s = {"x": x_t, "past": h}
        s["a_r"] = x_t @ p["W_xr"] + h @ p["W_hr"] + p["b_r"]
        s["a_z"] = x_t @ p["W_xz"] + h @ p["W_hz"] + p["b_z"]
        s["r"], s["z"] = sigma(s["a_r"]), sigma(s["a_z"])
        if after:
            s["q"] = h @ p["W_hn"] + p["b_hn"]
            s["a_n"] = x_t @ p["W_xn"] + p["b_n"] + s["r"] * s["q"]
        else:
            s["q"] = s["r"] * h
            s["a_n"] = x_t @ p["W_xn"] + p["b_n"] + s["q"] @ p["W_hn"]
        s["n"] = torch.tanh(s["a_n"])
        s["h"] = h = (1 - s["z"]) * s["n"] + s["z"] * h
        for value in s.values():
            if value.requires_grad:
                value.retain_grad()
        steps.append(s)
    return steps


@pytest.fixture(params=[True, False], ids=["after", "before"])
def case(request, rng):
    """(reset_after, layer, letters, steps after backward, gradient at each output)."""
    after = request.param
    gru = layer(rng, after)
    p = blocks(gru)
    x = torch.tensor(rng.standard_normal((T, B, I)), requires_grad=True)
    h = torch.tensor(rng.uniform(-1, 1, (B, H)), requires_grad=True)
    G = rng.standard_normal((T, B, H))
    steps = forward(p, x, h, after)
    total = sum((s["h"] * torch.tensor(g)).sum() for s, g in zip(steps, G, strict=True))
    total.backward()
    return after, gru, p, x, steps, G


def g(t):
    return t.grad.numpy()


def v(t):
    return t.detach().numpy()


def close(a, b, tolerance=1e-12):
    assert np.shape(a) == np.shape(b)
    assert np.abs(np.asarray(a) - np.asarray(b)).max() < tolerance


@pytest.mark.equation("eq-gru-reset")
@pytest.mark.equation("eq-gru-update")
@pytest.mark.equation("eq-gru-candidate")
@pytest.mark.equation("eq-gru-candidate-before")
@pytest.mark.equation("eq-gru-state")
def test_the_forward_equations_are_the_library(case):
    _, gru, _, x, steps, _ = case
    y, _ = gru(v(x).transpose(1, 0, 2), state=v(steps[0]["past"]))
    close(y.transpose(1, 0, 2), np.stack([v(s["h"]) for s in steps]))


def lstm_letters(rng, gates, n):
    return {k: rng.standard_normal((n, H)) for k in gates}


@pytest.mark.equation("eq-gru-tie")
def test_tying_is_an_lstm_whose_input_gate_is_one_minus_its_forget_gate(rng):
    lstm = rl.LSTM(I, H, seed=0, dtype="float64")
    for p in lstm.params.values():  # sigmoid(-a) = 1 - sigmoid(a)
        p[..., :H] = -p[..., H : 2 * H]
    x, h, c = (rng.standard_normal((1, n)) for n in (I, H, H))
    _, (_, c_1) = lstm(x[:, None], state=(h, c))
    W_xh, W_hh, b_h = lstm.params.values()
    _, a_f, a_g, _ = np.split(x @ W_xh + h @ W_hh + b_h, 4, axis=1)
    f, cand = 1 / (1 + np.exp(-a_f)), np.tanh(a_g)
    close(c_1, f * c + (1 - f) * cand)


@pytest.mark.equation("eq-gru-no-output")
@pytest.mark.equation("eq-gru-one-state")
@pytest.mark.equation("eq-gru-bounded")
def test_without_output_gate_and_with_one_state(rng):
    lstm = rl.LSTM(I, H, seed=0, dtype="float64")
    for p in lstm.params.values():
        p[..., 3 * H :] = 0
    lstm.params["b_h"][3 * H :] = 50  # an output gate of 1
    _, (h, c) = lstm(rng.standard_normal((1, 6, I)))
    close(h, np.tanh(c))
    gru = layer(rng, True)  # a reset gate of 1: the state is the mixture
    for name in ("W_xh", "W_hh", "b_h"):
        gru.params[name][..., :H] = 0
    gru.params["b_h"][:H] = 50
    x, h = rng.standard_normal((1, I)), rng.uniform(-1, 1, (1, H))
    W_xh, W_hh, b_h, b_hn = gru.params.values()
    _, a_z, a_n = np.split(x @ W_xh + h @ W_hh + b_h, 3, axis=1)
    z, n = 1 / (1 + np.exp(-a_z)), np.tanh(a_n + b_hn)
    after = gru(x[:, None], state=h)[1]
    close(after, z * h + (1 - z) * n)
    assert (np.abs(after) <= np.maximum(np.abs(h), np.abs(n)) + 1e-15).all()


@pytest.mark.equation("eq-gru-hand")
def test_one_step_by_hand():
    gru = rl.GRU(1, 1, dtype="float64")
    gru.load_state_dict(
        {
            "W_xh": [[0, 0, 1]],
            "W_hh": [[0, 0, -1]],
            "b_h": [0, math.log(3), 0],
            "b_hn": [0],
        }
    )
    h = gru(np.ones((1, 1, 1)), state=np.full((1, 1), 0.5))[1][0, 0]
    assert abs(h - (0.25 * math.tanh(0.75) + 0.75 * 0.5)) < 1e-15
    assert round(h, 3) == 0.534


@pytest.mark.equation("eq-gru-count")
@pytest.mark.parametrize(("n", "H"), [(1, 1), (24, 64), (100, 7)])
def test_the_count(n, H):
    for after in (True, False):
        gru = rl.GRU(n, H, reset_after=after)
        count = sum(p.size for p in gru.params.values())
        assert count == 3 * (n * H + H * H + H) + after * H


@pytest.mark.equation("eq-gru-dan")
@pytest.mark.equation("eq-gru-daz")
@pytest.mark.equation("eq-gru-dq")
@pytest.mark.equation("eq-gru-dar")
@pytest.mark.equation("eq-gru-dh")
@pytest.mark.equation("eq-gru-dq-before")
@pytest.mark.equation("eq-gru-dar-before")
@pytest.mark.equation("eq-gru-dh-before")
def test_the_backward_step_is_what_autograd_says(case):
    after, _, p, _, steps, G = case
    for t, s in enumerate(steps):
        dh, past, r, z, n, q = (
            g(s["h"]),
            *(v(s[k]) for k in ("past", "r", "z", "n", "q")),
        )
        da_n = dh * (1 - z) * (1 - n**2)
        da_z = dh * (past - n) * z * (1 - z)
        close(da_n, g(s["a_n"]))
        close(da_z, g(s["a_z"]))
        gates = g(s["a_r"]) @ v(p["W_hr"]).T + da_z @ v(p["W_hz"]).T
        if after:
            dq = da_n * r
            da_r = da_n * q * r * (1 - r)
            before = dh * z + gates + dq @ v(p["W_hn"]).T
        else:
            dq = da_n @ v(p["W_hn"]).T
            da_r = dq * past * r * (1 - r)
            before = dh * z + gates + dq * r
        close(dq, g(s["q"]))
        close(da_r, g(s["a_r"]))
        close(before + (G[t - 1] if t else 0), g(s["past"]))


@pytest.mark.equation("eq-gru-dwxh")
@pytest.mark.equation("eq-gru-dx")
@pytest.mark.equation("eq-gru-dbh")
@pytest.mark.equation("eq-gru-dwhh")
@pytest.mark.equation("eq-gru-dwhn")
@pytest.mark.equation("eq-gru-dbhn")
@pytest.mark.equation("eq-gru-dwhn-before")
def test_the_sums_over_steps_are_what_autograd_and_the_library_say(case):
    after, gru, p, x, steps, G = case
    y, _ = gru(v(x).transpose(1, 0, 2), state=v(steps[0]["past"]))
    gru.backward(G.transpose(1, 0, 2))
    for k, gate in enumerate("rzn"):
        cut = slice(k * H, (k + 1) * H)
        das = [g(s[f"a_{gate}"]) for s in steps]
        dW_x = sum(v(s["x"]).T @ da for s, da in zip(steps, das, strict=True))
        close(dW_x, g(p[f"W_x{gate}"]))
        close(dW_x, gru.grads["W_xh"][:, cut])
        db = sum(da.sum(axis=0) for da in das)
        close(db, g(p[f"b_{gate}"]))
        close(db, gru.grads["b_h"][cut])
        if gate != "n":
            dW = sum(v(s["past"]).T @ da for s, da in zip(steps, das, strict=True))
        elif after:
            dW = sum(v(s["past"]).T @ g(s["q"]) for s in steps)
        else:
            dW = sum(v(s["q"]).T @ da for s, da in zip(steps, das, strict=True))
        close(dW, g(p[f"W_h{gate}"]))
        close(dW, gru.grads["W_hh"][:, cut])
    if after:
        db_hn = sum(g(s["q"]).sum(axis=0) for s in steps)
        close(db_hn, g(p["b_hn"]))
        close(db_hn, gru.grads["b_hn"])
    for t, s in enumerate(steps):
        dx = sum(g(s[f"a_{k}"]) @ v(p[f"W_x{k}"]).T for k in "rzn")
        close(dx, g(x)[t])


@pytest.mark.equation("eq-gru-effective-before")
@pytest.mark.equation("eq-gru-effective-after")
@pytest.mark.equation("eq-gru-reset-gap")
def test_where_the_reset_gate_stands(rng):
    W, h, r = rng.standard_normal((H, H)), rng.standard_normal(H), rng.random(H)
    close((r * h) @ W, h @ (np.diag(r) @ W))
    close(r * (h @ W), h @ (W @ np.diag(r)))
    gap = [sum(h[i] * W[i, j] * (r[j] - r[i]) for i in range(H)) for j in range(H)]
    close(r * (h @ W) - (r * h) @ W, gap)
    same = np.full(H, 0.3)
    close(same * (h @ W), (same * h) @ W)


@pytest.mark.equation("eq-gru-half")
def test_no_form_meets_two_outer_directions_with_one():
    wanted = np.eye(2)  # column 1 under gate A, under gate B
    angles = np.linspace(0, math.pi, 2001)
    lines = np.stack([np.cos(angles), np.sin(angles)])  # all directions of one column
    share = lines.T @ wanted  # the best multiples
    missed = ((wanted[None] - lines.T[:, :, None] * share[:, None, :]) ** 2).sum((1, 2))
    assert abs(missed.min() / (wanted**2).sum() - 0.5) < 1e-12


@pytest.mark.equation("eq-gru-path")
def test_the_direct_path_is_the_product_of_the_update_gates(rng):
    gru = layer(rng, True)
    p = blocks(gru)
    with torch.no_grad():
        for name in ("W_hr", "W_hz", "W_hn"):  # gates and candidate held fixed
            p[name].zero_()
    x = torch.tensor(rng.standard_normal((T, 1, I)))
    h = torch.tensor(rng.uniform(-1, 1, (1, H)), requires_grad=True)
    steps = forward(p, x, h, True)
    J = torch.autograd.functional.jacobian(
        lambda h: forward(p, x, h, True)[-1]["h"][0], h
    )
    product = np.prod([v(s["z"])[0] for s in steps], axis=0)
    close(J[:, 0].numpy(), np.diag(product))


@pytest.mark.equation("eq-gru-swap")
def test_the_swapped_convention_is_a_change_of_sign(rng):
    a, n, h = (rng.standard_normal(H) for _ in range(3))
    z, u = 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(a))
    close((1 - z) * n + z * h, u * n + (1 - u) * h)
