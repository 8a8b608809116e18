"""The layers whose recurrence is linear in the state: MinGRU, MinLSTM, StateSpace."""

import numpy as np

from rnnlib.checks import check_size
from rnnlib.specs.recurrent import RecurrentSpec
from rnnlib.weights import glorot


class ScanSpec(RecurrentSpec):
    """What the layers share that are computed by a scan."""

    def __init__(
        self,
        input_size,
        hidden_size,
        *,
        return_sequences=True,
        reverse=False,
        impl="auto",
        seed=None,
        dtype="float32",
    ):
        super().__init__()
        self._configure(
            input_size, hidden_size, return_sequences, reverse, impl, seed, dtype
        )

    def _stretch(self, T):
        """Steps in a stretch of the scan, or None to go step by step; see `impl`."""
        return None if self.last_impl == "loop" else int(np.ceil(np.sqrt(T)))


class MinGRUSpec(ScanSpec):
    """A GRU whose gate does not look at the state, gate order z n.

    ``h_t = z h_{t-1} + (1 - z) n`` with ``z = sigmoid(x_t W_xz + b_z)`` and
    ``n = x_t W_xn + b_n``: given x, a linear recurrence, for which the steps need not
    be computed one after the other.

    Called as ``layer(x, state=None, lengths=None)``, it returns ``(y, state)``: x is
    (B, T, I), y is (B, T, H), the state is h of shape (B, H), zeros when absent.
    ``lengths`` (B,) gives each sequence's valid steps, 1..T, in any order: outputs past
    a length are 0 and the returned state is the one at the length.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    return_sequences : bool, default=True
        Return y for every step, or only the last state as y of shape (B, H).
    reverse : bool, default=False
        Read from the last valid step to the first, as in `RNN`.
    impl : {"auto", "loop", "chunked", "fused"}, default="auto"
        Step by step; stretches of about sqrt(T) steps side by side; or, torch on a GPU
        only, our own kernel. ``last_impl`` names what ran.
    seed : int, optional
        Of the initial values: W_xh Glorot uniform gate by gate, b_h zero.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    W_xh : array of shape (I, 2H)
    b_h : array of shape (2H,)

    References
    ----------
    Feng et al., "Were RNNs all we needed?", 2024.
    """

    kind = "MinGRU"


class MinLSTMSpec(ScanSpec):
    """An LSTM whose gates do not look at the state, gate order i f g.

    ``h_t = (f h_{t-1} + i g) / (f + i)`` with sigmoid gates i and f and
    ``g = x_t W_xg + b_g``: both gates together share out one unit, and the state is
    also the output.

    Called as ``layer(x, state=None, lengths=None)``, it returns ``(y, state)`` as
    `MinGRU` does.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    return_sequences, reverse, impl, seed, dtype
        As in `MinGRU`; b_h is 1 for the forget gate, else zero.

    Attributes
    ----------
    W_xh : array of shape (I, 3H)
    b_h : array of shape (3H,)

    References
    ----------
    Feng et al., "Were RNNs all we needed?", 2024.
    """

    kind = "MinLSTM"


class StateSpaceSpec(ScanSpec):
    """Selective diagonal state-space layer, the recurrence inside Mamba.

    Each of H channels ``u = x W_xh + b_h`` has N states,
    ``s_t = exp(-dt exp(A_log)) s_{t-1} + dt u B`` with ``dt = softplus(u W_dt + b_dt)``
    and ``B = u W_B``; the output is ``y = sum(C s) + D u`` with ``C = u W_C``. A small
    dt passes an input by, a large one writes it down and forgets what was there.

    Called as ``layer(x, state=None, lengths=None)``, it returns ``(y, state)``: x is
    (B, T, I), y is (B, T, H), the state has shape (B, H·N), zeros when absent; lengths
    as in `MinGRU`.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    state_size : int, default=16
        N, states of a channel.
    return_sequences, reverse, impl, seed, dtype
        As in `MinGRU`, but y without sequences is the last output. Matrices are Glorot
        uniform, the rates exp(A_log) are 1 to N, dt is 0.001 to 0.1 at first, D is 1.

    Attributes
    ----------
    W_xh, b_h : arrays of shapes (I, H), (H,)
    W_dt, b_dt : arrays of shapes (H, H), (H,)
    W_B, W_C, A_log : arrays of shape (H, N)
    D : array of shape (H,)

    References
    ----------
    Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces",
    2023.
    """

    kind = "StateSpace"

    def __init__(
        self,
        input_size,
        hidden_size,
        state_size=16,
        *,
        return_sequences=True,
        reverse=False,
        impl="auto",
        seed=None,
        dtype="float32",
    ):
        self.state_size = check_size("StateSpace", "state_size", state_size)
        super().__init__(
            input_size,
            hidden_size,
            return_sequences=return_sequences,
            reverse=reverse,
            impl=impl,
            seed=seed,
            dtype=dtype,
        )

    @property
    def state_width(self):
        """Numbers in the state of one row."""
        return self.hidden_size * self.state_size

    def shapes(self):
        I, H, N = self.input_size, self.hidden_size, self.state_size  # noqa: E741
        return {
            "W_xh": (I, H),
            "b_h": (H,),
            "W_dt": (H, H),
            "b_dt": (H,),
            "W_B": (H, N),
            "W_C": (H, N),
            "A_log": (H, N),
            "D": (H,),
        }

    def _initial(self, rng):
        shapes = self.shapes()
        values = {k: glorot(rng, *s) for k, s in shapes.items() if k.startswith("W")}
        dt = np.exp(rng.uniform(np.log(0.001), np.log(0.1), self.hidden_size))
        rates = np.arange(1.0, self.state_size + 1)
        values |= {
            "b_h": np.zeros(shapes["b_h"]),
            "b_dt": np.log(np.expm1(dt)),  # softplus gives dt back
            "A_log": np.tile(np.log(rates), (self.hidden_size, 1)),
            "D": np.ones(shapes["D"]),
        }
        return {name: values[name] for name in shapes}
