"""RNN, LSTM and GRU for torch, computed in one of four ways; "auto" picks one.

``impl="loop"`` is the equations, one step after another, under autograd: to read, to
change, to check against. ``impl="native"`` hands our one-bias parameters to the kernels
behind ``torch.nn``: ATen and oneDNN on a CPU, cuDNN on a GPU. ``impl="numpy"`` runs the
loops of the NumPy engine on a CPU (`rnnlib.torch.kernels.cpu`), ``impl="fused"`` a
kernel of our own on a GPU (`rnnlib.torch.kernels`).
"""

import torch
from torch import _VF

from rnnlib import specs
from rnnlib.checks import check_lengths
from rnnlib.torch import kernels
from rnnlib.torch.functional import ACTIVATIONS
from rnnlib.torch.kernels import cpu
from rnnlib.torch.layers import Layer


class Recurrent(specs.RecurrentSpec, Layer):
    """What RNN, LSTM and GRU share: checks, directions, lengths, the choice of impl."""

    impls = ("auto", "loop", "native", "numpy", "fused")

    def native_gap(self):
        """Why torch has no kernel for this layer, or None if it has one."""
        return None

    def forward(self, x, state=None, lengths=None):
        self._check("x", x, ("B", "T", self.input_size))
        B, T, _ = x.shape
        if lengths is not None:
            lengths = torch.from_numpy(check_lengths(self, lengths, B, T))
            lengths = None if bool((lengths == T).all()) else lengths
        if state is None:
            state = (x.new_zeros(B, self.state_width),) * len(self.states)
        else:
            state = self.check_state(state, B)
        impl = self._choose(x)
        if self.reverse:
            x = _turn(x, lengths)
        y, state = getattr(self, f"_{impl}")(x, state, lengths)
        self.last_impl = impl
        if not self.return_sequences:
            last = T - 1 if lengths is None else lengths.to(y.device) - 1
            y = y[torch.arange(B, device=y.device), last]
        elif self.reverse:
            y = _turn(y, lengths)
        return y, state if len(state) > 1 else state[0]

    def _choose(self, x):
        """How to compute: the name of a method, without its underscore."""
        if self.impl == "auto":
            return self._auto(x)
        gap = None
        if self.impl == "native":
            gap = self.native_gap()
        elif self.impl == "numpy":
            gap = cpu.gap(x, self.parameters())
        elif self.impl == "fused":
            gap = kernels.gap(x, self.hidden_size)
        if gap:
            raise ValueError(f"{self}: impl={self.impl!r} is not possible: {gap}")
        return self.impl

    def _auto(self, x):
        """What was measured to be fastest; on a GPU nothing is measured yet."""
        native = self.native_gap() is None
        if x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            way = cpu.fastest(self.kind, x.shape[1], self.hidden_size, native)
            if way != "numpy" or not cpu.gap(x, self.parameters()):
                return way
        return "native" if native else "loop"

    def _numpy(self, x, state, lengths):
        options = {"activation": self.activation} if self.kind == "RNN" else {}
        params = dict(self.named_parameters())
        return cpu.run(self.kind, x, state, lengths, params, options)

    def _fused(self, x, state, lengths):
        from rnnlib.torch.kernels.function import fused  # needs Triton

        options = {"PRECISION": kernels.precision_now(x.device)}
        if self.kind == "RNN":
            options["ACT"] = self.activation
        return fused(
            self.kind,
            x if lengths is None else self._without_padding(x, lengths),
            self.W_xh,
            self.b_h,
            self.W_hh,
            getattr(self, "b_hn", None),
            state,
            lengths,
            options,
        )

    def _loop(self, x, state, lengths):
        """One step after another; a row that is over keeps its state and puts out 0."""
        T = x.shape[1]
        valid = None
        if lengths is not None:
            valid = torch.arange(T) < lengths[:, None]
            valid = valid.to(x.device)[..., None]  # (B, T, 1)
            x = torch.where(valid, x, 0)  # a NaN in the padding has a NaN gradient
        a = x @ self.W_xh + self.b_h  # every step's input share in one product
        ys = []
        # unbind, because the gradient of a[:, t] would be as large as a, at every step
        for t, a_t in enumerate(a.unbind(1)):
            new = self._step(a_t, *state)
            y = new[0]
            if valid is not None:
                v = valid[:, t]
                new = tuple(
                    torch.where(v, n, old) for n, old in zip(new, state, strict=True)
                )
                y = torch.where(v, y, 0)
            state = new
            ys.append(y)
        return torch.stack(ys, dim=1), state

    def _native(self, x, state, lengths):
        """torch's kernel: weights transposed, our one bias and a zero one.

        Of a ragged batch it computes the padding too, and zeros it. torch's way around
        the padding, `pack_padded_sequence`, leaves the fused LSTM: on a CPU that takes
        up to five times as long (benchmarks/results/cpu.json); on a GPU nothing is
        measured yet.
        """
        W_ih = self.W_xh.T
        if lengths is not None:
            x = self._without_padding(x, lengths)
            over = torch.arange(x.shape[1]) >= lengths[:, None]
            over = over.to(x.device)[..., None]  # (B, T, 1)
            x, W_ih = self._hold(x, W_ih, over)
        weights = [W_ih, self.W_hh.T, self.b_h, self._recurrent_bias()]
        weights = _in_one_piece(weights) if x.is_cuda else weights  # as cuDNN has them
        hx = tuple(s[None] for s in state)
        # has_biases, num_layers, dropout, train, bidirectional, batch_first. "train"
        # only asks cuDNN to keep what a backward pass needs, which eval mode may need.
        options = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
        kernel = getattr(_VF, self._kernel())
        y, *state = kernel(x, hx if len(hx) > 1 else hx[0], weights, *options)
        state = [s[0] for s in state]
        if lengths is not None:
            last = lengths.to(y.device) - 1
            state[0] = y[torch.arange(len(y), device=y.device), last]
            y = y.masked_fill(over, 0)
        return y, tuple(state)

    def _hold(self, x, W_ih, over):
        """Make what is not in y, the rest of the state, outlast the padding."""
        return x, W_ih

    def _recurrent_bias(self):
        return torch.zeros_like(self.b_h)


