"""The recurrent layers: what stands around their inner functions.

The inner functions (`rnnlib.numpy.rnn`, ``lstm``, ``gru``, ``scan``) read time-major
arrays forwards. Checks, lengths, directions, the returned state and reused memory are
dealt with here, once for all.
"""

import numpy as np

from rnnlib import specs
from rnnlib.checks import check_lengths
from rnnlib.numpy.gru import gru_backward, gru_forward
from rnnlib.numpy.layers import Leaf
from rnnlib.numpy.lstm import lstm_backward, lstm_forward
from rnnlib.numpy.rnn import rnn_backward, rnn_forward
from rnnlib.numpy.scan import (
    mingru_backward,
    mingru_forward,
    minlstm_backward,
    minlstm_forward,
    state_space_backward,
    state_space_forward,
)
from rnnlib.numpy.workspace import Workspace


class TimeMajor:
    """The way from (B, T, ·) to the (T, B, ·) of the inner functions, and back.

    Rows are sorted by length and, for a reversed pass, each row's valid steps are
    turned round, so that the inner functions only ever read forwards.
    """

    def __init__(self, B, T, lengths, reverse):
        self.reverse, self.ragged = reverse, lengths is not None and (lengths < T).any()
        self.active = None
        if self.ragged:
            self.order = np.argsort(-lengths, kind="stable")
            self.lengths = lengths[self.order]
            t = np.arange(T)[:, None]
            self.valid = t < self.lengths  # (T, B)
            self.active = self.valid.sum(axis=1).tolist()
            # Where step t of sorted row b lies in the batch-major array.
            if reverse:
                t = np.where(self.valid, self.lengths - 1 - t, t)
            self.place = np.broadcast_to(self.order, (T, B)), np.broadcast_to(t, (T, B))

    def __call__(self, x, out):
        """(B, T, ·) -> (T, B, ·); padding becomes 0, so a NaN there cannot spread."""
        if self.ragged:
            out[...] = x[self.place]
            out[~self.valid] = 0
        else:
            x = x.transpose(1, 0, 2)
            out[...] = x[::-1] if self.reverse else x
        return out

    def undo(self, x):
        """(T, B, ·) -> (B, T, ·) in new memory, with zeros past each length."""
        if self.ragged:
            y = np.zeros((x.shape[1], x.shape[0], x.shape[2]), x.dtype)
            y[self.place] = x  # rows that are over are 0 in x already
            return y
        x = x[::-1] if self.reverse else x
        return x.transpose(1, 0, 2).copy()

    def rows(self, h):
        """(B, H) in the order of the inner functions."""
        return h[self.order] if self.ragged else h

    def undo_rows(self, h):
        """(B, H) back in the caller's order."""
        if not self.ragged:
            return h
        y = np.empty_like(h)
        y[self.order] = h
        return y

    def last(self, hs):
        """Each row's state after its last valid step, in the caller's order."""
        if self.ragged:
            return self.undo_rows(hs[self.lengths, np.arange(hs.shape[1])])
        return hs[-1].copy()

    def add_last(self, dhs, dh):
        """Add dh (B, H), in the caller's order, at each row's last valid step."""
        steps = self.lengths - 1 if self.ragged else -1
        dhs[steps, np.arange(dhs.shape[1])] += self.rows(dh)


