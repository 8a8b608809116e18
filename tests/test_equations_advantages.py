"""The equations of chapters/core/advantages, from their letters, on real layers."""

import numpy as np
import pytest

from rnnlib import numpy as rl


def arrays(state):
    if state is None:
        return []
    if isinstance(state, tuple | list):
        return [a for part in state for a in arrays(part)]
    return [state]


@pytest.mark.equation("eq-adv-state-bytes")
@pytest.mark.parametrize(("L", "H", "T"), [(1, 64, 3), (3, 16, 40)])
def test_an_lstm_keeps_two_rows_a_layer_however_long_it_reads(L, H, T):
    model = rl.Sequential(*[rl.LSTM(H, H) for _ in range(L)], seed=0)
    state = None
    for _ in range(T):
        _, state = model.step(np.zeros((1, H), np.float32), state=state)
    s = np.dtype("float32").itemsize
    assert sum(a.nbytes for a in arrays(state)) == 2 * s * L * H


@pytest.mark.equation("eq-adv-cache-bytes")
def test_attention_keeps_a_key_and_a_value_of_every_step():
    s, L, T, D = 4, 3, 50, 8
    kept = [
        [np.zeros(D, np.float32) for _ in ("key", "value")]
        for _ in range(L)
        for _ in range(T)
    ]
    assert sum(a.nbytes for pair in kept for a in pair) == 2 * s * L * T * D