def _in_one_piece(tensors):
    """The same tensors as parts of one, each where the one before ends."""
    flat = torch.cat([t.reshape(-1) for t in tensors])
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def _turn(x, lengths):
    """Turn each row's valid steps round; (B, T, ·) -> (B, T, ·)."""
    if lengths is None:
        return x.flip(1)
    t = torch.arange(x.shape[1])
    place = torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    place = place.to(x.device)[..., None].expand_as(x)
    return x.gather(1, place)


class RNN(specs.RNNSpec, Recurrent):
    __doc__ = specs.RNNSpec.__doc__

    def _step(self, a, h):
        return (ACTIVATIONS[self.activation](a + h @ self.W_hh),)

    def native_gap(self):
        if self.activation not in ("tanh", "relu"):
            return f"torch has no RNN kernel with activation {self.activation!r}"

    def _kernel(self):
        return f"rnn_{self.activation}"


class LSTM(specs.LSTMSpec, Recurrent):
    __doc__ = specs.LSTMSpec.__doc__

    def _step(self, a, h, c):
        i, f, g, o = (a + h @ self.W_hh).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def _kernel(self):
        return "lstm"

    def _hold(self, x, W_ih, over):
        """One more input, 1 in the padding, that shuts gate i and opens f: c stays."""
        H = self.hidden_size
        column = W_ih.new_zeros(4 * H, 1)
        column[:H], column[H : 2 * H] = -1e4, 1e4
        return torch.cat([x, over.to(x.dtype)], 2), torch.cat([W_ih, column], 1)


class GRU(specs.GRUSpec, Recurrent):
    __doc__ = specs.GRUSpec.__doc__

    def _step(self, a, h):
        H = self.hidden_size
        W_rz, W_n = self.W_hh.split([2 * H, H], dim=1)
        a_rz, a_n = a.split([2 * H, H], dim=1)
        r, z = torch.sigmoid(a_rz + h @ W_rz).chunk(2, dim=-1)
        if self.reset_after:
            n = torch.tanh(a_n + r * (h @ W_n + self.b_hn))
        else:
            n = torch.tanh(a_n + (r * h) @ W_n)
        return ((1 - z) * n + z * h,)

    def native_gap(self):
        if not self.reset_after:
            return "torch has no GRU kernel with reset_after=False"

    def _kernel(self):
        return "gru"

    def _recurrent_bias(self):
        zeros = self.b_hn.new_zeros(2 * self.hidden_size)
        return torch.cat([zeros, self.b_hn])  # r z n