class Recurrent(specs.RecurrentSpec, Leaf):
    """What the recurrent layers do around their inner functions."""

    def __init__(self):
        super().__init__()
        self._workspace = Workspace()

    def _choose(self):
        return "numpy"  # the one way there is

    def __call__(self, x, state=None, lengths=None):
        self._check("x", x, ("B", "T", self.input_size))
        B, T, _ = x.shape
        if lengths is not None:
            lengths = check_lengths(self, lengths, B, T)
        if state is None:
            zeros = np.zeros((B, self.state_width), self.dtype)
            state = (zeros,) * len(self.states)
        else:
            state = self.check_state(state, B)
        self.last_impl = self._choose()
        tm = TimeMajor(B, T, lengths, self.reverse)
        x = tm(x, out=self._workspace("x", (T, B, self.input_size), x.dtype))
        *sequences, cache = self._forward(
            x,
            *map(tm.rows, state),
            **self.params,
            active=tm.active,
            empty=self._workspace,
        )
        # The states; before them the outputs, where these are not the first state.
        ys, after = sequences[0], sequences[-len(self.states) :]
        after = tuple(tm.last(s) for s in after)
        y = tm.undo(ys[1:]) if self.return_sequences else tm.last(ys)
        self._cache = tm, cache, (T, B), y.shape
        return y, after if len(after) > 1 else after[0]

    def backward(self, dy, dstate=None):
        """Backpropagation through time.

        Parameters
        ----------
        dy : ndarray of the shape of y
        dstate : like the state, optional
            Gradient that reaches the returned state.

        Returns
        -------
        dx : ndarray of shape (B, T, I)
            0 past each length. Also sets ``grads`` and ``dstate``, the gradient that
            reaches the initial state.
        """
        tm, cache, (T, B), shape = self._take_cache()
        self._check("dy", dy, shape)
        if dstate is None:
            zeros = np.zeros((B, self.state_width), self.dtype)
            dstate = (zeros,) * len(self.states)
        else:
            dstate = self.check_state(dstate, B, name="dstate")
        if self.return_sequences:
            dhs = tm(dy, out=self._workspace("dhs", (T, B, dy.shape[2]), dy.dtype))
        else:
            dhs = np.zeros((T, *dy.shape), self.dtype)
            tm.add_last(dhs, dy)
        dx, *before, grads = self._backward(dhs, *map(tm.rows, dstate), cache)
        self.grads = {name: grads[name] for name in self.params}
        before = tuple(map(tm.undo_rows, before))
        self.dstate = before if len(before) > 1 else before[0]
        return tm.undo(dx)


class RNN(specs.RNNSpec, Recurrent):
    __doc__ = specs.RNNSpec.__doc__
    _backward = staticmethod(rnn_backward)

    def _forward(self, *args, **kwargs):
        return rnn_forward(*args, activation=self.activation, **kwargs)


class LSTM(specs.LSTMSpec, Recurrent):
    __doc__ = specs.LSTMSpec.__doc__
    _forward, _backward = staticmethod(lstm_forward), staticmethod(lstm_backward)


class GRU(specs.GRUSpec, Recurrent):
    __doc__ = specs.GRUSpec.__doc__
    _forward, _backward = staticmethod(gru_forward), staticmethod(gru_backward)


class Scan(Recurrent):
    """A layer computed by a scan: step by step, or in stretches side by side."""

    impls = ("auto", "loop", "chunked")
    fastest = "chunked"  # on one thread: benchmarks/results/scan.json

    def _choose(self):
        return self.fastest if self.impl == "auto" else self.impl

    def _forward(self, x, *args, **kwargs):
        chunk = self._stretch(len(x))
        return self._forward_of(x, *args, chunk=chunk, **kwargs)


class MinGRU(specs.MinGRUSpec, Scan):
    __doc__ = specs.MinGRUSpec.__doc__
    _forward_of = staticmethod(mingru_forward)
    _backward = staticmethod(mingru_backward)


class MinLSTM(specs.MinLSTMSpec, Scan):
    __doc__ = specs.MinLSTMSpec.__doc__
    _forward_of = staticmethod(minlstm_forward)
    _backward = staticmethod(minlstm_backward)


class StateSpace(specs.StateSpaceSpec, Scan):
    __doc__ = specs.StateSpaceSpec.__doc__
    fastest = "loop"  # a tie, and stretches take more memory
    _forward_of = staticmethod(state_space_forward)
    _backward = staticmethod(state_space_backward)
